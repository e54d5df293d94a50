//! Verifying, mending, and building the index anew.

use std::sync::Mutex;

use super::*;

const BUCKET: &str = "https://bucket/b/p/";

fn path(dir: &Path, id: PictureId, ext: &str) -> std::path::PathBuf {
    dir.join("images").join(id.shard()).join(format!("{id}.{ext}"))
}

fn name(id: PictureId, ext: &str) -> std::path::PathBuf {
    Path::new("images").join(id.shard()).join(format!("{id}.{ext}"))
}

/// What a run says, in order of paths, and its sums.
fn verify(dir: &Path, repair: bool) -> (Vec<Finding>, Checked) {
    let findings = Mutex::new(Vec::new());
    let verify = Verify::new(dir, Some(BUCKET.into()), repair).unwrap();
    let checked = verify.run(|finding| findings.lock().unwrap().push(finding.clone()));
    assert!((verify.progress().part() - 1.0).abs() < f64::EPSILON);
    let mut findings = findings.into_inner().unwrap();
    findings.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(checked.findings, findings.len() as u64);
    (findings, checked)
}

fn with_archive(dir: &Path) -> Store {
    Store::open(dir, &settings(), Some(BUCKET.into())).unwrap()
}

#[tokio::test]
async fn a_store_in_order_has_no_findings() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_archive(dir.path());
    for seed in 0..30 {
        let id = put(&store, &gif(seed, 1000)).await.unwrap().facts.id;
        if seed < 10 {
            store.mark_archived(id).await.unwrap();
        }
        match seed {
            0..5 => drop(store.evict(id).await.unwrap().unwrap()),
            5..7 => assert!(store.delete(id).await.unwrap()),
            _ => {}
        }
    }
    // A gateway may be running.
    let (findings, checked) = verify(dir.path(), true);
    assert_eq!(findings, []);
    let expected = Checked { pictures: 23, bytes: 23_000, archived: 5, deletions: 2, findings: 0, mended: 0 };
    assert_eq!(checked, expected);
    assert!(!dir.path().join("damaged").exists());
}

#[tokio::test]
async fn every_fault_is_found_and_mended_where_that_is_possible() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_archive(dir.path());
    let mut ids = Vec::new();
    for seed in 0..9 {
        ids.push(put(&store, &gif(seed, 1000)).await.unwrap().facts.id);
    }
    let [flipped, cut, archived, no_record, nonsense, misfit, lost, both, _fine] = ids[..] else { panic!() };
    store.mark_archived(archived).await.unwrap();
    let generation = Generation { request_id: "req_1".into(), ..Generation::default() };
    let mut writer = store.writer();
    writer.write(&gif(50, 1000)).await.unwrap();
    let record = NewRecord { generation: Some(generation) };
    let told = writer.finish().await.unwrap().commit(record).await.unwrap().facts.id;
    until_listed(&store, 10).await;
    drop((writer, store));

    for id in [flipped, archived, both] {
        let mut bytes = fs::read(path(dir.path(), id, "gif")).unwrap();
        bytes[500] ^= 1;
        fs::write(path(dir.path(), id, "gif"), bytes).unwrap();
    }
    fs::write(path(dir.path(), cut, "gif"), &gif(1, 1000)[..300]).unwrap();
    fs::remove_file(path(dir.path(), no_record, "json")).unwrap();
    fs::write(path(dir.path(), nonsense, "json"), "{").unwrap();
    for id in [misfit, told] {
        let json = fs::read_to_string(path(dir.path(), id, "json")).unwrap();
        fs::write(path(dir.path(), id, "json"), json.replace("\"bytes\":1000", "\"bytes\":999")).unwrap();
    }
    fs::remove_file(path(dir.path(), lost, "gif")).unwrap();
    fs::remove_file(path(dir.path(), both, "json")).unwrap();
    fs::write(dir.path().join("images/README"), "not ours").unwrap();
    let stray = Path::new("images").join(lost.shard()).join("notes.txt");
    fs::write(dir.path().join(&stray), "not ours").unwrap();

    let set_aside = Some(Mended::SetAside);
    let written = Some(Mended::RecordWritten);
    let mut expected = vec![
        (name(flipped, "gif"), Fault::Damaged, set_aside),
        (name(cut, "gif"), Fault::Damaged, set_aside),
        (name(archived, "gif"), Fault::Damaged, Some(Mended::FetchedAgain)),
        (name(both, "gif"), Fault::Damaged, set_aside),
        (name(no_record, "json"), Fault::NoRecord, written),
        (name(nonsense, "json"), Fault::BadRecord, written),
        (name(misfit, "json"), Fault::BadRecord, written),
        (name(told, "json"), Fault::BadRecord, written),
        (name(lost, "json"), Fault::Lost, None),
        ("images/README".into(), Fault::Stray, None),
        (stray, Fault::Stray, None),
    ];
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    let of = |mends: bool| -> Vec<Finding> {
        let finding = |(path, fault, mended): &(std::path::PathBuf, Fault, Option<Mended>)| Finding {
            path: path.clone(),
            fault: *fault,
            mended: mended.filter(|_| mends),
        };
        expected.iter().map(finding).collect()
    };
    assert_eq!(verify(dir.path(), false).0, of(false));
    assert!(!dir.path().join("damaged").exists(), "only looking changes nothing");
    let (findings, checked) = verify(dir.path(), true);
    assert_eq!(findings, of(true));
    assert_eq!(checked.mended, 8);

    // Nothing was thrown away.
    let mut aside: Vec<_> = [flipped, cut, archived, both].iter().map(|id| format!("{id}.gif")).collect();
    aside.extend([nonsense, misfit, told].iter().map(|id| format!("{id}.json")));
    aside.sort();
    assert_eq!(files_in(&dir.path().join("damaged")), aside);
    // What is left cannot be mended from here: two pictures that only a backup has, and what is not ours.
    let left = verify(dir.path(), true).0;
    let mut faults: Vec<_> = left.iter().map(|finding| finding.fault).collect();
    faults.sort_by_key(|fault| *fault == Fault::Stray);
    assert_eq!(faults, [Fault::Lost, Fault::Lost, Fault::Lost, Fault::Stray, Fault::Stray]);

    let store = with_archive(dir.path());
    until_listed(&store, 9).await;
    for id in [no_record, nonsense, misfit, told] {
        assert!(store.get(&id).await.unwrap().is_some());
    }
    let record = store.record(&told).await.unwrap().unwrap();
    assert_eq!((record.bytes, record.generation.unwrap().request_id), (1000, "req_1".to_owned()));
    assert!(store.get(&archived).await.unwrap().is_none());
    assert!(store.record(&archived).await.unwrap().unwrap().is_archived_at(BUCKET), "it is fetched from there");
    // From a backup, or made again.
    put(&store, &gif(0, 1000)).await.unwrap();
    assert!(store.get(&flipped).await.unwrap().is_some());
}

#[tokio::test]
async fn a_file_set_aside_takes_no_others_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_archive(dir.path());
    for _ in 0..2 {
        let id = put(&store, &gif(1, 1000)).await.unwrap().facts.id;
        fs::write(path(dir.path(), id, "gif"), "cut").unwrap();
        assert_eq!(verify(dir.path(), true).1.mended, 1);
    }
    assert_eq!(files_in(&dir.path().join("damaged")).len(), 2);
}

#[tokio::test]
async fn looking_is_no_look() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = put(&store, &gif(1, 1000)).await.unwrap().facts.id;
    let accessed = || fs::metadata(path(dir.path(), id, "gif")).unwrap().accessed().unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let file = fs::File::options().write(true).open(path(dir.path(), id, "gif")).unwrap();
    file.set_times(fs::FileTimes::new().set_accessed(long_ago)).unwrap();
    assert_eq!(verify(dir.path(), false).1.pictures, 1);
    assert_eq!(accessed(), long_ago);
}

#[tokio::test]
async fn commits_evictions_and_deletions_meanwhile_are_no_findings() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_archive(dir.path());
    let stop = Arc::new(AtomicBool::new(false));
    let busy = {
        let (store, stop) = (store.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut seed = 0;
            while !stop.load(Ordering::Relaxed) {
                seed += 1;
                let id = put(&store, &gif(seed % 40, 1000)).await.unwrap().facts.id;
                store.mark_archived(id).await.unwrap();
                match seed % 3 {
                    0 => drop(store.evict(id).await.unwrap()),
                    1 => drop(store.delete(id).await.unwrap()),
                    _ => {}
                }
            }
        })
    };
    let root = dir.path().to_owned();
    let found = tokio::task::spawn_blocking(move || (0..20).map(|_| verify(&root, true).0).collect::<Vec<_>>());
    let found = found.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    busy.await.unwrap();
    assert!(found.iter().all(Vec::is_empty), "{found:?}");
    assert!(!dir.path().join("damaged").exists());
}

#[test]
fn where_there_is_no_store_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    assert!(Verify::new(&missing, None, true).is_err() && Rebuild::new(&missing, None).is_err());
    assert!(!missing.exists());
}

#[tokio::test]
async fn the_index_is_built_anew_unless_a_gateway_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_archive(dir.path());
    for seed in 0..20 {
        put(&store, &gif(seed, 1000)).await.unwrap();
    }
    until_listed(&store, 20).await;
    let rebuild = async || Rebuild::new(dir.path(), Some(BUCKET.into())).unwrap().run().await;
    assert!(matches!(rebuild().await, Err(StoreError::IndexClosed)));
    assert_eq!(store.counts().await.unwrap().pictures, 20, "it was left alone");
    close(dir.path(), store).await;
    fs::write(dir.path().join("index/conf"), "nonsense").unwrap();
    let rebuilt = rebuild().await.unwrap();
    assert_eq!((rebuilt.counts.pictures, rebuilt.counts.waiting, rebuilt.findings.added), (20, 20, 20));

    let store = with_archive(dir.path());
    until_listed(&store, 20).await;
    assert_eq!(store.findings().added, 0, "it was complete");
}

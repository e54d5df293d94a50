//! Evicting, deleting, and the marks in records that decide about them.

use super::*;

const BUCKET: &str = "https://bucket/b/p/";

fn with_archive(dir: &Path) -> Store {
    Store::open(dir, &settings(), Some(BUCKET.into())).unwrap()
}

fn shard(dir: &Path, id: PictureId) -> Vec<String> {
    let prefix = format!("{id}.");
    let all = files_in(&dir.join("images").join(id.shard()));
    all.into_iter().filter_map(|name| name.strip_prefix(&prefix).map(str::to_owned)).collect()
}

async fn kept(store: &Store, seed: u32) -> PictureId {
    put(store, &gif(seed, 1000)).await.unwrap().facts.id
}

async fn restore(store: &Store, bytes: &[u8], record: Record) -> Result<Facts, StoreError> {
    let mut writer = store.writer();
    writer.write(bytes).await.unwrap();
    writer.finish().await.unwrap().restore(record, Arc::default()).await
}

#[tokio::test]
async fn only_what_the_archive_has_is_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_archive(dir.path());
    let id = kept(&store, 1).await;
    until_listed(&store, 1).await;
    assert_eq!(store.evict(id).await.unwrap(), None);

    let record = store.mark_archived(id).await.unwrap().unwrap();
    assert!(record.is_archived_at(BUCKET));
    store.pin(id, true).await.unwrap();
    assert_eq!(store.evict(id).await.unwrap(), None, "pinned");
    store.pin(id, false).await.unwrap();
    assert_eq!(store.evict(id).await.unwrap(), Some(1000));
    assert_eq!(store.evict(id).await.unwrap(), None, "again");

    assert_eq!(shard(dir.path(), id), ["json"]);
    assert!(store.get(&id).await.unwrap().is_none());
    assert!(store.record(&id).await.unwrap().is_some());
    until("the count", async || store.counts().await.unwrap().local == 0).await;
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.pictures, counts.archived, counts.waiting), (1, 1, 0));
}

#[tokio::test]
async fn a_mark_for_another_bucket_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let id = {
        let store = with_archive(dir.path());
        let id = kept(&store, 1).await;
        store.mark_archived(id).await.unwrap().unwrap();
        until("the mark", async || store.counts().await.is_ok_and(|counts| counts.archived == 1)).await;
        id
    };
    let moved = Store::open(dir.path(), &settings(), Some("https://bucket/other/".into())).unwrap();
    until_listed(&moved, 1).await;
    assert_eq!(moved.counts().await.unwrap().waiting, 1);
    assert_eq!(moved.waiting(None, 9).await.unwrap()[0].facts.id, id);
    assert_eq!(moved.evict(id).await.unwrap(), None);
    drop(moved);
    let back = with_archive(dir.path());
    until_listed(&back, 1).await;
    assert_eq!(back.counts().await.unwrap().archived, 1);
}

#[tokio::test]
async fn an_evicted_picture_comes_back_from_the_archive_or_from_its_upstream() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_archive(dir.path());
    let bytes = gif(1, 1000);
    let evicted = async || {
        let id = put(&store, &bytes).await.unwrap().facts.id;
        let record = store.mark_archived(id).await.unwrap().unwrap();
        assert_eq!(store.evict(id).await.unwrap(), Some(1000));
        (id, record)
    };
    let (id, record) = evicted().await;
    assert_eq!(restore(&store, &bytes, record.clone()).await.unwrap(), record.facts());
    assert_eq!(read(&store.get(&id).await.unwrap().unwrap()).await, bytes);

    let (id, record) = evicted().await;
    let stored = put(&store, &bytes).await.unwrap();
    assert!(!stored.deduplicated);
    assert_eq!(stored.facts, record.facts());
    assert_eq!(store.record(&id).await.unwrap().unwrap(), record);
    assert!(store.get(&id).await.unwrap().is_some());

    // Onto a machine that knows nothing of it.
    let dir = tempfile::tempdir().unwrap();
    let other = with_archive(dir.path());
    restore(&other, &bytes, record.clone()).await.unwrap();
    assert_eq!(other.record(&id).await.unwrap().unwrap(), record);
    let mut wrong = record;
    wrong.bytes = 999;
    assert!(matches!(restore(&other, &bytes, wrong).await, Err(StoreError::Gone)));
}

#[tokio::test]
async fn what_is_deleted_is_gone_everywhere_at_once() {
    for archive in [None, Some(BUCKET.to_owned())] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &settings(), archive.clone()).unwrap();
        let id = kept(&store, 1).await;
        until_listed(&store, 1).await;
        for _ in 0..3 {
            // Into the memory cache.
            assert!(store.get(&id).await.unwrap().is_some());
        }
        assert!(store.delete(id).await.unwrap());
        assert!(store.get(&id).await.unwrap().is_none());
        assert!(store.record(&id).await.unwrap().is_none());
        until_listed(&store, 0).await;
        assert!(!store.delete(id).await.unwrap(), "again");

        if archive.is_some() {
            assert_eq!(shard(dir.path(), id), ["gone"]);
            until("the grave", async || store.buried(None, 9).await.unwrap() == [id]).await;
            assert!(store.is_buried(id).await.unwrap());
            store.forget(id).await.unwrap();
            until("its end", async || store.buried(None, 9).await.unwrap().is_empty()).await;
        }
        assert!(shard(dir.path(), id).is_empty());
    }
}

#[tokio::test]
async fn the_archive_cannot_bring_back_what_was_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_archive(dir.path());
    let id = kept(&store, 1).await;
    let record = store.mark_archived(id).await.unwrap().unwrap();
    store.delete(id).await.unwrap();
    assert!(matches!(restore(&store, &gif(1, 1000), record).await, Err(StoreError::Gone)));
    assert!(store.mark_archived(id).await.unwrap().is_none());
    assert_eq!(shard(dir.path(), id), ["gone"]);
}

#[tokio::test]
async fn a_deleted_picture_that_is_made_again_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_archive(dir.path());
    let id = kept(&store, 1).await;
    store.mark_archived(id).await.unwrap();
    store.delete(id).await.unwrap();
    let stored = put(&store, &gif(1, 1000)).await.unwrap();
    assert!(!stored.deduplicated);
    assert_eq!(shard(dir.path(), id), ["gif", "json"]);
    until_listed(&store, 1).await;
    until("no grave", async || store.counts().await.unwrap().buried == 0).await;
    assert_eq!(store.counts().await.unwrap().waiting, 1, "it must be archived anew");
}

#[tokio::test]
async fn a_deletion_that_was_cut_off_is_carried_through_at_the_next_start() {
    for archive in [None, Some(BUCKET.to_owned())] {
        let dir = tempfile::tempdir().unwrap();
        let bytes = gif(1, 1000);
        let id = PictureId::of(&bytes);
        let path = |ext: &str| dir.path().join("images").join(id.shard()).join(format!("{id}.{ext}"));
        for left in [&["gif", "json"][..], &["json"], &["gif"], &[]] {
            let store = open(dir.path());
            put(&store, &bytes).await.unwrap();
            until_ready(&store).await;
            drop(store);
            for ext in ["gif", "json"].iter().filter(|ext| !left.contains(ext)) {
                fs::remove_file(path(ext)).unwrap();
            }
            let tombstone = format!("{{\"id\":\"{id}\",\"deleted\":1,\"archived\":{}}}", archive.is_some());
            fs::write(path("gone"), tombstone).unwrap();

            let store = Store::open(dir.path(), &settings(), archive.clone()).unwrap();
            assert!(store.get(&id).await.unwrap().is_none(), "{left:?}");
            until_listed(&store, 0).await;
            let rest = shard(dir.path(), id);
            assert_eq!(rest, if archive.is_some() { vec!["gone"] } else { vec![] }, "{left:?}");
            assert_eq!(store.counts().await.unwrap().buried, u64::from(archive.is_some()), "{left:?}");
            drop(store);
            let _ = fs::remove_file(path("gone"));
        }
    }
}

#[tokio::test]
async fn a_file_that_a_crash_cut_short_gets_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, cut) = (gif(1, 1000), gif(2, 1000));
    for (bytes, len) in [(&whole, 1000), (&cut, 500)] {
        let id = PictureId::of(bytes);
        let shard = dir.path().join("images").join(id.shard());
        fs::create_dir_all(&shard).unwrap();
        fs::write(shard.join(format!("{id}.gif")), &bytes[..len]).unwrap();
    }
    let store = open(dir.path());
    until_listed(&store, 1).await;
    assert!(store.record(&PictureId::of(&whole)).await.unwrap().is_some());
    assert!(store.record(&PictureId::of(&cut)).await.unwrap().is_none());
    let findings = store.findings();
    assert_eq!((findings.added, findings.adopted, findings.damaged), (1, 1, 1));
}

#[tokio::test]
async fn a_look_is_told_to_the_index_and_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let brief = config::Store { ttl: Some(Duration::from_secs(1)), ..settings() };
    let store = Store::open(dir.path(), &brief, None).unwrap();
    let id = kept(&store, 1).await;
    until_listed(&store, 1).await;
    let touched = async |store: &Store| store.entry(id).await.unwrap().unwrap().touched_ms;
    let before = touched(&store).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    store.get(&id).await.unwrap();
    until("the look", async || touched(&store).await > before).await;
    let after = touched(&store).await;
    drop(store);
    let again = open(dir.path());
    until_listed(&again, 1).await;
    assert_eq!(touched(&again).await, after);
}

//! Real files in temporary folders.

mod damage;
mod faults;
mod full_disk;
mod removal;
mod verify;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::*;
use crate::{Code, Error, config::Durability, picture::Format};

fn settings() -> config::Store {
    config::Store {
        memory_cache: 64 << 20,
        durability: Durability::Power,
        ttl: None,
        max_bytes: None,
        retention: None,
        min_free: 0,
    }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, &settings(), None).unwrap()
}

/// A GIF of this length, told from others by `seed`.
fn gif(seed: u32, len: usize) -> Vec<u8> {
    let mut bytes = b"GIF89a\x01\x00\x01\x00\x00\x00\x00".to_vec();
    bytes.extend(seed.to_le_bytes());
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    while bytes.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len.max(17));
    bytes
}

async fn put(store: &Store, bytes: &[u8]) -> Result<Stored, StoreError> {
    let mut writer = store.writer();
    writer.write(bytes).await?;
    writer.finish().await?.commit(NewRecord::default()).await
}

async fn read(picture: &Picture) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let piece = picture.read(all.len() as u64..u64::MAX).await.unwrap();
        if piece.is_empty() {
            return all;
        }
        all.extend_from_slice(&piece);
    }
}

fn files_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Waits until `done`, for what happens in the background.
async fn until<F: AsyncFnMut() -> bool>(what: &str, mut done: F) {
    let start = Instant::now();
    while !done().await {
        // For a machine that is busy with other work: only what never comes about ends here.
        assert!(start.elapsed() < Duration::from_secs(120), "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Drops the store and waits until nothing of it is left: its index's thread has ended, and no handle of sled, which the
/// thread may outrun by a moment, holds the lock.
///
/// There may be no index: one that is damaged is set aside, and the store may go before there is another.
async fn close(dir: &Path, store: Store) {
    let ended = store.inner.index.ended();
    drop(store);
    until("the end of the index's thread", async || ended()).await;
    let index = dir.join("index");
    until("the end of sled's lock", async || !index::is_held(&index)).await;
}

async fn until_ready(store: &Store) {
    until("the index", async || store.index_state() == IndexState::Ready).await;
}

async fn until_listed(store: &Store, pictures: u64) {
    until_ready(store).await;
    until("the count", async || store.counts().await.is_ok_and(|counts| counts.pictures == pictures)).await;
}

// Writing and reading.

#[tokio::test]
async fn a_picture_comes_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (seed, len) in [(1, 17), (2, 1000), (3, 128 << 10), (4, (128 << 10) + 1), (5, 256 << 10), (6, 3 << 20)] {
        let bytes = gif(seed, len);
        let stored = put(&store, &bytes).await.unwrap();
        assert_eq!(stored.facts.id, PictureId::of(&bytes));
        assert_eq!(stored.facts.format, Format::Gif);
        assert_eq!(stored.facts.len, len as u64);
        assert!(!stored.deduplicated);

        // From the file, into the cache, from the cache.
        for from_cache in [false, false, true] {
            let picture = store.get(&stored.facts.id).await.unwrap().unwrap();
            assert_eq!(picture.facts, stored.facts);
            assert_eq!(read(&picture).await, bytes, "{len} bytes");
            assert_eq!(picture.from_cache, from_cache, "{len} bytes");
        }
        let shard = dir.path().join("images").join(stored.facts.id.shard());
        assert!(files_in(&shard).contains(&format!("{}.gif", stored.facts.id)));
        assert!(files_in(&shard).contains(&format!("{}.json", stored.facts.id)));
    }
    assert!(files_in(&dir.path().join("tmp")).is_empty());
}

#[tokio::test]
async fn ranges_of_a_picture() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = gif(1, 600 << 10);
    let id = put(&store, &bytes).await.unwrap().facts.id;
    for _ in 0..2 {
        let picture = store.get(&id).await.unwrap().unwrap();
        assert_eq!(picture.read(5..15).await.unwrap(), &bytes[5..15]);
        assert_eq!(picture.read(614_399..u64::MAX).await.unwrap(), &bytes[614_399..]);
        assert!(picture.read(614_400..u64::MAX).await.unwrap().is_empty());
        assert!(picture.read(u64::MAX..u64::MAX).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_picture_is_found_by_its_files_alone() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = gif(1, 5000);
    let facts = put(&open(dir.path()), &bytes).await.unwrap().facts;

    let again = open(dir.path());
    assert_eq!(again.get(&facts.id).await.unwrap().unwrap().facts, facts);
    assert_eq!(again.record(&facts.id).await.unwrap().unwrap().bytes, 5000);

    let record = dir.path().join("images").join(facts.id.shard()).join(format!("{}.json", facts.id));
    for damage in ["", "{\"v\":", "[]"] {
        fs::write(&record, damage).unwrap();
        assert_eq!(read(&open(dir.path()).get(&facts.id).await.unwrap().unwrap()).await, bytes);
    }
    fs::remove_file(&record).unwrap();
    let without_record = open(dir.path());
    assert_eq!(read(&without_record.get(&facts.id).await.unwrap().unwrap()).await, bytes);
    let stored = put(&without_record, &bytes).await.unwrap();
    assert!(stored.deduplicated && record.exists());

    assert!(again.get(&PictureId::of(b"another")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_file_of_the_wrong_length_is_no_picture_and_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = gif(1, 5000);
    let id = put(&open(dir.path()), &bytes).await.unwrap().facts.id;
    let blob = dir.path().join("images").join(id.shard()).join(format!("{id}.gif"));
    fs::write(&blob, &bytes[..100]).unwrap();

    let store = open(dir.path());
    assert!(store.get(&id).await.unwrap().is_none());
    assert!(!put(&store, &bytes).await.unwrap().deduplicated);
    assert_eq!(read(&store.get(&id).await.unwrap().unwrap()).await, bytes);
}

#[tokio::test]
async fn a_removed_picture_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &config::Store { memory_cache: 0, ..settings() }, None).unwrap();
    let id = put(&store, &gif(1, 5000)).await.unwrap().facts.id;
    assert!(store.get(&id).await.unwrap().is_some());
    fs::remove_dir_all(dir.path().join("images").join(id.shard())).unwrap();
    assert!(store.get(&id).await.unwrap().is_none());
    put(&store, &gif(1, 5000)).await.unwrap();
    assert!(store.get(&id).await.unwrap().is_some());
}

#[tokio::test]
async fn the_record_tells_the_generation_and_the_first_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let commit = async |request_id: &str| {
        let mut writer = store.writer();
        writer.write(&gif(1, 100)).await.unwrap();
        let generation = Generation { request_id: request_id.into(), key: Some("k".into()), ..Generation::default() };
        writer.finish().await.unwrap().commit(NewRecord { generation: Some(generation) }).await.unwrap()
    };
    let first = commit("req_1").await;
    let second = commit("req_2").await;
    assert!(second.deduplicated);
    assert_eq!(first.facts, second.facts);
    let record = store.record(&first.facts.id).await.unwrap().unwrap();
    assert_eq!(record.generation.unwrap().request_id, "req_1");

    until_listed(&store, 1).await;
    assert_eq!(store.recent(None, 9).await.unwrap().entries[0].key.as_deref(), Some("k"));
}

#[tokio::test]
async fn commits_of_the_same_picture_may_run_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for len in [100, 300 << 10] {
        let bytes = gif(1, len);
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let (store, bytes) = (store.clone(), bytes.clone());
                tokio::spawn(async move { put(&store, &bytes).await.unwrap() })
            })
            .collect();
        let mut new = 0;
        for task in tasks {
            new += usize::from(!task.await.unwrap().deduplicated);
        }
        assert_eq!(new, 1);
        assert_eq!(read(&store.get(&PictureId::of(&bytes)).await.unwrap().unwrap()).await, bytes);
    }
    assert!(files_in(&dir.path().join("tmp")).is_empty());
    until_listed(&store, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_all_of_a_picture_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let pictures: Arc<Vec<Vec<u8>>> = Arc::new((0..20).map(|seed| gif(seed, 200 << 10)).collect());
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        // A second store, so that nothing is remembered from the commit.
        let (reader, pictures, done) = (open(dir.path()), Arc::clone(&pictures), Arc::clone(&done));
        async move {
            let mut seen = 0;
            // The last round begins when everything has been put.
            loop {
                let last = done.load(Ordering::Relaxed);
                for bytes in pictures.iter() {
                    if let Some(picture) = reader.get(&PictureId::of(bytes)).await.unwrap() {
                        assert_eq!(PictureId::of(&read(&picture).await), PictureId::of(bytes));
                        seen += 1;
                    }
                }
                if last {
                    return seen;
                }
            }
        }
    });
    for bytes in pictures.iter() {
        put(&store, bytes).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() >= pictures.len());
}

#[tokio::test]
async fn many_readers_of_one_picture_load_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = put(&store, &gif(1, 1 << 20)).await.unwrap().facts.id;
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.get(&id).await.unwrap().unwrap() })
        })
        .collect();
    let mut buffers = std::collections::HashSet::new();
    for reader in readers {
        if let Body::Memory(bytes) = reader.await.unwrap().body {
            buffers.insert(bytes.as_ptr());
        }
    }
    assert_eq!(buffers.len(), 1);
}

#[tokio::test]
async fn a_picture_too_large_for_the_cache_is_read_from_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &config::Store { memory_cache: 16 << 20, ..settings() }, None).unwrap();
    let (fits, too_large) = (gif(1, 1 << 20), gif(2, (1 << 20) + 1));
    for bytes in [&fits, &too_large] {
        put(&store, bytes).await.unwrap();
    }
    for _ in 0..3 {
        store.get(&PictureId::of(&fits)).await.unwrap();
        assert!(matches!(store.get(&PictureId::of(&too_large)).await.unwrap().unwrap().body, Body::File(_)));
    }
    assert!(store.get(&PictureId::of(&fits)).await.unwrap().unwrap().from_cache);
}

// What is no picture, and what there is no room for.

#[tokio::test]
async fn what_is_no_picture_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for len in [0, 5, 128 << 10, 500 << 10] {
        let bytes: Vec<u8> = b"no picture ".iter().copied().cycle().take(len).collect();
        let mut writer = store.writer();
        writer.write(&bytes).await.unwrap();
        assert!(matches!(writer.finish().await, Err(StoreError::NotAPicture)), "{len}");
        let mut replay = writer.into_replay().await.unwrap();
        let mut back = Vec::new();
        while let Some(piece) = replay.chunk().await.unwrap() {
            assert!(!piece.is_empty() && piece.len() <= 128 << 10);
            back.extend_from_slice(&piece);
        }
        assert_eq!(back, bytes, "{len}");
    }
    assert!(files_in(&dir.path().join("tmp")).is_empty());
    assert!(files_in(&dir.path().join("images")).is_empty());
}

#[tokio::test]
async fn a_size_header_far_into_the_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let jpeg = fs::read(format!("{}/tests/fixtures/wire/img/px2.jpg", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut bytes = jpeg[..2].to_vec();
    for _ in 0..5 {
        bytes.extend(b"\xff\xe2\xff\xff"); // a profile of 64 KiB
        bytes.extend([7; 0xfffd]);
    }
    bytes.extend(&jpeg[2..]);
    assert_eq!(put(&store, &bytes).await.unwrap().facts.format, Format::Jpeg);
}

#[tokio::test]
async fn dropped_writers_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut writer = store.writer();
    writer.write(&gif(1, 500 << 10)).await.unwrap();
    assert_eq!(files_in(&dir.path().join("tmp")).len(), 1);
    let staged = writer.finish().await.unwrap();
    assert_eq!(files_in(&dir.path().join("tmp")).len(), 1);
    drop((writer, staged));
    assert!(files_in(&dir.path().join("tmp")).is_empty());

    fs::write(dir.path().join("tmp/left-over"), "by a killed process").unwrap();
    open(dir.path());
    assert!(files_in(&dir.path().join("tmp")).is_empty());
}

#[tokio::test]
async fn below_min_free_nothing_new_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (old, small, large) = (gif(1, 100), gif(2, 100), gif(3, 500 << 10));
    put(&open(dir.path()), &old).await.unwrap();

    let full = Store::open(dir.path(), &config::Store { min_free: u64::MAX, ..settings() }, None).unwrap();
    assert!(matches!(full.check_room().await, Err(StoreError::Full)));
    for bytes in [&small, &large] {
        let error = put(&full, bytes).await.unwrap_err();
        assert!(matches!(error, StoreError::Full), "{error}");
        assert_eq!(Error::from(error).code(), Code::StorageFull);
    }
    assert!(put(&full, &old).await.unwrap().deduplicated);
    assert_eq!(read(&full.get(&PictureId::of(&old)).await.unwrap().unwrap()).await, old);
    assert!(files_in(&dir.path().join("tmp")).is_empty());
}

// Spooled bodies.

#[tokio::test]
async fn a_spool_gives_any_range_back_and_has_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for len in [0, 1, 256 << 10, (256 << 10) + 1, 900 << 10] {
        let bytes = gif(1, len.max(17))[..len].to_vec();
        let mut spool = store.spooler("a key").spool(None);
        for piece in bytes.chunks(100_000) {
            spool.write(piece).await.unwrap();
        }
        assert_eq!(spool.written(), len as u64);
        let reader = spool.freeze().await.unwrap();
        assert_eq!((reader.len(), reader.is_empty()), (len as u64, len == 0));
        assert!(files_in(&dir.path().join("tmp")).is_empty());

        let whole = |reader: SpoolReader| async move {
            let mut all = Vec::new();
            loop {
                let piece = reader.read(all.len() as u64..u64::MAX).await.unwrap();
                assert!(piece.len() <= 128 << 10);
                if piece.is_empty() {
                    return all;
                }
                all.extend_from_slice(&piece);
            }
        };
        let (one, other) = tokio::join!(whole(reader.clone()), whole(reader.clone()));
        assert!(one == bytes && other == bytes, "{len}");
        let (from, to) = (len / 3, len / 3 + 10.min(len / 3));
        assert_eq!(reader.read(from as u64..to as u64).await.unwrap(), &bytes[from..to]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn pieces_of_any_size_make_the_same_picture(
        len in 17_usize..600_000,
        sizes in proptest::collection::vec(prop_oneof![1_usize..64, 1000_usize..300_000], 1..8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let bytes = gif(7, len);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let process = config::Store { durability: Durability::Process, ..settings() };
            let store = Store::open(dir.path(), &process, None).unwrap();
            let (mut writer, mut left, mut turn) = (store.writer(), &bytes[..], sizes.iter().cycle());
            // Tiny pieces at first, then what is left in large ones.
            for _ in 0..200 {
                let (piece, rest) = left.split_at((*turn.next().unwrap()).min(left.len()));
                writer.write(piece).await.unwrap();
                left = rest;
            }
            writer.write(left).await.unwrap();
            assert_eq!(writer.written(), len as u64);
            let staged = writer.finish().await.unwrap();
            assert_eq!((staged.id(), staged.len()), (PictureId::of(&bytes), len as u64));
            let id = staged.commit(NewRecord::default()).await.unwrap().facts.id;
            assert!(read(&store.get(&id).await.unwrap().unwrap()).await == bytes);
        });
    }
}

// The index.

#[tokio::test]
async fn pictures_are_listed_newest_first_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut ids = Vec::new();
    for seed in 0..7 {
        ids.push(put(&store, &gif(seed, 100)).await.unwrap().facts.id);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    ids.reverse();
    until_listed(&store, 7).await;
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.pictures, counts.bytes, counts.local, counts.waiting), (7, 700, 7, 0));

    let (mut listed, mut before) = (Vec::new(), None);
    loop {
        let page = store.recent(before, 3).await.unwrap();
        listed.extend(page.entries.iter().map(|entry| entry.facts.id));
        match page.next {
            Some(cursor) => before = Some(cursor.to_string().parse().unwrap()),
            None => break,
        }
    }
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn a_lost_or_damaged_index_is_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let index = dir.path().join("index");
    {
        let store = open(dir.path());
        for seed in 0..20 {
            put(&store, &gif(seed, 100)).await.unwrap();
        }
        until_listed(&store, 20).await;
        close(dir.path(), store).await;
    }
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 4] = [
        ("removed", |index| fs::remove_dir_all(index).unwrap()),
        ("garbage in its files", |index| {
            for file in fs::read_dir(index).unwrap() {
                let path = file.unwrap().path();
                if path.is_file() {
                    fs::write(path, [0xa5; 4096]).unwrap();
                }
            }
        }),
        ("emptied", |index| fs::write(index.join("db"), "").unwrap()),
        ("a file in its place", |index| {
            fs::remove_dir_all(index).unwrap();
            fs::write(index, "no folder").unwrap();
        }),
    ];
    for (what, damage) in damages {
        damage(&index);
        let store = open(dir.path());
        assert!(store.get(&PictureId::of(&gif(0, 100))).await.unwrap().is_some(), "{what}");
        until_listed(&store, 20).await;
        assert_eq!(store.recent(None, 100).await.unwrap().entries.len(), 20, "{what}");
        close(dir.path(), store).await;
    }
    let aside = files_in(dir.path()).into_iter().filter(|name| name.starts_with("index.bad-")).count();
    assert_eq!(aside, 1);
}

#[tokio::test]
async fn what_changed_while_nobody_looked_is_found_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (gone, without_record) = {
        let store = open(dir.path());
        let mut ids = Vec::new();
        for seed in 0..5 {
            ids.push(put(&store, &gif(seed, 100)).await.unwrap().facts.id);
        }
        until_listed(&store, 5).await;
        (ids[0], ids[1])
    };
    let file = |id: PictureId, ext: &str| dir.path().join("images").join(id.shard()).join(format!("{id}.{ext}"));
    fs::remove_file(file(gone, "gif")).unwrap();
    fs::remove_file(file(gone, "json")).unwrap();
    fs::remove_file(file(without_record, "json")).unwrap();
    let added = gif(9, 200);
    let path = file(PictureId::of(&added), "gif");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, &added).unwrap();
    fs::write(dir.path().join("images/README"), "a file that is not ours").unwrap();

    let store = open(dir.path());
    until_listed(&store, 5).await;
    assert_eq!(store.counts().await.unwrap().bytes, 600);
    let listed: Vec<_> = store.recent(None, 9).await.unwrap().entries.iter().map(|entry| entry.facts.id).collect();
    assert!(!listed.contains(&gone) && listed.contains(&PictureId::of(&added)));
}

#[tokio::test]
async fn while_another_process_has_the_index_everything_but_listing_works() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    until_ready(&first).await;
    let second = open(dir.path());
    let bytes = gif(1, 300 << 10);
    let id = put(&second, &bytes).await.unwrap().facts.id;
    assert_eq!(read(&second.get(&id).await.unwrap().unwrap()).await, bytes);
    assert_eq!(second.index_state(), IndexState::Closed);
    assert!(matches!(second.recent(None, 1).await, Err(StoreError::IndexClosed)));
    drop(first);
    until_listed(&second, 1).await;
    assert!(!files_in(dir.path()).iter().any(|name| name.starts_with("index.bad-")));
}

/// Regression 27: for a minute after a restart nothing was archived or evicted.
#[tokio::test]
async fn a_lease_ends_with_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let long = Duration::from_secs(3600);
    let store = open(dir.path());
    until_ready(&store).await;
    assert!(store.lease("archiver", "one", long).await.unwrap());
    assert!(!store.lease("archiver", "two", long).await.unwrap());
    drop(store);
    let store = open(dir.path());
    until_ready(&store).await;
    assert!(store.lease("archiver", "two", long).await.unwrap());
}

/// Regression 28: a picture was paid for, and could not be kept, while `tmp/` alone could be written.
#[tokio::test]
async fn folders_that_cannot_be_written_are_seen_before_it_costs_money() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.check_room().await.unwrap();
    store.check_writable().await.unwrap();
    fs::remove_dir_all(dir.path().join("images")).unwrap();
    assert!(matches!(store.check_room().await, Err(StoreError::Io { .. })));
    assert!(matches!(store.check_writable().await, Err(StoreError::Io { .. })));
}

/// Regression 29: the bytes of a picture that was made again were thrown away for a damaged file of the same length.
#[tokio::test]
async fn a_picture_that_is_made_again_mends_a_damaged_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = gif(1, 5000);
    let facts = put(&store, &bytes).await.unwrap().facts;
    let path = dir.path().join("images").join(facts.id.shard()).join(format!("{}.gif", facts.id));
    let mut damaged = bytes.clone();
    damaged[4000] ^= 1;
    fs::write(&path, &damaged).unwrap();
    for _ in 0..2 {
        assert!(read(&store.get(&facts.id).await.unwrap().unwrap()).await == damaged, "now it is in memory, too");
    }
    assert!(!put(&store, &bytes).await.unwrap().deduplicated);
    assert!(read(&store.get(&facts.id).await.unwrap().unwrap()).await == bytes);
    assert!(fs::read(&path).unwrap() == bytes);
    assert!(put(&store, &bytes).await.unwrap().deduplicated);
}

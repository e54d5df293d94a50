//! What becomes of pictures when the disk fails: each call of each action in turn, in each way.
//!
//! The promise, whatever fails: a picture that was reported safe can be read, with the right bytes, now and after a
//! restart; none is seen by half; the error says what it is; the same action works when the disk does again.

use std::path::PathBuf;

use futures_util::future::join_all;
use rustix::io::Errno;
use tokio::sync::Semaphore;

use super::*;
use crate::store::fault::{Armed, Kind, arm};

const BUCKET: &str = "https://bucket/b/p/";
const WAYS: [(Kind, Errno); 3] =
    [(Kind::Before, Errno::NOSPC), (Kind::After, Errno::IO), (Kind::FromThenOn, Errno::NOSPC)];

/// Which call fails, and how.
#[derive(Clone, Copy, Debug)]
struct At {
    nth: usize,
    kind: Kind,
    error: Errno,
}

impl At {
    fn arm(self, dir: &Path, folders: &[&str]) -> Armed {
        let folders: Vec<PathBuf> = folders.iter().map(|folder| dir.join(folder)).collect();
        arm(&folders, self.nth, self.kind, self.error)
    }

    /// Lets a call on the pictures' files fail while `action` runs. Its result, and whether a call failed.
    async fn during<T>(self, dir: &Path, action: impl Future<Output = Result<T, StoreError>>) -> (Option<T>, bool) {
        let armed = self.arm(dir, &["images", "tmp", "state"]);
        let result = action.await;
        let fired = armed.fired();
        drop(armed);
        if let Err(error) = &result {
            assert!(fired, "{error}, and nothing failed");
            assert!(!error.to_string().contains(dir.to_str().unwrap()), "{error}");
            match self.error {
                Errno::NOSPC => assert!(matches!(error, StoreError::Full), "{self:?}: {error}"),
                _ => assert!(matches!(error, StoreError::Io { .. }), "{self:?}: {error}"),
            }
        }
        (result.ok(), fired)
    }
}

/// Runs `scenario` with the first call failing, then with the second, until it says that none failed.
async fn with_each_call_failing(scenario: impl AsyncFn(At) -> bool) {
    for (kind, error) in WAYS {
        let mut nth = 1;
        while scenario(At { nth, kind, error }).await {
            nth += 1;
            assert!(nth < 200, "there is no end to it");
        }
        assert!(nth > 1, "{kind:?}: no call failed, nothing was proved");
    }
}

/// A store with one old picture in it.
struct Case {
    dir: tempfile::TempDir,
    archive: Option<String>,
    store: Store,
}

impl Case {
    async fn new(archive: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let archive = archive.map(str::to_owned);
        let store = Store::open(dir.path(), &settings(), archive.clone()).unwrap();
        put(&store, &old()).await.unwrap();
        until_listed(&store, 1).await;
        Self { dir, archive, store }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The old picture and, if `safe`, this one too can be read. If not, it is there whole or not at all.
    async fn holds(&self, bytes: &[u8], safe: bool) {
        assert!(self.has(&old()).await);
        let there = self.has(bytes).await;
        assert!(there || !safe, "a picture that was safe is lost");
    }

    /// Whether this picture is there, with the right bytes.
    async fn has(&self, bytes: &[u8]) -> bool {
        match self.store.get(&PictureId::of(bytes)).await.unwrap() {
            Some(picture) => {
                assert!(read(&picture).await == bytes, "other bytes");
                true
            }
            None => false,
        }
    }

    /// After a restart.
    async fn again(self) -> Self {
        let Self { dir, archive, store } = self;
        close(dir.path(), store).await;
        let store = Store::open(dir.path(), &settings(), archive.clone()).unwrap();
        assert!(files_in(&dir.path().join("tmp")).is_empty());
        until_ready(&store).await;
        Self { dir, archive, store }
    }

    async fn evictable(archive: &str, bytes: &[u8]) -> (Self, PictureId) {
        let case = Self::new(Some(archive)).await;
        let id = put(&case.store, bytes).await.unwrap().facts.id;
        case.store.mark_archived(id).await.unwrap().unwrap();
        until_listed(&case.store, 2).await;
        (case, id)
    }
}

fn old() -> Vec<u8> {
    gif(1000, 1000)
}

#[tokio::test]
async fn a_commit() {
    for len in [1000, 300 << 10] {
        with_each_call_failing(async |at| {
            let (case, bytes) = (Case::new(None).await, gif(1, len));
            let (stored, fired) = at.during(case.path(), put(&case.store, &bytes)).await;
            case.holds(&bytes, stored.is_some()).await;
            assert!(files_in(&case.path().join("tmp")).is_empty(), "{at:?}");

            let case = case.again().await;
            case.holds(&bytes, stored.is_some()).await;
            put(&case.store, &bytes).await.unwrap();
            case.holds(&bytes, true).await;
            until_listed(&case.store, 2).await;
            fired
        })
        .await;
    }
}

#[tokio::test]
async fn a_commit_and_its_repetition_without_a_restart() {
    with_each_call_failing(async |at| {
        let (case, bytes) = (Case::new(None).await, gif(1, 1000));
        let (_, fired) = at.during(case.path(), put(&case.store, &bytes)).await;
        put(&case.store, &bytes).await.unwrap();
        case.holds(&bytes, true).await;
        until_listed(&case.store, 2).await;
        fired
    })
    .await;
}

#[tokio::test]
async fn a_commit_of_a_picture_that_is_there() {
    with_each_call_failing(async |at| {
        let case = Case::new(None).await;
        let (_, fired) = at.during(case.path(), put(&case.store, &old())).await;
        case.holds(&old(), true).await;
        assert!(put(&case.store, &old()).await.unwrap().deduplicated);
        until_listed(&case.store, 1).await;
        fired
    })
    .await;
}

#[tokio::test]
async fn a_commit_of_a_picture_that_was_deleted() {
    with_each_call_failing(async |at| {
        let bytes = gif(1, 1000);
        let (case, id) = Case::evictable(BUCKET, &bytes).await;
        case.store.delete(id).await.unwrap();
        let (stored, fired) = at.during(case.path(), put(&case.store, &bytes)).await;
        case.holds(&bytes, stored.is_some()).await;
        let case = case.again().await;
        case.holds(&bytes, stored.is_some()).await;
        if !case.has(&bytes).await {
            assert!(case.store.is_buried(id).await.unwrap(), "{at:?}: the archive may bring it back");
        }
        put(&case.store, &bytes).await.unwrap();
        case.holds(&bytes, true).await;
        until_listed(&case.store, 2).await;
        until("no grave", async || case.store.counts().await.unwrap().buried == 0).await;
        fired
    })
    .await;
}

#[tokio::test]
async fn an_eviction() {
    with_each_call_failing(async |at| {
        let bytes = gif(1, 1000);
        let (case, id) = Case::evictable(BUCKET, &bytes).await;
        let (evicted, fired) = at.during(case.path(), case.store.evict(id)).await;
        case.holds(&bytes, false).await;
        if evicted.flatten().is_some() {
            assert!(!case.has(&bytes).await);
        }
        assert!(case.store.record(&id).await.unwrap().unwrap().is_archived_at(BUCKET));
        case.store.evict(id).await.unwrap();
        assert!(!case.has(&bytes).await);
        until("the count", async || case.store.counts().await.unwrap().local == 1).await;
        fired
    })
    .await;
}

#[tokio::test]
async fn a_deletion() {
    for archive in [None, Some(BUCKET)] {
        with_each_call_failing(async |at| {
            let (case, bytes) = (Case::new(archive).await, gif(1, 1000));
            let id = put(&case.store, &bytes).await.unwrap().facts.id;
            until_listed(&case.store, 2).await;
            // Into the memory cache.
            assert!(case.has(&bytes).await && case.has(&bytes).await);
            let (deleted, fired) = at.during(case.path(), case.store.delete(id)).await;
            case.holds(&bytes, false).await;
            let is_gone = deleted.is_some() || case.store.is_buried(id).await.unwrap();
            assert!(!(is_gone && case.has(&bytes).await), "{at:?}: deleted, and still served");
            if archive.is_some() && is_gone {
                until("the grave", async || case.store.buried(None, 9).await.unwrap() == [id]).await;
            }

            let case = case.again().await;
            case.holds(&bytes, false).await;
            assert!(!(is_gone && case.has(&bytes).await), "{at:?}: it came back");
            case.store.delete(id).await.unwrap();
            assert!(!case.has(&bytes).await);
            until_listed(&case.store, 1).await;
            fired
        })
        .await;
    }
}

#[tokio::test]
async fn marking_as_archived() {
    with_each_call_failing(async |at| {
        let (case, bytes) = (Case::new(Some(BUCKET)).await, gif(1, 1000));
        let id = put(&case.store, &bytes).await.unwrap().facts.id;
        let before = case.store.record(&id).await.unwrap().unwrap();
        let (marked, fired) = at.during(case.path(), case.store.mark_archived(id)).await;
        case.holds(&bytes, true).await;
        let mut there = case.store.record(&id).await.unwrap().expect("a record");
        assert!(there.archived.take().is_some() || marked.is_none());
        assert_eq!(there, before, "nothing else has changed");
        assert!(case.store.mark_archived(id).await.unwrap().is_some());
        until("the mark", async || case.store.counts().await.unwrap().archived == 1).await;
        fired
    })
    .await;
}

#[tokio::test]
async fn bringing_back_from_the_archive() {
    with_each_call_failing(async |at| {
        let bytes = gif(1, 300 << 10);
        let (case, id) = Case::evictable(BUCKET, &bytes).await;
        let record = case.store.record(&id).await.unwrap().unwrap();
        case.store.evict(id).await.unwrap();
        let restore = async || {
            let mut filling = case.store.filling(record.clone());
            for piece in bytes.chunks(100_000) {
                filling.write(piece.to_vec().into()).await?;
            }
            filling.finish().await
        };
        let (restored, fired) = at.during(case.path(), restore()).await;
        case.holds(&bytes, restored.is_some()).await;
        assert_eq!(case.store.record(&id).await.unwrap().unwrap(), record);
        restore().await.unwrap();
        case.holds(&bytes, true).await;
        until("the count", async || case.store.counts().await.unwrap().local == 2).await;
        fired
    })
    .await;
}

#[tokio::test]
async fn bringing_back_what_the_disk_does_not_take() {
    with_each_call_failing(async |at| {
        let bytes = gif(1, 300 << 10);
        let (case, id) = Case::evictable(BUCKET, &bytes).await;
        let record = case.store.record(&id).await.unwrap().unwrap();
        case.store.evict(id).await.unwrap();
        let mut filling = case.store.filling(record.clone());
        let growing = filling.growing();
        let leave = Arc::new(Semaphore::new(1));
        let pass = async {
            for piece in bytes.chunks(100_000) {
                if filling.write(piece.to_vec().into()).await.is_err() {
                    filling.in_memory(Arc::clone(&leave).acquire_owned().await.unwrap()).await?;
                    filling.write(piece.to_vec().into()).await?;
                }
            }
            Ok::<_, StoreError>(filling)
        };
        let (filling, fired) = at.during(case.path(), pass).await;
        // Reading back what was written may fail as well: then there is an error, and no wrong byte.
        if let Some(filling) = filling {
            let _ = filling.finish().await;
            let picture = Picture::growing(record.facts(), growing);
            assert!(picture.arrived().await);
            let mut read = Vec::new();
            while read.len() < bytes.len() {
                read.extend_from_slice(&picture.read(read.len() as u64..bytes.len() as u64).await.unwrap());
            }
            assert!(read == bytes, "{at:?}");
            drop(picture);
        }
        fired
    })
    .await;
}

#[tokio::test]
async fn a_file_of_state() {
    with_each_call_failing(async |at| {
        let case = Case::new(None).await;
        let state = case.store.state();
        state.write_json("keys", &1).unwrap();
        let (written, fired) = at.during(case.path(), async { state.write_json("keys", &2) }).await;
        let there: u32 = state.read_json("keys").unwrap().unwrap();
        assert!(there == 2 || (there == 1 && written.is_none()), "{at:?}: {there}");
        assert!(files_in(&case.path().join("tmp")).is_empty());
        state.write_json("keys", &3).unwrap();
        assert_eq!(state.read_json("keys").unwrap(), Some(3));
        fired
    })
    .await;
}

#[tokio::test]
async fn a_long_request_body() {
    with_each_call_failing(async |at| {
        let case = Case::new(None).await;
        let bytes = gif(1, 600 << 10);
        let spooled = async || {
            let mut spool = case.store.spooler("a key").spool(None);
            for piece in bytes.chunks(100_000) {
                spool.write(piece).await?;
            }
            spool.freeze().await
        };
        let (_, fired) = at.during(case.path(), spooled()).await;
        assert!(files_in(&case.path().join("tmp")).is_empty());
        assert_eq!(spooled().await.unwrap().len(), 600 << 10);
        fired
    })
    .await;
}

/// The start takes in what a crash has left: a picture without its record, a deletion that is not done, a file in `tmp/`.
#[tokio::test]
async fn a_start() {
    let scenario = async |at: At| {
        let (bytes, without_record, deleted) = (gif(1, 1000), gif(2, 1000), gif(3, 1000));
        let case = Case::new(Some(BUCKET)).await;
        for bytes in [&bytes, &without_record, &deleted] {
            let mut writer = case.store.writer();
            writer.write(bytes).await.unwrap();
            let generation = Generation { request_id: "req_1".into(), ..Generation::default() };
            writer.finish().await.unwrap().commit(NewRecord { generation: Some(generation) }).await.unwrap();
        }
        let Case { dir, archive, store } = case;
        close(dir.path(), store).await;
        let file = |bytes: &[u8], ext: &str| {
            let id = PictureId::of(bytes);
            dir.path().join("images").join(id.shard()).join(format!("{id}.{ext}"))
        };
        fs::remove_file(file(&without_record, "json")).unwrap();
        fs::remove_dir_all(dir.path().join("index")).unwrap();
        fs::write(file(&deleted, "gone"), "{").unwrap();
        fs::write(dir.path().join("tmp/1-1"), "x").unwrap();

        let armed = at.arm(dir.path(), &["images", "tmp", "state"]);
        let opened = Store::open(dir.path(), &settings(), archive.clone());
        if let Ok(store) = &opened {
            // While the disk fails, the index is as complete as it can be.
            until_ready(store).await;
        }
        let fired = armed.fired();
        drop(armed);
        assert!(opened.is_ok() || fired);
        let store = opened.unwrap_or_else(|_| Store::open(dir.path(), &settings(), archive.clone()).unwrap());
        let case = Case { dir, archive, store };
        for bytes in [&bytes, &without_record] {
            case.holds(bytes, true).await;
        }
        let case = case.again().await;
        for bytes in [&bytes, &without_record] {
            case.holds(bytes, true).await;
        }
        assert!(!case.has(&deleted).await);
        until_listed(&case.store, 3).await;
        let id = PictureId::of(&without_record);
        assert!(case.store.record(&id).await.unwrap().is_some(), "{at:?}: no record was written");
        let record = case.store.record(&PictureId::of(&bytes)).await.unwrap().unwrap();
        assert!(record.generation.is_some(), "{at:?}: a record that could not be read was overwritten");
        assert_eq!(case.store.buried(None, 9).await.unwrap(), [PictureId::of(&deleted)]);
        fired
    };
    with_each_call_failing(scenario).await;
}

/// However its index fails, a picture is kept and read; and it is listed as soon as the index works again.
#[tokio::test(flavor = "multi_thread")]
async fn the_index() {
    let scenario = async |at: At| {
        let case = Case::new(None).await.again().await;
        let armed = at.arm(case.path(), &["index"]);
        let pictures: Vec<_> = (1..4).map(|seed| gif(seed, 1000)).collect();
        for bytes in &pictures {
            put(&case.store, bytes).await.unwrap();
            case.holds(bytes, true).await;
        }
        until("a failure", async || armed.fired()).await;
        drop(armed);
        until_listed(&case.store, 4).await;
        for bytes in &pictures {
            case.holds(bytes, true).await;
        }
        let case = case.again().await;
        until_listed(&case.store, 4).await;
    };
    let scenario = &scenario;
    // A batch is applied, then flushed. Each waits a second for the index to be tried again.
    join_all(WAYS.map(|(kind, error)| join_all([1, 2].map(|nth| scenario(At { nth, kind, error }))))).await;
}

/// Regression 10.12: a store may go just after its damaged index was set aside, so that there is no index at all. Nothing
/// of it stays open, and the next start builds the index anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_before_a_damaged_index_is_built_anew() {
    for nth in [1, 2] {
        let case = Case::new(None).await;
        let armed = At { nth, kind: Kind::After, error: Errno::IO }.arm(case.path(), &["index"]);
        put(&case.store, &gif(1, 1000)).await.unwrap();
        until("the end of the damaged index", async || case.store.findings().rebuilt == 1).await;
        drop(armed);
        let Case { dir, archive, store } = case;
        close(dir.path(), store).await;
        assert!(!dir.path().join("index").exists(), "the index was set aside, and there was no time for another");
        let case = Case { store: Store::open(dir.path(), &settings(), archive.clone()).unwrap(), dir, archive };
        until_listed(&case.store, 2).await;
        case.holds(&gif(1, 1000), true).await;
    }
}

/// A start whose index cannot be opened.
#[tokio::test(flavor = "multi_thread")]
async fn opening_the_index() {
    join_all(WAYS.map(async |(kind, error)| {
        let Case { dir, archive, store } = Case::new(None).await;
        close(dir.path(), store).await;
        let armed = At { nth: 1, kind, error }.arm(dir.path(), &["index"]);
        let case = Case { store: Store::open(dir.path(), &settings(), None).unwrap(), dir, archive };
        put(&case.store, &gif(1, 1000)).await.unwrap();
        case.holds(&gif(1, 1000), true).await;
        until("a failure", async || armed.fired()).await;
        drop(armed);
        until_listed(&case.store, 2).await;
    }))
    .await;
}

//! The embedded index: one sled tree.
//!
//! | key | value |
//! |---|---|
//! | `t` + created (8 bytes, big endian) + id (20 bytes) | a small JSON: all of the entry |
//! | `i` + id | created, and a byte: 1 when the picture is on this disk |
//! | `w` + created + id | nothing: the entry waits for the archive |
//! | `b` + id | nothing: deleted here, not yet in the archive |
//! | `l` + name | who has this lease and until when |
//! | `c` | the counts |
//! | `p` | the layout, and the archive this index speaks of |
//!
//! They change together, in one batch. What is known of sled 0.34.7: opening a damaged database may panic, a cut one
//! opens silently with entries missing, an error stays until it is opened again, and one process may have it open.

use std::{
    collections::HashMap,
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sled::{Batch, Db, IVec};

use super::{Archiving, Change, Counts, Cursor, Entry, Index, IndexError, Known};
use crate::{
    picture::{Format, PictureId},
    store::{Facts, disk, record::unix_ms},
};

/// Memory for sled's pages.
const CACHE: u64 = 32 * 1024 * 1024;

const BY_TIME: u8 = b't';
const BY_ID: u8 = b'i';
const WAITING: u8 = b'w';
const BURIED: u8 = b'b';
const LEASE: u8 = b'l';
const COUNTS: &[u8] = b"c";
const PLACE: &[u8] = b"p";
/// Number of the layout in the table above. An index of another layout is begun anew.
const LAYOUT: u32 = 2;

/// An index in a folder of its own.
#[derive(Debug)]
pub(super) struct LocalIndex {
    db: Db,
    dir: PathBuf,
    /// Held from reading to writing by whoever changes something.
    changing: std::sync::Arc<Mutex<()>>,
}

#[derive(Serialize, Deserialize)]
struct Value {
    f: String,
    n: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    m: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    k: Option<String>,
    /// [`LOCAL`], [`PINNED`], [`IS_WAITING`], [`IS_DONE`].
    s: u8,
    a: u64,
}

const LOCAL: u8 = 1;
const PINNED: u8 = 2;
const IS_WAITING: u8 = 4;
const IS_DONE: u8 = 8;

#[derive(Serialize, Deserialize)]
struct Lease {
    holder: String,
    until_ms: u64,
}

impl LocalIndex {
    /// Opens it, or makes an empty one; empties one that speaks of another archive. May panic on a damaged one.
    pub(super) fn open(dir: &Path, archive: Option<&str>) -> Result<Self, IndexError> {
        if Self::is_held(dir) {
            return Err(IndexError::Busy);
        }
        // The keeper flushes.
        let config = sled::Config::new().path(dir).cache_capacity(CACHE).flush_every_ms(None);
        let db = disk::index(dir, || config.open())?;
        let place = format!("{LAYOUT} {}", archive.unwrap_or_default());
        if db.get(PLACE)?.is_none_or(|was| was != place.as_bytes()) {
            db.clear()?;
            db.insert(PLACE, place.as_bytes())?;
        }
        // Only one process has it open, so whoever had these is gone.
        for lease in db.scan_prefix([LEASE]).keys() {
            db.remove(lease?)?;
        }
        Ok(Self { db, dir: dir.to_owned(), changing: std::sync::Arc::default() })
    }

    /// Whether a process has it open. sled locks this file, and says so only in words.
    pub(super) fn is_held(dir: &Path) -> bool {
        File::open(dir.join("db")).is_ok_and(|db| matches!(db.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Runs `work` where it may block. A panic of sled is damage.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Db) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let db = self.db.clone();
        match tokio::task::spawn_blocking(move || work(&db)).await {
            Ok(result) => result,
            Err(join) if join.is_panic() => Err(damaged("it made sled panic")),
            Err(_) => Err(IndexError::Io(io::ErrorKind::Interrupted.into())),
        }
    }

    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Db) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let changing = std::sync::Arc::clone(&self.changing);
        self.run(move |db| {
            let _alone = changing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            work(db)
        })
        .await
    }
}

#[async_trait]
impl Index for LocalIndex {
    async fn apply(&self, changes: Vec<Change>) -> Result<(), IndexError> {
        let dir = self.dir.clone();
        self.change(move |db| {
            let mut applying = Applying::begin(db)?;
            for change in changes {
                applying.change(change)?;
            }
            Ok(disk::index(&dir, || applying.end())?)
        })
        .await
    }

    async fn flush(&self) -> Result<(), IndexError> {
        let dir = self.dir.clone();
        self.run(move |db| Ok(disk::index(&dir, || db.flush().map(drop))?)).await
    }

    async fn shard(&self, first: u8) -> Result<Vec<Known>, IndexError> {
        self.run(move |db| db.scan_prefix([BY_ID, first]).map(|item| known(item?)).collect()).await
    }

    async fn entry(&self, id: PictureId) -> Result<Option<Entry>, IndexError> {
        self.run(move |db| find(db, &id)).await
    }

    async fn newest(&self, before: Option<Cursor>, limit: usize) -> Result<Vec<Entry>, IndexError> {
        self.run(move |db| {
            let end = before.map_or_else(|| vec![BY_TIME + 1], |cursor| time_key(BY_TIME, &cursor));
            db.range(vec![BY_TIME]..end).rev().take(limit).map(|item| entry(item?)).collect()
        })
        .await
    }

    async fn oldest(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Entry>, IndexError> {
        self.run(move |db| behind(db, BY_TIME, after).take(limit).map(|item| entry(item?)).collect()).await
    }

    async fn waiting(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Entry>, IndexError> {
        self.run(move |db| {
            let mut entries = Vec::new();
            for item in behind(db, WAITING, after).take(limit) {
                let cursor = cursor(&item?.0)?;
                let key = time_key(BY_TIME, &cursor);
                let value = db.get(&key)?.ok_or_else(|| damaged("one that waits has no entry"))?;
                entries.push(entry((key.into(), value))?);
            }
            Ok(entries)
        })
        .await
    }

    async fn buried(&self, after: Option<PictureId>, limit: usize) -> Result<Vec<PictureId>, IndexError> {
        self.run(move |db| {
            let start = after.map_or_else(|| vec![BURIED], |id| [id_key(BURIED, &id), vec![0]].concat());
            db.range(start..vec![BURIED + 1]).keys().take(limit).map(|key| id_of(key?.get(1..))).collect()
        })
        .await
    }

    async fn counts(&self) -> Result<Counts, IndexError> {
        self.run(counts).await
    }

    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, IndexError> {
        let key = [&[LEASE], name.as_bytes()].concat();
        let holder = holder.to_owned();
        self.change(move |db| {
            let now = unix_ms(SystemTime::now());
            let until_ms = now.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
            if let Some(value) = db.get(&key)? {
                let lease: Lease = serde_json::from_slice(&value).map_err(damaged)?;
                // One that ends later than any that begins now was made before the clock was set back.
                if lease.holder != holder && lease.until_ms > now && lease.until_ms <= until_ms {
                    return Ok(false);
                }
            }
            db.insert(key, serde_json::to_vec(&Lease { holder, until_ms }).map_err(damaged)?)?;
            Ok(true)
        })
        .await
    }
}

/// A batch of changes that see each other.
struct Applying<'a> {
    db: &'a Db,
    counts: Counts,
    /// What the batch makes of a picture. `None`: nothing.
    entries: HashMap<PictureId, Option<Entry>>,
    buried: HashMap<PictureId, bool>,
    batch: Batch,
}

impl<'a> Applying<'a> {
    fn begin(db: &'a Db) -> Result<Self, IndexError> {
        let (entries, buried) = (HashMap::new(), HashMap::new());
        Ok(Self { db, counts: counts(db)?, entries, buried, batch: Batch::default() })
    }

    fn change(&mut self, change: Change) -> Result<(), IndexError> {
        match change {
            Change::Put(mut entry) => {
                let id = entry.facts.id;
                if let Some(old) = self.take(&id)? {
                    entry.touched_ms = entry.touched_ms.max(old.touched_ms);
                }
                self.put(entry)
            }
            Change::Remove(id) => {
                self.take(&id)?;
                Ok(())
            }
            Change::Touch { id, at_ms } => match self.take(&id)? {
                Some(mut entry) => {
                    entry.touched_ms = entry.touched_ms.max(at_ms);
                    self.put(entry)
                }
                None => Ok(()),
            },
            Change::Bury(id) => self.bury(id, true),
            Change::Forget(id) => self.bury(id, false),
        }
    }

    /// Takes an entry out.
    fn take(&mut self, id: &PictureId) -> Result<Option<Entry>, IndexError> {
        let old = match self.entries.remove(id) {
            Some(changed) => changed,
            None => find(self.db, id)?,
        };
        if let Some(old) = &old {
            self.counts.count(old, u64::checked_sub);
            self.batch.remove(time_key(BY_TIME, &old.cursor()));
            self.batch.remove(time_key(WAITING, &old.cursor()));
            self.batch.remove(id_key(BY_ID, id));
        }
        self.entries.insert(*id, None);
        Ok(old)
    }

    fn put(&mut self, entry: Entry) -> Result<(), IndexError> {
        let (id, cursor) = (entry.facts.id, entry.cursor());
        self.batch.insert(time_key(BY_TIME, &cursor), serde_json::to_vec(&Value::of(&entry)).map_err(damaged)?);
        if entry.archive == Archiving::Waiting {
            self.batch.insert(time_key(WAITING, &cursor), &[]);
        }
        let mut place = cursor.created_ms.to_be_bytes().to_vec();
        place.push(u8::from(entry.local));
        self.batch.insert(id_key(BY_ID, &id), place);
        self.counts.count(&entry, u64::checked_add);
        self.entries.insert(id, Some(entry));
        Ok(())
    }

    fn bury(&mut self, id: PictureId, buried: bool) -> Result<(), IndexError> {
        let key = id_key(BURIED, &id);
        let was = match self.buried.get(&id) {
            Some(was) => *was,
            None => self.db.contains_key(&key)?,
        };
        match (was, buried) {
            (false, true) => {
                self.batch.insert(key, &[]);
                self.counts.buried += 1;
            }
            (true, false) => {
                self.batch.remove(key);
                self.counts.buried = self.counts.buried.saturating_sub(1);
            }
            _ => {}
        }
        self.buried.insert(id, buried);
        Ok(())
    }

    fn end(mut self) -> sled::Result<()> {
        self.batch.insert(COUNTS, counts_value(&self.counts));
        self.db.apply_batch(self.batch)
    }
}

// === impl Value ===

impl Value {
    fn of(entry: &Entry) -> Self {
        let archive = match entry.archive {
            Archiving::Off => 0,
            Archiving::Waiting => IS_WAITING,
            Archiving::Done => IS_DONE,
        };
        let (local, pinned) = (if entry.local { LOCAL } else { 0 }, if entry.pinned { PINNED } else { 0 });
        Self {
            f: entry.facts.format.extension().to_owned(),
            n: entry.facts.len,
            m: entry.model.clone(),
            k: entry.key.clone(),
            s: archive | local | pinned,
            a: entry.touched_ms,
        }
    }

    fn into_entry(self, cursor: Cursor) -> Result<Entry, IndexError> {
        let Cursor { created_ms, id } = cursor;
        let format = Format::from_extension(&self.f).ok_or_else(|| damaged("an unknown format"))?;
        Ok(Entry {
            facts: Facts { id, format, len: self.n, created_ms },
            model: self.m,
            key: self.k,
            local: self.s & LOCAL != 0,
            archive: match self.s {
                s if s & IS_DONE != 0 => Archiving::Done,
                s if s & IS_WAITING != 0 => Archiving::Waiting,
                _ => Archiving::Off,
            },
            pinned: self.s & PINNED != 0,
            touched_ms: self.a,
        })
    }
}

fn time_key(kind: u8, cursor: &Cursor) -> Vec<u8> {
    [&[kind], &cursor.created_ms.to_be_bytes()[..], cursor.id.as_bytes()].concat()
}

fn id_key(kind: u8, id: &PictureId) -> Vec<u8> {
    [&[kind], &id.as_bytes()[..]].concat()
}

/// The keys of this kind behind a cursor, oldest first.
fn behind(db: &Db, kind: u8, after: Option<Cursor>) -> sled::Iter {
    let start = after.map_or_else(|| vec![kind], |cursor| [time_key(kind, &cursor), vec![0]].concat());
    db.range(start..vec![kind + 1])
}

fn find(db: &Db, id: &PictureId) -> Result<Option<Entry>, IndexError> {
    let Some(value) = db.get(id_key(BY_ID, id))? else { return Ok(None) };
    let key = time_key(BY_TIME, &Cursor { created_ms: number(value.get(..8).unwrap_or_default())?, id: *id });
    db.get(&key)?.map(|value| entry((key.into(), value))).transpose()
}

fn entry((key, value): (IVec, IVec)) -> Result<Entry, IndexError> {
    let value: Value = serde_json::from_slice(&value).map_err(damaged)?;
    value.into_entry(cursor(&key)?)
}

fn known((key, value): (IVec, IVec)) -> Result<Known, IndexError> {
    Ok(Known { id: id_of(key.get(1..))?, local: value.get(8) == Some(&1) })
}

fn cursor(key: &[u8]) -> Result<Cursor, IndexError> {
    Ok(Cursor { created_ms: number(key.get(1..9).unwrap_or_default())?, id: id_of(key.get(9..))? })
}

fn counts(db: &Db) -> Result<Counts, IndexError> {
    let Some(value) = db.get(COUNTS)? else { return Ok(Counts::default()) };
    let mut numbers = value.chunks(8).map(number);
    let mut next = || numbers.next().unwrap_or_else(|| Err(damaged("the counts")));
    Ok(Counts {
        pictures: next()?,
        bytes: next()?,
        local: next()?,
        local_bytes: next()?,
        archived: next()?,
        archived_bytes: next()?,
        waiting: next()?,
        waiting_bytes: next()?,
        buried: next()?,
    })
}

fn counts_value(counts: &Counts) -> Vec<u8> {
    let Counts { pictures, bytes, local, local_bytes, archived, archived_bytes, waiting, waiting_bytes, buried } =
        *counts;
    [pictures, bytes, local, local_bytes, archived, archived_bytes, waiting, waiting_bytes, buried]
        .map(u64::to_be_bytes)
        .concat()
}

fn number(bytes: &[u8]) -> Result<u64, IndexError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(damaged)
}

fn id_of(bytes: Option<&[u8]>) -> Result<PictureId, IndexError> {
    bytes.unwrap_or_default().try_into().map(PictureId::from_bytes).map_err(damaged)
}

fn damaged(what: impl ToString) -> IndexError {
    IndexError::Damaged(what.to_string())
}

impl From<sled::Error> for IndexError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(e) if e.to_string().starts_with("could not acquire lock") => IndexError::Busy,
            sled::Error::Io(e) if is_of_the_disk(e.kind()) => IndexError::Io(e),
            other => damaged(other),
        }
    }
}

/// Whether waiting may help, so that the database should not be thrown away.
fn is_of_the_disk(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{Interrupted, OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(kind, StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied | Interrupted | OutOfMemory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::index::conformance;

    #[tokio::test]
    async fn conforms() {
        conformance::all(async || {
            let dir = tempfile::tempdir().unwrap();
            let index = LocalIndex::open(dir.path(), Some("bucket")).unwrap();
            (index, dir)
        })
        .await;
    }

    #[tokio::test]
    async fn a_lease_that_was_taken_before_the_clock_was_set_back_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let index = LocalIndex::open(dir.path(), None).unwrap();
        let (minute, day) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));
        let until_ms = unix_ms(SystemTime::now() + day);
        let taken = serde_json::to_vec(&Lease { holder: "dead".into(), until_ms }).unwrap();
        index.db.insert([&[LEASE][..], b"work"].concat(), taken).unwrap();
        assert!(index.lease("work", "living", minute).await.unwrap());
        assert!(!index.lease("work", "another", minute).await.unwrap());
    }

    #[tokio::test]
    async fn an_index_of_another_archive_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        // sled lets go of its lock a moment after it was dropped.
        let open = |archive| loop {
            match LocalIndex::open(dir.path(), archive) {
                Err(IndexError::Busy) => std::thread::yield_now(),
                opened => return opened.unwrap(),
            }
        };
        let of = |index: LocalIndex| async move { index.counts().await.unwrap().pictures };
        let first = open(Some("one"));
        first.apply(vec![Change::Put(conformance::entry(1, 10))]).await.unwrap();
        first.flush().await.unwrap();
        drop(first);
        assert_eq!(of(open(Some("one"))).await, 1);
        assert_eq!(of(open(Some("other"))).await, 0);
        assert_eq!(of(open(None)).await, 0);
    }
}

//! Making a picture safe.
//!
//! The order is what a crash at any moment must not break:
//!
//! 1. the bytes in `tmp/`, synced (`fdatasync`); then the record in `tmp/`, synced;
//! 2. both renamed into `images/ab/`, **the blob first**: a record never points at a picture that did not come to be. A
//!    blob whose record is missing is still found and served, and the record is written when the picture comes again;
//! 3. the folder synced once, for both names; before that `images/`, when this process has not yet done so for this
//!    folder.
//!
//! Only then is [`Staged::commit`] done, and only then may the URL be answered. `durability: process` skips the syncs.
//! A reader opens a blob by its final name, so it sees all of it or none.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use super::{
    Facts, Inner, NewRecord, StoreError,
    error::{Doing, blocking},
    index::Entry,
    layout::shard_of,
    record::{Record, unix_ms},
    tmp::{self, TmpFile, sync_dir},
};
use crate::{
    config::Durability,
    picture::{Format, PictureId},
};

/// How many commits of different pictures may be at the same step. A power of two.
const STRIPES: usize = 64;

/// A finished picture that is not kept yet. Its name is known, so its URL is too. Dropping it removes its file.
#[derive(Debug)]
pub struct Staged {
    store: Arc<Inner>,
    id: PictureId,
    format: Format,
    len: u64,
    content: Content,
}

/// Where the bytes of a [`Staged`] picture are.
#[derive(Debug)]
pub(super) enum Content {
    Memory(Vec<u8>),
    File(TmpFile),
}

/// A picture that is safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub facts: Facts,
    /// It was there already; nothing was written.
    pub deduplicated: bool,
}

/// Commits of the same picture wait for each other, so the first one's record stays.
#[derive(Debug)]
pub(super) struct Gates([Mutex<()>; STRIPES]);

/// The shard folders whose names this process has made last.
#[derive(Debug)]
pub(super) struct Shards([AtomicBool; 256]);

// === impl Staged ===

impl Staged {
    pub(super) fn new(store: Arc<Inner>, id: PictureId, format: Format, len: u64, content: Content) -> Self {
        Self { store, id, format, len, content }
    }

    pub fn id(&self) -> PictureId {
        self.id
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a picture is never empty")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Makes the picture safe. Once begun it is carried through, even when the caller stops waiting.
    pub async fn commit(self, record: NewRecord) -> Result<Stored, StoreError> {
        blocking(move || self.run(record)).await
    }

    fn run(self, new: NewRecord) -> Result<Stored, StoreError> {
        let Self { store, id, format, len, content } = self;
        let power = store.durability == Durability::Power;
        let blob_path = store.layout.blob(&id, format);
        let record_path = store.layout.record(&id);

        let gate = store.gates.of(&id).lock();
        let has_blob = fs::metadata(&blob_path).is_ok_and(|there| there.is_file() && there.len() == len);
        let old = Record::read(&record_path).doing("reading a record")?.filter(|old| old.id == id && old.bytes == len);

        if let Some(old) = old.as_ref().filter(|_| has_blob) {
            if power {
                // It may have been written without syncing, or by a commit that has not come to its end.
                sync_file(&blob_path).doing("syncing a picture")?;
                sync_file(&record_path).doing("syncing a record")?;
                store.shards.make(&store, &id, power)?;
                sync_dir(&store.layout.shard(shard_of(&id))).doing("syncing a folder")?;
            }
            drop(gate);
            store.known(old.facts());
            return Ok(Stored { facts: old.facts(), deduplicated: true });
        }

        store.space.check()?;
        let mut blob = match (has_blob, content) {
            (true, _) => None,
            (false, Content::File(tmp)) => Some(tmp),
            (false, Content::Memory(bytes)) => {
                let tmp = TmpFile::create(store.layout.tmp(), tmp::OPEN).doing("writing a picture")?;
                tmp.file().write_all(&bytes).doing("writing a picture")?;
                Some(tmp)
            }
        };
        if power {
            match &blob {
                Some(tmp) => tmp.file().sync_data(),
                None => sync_file(&blob_path),
            }
            .doing("syncing a picture")?;
        }
        let facts = Facts { id, format, len, created_ms: unix_ms(SystemTime::now()) };
        let (record, mut record_tmp) = match old {
            Some(old) => (old, None),
            None => {
                let record = Record::new(&facts, new);
                let tmp = TmpFile::create(store.layout.tmp(), tmp::PRIVATE).doing("writing a record")?;
                tmp.file().write_all(&record.to_json()?).doing("writing a record")?;
                if power {
                    tmp.file().sync_data().doing("syncing a record")?;
                }
                (record, Some(tmp))
            }
        };

        store.shards.make(&store, &id, power)?;
        if let Some(tmp) = &mut blob {
            tmp.persist(&blob_path).doing("keeping a picture")?;
        }
        if let Some(tmp) = &mut record_tmp {
            tmp.persist(&record_path).doing("keeping a record")?;
        }
        if power {
            sync_dir(&store.layout.shard(shard_of(&id))).doing("syncing a folder")?;
        }
        drop(gate);
        let facts = record.facts();
        store.known(facts);
        if record_tmp.is_some() {
            store.index.add(Entry::of(&record));
        }
        Ok(Stored { facts, deduplicated: has_blob })
    }
}

fn sync_file(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_data()
}

// === impl Gates ===

impl Default for Gates {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Gates {
    fn of(&self, id: &PictureId) -> &Mutex<()> {
        let [.., last] = *id.as_bytes();
        let [first, ..] = &self.0;
        self.0.get(usize::from(last) % STRIPES).unwrap_or(first)
    }
}

// === impl Shards ===

impl Default for Shards {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicBool::new(false)))
    }
}

impl Shards {
    /// Makes the folder for this picture, and its name lasting. The flag is set after the sync, so nobody passes a sync
    /// that is still under way; a folder that an earlier process made is synced once more.
    fn make(&self, store: &Inner, id: &PictureId, lasting: bool) -> Result<(), StoreError> {
        let shard = shard_of(id);
        let is_lasting = self.0.get(usize::from(shard));
        let made = match fs::create_dir(store.layout.shard(shard)) {
            Ok(()) => true,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
            Err(e) => return Err(e).doing("making a folder"),
        };
        if lasting && (made || !is_lasting.is_some_and(|flag| flag.load(Ordering::Acquire))) {
            sync_dir(store.layout.images()).doing("syncing a folder")?;
            if let Some(flag) = is_lasting {
                flag.store(true, Ordering::Release);
            }
        }
        Ok(())
    }
}

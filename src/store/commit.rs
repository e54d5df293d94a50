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
//!
//! A picture that had been deleted is there again: its tombstone goes last. Cut off before that, it is still deleted, here
//! and in the archive.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use super::{
    Facts, Inner, NewRecord, Record, StoreError,
    disk::remove,
    error::{Doing, blocking},
    files::sync_file,
    record::unix_ms,
    tmp::{self, TmpFile},
};
use crate::{
    opaque::opaque,
    picture::{Format, PictureId},
};

/// A finished picture that is not kept yet. Its name is known, so its URL is too. Dropping it removes its file.
pub struct Staged {
    store: Arc<Inner>,
    id: PictureId,
    format: Format,
    len: u64,
    content: Content,
}

opaque!(Staged { id, format, len });

/// Where the bytes of a [`Staged`] picture are.
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
        let files = &store.files;
        let (blob_path, record_path) = (files.layout.blob(&id, format), files.layout.record(&id));

        let gate = files.alone(&id);
        let buried = files.is_buried(&id);
        // A copy that was damaged since is made good by these bytes.
        let has_blob = !buried && files.has_blob(&id, format, len) && files.is_whole(&id, format).unwrap_or(false);
        let old = files.record(&id)?.filter(|old| !buried && old.bytes == len);

        if let Some(old) = old.as_ref().filter(|_| has_blob) {
            if files.lasting() {
                // It may have been written without syncing, or by a commit that has not come to its end.
                sync_file(&blob_path).doing("syncing a picture")?;
                sync_file(&record_path).doing("syncing a record")?;
                files.make_shard(&id)?;
                files.sync_shard(&id)?;
            }
            // Nor may the index know of it.
            store.index.put(files.entry(old));
            drop(gate);
            store.lookup.remember(old.facts());
            return Ok(Stored { facts: old.facts(), deduplicated: true });
        }

        store.space.check()?;
        let mut blob = match (has_blob, content) {
            (true, _) => None,
            (false, content) => Some(content.into_file(&store)?),
        };
        if files.lasting() {
            match &blob {
                Some(tmp) => tmp.sync(),
                None => sync_file(&blob_path),
            }
            .doing("syncing a picture")?;
        }
        let (record, mut record_tmp) = match old {
            Some(old) => (old, None),
            None => {
                let facts = Facts { id, format, len, created_ms: unix_ms(SystemTime::now()) };
                let record = Record::new(&facts, new);
                let tmp = files.write_record(&record)?;
                (record, Some(tmp))
            }
        };

        files.make_shard(&id)?;
        if let Some(tmp) = &mut blob {
            tmp.persist(&blob_path).doing("keeping a picture")?;
            store.lookup.forget(&id);
        }
        if let Some(tmp) = &mut record_tmp {
            tmp.persist(&record_path).doing("keeping a record")?;
        }
        if buried {
            remove(&files.layout.tombstone(&id)).doing("taking a deletion back")?;
            store.index.unbury(id);
        }
        files.sync_shard(&id)?;
        store.index.put(files.entry(&record));
        drop(gate);
        let facts = record.facts();
        store.lookup.remember(facts);
        Ok(Stored { facts, deduplicated: has_blob })
    }

    /// Puts the bytes of a picture back that came from the archive, and marks its record so. That it is here again may be
    /// forgotten in a power cut: the archive has it.
    /// `deleted`: whether it was deleted since it began to come.
    pub(super) async fn restore(self, record: Record, deleted: Arc<AtomicBool>) -> Result<Facts, StoreError> {
        blocking(move || {
            let Self { store, id, format, len, content } = self;
            let files = &store.files;
            let _gate = files.alone(&id);
            if deleted.load(Ordering::Acquire)
                || files.is_buried(&id)
                || (record.id, record.format, record.bytes) != (id, format, len)
            {
                return Err(StoreError::Gone);
            }
            let there = files.record(&id)?;
            let marked = there.clone().unwrap_or(record).marked(files.archive.as_deref());
            if there.as_ref() != Some(&marked) {
                files.replace_record(&marked)?;
            }
            let record = marked;
            if !files.has_blob(&id, format, len) {
                store.space.check()?;
                let mut blob = content.into_file(&store)?;
                if files.lasting() {
                    // Or a power cut could leave a file of the right length with something else in it.
                    blob.sync().doing("syncing a picture")?;
                }
                files.make_shard(&id)?;
                blob.persist(&files.layout.blob(&id, format)).doing("keeping a picture")?;
            }
            store.index.put(files.entry(&record));
            store.lookup.remember(record.facts());
            Ok(record.facts())
        })
        .await
    }
}

// === impl Content ===

impl Content {
    fn into_file(self, store: &Inner) -> Result<TmpFile, StoreError> {
        match self {
            Content::File(tmp) => Ok(tmp),
            Content::Memory(bytes) => {
                let tmp = TmpFile::create(store.files.layout.tmp(), tmp::OPEN).doing("writing a picture")?;
                tmp.write_all(&bytes).doing("writing a picture")?;
                Ok(tmp)
            }
        }
    }
}

//! Keeps pictures: blobs, records, the derived index.
//!
//! ```text
//! data_dir/
//!   images/ab/{id}.{ext}  {id}.json    the truth: a picture and its record
//!             {id}.gone                a deletion under way
//!   tmp/                               being written
//!   state/{name}.json                  what pictures cannot tell
//!   index/                             derived from images/; may be lost
//!   variants/ab/{id}/                  the same in other sizes and formats; may be lost
//! ```
//!
//! A picture goes [`Store::writer`] → [`PictureWriter::finish`] (named) → [`Staged::commit`] (safe), and comes back by
//! [`Store::get`]. Neither way touches the index. When the disk is full, writing fails with [`StoreError::Full`] and
//! reading goes on; when the index is lost, damaged or held by another process, only listing waits.
//!
//! A picture that an archive was seen to have ([`Store::mark_archived`]) may be [evicted](Store::evict): its record stays,
//! its bytes go. [`Store::delete`] is for good. What is to be archived, evicted or deleted in the archive is told by the
//! index ([`Store::waiting`], [`Store::oldest`], [`Store::buried`]); doing it is the work of others.
//!
//! ```
//! use picgate::{config::{self, Durability}, store::{NewRecord, Store}};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let settings = config::Store { memory_cache: 1 << 20, durability: Durability::Process, ttl: None, max_bytes: None,
//! #     retention: None, min_free: 0 };
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! # let gif = b"GIF89a\x01\x00\x01\x00\x00\x00\x00";
//! let store = Store::open(dir.path(), &settings, None)?;
//! let mut writer = store.writer();
//! writer.write(gif).await?;
//! let staged = writer.finish().await?;
//! let id = staged.id();
//! staged.commit(NewRecord::default()).await?;
//!
//! let picture = store.get(&id).await?.unwrap();
//! assert_eq!(picture.read(0..picture.facts.len).await?, &gif[..]);
//! # Ok::<_, picgate::store::StoreError>(()) }).unwrap();
//! ```

mod amend;
mod behind;
mod commit;
mod disk;
mod error;
#[cfg(test)]
mod fault;
mod file;
mod files;
mod growing;
mod index;
mod layout;
mod looks;
mod lookup;
mod picture;
mod rebuild;
mod record;
mod remove;
mod shut;
mod space;
mod spool;
mod spool_budget;
mod state;
mod tmp;
mod variants;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::{fs::File, io, os::unix::fs::MetadataExt as _, path::Path, sync::Arc, time::Duration};

use error::{Doing, blocking};

pub use commit::{Staged, Stored};
pub use error::StoreError;
pub use growing::{Failure, Filling, Growing};
pub use index::{Archiving, Counts, Cursor, Entry, Findings, IndexState, InvalidCursor, Page};
pub use picture::{Body, Facts, Picture};
pub use rebuild::{Rebuild, Rebuilt};
pub use record::{Archived, Generation, NewRecord, Record, unix_ms};
pub use spool::{Spool, SpoolReader, Spooler};
pub use state::State;
pub use verify::{Checked, Fault, Finding, Mended, Progress, Verify};
pub use writer::{PictureWriter, Replay};

use crate::{config, picture::PictureId};

/// Makes `data_dir` if it is missing, and keeps other users out of it if it is ours. Opening a store does the same.
pub fn shut_data_dir(data_dir: &Path) -> io::Result<()> {
    shut::data_dir(data_dir)
}

/// The pictures under one `data_dir`. A clone is the same store.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    files: Arc<files::Files>,
    space: space::Space,
    lookup: lookup::Lookup,
    looks: looks::Looks,
    variants: variants::Variants,
    index: index::Keeper,
    returning: growing::Returning,
    /// What those that fill buffers share.
    desk: Arc<behind::Desk>,
    spools: Arc<spool_budget::SpoolBudget>,
}

impl Store {
    /// Makes the folders that are missing and starts the index. Pictures can be written and read when this returns; the
    /// index may take longer.
    ///
    /// `archive` names the archive pictures are to go to. A mark made for another one does not count.
    ///
    /// Starts a thread, so a program that forks must do so before.
    pub fn open(data_dir: &Path, settings: &config::Store, archive: Option<String>) -> Result<Self, StoreError> {
        let layout = layout::Layout::create(data_dir).doing("making the folders under data_dir")?;
        let files = Arc::new(files::Files::new(layout.clone(), settings.durability, archive));
        Ok(Self {
            inner: Arc::new(Inner {
                space: space::Space::new(data_dir.to_owned(), settings.min_free),
                lookup: lookup::Lookup::new(layout, settings.memory_cache),
                looks: looks::Looks::new(settings.ttl),
                variants: variants::Variants::default(),
                index: index::Keeper::start(Arc::clone(&files))?,
                returning: growing::Returning::default(),
                desk: Arc::default(),
                spools: Arc::default(),
                files,
            }),
        })
    }

    /// Takes in a picture.
    pub fn writer(&self) -> PictureWriter {
        PictureWriter::new(Arc::clone(&self.inner))
    }

    /// Takes in bytes of an answer that are needed again soon and are no picture to keep. They are never refused for
    /// `limits.spool`: the answer has been paid for.
    pub fn spool(&self) -> Spool {
        Spool::new(Arc::clone(&self.inner), None, None)
    }

    /// Takes in what requests of this client key bring, within `limits.spool` and `limits.spool_per_key`.
    pub fn spooler(&self, key: &str) -> Spooler {
        Spooler::new(Arc::clone(&self.inner), key)
    }

    /// [`StoreError::Full`] when a new picture would be refused now, and other errors when it could not be written. Asked
    /// before work that costs money.
    pub async fn check_room(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let layout = &inner.files.layout;
            disk::may_write(layout.tmp()).doing("writing to tmp/ under data_dir")?;
            disk::may_write(layout.images()).doing("writing to images/ under data_dir")?;
            inner.space.check()
        })
        .await
    }

    /// Whether files can be made under `data_dir`.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let layout = &inner.files.layout;
            disk::may_write(layout.images()).doing("writing to images/ under data_dir")?;
            tmp::TmpFile::create(layout.tmp(), tmp::OPEN).doing("writing to data_dir").map(drop)
        })
        .await
    }

    /// Bytes that may still be written to the disk under `data_dir`.
    pub async fn free_space(&self) -> Result<u64, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.space.free()).await
    }

    /// The same, once all spools are gone. Local copies need not make room for what is there for seconds only.
    pub async fn lasting_free_space(&self) -> Result<u64, StoreError> {
        Ok(self.free_space().await?.saturating_add(self.inner.spools.taken()))
    }

    /// The picture of this name, whatever its format, if its bytes are on this disk.
    pub async fn get(&self, id: &PictureId) -> Result<Option<Picture>, StoreError> {
        let found = self.inner.lookup.get(id).await?;
        if found.is_some()
            && let Some(at_ms) = self.inner.looks.note(id)
        {
            self.inner.index.touch(*id, at_ms);
        }
        Ok(found)
    }

    /// The record of this picture. One that was evicted has one, one that was deleted has none.
    pub async fn record(&self, id: &PictureId) -> Result<Option<Record>, StoreError> {
        let (inner, id) = (Arc::clone(&self.inner), *id);
        blocking(move || Ok(inner.files.record(&id)?.filter(|_| !inner.files.is_buried(&id)))).await
    }

    /// The bytes of the picture with this record, for work in the background: nobody looked at it. All of them are read
    /// and seen to be what its name says; if they are not, the file is moved to `damaged/`.
    pub async fn whole_blob(&self, record: &Record) -> Result<Blob, StoreError> {
        let (inner, record) = (Arc::clone(&self.inner), record.clone());
        blocking(move || inner.whole_blob(&record)).await
    }

    /// Names the archive that pictures go to.
    pub fn archive(&self) -> Option<&str> {
        self.inner.files.archive.as_deref()
    }

    /// Follows the settings that may change while it is open: `min_free`, and `ttl`, which says how exactly looks are
    /// remembered; and what spools may take of the disk.
    pub fn follow(&self, settings: &config::Store, limits: &config::Limits) {
        self.inner.looks.set_ttl(settings.ttl);
        self.inner.space.set_min_free(settings.min_free);
        self.inner.spools.follow(limits);
    }

    /// The files under `state/`.
    pub fn state(&self) -> State {
        State::new(self.inner.files.layout.clone())
    }
}

/// The bytes of a picture, as they are on this disk.
#[derive(Debug)]
pub enum Blob {
    Whole(Arc<File>),
    /// They were not those of its name, and are in `damaged/` now.
    Damaged,
    Missing,
}

impl Inner {
    fn whole_blob(&self, record: &Record) -> Result<Blob, StoreError> {
        let files = &self.files;
        let path = files.layout.blob(&record.id, record.format);
        let opened = disk::open_unseen(&path).doing("opening a picture")?;
        let Some((file, meta)) = opened.filter(|(_, meta)| meta.len() == record.bytes) else {
            return Ok(Blob::Missing);
        };
        if files::hash(&file, |_| {}).doing("reading a picture")? == record.id {
            return Ok(Blob::Whole(Arc::new(file)));
        }
        let _gate = files.alone(&record.id);
        if !files.set_aside(&path, meta.ino()).doing("setting a damaged picture aside")? {
            // Another has taken its place meanwhile.
            return Err(StoreError::Gone);
        }
        self.lookup.forget(&record.id);
        self.index.put(files.entry(record));
        Ok(Blob::Damaged)
    }
}

/// What the index tells.
impl Store {
    /// A page of the pictures there are, newest first, beginning behind `before`.
    pub async fn recent(&self, before: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.inner.index.newest(before, limit).await
    }

    /// Up to `limit` pictures, oldest first, beginning behind `after`.
    pub async fn oldest(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.inner.index.oldest(after, limit).await
    }

    /// As [`oldest`](Self::oldest), those that wait for the archive.
    pub async fn waiting(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.inner.index.waiting(after, limit).await
    }

    /// What the index holds of this picture.
    pub async fn entry(&self, id: PictureId) -> Result<Option<Entry>, StoreError> {
        self.inner.index.entry(id).await
    }

    /// How many pictures there are and their bytes, by where they are.
    pub async fn counts(&self) -> Result<Counts, StoreError> {
        self.inner.index.counts().await
    }

    /// Takes or renews a lease for this process: of all that share an index, one holder does the work of this name.
    /// `false`: another has it until its time is over.
    pub async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, StoreError> {
        self.inner.index.lease(name, holder, time).await
    }

    /// Resolves when what was told to the index before is in it. Whoever changes many pictures waits here now and then.
    pub async fn index_settled(&self) {
        self.inner.index.settled().await;
    }

    /// Whether pictures can be listed.
    pub fn index_state(&self) -> IndexState {
        self.inner.index.state()
    }

    /// What comparing the index with the files has mended since the store was opened.
    pub fn findings(&self) -> Findings {
        self.inner.index.findings()
    }
}

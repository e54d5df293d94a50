//! Keeps pictures: blobs, records, the derived index.
//!
//! ```text
//! data_dir/
//!   images/ab/{id}.{ext}  {id}.json    the truth: a picture and its record
//!   tmp/                               being written
//!   state/{name}.json                  what pictures cannot tell
//!   index/                             derived from images/; may be lost
//! ```
//!
//! A picture goes [`Store::writer`] → [`PictureWriter::finish`] (named) → [`Staged::commit`] (safe), and comes back by
//! [`Store::get`]. Neither way touches the index. When the disk is full, writing fails with [`StoreError::Full`] and
//! reading goes on; when the index is lost, damaged or held by another process, only listing waits.
//!
//! ```
//! use picgate::{config::{self, Durability}, store::{NewRecord, Store}};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let settings = config::Store { memory_cache: 1 << 20, durability: Durability::Process, ttl: None, max_bytes: None,
//! #     retention: None, min_free: 0 };
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! # let gif = b"GIF89a\x01\x00\x01\x00\x00\x00\x00";
//! let store = Store::open(dir.path(), &settings)?;
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

mod behind;
mod commit;
mod error;
mod file;
mod index;
mod layout;
mod lookup;
mod picture;
mod record;
mod space;
mod spool;
mod state;
mod tmp;
mod writer;

#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use error::{Doing, blocking};

pub use commit::{Staged, Stored};
pub use error::StoreError;
pub use index::{Counts, Cursor, Entry, IndexState, InvalidCursor, Page};
pub use picture::{Body, Facts, Picture};
pub use record::{Generation, NewRecord, Record};
pub use spool::{Spool, SpoolReader};
pub use state::State;
pub use writer::{PictureWriter, Replay};

use crate::{
    config::{self, Durability},
    picture::PictureId,
};

/// The pictures under one `data_dir`. A clone is the same store.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: layout::Layout,
    durability: Durability,
    space: space::Space,
    lookup: lookup::Lookup,
    index: index::Keeper,
    gates: commit::Gates,
    shards: commit::Shards,
}

impl Store {
    /// Makes the folders that are missing and starts the index. Pictures can be written and read when this returns; the
    /// index may take longer.
    ///
    /// Starts a thread, so a program that forks must do so before.
    pub fn open(data_dir: &Path, settings: &config::Store) -> Result<Self, StoreError> {
        let layout = layout::Layout::create(data_dir).doing("making the folders under data_dir")?;
        Ok(Self {
            inner: Arc::new(Inner {
                durability: settings.durability,
                space: space::Space::new(data_dir.to_owned(), settings.min_free),
                lookup: lookup::Lookup::new(layout.clone(), settings.memory_cache),
                index: index::Keeper::start(layout.clone())?,
                gates: commit::Gates::default(),
                shards: commit::Shards::default(),
                layout,
            }),
        })
    }

    /// Takes in a picture.
    pub fn writer(&self) -> PictureWriter {
        PictureWriter::new(Arc::clone(&self.inner))
    }

    /// Takes in bytes that are needed again soon and are no picture to keep.
    pub fn spool(&self) -> Spool {
        Spool::new(Arc::clone(&self.inner))
    }

    /// [`StoreError::Full`] when a new picture would be refused now. Asked before work that costs money.
    pub async fn check_room(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.space.check()).await
    }

    /// Whether files can be made under `data_dir`.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        let tmp = self.inner.layout.tmp().to_owned();
        blocking(move || tmp::TmpFile::create(&tmp, tmp::OPEN).doing("writing to data_dir").map(drop)).await
    }

    /// The picture of this name, whatever its format.
    pub async fn get(&self, id: &PictureId) -> Result<Option<Picture>, StoreError> {
        self.inner.lookup.get(id).await
    }

    /// The record of this picture.
    pub async fn record(&self, id: &PictureId) -> Result<Option<Record>, StoreError> {
        let path = self.inner.layout.record(id);
        blocking(move || Record::read(&path).doing("reading a record")).await
    }

    /// A page of the pictures there are, newest first, beginning behind `before`.
    pub async fn recent(&self, before: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.inner.index.recent(before, limit).await
    }

    /// How many pictures the index knows, and their bytes.
    pub async fn counts(&self) -> Result<Counts, StoreError> {
        self.inner.index.counts().await
    }

    /// Whether pictures can be listed.
    pub fn index_state(&self) -> IndexState {
        self.inner.index.state()
    }

    /// The files under `state/`.
    pub fn state(&self) -> State {
        State::new(self.inner.layout.clone())
    }
}

impl Inner {
    /// Remembers a picture that is safe, so that finding it is one `open`.
    fn known(&self, facts: Facts) {
        self.lookup.remember(facts);
    }
}

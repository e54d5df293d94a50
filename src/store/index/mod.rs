//! The index: which pictures there are, newest first; which of them wait for the archive; which were looked at when.
//!
//! It is *derived*: everything in it can be read again from `images/`, so it may be lost, late or closed at any time,
//! and no picture is written or read through it. A [`Keeper`] owns it: whoever changes files tells the keeper and never
//! waits; the keeper applies changes in batches, opens the index again when it fails, throws it away when it is damaged,
//! and compares it with `images/` at every start.
//!
//! Only the time of the last look is in no file. When the index is lost, the file system's own access time stands in.

#[cfg(test)]
mod conformance;
mod keeper;
mod local;
mod reconcile;
#[cfg(test)]
mod scale;

use std::{fmt, path::Path, str::FromStr, time::Duration};

use async_trait::async_trait;

pub use keeper::Findings;
pub(super) use keeper::Keeper;

use super::{Facts, Record, StoreError, files::Files};
use crate::picture::PictureId;

/// Keeps entries in order of time.
///
/// Only the keeper applies changes; anyone may read meanwhile. Lists come in pages behind a cursor, so no call's work
/// grows with the number of pictures.
#[async_trait]
pub(super) trait Index: fmt::Debug + Send + Sync {
    /// Makes these changes in order: all of them or, on an error, none.
    async fn apply(&self, changes: Vec<Change>) -> Result<(), IndexError>;

    /// Makes what was applied outlast a crash.
    async fn flush(&self) -> Result<(), IndexError>;

    /// The pictures whose id begins with this byte, in order.
    async fn shard(&self, first: u8) -> Result<Vec<Known>, IndexError>;

    /// The entry of this picture.
    async fn entry(&self, id: PictureId) -> Result<Option<Entry>, IndexError>;

    /// Up to `limit` entries, newest first, all older than `before`.
    async fn newest(&self, before: Option<Cursor>, limit: usize) -> Result<Vec<Entry>, IndexError>;

    /// Up to `limit` entries, oldest first, all newer than `after`.
    async fn oldest(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Entry>, IndexError>;

    /// As [`oldest`](Self::oldest), of the entries that wait for the archive.
    async fn waiting(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Entry>, IndexError>;

    /// Up to `limit` deleted pictures behind `after` whose copies in the archive are still to be deleted.
    async fn buried(&self, after: Option<PictureId>, limit: usize) -> Result<Vec<PictureId>, IndexError>;

    async fn counts(&self) -> Result<Counts, IndexError>;

    /// Takes or renews the lease of this name for `holder`. `false`: another holder has it until its time is over. All
    /// who want a lease ask for the same time.
    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, IndexError>;
}

/// A change of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The picture is as this entry says. Of two times of the last look the later one stays.
    Put(Entry),
    /// There is no such picture.
    Remove(PictureId),
    /// It was looked at.
    Touch { id: PictureId, at_ms: u64 },
    /// It was deleted, and the archive may still have it.
    Bury(PictureId),
    /// The archive has it no longer.
    Forget(PictureId),
}

/// What is known of a picture of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: PictureId,
    /// Its bytes are on this disk.
    pub(super) local: bool,
}

/// What the index holds of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub facts: Facts,
    /// The model as the client named it.
    pub model: Option<String>,
    /// Name of the client's key.
    pub key: Option<String>,
    /// Its bytes are on this disk.
    pub local: bool,
    pub archive: Archiving,
    /// It is never evicted or deleted by age or size.
    pub pinned: bool,
    /// When it was last looked at or, before that, when it was kept, in milliseconds since 1970. Coarse.
    pub touched_ms: u64,
}

/// Where a picture stands with the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archiving {
    /// There is no archive.
    Off,
    Waiting,
    /// The archive was seen to have it.
    Done,
}

/// A place in the list of pictures: behind this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    created_ms: u64,
    id: PictureId,
}

/// The text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this list")]
pub struct InvalidCursor;

/// A page of the list, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Cursor>,
}

/// How much there is, by where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All pictures.
    pub pictures: u64,
    pub bytes: u64,
    /// On this disk.
    pub local: u64,
    pub local_bytes: u64,
    /// In the archive.
    pub archived: u64,
    pub archived_bytes: u64,
    /// On their way to the archive.
    pub waiting: u64,
    pub waiting_bytes: u64,
    /// Deleted here, to be deleted in the archive.
    pub buried: u64,
}

/// What the index is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// Opening, or held by another process: nothing can be listed.
    Closed,
    /// Open, but not compared with `images/` yet: pictures may be missing from the list.
    Filling,
    /// Complete, but for what is being written just now.
    Ready,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    /// Another process has it open.
    #[error("another process has it open")]
    Busy,
    /// The disk is full or refuses writing: the index is as good as before once that is over.
    #[error("{0}")]
    Io(std::io::Error),
    /// It can only be built anew.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// Whether a process has the index in this folder open.
pub(super) fn is_held(dir: &Path) -> bool {
    local::LocalIndex::is_held(dir)
}

/// Makes the index of these files where there is none; `done` is told of each shard.
pub(super) async fn build(files: &Files, done: impl Fn(Findings)) -> Result<(Counts, Findings), StoreError> {
    let index = local::LocalIndex::open(&files.layout.index(), files.archive.as_deref())?;
    let mut all = Findings::default();
    for first in 0..=u8::MAX {
        let findings = reconcile::shard(&index, files, first).await?;
        all = all.plus(findings);
        done(findings);
    }
    index.flush().await?;
    Ok((index.counts().await?, all))
}

impl From<IndexError> for StoreError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Busy => StoreError::IndexClosed,
            IndexError::Io(source) => StoreError::Io { doing: "writing the index", source },
            IndexError::Damaged(_) => StoreError::Index,
        }
    }
}

// === impl Entry ===

impl Entry {
    /// What `record` says of a picture, in a store with this archive.
    pub(super) fn of(record: &Record, local: bool, archive: Option<&str>) -> Self {
        let generation = record.generation.as_ref();
        Self {
            facts: record.facts(),
            model: generation.and_then(|generation| generation.model.clone()),
            key: generation.and_then(|generation| generation.key.clone()),
            local,
            archive: match archive {
                None => Archiving::Off,
                Some(place) if record.is_archived_at(place) => Archiving::Done,
                Some(_) => Archiving::Waiting,
            },
            pinned: record.pinned,
            touched_ms: record.created_ms,
        }
    }

    pub fn cursor(&self) -> Cursor {
        Cursor { created_ms: self.facts.created_ms, id: self.facts.id }
    }
}

// === impl Cursor ===

/// `{milliseconds}-{id}`.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.created_ms, self.id)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (created_ms, id) = text.split_once('-').ok_or(InvalidCursor)?;
        Ok(Self {
            created_ms: created_ms.parse().map_err(|_| InvalidCursor)?,
            id: id.parse().map_err(|_| InvalidCursor)?,
        })
    }
}

// === impl Counts ===

impl Counts {
    /// Counts this entry in or, with `step` [`u64::checked_sub`], out.
    pub(super) fn count(&mut self, entry: &Entry, step: fn(u64, u64) -> Option<u64>) {
        let one = |number: &mut u64, by: u64| *number = step(*number, by).unwrap_or(0);
        let len = entry.facts.len;
        one(&mut self.pictures, 1);
        one(&mut self.bytes, len);
        if entry.local {
            one(&mut self.local, 1);
            one(&mut self.local_bytes, len);
        }
        match entry.archive {
            Archiving::Off => {}
            Archiving::Waiting => {
                one(&mut self.waiting, 1);
                one(&mut self.waiting_bytes, len);
            }
            Archiving::Done => {
                one(&mut self.archived, 1);
                one(&mut self.archived_bytes, len);
            }
        }
    }
}

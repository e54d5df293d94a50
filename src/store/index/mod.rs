//! The index: which pictures there are, newest first.
//!
//! It is *derived*: everything in it can be read again from `images/`, so it may be lost, late or closed at any time,
//! and no picture is written or read through it. A [`Keeper`] owns it: commits tell the keeper of new pictures and
//! never wait; the keeper adds them in batches, opens the index again when it fails, throws it away when it is damaged,
//! and compares it with `images/` at every start.

mod keeper;
mod local;
mod reconcile;

use std::{fmt, str::FromStr};

pub(super) use keeper::Keeper;

use super::{Facts, Record};
use crate::picture::PictureId;

/// Keeps entries in order of time. All calls may block, and come from threads where that is fine. Only the keeper
/// writes; anyone may read meanwhile.
pub(super) trait Index: fmt::Debug + Send + Sync {
    /// Adds entries; one that is there already stays as it is.
    fn add(&self, entries: &[Entry]) -> Result<(), IndexError>;

    /// Removes the entries of these pictures.
    fn remove(&self, ids: &[PictureId]) -> Result<(), IndexError>;

    /// Makes what was written last.
    fn flush(&self) -> Result<(), IndexError>;

    /// The ids that begin with this byte, in order.
    fn shard(&self, first: u8) -> Result<Vec<PictureId>, IndexError>;

    /// Up to `limit` entries, newest first, all older than `before`.
    fn recent(&self, before: Option<Cursor>, limit: usize) -> Result<Vec<Entry>, IndexError>;

    fn counts(&self) -> Result<Counts, IndexError>;
}

/// What the index holds of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub facts: Facts,
    /// The model as the client named it.
    pub model: Option<String>,
    /// Name of the client's key.
    pub key: Option<String>,
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

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub pictures: u64,
    pub bytes: u64,
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

// === impl Entry ===

impl Entry {
    pub(super) fn of(record: &Record) -> Self {
        let generation = record.generation.as_ref();
        Self {
            facts: record.facts(),
            model: generation.and_then(|generation| generation.model.clone()),
            key: generation.and_then(|generation| generation.key.clone()),
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

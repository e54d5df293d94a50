//! A picture that was found, and its bytes.

use std::{
    fmt,
    fs::File,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

use super::{Growing, StoreError, file};
use crate::picture::{Format, PictureId};

/// What is known of a picture without looking at its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub id: PictureId,
    pub format: Format,
    /// Length in bytes.
    pub len: u64,
    /// When it was first kept, in milliseconds since 1970.
    pub created_ms: u64,
}

/// A picture, open for reading. It stays readable when its file is removed meanwhile.
#[derive(Clone, Debug)]
pub struct Picture {
    pub facts: Facts,
    pub body: Body,
    /// The memory cache had it; no file was touched.
    pub from_cache: bool,
}

/// Where the bytes of a [`Picture`] are.
#[derive(Clone)]
pub enum Body {
    /// All of them.
    Memory(Bytes),
    File(Arc<File>),
    /// On their way from the archive.
    Growing(Growing),
}

/// The place only: the bytes are a user's.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Body::Memory(_) => "Memory",
            Body::File(_) => "File",
            Body::Growing(_) => "Growing",
        })
    }
}

impl Facts {
    /// When it was first kept.
    pub fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.created_ms)
    }
}

impl Picture {
    /// One that is on its way.
    pub fn growing(facts: Facts, growing: Growing) -> Self {
        Self { facts, body: Body::Growing(growing), from_cache: false }
    }

    /// Waits until all of it has come. `false`: it never will.
    pub async fn arrived(&self) -> bool {
        match &self.body {
            Body::Growing(growing) => growing.arrived().await,
            Body::Memory(_) | Body::File(_) => true,
        }
    }

    /// Longest piece read from a file at once.
    pub const PIECE: usize = 256 * 1024;

    /// The start of this range: from memory all of it, else at most [`Self::PIECE`]. Empty when the range lies behind the
    /// end. Of a picture that is on its way it waits for the first byte of the range.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let left = range.end.min(self.facts.len).saturating_sub(range.start);
        match &self.body {
            Body::Memory(bytes) => {
                let start = usize::try_from(range.start).map_or(bytes.len(), |start| start.min(bytes.len()));
                let left = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len() - start));
                Ok(bytes.slice(start..start + left))
            }
            Body::File(_) | Body::Growing(_) if left == 0 => Ok(Bytes::new()),
            Body::Growing(growing) => growing.read(range, Self::PIECE).await,
            Body::File(file) => {
                let file = Arc::clone(file);
                let want = usize::try_from(left).map_or(Self::PIECE, |left| left.min(Self::PIECE));
                file::piece(file, range.start, want, "reading a picture").await
            }
        }
    }
}

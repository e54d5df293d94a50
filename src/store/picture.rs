//! A picture that was found, and its bytes.

use std::{
    fs::File,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

use super::{
    StoreError,
    error::{Doing, blocking},
    file,
};
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
#[derive(Clone, Debug)]
pub enum Body {
    /// All of them.
    Memory(Bytes),
    File(Arc<File>),
}

impl Facts {
    /// When it was first kept.
    pub fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.created_ms)
    }
}

impl Picture {
    /// Longest piece read from a file at once.
    pub const PIECE: usize = 256 * 1024;

    /// The start of this range: from memory all of it, from a file at most [`Self::PIECE`]. Empty when the range lies
    /// behind the end.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let left = range.end.min(self.facts.len).saturating_sub(range.start);
        match &self.body {
            Body::Memory(bytes) => {
                let start = usize::try_from(range.start).map_or(bytes.len(), |start| start.min(bytes.len()));
                let left = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len() - start));
                Ok(bytes.slice(start..start + left))
            }
            Body::File(_) if left == 0 => Ok(Bytes::new()),
            Body::File(file) => {
                let file = Arc::clone(file);
                let want = usize::try_from(left).map_or(Self::PIECE, |left| left.min(Self::PIECE));
                blocking(move || file::read_exact_at(&file, range.start, want).doing("reading a picture")).await
            }
        }
    }
}

//! Reading an object piece by piece.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{StatusCode, header};

use super::{ArchiveError, wire::Answer};

/// An object, or a range of it, on its way. The first byte is there as soon as the bucket sends it.
#[derive(Debug)]
pub struct Download {
    answer: Answer,
    len: u64,
    total: u64,
}

impl Download {
    pub(super) fn new(answer: Answer, range: Option<&Range<u64>>) -> Result<Self, ArchiveError> {
        let number = |name| answer.headers().get(name)?.to_str().ok()?.parse().ok();
        let len = number(header::CONTENT_LENGTH).ok_or_else(|| ArchiveError::refused("an object without a length"))?;
        let total = match (range, answer.status()) {
            (None, StatusCode::OK) => Some(len),
            (Some(range), StatusCode::PARTIAL_CONTENT) => {
                let said = answer.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
                said.and_then(total).filter(|(start, _)| *start == range.start).map(|(_, total)| total)
            }
            _ => None,
        };
        let total = total.ok_or_else(|| ArchiveError::refused("another part of the object than was asked for"))?;
        Ok(Self { answer, len, total })
    }

    /// Bytes that will come.
    pub fn length(&self) -> u64 {
        self.len
    }

    /// Bytes of the whole object.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The next bytes, of any number; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Timeout`] when nothing comes for the idle time or the whole takes too long, [`ArchiveError::Unreachable`] when the connection
    /// breaks before [`length`](Self::length) bytes have come.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, ArchiveError> {
        self.answer.piece().await
    }

    /// [`piece`](Self::piece) after piece.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, ArchiveError>> + Send + 'static {
        stream::try_unfold(
            self,
            |mut download| async move { Ok(download.piece().await?.map(|piece| (piece, download))) },
        )
    }

    /// All of it, at most `most` bytes.
    pub(super) async fn whole(mut self, most: usize) -> Result<Bytes, ArchiveError> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            if body.len() + piece.len() > most {
                return Err(ArchiveError::refused("the object is too long"));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.into())
    }
}

/// `bytes 2-5/10` → where it starts, and the length of the whole.
fn total(content_range: &str) -> Option<(u64, u64)> {
    let (range, total) = content_range.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()?))
}

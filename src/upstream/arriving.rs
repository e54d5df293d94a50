//! An answer of which what has come can be taken without waiting for more.

use std::{fmt, pin::Pin};

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};

use super::{Failure, Incoming};

/// The rest of an answer's body.
///
/// A read that has to wait is kept and gone on with, never dropped: Pingora does not promise that a dropped one loses
/// nothing.
pub struct Arriving {
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes, Failure>> + Send>>,
}

impl Arriving {
    pub fn new(incoming: Incoming) -> Self {
        // It moves from read to read.
        let incoming = Box::new(incoming);
        let pieces = stream::unfold(incoming, |mut incoming| async move {
            let piece = incoming.chunk().await.transpose()?;
            Some((piece, incoming))
        });
        Self { pieces: Box::pin(pieces.fuse()) }
    }

    /// As [`Incoming::chunk`].
    ///
    /// # Errors
    /// The same.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        self.pieces.next().await.transpose()
    }

    /// What [`chunk`](Self::chunk) would give at once; `None` when it would wait.
    pub fn arrived(&mut self) -> Option<Result<Option<Bytes>, Failure>> {
        self.pieces.next().now_or_never().map(Option::transpose)
    }
}

impl fmt::Debug for Arriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arriving").finish_non_exhaustive()
    }
}

//! An answer of which what has come can be taken without waiting for more.

use std::{fmt, future::poll_fn, pin::Pin};

use bytes::{Bytes, BytesMut};
use futures_util::{
    FutureExt as _, Stream, StreamExt as _,
    stream::{self, Fuse},
};

use super::{Failure, Incoming};

/// Short pieces that have come already are joined up to this length. A model's deltas come as a chunk each: what a piece
/// costs on its way, whatever its length, is then paid once for many of them. One that had to be waited for comes alone: it
/// is on its way sooner, and most often there is none behind it.
const JOINED: usize = 16 * 1024;

/// The rest of an answer's body.
///
/// A read that has to wait is kept and gone on with, never dropped: Pingora does not promise that a dropped one loses
/// nothing.
pub struct Arriving {
    pieces: Fuse<Pieces>,
    /// What came behind joined pieces and was not joined to them.
    next: Option<Result<Bytes, Failure>>,
    /// There is nothing behind the last piece: it had to be waited for, or that was looked for.
    dry: bool,
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, Failure>> + Send>>;

impl Arriving {
    pub fn new(incoming: Incoming) -> Self {
        // It moves from read to read.
        let incoming = Box::new(incoming);
        let pieces = stream::unfold(incoming, |mut incoming| async move {
            let piece = incoming.chunk().await.transpose()?;
            Some((piece, incoming))
        });
        let pieces: Pieces = Box::pin(pieces);
        Self { pieces: pieces.fuse(), next: None, dry: false }
    }

    /// As [`Incoming::chunk`], but for short pieces that came together.
    ///
    /// # Errors
    /// The same.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        if let Some(piece) = self.next.take() {
            return piece.map(|piece| Some(self.joined(piece)));
        }
        self.dry = false;
        let piece = poll_fn(|cx| {
            let piece = self.pieces.poll_next_unpin(cx);
            self.dry |= piece.is_pending();
            piece
        });
        let piece = piece.await.transpose()?;
        Ok(if self.dry { piece } else { piece.map(|piece| self.joined(piece)) })
    }

    /// What [`chunk`](Self::chunk) would give at once; `None` when it would wait, as far as is known.
    pub fn arrived(&mut self) -> Option<Result<Option<Bytes>, Failure>> {
        if self.dry { None } else { self.chunk().now_or_never() }
    }

    /// The piece, and behind it those that have come as well.
    fn joined(&mut self, first: Bytes) -> Bytes {
        self.dry = false;
        let mut joined = BytesMut::new();
        while first.len().max(joined.len()) < JOINED {
            match self.pieces.next().now_or_never() {
                Some(Some(Ok(piece))) if first.len().max(joined.len()) + piece.len() <= JOINED => {
                    if joined.is_empty() {
                        joined.reserve(JOINED);
                        joined.extend_from_slice(&first);
                    }
                    joined.extend_from_slice(&piece);
                }
                Some(next) => {
                    self.next = next;
                    break;
                }
                None => {
                    self.dry = true;
                    break;
                }
            }
        }
        if joined.is_empty() { first } else { joined.freeze() }
    }
}

impl fmt::Debug for Arriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arriving").finish_non_exhaustive()
    }
}

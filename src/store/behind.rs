//! A buffer that is written out behind the one being filled.
//!
//! Memory for one value is two buffers, however long the value grows: while one is on its way to the disk the other
//! fills, and who is faster than the disk waits.

use tokio::task::{JoinHandle, spawn_blocking};

use super::StoreError;

/// Size of a full buffer.
pub(super) const BUFFER: usize = 128 * 1024;
/// Smallest allocation of a buffer, so that tiny pictures stay cheap without growing byte by byte.
const LEAST: usize = 4 * 1024;

/// Takes full buffers, in order, where it may block.
pub(super) trait Drain: Send + 'static {
    fn drain(&mut self, piece: &[u8]) -> Result<(), StoreError>;
}

/// Collects bytes and hands full buffers to a [`Drain`] in the background.
#[derive(Debug)]
pub(super) struct Behind<D> {
    filling: Vec<u8>,
    /// The filling buffer is handed over when it holds this much and more comes.
    limit: usize,
    spare: Vec<u8>,
    drain: Slot<D>,
}

#[derive(Debug)]
enum Slot<D> {
    Here(D),
    /// Busy with a buffer.
    Away(JoinHandle<(D, Vec<u8>, Result<(), StoreError>)>),
    /// It failed.
    Lost,
}

impl<D: Drain> Behind<D> {
    /// Nothing is handed over before more than `first` bytes have come.
    pub(super) fn new(drain: D, first: usize) -> Self {
        Self { filling: Vec::new(), limit: first, spare: Vec::new(), drain: Slot::Here(drain) }
    }

    /// Appends. A failure may be that of an earlier buffer; after one, nothing works any more.
    pub(super) async fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let room = self.limit.saturating_sub(self.filling.len());
            if room == 0 {
                self.hand_over().await?;
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.reserve(now.len());
            self.filling.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Waits for the buffer on its way. Then the bytes not handed over are [`Self::filling`].
    pub(super) async fn settle(&mut self) -> Result<&mut D, StoreError> {
        if let Slot::Away(job) = &mut self.drain {
            let outcome = job.await;
            self.drain = Slot::Lost;
            let (drain, mut buffer, result) = outcome.map_err(|_| StoreError::CutOff)?;
            result?;
            if buffer.capacity() <= BUFFER {
                buffer.clear();
                self.spare = buffer;
            }
            self.drain = Slot::Here(drain);
        }
        match &mut self.drain {
            Slot::Here(drain) => Ok(drain),
            Slot::Away(_) | Slot::Lost => Err(StoreError::CutOff),
        }
    }

    /// What has not been handed over.
    pub(super) fn filling(&self) -> &[u8] {
        &self.filling
    }

    /// The drain, and what has not been handed to it.
    pub(super) async fn into_parts(mut self) -> Result<(D, Vec<u8>), StoreError> {
        self.settle().await?;
        match self.drain {
            Slot::Here(drain) => Ok((drain, self.filling)),
            Slot::Away(_) | Slot::Lost => Err(StoreError::CutOff),
        }
    }

    async fn hand_over(&mut self) -> Result<(), StoreError> {
        self.settle().await?;
        let Slot::Here(mut drain) = std::mem::replace(&mut self.drain, Slot::Lost) else {
            return Err(StoreError::CutOff);
        };
        let full = std::mem::replace(&mut self.filling, std::mem::take(&mut self.spare));
        self.limit = BUFFER;
        self.drain = Slot::Away(spawn_blocking(move || {
            let result = drain.drain(&full);
            (drain, full, result)
        }));
        Ok(())
    }

    /// Doubles the buffer as needed, but never beyond what it may hold.
    fn reserve(&mut self, more: usize) {
        let needed = self.filling.len() + more;
        if needed > self.filling.capacity() {
            let capacity = needed.max(self.filling.capacity() * 2).max(LEAST).min(self.limit);
            self.filling.reserve_exact(capacity - self.filling.len());
        }
    }
}

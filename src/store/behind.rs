//! A buffer that is written out, where that may block, each time it is full.
//!
//! Memory for one value is this one buffer, however long the value grows. Nothing is read ahead meanwhile: to write it takes
//! a tenth of a millisecond, and with many pictures at once a second buffer for each would double their memory.

use tokio::task::spawn_blocking;

use super::StoreError;

/// Size of a full buffer.
pub(super) const BUFFER: usize = 128 * 1024;
/// Smallest allocation of a buffer, so that tiny pictures stay cheap without growing byte by byte.
const LEAST: usize = 4 * 1024;

/// Takes full buffers, in order, where it may block.
pub(super) trait Drain: Send + 'static {
    fn drain(&mut self, piece: &[u8]) -> Result<(), StoreError>;
}

/// Collects bytes and hands full buffers to a [`Drain`].
#[derive(Debug)]
pub(super) struct Behind<D> {
    filling: Vec<u8>,
    /// The filling buffer is handed over when it holds this much and more comes.
    limit: usize,
    /// `None`: it failed, or was left in the middle.
    drain: Option<D>,
}

impl<D: Drain> Behind<D> {
    /// Nothing is handed over before more than `first` bytes have come.
    pub(super) fn new(drain: D, first: usize) -> Self {
        Self { filling: Vec::new(), limit: first, drain: Some(drain) }
    }

    /// Appends. After a failure nothing works any more.
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

    /// What took the bytes that are not [`Self::filling`].
    pub(super) fn drain(&mut self) -> Result<&mut D, StoreError> {
        self.drain.as_mut().ok_or(StoreError::CutOff)
    }

    /// What has not been handed over.
    pub(super) fn filling(&self) -> &[u8] {
        &self.filling
    }

    /// The drain, and what has not been handed to it.
    pub(super) fn into_parts(self) -> Result<(D, Vec<u8>), StoreError> {
        Ok((self.drain.ok_or(StoreError::CutOff)?, self.filling))
    }

    async fn hand_over(&mut self) -> Result<(), StoreError> {
        let mut drain = self.drain.take().ok_or(StoreError::CutOff)?;
        let full = std::mem::take(&mut self.filling);
        let job = spawn_blocking(move || {
            let result = drain.drain(&full);
            (drain, full, result)
        });
        let (drain, mut buffer, result) = job.await.map_err(|_| StoreError::CutOff)?;
        result?;
        buffer.clear();
        buffer.shrink_to(BUFFER);
        self.filling = buffer;
        self.limit = BUFFER;
        self.drain = Some(drain);
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

//! A buffer that is written out, where that may block, each time it is full.
//!
//! Memory for one value is this one buffer, however long the value grows. Nothing is read ahead meanwhile: to write it takes
//! a tenth of a millisecond, and with many pictures at once a second buffer for each would double their memory.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use super::StoreError;

/// Size of a full buffer, when there are many.
pub(super) const BUFFER: usize = 128 * 1024;
/// Size of a full buffer, when there are few: each costs two changes of threads, which is more than to write it.
const LARGE: usize = 512 * 1024;
/// What all buffers together may take before they become smaller.
const TOGETHER: usize = 4 * 1024 * 1024;
/// From here on a value counts as long: early, so that of many that begin together none has a large buffer.
const LONG: usize = 32 * 1024;
/// Smallest allocation of a buffer, so that tiny pictures stay cheap without growing byte by byte.
const LEAST: usize = 4 * 1024;
/// How many full buffers of one store are written at once. To copy one to the page cache is work for a processor: with a
/// thread for each of many pictures it took a fifth longer, and their stacks cost memory.
const AT_ONCE: usize = 8;

/// A value of known length stays in memory whole, up to this length …
const WHOLE: u64 = 2 * 1024 * 1024;
/// … while all such values together do not take more than this many KiB.
const WHOLE_TOGETHER: usize = 16 * 1024;

/// Takes full buffers, in order, where it may block.
pub(super) trait Drain: Send + 'static {
    fn drain(&mut self, piece: &[u8]) -> Result<(), StoreError>;
}

/// What the buffers of one store share.
#[derive(Debug)]
pub(super) struct Desk {
    turns: Arc<Semaphore>,
    /// Values with more than [`LONG`] so far.
    long: AtomicUsize,
    /// KiB that values may still take which stay in memory whole.
    room: Arc<Semaphore>,
}

/// Room in memory for a whole value. It is given back when the last clone goes.
#[derive(Clone, Debug)]
pub(super) struct Room {
    len: usize,
    _kib: Arc<OwnedSemaphorePermit>,
}

/// Collects bytes and hands full buffers to a [`Drain`].
pub(super) struct Behind<D> {
    desk: Arc<Desk>,
    /// It is counted among the long ones.
    is_long: bool,
    filling: Vec<u8>,
    /// The filling buffer is handed over when it holds this much and more comes.
    limit: usize,
    /// `None`: it failed, or was left in the middle.
    drain: Option<D>,
}

impl<D> fmt::Debug for Behind<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behind").field("is_long", &self.is_long).field("limit", &self.limit).finish_non_exhaustive()
    }
}

// === impl Desk ===

impl Default for Desk {
    fn default() -> Self {
        let (turns, room) = (Semaphore::new(AT_ONCE), Semaphore::new(WHOLE_TOGETHER));
        Self { turns: Arc::new(turns), long: AtomicUsize::new(0), room: Arc::new(room) }
    }
}

impl Desk {
    /// How large a buffer may be now.
    fn buffer(&self) -> usize {
        (TOGETHER / self.long.load(Ordering::Relaxed).max(1)).clamp(BUFFER, LARGE)
    }

    /// Room for a value of this length, if there is any now.
    pub(super) fn room(&self, len: u64) -> Option<Room> {
        let len = usize::try_from(len).ok().filter(|_| len <= WHOLE)?;
        let kib = u32::try_from(len.div_ceil(1024)).ok()?;
        let permit = Arc::clone(&self.room).try_acquire_many_owned(kib).ok()?;
        Some(Room { len, _kib: Arc::new(permit) })
    }
}

// === impl Behind ===

impl<D: Drain> Behind<D> {
    /// Nothing is handed over before more than `first` bytes have come.
    pub(super) fn new(desk: Arc<Desk>, drain: D, first: usize) -> Self {
        Self { desk, is_long: false, filling: Vec::new(), limit: first, drain: Some(drain) }
    }

    /// Nothing is handed over before there is no more room.
    pub(super) fn within(desk: Arc<Desk>, drain: D, room: &Room) -> Self {
        let mut behind = Self::new(desk, drain, room.len);
        behind.filling.reserve_exact(room.len);
        behind
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
    pub(super) fn into_parts(mut self) -> Result<(D, Vec<u8>), StoreError> {
        Ok((self.drain.take().ok_or(StoreError::CutOff)?, std::mem::take(&mut self.filling)))
    }

    async fn hand_over(&mut self) -> Result<(), StoreError> {
        let turn = Arc::clone(&self.desk.turns).acquire_owned().await.map_err(|_| StoreError::CutOff)?;
        let mut drain = self.drain.take().ok_or(StoreError::CutOff)?;
        let full = std::mem::take(&mut self.filling);
        let job = spawn_blocking(move || {
            let result = drain.drain(&full);
            drop(turn);
            (drain, full, result)
        });
        let (drain, mut buffer, result) = job.await.map_err(|_| StoreError::CutOff)?;
        result?;
        self.limit = self.desk.buffer();
        buffer.clear();
        if buffer.capacity() < self.limit {
            // Made anew: to make one larger copies it, and there is nothing in it.
            buffer = Vec::new();
            buffer.reserve_exact(self.limit);
        }
        buffer.shrink_to(self.limit);
        self.filling = buffer;
        self.drain = Some(drain);
        Ok(())
    }

    /// Doubles the buffer as needed, but never beyond what it may hold. A value that is long is counted.
    fn reserve(&mut self, more: usize) {
        let needed = self.filling.len() + more;
        if needed > self.filling.capacity() {
            let capacity = needed.max(self.filling.capacity() * 2).max(LEAST).min(self.limit);
            self.filling.reserve_exact(capacity - self.filling.len());
            if capacity > LONG && !std::mem::replace(&mut self.is_long, true) {
                self.desk.long.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl<D> Drop for Behind<D> {
    fn drop(&mut self) {
        if self.is_long {
            self.desk.long.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Sizes(Vec<usize>);

    impl Drain for Sizes {
        fn drain(&mut self, piece: &[u8]) -> Result<(), StoreError> {
            self.0.push(piece.len());
            Ok(())
        }
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_short_values_and_no_long_one() {
        let desk = Arc::<Desk>::default();
        assert!(desk.room(WHOLE + 1).is_none());
        let rooms: Vec<_> = (0..8).map(|_| desk.room(WHOLE).unwrap()).collect();
        assert!(desk.room(1).is_none() && desk.room(0).is_some());
        let copy = rooms[0].clone();
        drop(rooms);
        assert_eq!(desk.room.available_permits(), WHOLE_TOGETHER - 2048);
        drop(copy);
        let room = desk.room(WHOLE).unwrap();
        let mut behind = Behind::within(Arc::clone(&desk), Sizes::default(), &room);
        behind.write(&vec![0; room.len]).await.unwrap();
        assert_eq!((behind.drain.as_ref().unwrap().0.len(), behind.filling.capacity()), (0, room.len));
        // More than was said: it goes the way of any other.
        behind.write(&[0]).await.unwrap();
        assert_eq!(behind.drain.as_ref().unwrap().0, [room.len]);
    }

    async fn long(desk: &Arc<Desk>) -> Behind<Sizes> {
        let mut behind = Behind::new(Arc::clone(desk), Sizes::default(), BUFFER);
        behind.write(&vec![0; 3 * LARGE]).await.unwrap();
        behind
    }

    #[tokio::test]
    async fn buffers_are_smaller_the_more_there_are() {
        let desk = Arc::<Desk>::default();
        let first = long(&desk).await;
        assert_eq!(first.drain.as_ref().unwrap().0, [BUFFER, LARGE, LARGE]);
        let mut many = Vec::new();
        for _ in 0..TOGETHER / BUFFER {
            many.push(long(&desk).await);
        }
        assert!(long(&desk).await.drain.as_ref().unwrap().0.iter().all(|size| *size == BUFFER));
        drop((first, many));
        assert_eq!(desk.long.load(Ordering::Relaxed), 0);
        let (sizes, rest) = long(&desk).await.into_parts().unwrap();
        assert_eq!((sizes.0, rest.len()), (vec![BUFFER, LARGE, LARGE], LARGE - BUFFER));
        assert_eq!(desk.long.load(Ordering::Relaxed), 0);
    }
}

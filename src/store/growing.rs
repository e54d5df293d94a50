//! A picture that is coming back from the archive: it can be read as far as it has come.
//!
//! Many may read it, each at its own place, while one [`Filling`] writes. A reader waits for bytes that are not there
//! yet. The last byte is given out only when the whole was seen to be what its name says, so nobody takes a wrong or
//! cut picture for a good one.

use std::{
    collections::HashMap,
    fs::File,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{
    Body, Facts, Inner, Record, Store, StoreError,
    commit::{Content, Staged},
    error::{Doing, blocking},
    file,
    tmp::{self, TmpFile},
};
use crate::{
    opaque::opaque,
    picture::{Hasher, PictureId},
};

/// Reads a picture that is being filled in. Clones read independently.
#[derive(Clone, Debug)]
pub struct Growing {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    len: u64,
    /// `None` before the first byte.
    place: Mutex<Option<Place>>,
    progress: watch::Sender<Progress>,
}

/// Where its bytes are.
#[derive(Clone, Debug)]
enum Place {
    File(Arc<File>),
    /// They cannot be written to the disk.
    Memory(Arc<InMemory>),
    /// It was here all the time.
    Here(Body),
}

/// Bytes in memory, and the leave to hold them, which lasts as long as anybody reads them.
struct InMemory {
    bytes: Mutex<Vec<u8>>,
    _leave: OwnedSemaphorePermit,
}

opaque!(InMemory {});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Written(u64),
    /// All of it, and it is what its name says.
    Whole,
    Failed(Failure),
}

/// Why a picture did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The archive does not have it.
    Missing,
    /// The archive cannot be reached, or something broke on the way: later it may work.
    Away,
    /// The disk does not take it, and it is too large for memory.
    Full,
    /// The disk does not take it, and others have the memory.
    Busy,
}

/// Fills a picture in, from its first byte to its last.
#[derive(Debug)]
pub struct Filling {
    store: Arc<Inner>,
    record: Record,
    growing: Growing,
    hasher: Hasher,
    written: u64,
    tmp: Option<TmpFile>,
    done: bool,
    /// Set when the picture is deleted meanwhile.
    deleted: Arc<AtomicBool>,
}

/// Pictures that are on their way back: one that is deleted meanwhile must not come back by that, even when the archive
/// has forgotten it before it is here.
#[derive(Debug, Default)]
pub(super) struct Returning(Mutex<HashMap<PictureId, Vec<Weak<AtomicBool>>>>);

impl Returning {
    fn enter(&self, id: PictureId) -> Arc<AtomicBool> {
        let deleted = Arc::new(AtomicBool::new(false));
        let mut all = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        all.retain(|_, flags| {
            flags.retain(|flag| flag.strong_count() > 0);
            !flags.is_empty()
        });
        all.entry(id).or_default().push(Arc::downgrade(&deleted));
        deleted
    }

    /// The caller holds the picture's gate.
    pub(super) fn delete(&self, id: &PictureId) {
        let all = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for flag in all.get(id).into_iter().flatten().filter_map(Weak::upgrade) {
            flag.store(true, Ordering::Release);
        }
    }
}

// === impl Growing ===

impl Growing {
    /// Waits until there is something to read, or it is known that there never will be.
    pub async fn begun(&self) -> Result<(), Failure> {
        let mut progress = self.shared.progress.subscribe();
        let begun = |progress: &Progress| !matches!(progress, Progress::Written(0));
        match progress.wait_for(begun).await.map(|progress| *progress) {
            Ok(Progress::Failed(failure)) => Err(failure),
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::Away),
        }
    }

    /// Whether it is known that it will never be whole.
    pub fn has_failed(&self) -> bool {
        matches!(*self.shared.progress.borrow(), Progress::Failed(_))
    }

    /// Whether both read the same download.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Waits for its end. `false`: it was none.
    pub(super) async fn arrived(&self) -> bool {
        let mut progress = self.shared.progress.subscribe();
        let ended = |progress: &Progress| !matches!(progress, Progress::Written(_));
        progress.wait_for(ended).await.is_ok_and(|progress| *progress == Progress::Whole)
    }

    /// The start of this range, at most `most` bytes of it, as soon as there is one.
    pub(super) async fn read(&self, range: Range<u64>, most: usize) -> Result<Bytes, StoreError> {
        let len = self.shared.len;
        let end = range.end.min(len);
        if range.start >= end {
            return Ok(Bytes::new());
        }
        let mut progress = self.shared.progress.subscribe();
        let there = |progress: &Progress| match progress {
            Progress::Written(written) => (*written).min(len.saturating_sub(1)),
            Progress::Whole | Progress::Failed(_) => len,
        };
        let now = progress.wait_for(|progress| there(progress) > range.start).await;
        let now = *now.map_err(|_| StoreError::CutOff)?;
        if let Progress::Failed(_) = now {
            return Err(StoreError::CutOff);
        }
        let want = usize::try_from(end.min(there(&now)) - range.start).map_or(most, |left| left.min(most));
        let place = self.shared.place().clone();
        match place.ok_or(StoreError::CutOff)? {
            Place::File(file) => {
                blocking(move || file::read_exact_at(&file, range.start, want).doing("reading a picture")).await
            }
            Place::Memory(held) => {
                let bytes = held.bytes();
                let start = usize::try_from(range.start).map_err(|_| StoreError::CutOff)?;
                bytes.get(start..start + want).map(Bytes::copy_from_slice).ok_or(StoreError::CutOff)
            }
            Place::Here(Body::Memory(bytes)) => {
                let start = usize::try_from(range.start).map_err(|_| StoreError::CutOff)?;
                Ok(bytes.slice(start.min(bytes.len())..(start + want).min(bytes.len())))
            }
            Place::Here(Body::File(file)) => {
                blocking(move || file::read_exact_at(&file, range.start, want).doing("reading a picture")).await
            }
            Place::Here(Body::Growing(_)) => Err(StoreError::CutOff),
        }
    }

    fn is_at(&self, progress: Progress) {
        self.shared.progress.send_replace(progress);
    }
}

// === impl Shared ===

impl Shared {
    fn place(&self) -> MutexGuard<'_, Option<Place>> {
        self.place.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

// === impl InMemory ===

impl InMemory {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

// === impl Filling ===

impl Store {
    /// Begins to take back the picture of this record. Nothing is written yet.
    pub fn filling(&self, record: Record) -> Filling {
        let (progress, _) = watch::channel(Progress::Written(0));
        let deleted = self.inner.returning.enter(record.id);
        let shared = Shared { len: record.bytes, place: Mutex::default(), progress };
        Filling {
            store: Arc::clone(&self.inner),
            record,
            growing: Growing { shared: Arc::new(shared) },
            hasher: Hasher::default(),
            written: 0,
            tmp: None,
            done: false,
            deleted,
        }
    }
}

impl Filling {
    /// What readers read.
    pub fn growing(&self) -> Growing {
        self.growing.clone()
    }

    pub fn facts(&self) -> Facts {
        self.record.facts()
    }

    /// Bytes that have come.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Takes the next bytes, into a file unless [`in_memory`](Self::in_memory) was called. After an error these bytes may
    /// be given again.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        let written = self.written + piece.len() as u64;
        if written > self.record.bytes {
            return Err(StoreError::Gone);
        }
        let held = match &*self.growing.shared.place() {
            Some(Place::Memory(held)) => Some(Arc::clone(held)),
            _ => None,
        };
        match held {
            Some(held) => held.bytes().extend_from_slice(&piece),
            None => self.write_to_file(piece.clone()).await?,
        }
        self.hasher.update(&piece);
        self.written = written;
        self.growing.is_at(Progress::Written(written));
        Ok(())
    }

    async fn write_to_file(&mut self, piece: Bytes) -> Result<(), StoreError> {
        let (store, tmp, at) = (Arc::clone(&self.store), self.tmp.take(), self.written);
        let (tmp, result) = blocking(move || {
            let tmp = match tmp {
                Some(tmp) => tmp,
                None => TmpFile::create(store.files.layout.tmp(), tmp::OPEN).doing("taking a picture back")?,
            };
            let result = tmp.write_all(&piece).or_else(|error| {
                // Some of it may stand there.
                tmp.file().set_len(at).and(Err(error))
            });
            Ok((tmp, result.doing("taking a picture back")))
        })
        .await?;
        let file = tmp.file().try_clone();
        self.tmp = Some(tmp);
        result?;
        let mut place = self.growing.shared.place();
        if place.is_none() {
            *place = Some(Place::File(Arc::new(file.doing("taking a picture back")?)));
        }
        Ok(())
    }

    /// From here on the bytes are kept in memory, all of them, as long as anybody reads them: for a disk that takes no more.
    /// `leave` bounds how many there are.
    ///
    /// # Errors
    /// When what is in the file cannot be read back.
    pub async fn in_memory(&mut self, leave: OwnedSemaphorePermit) -> Result<(), StoreError> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.record.bytes).unwrap_or(0));
        if let Some(tmp) = self.tmp.take() {
            let written = usize::try_from(self.written).map_err(|_| StoreError::CutOff)?;
            let read = move || file::read_exact_at(tmp.file(), 0, written).doing("taking a picture back");
            bytes.extend_from_slice(&blocking(read).await?);
        }
        let held = InMemory { bytes: Mutex::new(bytes), _leave: leave };
        *self.growing.shared.place() = Some(Place::Memory(Arc::new(held)));
        Ok(())
    }

    /// Whether its bytes are in memory.
    pub fn is_in_memory(&self) -> bool {
        matches!(&*self.growing.shared.place(), Some(Place::Memory(_)))
    }

    /// It has come back some other way.
    pub fn is_here(mut self, body: Body) {
        self.done = true;
        *self.growing.shared.place() = Some(Place::Here(body));
        self.growing.is_at(Progress::Whole);
    }

    /// All has come: readers get the rest, and the picture is on this disk again.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when the bytes are not what the record says.
    pub async fn finish(mut self) -> Result<Facts, StoreError> {
        let hasher = std::mem::take(&mut self.hasher);
        if self.written != self.record.bytes || hasher.finish() != self.record.id {
            return Err(StoreError::Gone);
        }
        self.done = true;
        self.growing.is_at(Progress::Whole);
        // What is in memory only stays there: there was no room.
        let Some(tmp) = self.tmp.take() else { return Ok(self.record.facts()) };
        let (id, format, len) = (self.record.id, self.record.format, self.record.bytes);
        let staged = Staged::new(Arc::clone(&self.store), id, format, len, Content::File(tmp));
        staged.restore(self.record.clone(), Arc::clone(&self.deleted)).await
    }

    /// It will not come (any further).
    pub fn fail(mut self, failure: Failure) {
        self.done = true;
        self.growing.is_at(Progress::Failed(failure));
    }
}

impl Drop for Filling {
    /// Nobody shall wait for ever.
    fn drop(&mut self) {
        if !self.done {
            self.growing.is_at(Progress::Failed(Failure::Away));
        }
    }
}

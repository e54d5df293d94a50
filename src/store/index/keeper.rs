//! The one thread that opens, feeds and mends the index.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{Counts, Cursor, Entry, Index, IndexError, IndexState, Page, local::LocalIndex, reconcile};
use crate::store::{
    StoreError,
    error::{Doing, blocking},
    layout::Layout,
    record::unix_ms,
};

/// New pictures that may wait for the index. When there are more, they are found again in `images/`.
const WAITING: usize = 4096;
/// Most entries of a batch.
const BATCH: usize = 256;
/// How long a batch is gathered.
const GATHER: Duration = Duration::from_millis(50);
/// Pause before the index is tried again, and between looks at what else there is to do.
const PAUSE: Duration = Duration::from_secs(1);

/// The handle to the index and its thread. The thread ends when the handle is dropped.
#[derive(Debug)]
pub(in crate::store) struct Keeper {
    new: SyncSender<Entry>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    open: RwLock<Option<Arc<dyn Index>>>,
    /// Compared with `images/` since it was opened.
    compared: AtomicBool,
    /// A new picture found no room in the channel.
    incomplete: AtomicBool,
    /// A reader met an error.
    failed: AtomicBool,
}

struct Worker {
    layout: Layout,
    new: Receiver<Entry>,
    shared: Arc<Shared>,
}

/// Why the index is not served any longer.
enum End {
    /// The store was dropped.
    Stopped,
    Failed(IndexError),
}

// === impl Keeper ===

impl Keeper {
    /// Starts the thread. Does not wait for the index.
    pub(in crate::store) fn start(layout: Layout) -> Result<Self, StoreError> {
        let (tell, new) = sync_channel(WAITING);
        let shared = Arc::new(Shared::default());
        let worker = Worker { layout, new, shared: Arc::clone(&shared) };
        thread::Builder::new().name("index".into()).spawn(move || worker.run()).doing("starting the index's thread")?;
        Ok(Self { new: tell, shared })
    }

    /// Tells of a new picture. Never waits, never fails.
    pub(in crate::store) fn add(&self, entry: Entry) {
        if self.new.try_send(entry).is_err() {
            self.shared.incomplete.store(true, Ordering::Relaxed);
        }
    }

    pub(in crate::store) fn state(&self) -> IndexState {
        match (self.shared.index(), self.shared.compared.load(Ordering::Relaxed)) {
            (None, _) => IndexState::Closed,
            (Some(_), true) if !self.shared.incomplete.load(Ordering::Relaxed) => IndexState::Ready,
            (Some(_), _) => IndexState::Filling,
        }
    }

    pub(in crate::store) async fn recent(&self, before: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let mut entries = self.read(move |index| index.recent(before, limit.saturating_add(1))).await?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok(Page { next: entries.last().filter(|_| more).map(Entry::cursor), entries })
    }

    pub(in crate::store) async fn counts(&self) -> Result<Counts, StoreError> {
        self.read(|index| index.counts()).await
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Index) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let index = self.shared.index().ok_or(StoreError::IndexClosed)?;
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            guarded(|| work(&*index)).map_err(|error| {
                log::warn!("reading the index failed: {error}");
                shared.failed.store(true, Ordering::Relaxed);
                StoreError::Index
            })
        })
        .await
    }
}

// === impl Shared ===

impl Shared {
    fn index(&self) -> Option<Arc<dyn Index>> {
        self.open.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    fn publish(&self, index: Option<Arc<dyn Index>>) {
        self.compared.store(false, Ordering::Relaxed);
        self.failed.store(false, Ordering::Relaxed);
        *self.open.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = index;
    }
}

// === impl Worker ===

impl Worker {
    fn run(self) {
        let mut told = false;
        loop {
            let end = match guarded(|| LocalIndex::open(&self.layout.index())) {
                Ok(index) => {
                    told = false;
                    let index: Arc<dyn Index> = Arc::new(index);
                    self.shared.publish(Some(Arc::clone(&index)));
                    let end = match guarded(|| Ok(self.serve(&*index))) {
                        Ok(end) => end,
                        Err(panicked) => End::Failed(panicked),
                    };
                    self.shared.publish(None);
                    end
                }
                Err(error) => End::Failed(error),
            };
            match end {
                End::Stopped => return,
                End::Failed(IndexError::Damaged(what)) => {
                    log::warn!("the index is damaged and is built anew from images/: {what}");
                    if let Err(e) = self.set_aside() {
                        log::error!("the damaged index could not be moved away: {e}");
                    }
                }
                End::Failed(error) => {
                    if !std::mem::replace(&mut told, true) {
                        log::warn!("the index cannot be used for now, listing pictures has to wait: {error}");
                    }
                }
            }
            if self.pause() {
                return;
            }
        }
    }

    /// Adds what comes until the store is dropped or the index fails.
    fn serve(&self, index: &dyn Index) -> End {
        match self.compare(index).and_then(|()| self.follow(index)) {
            Ok(()) => End::Stopped,
            Err(error) => End::Failed(error),
        }
    }

    fn follow(&self, index: &dyn Index) -> Result<(), IndexError> {
        loop {
            match self.new.recv_timeout(PAUSE) {
                Ok(first) => self.add(index, first)?,
                Err(RecvTimeoutError::Disconnected) => return index.flush(),
                Err(RecvTimeoutError::Timeout) if self.shared.incomplete.load(Ordering::Relaxed) => {
                    self.compare(index)?
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.shared.failed.load(Ordering::Relaxed) {
                return Err(IndexError::Io(io::ErrorKind::Other.into()));
            }
        }
    }

    /// Adds this entry and those that follow shortly.
    fn add(&self, index: &dyn Index, first: Entry) -> Result<(), IndexError> {
        let end = Instant::now() + GATHER;
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(entry) = self.new.recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            batch.push(entry);
        }
        index.add(&batch)?;
        index.flush()
    }

    /// Makes the index agree with `images/`, taking in what comes meanwhile.
    fn compare(&self, index: &dyn Index) -> Result<(), IndexError> {
        let start = Instant::now();
        self.shared.incomplete.store(false, Ordering::Relaxed);
        let mut all = reconcile::Changes::default();
        for first in 0..=u8::MAX {
            let changes = reconcile::shard(index, &self.layout, first)?;
            all.added += changes.added;
            all.removed += changes.removed;
            if let Ok(entry) = self.new.try_recv() {
                self.add(index, entry)?;
            }
        }
        self.shared.compared.store(true, Ordering::Relaxed);
        if all.added + all.removed > 0 {
            let (added, removed, took) = (all.added, all.removed, start.elapsed());
            log::info!("the index was mended: {added} pictures added, {removed} removed, in {took:.1?}");
        }
        Ok(())
    }

    /// Moves the index out of the way. Only the latest damaged one stays, for who wants to look into it.
    fn set_aside(&self) -> io::Result<()> {
        const BAD: &str = "index.bad-";
        for entry in fs::read_dir(self.layout.root())? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(BAD)) {
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path())?
                } else {
                    fs::remove_file(entry.path())?
                }
            }
        }
        let now = unix_ms(SystemTime::now()) / 1000;
        fs::rename(self.layout.index(), self.layout.root().join(format!("{BAD}{now}")))
    }

    /// Waits a little; `true` when the store was dropped. What comes meanwhile is found by the comparison that follows
    /// every opening.
    fn pause(&self) -> bool {
        let end = Instant::now() + PAUSE;
        loop {
            match self.new.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
    }
}

/// Turns a panic into damage: sled panics on a database it cannot make sense of.
fn guarded<T>(work: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(IndexError::Damaged("it made sled panic".into())))
}

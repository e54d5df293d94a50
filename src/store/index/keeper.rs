//! The one thread that opens, feeds and mends the index.

use std::{
    fs, io,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::{
        mpsc::{Receiver, Sender, channel},
        oneshot,
    },
    time::timeout,
};

use super::{Change, Counts, Cursor, Entry, Index, IndexError, IndexState, Page, local::LocalIndex, reconcile};
use crate::{
    picture::PictureId,
    store::{StoreError, disk, error::Doing, files::Files, layout::BAD_INDEX, record::unix_ms},
    vital,
};

/// Changes that may wait for the index. When there are more, they are found again in `images/`.
const WAITING: usize = 4096;
/// Most changes of a batch.
const BATCH: usize = 256;
/// How long a batch is gathered.
const GATHER: Duration = Duration::from_millis(50);
/// Pause before the index is tried again, and between looks at what else there is to do.
const PAUSE: Duration = Duration::from_secs(1);

/// The handle to the index and its thread. The thread ends when the handle is dropped.
#[derive(Debug)]
pub(in crate::store) struct Keeper {
    changes: Sender<Told>,
    shared: Arc<Shared>,
}

/// What the thread is told.
#[derive(Debug)]
enum Told {
    Change(Change),
    /// Answer when everything before this is in the index.
    Settle(oneshot::Sender<()>),
}

#[derive(Debug, Default)]
struct Shared {
    open: RwLock<Option<Arc<dyn Index>>>,
    /// Compared with `images/` since it was opened.
    compared: AtomicBool,
    /// A change found no room in the channel.
    incomplete: AtomicBool,
    /// A reader met an error.
    failed: AtomicBool,
    findings: Mutex<Findings>,
}

/// What comparing the index with `images/` has changed since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Pictures that the index did not know, or knew otherwise.
    pub added: u64,
    /// Entries without a picture.
    pub removed: u64,
    /// Blobs without a record, which have one now.
    pub adopted: u64,
    /// Blobs whose bytes are not those of their name.
    pub damaged: u64,
    /// Deletions that had been cut off and are done now.
    pub buried: u64,
    /// Damaged indexes that were set aside.
    pub rebuilt: u64,
}

struct Worker {
    files: Arc<Files>,
    changes: Receiver<Told>,
    shared: Arc<Shared>,
    /// The log says that the index cannot be used.
    told: bool,
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
    pub(in crate::store) fn start(files: Arc<Files>) -> Result<Self, StoreError> {
        let (tell, changes) = channel(WAITING);
        let shared = Arc::new(Shared::default());
        let worker = Worker { files, changes, shared: Arc::clone(&shared), told: false };
        let doing = "starting the index's thread";
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().doing(doing)?;
        vital::thread("index", move || runtime.block_on(worker.run())).doing(doing)?;
        Ok(Self { changes: tell, shared })
    }

    /// Tells of a picture as it is now. Like all that tell, never waits and never fails.
    pub(in crate::store) fn put(&self, entry: Entry) {
        self.tell(Change::Put(entry));
    }

    /// Tells that there is no such picture.
    pub(in crate::store) fn remove(&self, id: PictureId) {
        self.tell(Change::Remove(id));
    }

    /// Tells that a picture was looked at.
    pub(in crate::store) fn touch(&self, id: PictureId, at_ms: u64) {
        // One that is lost only makes a picture seem older than it is.
        let _ = self.changes.try_send(Told::Change(Change::Touch { id, at_ms }));
    }

    /// Tells of a deletion that the archive has to follow.
    pub(in crate::store) fn bury(&self, id: PictureId) {
        self.tell(Change::Bury(id));
    }

    /// Tells that the archive has nothing to delete (any more).
    pub(in crate::store) fn unbury(&self, id: PictureId) {
        self.tell(Change::Forget(id));
    }

    fn tell(&self, change: Change) {
        if self.changes.try_send(Told::Change(change)).is_err() {
            self.shared.incomplete.store(true, Ordering::Relaxed);
        }
    }

    /// Resolves when everything told before is in the index, or the index has failed meanwhile. Whoever tells of many
    /// changes waits here now and then: what finds no room is found again only by comparing everything.
    pub(in crate::store) async fn settled(&self) {
        let (tell, settled) = oneshot::channel();
        if self.changes.send(Told::Settle(tell)).await.is_ok() {
            let _ = settled.await;
        }
    }

    /// Tells whether the thread has ended, after this handle was dropped.
    #[cfg(test)]
    pub(in crate::store) fn ended(&self) -> impl Fn() -> bool + use<> {
        let shared = Arc::downgrade(&self.shared);
        move || shared.strong_count() == 0
    }

    pub(in crate::store) fn state(&self) -> IndexState {
        match (self.shared.index(), self.shared.compared.load(Ordering::Relaxed)) {
            (None, _) => IndexState::Closed,
            (Some(_), true) if !self.shared.incomplete.load(Ordering::Relaxed) => IndexState::Ready,
            (Some(_), _) => IndexState::Filling,
        }
    }

    pub(in crate::store) fn findings(&self) -> Findings {
        *self.shared.findings.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(in crate::store) async fn newest(&self, before: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let mut entries = self.read(self.index()?.newest(before, limit.saturating_add(1)).await)?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok(Page { next: entries.last().filter(|_| more).map(Entry::cursor), entries })
    }

    pub(in crate::store) async fn oldest(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.read(self.index()?.oldest(after, limit).await)
    }

    pub(in crate::store) async fn waiting(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.read(self.index()?.waiting(after, limit).await)
    }

    pub(in crate::store) async fn buried(
        &self,
        after: Option<PictureId>,
        limit: usize,
    ) -> Result<Vec<PictureId>, StoreError> {
        self.read(self.index()?.buried(after, limit).await)
    }

    pub(in crate::store) async fn entry(&self, id: PictureId) -> Result<Option<Entry>, StoreError> {
        self.read(self.index()?.entry(id).await)
    }

    pub(in crate::store) async fn counts(&self) -> Result<Counts, StoreError> {
        self.read(self.index()?.counts().await)
    }

    pub(in crate::store) async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, StoreError> {
        self.read(self.index()?.lease(name, holder, time).await)
    }

    fn index(&self) -> Result<Arc<dyn Index>, StoreError> {
        self.shared.index().ok_or(StoreError::IndexClosed)
    }

    fn read<T>(&self, result: Result<T, IndexError>) -> Result<T, StoreError> {
        result.map_err(|error| {
            log::warn!("reading the index failed: {error}");
            self.shared.failed.store(true, Ordering::Relaxed);
            StoreError::Index
        })
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

    fn found(&self, more: Findings) -> Findings {
        let mut all = self.findings.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *all = all.plus(more);
        *all
    }
}

// === impl Findings ===

impl Findings {
    pub(super) fn plus(self, more: Self) -> Self {
        Self {
            added: self.added + more.added,
            removed: self.removed + more.removed,
            adopted: self.adopted + more.adopted,
            damaged: self.damaged + more.damaged,
            buried: self.buried + more.buried,
            rebuilt: self.rebuilt + more.rebuilt,
        }
    }
}

// === impl Worker ===

impl Worker {
    async fn run(mut self) {
        loop {
            let end = match self.open().await {
                Ok(index) => {
                    let index: Arc<dyn Index> = Arc::new(index);
                    self.shared.publish(Some(Arc::clone(&index)));
                    let end = self.serve(&*index).await;
                    self.shared.publish(None);
                    end
                }
                Err(error) => End::Failed(error),
            };
            match end {
                End::Stopped => return,
                End::Failed(IndexError::Damaged(what)) => {
                    log::warn!("the index is damaged and is built anew from images/: {what}");
                    match self.set_aside() {
                        Ok(()) => drop(self.shared.found(Findings { rebuilt: 1, ..Findings::default() })),
                        Err(e) => log::error!("the damaged index could not be moved away: {e}"),
                    }
                }
                End::Failed(error) => {
                    if !std::mem::replace(&mut self.told, true) {
                        log::warn!("the index cannot be used for now, listing pictures has to wait: {error}");
                    }
                }
            }
            if self.pause().await {
                return;
            }
        }
    }

    /// Opens the index on a thread where a panic of sled ends nothing else.
    async fn open(&self) -> Result<LocalIndex, IndexError> {
        let files = Arc::clone(&self.files);
        let open = move || LocalIndex::open(&files.layout.index(), files.archive.as_deref());
        match tokio::task::spawn_blocking(open).await {
            Ok(opened) => opened,
            Err(_) => Err(IndexError::Damaged("opening it made sled panic".into())),
        }
    }

    /// Applies what comes until the store is dropped or the index fails.
    async fn serve(&mut self, index: &dyn Index) -> End {
        let result = async {
            self.compare(index).await?;
            self.follow(index).await
        };
        match result.await {
            Ok(()) => End::Stopped,
            Err(error) => End::Failed(error),
        }
    }

    async fn follow(&mut self, index: &dyn Index) -> Result<(), IndexError> {
        loop {
            match timeout(PAUSE, self.changes.recv()).await {
                Ok(Some(first)) => self.apply(index, first).await?,
                Ok(None) => return index.flush().await,
                Err(_) => {}
            }
            // Not only in a pause: on a busy gateway there may be none.
            if self.shared.incomplete.load(Ordering::Relaxed) {
                self.compare(index).await?;
            }
            if self.shared.failed.load(Ordering::Relaxed) {
                return Err(IndexError::Io(io::ErrorKind::Other.into()));
            }
        }
    }

    /// Applies this change and those that follow shortly.
    async fn apply(&mut self, index: &dyn Index, first: Told) -> Result<(), IndexError> {
        let end = tokio::time::Instant::now() + GATHER;
        let (mut batch, mut next) = (Vec::new(), Some(first));
        let waiting = loop {
            match next {
                Some(Told::Change(change)) => batch.push(change),
                Some(Told::Settle(waiting)) => break Some(waiting),
                None => break None,
            }
            if batch.len() >= BATCH {
                break None;
            }
            next = tokio::time::timeout_at(end, self.changes.recv()).await.unwrap_or(None);
        };
        if !batch.is_empty() {
            index.apply(batch).await?;
            index.flush().await?;
        }
        if let Some(waiting) = waiting {
            let _ = waiting.send(());
        }
        Ok(())
    }

    /// Makes the index agree with `images/`, taking in what comes meanwhile.
    async fn compare(&mut self, index: &dyn Index) -> Result<(), IndexError> {
        let start = Instant::now();
        self.shared.incomplete.store(false, Ordering::Relaxed);
        let mut all = Findings::default();
        for first in 0..=u8::MAX {
            all = all.plus(reconcile::shard(index, &self.files, first).await?);
            if let Ok(change) = self.changes.try_recv() {
                self.apply(index, change).await?;
            }
        }
        reconcile::graves(index, &self.files).await?;
        self.shared.found(all);
        self.shared.compared.store(true, Ordering::Relaxed);
        if std::mem::take(&mut self.told) {
            log::info!("the index can be used again");
        }
        if all != Findings::default() {
            let Findings { added, removed, adopted, damaged, buried, .. } = all;
            let took = start.elapsed();
            log::info!(
                "the index was mended in {took:.1?}: {added} pictures added, {removed} removed, {adopted} records \
                 written, {damaged} files damaged, {buried} deletions carried through"
            );
        }
        Ok(())
    }

    /// Moves the index out of the way. Only the latest damaged one stays, for who wants to look into it.
    fn set_aside(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.files.layout.root())? {
            let entry = entry?;
            let name = entry.file_name();
            let time = name.to_str().and_then(|name| name.strip_prefix(BAD_INDEX));
            // What another hand has named so is not ours to remove.
            if time.is_some_and(|time| !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit())) {
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path())?
                } else {
                    fs::remove_file(entry.path())?
                }
            }
        }
        let now = unix_ms(SystemTime::now()) / 1000;
        disk::rename(&self.files.layout.index(), &self.files.layout.root().join(format!("{BAD_INDEX}{now}")))
    }

    /// Waits a little; `true` when the store was dropped. What comes meanwhile is found by the comparison that follows
    /// every opening.
    async fn pause(&mut self) -> bool {
        timeout(PAUSE, async { while self.changes.recv().await.is_some() {} }).await.is_ok()
    }
}

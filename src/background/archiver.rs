//! Brings pictures to the archive, and deletes there what was deleted here.
//!
//! The outbox is no queue of its own: a picture waits as long as its record has no mark of the archive, and a deletion as
//! long as its tombstone stands. So nothing is lost with the index, and a picture goes twice rather than never: its name
//! in the bucket is fixed, so twice is once.
//!
//! Memory does not grow with what waits: a page of names is looked at at a time, and `PARALLEL` pictures are under
//! way. In a round each is tried once; it ends when the bucket is seen to be away. Then one attempt is made at a time
//! ([`Backoff`]), by pictures that have not failed just before; the first success wakes all. A picture that fails while others
//! go well is trouble of its own (`troubles.rs`): it rests, longer each time, and holds up nobody. Of deletions a few are
//! tried first and are not waited for, so that a bucket that lets nothing be deleted still takes pictures.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, UNIX_EPOCH},
};

use futures_util::{FutureExt, StreamExt, stream};

use super::troubles::{Troubles, Whose};
use crate::{
    archive::{ArchiveError, Backoff, Bucket, Meta, Source},
    picture::{Hasher, PictureId},
    store::{Blob, Cursor, Record, Store, StoreError},
    telemetry::Metrics,
};

/// Pictures on their way at once.
const PARALLEL: usize = 8;
/// Names looked at at a time.
const PAGE: usize = 128;
/// Deletions that fail in a row before the rest of them waits for the next round.
const VAIN_DELETIONS: usize = 3;
/// Which of several processes does this.
const LEASE: &str = "archiver";
/// How long a lease is good for. Renewed every round.
const LEASED_FOR: Duration = Duration::from_secs(60);

/// The archiver of one store.
#[derive(Debug)]
pub struct Archiver {
    store: Store,
    bucket: Bucket,
    metrics: Metrics,
    backoff: Backoff,
    /// Tells this process from others that share the index.
    holder: String,
    troubles: Troubles,
    /// Of deletions, which need another right.
    undeletable: Troubles,
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    pub archived: u64,
    pub deleted: u64,
    /// Tried in vain, because the bucket was away.
    pub waiting: u64,
    /// Tried in vain, while others may go well: they rest.
    pub troublesome: u64,
}

/// How one picture went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Archived,
    /// There was nothing to do (any more).
    Moot,
    /// The bucket is away.
    Waiting,
    Aside,
}

/// Why an attempt failed.
enum Trouble {
    /// Neither here nor there: it is lost.
    Lost,
    Archive(ArchiveError),
    Store(StoreError),
}

impl Archiver {
    pub fn new(store: Store, bucket: Bucket, metrics: Metrics) -> Self {
        let holder = format!("{}-{:x}", std::process::id(), getrandom::u64().unwrap_or_default());
        Self {
            store,
            bucket,
            metrics,
            backoff: Backoff::default(),
            holder,
            troubles: Troubles::default(),
            undeletable: Troubles::default(),
        }
    }

    /// Goes once through all that waits. Ends early, with nothing done, while the index is closed or another process has
    /// the work. Rests while the bucket is away: drop it to stop.
    pub async fn round(&self) -> Round {
        let mut round = Round::default();
        if !matches!(self.store.lease(LEASE, &self.holder, LEASED_FOR).await, Ok(true)) {
            return round;
        }
        self.troubles.tidy();
        self.undeletable.tidy();
        self.delete(&mut round).await;
        self.archive(&mut round).await;
        round
    }

    async fn archive(&self, round: &mut Round) {
        let mut after: Option<Cursor> = None;
        while let Ok(page) = self.store.waiting(after, PAGE).await {
            let Some(last) = page.last() else { return };
            after = Some(last.cursor());
            let successes = self.backoff.successes();
            let ids = page.iter().map(|entry| entry.facts.id).filter(|id| !self.troubles.rests(id, successes));
            // Those that have not failed go first: one of them may be what shows that the bucket is back.
            let mut ids: Vec<_> = ids.collect();
            ids.sort_by_key(|id| self.troubles.failures(id));
            let away = AtomicBool::new(false);
            let work: Vec<_> = ids.into_iter().map(|id| self.bring(id, &away).boxed()).collect();
            // While the bucket is away, those who wait for their turn would be in the way of pictures that come.
            let parallel = if self.backoff.is_away() { 1 } else { PARALLEL };
            let mut fates = stream::iter(work).buffer_unordered(parallel);
            while let Some(fate) = fates.next().await {
                match fate {
                    Fate::Archived => round.archived += 1,
                    Fate::Moot => {}
                    Fate::Waiting => round.waiting += 1,
                    Fate::Aside => round.troublesome += 1,
                }
            }
            drop(fates);
            if away.into_inner() {
                return;
            }
            // A page may have taken longer than the lease.
            if !matches!(self.store.lease(LEASE, &self.holder, LEASED_FOR).await, Ok(true)) {
                return;
            }
        }
    }

    async fn delete(&self, round: &mut Round) {
        let mut after: Option<PictureId> = None;
        let mut in_vain = 0;
        while let Ok(page) = self.store.buried(after, PAGE).await {
            let Some(last) = page.last() else { return };
            after = Some(*last);
            for id in page.into_iter().filter(|id| !self.undeletable.rests(id, 0)) {
                match self.purge(id).await {
                    Ok(deleted) => {
                        round.deleted += u64::from(deleted);
                        self.undeletable.forget(&id);
                        in_vain = 0;
                    }
                    Err(trouble) => {
                        self.metrics.archive_failures.with_label_values(&[trouble.kind()]).inc();
                        let (_, wait) = self.undeletable.failed(id, Whose::Its, 0);
                        log::warn!("picture {id} could not be deleted in the archive, again in {wait:.1?}: {trouble}");
                        round.troublesome += 1;
                        in_vain += 1;
                    }
                }
                if in_vain == VAIN_DELETIONS {
                    return;
                }
            }
        }
    }

    /// Tries once. `away`: the bucket was seen to be away; then nothing more is begun.
    async fn bring(&self, id: PictureId, away: &AtomicBool) -> Fate {
        if away.load(Ordering::Relaxed) {
            return Fate::Moot;
        }
        let turn = self.backoff.turn().await;
        let trouble = match self.put(id).await {
            Ok(fate) => {
                // What was moot says nothing of the bucket.
                if fate == Fate::Archived {
                    turn.succeeded();
                }
                self.troubles.forget(&id);
                return fate;
            }
            Err(trouble) => trouble,
        };
        self.metrics.archive_failures.with_label_values(&[trouble.kind()]).inc();
        let (is_own, wait) = self.troubles.failed(id, trouble.whose(), self.backoff.successes());
        if is_own {
            log::error!("picture {id} cannot be archived, again in {wait:.1?}: {trouble}");
            return Fate::Aside;
        }
        let wait = turn.failed();
        away.store(true, Ordering::Relaxed);
        log::warn!("archiving picture {id} failed, the next in at most {wait:.1?}: {trouble}");
        Fate::Waiting
    }

    async fn put(&self, id: PictureId) -> Result<Fate, Trouble> {
        let Some(record) = self.store.record(&id).await? else { return Ok(Fate::Moot) };
        if self.store.archive().is_some_and(|place| record.is_archived_at(place)) {
            // The index is behind; this tells it.
            self.store.mark_archived(id).await?;
            return Ok(Fate::Moot);
        }
        let blob = match self.store.whole_blob(&record).await? {
            Blob::Whole(blob) => Some(blob),
            // It never goes over a good one in the bucket.
            Blob::Damaged => {
                self.metrics.archive_failures.with_label_values(&["damaged"]).inc();
                log::error!("the file of picture {id} is not what its name says; it is in damaged/ now");
                None
            }
            Blob::Missing => None,
        };
        let Some(blob) = blob else {
            // Perhaps it was put, and the process ended before the mark was made.
            return match self.is_there(&record).await {
                Ok(true) => {
                    self.bucket.put_record(id, record.to_json()?).await?;
                    self.store.mark_archived(id).await?;
                    Ok(Fate::Moot)
                }
                Ok(false) | Err(ArchiveError::Missing) => Err(Trouble::Lost),
                Err(error) => Err(error.into()),
            };
        };
        self.bucket.put_picture(id, record.format, &Source::file(blob, record.bytes), &meta(&record)).await?;
        self.bucket.put_record(id, record.to_json()?).await?;
        // Deleted meanwhile: the tombstone stands, and the next round deletes what was just put.
        if self.store.mark_archived(id).await?.is_none() {
            return Ok(Fate::Moot);
        }
        self.metrics.archived.inc();
        self.metrics.archived_bytes.inc_by(record.bytes);
        Ok(Fate::Archived)
    }

    /// Whether the bucket has all of this picture. Its bytes are read: there is no other copy to compare them with.
    async fn is_there(&self, record: &Record) -> Result<bool, ArchiveError> {
        let mut download = self.bucket.open(record.id, record.format, None).await?;
        let (mut hasher, mut len) = (Hasher::default(), 0);
        while let Some(piece) = download.piece().await? {
            len += piece.len() as u64;
            if len > record.bytes {
                return Ok(false);
            }
            hasher.update(&piece);
        }
        Ok(hasher.finish() == record.id)
    }

    /// Deletes it in the bucket, unless it has been kept again. Nothing of it is being put meanwhile: that comes after.
    async fn purge(&self, id: PictureId) -> Result<bool, Trouble> {
        if !self.store.is_buried(id).await? {
            return Ok(false);
        }
        self.bucket.purge(id).await?;
        self.store.forget(id).await?;
        self.metrics.archive_deletions.inc();
        Ok(true)
    }
}

fn meta(record: &Record) -> Meta {
    Meta {
        created: UNIX_EPOCH + Duration::from_millis(record.created_ms),
        model: record.generation.as_ref().and_then(|generation| generation.model.clone()),
    }
}

// === impl Trouble ===

impl Trouble {
    /// For a metric's label.
    fn kind(&self) -> &'static str {
        match self {
            Trouble::Lost => "lost",
            Trouble::Archive(ArchiveError::Missing) => "missing",
            Trouble::Archive(ArchiveError::Denied(_)) => "denied",
            Trouble::Archive(ArchiveError::Unreachable(_)) => "unreachable",
            Trouble::Archive(ArchiveError::Timeout(_)) => "timeout",
            Trouble::Archive(ArchiveError::Busy(_)) => "busy",
            Trouble::Archive(ArchiveError::Refused(_)) => "refused",
            Trouble::Archive(ArchiveError::Mismatch(_)) => "mismatch",
            Trouble::Archive(ArchiveError::Local(_)) | Trouble::Store(_) => "local",
        }
    }

    fn whose(&self) -> Whose {
        match self {
            Trouble::Lost => Whose::ItsForLong,
            // The disk may have room again soon.
            Trouble::Archive(ArchiveError::Local(_) | ArchiveError::Mismatch(_)) | Trouble::Store(_) => Whose::Its,
            Trouble::Archive(_) => Whose::Perhaps,
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Lost => f.write_str("it is neither on this disk nor in the bucket"),
            Trouble::Archive(error) => error.fmt(f),
            Trouble::Store(error) => error.fmt(f),
        }
    }
}

impl From<ArchiveError> for Trouble {
    fn from(error: ArchiveError) -> Self {
        Trouble::Archive(error)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Trouble::Store(error)
    }
}

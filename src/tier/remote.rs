//! The archive as the place behind the disk.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{timeout, timeout_at},
};

use super::{
    absence::Absence,
    away, fill,
    lookup::{Asker, Desk},
};
use crate::{
    archive::{ArchiveError, Bucket},
    error::Error,
    picture::PictureId,
    store::{Failure, Growing, Picture, Record, Store},
    telemetry::Metrics,
};

/// Pictures that may be on their way at once; more wait.
const FILLS: usize = 16;
/// How long somebody waits for a place to ask, for the record of a picture, and for its first byte.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of pictures that may be in memory because the disk does not take them, all together.
pub(super) const IN_MEMORY: u64 = 32 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Remote {
    shared: Arc<Shared>,
    /// Where readers ask, and where requests do: a flood of the one does not hold up the other.
    readers: Desk,
    requests: Desk,
}

/// What a picture under way needs.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) bucket: Bucket,
    pub(super) metrics: Metrics,
    pub(super) permits: Semaphore,
    /// A permit for each byte in memory.
    pub(super) memory: Arc<Semaphore>,
    /// Whether the bucket answers.
    pub(super) away: Absence,
    under_way: Mutex<HashMap<PictureId, Growing>>,
}

impl Remote {
    pub(super) fn new(store: Store, bucket: Bucket, metrics: Metrics) -> Self {
        let shared = Shared {
            store,
            bucket,
            metrics,
            permits: Semaphore::new(FILLS),
            memory: Arc::new(Semaphore::new(usize::try_from(IN_MEMORY).unwrap_or(usize::MAX))),
            away: Absence::default(),
            under_way: Mutex::default(),
        };
        Self { shared: Arc::new(shared), readers: Desk::default(), requests: Desk::default() }
    }

    pub(super) fn bucket(&self) -> &Bucket {
        &self.shared.bucket
    }

    /// The record of a picture that is not known here.
    ///
    /// # Errors
    /// [`Code::Unavailable`](crate::Code::Unavailable) when the bucket cannot be asked, has no time, or this request has
    /// asked too often.
    pub(super) async fn record(&self, id: &PictureId, asker: Asker<'_>) -> Result<Option<Record>, Error> {
        let is_unknown = || self.readers.is_unknown(id) || self.requests.is_unknown(id);
        if is_unknown() {
            return Ok(None);
        }
        if self.shared.away.is_known() || !asker.may_ask() {
            return Err(away());
        }
        let desk = match asker {
            Asker::Reader => &self.readers,
            Asker::Request(_) => &self.requests,
        };
        let Ok(_place) = timeout_at(asker.until(PATIENCE), desk.place()).await else { return Err(away()) };
        if is_unknown() {
            return Ok(None);
        }
        if self.shared.away.is_known() {
            return Err(away());
        }
        // In all: a bucket that trickles would hold the place.
        let answer = timeout_at(asker.until(PATIENCE), self.shared.bucket.get_record(*id)).await;
        let answer = answer.unwrap_or(Err(ArchiveError::Timeout(PATIENCE)));
        match &answer {
            Err(ArchiveError::Missing) | Ok(_) => self.shared.away.answered(),
            Err(error) => self.shared.away.failed(*id, error),
        }
        match answer {
            Ok(json) => Ok(Record::from_json(&json).filter(|record| record.id == *id)),
            Err(ArchiveError::Missing) => {
                desk.remember(*id);
                Ok(None)
            }
            Err(error) => {
                log::warn!("the archive could not be asked for picture {id}: {error}");
                Err(away())
            }
        }
    }

    /// The picture of this record, when its first bytes have come.
    pub(super) async fn fetch(&self, record: Record) -> Result<Picture, Failure> {
        let facts = record.facts();
        let growing = self.shared.join(record)?;
        timeout(PATIENCE, growing.begun()).await.unwrap_or(Err(Failure::Away))?;
        Ok(Picture::growing(facts, growing))
    }

    pub(super) async fn presigned(&self, record: &Record, time: Duration) -> Option<String> {
        match self.shared.bucket.presign_get(record.id, record.format, time).await {
            Ok(url) => Some(url),
            Err(error) => {
                log::warn!("a URL into the archive could not be made: {error}");
                None
            }
        }
    }

    pub(super) fn public(&self, record: &Record, base: &str) -> String {
        format!("{base}/{}", self.shared.bucket.path(record.id, record.format))
    }
}

impl Shared {
    /// The picture that is under way, or begins to be.
    fn join(self: &Arc<Self>, record: Record) -> Result<Growing, Failure> {
        let mut under_way = self.under_way.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // One that has failed stays a moment, while the record is put right. Who comes now was not there when it failed.
        if let Some(growing) = under_way.get(&record.id).filter(|growing| !growing.has_failed()) {
            return Ok(growing.clone());
        }
        if self.away.is_known() {
            return Err(Failure::Away);
        }
        let id = record.id;
        let filling = self.store.filling(record);
        let growing = filling.growing();
        under_way.insert(id, growing.clone());
        let under_way = UnderWay { shared: Arc::clone(self), id, growing: growing.clone() };
        tokio::spawn(async move { fill::run(&under_way.shared, filling).await });
        Ok(growing)
    }
}

/// A picture on its way, until this is dropped.
struct UnderWay {
    shared: Arc<Shared>,
    id: PictureId,
    growing: Growing,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut under_way = self.shared.under_way.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Another may have begun since this one failed.
        if under_way.get(&self.id).is_some_and(|growing| growing.is(&self.growing)) {
            under_way.remove(&self.id);
        }
    }
}

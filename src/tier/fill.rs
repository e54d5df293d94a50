//! Taking one picture back from the archive.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::remote::{IN_MEMORY, Shared};
use crate::{
    archive::ArchiveError,
    picture::PictureId,
    store::{Failure, Filling, StoreError},
};

/// How often a download that broke goes on where it broke.
const ATTEMPTS: usize = 3;
/// How long a picture that must pass through memory waits for room there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Fills it in to its end, and counts how it went. Whoever asked for it may be gone meanwhile.
pub(super) async fn run(shared: &Shared, mut filling: Filling) {
    let _permit = shared.permits.acquire().await;
    let (id, start) = (filling.facts().id, Instant::now());
    if shared.away.is_known() {
        return end(shared, filling, "failed", Failure::Away);
    }
    // It may have come back since it was looked for.
    if let Ok(Some(picture)) = shared.store.get(&id).await {
        filling.is_here(picture.body);
        return;
    }
    if shared.store.check_room().await.is_err()
        && let Err(failure) = pass_through(shared, &mut filling).await
    {
        return end(shared, filling, "full", failure);
    }
    match download(shared, &mut filling).await {
        Ok(()) => shared.away.answered(),
        Err(Broken::Archive(ArchiveError::Missing)) => {
            log::warn!("picture {id} should be in the archive and is not");
            // If it is here after all, or is made again, it goes there anew.
            unmark(shared, id).await;
            return end(shared, filling, "missing", Failure::Missing);
        }
        Err(Broken::Archive(error)) => {
            log::warn!("picture {id} could not be taken back from the archive: {error}");
            return end(shared, filling, "failed", Failure::Away);
        }
        Err(Broken::Store(error)) => {
            log::warn!("picture {id} could not be taken back from the archive: {error}");
            return end(shared, filling, "failed", Failure::Away);
        }
        Err(Broken::NoRoom(failure)) => return end(shared, filling, "full", failure),
    }
    let bytes = filling.facts().len;
    match filling.finish().await {
        Ok(_) => {
            shared.metrics.fills.with_label_values(&["ok"]).inc();
            shared.metrics.fill_bytes.inc_by(bytes);
            log::debug!("picture {id} came back from the archive in {:.0?}", start.elapsed());
        }
        Err(StoreError::Gone) => {
            shared.metrics.fills.with_label_values(&["wrong"]).inc();
            log::error!("what the archive has as picture {id} is something else, or it was deleted meanwhile");
            // The next good copy goes over it.
            unmark(shared, id).await;
        }
        // Those who wait for it have it.
        Err(error) => {
            shared.metrics.fills.with_label_values(&["ok"]).inc();
            log::warn!("picture {id} came from the archive and could not be kept here: {error}");
        }
    }
}

enum Broken {
    Archive(ArchiveError),
    Store(StoreError),
    /// Neither on the disk nor in memory.
    NoRoom(Failure),
}

/// Writes all of it, beginning again where a connection broke.
async fn download(shared: &Shared, filling: &mut Filling) -> Result<(), Broken> {
    let facts = filling.facts();
    let mut attempt = 0;
    loop {
        let result = from_here(shared, filling).await;
        if let Err(Broken::Archive(error)) = &result {
            shared.away.failed(facts.id, error);
        }
        match result {
            Err(Broken::Archive(error)) if error.is_temporary() && attempt + 1 < ATTEMPTS => {
                attempt += 1;
                log::debug!("picture {} breaks off at byte {} and goes on: {error}", facts.id, filling.written());
            }
            result => return result,
        }
    }
}

async fn from_here(shared: &Shared, filling: &mut Filling) -> Result<(), Broken> {
    let (facts, at) = (filling.facts(), filling.written());
    let rest = (at > 0).then_some(at..facts.len);
    let mut download = shared.bucket.open(facts.id, facts.format, rest).await.map_err(Broken::Archive)?;
    while filling.written() < facts.len {
        match download.piece().await.map_err(Broken::Archive)? {
            Some(piece) => match filling.write(piece.clone()).await {
                Err(error) if !matches!(error, StoreError::Gone) && !filling.is_in_memory() => {
                    log::debug!("picture {} passes through memory: {error}", facts.id);
                    pass_through(shared, filling).await.map_err(Broken::NoRoom)?;
                    filling.write(piece).await.map_err(Broken::Store)?;
                }
                written => written.map_err(Broken::Store)?,
            },
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Lets it pass through memory, since the disk does not take it.
async fn pass_through(shared: &Shared, filling: &mut Filling) -> Result<(), Failure> {
    let len = u32::try_from(filling.facts().len).map_err(|_| Failure::Full)?;
    if u64::from(len) > IN_MEMORY {
        return Err(Failure::Full);
    }
    let leave = timeout(PATIENCE, Arc::clone(&shared.memory).acquire_many_owned(len)).await;
    match leave {
        Ok(Ok(leave)) => filling.in_memory(leave).await.map_err(|_| Failure::Away),
        _ => Err(Failure::Busy),
    }
}

async fn unmark(shared: &Shared, id: PictureId) {
    if let Err(error) = shared.store.unmark_archived(id).await {
        log::warn!("the mark of picture {id} could not be taken away: {error}");
    }
}

fn end(shared: &Shared, filling: Filling, result: &str, failure: Failure) {
    shared.metrics.fills.with_label_values(&[result]).inc();
    filling.fail(failure);
}

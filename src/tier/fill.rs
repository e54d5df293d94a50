//! Taking one picture back from the archive.

use std::time::Instant;

use super::remote::Shared;
use crate::{
    archive::ArchiveError,
    store::{Failure, Filling, StoreError},
};

/// How often a download that broke goes on where it broke.
const ATTEMPTS: usize = 3;
/// The largest picture that is kept in memory while it passes through, when the disk is full.
const IN_MEMORY: u64 = 32 * 1024 * 1024;

/// Fills it in to its end, and counts how it went. Whoever asked for it may be gone meanwhile.
pub(super) async fn run(shared: &Shared, mut filling: Filling) {
    let _permit = shared.permits.acquire().await;
    let (id, start) = (filling.facts().id, Instant::now());
    // It may have come back since it was looked for.
    if let Ok(Some(picture)) = shared.store.get(&id).await {
        filling.is_here(picture.body);
        return;
    }
    if matches!(shared.store.check_room().await, Err(StoreError::Full)) {
        if filling.facts().len > IN_MEMORY {
            return end(shared, filling, "full", Failure::Full);
        }
        filling.in_memory();
    }
    match download(shared, &mut filling).await {
        Ok(()) => {}
        Err(Broken::Archive(ArchiveError::Missing)) => {
            log::warn!("picture {id} should be in the archive and is not");
            return end(shared, filling, "missing", Failure::Missing);
        }
        Err(Broken::Archive(error)) => {
            log::warn!("picture {id} could not be taken back from the archive: {error}");
            return end(shared, filling, "failed", Failure::Away);
        }
        Err(Broken::Store(error)) => {
            log::warn!("picture {id} could not be taken back from the archive: {error}");
            let failure = if matches!(error, StoreError::Full) { Failure::Full } else { Failure::Away };
            return end(shared, filling, "failed", failure);
        }
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
}

/// Writes all of it, beginning again where a connection broke.
async fn download(shared: &Shared, filling: &mut Filling) -> Result<(), Broken> {
    let facts = filling.facts();
    let mut attempt = 0;
    loop {
        match from_here(shared, filling).await {
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
            Some(piece) => filling.write(piece).await.map_err(Broken::Store)?,
            None => return Ok(()),
        }
    }
    Ok(())
}

fn end(shared: &Shared, filling: Filling, result: &str, failure: Failure) {
    shared.metrics.fills.with_label_values(&[result]).inc();
    filling.fail(failure);
}

//! Taking pictures away: from this disk only, or for good.
//!
//! **Evicted** is a picture whose bytes are gone from this disk because the archive has them; its record stays, its variants
//! go with it.
//!
//! **Deleted** is one that must not come back: not from the archive, not by a comparison with files that a crash left.
//! So the first thing is a tombstone, `{id}.gone`, made lasting; then blob, record and variants go; then, in the background, the
//! copies in the archive; and the tombstone last. A deletion that was cut off is carried through at the next start.

use std::{io, path::Path, time::SystemTime};

use serde::{Deserialize, Serialize};

use super::{
    Inner, Store, StoreError,
    disk::{self, remove},
    error::{Doing, blocking},
    files::Files,
    record::unix_ms,
    tmp::{self, TmpFile},
    variants,
};
use crate::picture::{Format, PictureId};

/// A tombstone is never larger than this many bytes.
const LARGEST: u64 = 64 * 1024;

/// What stands in a tombstone.
#[derive(Debug, Serialize, Deserialize)]
struct Tombstone {
    id: String,
    /// Milliseconds since 1970.
    deleted: u64,
    /// An archive may have the picture.
    archived: bool,
}

impl Store {
    /// Removes the bytes of a picture from this disk, and gives their number. `None`: they stay, because the archive was
    /// not seen to have them, they are pinned, or they are not here.
    pub async fn evict(&self, id: PictureId) -> Result<Option<u64>, StoreError> {
        let inner = self.inner.clone();
        blocking(move || inner.evict(&id)).await
    }

    /// Deletes a picture for good. `false`: there was nothing of it here; while there is an archive, it is deleted there
    /// all the same.
    pub async fn delete(&self, id: PictureId) -> Result<bool, StoreError> {
        let inner = self.inner.clone();
        blocking(move || inner.delete(&id)).await
    }

    /// Deletes a picture for its age, and gives the bytes that went. `None`: it stays, because it was not made before
    /// `before_ms` (milliseconds since 1970), is pinned, or went to an archive once.
    pub async fn expire(&self, id: PictureId, before_ms: u64) -> Result<Option<u64>, StoreError> {
        let inner = self.inner.clone();
        blocking(move || inner.expire(&id, before_ms)).await
    }

    /// Up to `limit` deleted pictures behind `after` that the archive may still have.
    pub async fn buried(&self, after: Option<PictureId>, limit: usize) -> Result<Vec<PictureId>, StoreError> {
        self.inner.index.buried(after, limit).await
    }

    /// Whether it was deleted, and not kept again since.
    pub async fn is_buried(&self, id: PictureId) -> Result<bool, StoreError> {
        let inner = self.inner.clone();
        blocking(move || Ok(inner.files.is_buried(&id))).await
    }

    /// The archive has this picture no longer: nothing can bring it back, and its tombstone goes.
    pub async fn forget(&self, id: PictureId) -> Result<(), StoreError> {
        let inner = self.inner.clone();
        blocking(move || {
            let _gate = inner.files.alone(&id);
            remove(&inner.files.layout.tombstone(&id)).doing("removing a tombstone")?;
            inner.index.unbury(id);
            Ok(())
        })
        .await
    }
}

impl Inner {
    fn evict(&self, id: &PictureId) -> Result<Option<u64>, StoreError> {
        let files = &self.files;
        let _gate = files.alone(id);
        let Some(record) = files.record(id)? else { return Ok(None) };
        let safe = files.archive.as_deref().is_some_and(|place| record.is_archived_at(place));
        if !safe || record.pinned || files.is_buried(id) {
            // The index believed otherwise.
            self.index.put(files.entry(&record));
            return Ok(None);
        }
        let there = files.has_blob(id, record.format, record.bytes);
        remove(&files.layout.blob(id, record.format)).doing("evicting a picture")?;
        self.lookup.forget(id);
        self.index.put(files.entry(&record));
        if let Err(e) = variants::remove(&files.layout, id) {
            log::warn!("variants of picture {id} could not be removed with it: {e}");
        }
        Ok(there.then_some(record.bytes))
    }

    fn expire(&self, id: &PictureId, before_ms: u64) -> Result<Option<u64>, StoreError> {
        let files = &self.files;
        let _gate = files.alone(id);
        let Some(record) = files.record(id)? else { return Ok(None) };
        if record.created_ms >= before_ms || record.pinned || record.archived.is_some() || files.is_buried(id) {
            // The index may have believed otherwise.
            self.index.put(files.entry(&record));
            return Ok(None);
        }
        let bytes = if files.has_blob(id, record.format, record.bytes) { record.bytes } else { 0 };
        self.delete_alone(id)?;
        Ok(Some(bytes))
    }

    fn delete(&self, id: &PictureId) -> Result<bool, StoreError> {
        let _gate = self.files.alone(id);
        self.delete_alone(id)
    }

    /// The caller holds the gate.
    fn delete_alone(&self, id: &PictureId) -> Result<bool, StoreError> {
        self.returning.delete(id);
        let there = bury(&self.files, id);
        // Also when it was cut off: with a tombstone it is deleted already, and what is left goes at the next try or start.
        let buried = self.files.is_buried(id);
        if there.is_ok() || buried {
            // A reader that opened the file before it went may put it into the memory cache after this; it looks again then.
            self.lookup.forget(id);
            self.index.remove(*id);
        }
        if buried {
            self.index.bury(*id);
        }
        there
    }
}

/// Makes a tombstone and removes the rest. Whether there was a rest. The caller holds the gate.
///
/// Where no archive can have the picture, the tombstone has done its work and goes, too.
pub(super) fn bury(files: &Files, id: &PictureId) -> Result<bool, StoreError> {
    let record = files.record(id)?;
    let blobs: Vec<_> =
        Format::ALL.into_iter().map(|format| files.layout.blob(id, format)).filter(|path| path.exists()).collect();
    let there = record.is_some() || !blobs.is_empty();
    let tombstone = files.layout.tombstone(id);
    let earlier = read(&tombstone).doing("reading a tombstone")?;
    let archived = files.archive.is_some()
        || record.is_some_and(|record| record.archived.is_some())
        || earlier.as_ref().is_some_and(|tombstone| tombstone.archived);
    if !there && !archived && earlier.is_none() {
        return Ok(false);
    }
    if earlier.is_none_or(|earlier| earlier.archived != archived) {
        let written = write(files, id, archived).doing("writing a tombstone");
        if matches!(written, Err(StoreError::Full)) {
            // What is to go makes the room for it. Cut off here it is lost, which was asked for, and not yet forgotten.
            variants::remove(&files.layout, id).doing("removing variants")?;
            for path in &blobs {
                remove(path).doing("deleting a picture")?;
            }
            write(files, id, archived).doing("writing a tombstone")?;
        } else {
            written?;
        }
        files.sync_shard(id)?;
    }
    for path in blobs.iter().chain([&files.layout.record(id)]) {
        remove(path).doing("deleting a picture")?;
    }
    variants::remove(&files.layout, id).doing("removing variants")?;
    if !archived {
        remove(&tombstone).doing("removing a tombstone")?;
    }
    Ok(there)
}

/// One that cannot be understood speaks for an archive: that errs on the side of the deletion.
fn read(path: &Path) -> io::Result<Option<Tombstone>> {
    let unclear = || Tombstone { id: String::new(), deleted: 0, archived: true };
    let json = disk::read(path, LARGEST)?;
    Ok(json.map(|json| serde_json::from_slice(&json).unwrap_or_else(|_| unclear())))
}

fn write(files: &Files, id: &PictureId, archived: bool) -> io::Result<()> {
    let tombstone = Tombstone { id: id.to_string(), deleted: unix_ms(SystemTime::now()), archived };
    let mut tmp = TmpFile::create(files.layout.tmp(), tmp::PRIVATE)?;
    tmp.write_all(&serde_json::to_vec(&tombstone).map_err(io::Error::other)?)?;
    if files.lasting() {
        tmp.sync()?;
    }
    let path = files.layout.tombstone(id);
    if let Some(shard) = path.parent() {
        disk::make_dir(shard)?;
    }
    tmp.persist(&path)
}

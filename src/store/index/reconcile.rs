//! Comparing the index with `images/`, one shard at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

use super::{Entry, Index, IndexError};
use crate::{
    picture::{Format, PictureId},
    store::{
        Facts, Record,
        layout::{Kind, Layout, parse_name},
        record::unix_ms,
    },
};

/// Entries added at once.
const BATCH: usize = 512;

/// What comparing one shard changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changes {
    pub(super) added: usize,
    pub(super) removed: usize,
}

/// Makes the index agree with the folder of this shard: adds what is missing, removes what is gone.
///
/// The index is read before the folder, so an entry that is not in the folder was removed there, however many
/// pictures are kept meanwhile.
pub(super) fn shard(index: &dyn Index, layout: &Layout, first: u8) -> Result<Changes, IndexError> {
    let indexed: BTreeSet<PictureId> = index.shard(first)?.into_iter().collect();
    let there = list(layout, first).map_err(IndexError::Io)?;

    let gone: Vec<PictureId> = indexed.iter().filter(|id| !there.contains_key(id)).copied().collect();
    if !gone.is_empty() {
        index.remove(&gone)?;
    }
    let missing: Vec<_> = there.into_iter().filter(|(id, _)| !indexed.contains(id)).collect();
    let mut added = 0;
    for some in missing.chunks(BATCH) {
        let entries: Vec<Entry> = some.iter().filter_map(|(id, blob)| read(layout, id, *blob)).collect();
        index.add(&entries)?;
        added += entries.len();
    }
    if added > 0 || !gone.is_empty() {
        index.flush()?;
    }
    Ok(Changes { added, removed: gone.len() })
}

/// The pictures of a shard, each with the format of its blob if that is there.
fn list(layout: &Layout, first: u8) -> io::Result<BTreeMap<PictureId, Option<Format>>> {
    let mut there = BTreeMap::new();
    let files = match fs::read_dir(layout.shard(first)) {
        Ok(files) => files,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(there),
        Err(e) => return Err(e),
    };
    for file in files {
        let name = file?.file_name();
        match name.to_str().and_then(parse_name) {
            Some((id, Kind::Blob(format))) => {
                there.insert(id, Some(format));
            }
            Some((id, Kind::Record)) => {
                there.entry(id).or_insert(None);
            }
            None => {}
        }
    }
    Ok(there)
}

/// The entry of a picture by its record, or else by its blob. `None`: neither can be read (any more).
fn read(layout: &Layout, id: &PictureId, blob: Option<Format>) -> Option<Entry> {
    if let Ok(Some(record)) = Record::read(&layout.record(id))
        && record.id == *id
    {
        return Some(Entry::of(&record));
    }
    let format = blob?;
    let meta = fs::metadata(layout.blob(id, format)).ok()?;
    let facts = Facts { id: *id, format, len: meta.len(), created_ms: unix_ms(meta.modified().ok()?) };
    Some(Entry { facts, model: None, key: None })
}

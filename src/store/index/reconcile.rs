//! Comparing the index with `images/`, one shard at a time.

use std::{collections::BTreeMap, fs, io};

use rustix::io::Errno;

use super::{Change, Entry, Findings, Index, IndexError};
use crate::{
    picture::{Format, PictureId},
    store::{
        Facts, Record,
        files::Files,
        layout::{Kind, parse_name},
        record::unix_ms,
        remove,
    },
};

/// Changes made at once.
const BATCH: usize = 512;

/// The files of one picture.
#[derive(Clone, Copy, Debug, Default)]
struct There {
    blob: Option<Format>,
    record: bool,
    tombstone: bool,
}

/// Makes the index agree with the folder of this shard: adds what is missing or otherwise, removes what is gone, and
/// carries deletions through that were cut off.
///
/// The index is read before the folder, so an entry that is not in the folder was removed there, however many
/// pictures are kept meanwhile.
pub(super) async fn shard(index: &dyn Index, files: &Files, first: u8) -> Result<Findings, IndexError> {
    let known: BTreeMap<PictureId, bool> =
        index.shard(first).await?.into_iter().map(|known| (known.id, known.local)).collect();
    let there = match list(files, first) {
        Ok(there) => there,
        Err(e) if will_stay(&e) => {
            log::error!("the folder images/{first:02x} cannot be read; its pictures are not listed: {e}");
            return Ok(Findings::default());
        }
        Err(e) => return Err(IndexError::Io(e)),
    };

    let mut findings = Findings::default();
    let mut changes: Vec<Change> =
        known.keys().filter(|id| !there.contains_key(id)).copied().map(Change::Remove).collect();
    findings.removed += changes.len() as u64;
    let mut changed = !changes.is_empty();
    for (id, of) in there {
        if of.tombstone {
            findings.buried += u64::from(bury(files, &id));
            changes.push(Change::Remove(id));
            if files.is_buried(&id) {
                changes.push(Change::Bury(id));
            }
        } else if known.get(&id) != Some(&of.blob.is_some()) || !of.record {
            changes.extend(read(files, &id, of.blob, &mut findings).map(Change::Put));
        }
        if changes.len() >= BATCH {
            changed = true;
            index.apply(std::mem::take(&mut changes)).await?;
        }
    }
    changed |= !changes.is_empty();
    if changed {
        index.apply(changes).await?;
        index.flush().await?;
    }
    Ok(findings)
}

/// Takes out of the index what was deleted and is deleted no longer: its tombstone went just before a crash.
pub(super) async fn graves(index: &dyn Index, files: &Files) -> Result<(), IndexError> {
    let mut after = None;
    loop {
        let buried = index.buried(after, BATCH).await?;
        let Some(last) = buried.last() else { return Ok(()) };
        after = Some(*last);
        let open: Vec<_> = buried.into_iter().filter(|id| !files.is_buried(id)).map(Change::Forget).collect();
        if !open.is_empty() {
            index.apply(open).await?;
        }
    }
}

/// Whether trying again is of no use: it is no folder, may not be read, or the disk does not give it out. The other
/// folders are worth listing.
fn will_stay(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::PERM | Errno::IO | Errno::UCLEAN | Errno::BADMSG)
    )
}

/// The pictures of a shard.
fn list(files: &Files, first: u8) -> io::Result<BTreeMap<PictureId, There>> {
    let mut there: BTreeMap<PictureId, There> = BTreeMap::new();
    let names = match fs::read_dir(files.layout.shard(first)) {
        Ok(names) => names,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(there),
        Err(e) => return Err(e),
    };
    for name in names {
        let name = name?;
        let Some((id, kind)) = name.file_name().to_str().and_then(parse_name) else { continue };
        // Neither a picture nor a record nor a tombstone, whatever it is named.
        if name.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let of = there.entry(id).or_default();
        match kind {
            Kind::Blob(format) => of.blob = Some(format),
            Kind::Record => of.record = true,
            Kind::Tombstone => of.tombstone = true,
        }
    }
    Ok(there)
}

/// Carries a deletion through. Whether there was anything left to do.
fn bury(files: &Files, id: &PictureId) -> bool {
    let _gate = files.alone(id);
    // It may have been kept again since the folder was read.
    let carried = if files.is_buried(id) { remove::bury(files, id) } else { Ok(false) };
    carried.unwrap_or_else(|e| {
        log::warn!("the deletion of picture {id} could not be carried through: {e}");
        false
    })
}

/// The entry of a picture by its record, or else by its blob. `None`: neither can be read (any more).
///
/// A file that cannot be read or written is logged and passed over: the others are worth listing.
fn read(files: &Files, id: &PictureId, blob: Option<Format>, findings: &mut Findings) -> Option<Entry> {
    let _gate = files.alone(id);
    let unreadable = match files.record(id) {
        Ok(Some(record)) => {
            findings.added += 1;
            return Some(files.entry(&record));
        }
        Ok(None) => false,
        Err(e) => {
            log::warn!("the record of picture {id} cannot be read: {e}");
            true
        }
    };
    let facts = facts(files, id, blob?)?;
    let is_whole =
        files.is_whole(&facts.id, facts.format).inspect_err(|e| log::warn!("picture {id} cannot be read: {e}")).ok()?;
    if !is_whole {
        findings.damaged += 1;
        log::warn!(
            "the file of picture {id} does not hold what its name says; `picgate store verify --repair` sets it aside"
        );
        return None;
    }
    findings.added += 1;
    let record = Record::found(&facts);
    if unreadable {
        // It may be readable tomorrow, and is not to be overwritten.
        return Some(files.entry(&record));
    }
    match files.replace_record(&record) {
        Ok(()) => findings.adopted += 1,
        Err(e) => log::warn!("picture {id} has no record, and one could not be written: {e}"),
    }
    Some(files.entry(&record))
}

fn facts(files: &Files, id: &PictureId, format: Format) -> Option<Facts> {
    let meta = fs::metadata(files.layout.blob(id, format)).ok()?;
    Some(Facts { id: *id, format, len: meta.len(), created_ms: unix_ms(meta.modified().ok()?) })
}

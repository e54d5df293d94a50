//! The embedded index: one sled tree.
//!
//! | key | value |
//! |---|---|
//! | `t` + created (8 bytes, big endian) + id (20 bytes) | a small JSON: format, length, model, key |
//! | `i` + id | created |
//! | `c` | number of pictures and of bytes |
//!
//! They change together, in one batch. What is known of sled 0.34.7: opening a damaged database may panic, a cut one
//! opens silently with entries missing, an error stays until it is opened again, and one process may have it open.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
};

use serde::{Deserialize, Serialize};
use sled::{Batch, Db, IVec};

use super::{Counts, Cursor, Entry, Index, IndexError};
use crate::{
    picture::{Format, PictureId},
    store::Facts,
};

/// Memory for sled's pages.
const CACHE: u64 = 32 * 1024 * 1024;
const COUNTS: &[u8] = b"c";

/// An index in a folder of its own.
#[derive(Debug)]
pub(super) struct LocalIndex {
    db: Db,
}

#[derive(Serialize, Deserialize)]
struct Value {
    f: String,
    n: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    m: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    k: Option<String>,
}

impl LocalIndex {
    /// Opens it, or makes an empty one. May panic on a damaged one.
    pub(super) fn open(dir: &Path) -> Result<Self, IndexError> {
        // sled locks this file, and says so only in words.
        let held = File::open(dir.join("db")).is_ok_and(|db| matches!(db.try_lock(), Err(TryLockError::WouldBlock)));
        if held {
            return Err(IndexError::Busy);
        }
        // The keeper flushes.
        let db = sled::Config::new().path(dir).cache_capacity(CACHE).flush_every_ms(None).open()?;
        Ok(Self { db })
    }

    fn created(&self, id: &PictureId) -> Result<Option<u64>, IndexError> {
        self.db.get(id_key(id))?.map(|value| number(&value)).transpose()
    }
}

impl Index for LocalIndex {
    fn add(&self, entries: &[Entry]) -> Result<(), IndexError> {
        let mut counts = self.counts()?;
        let mut batch = Batch::default();
        let mut new = std::collections::HashSet::new();
        for entry in entries {
            let facts = &entry.facts;
            if self.created(&facts.id)?.is_some() || !new.insert(facts.id) {
                continue;
            }
            let value = Value {
                f: facts.format.extension().to_owned(),
                n: facts.len,
                m: entry.model.clone(),
                k: entry.key.clone(),
            };
            let value = serde_json::to_vec(&value).map_err(damaged)?;
            batch.insert(time_key(&entry.cursor()), value);
            batch.insert(id_key(&facts.id), &facts.created_ms.to_be_bytes());
            counts.pictures += 1;
            counts.bytes = counts.bytes.saturating_add(facts.len);
        }
        batch.insert(COUNTS, counts_value(counts));
        Ok(self.db.apply_batch(batch)?)
    }

    fn remove(&self, ids: &[PictureId]) -> Result<(), IndexError> {
        let mut counts = self.counts()?;
        let mut batch = Batch::default();
        for id in ids {
            let Some(created_ms) = self.created(id)? else { continue };
            let key = time_key(&Cursor { created_ms, id: *id });
            if let Some(value) = self.db.get(&key)? {
                let value: Value = serde_json::from_slice(&value).map_err(damaged)?;
                counts.bytes = counts.bytes.saturating_sub(value.n);
            }
            counts.pictures = counts.pictures.saturating_sub(1);
            batch.remove(key);
            batch.remove(id_key(id));
        }
        batch.insert(COUNTS, counts_value(counts));
        Ok(self.db.apply_batch(batch)?)
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.db.flush()?;
        Ok(())
    }

    fn shard(&self, first: u8) -> Result<Vec<PictureId>, IndexError> {
        self.db.scan_prefix([b'i', first]).keys().map(|key| id_of(key?.get(1..))).collect()
    }

    fn recent(&self, before: Option<Cursor>, limit: usize) -> Result<Vec<Entry>, IndexError> {
        // `u` is the byte after `t`.
        let end = before.map_or_else(|| b"u".to_vec(), |cursor| time_key(&cursor));
        self.db.range(b"t".to_vec()..end).rev().take(limit).map(|item| entry(item?)).collect()
    }

    fn counts(&self) -> Result<Counts, IndexError> {
        let Some(value) = self.db.get(COUNTS)? else { return Ok(Counts::default()) };
        let (pictures, bytes) = value.split_at_checked(8).ok_or_else(|| damaged("the counts"))?;
        Ok(Counts { pictures: number(pictures)?, bytes: number(bytes)? })
    }
}

fn time_key(cursor: &Cursor) -> Vec<u8> {
    [&b"t"[..], &cursor.created_ms.to_be_bytes(), cursor.id.as_bytes()].concat()
}

fn id_key(id: &PictureId) -> Vec<u8> {
    [&b"i"[..], id.as_bytes()].concat()
}

fn counts_value(counts: Counts) -> Vec<u8> {
    [counts.pictures.to_be_bytes(), counts.bytes.to_be_bytes()].concat()
}

fn entry((key, value): (IVec, IVec)) -> Result<Entry, IndexError> {
    let created_ms = number(key.get(1..9).unwrap_or_default())?;
    let id = id_of(key.get(9..))?;
    let value: Value = serde_json::from_slice(&value).map_err(damaged)?;
    let format = Format::from_extension(&value.f).ok_or_else(|| damaged("an unknown format"))?;
    Ok(Entry { facts: Facts { id, format, len: value.n, created_ms }, model: value.m, key: value.k })
}

fn number(bytes: &[u8]) -> Result<u64, IndexError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(damaged)
}

fn id_of(bytes: Option<&[u8]>) -> Result<PictureId, IndexError> {
    bytes.unwrap_or_default().try_into().map(PictureId::from_bytes).map_err(damaged)
}

fn damaged(what: impl ToString) -> IndexError {
    IndexError::Damaged(what.to_string())
}

impl From<sled::Error> for IndexError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(e) if e.to_string().starts_with("could not acquire lock") => IndexError::Busy,
            sled::Error::Io(e) if is_of_the_disk(e.kind()) => IndexError::Io(e),
            other => damaged(other),
        }
    }
}

/// Whether waiting may help, so that the database should not be thrown away.
fn is_of_the_disk(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{Interrupted, OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(kind, StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied | Interrupted | OutOfMemory)
}

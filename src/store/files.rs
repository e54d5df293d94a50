//! The pictures' files under `images/`, and the rules that keep blob, record and tombstone of one picture in step.
//!
//! | blob | record | tombstone | the picture |
//! |---|---|---|---|
//! | ✓ | ✓ | – | is here |
//! | ✓ | – | – | is here; its record is written when someone notices |
//! | – | ✓ | – | was evicted: the archive has it |
//! | any | any | ✓ | was deleted; what is left is being removed, here and in the archive |
//!
//! Whoever changes one of the three holds the picture's [gate](Files::alone), across threads of this process. Readers
//! need no lock: every file appears and goes whole.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    Record, StoreError, disk,
    error::Doing,
    index::Entry,
    layout::{Layout, shard_of},
    record::unix_ms,
    tmp::{self, TmpFile, private_dir},
};
use crate::{
    config::Durability,
    picture::{Format, Hasher, PictureId},
};

/// How many changes of different pictures may be at the same step. A power of two.
const STRIPES: usize = 64;

#[derive(Debug)]
pub(super) struct Files {
    pub(super) layout: Layout,
    /// Names the archive that records are marked for. `None`: there is none.
    pub(super) archive: Option<String>,
    durability: Durability,
    gates: [Mutex<()>; STRIPES],
    /// The shard folders whose names this process has made last.
    lasting_shards: [AtomicBool; 256],
}

impl Files {
    pub(super) fn new(layout: Layout, durability: Durability, archive: Option<String>) -> Self {
        Self {
            layout,
            archive,
            durability,
            gates: std::array::from_fn(|_| Mutex::default()),
            lasting_shards: std::array::from_fn(|_| AtomicBool::new(false)),
        }
    }

    /// Keeps everyone else from changing this picture's files.
    pub(super) fn alone(&self, id: &PictureId) -> MutexGuard<'_, ()> {
        let [.., last] = *id.as_bytes();
        let [first, ..] = &self.gates;
        let gate = self.gates.get(usize::from(last) % STRIPES).unwrap_or(first);
        gate.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whether what is written must survive a power cut.
    pub(super) fn lasting(&self) -> bool {
        self.durability == Durability::Power
    }

    /// Its record, if there is one of this picture.
    pub(super) fn record(&self, id: &PictureId) -> Result<Option<Record>, StoreError> {
        let record = Record::read(&self.layout.record(id)).doing("reading a record")?;
        Ok(record.filter(|record| record.id == *id))
    }

    /// Whether its bytes are here, whole as far as their number tells.
    pub(super) fn has_blob(&self, id: &PictureId, format: Format, len: u64) -> bool {
        self.blob(id, format, len).is_some()
    }

    fn blob(&self, id: &PictureId, format: Format, len: u64) -> Option<Metadata> {
        let blob = fs::metadata(self.layout.blob(id, format)).ok()?;
        (blob.is_file() && blob.len() == len).then_some(blob)
    }

    /// Whether it was deleted.
    pub(super) fn is_buried(&self, id: &PictureId) -> bool {
        fs::metadata(self.layout.tombstone(id)).is_ok_and(|tombstone| tombstone.is_file())
    }

    /// The entry of a picture with this record.
    pub(super) fn entry(&self, record: &Record) -> Entry {
        let blob = self.blob(&record.id, record.format, record.bytes);
        let mut entry = Entry::of(record, blob.is_some(), self.archive.as_deref());
        if let Some(accessed) = blob.and_then(|blob| blob.accessed().ok()) {
            entry.touched_ms = entry.touched_ms.max(unix_ms(accessed));
        }
        entry
    }

    /// Writes a record in `tmp/`, synced if it must last.
    pub(super) fn write_record(&self, record: &Record) -> Result<TmpFile, StoreError> {
        let tmp = TmpFile::create(self.layout.tmp(), tmp::PRIVATE).doing("writing a record")?;
        tmp.write_all(&record.to_json()?).doing("writing a record")?;
        if self.lasting() {
            tmp.sync().doing("syncing a record")?;
        }
        Ok(tmp)
    }

    /// Replaces the record of a picture. It is whole at any moment, and synced before it takes the place of the old one;
    /// that it has done so may be forgotten in a power cut.
    pub(super) fn replace_record(&self, record: &Record) -> Result<(), StoreError> {
        let mut tmp = self.write_record(record)?;
        self.make_shard(&record.id)?;
        tmp.persist(&self.layout.record(&record.id)).doing("keeping a record")
    }

    /// Whether its bytes are those of its name. Reads all of them.
    pub(super) fn is_whole(&self, id: &PictureId, format: Format) -> io::Result<bool> {
        let Some((file, _)) = disk::open_unseen(&self.layout.blob(id, format))? else { return Ok(false) };
        Ok(hash(&file, |_| {})? == *id)
    }

    /// Moves a file to `damaged/`, under a name that is free there. `false`: it is another file by now.
    pub(super) fn set_aside(&self, path: &Path, inode: u64) -> io::Result<bool> {
        let folder = self.layout.damaged();
        private_dir(&folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut names = (0_u32..).map(|n| match n {
            0 => folder.join(&*name),
            n => folder.join(format!("{name}.{n}")),
        });
        let Some(to) = names.find(|to| !to.exists()) else { return Ok(false) };
        disk::rename(path, &to)?;
        if fs::metadata(&to)?.ino() != inode {
            // A commit has just put a good one there.
            match disk::link(&to, path) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => disk::remove(&to)?,
            }
            return Ok(false);
        }
        disk::sync_dir(&folder)?;
        path.parent().map_or(Ok(()), disk::sync_dir)?;
        Ok(true)
    }

    /// Writes the record of a picture that the archive has, with its mark. `None`: there is one, or it was deleted.
    pub(super) fn adopt_archived(&self, record: Record) -> Result<Option<Record>, StoreError> {
        let _gate = self.alone(&record.id);
        if self.is_buried(&record.id) || self.record(&record.id)?.is_some() {
            return Ok(None);
        }
        let record = record.marked(self.archive.as_deref());
        self.replace_record(&record)?;
        Ok(Some(record))
    }

    /// Makes the names in this picture's folder last, if they must.
    pub(super) fn sync_shard(&self, id: &PictureId) -> Result<(), StoreError> {
        if self.lasting() { disk::sync_dir(&self.layout.shard(shard_of(id))).doing("syncing a folder") } else { Ok(()) }
    }

    /// Makes the folder for this picture, and its name lasting. The flag is set after the sync, so nobody passes a sync
    /// that is still under way; a folder that an earlier process made is synced once more.
    pub(super) fn make_shard(&self, id: &PictureId) -> Result<(), StoreError> {
        let shard = shard_of(id);
        let is_lasting = self.lasting_shards.get(usize::from(shard));
        let made = disk::make_dir(&self.layout.shard(shard)).doing("making a folder")?;
        if self.lasting() && (made || !is_lasting.is_some_and(|flag| flag.load(Ordering::Acquire))) {
            disk::sync_dir(self.layout.images()).doing("syncing a folder")?;
            if let Some(flag) = is_lasting {
                flag.store(true, Ordering::Release);
            }
        }
        Ok(())
    }
}

/// The name these bytes have. `read` is told of each piece.
pub(super) fn hash(mut file: &File, read: impl Fn(u64)) -> io::Result<PictureId> {
    let (mut hasher, mut piece) = (Hasher::default(), vec![0; 128 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finish()),
            len => {
                hasher.update(piece.get(..len).unwrap_or_default());
                read(len as u64);
            }
        }
    }
}

pub(super) fn sync_file(path: &Path) -> io::Result<()> {
    let (file, _) = disk::open(path)?.ok_or(io::ErrorKind::NotFound)?;
    disk::sync(&file, path)
}

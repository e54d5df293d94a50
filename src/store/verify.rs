//! Looking whether every picture is what its name says, and mending what can be mended.
//!
//! Works on the files alone, so a gateway may be running on them. The [gates](super::files) hold within one process
//! only; what keeps the two out of each other's way is this:
//!
//! * Nothing is reported or mended on a first look: between the two renames of a commit, or while a picture is being
//!   evicted or deleted, things are out of step for a moment. After a [pause](SECOND_LOOK) they are looked at again.
//! * A file that is set aside must be the very file that was read; if another has taken its name meanwhile, it is put
//!   back. A record is only written where there is none.
//!
//! Nothing is ever removed: what is damaged goes to `damaged/`, and a record stays when its picture goes, because it
//! says what was lost, and whether the archive can bring it back.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use super::{
    Facts, Record, StoreError, disk,
    error::Doing,
    files::{Files, hash},
    layout::{Kind, Layout, parse_name, shard_of},
    record::unix_ms,
};
use crate::{
    config::Durability,
    picture::{Format, PictureId},
};

/// After this time whoever was changing a picture's files is done.
const SECOND_LOOK: Duration = Duration::from_millis(200);
/// Most threads that read.
const READERS: usize = 4;

/// Looks at every file under `images/`.
#[derive(Debug)]
pub struct Verify {
    files: Files,
    repair: bool,
    progress: Progress,
}

/// How far it has come. Ids are hashes, so a part of the folders is the same part of the pictures.
#[derive(Debug, Default)]
pub struct Progress {
    pictures: AtomicU64,
    bytes: AtomicU64,
    folders: AtomicU64,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Pictures whose bytes were read.
    pub pictures: u64,
    pub bytes: u64,
    /// Pictures that only the archive has.
    pub archived: u64,
    /// Deletions that are not done in the archive yet.
    pub deletions: u64,
    pub findings: u64,
    /// Of these, the ones that are mended now.
    pub mended: u64,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Below `data_dir`.
    pub path: PathBuf,
    pub fault: Fault,
    /// What was done about it.
    pub mended: Option<Mended>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its bytes are not those of its name.
    Damaged,
    /// The file system does not give it out.
    Unreadable,
    /// A picture without a record.
    NoRecord,
    /// A record that cannot be understood, or that says something else than its picture.
    BadRecord,
    /// A record whose picture is neither here nor known to be in the archive.
    Lost,
    /// A file that does not belong here.
    Stray,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mended {
    /// It is in `damaged/` now.
    SetAside,
    /// It is in `damaged/` now, and the archive has the picture: the next look fetches it.
    FetchedAgain,
    RecordWritten,
}

/// The files of one picture, as its folder lists them.
#[derive(Debug, Default)]
struct There {
    blobs: Vec<Format>,
    record: bool,
    tombstone: bool,
}

/// What a record file is.
enum Said {
    Nothing,
    Nonsense,
    Record(Box<Record>),
}

/// A fault at first sight.
struct Suspect {
    path: PathBuf,
    fault: Fault,
    /// `None`: no picture's.
    id: Option<PictureId>,
    /// The blob as it was read.
    blob: Option<Blob>,
}

struct Blob {
    facts: Facts,
    inode: u64,
}

impl Verify {
    /// `archive` names the archive that marks must be for to count. Nothing is opened or locked.
    ///
    /// # Errors
    /// When there is no store in this folder.
    pub fn new(data_dir: &Path, archive: Option<String>, repair: bool) -> Result<Self, StoreError> {
        let layout = Layout::existing(data_dir).doing("opening images/ under data_dir")?;
        let files = Files::new(layout, Durability::Power, archive);
        Ok(Self { files, repair, progress: Progress::default() })
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Looks at everything, on several threads. Each finding is told as it is made.
    pub fn run(&self, tell: impl Fn(&Finding) + Sync) -> Checked {
        let readers = thread::available_parallelism().map_or(1, usize::from).min(READERS);
        let next = AtomicU64::new(0);
        let mut all = self.outside(&tell);
        thread::scope(|scope| {
            let work = || {
                let mut checked = Checked::default();
                while let Ok(first) = u8::try_from(next.fetch_add(1, Ordering::Relaxed)) {
                    checked = checked.plus(self.shard(first, &tell));
                    self.progress.folders.fetch_add(1, Ordering::Relaxed);
                }
                checked
            };
            let threads: Vec<_> = (0..readers).map(|_| scope.spawn(work)).collect();
            for thread in threads {
                all = all.plus(thread.join().unwrap_or_default());
            }
        });
        all
    }

    /// What lies beside the shards.
    fn outside(&self, tell: &impl Fn(&Finding)) -> Checked {
        let shards: Vec<_> = (0..=u8::MAX).map(|first| self.files.layout.shard(first)).collect();
        let mut suspects = Vec::new();
        for path in paths(self.files.layout.images()).unwrap_or_default() {
            if !shards.contains(&path) {
                suspects.push(Suspect { path, fault: Fault::Stray, id: None, blob: None });
            }
        }
        self.settle(suspects, tell)
    }

    fn shard(&self, first: u8, tell: &impl Fn(&Finding)) -> Checked {
        let folder = self.files.layout.shard(first);
        let mut suspects = Vec::new();
        let mut there: BTreeMap<PictureId, There> = BTreeMap::new();
        match paths(&folder) {
            Ok(paths) => {
                for path in paths {
                    let name = path.file_name().and_then(|name| name.to_str()).and_then(parse_name);
                    let Some((id, kind)) = name.filter(|(id, _)| shard_of(id) == first) else {
                        suspects.push(Suspect { path, fault: Fault::Stray, id: None, blob: None });
                        continue;
                    };
                    let of = there.entry(id).or_default();
                    match kind {
                        Kind::Blob(format) => of.blobs.push(format),
                        Kind::Record => of.record = true,
                        Kind::Tombstone => of.tombstone = true,
                    }
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(_) => suspects.push(Suspect { path: folder, fault: Fault::Unreadable, id: None, blob: None }),
        }
        let mut checked = Checked::default();
        for (id, of) in there {
            if of.tombstone {
                checked.deletions += 1;
            } else {
                suspects.extend(self.picture(&id, &of, &mut checked));
            }
        }
        checked.plus(self.settle(suspects, tell))
    }

    /// What seems wrong about a picture.
    fn picture(&self, id: &PictureId, there: &There, checked: &mut Checked) -> Vec<Suspect> {
        let layout = &self.files.layout;
        let said = if there.record { self.said(id) } else { Said::Nothing };
        let suspect = |path, fault, blob| Suspect { path, fault, id: Some(*id), blob };
        let mut suspects = Vec::new();
        let mut whole = None;
        for format in &there.blobs {
            let path = layout.blob(id, *format);
            match self.read(id, *format) {
                Ok((blob, true)) if whole.is_none() || said.is_of(&blob.facts) => {
                    checked.pictures += 1;
                    checked.bytes += blob.facts.len;
                    let before: Option<Blob> = whole.replace(blob);
                    let before = before.map(|blob| layout.blob(id, blob.facts.format));
                    suspects.extend(before.map(|path| suspect(path, Fault::Stray, None)));
                }
                Ok((_, true)) => suspects.push(suspect(path, Fault::Stray, None)),
                Ok((blob, false)) => suspects.push(suspect(path, Fault::Damaged, Some(blob))),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(_) => suspects.push(suspect(path, Fault::Unreadable, None)),
            }
        }
        let path = layout.record(id);
        match (said, whole) {
            (Said::Nothing, Some(blob)) => suspects.push(suspect(path, Fault::NoRecord, Some(blob))),
            (Said::Record(record), Some(blob)) if !is_of(&record, &blob.facts) => {
                suspects.push(suspect(path, Fault::BadRecord, Some(blob)));
            }
            (Said::Nonsense, blob) => suspects.push(suspect(path, Fault::BadRecord, blob)),
            (Said::Record(record), None) if self.is_archived(&record) => checked.archived += 1,
            (Said::Record(_), None) if suspects.is_empty() => suspects.push(suspect(path, Fault::Lost, None)),
            _ => {}
        }
        suspects
    }

    /// The blob, and whether its bytes are those of its name.
    fn read(&self, id: &PictureId, format: Format) -> io::Result<(Blob, bool)> {
        let (file, meta) = open(&self.files.layout.blob(id, format))?;
        let facts = Facts { id: *id, format, len: meta.len(), created_ms: unix_ms(meta.modified()?) };
        let read = hash(&file, |len| self.progress.read(len))?;
        self.progress.pictures.fetch_add(1, Ordering::Relaxed);
        Ok((Blob { facts, inode: meta.ino() }, read == *id))
    }

    fn said(&self, id: &PictureId) -> Said {
        match disk::read(&self.files.layout.record(id), Record::LARGEST) {
            Ok(Some(json)) => match Record::from_json(&json).filter(|record| record.id == *id) {
                Some(record) => Said::Record(Box::new(record)),
                None => Said::Nonsense,
            },
            Ok(None) => Said::Nothing,
            Err(_) => Said::Nonsense,
        }
    }

    fn is_archived(&self, record: &Record) -> bool {
        self.files.archive.as_deref().is_some_and(|place| record.is_archived_at(place))
    }

    /// Looks at suspects again, and mends and tells of those that are still so.
    fn settle(&self, suspects: Vec<Suspect>, tell: &impl Fn(&Finding)) -> Checked {
        let mut checked = Checked::default();
        if suspects.is_empty() {
            return checked;
        }
        thread::sleep(SECOND_LOOK);
        for suspect in suspects.iter().filter(|suspect| self.stands(suspect)) {
            let mended = if self.repair { self.mend(suspect) } else { None };
            let path = suspect.path.strip_prefix(self.files.layout.root()).unwrap_or(&suspect.path).to_owned();
            checked.findings += 1;
            checked.mended += u64::from(mended.is_some());
            tell(&Finding { path, fault: suspect.fault, mended });
        }
        checked
    }

    fn stands(&self, suspect: &Suspect) -> bool {
        let Some(id) = &suspect.id else { return suspect.path.exists() };
        if self.files.is_buried(id) {
            return false;
        }
        let has_blob = || Format::ALL.into_iter().any(|format| self.files.layout.blob(id, format).exists());
        match suspect.fault {
            Fault::Damaged => inode(&suspect.path) == suspect.blob.as_ref().map(|blob| blob.inode),
            Fault::Unreadable => read_again(&suspect.path).is_err() && suspect.path.exists(),
            Fault::Stray => suspect.path.exists(),
            Fault::NoRecord => matches!(self.said(id), Said::Nothing) && has_blob(),
            Fault::BadRecord => match (self.said(id), &suspect.blob) {
                (Said::Nonsense, _) => true,
                (Said::Record(record), Some(blob)) => !is_of(&record, &blob.facts),
                _ => false,
            },
            Fault::Lost => matches!(self.said(id), Said::Record(record) if !self.is_archived(&record)) && !has_blob(),
        }
    }

    fn mend(&self, suspect: &Suspect) -> Option<Mended> {
        let mended = match (suspect.fault, &suspect.blob) {
            (Fault::Damaged, Some(blob)) => self.mend_blob(suspect, blob),
            (Fault::NoRecord, Some(blob)) => self.write_record(&Record::found(&blob.facts)),
            (Fault::BadRecord, blob) => self.mend_record(suspect, blob.as_ref()),
            _ => Ok(None),
        };
        mended.unwrap_or_else(|e| {
            log::warn!("{} could not be mended: {e}", suspect.path.display());
            None
        })
    }

    fn mend_blob(&self, suspect: &Suspect, blob: &Blob) -> Result<Option<Mended>, StoreError> {
        if !self.files.set_aside(&suspect.path, blob.inode).doing("setting a file aside")? {
            return Ok(None);
        }
        let archived = matches!(self.said(&blob.facts.id), Said::Record(record) if self.is_archived(&record));
        Ok(Some(if archived { Mended::FetchedAgain } else { Mended::SetAside }))
    }

    /// What a record says of where the picture came from is kept if it can be understood.
    fn mend_record(&self, suspect: &Suspect, blob: Option<&Blob>) -> Result<Option<Mended>, StoreError> {
        let Some(inode) = inode(&suspect.path) else { return Ok(None) };
        let old = suspect.id.map(|id| self.said(&id));
        if !self.files.set_aside(&suspect.path, inode).doing("setting a record aside")? {
            return Ok(None);
        }
        let Some(blob) = blob else { return Ok(Some(Mended::SetAside)) };
        let record = match old {
            Some(Said::Record(old)) => old.about(&blob.facts),
            _ => Record::found(&blob.facts),
        };
        self.write_record(&record)
    }

    /// Writes a record where there is none.
    fn write_record(&self, record: &Record) -> Result<Option<Mended>, StoreError> {
        let tmp = self.files.write_record(record)?;
        let written = tmp.link(&self.files.layout.record(&record.id));
        match written {
            Ok(()) => self.files.sync_shard(&record.id).map(|()| Some(Mended::RecordWritten)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(e).doing("writing a record"),
        }
    }
}

fn paths(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

fn inode(path: &Path) -> Option<u64> {
    File::open(path).and_then(|file| file.metadata()).ok().map(|meta| meta.ino())
}

fn is_of(record: &Record, facts: &Facts) -> bool {
    (record.id, record.format, record.bytes) == (facts.id, facts.format, facts.len)
}

// === impl Said ===

impl Said {
    fn is_of(&self, facts: &Facts) -> bool {
        matches!(self, Said::Record(record) if is_of(record, facts))
    }
}

fn open(path: &Path) -> io::Result<(File, fs::Metadata)> {
    match disk::open_unseen(path)? {
        Some(opened) => Ok(opened),
        None => Err(fs::symlink_metadata(path).err().unwrap_or_else(|| io::Error::other("no regular file"))),
    }
}

fn read_again(path: &Path) -> io::Result<()> {
    let (mut file, _) = open(path)?;
    io::copy(&mut file, &mut io::sink()).map(drop)
}

// === impl Progress ===

impl Progress {
    /// Pictures read.
    pub fn pictures(&self) -> u64 {
        self.pictures.load(Ordering::Relaxed)
    }

    /// Bytes read.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The part that is done, from 0 to 1.
    pub fn part(&self) -> f64 {
        self.folders.load(Ordering::Relaxed) as f64 / 256.0
    }

    fn read(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// One more picture is done, of those in the order of their ids.
    pub fn picture(&self, id: &PictureId) {
        self.pictures.fetch_add(1, Ordering::Relaxed);
        self.folders.fetch_max(u64::from(shard_of(id)), Ordering::Relaxed);
    }

    /// Another folder is done, with so many pictures.
    pub(super) fn folder(&self, pictures: u64) {
        self.pictures.fetch_add(pictures, Ordering::Relaxed);
        self.folders.fetch_add(1, Ordering::Relaxed);
    }
}

// === impl Checked ===

impl Checked {
    fn plus(self, more: Self) -> Self {
        Self {
            pictures: self.pictures + more.pictures,
            bytes: self.bytes + more.bytes,
            archived: self.archived + more.archived,
            deletions: self.deletions + more.deletions,
            findings: self.findings + more.findings,
            mended: self.mended + more.mended,
        }
    }
}

//! The calls by which the store changes the disk, and those that open and read its files.
//!
//! They are all here, so that a test can make any one of them fail (`fault`) and see what becomes of the pictures. In
//! other builds each is the call it names.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::{Access, OFlags};

#[cfg(test)]
use super::fault::around;

/// Makes the call. A test may make it fail.
#[cfg(not(test))]
fn around<T>(_: &Path, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    call()
}

/// Makes a file that is not there yet, for writing and reading.
pub(super) fn create(path: &Path, mode: u32) -> io::Result<File> {
    around(path, || Ok(()))?;
    OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)
}

/// Appends to `file`, which is at `path`.
pub(super) fn write_all(mut file: &File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    around(path, || file.write_all(bytes))
}

/// Makes the bytes of `file`, which is at `path`, last.
pub(super) fn sync(file: &File, path: &Path) -> io::Result<()> {
    around(path, || file.sync_data())
}

/// Makes the names in a folder last.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    around(dir, || File::open(dir)?.sync_all())
}

/// Moves a file, taking the place of what is there.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    around(to, || fs::rename(from, to))
}

/// Gives a file another name, where there is none of it.
pub(super) fn link(from: &Path, to: &Path) -> io::Result<()> {
    around(to, || fs::hard_link(from, to))
}

/// Removes a file; one that is not there is fine.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    around(path, || match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    })
}

/// Makes a folder. Whether it was not there.
pub(super) fn make_dir(path: &Path) -> io::Result<bool> {
    around(path, || match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    })
}

/// Whether names can be made in this folder: the file system can be written, and we may.
pub(super) fn may_write(dir: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(dir, Access::WRITE_OK)?)
}

/// Opens a regular file for reading. `None`: there is none of this name, or it is something else. Never waits, as opening
/// a pipe would.
pub(super) fn open(path: &Path) -> io::Result<Option<(File, fs::Metadata)>> {
    opened(path, OFlags::empty())
}

/// As [`open`], without this counting as a look at the file, where the system allows that: to the file's owner.
pub(super) fn open_unseen(path: &Path) -> io::Result<Option<(File, fs::Metadata)>> {
    match opened(path, OFlags::NOATIME) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => open(path),
        opened => opened,
    }
}

fn opened(path: &Path, flags: OFlags) -> io::Result<Option<(File, fs::Metadata)>> {
    let flags = i32::try_from((flags | OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    match around(path, || OpenOptions::new().read(true).custom_flags(flags).open(path)) {
        Ok(file) => {
            let meta = file.metadata()?;
            Ok(meta.is_file().then_some((file, meta)))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Reads a small file. `None` as in [`open`]; longer than `most` is an error.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let Some((file, _)) = open(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    if file.take(most.saturating_add(1)).read_to_end(&mut bytes)? as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than such a file can be"));
    }
    Ok(Some(bytes))
}

/// Makes a call on the index, whose files are under `dir`.
pub(super) fn index<T, E: From<io::Error>>(dir: &Path, call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    around(dir, || Ok(call())).map_err(E::from)?
}

//! Files that are being written, and the sync calls that make a finished one last.
//!
//! A file in `tmp/` carries an advisory lock (`flock`) for as long as it is written. That is how a starting process
//! tells what a dead one left from what a living one still needs: during a hand-over two processes share `tmp/`.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

/// Mode of a file that holds no secret (the umask applies).
pub(super) const OPEN: u32 = 0o644;
/// Mode of a file that holds prompts, keys or other secrets.
pub(super) const PRIVATE: u32 = 0o600;

/// A file under `tmp/`. It is removed when dropped, unless it was [kept](Self::persist).
#[derive(Debug)]
pub(super) struct TmpFile {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl TmpFile {
    pub(super) fn create(dir: &Path, mode: u32) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let path = dir.join(format!("{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
            let file = match OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(&path) {
                Ok(file) => file,
                // A process of the same number in another container.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(e),
            };
            // Between `open` and the lock a starting process may have swept the file away.
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => continue,
                // A file system without locks: then a hand-over may lose this file, and nothing else.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            if file.metadata()?.nlink() > 0 {
                return Ok(Self { file, path, kept: false });
            }
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives it another name where there is no file. The one in `tmp/` goes when this is dropped.
    pub(super) fn link(&self, to: &Path) -> io::Result<()> {
        fs::hard_link(&self.path, to)
    }

    /// Renames it to where it belongs. Not lasting before the folder is [synced](sync_dir).
    pub(super) fn persist(&mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for TmpFile {
    fn drop(&mut self) {
        if !self.kept {
            // It may be gone already; what is left is swept at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file without a name: a crash leaves nothing of it.
pub(super) fn unnamed(dir: &Path) -> io::Result<File> {
    let tmp = TmpFile::create(dir, PRIVATE)?;
    tmp.file.try_clone()
}

/// Makes the names in a folder last.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes everything that no living process holds.
pub(super) fn sweep(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(entry.path()),
            Ok(kind) if kind.is_file() => remove_unheld(&entry.path()),
            _ => fs::remove_file(entry.path()),
        };
        match removed {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Removes a file that nobody has locked. The lock is held meanwhile, so its maker cannot take it for its own.
fn remove_unheld(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(()),
        Ok(()) | Err(TryLockError::Error(_)) => fs::remove_file(path),
    }
}

/// Makes a folder that only we may look into, unless it is there.
pub(super) fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_sweep_spares_what_is_being_written() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("1-0"), "left by a dead process").unwrap();
        fs::create_dir(dir.path().join("odd")).unwrap();
        let mut living = TmpFile::create(dir.path(), OPEN).unwrap();
        sweep(dir.path()).unwrap();

        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, [living.path.clone()]);
        living.file().write_all(b"x").unwrap();
        living.persist(&dir.path().join("done")).unwrap();
        drop(living);
        assert_eq!(fs::read(dir.path().join("done")).unwrap(), b"x");
    }

    #[test]
    fn dropped_and_unnamed_files_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        drop(TmpFile::create(dir.path(), OPEN).unwrap());
        let file = unnamed(dir.path()).unwrap();
        (&file).write_all(b"still writable").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

//! Files that are being written, and the sync calls that make a finished one last.
//!
//! A file in `tmp/` carries an advisory lock (`flock`) for as long as it is written. That is how a starting process
//! tells what a dead one left from what a living one still needs: during a hand-over two processes share `tmp/`.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use super::disk;

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
            let file = match disk::create(&path, mode) {
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
            let tmp = Self { file, path, kept: false };
            if tmp.file.metadata()?.nlink() > 0 {
                return Ok(tmp);
            }
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Appends.
    pub(super) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        disk::write_all(&self.file, &self.path, bytes)
    }

    /// Makes its bytes last.
    pub(super) fn sync(&self) -> io::Result<()> {
        disk::sync(&self.file, &self.path)
    }

    /// Gives it another name where there is no file. The one in `tmp/` goes when this is dropped.
    pub(super) fn link(&self, to: &Path) -> io::Result<()> {
        disk::link(&self.path, to)
    }

    /// Renames it to where it belongs. Not lasting before the folder is [synced](disk::sync_dir).
    pub(super) fn persist(&mut self, to: &Path) -> io::Result<()> {
        disk::rename(&self.path, to)?;
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

/// Removes everything that no living process holds. What cannot be removed stays, and is in nobody's way.
pub(super) fn sweep(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(entry.path()),
            Ok(kind) if kind.is_file() => remove_unheld(&entry.path()),
            _ => disk::remove(&entry.path()),
        };
        match removed {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                log::warn!("tmp/{} stays, as it cannot be removed: {e}", entry.file_name().display());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes a file that nobody has locked. The lock is held meanwhile, so its maker cannot take it for its own.
fn remove_unheld(path: &Path) -> io::Result<()> {
    // One that may not be opened is no file of ours, whose owner may always read.
    let file = File::open(path).ok();
    match file.as_ref().map(File::try_lock) {
        Some(Err(TryLockError::WouldBlock)) => Ok(()),
        _ => disk::remove(path),
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

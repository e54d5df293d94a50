//! The process id as a file, for scripts that send signals and for `picgate upgrade`.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustix::process::Pid;

/// A process id is no secret, and the folder decides who may see the file.
const MODE: u32 = 0o644;

/// The file of this process. It is locked while the process lives, so that what a killed one has left is known for that.
/// A clone is the same file.
#[derive(Clone, Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    written: Arc<OnceLock<File>>,
}

/// The content of a pid file.
#[derive(Debug)]
enum Found {
    Running(Pid, File),
    Left,
    Missing,
}

impl PidFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, written: Arc::default() }
    }

    /// Writes it, unless another process that runs has it and is not to be `replaced`.
    pub(super) fn write(&self, replace: Option<Pid>) {
        let written = match find(&self.path) {
            Ok(Found::Running(other, _)) if replace != Some(other) => {
                Err(io::Error::other(format!("process {} runs, and it is its file", other.as_raw_nonzero())))
            }
            Ok(_) => self.replace(),
            Err(error) => Err(error),
        };
        match written {
            Ok(file) => drop(self.written.set(file)),
            Err(error) => log::warn!("pid_file {}: {error}", self.path.display()),
        }
    }

    /// Whoever reads it finds a whole number, and a lock, at any moment.
    fn replace(&self) -> io::Result<File> {
        let new = self.path.with_extension(format!("new-{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&new)?;
        file.set_permissions(Permissions::from_mode(MODE))?;
        file.write_all(std::process::id().to_string().as_bytes())?;
        // Where there are no locks, the process is looked for by its number.
        let _ = file.try_lock();
        fs::rename(&new, &self.path)?;
        Ok(file)
    }

    /// Removes the file, unless another process has put its own there.
    pub(super) fn remove(&self) {
        let Some(Ok(ours)) = self.written.get().map(File::metadata) else { return };
        if fs::metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == (ours.dev(), ours.ino())) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The gateway that runs with this pid file, as our user.
///
/// # Errors
/// Why there is none that could be sent a signal.
pub(super) fn running(path: &Path) -> Result<Pid, String> {
    let shown = path.display();
    match find(path).map_err(|error| format!("pid_file {shown}: {error}"))? {
        Found::Missing => Err(format!("no gateway runs with this configuration: there is no pid_file {shown}")),
        Found::Left => {
            Err(format!("no gateway runs with this configuration: pid_file {shown} was left by one that has ended"))
        }
        Found::Running(pid, file) => {
            let owner = file.metadata().map_err(|error| format!("pid_file {shown}: {error}"))?.uid();
            if owner != rustix::process::geteuid().as_raw() {
                return Err(format!(
                    "the gateway (process {}) runs as another user (uid {owner}): run this command as that user",
                    pid.as_raw_nonzero()
                ));
            }
            Ok(pid)
        }
    }
}

fn find(path: &Path) -> io::Result<Found> {
    let mut file = match OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    (&mut file).take(32).read_to_string(&mut text)?;
    // A signal to a negative number goes to many processes.
    let pid = text.trim().parse().ok().filter(|number| *number > 0).and_then(Pid::from_raw);
    let Some(pid) = pid else { return Ok(Found::Left) };
    let is_running = match file.try_lock() {
        Ok(()) => false,
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(_)) => rustix::process::test_kill_process(pid).is_ok(),
    };
    Ok(if is_running { Found::Running(pid, file) } else { Found::Left })
}

/// Opening a pipe that somebody has put there does not wait.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_a_dead_process_has_left_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("picgate.pid");
        assert!(running(&path).unwrap_err().contains("there is no pid_file"));
        for left in ["1", "", "-1", "0", "nonsense", "99999999999999999999"] {
            fs::write(&path, left).unwrap();
            assert!(running(&path).unwrap_err().contains("was left by one that has ended"), "{left}");
        }
        let ours = PidFile::new(path.clone());
        ours.write(None);
        assert_eq!(running(&path).unwrap().as_raw_nonzero().get(), i32::try_from(std::process::id()).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);

        // Another process takes it only from the one that it relieves.
        let other = PidFile::new(path.clone());
        other.write(None);
        other.remove();
        assert!(path.exists());
        other.write(Pid::from_raw(i32::try_from(std::process::id()).unwrap()));
        ours.remove();
        assert!(path.exists(), "it is the other's now");
        other.remove();
        assert!(!path.exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_process_of_another_user_is_not_signalled() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("picgate.pid");
        PidFile::new(path.clone()).write(None);
        let file = PidFile::new(path.clone());
        file.write(Pid::from_raw(i32::try_from(std::process::id()).unwrap()));
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        let why = running(&path).unwrap_err();
        assert!(why.contains("runs as another user (uid 65534): run this command as that user"), "{why}");
    }
}

//! The process id as a file, for scripts that send signals.

use std::{fs, path::Path};

#[derive(Clone, Debug)]
pub(super) struct PidFile(String);

impl PidFile {
    pub(super) fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn write(&self) {
        let id = std::process::id().to_string();
        if let Some(folder) = Path::new(&self.0).parent() {
            let _ = fs::create_dir_all(folder);
        }
        if let Err(error) = fs::write(&self.0, id) {
            log::warn!("pid_file {}: {error}", self.0);
        }
    }

    /// Removes the file, unless another process has put its own id there.
    pub(super) fn remove(&self) {
        if fs::read_to_string(&self.0).is_ok_and(|id| id == std::process::id().to_string()) {
            let _ = fs::remove_file(&self.0);
        }
    }
}

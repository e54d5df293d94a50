//! The process's own files: the pid file, and the socket of a hand-over.

use std::path::{Path, PathBuf};

use super::pid_file::PidFile;
use crate::{
    folder::{self, Shut},
    gateway::server::ServerSettings,
};

#[derive(Debug)]
pub(super) struct OwnFiles {
    pub(super) pid_file: PidFile,
    pub(super) upgrade_sock: PathBuf,
}

impl OwnFiles {
    /// Makes the folders that are missing, `data_dir/run` among them, and refuses those that other users share.
    pub(super) fn prepare(settings: &ServerSettings, data_dir: &Path) -> Result<Self, Vec<String>> {
        crate::store::shut_data_dir(data_dir).map_err(|error| vec![format!("data_dir: {error}")])?;
        let mut wrong = Vec::new();
        let run = data_dir.join("run");
        for (key, file, shut) in files(settings) {
            let folder = folder::of(&file);
            let made = if is_same(&folder, &run) { folder::make_ours(&folder) } else { folder::make(&folder) };
            let judged = match made {
                Ok(()) => folder::open(&file, shut).map(drop),
                Err(error) => Err(format!("{}: {error}", folder.display())),
            };
            wrong.extend(judged.err().map(|why| format!("{key}: {why}")));
        }
        if wrong.is_empty() {
            Ok(Self { pid_file: PidFile::new(settings.pid_file()), upgrade_sock: settings.upgrade_sock() })
        } else {
            Err(wrong)
        }
    }

    /// What [`prepare`](Self::prepare) would refuse, as far as it can be told without touching anything, and by another
    /// user. A folder that a start shuts is fine.
    pub(super) fn mistakes(settings: &ServerSettings, data_dir: &Path) -> Vec<String> {
        let run = data_dir.join("run");
        let all = files(settings).into_iter().filter(|(_, file, _)| {
            let folder = folder::of(file);
            !is_same(&folder, &run) && !is_same(&folder, data_dir)
        });
        all.filter_map(|(key, file, shut)| Some(format!("{key}: {}", folder::check_mode(&file, shut).err()?))).collect()
    }
}

/// `true` if both paths lead to one folder: `./data` is `data`.
fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

fn files(settings: &ServerSettings) -> [(&'static str, PathBuf, Shut); 2] {
    [
        // Whoever could put another number there would have signals sent to another process.
        ("pid_file", settings.pid_file(), Shut::Writing),
        // Whoever could reach the socket first would get, or give, the listening sockets.
        ("upgrade_sock", settings.upgrade_sock(), Shut::Entering),
    ]
}

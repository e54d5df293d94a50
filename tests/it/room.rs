//! A file system of its own for a data directory: small, and changed while it is in use.

use std::{path::Path, process::Command};

use crate::process::Process;

/// A tmpfs on a folder, seen by nobody but what runs [inside](Self::inside). It goes when this is dropped.
#[derive(Debug)]
pub struct Room {
    holder: Process,
    enter: &'static [&'static str],
    folder: String,
}

/// How it is made, and how it is entered. Root makes a mount namespace; another user a user namespace around it, where
/// that is allowed.
const WAYS: [(&[&str], &[&str]); 2] =
    [(&["--mount"], &["--mount"]), (&["--mount", "--map-root-user"], &["--mount", "--user", "--preserve-credentials"])];

impl Room {
    /// `None` where nothing can be mounted; says why.
    pub fn new(folder: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let folder = folder.to_str().unwrap().to_owned();
        let script =
            format!("mount -t tmpfs -o size={size},mode=777 none '{folder}' && echo mounted && exec sleep 3600");
        for (make, enter) in WAYS {
            let mut unshare = Command::new("unshare");
            let Some(holder) = Process::try_start(unshare.args(make).args(["sh", "-c", &script])) else { break };
            if holder.says_or_ends("mounted") {
                return Some(Self { holder, enter, folder });
            }
        }
        println!("skipped: a file system of its own cannot be mounted here (no root, no user namespaces)");
        None
    }

    /// The command, run where the folder is mounted.
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.args(["--target", &self.holder.id().to_string()]).args(self.enter).arg("--");
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// Makes it as large as this (`96m`).
    pub fn resize(&self, size: &str) {
        self.must(&["mount", "-o", &format!("remount,size={size}"), &self.folder]);
    }

    /// Takes all the room there is.
    pub fn fill(&self) {
        // It ends with an error: there is no more.
        let script = format!("dd if=/dev/zero of='{}/filler' bs=1M 2>/dev/null; true", self.folder);
        self.must(&["sh", "-c", &script]);
    }

    /// Gives it back.
    pub fn clear(&self) {
        self.must(&["rm", "-f", &format!("{}/filler", self.folder)]);
    }

    /// From now on nothing can be opened for writing; files that are open stay so.
    pub fn make_read_only(&self) {
        // Made ready beside it: over the folder itself a file might be opened for writing between the two steps.
        let beside = format!("{}-read-only", self.folder);
        std::fs::create_dir_all(&beside).unwrap();
        self.must(&["mount", "--bind", &self.folder, &beside]);
        self.must(&["mount", "-o", "remount,bind,ro", &beside]);
        self.must(&["mount", "--move", &beside, &self.folder]);
    }

    /// Takes that back.
    pub fn make_writable(&self) {
        self.must(&["umount", "--lazy", &self.folder]);
    }

    fn must(&self, words: &[&str]) {
        let mut command = Command::new(words[0]);
        assert!(self.inside(command.args(&words[1..])).status().unwrap().success(), "{words:?}");
    }
}

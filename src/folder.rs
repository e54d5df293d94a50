//! Folders and who may use them: ours alone, or shared with other users of the machine.
//!
//! The socket of a hand-over carries the listening sockets, and a script sends signals to the process in the pid file.
//! Whoever may write to their folder can put files of their own there, so both are refused in a shared folder.

use std::{
    fs::{self, DirBuilder, File, Metadata, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Mode of a folder that only its owner may use.
const PRIVATE: u32 = 0o700;

/// What other users must not be able to do in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    /// Make, remove or replace files.
    Writing,
    /// That, and reach files in it.
    Entering,
}

/// Makes a folder that only we may use, and those above it that are missing, unless it is there.
pub fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE).create(path)
}

/// As [`make`]; one that is there and ours is set to mode 0700.
pub fn make_ours(path: &Path) -> io::Result<()> {
    make(path)?;
    let meta = fs::metadata(path)?;
    if is_ours(&meta) && mode(&meta) != PRIVATE {
        fs::set_permissions(path, Permissions::from_mode(PRIVATE))?;
    }
    Ok(())
}

/// Whether we own it.
pub fn is_ours(meta: &Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw()
}

/// Permission bits, with the sticky bit and its like.
pub fn mode(meta: &Metadata) -> u32 {
    meta.mode() & 0o7777
}

/// The folder that a file is in.
pub fn of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Opens the folder that `file` is in, if other users are shut out of it as far as `shut` asks.
///
/// # Errors
/// Why it is refused, and how to mend that.
pub fn open(file: &Path, shut: Shut) -> Result<File, String> {
    let folder = of(file);
    let wrong = |why: io::Error| format!("{}: its folder {}: {why}", file.display(), folder.display());
    let opened = File::open(&folder).map_err(wrong)?;
    // The folder that was opened is judged, not what has its name a moment later.
    let meta = opened.metadata().map_err(wrong)?;
    let fault = owner(&meta).or_else(|| shared(&meta, shut));
    fault.map_or(Ok(opened), |fault| Err(refusal(file, &folder, &fault)))
}

/// As [`open`], but for who owns the folder; one that is not there yet is fine. For whoever looks on: another user may be
/// the one who runs the gateway.
///
/// # Errors
/// Why it is refused, and how to mend that.
pub fn check_mode(file: &Path, shut: Shut) -> Result<(), String> {
    let folder = of(file);
    let fault = fs::metadata(&folder).ok().and_then(|meta| shared(&meta, shut));
    fault.map_or(Ok(()), |fault| Err(refusal(file, &folder, &fault)))
}

/// root may do anything anyway.
fn owner(meta: &Metadata) -> Option<String> {
    let is_trusted = is_ours(meta) || meta.uid() == 0;
    (!is_trusted).then(|| format!("belongs to another user (uid {})", meta.uid()))
}

fn shared(meta: &Metadata, shut: Shut) -> Option<String> {
    let (bits, may) = match shut {
        Shut::Writing => (0o022, "write to"),
        Shut::Entering => (0o033, "write to or enter"),
    };
    (meta.mode() & bits != 0).then(|| format!("has mode {:04o}, so other users may {may} it", mode(meta)))
}

fn refusal(file: &Path, folder: &Path, fault: &str) -> String {
    format!(
        "{} is refused: its folder {} {fault}. Leave the setting out (the file then lies in data_dir/run), or name a folder \
         of picgate's own with mode 0700",
        file.display(),
        folder.display()
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    #[test]
    fn what_others_may_do_in_a_folder_decides() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        for (mode, for_writing, for_entering) in [
            (0o700, true, true),
            (0o740, true, true),
            (0o755, true, false),
            (0o750, true, false),
            (0o711, true, false),
            (0o701, true, false),
            (0o722, false, false),
            (0o770, false, false),
            (0o777, false, false),
            (0o1777, false, false),
            (0o720, false, false),
            (0o2770, false, false),
        ] {
            fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            for (shut, fine) in [(Shut::Writing, for_writing), (Shut::Entering, for_entering)] {
                assert_eq!(open(&file, shut).is_ok(), fine, "{mode:o} {shut:?}");
                assert_eq!(check_mode(&file, shut).is_ok(), fine, "{mode:o} {shut:?}");
            }
        }
        let why = open(&file, Shut::Entering).unwrap_err();
        for word in ["mode 2770", "data_dir/run", dir.path().to_str().unwrap()] {
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn a_folder_of_another_user_is_refused_unless_that_is_root() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        chown(dir.path(), Some(65534), None).unwrap();
        let file = dir.path().join("file");
        for shut in [Shut::Writing, Shut::Entering] {
            assert!(open(&file, shut).unwrap_err().contains("belongs to another user (uid 65534)"));
            check_mode(&file, shut).unwrap();
        }
        assert!(!is_ours(&fs::metadata(dir.path()).unwrap()));
    }
}

//! Keeps the other users of the machine out of `data_dir`: it holds prompts, pictures, hashes of keys and secrets.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use super::layout::Layout;
use crate::folder;

const OTHERS: u32 = 0o077;
const PRIVATE_FILE: u32 = 0o600;
/// A folder in which everybody may make files, as `/tmp` is.
const STICKY: u32 = 0o1000;

/// Makes `data_dir` if it is missing. One that is ours gets mode 0700; one that other users may enter and that is not
/// ours alone is left as it is, with a warning.
pub(super) fn data_dir(root: &Path) -> io::Result<()> {
    folder::make(root)?;
    let meta = fs::metadata(root)?;
    let mode = folder::mode(&meta);
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let reason = if !folder::is_ours(&meta) {
        Some("it belongs to another user".to_owned())
    } else if mode & STICKY != 0 {
        Some("everybody may make files in it".to_owned())
    } else {
        // To shut a folder that others use, such as /var/lib, would break the machine.
        foreign_folder(root)?.map(|name| format!("it holds a folder that is not picgate's, {name:?}"))
    };
    let done = match reason {
        Some(reason) => Err(reason),
        None => fs::set_permissions(root, Permissions::from_mode(0o700)).map_err(|error| error.to_string()),
    };
    if let Err(reason) = done {
        log::warn!(
            "data_dir {} may be used by other users of this machine (mode {mode:04o}) and is left so, since {reason}: give \
             picgate a folder of its own with mode 0700",
            root.display()
        );
    }
    Ok(())
}

fn foreign_folder(root: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() && !Layout::is_folder_of_ours(&name) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Shuts `state/` and `index/`, in which an earlier version let others read. What cannot be changed stays, in a `data_dir`
/// that is shut.
pub(super) fn secrets(state: &Path, index: &Path) -> io::Result<()> {
    folder::make(state)?;
    for done in [shut(state, &is_state, false), shut(index, &|_| true, true)] {
        if let Err(error) = done {
            log::debug!("a file under data_dir keeps its mode: {error}");
        }
    }
    Ok(())
}

/// What others have put into the folder is not touched.
fn is_state(name: &str) -> bool {
    name.ends_with(".json")
}

/// Gives a folder mode 0700 and the files in it 0600, as far as they are `ours`. Makes it if it is missing.
fn shut(dir: &Path, ours: &dyn Fn(&str) -> bool, and_below: bool) -> io::Result<()> {
    folder::make_ours(dir)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (kind, name) = (entry.file_type()?, entry.file_name());
        if kind.is_dir() && and_below {
            shut(&entry.path(), ours, and_below)?;
        } else if kind.is_file() && ours(&name.to_string_lossy()) {
            // A file that has just gone needs no mode.
            let Ok(meta) = entry.metadata() else { continue };
            if folder::is_ours(&meta) && folder::mode(&meta) & OTHERS != 0 {
                fs::set_permissions(entry.path(), Permissions::from_mode(PRIVATE_FILE))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    fn mode(path: &Path) -> u32 {
        folder::mode(&fs::metadata(path).unwrap())
    }

    /// Regression 10.4: a `data_dir` of ours is for us alone; one that is not ours alone is left.
    #[test]
    fn a_data_dir_of_ours_is_shut() {
        let others_own = |path: &Path| chown(path, Some(65534), None).unwrap();
        let with_folder = |path: &Path| fs::create_dir(path.join("postgresql")).unwrap();
        let with_ours = |path: &Path| {
            for name in ["images", "tmp", "state", "index", "index.bad-1", "run", "variants", "damaged", "lost+found"] {
                fs::create_dir(path.join(name)).unwrap();
            }
            fs::write(path.join("notes.txt"), "mine").unwrap();
        };
        let is_root = rustix::process::geteuid().is_root();
        for (before, prepare, after) in [
            (0o755, None::<&dyn Fn(&Path)>, 0o700),
            (0o700, None, 0o700),
            (0o2775, None, 0o700),
            (0o500, None, 0o500),
            (0o755, Some(&with_ours), 0o700),
            (0o755, Some(&with_folder), 0o755),
            (0o1777, None, 0o1777),
            (0o2770, is_root.then_some(&others_own), if is_root { 0o2770 } else { 0o700 }),
        ] {
            let dir = tempfile::tempdir().unwrap();
            if let Some(prepare) = prepare {
                prepare(dir.path());
            }
            fs::set_permissions(dir.path(), Permissions::from_mode(before)).unwrap();
            data_dir(dir.path()).unwrap();
            assert_eq!(mode(dir.path()), after, "{before:o}");
        }
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("a/b");
        data_dir(&new).unwrap();
        assert_eq!((mode(&new), mode(&dir.path().join("a"))), (0o700, 0o700));
    }

    /// Regression 10.4: files of state and index are for us alone, also those that an earlier version has made.
    #[test]
    fn what_an_earlier_version_left_open_is_shut() {
        let dir = tempfile::tempdir().unwrap();
        let [state, index] = ["state", "index"].map(|name| dir.path().join(name));
        let blobs = index.join("blobs");
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        fs::create_dir(&state).unwrap();
        fs::create_dir_all(&blobs).unwrap();
        let (keys, notes) = (state.join("keys.json"), state.join("notes.txt"));
        for file in [&keys, &notes, &index.join("db"), &blobs.join("1")] {
            fs::write(file, "x").unwrap();
            set(file, 0o644);
        }
        set(&state, 0o755);
        set(&index, 0o755);
        secrets(&state, &index).unwrap();
        for (path, wanted) in [
            (&state, 0o700),
            (&keys, 0o600),
            (&notes, 0o644),
            (&index, 0o700),
            (&blobs, 0o700),
            (&index.join("db"), 0o600),
            (&blobs.join("1"), 0o600),
        ] {
            assert_eq!(mode(path), wanted, "{}", path.display());
        }
        // An index that is no folder is damaged, which refuses no start.
        fs::remove_dir_all(&index).unwrap();
        fs::write(&index, "x").unwrap();
        secrets(&state, &index).unwrap();
    }
}

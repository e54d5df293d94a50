//! `state/*.json`: what pictures cannot tell (keys, settings, sessions …), one small file each.

use std::{io, path::PathBuf};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    StoreError, disk,
    error::Doing,
    layout::Layout,
    tmp::{self, TmpFile},
};

/// A file of state is never larger than this many bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Reads and writes `state/{name}.json`. A write is all or nothing and lasts through a power cut; files are readable by
/// their owner only. Both calls may block.
#[derive(Clone, Debug)]
pub struct State {
    layout: Layout,
}

impl State {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout }
    }

    /// The file of this name, for messages to the operator.
    pub fn file(&self, name: &str) -> PathBuf {
        self.layout.state().join(format!("{name}.json"))
    }

    /// `None` when nothing was written under this name.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let json = disk::read(&self.path(name)?, LARGEST).doing("reading a file of state")?;
        let value = json.map(|json| serde_json::from_slice(&json)).transpose();
        value.map_err(|error| StoreError::State { name: name.to_owned(), source: error.into() })
    }

    /// Replaces what was written under this name.
    pub fn write_json<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        let path = self.path(name)?;
        let json = serde_json::to_vec_pretty(value)
            .map_err(|error| StoreError::Json { doing: "writing a file of state", source: error.into() })?;
        self.write_atomic(&path, &json).doing("writing a file of state")
    }

    fn write_atomic(&self, path: &std::path::Path, bytes: &[u8]) -> io::Result<()> {
        let mut tmp = TmpFile::create(self.layout.tmp(), tmp::PRIVATE)?;
        tmp.write_all(bytes)?;
        tmp.sync()?;
        tmp.persist(path)?;
        disk::sync_dir(self.layout.state())
    }

    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(is_plain) {
            return Err(StoreError::BadName);
        }
        Ok(self.layout.state().join(format!("{name}.json")))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn is_written_whole_private_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::new(Layout::create(dir.path()).unwrap());
        assert_eq!(state.read_json::<Vec<u8>>("keys").unwrap(), None);
        state.write_json("keys", &[1, 2]).unwrap();
        state.write_json("keys", &[3]).unwrap();
        assert_eq!(state.read_json::<Vec<u8>>("keys").unwrap(), Some(vec![3]));

        let mode = fs::metadata(dir.path().join("state/keys.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn damaged_files_and_odd_names_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::new(Layout::create(dir.path()).unwrap());
        fs::write(dir.path().join("state/keys.json"), "{").unwrap();
        let error = state.read_json::<Vec<u8>>("keys").unwrap_err();
        assert!(error.to_string().starts_with("state/keys.json cannot be understood: "), "{error}");
        for name in ["", "../keys", "a/b", ".hidden", "Keys", &"k".repeat(65)] {
            assert!(matches!(state.write_json(name, &1), Err(StoreError::BadName)), "{name}");
        }
    }
}

//! Where things lie under `data_dir`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{disk, shut, tmp};
use crate::picture::{Format, PictureId};

/// Extension of a record's file.
const RECORD: &str = "json";
/// Extension of a tombstone.
const TOMBSTONE: &str = "gone";
/// The folders that picgate makes under `data_dir`, and the one that a file system makes in its root.
const FOLDERS: [&str; 8] = ["damaged", "images", "index", "lost+found", "run", "state", "tmp", "variants"];
/// How the name of a damaged index begins.
pub(super) const BAD_INDEX: &str = "index.bad-";

/// The folders of a store: `images/ab/{id}.{ext}`, `{id}.json` and `{id}.gone`, `tmp/`, `state/`, `index/`,
/// `variants/ab/{id}/`.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
    images: PathBuf,
    tmp: PathBuf,
    state: PathBuf,
}

/// What a file under `images/` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Blob(Format),
    Record,
    Tombstone,
}

impl Layout {
    /// The places of a store, whether it is there or not.
    fn of(root: &Path) -> Self {
        Self { root: root.to_owned(), images: root.join("images"), tmp: root.join("tmp"), state: root.join("state") }
    }

    /// The folders of a store that is there. Nothing in them is touched: a gateway may be running.
    pub(super) fn existing(root: &Path) -> io::Result<Self> {
        let layout = Self::of(root);
        fs::read_dir(&layout.images)?;
        fs::create_dir_all(&layout.tmp)?;
        Ok(layout)
    }

    /// Makes the folders that are missing, and removes what dead processes left in `tmp/`.
    pub(super) fn create(root: &Path) -> io::Result<Self> {
        let layout = Self::of(root);
        shut::data_dir(root)?;
        for dir in [&layout.images, &layout.tmp] {
            fs::create_dir_all(dir)?;
        }
        shut::secrets(&layout.state, &layout.index())?;
        disk::sync_dir(&layout.root)?;
        tmp::sweep(&layout.tmp)?;
        Ok(layout)
    }

    /// Whether picgate makes folders of this name under `data_dir`.
    pub(super) fn is_folder_of_ours(name: &str) -> bool {
        FOLDERS.contains(&name) || name.starts_with(BAD_INDEX)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn images(&self) -> &Path {
        &self.images
    }

    pub(super) fn tmp(&self) -> &Path {
        &self.tmp
    }

    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// The folder of all variants.
    pub(super) fn all_variants(&self) -> PathBuf {
        self.root.join("variants")
    }

    /// The folder of this picture's variants.
    pub(super) fn variants(&self, id: &PictureId) -> PathBuf {
        self.all_variants().join(id.shard()).join(id.to_string())
    }

    /// Where files go that are not what they should be.
    pub(super) fn damaged(&self) -> PathBuf {
        self.root.join("damaged")
    }

    /// The folder of all pictures whose id begins with this byte.
    pub(super) fn shard(&self, first: u8) -> PathBuf {
        self.images.join(format!("{first:02x}"))
    }

    pub(super) fn blob(&self, id: &PictureId, format: Format) -> PathBuf {
        self.file(id, format.extension())
    }

    pub(super) fn record(&self, id: &PictureId) -> PathBuf {
        self.file(id, RECORD)
    }

    pub(super) fn tombstone(&self, id: &PictureId) -> PathBuf {
        self.file(id, TOMBSTONE)
    }

    fn file(&self, id: &PictureId, extension: &str) -> PathBuf {
        self.images.join(id.shard()).join(format!("{id}.{extension}"))
    }
}

/// The first byte of an id, which names its shard.
pub(super) fn shard_of(id: &PictureId) -> u8 {
    let [first, ..] = *id.as_bytes();
    first
}

/// What a file name under `images/ab/` means; `None` for a file that is not ours.
pub(super) fn parse_name(name: &str) -> Option<(PictureId, Kind)> {
    let (id, extension) = name.split_once('.')?;
    let kind = match extension {
        RECORD => Kind::Record,
        TOMBSTONE => Kind::Tombstone,
        extension => Kind::Blob(Format::from_extension(extension)?),
    };
    Some((id.parse().ok()?, kind))
}

//! Building the index anew from `images/`, while no gateway has it.

use std::{fs, io, path::Path};

use super::{
    Findings, Progress, Record, StoreError,
    error::Doing,
    files::Files,
    index::{self, Counts},
    layout::Layout,
};
use crate::{config::Durability, picture::PictureId};

/// Throws the index away and builds another.
#[derive(Debug)]
pub struct Rebuild {
    files: Files,
    progress: Progress,
}

/// What is in an index that was built anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    pub counts: Counts,
    pub findings: Findings,
}

impl Rebuild {
    /// `archive` names the archive that pictures go to.
    ///
    /// # Errors
    /// When there is no store in this folder.
    pub fn new(data_dir: &Path, archive: Option<String>) -> Result<Self, StoreError> {
        let layout = Layout::existing(data_dir).doing("opening images/ under data_dir")?;
        Ok(Self { files: Files::new(layout, Durability::Power, archive), progress: Progress::default() })
    }

    /// As [`new`](Self::new), with a folder that may be empty or missing.
    ///
    /// # Errors
    /// When the folders cannot be made.
    pub fn create(data_dir: &Path, archive: String) -> Result<Self, StoreError> {
        let layout = Layout::create(data_dir).doing("making the folders under data_dir")?;
        Ok(Self { files: Files::new(layout, Durability::Process, Some(archive)), progress: Progress::default() })
    }

    /// Whether this picture needs no record from the archive: it has one, or was deleted.
    pub fn knows(&self, id: &PictureId) -> Result<bool, StoreError> {
        Ok(self.files.is_buried(id) || self.files.record(id)?.is_some())
    }

    /// Takes in the record of a picture that the archive has. `false`: it is known already.
    pub fn adopt(&self, record: Record) -> Result<bool, StoreError> {
        self.files.adopt_archived(record).map(|record| record.is_some())
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Does it. Cut off, it leaves an index that the next start completes.
    ///
    /// # Errors
    /// [`StoreError::IndexClosed`] while a gateway has the index.
    pub async fn run(&self) -> Result<Rebuilt, StoreError> {
        let dir = self.files.layout.index();
        if index::is_held(&dir) {
            return Err(StoreError::IndexClosed);
        }
        let removed = if dir.is_dir() { fs::remove_dir_all(&dir) } else { fs::remove_file(&dir) };
        match removed {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).doing("removing the index"),
            _ => {}
        }
        let (counts, findings) = index::build(&self.files, |found| self.progress.folder(found.added)).await?;
        Ok(Rebuilt { counts, findings })
    }
}

//! Changing what a record says.

use super::{Record, Store, StoreError, error::blocking};
use crate::picture::PictureId;

impl Store {
    /// Marks a picture as seen in the archive. `None`: it has no record (any more), or there is no archive.
    pub async fn mark_archived(&self, id: PictureId) -> Result<Option<Record>, StoreError> {
        let Some(place) = self.inner.files.archive.clone() else { return Ok(None) };
        self.amend(id, move |record| *record = record.clone().marked(Some(&place))).await
    }

    /// Takes the mark back: the archive turned out not to have it. It waits for the archive again.
    pub async fn unmark_archived(&self, id: PictureId) -> Result<Option<Record>, StoreError> {
        self.amend(id, |record| record.archived = None).await
    }

    /// Keeps a picture from being evicted or deleted by age or size, or no longer does. `None`: there is no such picture.
    pub async fn pin(&self, id: PictureId, pinned: bool) -> Result<Option<Record>, StoreError> {
        self.amend(id, move |record| record.pinned = pinned).await
    }

    async fn amend(
        &self,
        id: PictureId,
        change: impl FnOnce(&mut Record) + Send + 'static,
    ) -> Result<Option<Record>, StoreError> {
        let inner = self.inner.clone();
        blocking(move || {
            let files = &inner.files;
            let _gate = files.alone(&id);
            let Some(mut record) = files.record(&id)?.filter(|_| !files.is_buried(&id)) else { return Ok(None) };
            let before = record.clone();
            change(&mut record);
            if record != before {
                files.replace_record(&record)?;
            }
            inner.index.put(files.entry(&record));
            Ok(Some(record))
        })
        .await
    }
}

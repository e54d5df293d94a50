//! Finding a picture by its id alone, without the index.
//!
//! A bounded map remembers format and length of the pictures last written or read, so finding one of them is a single
//! `open`. Any other is looked for by its record, then by every extension there is. The memory cache holds what is
//! *read*: a picture enters it at its second read, so a fresh one that nobody comes back for pushes out nothing.

use std::{
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter, sync::Cache, sync::DefaultLifecycle};

use super::{
    Body, Facts, Picture, StoreError, disk,
    error::{Doing, blocking},
    file,
    layout::Layout,
    record::{Record, unix_ms},
};
use crate::{
    opaque::opaque,
    picture::{Format, PictureId},
};

/// Pictures remembered; about 100 bytes each.
const KNOWN: usize = 64 * 1024;
/// The largest picture in the cache is this part of it.
const LARGEST_PART: u64 = 16;
/// The cache's capacity is divided among its locks, and a picture must fit its division.
const LOCKS: usize = 4;

/// Finds pictures.
#[derive(Debug)]
pub(super) struct Lookup {
    layout: Layout,
    known: Cache<PictureId, Arc<Known>>,
    /// `None`: switched off.
    hot: Option<Hot>,
}

#[derive(Debug)]
struct Known {
    facts: Facts,
    was_read: AtomicBool,
}

#[derive(Debug)]
struct Hot {
    cache: Cache<PictureId, HotPicture, ByBytes>,
    largest: u64,
}

#[derive(Clone)]
struct HotPicture {
    facts: Facts,
    bytes: Bytes,
}

opaque!(HotPicture { facts });

#[derive(Clone, Copy, Debug)]
struct ByBytes;

impl Weighter<PictureId, HotPicture> for ByBytes {
    fn weight(&self, _: &PictureId, picture: &HotPicture) -> u64 {
        picture.facts.len.max(1)
    }
}

// === impl Lookup ===

impl Lookup {
    pub(super) fn new(layout: Layout, memory_cache: u64) -> Self {
        Self { layout, known: Cache::new(KNOWN), hot: Hot::new(memory_cache) }
    }

    /// Remembers a picture that has just been kept.
    pub(super) fn remember(&self, facts: Facts) {
        if self.known.peek(&facts.id).is_none_or(|known| known.facts != facts) {
            self.known.insert(facts.id, Known::new(facts, false));
        }
    }

    /// Forgets a picture whose file was removed.
    pub(super) fn forget(&self, id: &PictureId) {
        self.known.remove(id);
        if let Some(hot) = &self.hot {
            hot.cache.remove(id);
        }
    }

    /// The picture, if its bytes are on this disk.
    pub(super) async fn get(&self, id: &PictureId) -> Result<Option<Picture>, StoreError> {
        if let Some(picture) = self.hot.as_ref().and_then(|hot| hot.cache.get(id)) {
            return Ok(Some(picture.into_picture(true)));
        }
        let known = self.known.get(id);
        if let (Some(hot), Some(known)) = (&self.hot, &known)
            && known.facts.len <= hot.largest
            && known.was_read.swap(true, Ordering::Relaxed)
            && let Some(picture) = self.heat(hot, known.facts).await?
        {
            return Ok(Some(picture));
        }
        let (layout, id, facts) = (self.layout.clone(), *id, known.as_ref().map(|known| known.facts));
        let found = blocking(move || open(&layout, &id, facts)).await?;
        match &found {
            Some(picture) => match known {
                Some(known) if known.facts == picture.facts => known.was_read.store(true, Ordering::Relaxed),
                _ => self.known.insert(id, Known::new(picture.facts, true)),
            },
            None => {
                self.known.remove(&id);
            }
        }
        Ok(found)
    }

    /// Loads a picture into the cache; of many who want it, one does and the others wait. `None`: its file is not where
    /// it was.
    async fn heat(&self, hot: &Hot, facts: Facts) -> Result<Option<Picture>, StoreError> {
        let layout = self.layout.clone();
        let mut loaded = false;
        let load = async {
            loaded = true;
            blocking(move || load(&layout, facts)).await?.ok_or(None)
        };
        let picture = match hot.cache.get_or_insert_async(&facts.id, load).await {
            Ok(picture) => picture,
            Err(None) => return Ok(None),
            Err(Some(error)) => return Err(error),
        };
        // The file may have been removed between its opening and its entering the cache.
        if loaded && !self.layout.blob(&facts.id, facts.format).exists() {
            self.forget(&facts.id);
        }
        Ok(Some(picture.into_picture(!loaded)))
    }
}

/// Opens the blob, and reads it too when it is one piece: that saves the way to another thread and back.
fn open(layout: &Layout, id: &PictureId, known: Option<Facts>) -> Result<Option<Picture>, StoreError> {
    let Some((facts, file)) = find(layout, id, known).doing("opening a picture")? else { return Ok(None) };
    let body = match usize::try_from(facts.len) {
        Ok(len) if len <= Picture::PIECE => {
            Body::Memory(file::read_exact_at(&file, 0, len).doing("reading a picture")?)
        }
        _ => Body::File(Arc::new(file)),
    };
    Ok(Some(Picture { facts, body, from_cache: false }))
}

fn load(layout: &Layout, facts: Facts) -> Result<Option<HotPicture>, StoreError> {
    let Some((facts, file)) = find(layout, &facts.id, Some(facts)).doing("opening a picture")? else { return Ok(None) };
    // At most a sixteenth of the cache, which is memory that may be used.
    let len = usize::try_from(facts.len).unwrap_or(usize::MAX);
    let bytes = file::read_exact_at(&file, 0, len).doing("reading a picture")?;
    Ok(Some(HotPicture { facts, bytes }))
}

fn find(layout: &Layout, id: &PictureId, known: Option<Facts>) -> io::Result<Option<(Facts, File)>> {
    if let Some(facts) = known
        && let Some((file, len, _)) = open_blob(layout, id, facts.format)?
        && len == facts.len
    {
        return Ok(Some((facts, file)));
    }
    if layout.tombstone(id).exists() {
        // Its deletion is under way.
        return Ok(None);
    }
    // The bytes can be had without it.
    let record = Record::read(&layout.record(id)).unwrap_or_else(|e| {
        log::warn!("the record of picture {id} cannot be read: {e}");
        None
    });
    let record = record.filter(|record| record.id == *id);
    let first = record.as_ref().map(|record| record.format);
    for format in first.into_iter().chain(Format::ALL) {
        let Some((file, len, modified_ms)) = open_blob(layout, id, format)? else { continue };
        let created_ms = record.as_ref().map_or(modified_ms, |record| record.created_ms);
        if len == 0 || record.as_ref().is_some_and(|record| record.bytes != len) {
            log::warn!("the file of picture {id} has {len} bytes, which is wrong; it is treated as missing");
            return Ok(None);
        }
        return Ok(Some((Facts { id: *id, format, len, created_ms }, file)));
    }
    Ok(None)
}

/// The file, its length and when it was written.
fn open_blob(layout: &Layout, id: &PictureId, format: Format) -> io::Result<Option<(File, u64, u64)>> {
    let Some((file, meta)) = disk::open(&layout.blob(id, format))? else { return Ok(None) };
    Ok(Some((file, meta.len(), unix_ms(meta.modified()?))))
}

// === impl Known ===

impl Known {
    fn new(facts: Facts, was_read: bool) -> Arc<Self> {
        Arc::new(Self { facts, was_read: AtomicBool::new(was_read) })
    }
}

// === impl Hot ===

impl Hot {
    fn new(capacity: u64) -> Option<Self> {
        if capacity == 0 {
            return None;
        }
        let typical = 512 * 1024;
        let options = OptionsBuilder::new()
            .shards(LOCKS)
            .weight_capacity(capacity)
            .estimated_items_capacity(usize::try_from(capacity / typical).unwrap_or(usize::MAX).max(256))
            .build()
            .ok()?;
        let cache = Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Some(Self { cache, largest: capacity / LARGEST_PART })
    }
}

impl HotPicture {
    fn into_picture(self, from_cache: bool) -> Picture {
        Picture { facts: self.facts, body: Body::Memory(self.bytes), from_cache }
    }
}

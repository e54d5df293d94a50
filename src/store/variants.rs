//! `variants/ab/{id}/{name}`: pictures in other sizes and formats, made from the ones that are kept.
//!
//! Derived, so it may be lost at any time: nothing is synced, and a folder that has grown over its budget loses what has
//! not been read for longest. They lie beside a picture that is on this disk and go with it, when it is evicted as when it is
//! deleted.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError, TryLockError},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

use super::{
    Body, Facts, Picture, Store, StoreError,
    error::{Doing, blocking},
    file,
    layout::Layout,
    tmp::{self, TmpFile},
};
use crate::picture::{Format, PictureId};

/// Longest name of a variant.
const LONGEST_NAME: usize = 64;
/// A variant larger than this part of the budget is not kept.
const LARGEST_PART: u64 = 16;

/// What is known of the folder as a whole.
#[derive(Debug, Default)]
pub(super) struct Variants {
    /// Bytes in it, about: a file that replaces another counts twice until the next look. `None`: nobody has looked.
    used: Mutex<Option<u64>>,
    /// Held by whoever makes room.
    sweeping: Mutex<()>,
}

impl Store {
    /// A kept variant of this picture, ready to be read. Its facts are those of the picture, but for format and length.
    ///
    /// `name` is any of lower-case letters, digits, `-` and one dot before the extension of its format.
    pub async fn variant(&self, of: &Facts, name: &str) -> Result<Option<Picture>, StoreError> {
        let format = format_of(name)?;
        let (path, of) = (self.inner.files.layout.variants(&of.id).join(name), *of);
        blocking(move || match open(&path, Facts { format, ..of }) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some).doing("opening a variant"),
        })
        .await
    }

    /// Keeps a variant of a picture that is on this disk, and makes room when all together are over `budget` bytes. One
    /// that is large for the budget is not kept.
    pub async fn keep_variant(&self, id: PictureId, name: &str, bytes: Bytes, budget: u64) -> Result<(), StoreError> {
        format_of(name)?;
        if bytes.len() as u64 > budget / LARGEST_PART {
            return Ok(());
        }
        let (inner, name) = (Arc::clone(&self.inner), name.to_owned());
        blocking(move || {
            inner.space.check()?;
            let layout = &inner.files.layout;
            {
                // The picture may be coming back or going just now.
                let _gate = inner.files.alone(&id);
                if !is_here(layout, &id) {
                    return Ok(());
                }
                write(layout, &id, &name, &bytes).doing("keeping a variant")?;
            }
            inner.variants.grown(layout, bytes.len() as u64, budget).doing("making room for variants")
        })
        .await
    }
}

/// Opens a variant; a short one is read at once.
fn open(path: &Path, facts: Facts) -> io::Result<Picture> {
    let file = File::open(path)?;
    let facts = Facts { len: file.metadata()?.len(), ..facts };
    let body = match usize::try_from(facts.len) {
        Ok(len) if len <= Picture::PIECE => Body::Memory(file::read_exact_at(&file, 0, len)?),
        _ => Body::File(Arc::new(file)),
    };
    Ok(Picture { facts, body, from_cache: false })
}

/// Whether this picture is on this disk, and is to stay.
fn is_here(layout: &Layout, id: &PictureId) -> bool {
    !layout.tombstone(id).exists() && Format::ALL.into_iter().any(|format| layout.blob(id, format).exists())
}

/// Removes all variants of a picture.
pub(super) fn remove(layout: &Layout, id: &PictureId) -> io::Result<()> {
    match fs::remove_dir_all(layout.variants(id)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn write(layout: &Layout, id: &PictureId, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut tmp = TmpFile::create(layout.tmp(), tmp::OPEN)?;
    tmp.file().write_all(bytes)?;
    let dir = layout.variants(id);
    fs::create_dir_all(&dir)?;
    tmp.persist(&dir.join(name))
}

fn format_of(name: &str) -> Result<Format, StoreError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let (stem, extension) = name.split_once('.').ok_or(StoreError::BadName)?;
    if stem.is_empty() || name.len() > LONGEST_NAME || !stem.bytes().all(is_plain) {
        return Err(StoreError::BadName);
    }
    Format::from_extension(extension).ok_or(StoreError::BadName)
}

// === impl Variants ===

impl Variants {
    /// Counts new bytes, and sweeps when there are too many.
    fn grown(&self, layout: &Layout, by: u64, budget: u64) -> io::Result<()> {
        {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            let now = match *used {
                Some(before) => before.saturating_add(by),
                None => hours(layout)?.values().sum(),
            };
            *used = Some(now);
            if now <= budget {
                return Ok(());
            }
        }
        let _alone = match self.sweeping.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Poisoned(alone)) => alone.into_inner(),
        };
        let left = sweep(layout, budget - budget / 10)?;
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
        Ok(())
    }
}

/// Removes what has not been read for longest, by the hour, until at most `most` bytes are left; gives their number.
///
/// Two walks instead of one list, so that memory does not grow with the number of files.
fn sweep(layout: &Layout, most: u64) -> io::Result<u64> {
    let hours = hours(layout)?;
    let mut left = hours.values().sum::<u64>();
    if left <= most {
        return Ok(left);
    }
    let Some(last) = hours.iter().find_map(|(hour, bytes)| {
        left = left.saturating_sub(*bytes);
        (left <= most).then_some(*hour)
    }) else {
        return Ok(left);
    };
    let mut left = 0_u64;
    walk(layout, |path, hour, bytes| {
        // The last hour may hold all there is: then half of it is enough, whichever.
        if hour < last || hour == last && left.saturating_add(bytes) > most / 2 {
            match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        } else {
            left = left.saturating_add(bytes);
        }
        Ok(())
    })?;
    Ok(left)
}

/// The bytes there are, by the hour in which they were last read.
fn hours(layout: &Layout) -> io::Result<BTreeMap<u64, u64>> {
    let mut hours = BTreeMap::new();
    walk(layout, |_, hour, bytes| {
        *hours.entry(hour).or_default() += bytes;
        Ok(())
    })?;
    Ok(hours)
}

/// Every variant: its path, the hour it was last read (or made, where the file system does not tell), its length. Folders
/// that are empty go, and those whose picture is not here (a crash came between the two).
fn walk(layout: &Layout, mut see: impl FnMut(&Path, u64, u64) -> io::Result<()>) -> io::Result<()> {
    for shard in entries(&layout.all_variants())? {
        for picture in entries(&shard?.path())? {
            let picture = picture?;
            let id: Option<PictureId> = picture.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(id) = id.filter(|id| !is_here(layout, id)) {
                remove(layout, &id)?;
                continue;
            }
            let picture = picture.path();
            for variant in entries(&picture)? {
                let variant = variant?;
                let Ok(meta) = variant.metadata() else { continue };
                let made = meta.modified().unwrap_or(UNIX_EPOCH);
                let read = meta.accessed().unwrap_or(UNIX_EPOCH);
                see(&variant.path(), hour(made.max(read)), meta.len())?;
            }
            // Fails where something is left, which is most often.
            let _ = fs::remove_dir(&picture);
        }
    }
    Ok(())
}

/// What is in a folder; nothing where there is none (any more).
fn entries(dir: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None.into_iter().flatten())
        }
        Err(e) => Err(e),
    }
}

fn hour(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 3600)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{config, store::NewRecord};

    const NAME: &str = "w256-q80.jpg";

    fn store(dir: &Path, min_free: u64) -> Store {
        let settings = config::Store {
            durability: config::Durability::Process,
            memory_cache: 0,
            min_free,
            ..config::Store::default()
        };
        Store::open(dir, &settings, None).unwrap()
    }

    async fn with_picture(store: &Store, bytes: &[u8]) -> Facts {
        let mut writer = store.writer();
        writer.write(b"GIF89a\x01\x00\x01\x00\x00\x00\x00").await.unwrap();
        writer.write(bytes).await.unwrap();
        writer.finish().await.unwrap().commit(NewRecord::default()).await.unwrap().facts
    }

    fn files(dir: &Path) -> usize {
        let mut files = 0;
        walk(&Layout::create(dir).unwrap(), |_, _, _| {
            files += 1;
            Ok(())
        })
        .unwrap();
        files
    }

    #[tokio::test]
    async fn a_variant_is_kept_found_and_gone_with_its_picture() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), 0);
        let facts = with_picture(&store, b"").await;
        assert!(store.variant(&facts, NAME).await.unwrap().is_none());
        store.keep_variant(facts.id, NAME, Bytes::from_static(b"small"), 1 << 20).await.unwrap();
        let found = store.variant(&facts, NAME).await.unwrap().unwrap();
        assert_eq!(found.facts, Facts { format: Format::Jpeg, len: 5, ..facts });
        assert_eq!(found.read(0..5).await.unwrap(), &b"small"[..]);

        store.delete(facts.id).await.unwrap();
        assert_eq!(files(dir.path()), 0);
        // Made while it was being deleted.
        store.keep_variant(facts.id, NAME, Bytes::from_static(b"small"), 1 << 20).await.unwrap();
        assert_eq!(files(dir.path()), 0);
    }

    #[tokio::test]
    async fn what_only_seems_to_be_over_the_budget_stays_and_what_has_no_picture_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), 0);
        let (facts, other) = (with_picture(&store, b"").await, with_picture(&store, b"other").await);
        let keep = async |id| store.keep_variant(id, NAME, vec![7; 1000].into(), 20_000).await.unwrap();
        keep(other.id).await;
        // Each takes the place of the one before.
        for _ in 0..30 {
            keep(facts.id).await;
        }
        assert_eq!(files(dir.path()), 2);
        let blob = Layout::create(dir.path()).unwrap().blob(&other.id, other.format);
        fs::rename(&blob, blob.with_extension("elsewhere")).unwrap();
        assert_eq!(files(dir.path()), 1);
        keep(other.id).await;
        assert_eq!(files(dir.path()), 1);
    }

    #[tokio::test]
    async fn over_the_budget_what_was_not_read_for_longest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), 0);
        let facts = with_picture(&store, b"").await;
        let keep = async |name: &str| store.keep_variant(facts.id, name, vec![7; 1000].into(), 20_000).await.unwrap();
        let path =
            |name: &str| dir.path().join("variants").join(facts.id.shard()).join(facts.id.to_string()).join(name);
        for number in 1..=20 {
            let name = format!("w{number}.png");
            keep(&name).await;
            let old = SystemTime::now() - Duration::from_secs(3600 * (100 - number));
            let times = fs::FileTimes::new().set_accessed(old).set_modified(old);
            File::options().write(true).open(path(&name)).unwrap().set_times(times).unwrap();
        }
        assert_eq!(files(dir.path()), 20);
        keep("w21.png").await;
        assert!(!path("w1.png").exists() && !path("w2.png").exists());
        assert!(path("w21.png").exists() && path("w20.png").exists());
        let left = files(dir.path());
        assert!((9..=18).contains(&left), "{left}");
        // All of one hour: the budget holds all the same.
        for number in 30..90 {
            keep(&format!("w{number}.png")).await;
        }
        assert!(files(dir.path()) <= 20);
        // Too large for it.
        store.keep_variant(facts.id, "w1.png", Bytes::from(vec![7; 1300]), 20_000).await.unwrap();
        assert!(!path("w1.png").exists());
    }

    #[tokio::test]
    async fn nothing_is_kept_on_a_full_disk_and_no_name_leads_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), u64::MAX);
        let facts = Facts { id: PictureId::of(b"x"), format: Format::Png, len: 1, created_ms: 1 };
        let kept = store.keep_variant(facts.id, NAME, Bytes::from_static(b"x"), 1 << 20).await;
        assert!(matches!(kept, Err(StoreError::Full)));
        for name in ["", "x", ".png", "../x.png", "a/b.png", "w1.exe", "W1.png", "w1.p.png", &"w".repeat(80)] {
            assert!(matches!(store.variant(&facts, name).await, Err(StoreError::BadName)), "{name}");
        }
    }
}

//! Taking a picture in, piece by piece.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Inner, StoreError,
    behind::{BUFFER, Behind, Drain},
    commit::{Content, Staged},
    error::{Doing, blocking},
    file,
    tmp::{self, TmpFile},
};
use crate::{
    opaque::opaque,
    picture::{self, Format, Hasher, PictureId, Sniff},
};

/// How far a picture's start is searched for its size header, when the first buffer does not hold it (a JPEG with huge
/// profiles before the first frame).
const LONGEST_HEAD: usize = 1024 * 1024;

/// Takes the bytes of one picture.
///
/// Up to 128 KiB stay in memory; a longer one goes to a file in `tmp/`, 128 to 512 KiB at a time.
/// Dropping it removes the file.
#[derive(Debug)]
pub struct PictureWriter {
    store: Arc<Inner>,
    behind: Behind<Spooling>,
    len: u64,
}

/// What happens to full buffers: sniffed, hashed, written to a file in `tmp/`.
#[derive(Debug)]
struct Spooling {
    store: Arc<Inner>,
    hasher: Hasher,
    verdict: Sniff,
    tmp: Option<TmpFile>,
}

/// The bytes written, once more, in order.
pub struct Replay {
    spooled: Option<Arc<TmpFile>>,
    at: u64,
    spooled_len: u64,
    rest: Bytes,
}

opaque!(Replay { at, spooled_len });

// === impl PictureWriter ===

impl PictureWriter {
    pub(super) fn new(store: Arc<Inner>) -> Self {
        Self { behind: Self::buffer(&store), store, len: 0 }
    }

    fn buffer(store: &Arc<Inner>) -> Behind<Spooling> {
        Behind::new(Arc::clone(&store.desk), Spooling::new(Arc::clone(store)), BUFFER)
    }

    /// Appends bytes of any number. After an error the picture is lost.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.len += bytes.len() as u64;
        self.behind.write(bytes).await
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.len
    }

    /// Ends the picture: names it and tells its format, by content alone. The writer is then empty.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotAPicture`] leaves everything as it is: [`into_replay`](Self::into_replay) gives the bytes back.
    pub async fn finish(&mut self) -> Result<Staged, StoreError> {
        let format = self.format().await?;
        let fresh = Self::buffer(&self.store);
        let len = std::mem::take(&mut self.len);
        let (mut spooling, rest) = std::mem::replace(&mut self.behind, fresh).into_parts()?;
        let (id, content) = if spooling.tmp.is_some() {
            blocking(move || {
                spooling.drain(&rest)?;
                let tmp = spooling.tmp.ok_or(StoreError::CutOff)?;
                Ok((spooling.hasher.finish(), Content::File(tmp)))
            })
            .await?
        } else {
            // At most 128 KiB: hashing takes less time than handing it to another thread.
            (PictureId::of(&rest), Content::Memory(rest))
        };
        Ok(Staged::new(Arc::clone(&self.store), id, format, len, content))
    }

    /// Gives back what was written, for a value that turned out to be no picture.
    pub async fn into_replay(self) -> Result<Replay, StoreError> {
        let (spooling, rest) = self.behind.into_parts()?;
        Ok(Replay {
            spooled_len: self.len - rest.len() as u64,
            spooled: spooling.tmp.map(Arc::new),
            at: 0,
            rest: rest.into(),
        })
    }

    async fn format(&mut self) -> Result<Format, StoreError> {
        let spooling = self.behind.drain()?;
        let verdict = match (&spooling.tmp, spooling.verdict) {
            (None, _) => picture::sniff(self.behind.filling()),
            (Some(tmp), Sniff::More) => {
                let file = tmp.file().try_clone().doing("reading a spooled picture")?;
                let rest = self.behind.filling().to_vec();
                blocking(move || {
                    let mut head = file::read_at(&file, 0, LONGEST_HEAD).doing("reading a spooled picture")?;
                    head.extend_from_slice(
                        rest.get(..LONGEST_HEAD.saturating_sub(head.len()).min(rest.len())).unwrap_or(&[]),
                    );
                    Ok(picture::sniff(&head))
                })
                .await?
            }
            (Some(_), told) => told,
        };
        match verdict {
            Sniff::Picture(format) => Ok(format),
            Sniff::More | Sniff::No => Err(StoreError::NotAPicture),
        }
    }
}

// === impl Spooling ===

impl Spooling {
    fn new(store: Arc<Inner>) -> Self {
        Self { store, hasher: Hasher::default(), verdict: Sniff::More, tmp: None }
    }
}

impl Drain for Spooling {
    fn drain(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(piece);
        let tmp = match &mut self.tmp {
            Some(tmp) => tmp,
            None => {
                self.verdict = picture::sniff(piece);
                self.store.space.check()?;
                let tmp = TmpFile::create(self.store.files.layout.tmp(), tmp::OPEN).doing("spooling a picture")?;
                self.tmp.insert(tmp)
            }
        };
        tmp.write_all(piece).doing("spooling a picture")
    }
}

// === impl Replay ===

impl Replay {
    /// The next piece, at most 128 KiB. `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, StoreError> {
        if let Some(tmp) = self.spooled.as_ref().filter(|_| self.at < self.spooled_len) {
            let (tmp, at) = (Arc::clone(tmp), self.at);
            let want = usize::try_from(self.spooled_len - at).map_or(BUFFER, |left| left.min(BUFFER));
            let piece =
                blocking(move || file::read_exact_at(tmp.file(), at, want).doing("reading a spooled value")).await?;
            self.at += piece.len() as u64;
            return Ok(Some(piece));
        }
        let piece = self.rest.split_to(self.rest.len().min(BUFFER));
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }
}

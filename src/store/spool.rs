//! Request bodies that may be needed again: for a second upstream, or cut into segments.

use std::{fs::File, ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    Body, Inner, StoreError,
    behind::{BUFFER, Behind, Drain, Room},
    disk,
    error::{Doing, blocking},
    file,
    spool_budget::Share,
    tmp,
};

use crate::opaque::opaque;

/// Up to this much stays in memory.
const IN_MEMORY: usize = 256 * 1024;

/// Takes bytes of any kind and number: in memory up to 256 KiB, then all in a file without a name. When the length is known
/// and there is room, up to 2 MiB stay in memory.
#[derive(Debug)]
pub struct Spool {
    behind: Behind<Unnamed>,
    len: u64,
    room: Option<Room>,
}

/// Makes the spools of one client key's requests.
#[derive(Clone, Debug)]
pub struct Spooler {
    store: Arc<Inner>,
    key: Arc<str>,
}

/// What happens to full buffers.
#[derive(Debug)]
struct Unnamed {
    store: Arc<Inner>,
    file: Option<File>,
    share: Share,
}

/// Reads what was spooled. Clones read independently.
#[derive(Clone)]
pub struct SpoolReader {
    len: u64,
    place: Place,
    _room: Option<Room>,
    /// Counts its bytes on the disk until the last clone is dropped.
    _share: Option<Arc<Share>>,
}

opaque!(SpoolReader { len });

#[derive(Clone)]
enum Place {
    Memory(Bytes),
    File(Arc<File>),
}

impl Spooler {
    pub(super) fn new(store: Arc<Inner>, key: &str) -> Self {
        Self { store, key: key.into() }
    }

    /// Takes in bytes that are needed again soon. `len`: how many there will be, as far as whoever sends them says.
    pub fn spool(&self, len: Option<u64>) -> Spool {
        Spool::new(Arc::clone(&self.store), Some(Arc::clone(&self.key)), len)
    }
}

impl Spool {
    pub(super) fn new(store: Arc<Inner>, key: Option<Arc<str>>, len: Option<u64>) -> Self {
        let desk = Arc::clone(&store.desk);
        let room = len.filter(|len| *len > IN_MEMORY as u64).and_then(|len| desk.room(len));
        let share = store.spools.share(key);
        let unnamed = Unnamed { store, file: None, share };
        let behind = match &room {
            Some(room) => Behind::within(desk, unnamed, room),
            None => Behind::new(desk, unnamed, IN_MEMORY),
        };
        Self { behind, len: 0, room }
    }

    /// Appends. After an error the spool is lost.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.len += bytes.len() as u64;
        self.behind.write(bytes).await
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.len
    }

    /// Ends writing.
    pub async fn freeze(self) -> Result<SpoolReader, StoreError> {
        let (mut unnamed, rest) = self.behind.into_parts()?;
        let (place, share) = if unnamed.file.is_some() {
            blocking(move || {
                unnamed.drain(&rest)?;
                let file = Place::File(Arc::new(unnamed.file.ok_or(StoreError::CutOff)?));
                Ok((file, Some(Arc::new(unnamed.share))))
            })
            .await?
        } else {
            (Place::Memory(rest.into()), None)
        };
        Ok(SpoolReader { len: self.len, place, _room: self.room, _share: share })
    }
}

impl Drain for Unnamed {
    fn drain(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        // While it is spooled, not before: what a client says of a body's length is not what it sends.
        self.share.grow(piece.len() as u64, self.store.space.above_min_free()?)?;
        let dir = self.store.files.layout.tmp();
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(tmp::unnamed(dir).doing("spooling a body")?),
        };
        disk::write_all(file, dir, piece).doing("spooling a body")
    }
}

impl SpoolReader {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the bytes are.
    pub fn body(&self) -> Body {
        match &self.place {
            Place::Memory(bytes) => Body::Memory(bytes.clone()),
            Place::File(file) => Body::File(Arc::clone(file)),
        }
    }

    /// The start of this range, at most 128 KiB of it. Empty when nothing of the range was written.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let end = range.end.min(self.len);
        let want = usize::try_from(end.saturating_sub(range.start)).map_or(BUFFER, |left| left.min(BUFFER));
        if want == 0 {
            return Ok(Bytes::new());
        }
        match &self.place {
            Place::Memory(bytes) => {
                // Within the bytes, as `end` is within `len`.
                let start = usize::try_from(range.start).unwrap_or(usize::MAX);
                Ok(bytes.slice(start..start + want))
            }
            Place::File(file) => file::piece(Arc::clone(file), range.start, want, "reading a spooled body").await,
        }
    }
}

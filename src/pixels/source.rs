//! Where the bytes of a picture come from.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;

/// The bytes of a picture. Cheap to clone; a file is read in place and may be read by others meanwhile.
#[derive(Clone)]
pub enum Source {
    Bytes(Bytes),
    /// All of an open file, `len` bytes of it.
    File {
        file: Arc<File>,
        len: u64,
    },
}

/// Its length only: the bytes are a user's.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({} bytes)", self.len())
    }
}

impl Source {
    /// All of this file.
    ///
    /// # Errors
    /// When its length cannot be read.
    pub fn file(file: Arc<File>) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Source::File { file, len })
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Source::Bytes(bytes) => bytes.len() as u64,
            Source::File { len, .. } => *len,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A reader from the start. It fails once `deadline` is over: the only way to stop a decoder.
    pub(super) fn reader(&self, deadline: Instant) -> Reader<'_> {
        Reader { source: self, at: 0, deadline }
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Bytes(bytes) => {
                let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
                (&*rest).read(into)
            }
            Source::File { file, len } => {
                let most = usize::try_from(len.saturating_sub(at)).unwrap_or(usize::MAX).min(into.len());
                file.read_at(into.get_mut(..most).unwrap_or_default(), at)
            }
        }
    }
}

/// Reads a [`Source`], with a place of its own.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    source: &'a Source,
    at: u64,
    deadline: Instant,
}

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let read = self.source.read_at(self.at, into)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.source.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

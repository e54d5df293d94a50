//! A request body made of segments.

use std::{collections::VecDeque, fmt, ops::Range};

use bytes::{Bytes, BytesMut};

use crate::{
    opaque::opaque,
    rewrite::base64::{Encoder, encoded_len},
    store::{self, Picture, SpoolReader, StoreError},
};

/// Most bytes read at once from a file; a multiple of three, so that base64 pieces need no padding between them.
const PIECE: u64 = 96 * 1024;
/// The same, for the first piece of a body. Each is twice the one before: a reader that stalls at once holds little memory,
/// and any other reads as few pieces as it can.
const FIRST_PIECE: u64 = PIECE / 8;
/// Neighbouring texts are sent as one up to this length.
const JOINED: usize = 64 * 1024;

/// A body of known length that can be sent any number of times.
#[derive(Clone, Default)]
pub struct Body {
    segments: Vec<Segment>,
    len: u64,
}

opaque!(Body { len });

/// A part of a body.
#[derive(Clone)]
pub enum Segment {
    Bytes(Bytes),
    /// Bytes of a file as they are.
    Raw(Source, Range<u64>),
    /// A whole file as standard base64.
    Base64(Source),
}

/// A file that can be read at any place.
#[derive(Clone, Debug)]
pub enum Source {
    Picture(Picture),
    Spool(SpoolReader),
}

impl Source {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Source::Picture(picture) => picture.facts.len,
            Source::Spool(spool) => spool.len(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where its bytes are.
    pub fn body(&self) -> store::Body {
        match self {
            Source::Picture(picture) => picture.body.clone(),
            Source::Spool(spool) => spool.body(),
        }
    }

    /// Bytes from the start of `range`: at least one, unless it is empty or lies behind the end.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        match self {
            Source::Picture(picture) => picture.read(range).await,
            Source::Spool(spool) => spool.read(range).await,
        }
    }
}

/// Its kind and length only: the bytes are a client's.
impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Segment::Bytes(_) => "Bytes",
            Segment::Raw(..) => "Raw",
            Segment::Base64(_) => "Base64",
        };
        write!(f, "{kind}({} bytes)", self.len())
    }
}

impl Segment {
    /// Its length as sent.
    pub fn len(&self) -> u64 {
        match self {
            Segment::Bytes(bytes) => bytes.len() as u64,
            Segment::Raw(_, range) => range.end - range.start,
            Segment::Base64(source) => encoded_len(source.len()),
        }
    }

    /// Whether nothing of it is sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Body {
    /// Appends a segment.
    pub fn push(&mut self, segment: Segment) {
        self.len += segment.len();
        self.segments.push(segment);
    }

    /// The exact length.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Starts reading from the beginning.
    pub fn reader(&self) -> BodyReader {
        BodyReader {
            segments: self.segments.iter().cloned().collect(),
            at: 0,
            piece: FIRST_PIECE,
            encoder: Encoder::default(),
        }
    }
}

impl From<Segment> for Body {
    fn from(segment: Segment) -> Self {
        let mut body = Body::default();
        body.push(segment);
        body
    }
}

/// Reads a body piece by piece.
pub struct BodyReader {
    segments: VecDeque<Segment>,
    /// Bytes of the first segment's source that have been read.
    at: u64,
    /// Bytes of the next piece.
    piece: u64,
    encoder: Encoder,
}

opaque!(BodyReader { at });

impl BodyReader {
    /// The next piece, never empty and at most 256 KiB; `None` at the end.
    ///
    /// # Errors
    /// When the disk cannot be read, or a file is shorter than it was.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        while let Some(segment) = self.segments.front() {
            let (source, range) = match segment {
                Segment::Bytes(_) => match self.text() {
                    text if text.is_empty() => continue,
                    text => return Ok(Some(text)),
                },
                Segment::Raw(source, range) => (source, range.clone()),
                Segment::Base64(source) => (source, 0..source.len()),
            };
            let start = range.start + self.at;
            if start >= range.end {
                let rest = self.encoder.finish();
                self.advance();
                if rest.is_empty() {
                    continue;
                }
                return Ok(Some(rest.into()));
            }
            let piece = source.read(start..range.end.min(start + self.piece)).await?;
            if piece.is_empty() {
                return Err(StoreError::CutOff);
            }
            self.at += piece.len() as u64;
            self.piece = PIECE.min(self.piece * 2);
            let encode = matches!(segment, Segment::Base64(_));
            let piece = if encode { self.encoder.push(&piece).into() } else { piece };
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    /// The texts up to the next file, as one while they are short.
    fn text(&mut self) -> Bytes {
        let mut joined = BytesMut::new();
        let mut first = Bytes::new();
        while let Some(Segment::Bytes(text)) = self.segments.front()
            && (first.is_empty() || first.len().max(joined.len()) + text.len() <= JOINED)
        {
            if first.is_empty() {
                first = text.clone();
            } else if !text.is_empty() {
                if joined.is_empty() {
                    joined.extend_from_slice(&first);
                }
                joined.extend_from_slice(text);
            }
            self.advance();
        }
        if joined.is_empty() { first } else { joined.freeze() }
    }

    fn advance(&mut self) {
        self.segments.pop_front();
        self.at = 0;
    }
}

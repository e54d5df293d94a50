//! Answers that are compressed although they should not be.
//!
//! A [`Decoder`] takes coded pieces and gives decoded ones, at most [`STEP`] bytes at a time, so that a small piece that
//! holds a gigabyte costs no more memory than any other. What can be decoded of a piece comes out before the next piece
//! is asked for. Besides that, an answer costs a coding's window: 32 KiB (gzip, deflate), up to 8 MiB (zstd), up to
//! 16 MiB (br).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use async_compression::{
    tokio::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder},
    zstd::DParameter,
};
use bytes::{Buf as _, Bytes};
use futures_util::FutureExt as _;
use http::{HeaderMap, header};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt as _, ReadBuf};

/// The longest piece.
const STEP: usize = 64 * 1024;
/// Codings on top of each other.
const MOST_LAYERS: usize = 2;
/// RFC 9659: `zstd` as a content coding has windows of at most 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// What there is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This came out.
    Piece(Bytes),
    /// Nothing comes out without more going in.
    Wanting,
    /// All of it came out.
    End,
}

/// Undoes the codings of one answer.
pub(super) struct Decoder {
    /// The last coding that was put on comes first.
    layers: Vec<Layer>,
    buffer: Box<[u8]>,
    /// How many coded bytes may still come: a body can go on for ever without anything in it.
    left: u64,
}

/// The codings of an answer in the order they were put on; `None` when one is unknown, or there are too many.
pub(super) fn codings(headers: &HeaderMap) -> Option<Vec<Coding>> {
    let mut codings = Vec::new();
    for line in headers.get_all(header::CONTENT_ENCODING) {
        for name in line.to_str().ok()?.split(',') {
            codings.push(match name.trim().to_ascii_lowercase().as_str() {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                "br" => Coding::Brotli,
                "zstd" => Coding::Zstd,
                _ => return None,
            });
        }
    }
    (codings.len() <= MOST_LAYERS).then_some(codings)
}

impl Decoder {
    pub(super) fn new(codings: Vec<Coding>, limit: u64) -> Self {
        let layers = codings.into_iter().rev().map(Layer::new).collect();
        Self { layers, buffer: vec![0; STEP].into(), left: limit }
    }

    /// Takes a coded piece; `None` says that it was the last.
    ///
    /// # Errors
    /// When there are more of them than an answer may have.
    pub(super) fn push(&mut self, piece: Option<Bytes>) -> io::Result<()> {
        let len = piece.as_ref().map_or(0, |piece| piece.len() as u64);
        self.left = self.left.checked_sub(len).ok_or(io::ErrorKind::FileTooLarge)?;
        self.layers.first_mut().map_or(Ok(()), |first| first.push(piece))
    }

    /// # Errors
    /// When it is not what its coding says, or ends too soon.
    pub(super) fn next(&mut self) -> io::Result<Step> {
        step(&mut self.layers, &mut self.buffer)
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

/// What comes out of the last layer.
fn step(layers: &mut [Layer], buffer: &mut [u8]) -> io::Result<Step> {
    let Some((last, before)) = layers.split_last_mut() else { return Ok(Step::Wanting) };
    loop {
        match last.step(buffer)? {
            Step::Wanting => match step(before, buffer)? {
                Step::Piece(piece) => last.push(Some(piece))?,
                Step::End => last.push(None)?,
                Step::Wanting => return Ok(Step::Wanting),
            },
            step => return Ok(step),
        }
    }
}

/// One coding.
struct Layer {
    coding: Coding,
    /// From the first byte on, which may tell more than the coding's name.
    stage: Option<Box<dyn Stage>>,
    ended: bool,
}

impl Layer {
    fn new(coding: Coding) -> Self {
        Self { coding, stage: None, ended: false }
    }

    /// Only when it is [wanting](Step::Wanting).
    fn push(&mut self, piece: Option<Bytes>) -> io::Result<()> {
        self.ended |= piece.is_none();
        let piece = piece.unwrap_or_default();
        match (&mut self.stage, piece.first()) {
            (Some(stage), _) => *stage.source() = Source { piece, ended: self.ended },
            (None, Some(first)) => {
                let (first, is_plain) = (*first, is_plain(self.coding, &piece));
                let source = Source { piece, ended: self.ended };
                self.stage = Some(if is_plain { Box::new(source) } else { stage(self.coding, first, source)? });
            }
            (None, None) => {}
        }
        Ok(())
    }

    fn step(&mut self, buffer: &mut [u8]) -> io::Result<Step> {
        let Some(stage) = &mut self.stage else {
            // An answer without a body has no coding either.
            return Ok(if self.ended { Step::End } else { Step::Wanting });
        };
        let Some(read) = stage.read(buffer).now_or_never() else { return Ok(Step::Wanting) };
        match buffer.get(..read?) {
            Some(piece) if !piece.is_empty() => Ok(Step::Piece(Bytes::copy_from_slice(piece))),
            _ if !stage.source().piece.is_empty() => Err(io::ErrorKind::InvalidData.into()),
            _ => Ok(if self.ended { Step::End } else { Step::Wanting }),
        }
    }
}

/// Whether a body that begins so is not coded at all, whatever its header says. Servers that decode an answer of theirs
/// and leave the header as it was exist.
fn is_plain(coding: Coding, start: &[u8]) -> bool {
    let starts = |texts: &[&[u8]]| texts.iter().any(|text| start.trim_ascii_start().starts_with(text));
    match (coding, start.first()) {
        // RFC 1952, section 2.3.1, and RFC 8878, sections 3.1.1 and 3.1.2.
        (Coding::Gzip, first) if first != Some(&0x1f) => true,
        (Coding::Zstd, Some(first)) if *first != 0x28 && *first & 0xf0 != 0x50 => true,
        (Coding::Gzip | Coding::Zstd, _) => false,
        (Coding::Deflate | Coding::Brotli, _) => starts(&[b"{\"", b"[{", b"data:", b"event:"]),
    }
}

/// The decoder for a body that begins with this byte.
fn stage(coding: Coding, first: u8, source: Source) -> io::Result<Box<dyn Stage>> {
    Ok(match coding {
        Coding::Gzip => {
            let mut decoder = GzipDecoder::new(source);
            decoder.multiple_members(true);
            Box::new(decoder)
        }
        // `deflate` is zlib's format (RFC 9110), but some send what is in it. That begins with a nibble of 8 only when the
        // padding of a stored block is not zero.
        Coding::Deflate if first & 0x0F == 8 => Box::new(ZlibDecoder::new(source)),
        Coding::Deflate => Box::new(DeflateDecoder::new(source)),
        // The mark of windows up to 1 GiB, which `br` does not have.
        Coding::Brotli if first & 0x7F == 0x11 => return Err(io::ErrorKind::InvalidData.into()),
        Coding::Brotli => Box::new(BrotliDecoder::new(source)),
        Coding::Zstd => {
            let mut decoder = ZstdDecoder::with_params(source, &[DParameter::window_log_max(ZSTD_WINDOW_LOG)]);
            decoder.multiple_members(true);
            Box::new(decoder)
        }
    })
}

/// A decoder that reads from a [`Source`].
trait Stage: AsyncRead + Send + Sync + Unpin {
    fn source(&mut self) -> &mut Source;
}

macro_rules! stages {
    ($($decoder:ident)*) => {$(
        impl Stage for $decoder<Source> {
            fn source(&mut self) -> &mut Source {
                self.get_mut()
            }
        }
    )*};
}

stages!(BrotliDecoder DeflateDecoder GzipDecoder ZlibDecoder ZstdDecoder);

impl Stage for Source {
    fn source(&mut self) -> &mut Source {
        self
    }
}

/// The piece that came last. It wakes nobody: after a piece was put in, one has to read again.
struct Source {
    piece: Bytes,
    ended: bool,
}

impl AsyncRead for Source {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Poll::Ready(from) = self.as_mut().poll_fill_buf(cx)? else { return Poll::Pending };
        let len = from.len().min(into.remaining());
        into.put_slice(from.get(..len).unwrap_or_default());
        self.consume(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for Source {
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.piece.is_empty() && !this.ended { Poll::Pending } else { Poll::Ready(Ok(&this.piece)) }
    }

    fn consume(self: Pin<&mut Self>, len: usize) {
        self.get_mut().piece.advance(len);
    }
}

#[cfg(test)]
mod tests;

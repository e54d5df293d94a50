//! Where a picture ends.
//!
//! Base64 in running text has no length. That it stops does not mean that the picture does: it may have been cut, or be an
//! example in documentation. The formats themselves tell: PNG and AVIF are a row of boxes with a last one, WebP says its
//! length, JPEG and GIF end with a mark.

use super::Format;

/// So near the end of the data the last mark of a JPEG must stand; some writers fill up what follows.
const JPEG_TAIL: usize = 32;

/// Follows a picture's bytes up to its end.
#[derive(Clone, Debug)]
pub struct Ending(Walk);

#[derive(Clone, Debug)]
enum Walk {
    /// Nobody can tell.
    Unknown,
    Boxes(Boxes),
    /// Bytes that are to come, at least; `None` until the header that says it is there.
    Length {
        head: Vec<u8>,
        seen: u64,
    },
    /// The mark is among so many last bytes.
    Mark {
        mark: &'static [u8],
        within: usize,
        tail: Vec<u8>,
    },
}

/// A row of boxes, each with its length and type before it.
#[derive(Clone, Debug)]
struct Boxes {
    is_png: bool,
    /// Bytes to the next header.
    skip: u64,
    head: Vec<u8>,
    /// The box at hand is the last, or may be.
    is_last: bool,
    over: Option<bool>,
}

impl Ending {
    /// Of a picture of this format, if that is known.
    pub fn of(format: Option<Format>) -> Self {
        Self(match format {
            Some(Format::Png) => Walk::Boxes(Boxes::new(true)),
            Some(Format::Avif | Format::Heic) => Walk::Boxes(Boxes::new(false)),
            Some(Format::Webp) => Walk::Length { head: Vec::new(), seen: 0 },
            Some(Format::Jpeg) => Walk::Mark { mark: b"\xff\xd9", within: JPEG_TAIL, tail: Vec::new() },
            Some(Format::Gif) => Walk::Mark { mark: b"\x3b", within: 1, tail: Vec::new() },
            _ => Walk::Unknown,
        })
    }

    /// Takes the next bytes, from the first on.
    pub fn push(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Walk::Unknown => {}
            Walk::Boxes(boxes) => boxes.push(bytes),
            Walk::Length { head, seen } => {
                let room = 8 - head.len();
                head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
                *seen += bytes.len() as u64;
            }
            Walk::Mark { within, tail, .. } => {
                tail.extend_from_slice(bytes.get(bytes.len().saturating_sub(*within)..).unwrap_or_default());
                let surplus = tail.len().saturating_sub(*within);
                tail.drain(..surplus);
            }
        }
    }

    /// Whether the end has come. `None`: this format does not tell.
    pub fn is_over(&self) -> Option<bool> {
        match &self.0 {
            Walk::Unknown => None,
            Walk::Boxes(boxes) => boxes.over,
            Walk::Length { head, seen } => {
                let length = head.get(4..8)?.try_into().ok().map(u32::from_le_bytes)?;
                Some(*seen >= u64::from(length) + 8)
            }
            Walk::Mark { mark, tail, .. } => Some(memchr::memmem::find(tail, mark).is_some()),
        }
    }
}

// === impl Boxes ===

impl Boxes {
    fn new(is_png: bool) -> Self {
        // PNG has a signature first.
        let skip = if is_png { 8 } else { 0 };
        Self { is_png, skip, head: Vec::new(), is_last: false, over: Some(false) }
    }

    fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.over == Some(false) {
            let skipped = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            bytes = bytes.get(skipped..).unwrap_or_default();
            self.skip -= skipped as u64;
            if self.skip > 0 {
                return;
            }
            if self.is_last {
                self.over = Some(true);
                return;
            }
            let wanted = bytes.get(..8 - self.head.len()).unwrap_or(bytes);
            self.head.extend_from_slice(wanted);
            bytes = bytes.get(wanted.len()..).unwrap_or_default();
            if let Ok(head) = <[u8; 8]>::try_from(self.head.as_slice()) {
                self.head.clear();
                self.header(head);
            }
        }
        if self.skip == 0 && self.is_last && self.over == Some(false) {
            self.over = Some(true);
        }
    }

    fn header(&mut self, [a, b, c, d, name @ ..]: [u8; 8]) {
        let length = u64::from(u32::from_be_bytes([a, b, c, d]));
        if self.is_png {
            // The length is that of the data; a checksum follows (W3C PNG, section 5.3).
            self.is_last = &name == b"IEND";
            self.skip = length + 4;
        } else if let Some(rest) = length.checked_sub(8) {
            // The length includes the header (ISO 14496-12, section 4.2).
            self.is_last = &name == b"mdat";
            self.skip = rest;
        } else {
            // Up to the end of the file, or a length of 64 bits.
            self.over = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::{Sniff, sniff};

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/fixtures/wire/img/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn ending(bytes: &[u8], piece: usize) -> Option<bool> {
        let format = match sniff(bytes) {
            Sniff::Picture(format) => Some(format),
            _ => None,
        };
        let mut ending = Ending::of(format);
        bytes.chunks(piece).for_each(|piece| ending.push(piece));
        ending.is_over()
    }

    #[test]
    fn a_whole_picture_is_over_and_a_cut_one_is_not() {
        for name in ["px2.png", "noise16.png", "px2b.png", "px2.webp", "px2.jpg", "px2.gif", "px2.avif"] {
            let bytes = fixture(name);
            for piece in [1, 7, 1000] {
                assert_eq!(ending(&bytes, piece), Some(true), "{name} in pieces of {piece}");
                assert_ne!(ending(&bytes[..bytes.len() - 1], piece), Some(true), "{name} without its last byte");
            }
        }
        let png = fixture("px2.png");
        assert_eq!(ending(&[png.as_slice(), &[7; 500]].concat(), 9), Some(true), "what follows does not matter");
    }

    #[test]
    fn formats_without_an_end_do_not_tell() {
        assert_eq!(Ending::of(None).is_over(), None);
        assert_eq!(Ending::of(Some(Format::Bmp)).is_over(), None);
    }
}

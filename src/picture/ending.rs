//! Where a picture ends.
//!
//! Base64 in running text has no length. That it stops does not mean that the picture does: it may have been cut, or be an
//! example in documentation. The formats themselves tell: they are rows of blocks with a last one, or say their length.

use crate::work;

/// So many bytes are looked at together, at most.
const LONGEST_STEP: usize = 13;

/// Follows a picture's bytes up to its end. What comes behind that does not matter.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    format: Walk,
    /// Bytes that have come.
    seen: u64,
    /// Bytes that need not be looked at.
    skip: u64,
    /// Bytes that have been looked at and are too few to go on, and how many.
    held: [u8; LONGEST_STEP],
    filled: usize,
    over: Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    No,
    Yes,
    /// It may be: a row that has what it needs, and may have more.
    Perhaps,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    /// W3C PNG, section 5.3: length, type, data, checksum; the last is `IEND`.
    Png,
    /// ISO 14496-12, section 4.2: boxes. Of those at the top `mdat` or `meta` must be there.
    Boxes,
    /// RIFF: the length stands in front.
    Webp,
    WebpRest,
    /// So does that of a BMP.
    Bmp,
    /// ITU T.81, annex B: segments; behind a start of scan entropy-coded data up to the next marker.
    Jpeg,
    JpegScan,
    /// GIF89a, appendix: blocks with a sign before each, made of sub-blocks.
    Gif,
    GifBlock,
    GifSubBlocks,
    Unknown,
}

impl Ending {
    /// Of a picture that begins so. These bytes count as pushed.
    pub fn of(head: &[u8]) -> Self {
        let (format, skip) = match head {
            [0x89, b'P', b'N', b'G', ..] => (Walk::Png, 8),
            [0xff, 0xd8, ..] => (Walk::Jpeg, 2),
            [b'G', b'I', b'F', b'8', ..] => (Walk::Gif, 0),
            [b'R', b'I', b'F', b'F', ..] => (Walk::Webp, 4),
            [b'B', b'M', ..] => (Walk::Bmp, 2),
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => (Walk::Boxes, 0),
            _ => (Walk::Unknown, 0),
        };
        let over = if format == Walk::Unknown { Over::Unknown } else { Over::No };
        let mut ending = Self { format, seen: 0, skip, held: [0; LONGEST_STEP], filled: 0, over };
        ending.push(head);
        ending
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        work::looked_at(1);
        self.seen += bytes.len() as u64;
        while matches!(self.over, Over::No | Over::Perhaps) {
            let skipped = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            bytes = bytes.get(skipped..).unwrap_or_default();
            self.skip -= skipped as u64;
            if self.skip > 0 || bytes.is_empty() && !self.is_done() {
                return;
            }
            if self.format == Walk::JpegScan && self.filled == 0 {
                // Nearly all of a JPEG is this.
                let marker = memchr::memchr(0xff, bytes).unwrap_or(bytes.len());
                work::looked_at(marker);
                bytes = bytes.get(marker..).unwrap_or_default();
            }
            // The first bytes may tell how many there must be.
            while let wanted = self.wanted()
                && self.filled < wanted
            {
                let place = self.held.get_mut(self.filled..wanted).unwrap_or_default();
                let (now, later) = bytes.split_at(place.len().min(bytes.len()));
                if now.is_empty() {
                    return;
                }
                work::looked_at(now.len());
                place.iter_mut().zip(now).for_each(|(place, byte)| *place = *byte);
                self.filled += now.len();
                bytes = later;
            }
            let (held, filled) = (self.held, std::mem::take(&mut self.filled));
            work::looked_at(1 + filled);
            self.step(held.get(..filled).unwrap_or_default());
        }
    }

    /// Takes these bytes to be looked at again, with more behind them.
    fn hold(&mut self, bytes: [u8; 2], filled: usize) {
        let [first, second, ..] = &mut self.held;
        [*first, *second] = bytes;
        self.filled = filled;
    }

    /// Whether the end has come. `None`: nobody can tell.
    pub fn is_over(&self) -> Option<bool> {
        match self.over {
            Over::Unknown => None,
            Over::Yes => Some(true),
            Over::No => Some(false),
            // Between two boxes.
            Over::Perhaps => Some(self.skip == 0 && self.filled == 0),
        }
    }

    /// Whether it is certain that there is more to come. Some writers of WebP count wrong: by the header, or by the byte that
    /// makes the length even.
    pub fn is_cut(&self) -> bool {
        self.is_over() == Some(false) && !(self.format == Walk::WebpRest && self.skip <= 9)
    }

    /// There is nothing to come that would be looked at.
    fn is_done(&self) -> bool {
        self.wanted() == 0
    }

    /// How many bytes the next step looks at.
    fn wanted(&self) -> usize {
        match self.format {
            Walk::Png | Walk::Boxes => 8,
            Walk::Webp | Walk::Bmp => 4,
            Walk::Jpeg => match self.held.get(..self.filled).unwrap_or_default() {
                // Markers without a length, fill bytes, and the end.
                [0xff, 0x01 | 0xd0..=0xd9 | 0xff] => 2,
                [_, _, ..] => 4,
                _ => 2,
            },
            Walk::JpegScan => 2,
            Walk::Gif => 13,
            Walk::GifBlock => match self.held.first().filter(|_| self.filled > 0) {
                Some(b',') => 10,
                Some(b'!') => 2,
                _ => 1,
            },
            Walk::GifSubBlocks => 1,
            Walk::WebpRest | Walk::Unknown => 0,
        }
    }

    fn step(&mut self, head: &[u8]) {
        let number = |bytes: &[u8]| bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        match (self.format, head) {
            (Walk::Png, [a, b, c, d, name @ ..]) => {
                // A chunk that only begins does not end anything: its checksum is skipped first.
                self.skip = number(&[*a, *b, *c, *d]) + 4;
                if name == b"IEND" {
                    self.format = Walk::Unknown;
                }
            }
            (Walk::Boxes, [a, b, c, d, name @ ..]) => {
                if matches!(name, b"mdat" | b"meta") {
                    self.over = Over::Perhaps;
                }
                match number(&[*a, *b, *c, *d]).checked_sub(8) {
                    Some(rest) => self.skip = rest,
                    // Up to the end of the file, or a length of 64 bits.
                    None => self.over = Over::Unknown,
                }
            }
            (Walk::Webp, &[d, c, b, a]) => {
                self.skip = number(&[a, b, c, d]);
                self.format = Walk::WebpRest;
            }
            (Walk::Bmp, &[d, c, b, a]) => {
                // Some leave it at zero.
                match number(&[a, b, c, d]).checked_sub(14) {
                    Some(rest) => (self.skip, self.format) = (rest + 8, Walk::Unknown),
                    None => self.over = Over::Unknown,
                }
            }
            (Walk::Jpeg, [0xff, 0xd9, ..]) | (Walk::JpegScan, [0xff, 0xd9]) => self.over = Over::Yes,
            (Walk::Jpeg, [0xff, 0xff]) => self.hold([0xff, 0], 1),
            (Walk::Jpeg, [0xff, marker, length @ ..]) if length.len() == 2 => {
                self.skip = number(length).saturating_sub(2);
                if *marker == 0xda {
                    self.format = Walk::JpegScan;
                }
            }
            (Walk::Jpeg, [0xff, _]) => {}
            (Walk::Jpeg, _) => self.over = Over::Unknown,
            // Stuffing, and marks for restarting, are within a scan.
            (Walk::JpegScan, [0xff, 0x00 | 0xd0..=0xd7]) => {}
            (Walk::JpegScan, [0xff, 0xff]) => self.hold([0xff, 0], 1),
            (Walk::JpegScan, &[first, second]) => {
                self.format = Walk::Jpeg;
                self.hold([first, second], 2);
            }
            (Walk::Gif, [.., flags, _, _]) => {
                self.skip = gif_table(*flags);
                self.format = Walk::GifBlock;
            }
            (Walk::GifBlock, [b';', ..]) => self.over = Over::Yes,
            (Walk::GifBlock, [b',', .., flags]) => {
                // The table, and how long codes are.
                self.skip = gif_table(*flags) + 1;
                self.format = Walk::GifSubBlocks;
            }
            (Walk::GifBlock, [b'!', ..]) => self.format = Walk::GifSubBlocks,
            (Walk::GifBlock, _) => self.over = Over::Unknown,
            (Walk::GifSubBlocks, [0, ..]) => self.format = Walk::GifBlock,
            (Walk::GifSubBlocks, [length, ..]) => self.skip = u64::from(*length),
            // What was to be skipped has been.
            (Walk::WebpRest | Walk::Unknown, _) => self.over = Over::Yes,
            _ => self.over = Over::Unknown,
        }
    }
}

/// Bytes of a table of colours.
fn gif_table(flags: u8) -> u64 {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/fixtures/wire/img/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn ending(bytes: &[u8], piece: usize) -> Option<bool> {
        let (head, rest) = bytes.split_at(12.min(bytes.len()));
        let mut ending = Ending::of(head);
        rest.chunks(piece).for_each(|piece| ending.push(piece));
        ending.is_over()
    }

    const NAMES: [&str; 8] =
        ["px2.png", "noise16.png", "px2b.png", "px2.webp", "px2.jpg", "px2.gif", "px2.avif", "px2.bmp"];

    #[test]
    fn a_whole_picture_is_over_whatever_comes_behind_it() {
        for name in NAMES {
            let bytes = fixture(name);
            for more in [&[][..], &[0], b"\0\0\0\0\0\0\0\0\0\0", &[7; 60]] {
                if name == "px2.avif" && !more.is_empty() {
                    continue; // it would be another box
                }
                for piece in [1, 7, 1000] {
                    let whole = [&bytes, more].concat();
                    assert_eq!(ending(&whole, piece), Some(true), "{name} and {more:?} in pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn a_cut_picture_is_not() {
        for name in NAMES {
            let bytes = fixture(name);
            for len in 12..bytes.len() - 10 {
                for piece in [1, 1000] {
                    let is_over = ending(&bytes[..len], piece);
                    // Between two boxes of an AVIF.
                    assert!(is_over == Some(false) || name == "px2.avif", "{name} cut at {len}: {is_over:?}");
                }
            }
        }
    }

    #[test]
    fn writers_that_count_wrong_are_forgiven() {
        let mut webp = fixture("px2.webp");
        let right = u32::from_le_bytes(webp[4..8].try_into().unwrap());
        for wrong in [right + 1, right + 8] {
            webp[4..8].copy_from_slice(&wrong.to_le_bytes());
            let mut ending = Ending::of(&webp[..20]);
            ending.push(&webp[20..]);
            assert!(!ending.is_cut(), "{wrong} instead of {right}");
        }
    }

    #[test]
    fn formats_without_an_end_do_not_tell() {
        for head in [&b"II*\0\x08\0\0\0\0\0\0\0"[..], b"\0\0\x01\0\x01\0\x10\x10\0\0\0\0", b""] {
            assert_eq!(Ending::of(head).is_over(), None);
        }
        assert_eq!(Ending::of(b"\0\0\0\x10ftypavif\0\0\0\0\0\0\0\0mdat").is_over(), None, "up to the end of the file");
    }
}

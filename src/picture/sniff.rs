//! Bytes → format.
//!
//! A signature alone is no picture: documentation is full of `data:image/png;base64,iVBORw0KGgo...`. So [`sniff`] asks
//! for the header that carries the size (PNG: the whole `IHDR` chunk; JPEG: a start-of-frame marker; GIF: the screen
//! descriptor; WebP: a `VP8 `/`VP8L`/`VP8X` chunk; AVIF, HEIC: a complete `ftyp` box …) before it says yes.

use super::Format;
use crate::work;

/// What the first bytes of something say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniff {
    /// A picture of this format: signature and size header are there.
    Picture(Format),
    /// May become one: show me more bytes from the start. At the end of the data this means "no picture".
    More,
    /// No picture, whatever follows.
    No,
}

/// Tells a picture by its first bytes. `head` is everything known from the start of the data.
pub fn sniff(head: &[u8]) -> Sniff {
    Sniffer::default().look(head)
}

/// Tells a picture by its first bytes while they come in.
///
/// Says at each look what [`sniff`] says of the same bytes, but looks at each byte only a few times, in whatever pieces
/// they come.
#[derive(Clone, Copy, Debug)]
pub struct Sniffer {
    verdict: Sniff,
    /// One bit for each of [`DETECTORS`]: it said no.
    ruled_out: u16,
    /// With fewer bytes than this the verdict cannot change.
    wanted: usize,
    /// Where the segment of a JPEG begins that is looked at next.
    segment: usize,
}

/// What one format says.
enum Verdict {
    Picture(Format),
    /// Nothing can be said of fewer bytes than this.
    More(usize),
    No,
}

type Detector = fn(&[u8], &mut usize) -> Verdict;

const DETECTORS: [Detector; 9] = [
    jpeg,
    |head, _| png(head),
    |head, _| gif(head),
    |head, _| webp(head),
    |head, _| bmff(head),
    |head, _| jxl(head),
    |head, _| tiff(head),
    |head, _| ico(head),
    |head, _| bmp(head),
];

impl Default for Sniffer {
    fn default() -> Self {
        Self { verdict: Sniff::More, ruled_out: 0, wanted: 0, segment: 2 }
    }
}

impl Sniffer {
    /// `head`: everything known from the start of the data. It begins with what was given before.
    pub fn look(&mut self, head: &[u8]) -> Sniff {
        work::looked_at(1);
        if self.verdict != Sniff::More || head.len() < self.wanted {
            return self.verdict;
        }
        self.wanted = usize::MAX;
        self.verdict = Sniff::No;
        for (number, detect) in DETECTORS.iter().enumerate() {
            if self.ruled_out & 1 << number != 0 {
                continue;
            }
            match detect(head, &mut self.segment) {
                Verdict::No => self.ruled_out |= 1 << number,
                Verdict::More(wanted) => {
                    self.wanted = self.wanted.min(wanted);
                    self.verdict = Sniff::More;
                }
                Verdict::Picture(format) => {
                    self.verdict = Sniff::Picture(format);
                    break;
                }
            }
        }
        self.verdict
    }
}

/// Compares the start of `head` with `signature`: `No` at the first difference, `More` when `head` is too short,
/// `Ok` when it is all there.
fn signature(head: &[u8], signature: &[u8]) -> Result<(), Verdict> {
    work::looked_at(head.len().min(signature.len()));
    if head.starts_with(signature) {
        Ok(())
    } else if signature.starts_with(head) {
        Err(Verdict::More(head.len() + 1))
    } else {
        Err(Verdict::No)
    }
}

/// The first of two signatures that fits, or may still.
fn one_of(head: &[u8], first: &[u8], second: &[u8]) -> Result<(), Verdict> {
    signature(head, first).or_else(|verdict| match signature(head, second) {
        Err(Verdict::No) => Err(verdict),
        other => other,
    })
}

/// The same verdict of bytes that stand behind so many others.
fn behind(before: usize, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::More(wanted) => Verdict::More(before + wanted),
        other => other,
    }
}

fn either(result: Result<Verdict, Verdict>) -> Verdict {
    result.unwrap_or_else(|verdict| verdict)
}

/// `bytes[at..at + N]`, or `More` when they have not come yet.
fn take<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Verdict> {
    work::looked_at(N);
    bytes.get(at..at + N).and_then(|slice| slice.try_into().ok()).ok_or(Verdict::More(at + N))
}

/// PNG (W3C PNG, section 5.2): signature, then an `IHDR` chunk of 13 bytes with a size above zero.
fn png(head: &[u8]) -> Verdict {
    either((|| {
        signature(head, b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR")?;
        let width = u32::from_be_bytes(take(head, 16)?);
        let height = u32::from_be_bytes(take(head, 20)?);
        take::<9>(head, 24)?;
        Ok(if width == 0 || height == 0 { Verdict::No } else { Verdict::Picture(Format::Png) })
    })())
}

/// JPEG (ITU T.81, annex B): walks the segments after SOI up to a start-of-frame marker.
/// `at`: where the next one begins.
fn jpeg(head: &[u8], at: &mut usize) -> Verdict {
    either((|| {
        signature(head, b"\xff\xd8\xff")?;
        loop {
            let [0xff, marker] = take(head, *at)? else { return Ok(Verdict::No) };
            match marker {
                0xff => *at += 1, // fill byte
                0x01 | 0xd0..=0xd7 => *at += 2,
                0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                    take::<9>(head, *at + 2)?;
                    return Ok(Verdict::Picture(Format::Jpeg));
                }
                0xc4 | 0xcc | 0xda..=0xfe => {
                    let length = usize::from(u16::from_be_bytes(take(head, *at + 2)?));
                    if length < 2 || marker == 0xda {
                        return Ok(Verdict::No); // a scan before any frame
                    }
                    *at += 2 + length;
                }
                _ => return Ok(Verdict::No),
            }
        }
    })())
}

/// GIF87a / GIF89a: the 13 bytes up to the end of the logical screen descriptor.
fn gif(head: &[u8]) -> Verdict {
    either((|| {
        one_of(head, b"GIF87a", b"GIF89a")?;
        take::<7>(head, 6)?;
        Ok(Verdict::Picture(Format::Gif))
    })())
}

/// WebP: `RIFF` size `WEBP`, then one of the three image chunks with its size fields.
fn webp(head: &[u8]) -> Verdict {
    either((|| {
        signature(head, b"RIFF")?;
        signature(head.get(8..).ok_or(Verdict::More(8))?, b"WEBP").map_err(|verdict| behind(8, verdict))?;
        let chunk: [u8; 4] = take(head, 12)?;
        let header = match &chunk {
            b"VP8 " | b"VP8X" => 10,
            b"VP8L" => 5,
            _ => return Ok(Verdict::No),
        };
        head.get(20..20 + header).ok_or(Verdict::More(20 + header))?;
        Ok(Verdict::Picture(Format::Webp))
    })())
}

/// AVIF and HEIF (ISO 14496-12): a complete `ftyp` box whose brands name a still-image codec.
fn bmff(head: &[u8]) -> Verdict {
    const LONGEST_FTYP: usize = 512;
    either((|| {
        let kind = head.get(4..8.min(head.len())).ok_or(Verdict::More(4))?;
        signature(kind, b"ftyp").map_err(|verdict| behind(4, verdict))?;
        let length = u32::from_be_bytes(take(head, 0)?) as usize;
        if !(16..=LONGEST_FTYP).contains(&length) || !length.is_multiple_of(4) {
            return Ok(Verdict::No);
        }
        let brands = head.get(8..length).ok_or(Verdict::More(length))?;
        work::looked_at(2 * length);
        let named = |names: &[&[u8]]| brands.chunks_exact(4).any(|brand| names.contains(&brand));
        Ok(if named(&[b"avif", b"avis"]) {
            Verdict::Picture(Format::Avif)
        } else if named(&[b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"]) {
            Verdict::Picture(Format::Heic)
        } else {
            Verdict::No
        })
    })())
}

/// JPEG XL: the container's signature box, or a bare codestream.
fn jxl(head: &[u8]) -> Verdict {
    const CONTAINER: &[u8] = b"\0\0\0\x0cJXL \r\n\x87\n";
    either((|| {
        match signature(head, CONTAINER) {
            Ok(()) => return Ok(Verdict::Picture(Format::Jxl)),
            Err(Verdict::No) => {}
            Err(more) => return Ok(more),
        }
        signature(head, b"\xff\x0a")?;
        take::<2>(head, 2)?;
        Ok(Verdict::Picture(Format::Jxl))
    })())
}

/// TIFF 6.0: byte order, 42, and an offset to the first directory that lies behind the header.
fn tiff(head: &[u8]) -> Verdict {
    either((|| {
        one_of(head, b"II\x2a\0", b"MM\0\x2a")?;
        let offset: [u8; 4] = take(head, 4)?;
        let offset = if head.starts_with(b"II") { u32::from_le_bytes(offset) } else { u32::from_be_bytes(offset) };
        Ok(if offset >= 8 { Verdict::Picture(Format::Tiff) } else { Verdict::No })
    })())
}

/// ICO: a directory of 1 to 256 images, whose first entry points behind the directory.
fn ico(head: &[u8]) -> Verdict {
    either((|| {
        signature(head, b"\0\0\x01\0")?;
        let count = u32::from(u16::from_le_bytes(take(head, 4)?));
        let size = u32::from_le_bytes(take(head, 14)?);
        let offset = u32::from_le_bytes(take(head, 18)?);
        let plausible = (1..=256).contains(&count) && size > 0 && offset >= 6 + 16 * count;
        Ok(if plausible { Verdict::Picture(Format::Ico) } else { Verdict::No })
    })())
}

/// BMP: `BM` alone is too weak, so the reserved fields, the header's length and the size must fit too.
fn bmp(head: &[u8]) -> Verdict {
    either((|| {
        signature(head, b"BM")?;
        let reserved: [u8; 4] = take(head, 6)?;
        let offset = u32::from_le_bytes(take(head, 10)?);
        let header = u32::from_le_bytes(take(head, 14)?);
        let known_header = matches!(header, 12 | 16 | 40 | 52 | 56 | 64 | 108 | 124);
        if reserved != [0; 4] || !known_header || offset < 14 + header {
            return Ok(Verdict::No);
        }
        take::<8>(head, 18)?;
        Ok(Verdict::Picture(Format::Bmp))
    })())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURES: [(&str, Format); 10] = [
        ("px1.png", Format::Png),
        ("px2.png", Format::Png),
        ("px2.jpg", Format::Jpeg),
        ("px2.webp", Format::Webp),
        ("px2.gif", Format::Gif),
        ("px2.avif", Format::Avif),
        ("px2.bmp", Format::Bmp),
        ("px2.tiff", Format::Tiff),
        ("px2.ico", Format::Ico),
        ("noise16.png", Format::Png),
    ];

    fn fixture(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/fixtures/wire/img/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    #[test]
    fn tells_every_format_by_its_bytes() {
        for (name, format) in PICTURES {
            assert_eq!(sniff(&fixture(name)), Sniff::Picture(format), "{name}");
        }
    }

    #[test]
    fn asks_for_more_until_the_size_header_is_there_and_never_changes_its_mind() {
        for (name, format) in PICTURES {
            let bytes = fixture(name);
            let mut decided = false;
            for end in 0..=bytes.len() {
                match sniff(&bytes[..end]) {
                    Sniff::Picture(told) => {
                        assert_eq!(told, format, "{name} at {end}");
                        decided = true;
                    }
                    Sniff::More => assert!(!decided, "{name} at {end}"),
                    Sniff::No => panic!("{name} refused at {end}"),
                }
            }
        }
    }

    /// The start of a JPEG that says no size: marks with fill bytes before them, and segments of this length.
    fn endless_jpeg(fill: usize, segment: u16, len: usize) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8];
        while bytes.len() < len {
            bytes.extend(std::iter::repeat_n(0xff, fill));
            bytes.extend([0xff, 0xe0]);
            bytes.extend(segment.to_be_bytes());
            bytes.extend(std::iter::repeat_n(0, usize::from(segment) - 2));
        }
        bytes
    }

    #[test]
    fn a_sniffer_says_of_pieces_what_is_said_of_all_of_them() {
        let mut inputs: Vec<Vec<u8>> = PICTURES.iter().map(|(name, _)| fixture(name)).collect();
        inputs.extend([(9, 2), (0, 2), (1, 600), (700, 2)].map(|(fill, segment)| endless_jpeg(fill, segment, 1500)));
        inputs.extend(
            [&b"BMW is a car maker"[..], b"\0\0\x01\0\x01\0", b"RIFF....WEB?", b"\0\0\0\x18ftypheix", b"x"]
                .map(Vec::from),
        );
        for whole in inputs {
            for piece in [1, 2, 7, 64] {
                let mut sniffer = Sniffer::default();
                for end in (0..=whole.len()).step_by(piece) {
                    let head = &whole[..end];
                    assert_eq!(sniffer.look(head), sniff(head), "{end} bytes of {:?} …", &whole[..8.min(whole.len())]);
                }
            }
        }
    }

    #[test]
    fn a_sniffer_looks_at_each_byte_a_few_times() {
        for (fill, segment) in [(usize::MAX, 2), (0, 2), (3, 2), (1, 600), (700, 2)] {
            let head = endless_jpeg(fill.min(70_000), segment, 70_000);
            let ((), work) = work::counted(|| {
                let mut sniffer = Sniffer::default();
                for end in 0..head.len() {
                    assert_eq!(sniffer.look(&head[..end]), Sniff::More);
                }
            });
            assert!(work > 0 && work < 12 * head.len() as u64 + 1000, "{work} for {}", head.len());
        }
    }

    #[test]
    fn signatures_without_a_picture_are_not_pictures() {
        for text in [
            &b"<svg xmlns='http://www.w3.org/2000/svg'/>"[..],
            b"<!doctype html><script>alert(1)</script>",
            b"%PDF-1.7 something",
            b"PK\x03\x04zip",
            b"BMW is a car maker, and this is no bitmap at all",
            b"\x89PNG\r\n\x1a\n..................................",
            b"plain text",
        ] {
            assert_eq!(sniff(text), Sniff::No, "{}", String::from_utf8_lossy(text));
        }
        assert_eq!(sniff(&fixture("px2.svg")), Sniff::No);
    }
}

//! Bytes → format.
//!
//! A signature alone is no picture: documentation is full of `data:image/png;base64,iVBORw0KGgo...`. So [`sniff`] asks
//! for the header that carries the size (PNG: the whole `IHDR` chunk; JPEG: a start-of-frame marker; GIF: the screen
//! descriptor; WebP: a `VP8 `/`VP8L`/`VP8X` chunk; AVIF, HEIC: a complete `ftyp` box …) before it says yes.

use super::Format;

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
    const DETECTORS: [fn(&[u8]) -> Sniff; 9] = [png, jpeg, gif, webp, bmff, jxl, tiff, ico, bmp];
    let mut verdict = Sniff::No;
    for detect in DETECTORS {
        match detect(head) {
            Sniff::No => {}
            Sniff::More => verdict = Sniff::More,
            picture => return picture,
        }
    }
    verdict
}

/// Compares the start of `head` with `signature`: `No` at the first difference, `More` when `head` is too short,
/// `Ok` when it is all there.
fn signature(head: &[u8], signature: &[u8]) -> Result<(), Sniff> {
    if head.starts_with(signature) {
        Ok(())
    } else if signature.starts_with(head) {
        Err(Sniff::More)
    } else {
        Err(Sniff::No)
    }
}

/// The first of two signatures that fits, or may still.
fn one_of(head: &[u8], first: &[u8], second: &[u8]) -> Result<(), Sniff> {
    signature(head, first).or_else(|verdict| match signature(head, second) {
        Err(Sniff::No) => Err(verdict),
        other => other,
    })
}

fn either(result: Result<Sniff, Sniff>) -> Sniff {
    result.unwrap_or_else(|verdict| verdict)
}

/// `bytes[at..at + N]`, or `More` when they have not come yet.
fn take<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Sniff> {
    bytes.get(at..at + N).and_then(|slice| slice.try_into().ok()).ok_or(Sniff::More)
}

/// PNG (W3C PNG, section 5.2): signature, then an `IHDR` chunk of 13 bytes with a size above zero.
fn png(head: &[u8]) -> Sniff {
    either((|| {
        signature(head, b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR")?;
        let width = u32::from_be_bytes(take(head, 16)?);
        let height = u32::from_be_bytes(take(head, 20)?);
        take::<9>(head, 24)?;
        Ok(if width == 0 || height == 0 { Sniff::No } else { Sniff::Picture(Format::Png) })
    })())
}

/// JPEG (ITU T.81, annex B): walks the segments after SOI up to a start-of-frame marker.
fn jpeg(head: &[u8]) -> Sniff {
    either((|| {
        signature(head, b"\xff\xd8\xff")?;
        let mut at = 2;
        loop {
            let [0xff, marker] = take(head, at)? else { return Ok(Sniff::No) };
            match marker {
                0xff => at += 1, // fill byte
                0x01 | 0xd0..=0xd7 => at += 2,
                0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                    take::<9>(head, at + 2)?;
                    return Ok(Sniff::Picture(Format::Jpeg));
                }
                0xc4 | 0xcc | 0xda..=0xfe => {
                    let length = usize::from(u16::from_be_bytes(take(head, at + 2)?));
                    if length < 2 || marker == 0xda {
                        return Ok(Sniff::No); // a scan before any frame
                    }
                    at += 2 + length;
                }
                _ => return Ok(Sniff::No),
            }
        }
    })())
}

/// GIF87a / GIF89a: the 13 bytes up to the end of the logical screen descriptor.
fn gif(head: &[u8]) -> Sniff {
    either((|| {
        one_of(head, b"GIF87a", b"GIF89a")?;
        take::<7>(head, 6)?;
        Ok(Sniff::Picture(Format::Gif))
    })())
}

/// WebP: `RIFF` size `WEBP`, then one of the three image chunks with its size fields.
fn webp(head: &[u8]) -> Sniff {
    either((|| {
        signature(head, b"RIFF")?;
        signature(head.get(8..).ok_or(Sniff::More)?, b"WEBP")?;
        let chunk: [u8; 4] = take(head, 12)?;
        let header = match &chunk {
            b"VP8 " | b"VP8X" => 10,
            b"VP8L" => 5,
            _ => return Ok(Sniff::No),
        };
        head.get(20..20 + header).ok_or(Sniff::More)?;
        Ok(Sniff::Picture(Format::Webp))
    })())
}

/// AVIF and HEIF (ISO 14496-12): a complete `ftyp` box whose brands name a still-image codec.
fn bmff(head: &[u8]) -> Sniff {
    const LONGEST_FTYP: usize = 512;
    either((|| {
        if let Some(kind) = head.get(4..8.min(head.len())) {
            signature(kind, b"ftyp")?;
        } else {
            return Ok(Sniff::More);
        }
        let length = u32::from_be_bytes(take(head, 0)?) as usize;
        if !(16..=LONGEST_FTYP).contains(&length) || !length.is_multiple_of(4) {
            return Ok(Sniff::No);
        }
        let brands = head.get(8..length).ok_or(Sniff::More)?;
        let named = |names: &[&[u8]]| brands.chunks_exact(4).any(|brand| names.contains(&brand));
        Ok(if named(&[b"avif", b"avis"]) {
            Sniff::Picture(Format::Avif)
        } else if named(&[b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"]) {
            Sniff::Picture(Format::Heic)
        } else {
            Sniff::No
        })
    })())
}

/// JPEG XL: the container's signature box, or a bare codestream.
fn jxl(head: &[u8]) -> Sniff {
    const CONTAINER: &[u8] = b"\0\0\0\x0cJXL \r\n\x87\n";
    either((|| {
        match signature(head, CONTAINER) {
            Ok(()) => return Ok(Sniff::Picture(Format::Jxl)),
            Err(Sniff::More) => return Ok(Sniff::More),
            Err(_) => {}
        }
        signature(head, b"\xff\x0a")?;
        take::<2>(head, 2)?;
        Ok(Sniff::Picture(Format::Jxl))
    })())
}

/// TIFF 6.0: byte order, 42, and an offset to the first directory that lies behind the header.
fn tiff(head: &[u8]) -> Sniff {
    either((|| {
        one_of(head, b"II\x2a\0", b"MM\0\x2a")?;
        let offset: [u8; 4] = take(head, 4)?;
        let offset = if head.starts_with(b"II") { u32::from_le_bytes(offset) } else { u32::from_be_bytes(offset) };
        Ok(if offset >= 8 { Sniff::Picture(Format::Tiff) } else { Sniff::No })
    })())
}

/// ICO: a directory of 1 to 256 images, whose first entry points behind the directory.
fn ico(head: &[u8]) -> Sniff {
    either((|| {
        signature(head, b"\0\0\x01\0")?;
        let count = u32::from(u16::from_le_bytes(take(head, 4)?));
        let size = u32::from_le_bytes(take(head, 14)?);
        let offset = u32::from_le_bytes(take(head, 18)?);
        let plausible = (1..=256).contains(&count) && size > 0 && offset >= 6 + 16 * count;
        Ok(if plausible { Sniff::Picture(Format::Ico) } else { Sniff::No })
    })())
}

/// BMP: `BM` alone is too weak, so the reserved fields, the header's length and the size must fit too.
fn bmp(head: &[u8]) -> Sniff {
    either((|| {
        signature(head, b"BM")?;
        let reserved: [u8; 4] = take(head, 6)?;
        let offset = u32::from_le_bytes(take(head, 10)?);
        let header = u32::from_le_bytes(take(head, 14)?);
        let known_header = matches!(header, 12 | 16 | 40 | 52 | 56 | 64 | 108 | 124);
        if reserved != [0; 4] || !known_header || offset < 14 + header {
            return Ok(Sniff::No);
        }
        take::<8>(head, 18)?;
        Ok(Sniff::Picture(Format::Bmp))
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

//! Makes a picture's file larger without touching its pixels, at places its format allows for unknown data.

use super::Dice;
use crate::picture::Format;

/// The end of every PNG file: an empty `IEND` chunk.
pub(super) const PNG_END: usize = 12;

/// Most data a JPEG comment segment can carry.
const SEGMENT: usize = 65_533;

/// The file, grown to about `target` bytes with data that does not compress. A file that is larger already stays.
pub(super) fn pad(format: Format, file: Vec<u8>, target: usize, seed: u64) -> Vec<u8> {
    let Some(missing) = target.checked_sub(file.len()).filter(|missing| *missing > 64) else { return file };
    match format {
        Format::Jpeg => jpeg(file, missing, seed),
        Format::Webp => webp(file, missing, seed),
        _ => png(file, missing, seed),
    }
}

/// Data that does not compress; the same for the same seed.
pub(in crate::demo) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&dice.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// One PNG chunk: length, name, data, checksum.
pub(super) fn png_chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(data.len() + 12);
    chunk.extend_from_slice(&(data.len() as u32).to_be_bytes());
    chunk.extend_from_slice(name);
    chunk.extend_from_slice(data);
    let sum = crc32(chunk.get(4..).unwrap_or_default());
    chunk.extend_from_slice(&sum.to_be_bytes());
    chunk
}

/// A private, ancillary, safe-to-copy chunk before `IEND`.
fn png(mut file: Vec<u8>, missing: usize, seed: u64) -> Vec<u8> {
    let chunk = png_chunk(b"paDd", &noise(missing - 12, seed));
    let end = file.len().saturating_sub(PNG_END);
    file.splice(end..end, chunk);
    file
}

/// Comment segments between the frame and the scan header, so the size stands in the file's first bytes.
fn jpeg(mut file: Vec<u8>, missing: usize, seed: u64) -> Vec<u8> {
    let Some(scan) = memchr::memmem::find(&file, &[0xff, 0xda]) else { return file };
    let data = noise(missing, seed);
    let mut segments = Vec::with_capacity(missing + missing / SEGMENT * 4 + 8);
    for piece in data.chunks(SEGMENT) {
        segments.extend_from_slice(&[0xff, 0xfe]);
        segments.extend_from_slice(&(piece.len() as u16 + 2).to_be_bytes());
        segments.extend_from_slice(piece);
    }
    file.splice(scan..scan, segments);
    file
}

/// An unknown chunk at the end of an extended (`VP8X`) file.
fn webp(file: Vec<u8>, missing: usize, seed: u64) -> Vec<u8> {
    let Some((header, chunks)) = file.split_at_checked(12) else { return file };
    // VP8L: 14 bits each of width - 1 and height - 1 after the chunk header and one signature byte.
    let Some(bits) = chunks.get(9..13).and_then(|bits| bits.try_into().ok()).map(u32::from_le_bytes) else {
        return file;
    };
    let (width, height) = (bits & 0x3fff, bits >> 14 & 0x3fff);
    let mut extended = Vec::with_capacity(file.len() + missing + 32);
    extended.extend_from_slice(header);
    extended.extend_from_slice(b"VP8X\x0a\0\0\0\0\0\0\0");
    extended.extend(width.to_le_bytes().into_iter().take(3));
    extended.extend(height.to_le_bytes().into_iter().take(3));
    extended.extend_from_slice(chunks);
    let length = missing.saturating_sub(26) & !1;
    extended.extend_from_slice(b"paDd");
    extended.extend_from_slice(&(length as u32).to_le_bytes());
    extended.extend(noise(length, seed));
    let riff = (extended.len() as u32 - 8).to_le_bytes();
    if let Some(field) = extended.get_mut(4..8) {
        field.copy_from_slice(&riff);
    }
    extended
}

/// CRC-32 as PNG wants it (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    #[expect(clippy::indexing_slicing, reason = "the compiler computes and checks it")]
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            let mut value = n as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
                bit += 1;
            }
            table[n] = value;
            n += 1;
        }
        table
    };
    !bytes.iter().fold(!0u32, |sum, byte| {
        let entry = TABLE.get(usize::from(sum as u8 ^ byte)).copied().unwrap_or_default();
        entry ^ (sum >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_png_uses() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(png_chunk(b"IEND", b""), b"\0\0\0\0IEND\xae\x42\x60\x82");
    }
}

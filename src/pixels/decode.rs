//! Opening a picture: its header, judged before its pixels.

use std::{
    io::{self, BufReader, Read, Seek, SeekFrom},
    time::Instant,
};

use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, metadata::Orientation};

use super::{HEAVY, MAX_BYTES, MAX_DECODED, MAX_PIXELS, MAX_SIDE, PixelError, Source, heavy::Heavy};
use crate::picture::{Format, Sniff, sniff};

/// Bytes from the start that are looked at to tell a picture. A JPEG's metadata may lie before its size header.
const HEAD: usize = 256 * 1024;

/// A picture whose header has been read and found bearable.
pub(super) struct Opened<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    pub(super) format: Format,
    pub(super) orientation: Orientation,
    /// As stored, before the orientation is applied.
    pub(super) width: u32,
    pub(super) height: u32,
}

/// The pixels of a picture as they are stored, and what is needed to make a good copy.
pub(super) struct Decoded {
    pub(super) pixels: DynamicImage,
    pub(super) orientation: Orientation,
    /// A profile that describes these very pixels.
    pub(super) profile: Option<Vec<u8>>,
    /// Held as long as the pixels are.
    _heavy: Option<Heavy>,
}

/// Reads the header.
pub(super) fn open(source: &Source, deadline: Instant) -> Result<Opened<'_>, PixelError> {
    if source.len() > MAX_BYTES {
        return Err(PixelError::TooLarge);
    }
    let (format, decoder) = {
        let mut head = Vec::new();
        source.reader(deadline).take(HEAD as u64).read_to_end(&mut head).map_err(PixelError::Io)?;
        match sniff(&head) {
            Sniff::Picture(Format::Png) => (Format::Png, ImageFormat::Png),
            Sniff::Picture(Format::Jpeg) => (Format::Jpeg, ImageFormat::Jpeg),
            Sniff::Picture(Format::Webp) => (Format::Webp, ImageFormat::WebP),
            Sniff::Picture(Format::Gif) => (Format::Gif, ImageFormat::Gif),
            Sniff::Picture(_) | Sniff::No => return Err(PixelError::Unsupported),
            Sniff::More => return Err(PixelError::Broken),
        }
    };
    if format == Format::Webp {
        check_webp(&mut BufReader::new(source.reader(deadline)), source.len())?;
    }
    let mut reader = ImageReader::with_format(BufReader::new(source.reader(deadline)), decoder);
    reader.limits(limits());
    let mut decoder: Box<dyn ImageDecoder + '_> = Box::new(reader.into_decoder()?);
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS || decoder.total_bytes() > MAX_DECODED {
        return Err(PixelError::TooLarge);
    }
    if width == 0 || height == 0 {
        return Err(PixelError::Broken);
    }
    // A picture whose metadata cannot be read is still a picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok(Opened { decoder, format, orientation, width, height })
}

impl Opened<'_> {
    /// Decodes it.
    pub(super) fn decode(mut self, deadline: Instant) -> Result<Decoded, PixelError> {
        let heavy = match u64::from(self.width) * u64::from(self.height) > HEAVY {
            true => Some(Heavy::enter(deadline).ok_or(PixelError::Timeout)?),
            false => None,
        };
        let color = self.decoder.color_type();
        let profile = self.decoder.icc_profile().ok().flatten().filter(|profile| describes(profile, color));
        let pixels = DynamicImage::from_decoder(self.decoder)?;
        Ok(Decoded { pixels, orientation: self.orientation, profile, _heavy: heavy })
    }
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED);
    limits
}

/// Whether a colour profile (ICC.1, section 7.2.6: the colour space stands at byte 16) is one for these samples. A JPEG
/// in CMYK is decoded to RGB, and its profile means nothing any more.
fn describes(profile: &[u8], color: ColorType) -> bool {
    profile.get(16..20) == Some(if color.has_color() { b"RGB " } else { b"GRAY" })
}

/// Refuses a WebP file with a chunk that reaches behind its end: the decoder would make room for what the chunk claims.
fn check_webp(reader: &mut (impl Read + Seek), len: u64) -> Result<(), PixelError> {
    let mut at = 12;
    while at + 8 <= len {
        let mut header = [0; 8];
        reader.seek(SeekFrom::Start(at)).and_then(|_| reader.read_exact(&mut header)).map_err(unless_short)?;
        let [.., a, b, c, d] = header;
        let size = u64::from(u32::from_le_bytes([a, b, c, d]));
        if at + 8 + size > len {
            return Err(PixelError::Broken);
        }
        at += 8 + size + (size & 1);
    }
    Ok(())
}

fn unless_short(error: io::Error) -> PixelError {
    if error.kind() == io::ErrorKind::UnexpectedEof { PixelError::Broken } else { PixelError::Io(error) }
}

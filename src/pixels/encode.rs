//! Pixels → a file.

use std::io::Write;

use image::{
    DynamicImage, GrayImage, ImageEncoder, ImageResult, RgbImage,
    codecs::{avif::AvifEncoder, jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder},
};

use super::PixelError;
use crate::picture::Format;

/// The format to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encode {
    /// `quality` from 1 to 100. What is transparent becomes white.
    Jpeg {
        quality: u8,
    },
    Png,
    /// Without loss: there is no mature encoder with loss in plain Rust. A photo is larger than as JPEG.
    Webp,
    /// `quality` from 1 to 100. About half of a JPEG, for twenty times the work, which cannot be interrupted: at most
    /// [`Encode::AVIF_PIXELS`]. It has no colour profile.
    Avif {
        quality: u8,
    },
}

impl Encode {
    /// Pixels of an AVIF. More of them take longer than a job may.
    pub const AVIF_PIXELS: u64 = 1 << 20;
    /// The fastest there is. The next one takes twice the time for a tenth fewer bytes.
    const AVIF_SPEED: u8 = 10;

    /// The format that comes out.
    pub fn format(self) -> Format {
        match self {
            Encode::Jpeg { .. } => Format::Jpeg,
            Encode::Png => Format::Png,
            Encode::Webp => Format::Webp,
            Encode::Avif { .. } => Format::Avif,
        }
    }

    /// The quality, where there is one.
    pub fn quality(self) -> Option<u8> {
        match self {
            Encode::Jpeg { quality } | Encode::Avif { quality } => Some(quality),
            Encode::Png | Encode::Webp => None,
        }
    }

    /// Whether a picture of this size can be written.
    pub(super) fn check(self, width: u32, height: u32) -> Result<(), PixelError> {
        let is_avif = matches!(self, Encode::Avif { .. });
        if is_avif && u64::from(width) * u64::from(height) > Self::AVIF_PIXELS {
            return Err(PixelError::TooLargeForAvif);
        }
        Ok(())
    }

    /// The way to write this format; `None` for one that cannot be written.
    pub fn to(format: Format, quality: u8) -> Option<Self> {
        match format {
            Format::Jpeg => Some(Encode::Jpeg { quality }),
            Format::Png => Some(Encode::Png),
            Format::Webp => Some(Encode::Webp),
            Format::Avif => Some(Encode::Avif { quality }),
            _ => None,
        }
    }

    pub(super) fn write(
        self,
        pixels: DynamicImage,
        profile: Option<Vec<u8>>,
        out: impl Write,
    ) -> Result<(), PixelError> {
        match self {
            Encode::Avif { quality } => {
                let quality = quality.clamp(1, 100);
                let encoder =
                    AvifEncoder::new_with_speed_quality(out, Self::AVIF_SPEED, quality).with_num_threads(Some(1));
                write_with(encoder, &in_8_bits(pixels), profile)
            }
            Encode::Jpeg { quality } => {
                let encoder = JpegEncoder::new_with_quality(out, quality.clamp(1, 100));
                write_with(encoder, &on_white(pixels), profile)
            }
            Encode::Png => write_with(PngEncoder::new(out), &in_8_bits(pixels), profile),
            Encode::Webp => write_with(WebPEncoder::new_lossless(out), &in_8_bits(pixels), profile),
        }
        .map_err(PixelError::from)
    }
}

fn write_with(mut encoder: impl ImageEncoder, pixels: &DynamicImage, profile: Option<Vec<u8>>) -> ImageResult<()> {
    if let Some(profile) = profile {
        // An encoder that cannot hold one leaves it out.
        let _ = encoder.set_icc_profile(profile);
    }
    encoder.write_image(pixels.as_bytes(), pixels.width(), pixels.height(), pixels.color().into())
}

/// Samples of 8 bits, and no alpha where everything is opaque.
fn in_8_bits(pixels: DynamicImage) -> DynamicImage {
    let color = pixels.color();
    match (color.has_color(), color.has_alpha() && !is_opaque(&pixels)) {
        (true, true) => pixels.into_rgba8().into(),
        (true, false) => pixels.into_rgb8().into(),
        (false, true) => pixels.into_luma_alpha8().into(),
        (false, false) => pixels.into_luma8().into(),
    }
}

/// Without alpha, as it looks on white paper.
fn on_white(pixels: DynamicImage) -> DynamicImage {
    let over = |sample: u8, alpha: u8| {
        let (sample, alpha) = (u32::from(sample), u32::from(alpha));
        u8::try_from((sample * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
    };
    match in_8_bits(pixels) {
        DynamicImage::ImageRgba8(pixels) => {
            let mut flat = RgbImage::new(pixels.width(), pixels.height());
            for (to, from) in flat.pixels_mut().zip(pixels.pixels()) {
                let [r, g, b, alpha] = from.0;
                to.0 = [over(r, alpha), over(g, alpha), over(b, alpha)];
            }
            flat.into()
        }
        DynamicImage::ImageLumaA8(pixels) => {
            let mut flat = GrayImage::new(pixels.width(), pixels.height());
            for (to, from) in flat.pixels_mut().zip(pixels.pixels()) {
                let [luma, alpha] = from.0;
                to.0 = [over(luma, alpha)];
            }
            flat.into()
        }
        opaque => opaque,
    }
}

/// Whether no pixel lets anything through.
pub(super) fn is_opaque(pixels: &DynamicImage) -> bool {
    match pixels {
        DynamicImage::ImageRgba8(pixels) => pixels.pixels().all(|pixel| pixel.0[3] == u8::MAX),
        DynamicImage::ImageLumaA8(pixels) => pixels.pixels().all(|pixel| pixel.0[1] == u8::MAX),
        DynamicImage::ImageRgba16(pixels) => pixels.pixels().all(|pixel| pixel.0[3] == u16::MAX),
        DynamicImage::ImageLumaA16(pixels) => pixels.pixels().all(|pixel| pixel.0[1] == u16::MAX),
        other => !other.color().has_alpha(),
    }
}

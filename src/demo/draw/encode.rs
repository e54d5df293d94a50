//! Pixels → file.

use std::io::Cursor;

use image::{
    DynamicImage, ExtendedColorType, ImageEncoder,
    codecs::{
        jpeg::JpegEncoder,
        png::{CompressionType, FilterType, PngEncoder},
        webp::WebPEncoder,
    },
};

use super::canvas::Canvas;
use crate::picture::Format;

/// The canvas as a file of this format; formats that cannot be written here come out as PNG.
pub(super) fn encode(canvas: Canvas, format: Format) -> Vec<u8> {
    let picture = canvas.into_image();
    let mut file = Cursor::new(Vec::with_capacity(256 * 1024));
    let result = match format {
        Format::Jpeg => write(JpegEncoder::new_with_quality(&mut file, 85), &picture),
        Format::Webp => write(WebPEncoder::new_lossless(&mut file), &picture),
        _ => write(PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::Up), &picture),
    };
    if let Err(error) = result {
        log::warn!("demo: a picture could not be encoded: {error}");
    }
    file.into_inner()
}

fn write(encoder: impl ImageEncoder, picture: &DynamicImage) -> image::ImageResult<()> {
    encoder.write_image(picture.as_bytes(), picture.width(), picture.height(), ExtendedColorType::Rgb8)
}

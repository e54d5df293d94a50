//! Pictures with more pixels than `images.max_input_pixels` are made smaller before they are sent.
//!
//! A JPEG stays a JPEG, and what lets something shine through stays lossless. A picture that cannot be scaled (of a kind
//! that is not decoded here, or no thread was free) is sent as it is: too large is better than not at all.

use super::picture::Found;
use crate::{
    core::Core,
    error::Result,
    picture::Format,
    pixels::{Encode, Fit, PixelError, Source},
    store::{Body, Spooler},
    upstream,
};

/// JPEG quality; below it text in screenshots suffers.
const QUALITY: u8 = 90;

impl Found {
    /// With at most so many pixels.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) async fn scaled(self, core: &Core, spooler: &Spooler, most: u64) -> Result<Self> {
        match smaller(core, &self, most).await {
            Ok(Some((bytes, format))) => {
                let mut spool = spooler.spool(None);
                spool.write(&bytes).await?;
                let source = upstream::Source::Spool(spool.freeze().await?);
                Ok(Self { source, format, parent: self.parent })
            }
            Ok(None) => Ok(self),
            Err(error) => {
                log::warn!("a picture is sent unscaled: {error}");
                Ok(self)
            }
        }
    }
}

/// `None`: it is small enough.
async fn smaller(core: &Core, found: &Found, most: u64) -> Result<Option<(Vec<u8>, Format)>, PixelError> {
    let Some(source) = source(core, found).await else { return Err(PixelError::Failed) };
    let header = core.pixels.header(source.clone()).await?;
    if u64::from(header.width) * u64::from(header.height) <= most {
        return Ok(None);
    }
    let encode = match header.format {
        Format::Jpeg => Encode::Jpeg { quality: QUALITY },
        // Only lossless WebP can be written here, which is large for a photo.
        Format::Webp if !has_alpha(found).await => Encode::Jpeg { quality: QUALITY },
        Format::Webp => Encode::Webp,
        _ => Encode::Png,
    };
    let made = core.pixels.resize(source, Fit::Pixels(most), encode).await?;
    Ok(Some((made.out, made.format)))
}

/// Its bytes as the pool takes them.
async fn source(core: &Core, found: &Found) -> Option<Source> {
    let body = match (found.source.body(), &found.parent) {
        // It came from the archive just now, and is here.
        (Body::Growing(_), Some(id)) => core.store.get(id).await.ok()??.body,
        (body, _) => body,
    };
    match body {
        Body::Memory(bytes) => Some(Source::Bytes(bytes)),
        Body::File(file) => Some(Source::File { file, len: found.source.len() }),
        Body::Growing(_) => None,
    }
}

/// Whether a WebP says that it has alpha (RFC 9649, sections 2.5 to 2.7 and 3.4).
async fn has_alpha(webp: &Found) -> bool {
    let head = webp.source.read(0..25).await.unwrap_or_default();
    match (head.get(12..16), head.get(20), head.get(24)) {
        (Some(b"VP8X"), Some(flags), _) => flags & 0x10 != 0,
        (Some(b"VP8L"), _, Some(sides)) => sides & 0x10 != 0,
        _ => false,
    }
}

//! The raster formats picgate keeps.

use std::fmt;

/// A raster image format, told by content.
///
/// SVG, HTML, PDF and the like are absent on purpose: they are never stored as pictures, because a browser would
/// run them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    Png,
    Jpeg,
    Webp,
    Gif,
    Avif,
    Heic,
    Bmp,
    Tiff,
    Ico,
    Jxl,
}

impl Format {
    /// Every format, in the order of the enum.
    pub const ALL: [Format; 10] = [
        Format::Png,
        Format::Jpeg,
        Format::Webp,
        Format::Gif,
        Format::Avif,
        Format::Heic,
        Format::Bmp,
        Format::Tiff,
        Format::Ico,
        Format::Jxl,
    ];

    /// The media type to serve it as, without parameters (`image/png`).
    pub const fn media_type(self) -> &'static str {
        match self {
            Format::Png => "image/png",
            Format::Jpeg => "image/jpeg",
            Format::Webp => "image/webp",
            Format::Gif => "image/gif",
            Format::Avif => "image/avif",
            Format::Heic => "image/heic",
            Format::Bmp => "image/bmp",
            Format::Tiff => "image/tiff",
            Format::Ico => "image/x-icon",
            Format::Jxl => "image/jxl",
        }
    }

    /// The file extension without a dot, as used on disk, in URLs and in the bucket.
    pub const fn extension(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Jpeg => "jpg",
            Format::Webp => "webp",
            Format::Gif => "gif",
            Format::Avif => "avif",
            Format::Heic => "heic",
            Format::Bmp => "bmp",
            Format::Tiff => "tiff",
            Format::Ico => "ico",
            Format::Jxl => "jxl",
        }
    }

    /// The format whose [`extension`](Self::extension) this is.
    pub fn from_extension(extension: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|f| f.extension() == extension)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.media_type())
    }
}

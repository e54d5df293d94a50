//! What can go wrong with pixels.

use std::io;

use image::{ImageError, error::LimitErrorKind};

/// Why a picture was not worked on. Its text holds nothing of the picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PixelError {
    /// Every thread has work, and enough waits.
    #[error("too many pictures are being worked on")]
    Busy,
    /// It took longer than [`Pool::TIME`](super::Pool::TIME).
    #[error("the picture took too long")]
    Timeout,
    /// Its bytes, its sides or its pixels are over a bound.
    #[error("the picture is too large to be decoded")]
    TooLarge,
    /// As AVIF it would be over [`Encode::AVIF_PIXELS`](super::Encode::AVIF_PIXELS).
    #[error("the picture is too large to be written as AVIF")]
    TooLargeForAvif,
    /// No format, or no variety of one, that can be decoded here.
    #[error("pictures of this kind cannot be decoded")]
    Unsupported,
    /// It breaks off, or contradicts itself.
    #[error("the picture is damaged")]
    Broken,
    /// A decoder panicked, or something else that must not happen.
    #[error("the picture could not be worked on")]
    Failed,
    /// The source could not be read, or the result not be written.
    #[error("reading or writing a picture: {0}")]
    Io(#[source] io::Error),
}

impl PixelError {
    /// The word for it in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            PixelError::Busy => "busy",
            PixelError::Timeout => "timeout",
            PixelError::TooLarge | PixelError::TooLargeForAvif => "too_large",
            PixelError::Unsupported => "unsupported",
            PixelError::Broken => "broken",
            PixelError::Failed | PixelError::Io(_) => "failed",
        }
    }
}

impl From<ImageError> for PixelError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Limits(limit) => match limit.kind() {
                LimitErrorKind::Unsupported { .. } => PixelError::Failed,
                _ => PixelError::TooLarge,
            },
            ImageError::Unsupported(_) => PixelError::Unsupported,
            ImageError::Decoding(_) => PixelError::Broken,
            ImageError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => PixelError::Broken,
            ImageError::IoError(error) => PixelError::Io(error),
            ImageError::Encoding(_) | ImageError::Parameter(_) => PixelError::Failed,
        }
    }
}

//! The one place where pictures are decoded, made smaller and encoded again.
//!
//! Bytes of strangers meet decoders here, so all of it is bounded:
//!
//! | | bound |
//! |---|---|
//! | jobs at a time | the [`Pool`]'s threads |
//! | jobs waiting | [`Pool::WAITING`] per thread, each for [`Pool::PATIENCE`]; further ones are [`Busy`](PixelError::Busy) at once |
//! | source | [`MAX_BYTES`] of file, [`MAX_SIDE`] a side, [`MAX_PIXELS`], told by its header before anything is decoded |
//! | decoded pixels | [`MAX_DECODED`] bytes; above [`HEAVY`] pixels one picture at a time in the whole process |
//! | time | [`Pool::TIME`] a job |
//! | panics of a decoder | caught: [`Failed`](PixelError::Failed) |
//!
//! **Memory.** A job may hold the decoded picture about three times over (an animated WebP: canvas, frame and ours; a
//! progressive JPEG: its coefficients), so count on 12 bytes per pixel: 200 MB a thread for pictures up to [`HEAVY`],
//! and 600 MB once for the one that may be larger. Usual pictures (1 to 4 megapixels) take 12 to 50 MB.
//!
//! **Time.** Decoding cannot be interrupted from outside. The caller has its answer after [`Pool::TIME`]; the thread goes
//! on until the decoder next reads from its source, or is done, and finds the time over. A JPEG is read whole before it
//! is decoded, so it runs to its end; its size bounds that (and 100 scans of a progressive one). Such a thread is not
//! replaced: it counts as busy, so the machine is never given more work than it has threads.
//!
//! Decoders are those of the `image` crate in plain Rust: PNG, JPEG, WebP and GIF. Of an animation the first frame is
//! taken. AVIF can be written, not read: it, HEIC, JPEG XL, TIFF, BMP and ICO are
//! [`Unsupported`](PixelError::Unsupported).
//!
//! What is encoded stands upright (the EXIF orientation is applied) and, but for AVIF, keeps the colour profile as far as it
//! still fits;
//! all other metadata is dropped. Samples of 16 bits become 8.

mod decode;
mod encode;
mod error;
mod fit;
mod heavy;
mod pool;
mod source;
mod work;

#[cfg(test)]
mod tests;

pub use encode::Encode;
pub use error::PixelError;
pub use fit::Fit;
pub use pool::Pool;
pub use source::Source;
pub use work::{Header, Made};

/// Most pixels of a picture that is decoded.
pub const MAX_PIXELS: u64 = 50_000_000;
/// Longest side of a picture that is decoded.
pub const MAX_SIDE: u32 = 16_384;
/// Largest file that is decoded. A JPEG's is held in memory meanwhile.
pub const MAX_BYTES: u64 = 64 << 20;
/// Most bytes of a decoded picture: [`MAX_PIXELS`] with four samples of 8 bits, fewer with samples of 16.
pub const MAX_DECODED: u64 = 256 << 20;
/// Pictures with more pixels are decoded one at a time.
pub const HEAVY: u64 = 16_000_000;

//! What a picture *is*, for every other module: its format, its name, and how to tell one by its bytes.
//!
//! * [`Format`]: PNG, JPEG, WebP, … with media type and file extension.
//! * [`sniff()`]: bytes → format. Labels (`Content-Type`, `output_format`, a data URI's type) are never trusted.
//!   [`Sniffer`] does the same for bytes that come in pieces.
//! * [`Ending`]: whether the bytes so far are all of it.
//! * [`PictureId`]: the content hash that names a picture on disk, in URLs and in the bucket.
//!
//! Nothing here does I/O.

mod ending;
mod format;
mod id;
pub mod sniff;

pub use ending::Ending;
pub use format::Format;
pub use id::{Hasher, InvalidId, PictureId};
pub use sniff::{Sniff, Sniffer, sniff};

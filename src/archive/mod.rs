//! The archive's bucket: an S3-compatible service (R2, AWS, SeaweedFS, Garage, MinIO) as a second home for pictures.
//!
//! [`Bucket`] puts, gets, lists and deletes objects, and says by [`ArchiveError`] what went wrong. It knows neither the
//! store nor HTTP answers, and it tries once: what to do again and when is its user's business, with [`Backoff`] to help.
//!
//! * A picture is `{prefix}{id}.{ext}`, its record `{prefix}{id}.json` (`names.rs`). Equal keys have equal bytes, so putting
//!   an object twice does no harm, and nothing here depends on conditional puts, which some services ignore.
//! * An object counts as put when it was verified (`upload.rs`).
//! * Every attempt has a limit on silence, and one in all that grows with its bytes (`wire.rs`).
//! * OpenDAL signs, lists, deletes, asks for facts and sends long pictures in parts. A body that goes in one piece, either
//!   way, is carried by us under a signature of OpenDAL's, so that no picture is in memory as a whole.

mod answer;
mod backoff;
mod bucket;
mod download;
mod error;
mod meta;
mod names;
mod probe;
mod source;
mod upload;
mod wire;

pub use backoff::Backoff;
pub use bucket::{Bucket, Facts, Found, Limits, SetupError};
pub use download::Download;
pub use error::{ArchiveError, Said};
pub use meta::Meta;
pub use names::What;
pub use probe::{Outcome, Step};
pub use source::Source;

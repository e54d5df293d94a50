//! Connections to upstreams, and what travels on them.
//!
//! * [`Body`]: a request body as a list of segments, so that no request holds its pictures in memory.
//! * [`headers`]: which headers travel, either way.
//! * [`Transport`]: one request, one answer, over Pingora's connector. The only file here that knows Pingora.
//! * [`retry`]: what may be sent twice.
//! * [`catalogue`]: `GET /v1/models`, merged.

mod arriving;
mod body;
pub mod catalogue;
mod decode;
pub mod headers;
mod patience;
mod resolve;
pub mod retry;
mod scrub;
mod transport;

pub use arriving::Arriving;
pub use body::{Body, BodyReader, Segment, Source};
pub(crate) use scrub::{Scrubber, names_with_key, without_key};
pub use transport::{Failure, Incoming, Outgoing, Transport};
pub(crate) use transport::{authority, bearer, peer};

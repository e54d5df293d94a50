//! `/images/*`: what to answer to a reader of a picture. No I/O, no Pingora.
//!
//! * [`path`]: `/images/{id}[.ext]` → id, and id → file name and URL.
//! * [`without_picture`]: methods that are answered without looking for a picture.
//! * [`answer`]: method, request headers and what is known of the picture → status, headers and the part of the body
//!   to send, after RFC 9110 sections 13 (conditions) and 14 (ranges).
//!
//! A picture's URL is its content's name, so it never changes: answers are cacheable for ever and the ETag is the name.

mod answer;
mod condition;
mod etag;
pub mod path;
mod range;

pub use answer::{Answer, answer, without_picture};

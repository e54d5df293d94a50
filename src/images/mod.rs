//! `/images/*`: what to answer to a reader of a picture. No I/O, no Pingora.
//!
//! * [`path`]: `/images/{id}[.ext]` → id, and id → file name and URL.
//! * [`Asked`]: `?w=&h=…` → which variant of the picture, and whether everybody may have it.
//! * [`Links`]: the URLs we hand out, signed if so configured, and what the signature of one that comes in allows.
//! * [`without_picture`]: methods that are answered without looking for a picture.
//! * [`answer`]: method, request headers and what is known of the picture → status, headers and the part of the body
//!   to send, after RFC 9110 sections 13 (conditions) and 14 (ranges).
//!
//! A picture's URL is its content's name, so it never changes: answers are cacheable for ever and the ETag is the name.
//! A variant's is that and the variant.

mod answer;
mod condition;
mod etag;
mod links;
pub mod path;
mod range;
mod variant;

pub use answer::{Answer, Shown, answer, without_picture};
pub use links::{Grant, Links};
pub use variant::{Asked, Cut, Variant, takes_webp};

//! The heart: pure state machines over bytes.
//!
//! Nothing in here does I/O, knows Pingora, or awaits. Bytes go in by `push`, [`Event`]s come out, `finish` ends the
//! input. The exchange owns everything between two events: writing a picture to the store, fetching one, sending bytes.
//!
//! * [`answer`]: JSON answers. Base64 pictures become [`Event::Start`] … [`Event::End`], URLs become [`Event::Link`],
//!   and every byte outside such a value leaves as it came: key order, numbers, escapes, unknown fields, white space.
//! * [`stream`]: the same for event streams (`text/event-stream`), with text that carries a picture over many deltas.
//! * [`raw`]: an answer that is a bare picture.
//! * [`request`]: JSON requests. Reports *where* things stand (model, response format, picture references), so that the
//!   outgoing body can be made of slices of the client's bytes with other bytes between them.
//! * [`conversation`]: what stands in a chat (turns, pictures in lists and in text, thoughts), and edits of it.
//! * [`multipart`]: as [`request`], for `multipart/form-data`.
//! * [`json`], [`base64`], [`candidate`], [`text`]: what these are made of.
//!
//! Memory does not grow with a picture: it is decoded while it arrives, and a value that turns out to be no picture is
//! given back unchanged ([`Event::Release`]). An answer that is not valid JSON passes as it came.

pub mod answer;
pub mod base64;
pub mod candidate;
pub mod conversation;
mod document;
mod event;
mod item;
pub mod json;
pub mod multipart;
mod outline;
mod places;
mod prose;
pub mod raw;
pub mod request;
pub mod shape;
mod sse;
pub mod stream;
#[cfg(test)]
mod testing;
pub mod text;
mod texts;

pub use event::{Event, Events, Fill, HeldText, Slot};

//! The demo upstream: an image API of OpenAI's shape that draws pictures from the prompt.
//!
//! It is what `picgate demo` shows a newcomer, and the upstream of all tests and benches. No model is behind it and no
//! key is needed (any bearer token will do), but it speaks every shape a picture travels in: `b64_json`, `url`, image
//! streams, chat markdown (whole or cut into deltas), `message.images`, content lists, `/v1/responses`, and errors.
//! It is a foreign server as far as the rest of picgate is concerned, so its error bodies are its own.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! use picgate::demo::Demo;
//!
//! let demo = Demo::local().await?;
//! println!("{}", demo.base_url()); // http://127.0.0.1:PORT/v1
//! assert!(demo.received().is_empty());
//! demo.stop().await;
//! # Ok(()) }
//! ```
//!
//! # Routes
//!
//! Under `/v1`: `models`, `models/{id}`, `images/generations`, `images/edits` (form or JSON), `images/variations`,
//! `chat/completions`, `responses`, `embeddings`, `audio/speech`, `files`, `files/{id}/content`. Beside it:
//! `/pictures/{name}` (what `url` answers point to; drawn again from the query), `/demo/received` (`GET` what came in,
//! `DELETE` it) and `/` (this table as text).
//!
//! A chat or responses request is answered with a picture when the model's name has `image` in it, when the last user
//! text starts with `draw`, `paint` or `generate`, or when an `image_generation` tool is given; else with text that
//! repeats the prompt and lists the pictures that arrived.
//!
//! # Words that steer the answer
//!
//! They stand anywhere in the prompt (`prompt`, the last user text, `input`), separated by spaces, and are not drawn.
//! A header `x-demo: …` or a query `?demo=…` may hold them too, for requests without a prompt.
//!
//! | word | effect |
//! |---|---|
//! | `delay:2s` | wait before the answer's header (`150ms`, `2s`) |
//! | `slow:20ms` | wait between pieces of the body: 16 KiB of it, or one event of a stream (a long one in such pieces too) |
//! | `bytes:1500000` | pad the picture's file to about this size with data that does not compress |
//! | `status:429` | answer this status with an error body (429 has `Retry-After: 7`, 400 is `moderation_blocked`) |
//! | `reset` | cut the connection without an answer |
//! | `truncate:50%` | cut the connection after this share of the body |
//! | `early:413` | answer this status before the body has been read, then close |
//! | `noise:garbage` | answer 200 with a body (or an event) that is not valid JSON |
//! | `format:webp` | file format: `png`, `jpeg` or `webp` |
//! | `size:512x512` | size of the picture, whatever is asked |
//! | `unique:yes` | make every picture's bytes differ from all before (cheap for PNG) |
//! | `asurl` | answer URLs whatever is asked |
//! | `lost:yes` | with URLs: point to pictures that are not there |
//! | `shape:images` | chat: the picture in `message.images` or `delta.images` |
//! | `shape:array` | chat: `content` is a list of parts |
//! | `shape:bare` | chat: `content` is the data URI alone (`shape:markdown` is the default) |
//! | `delta:4096` | chat streams: bytes of content in each event of a picture |
//! | `words:200` | chat and responses: length of a text answer, in words |
//! | `stamp:yes` | chat and responses streams: each word is the time it was sent, in nanoseconds since 1970 |
//!
//! `reset` and `truncate:` break the whole connection, so with HTTP/2 every stream on it. `delay:` comes first, then
//! `reset`, then `status:`. A file that is larger than `bytes:` already stays as it is.

mod answer;
mod call;
mod chat;
mod control;
mod draw;
mod guide;
mod images;
mod inspect;
mod line;
mod models;
mod multipart;
mod other;
mod pictures;
mod received;
mod responses;
mod routes;
mod server;
mod talk;
#[cfg(test)]
mod tests;

pub use received::{Received, ReceivedImage};
pub use server::{Builder, Demo};

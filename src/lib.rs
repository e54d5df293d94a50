//! picgate: a gateway for OpenAI-compatible image APIs.
pub mod access;
pub mod app;
pub mod archive;
pub mod background;
pub mod cli;
pub mod config;
pub mod core;
pub mod demo;
pub mod error;
pub mod exchange;
pub mod fetch;
pub mod folder;
pub mod gateway;
pub mod images;
mod opaque;
pub mod picture;
pub mod pixels;
pub mod rewrite;
pub mod store;
pub mod telemetry;
pub mod tier;
mod trust;
pub mod upstream;
pub mod variants;
pub mod vital;
pub mod work;

pub use error::{Code, Error, Result};

//! The configuration, in two steps.
//!
//! 1. *As written*: one YAML file, read by Pingora (its own top-level keys) and by us (the strict map `picgate:`).
//!    Unknown keys are refused and **every** mistake is reported at once, with its path and line.
//! 2. *As needed*: [`Config`], with secrets resolved, sizes in bytes, addresses parsed and names looked up. It cannot
//!    be made wrong, so nothing checks it again. A setting is read nowhere but here.
//!
//! [`Config::load`] and [`Config::parse`] do both. Whoever needs no file builds a [`Config`] from its parts; their
//! `Default`s are the ones a file has.
//!
//! Inside, from the text upwards: `document` (text → nodes with places), `reader` and `scalar` (nodes → values, mistakes
//! noted on the way), `value` and `expand` (the words of values), `resolve` (the map `picgate:`), `top_level` (what
//! stands beside it).

pub mod defaults;
mod document;
mod expand;
mod load;
mod not_acting;
mod problem;
mod reader;
mod resolve;
mod scalar;
mod secret;
mod settings;
mod suggest;
mod top_level;
mod value;

#[cfg(test)]
mod tests;

pub use load::Loaded;
pub use problem::{Problem, Problems};
pub use secret::Secret;
pub use settings::*;

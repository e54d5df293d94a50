//! The configuration, in two steps.
//!
//! 1. *As written*: one YAML file, read by Pingora (its own top-level keys) and by us (the strict map `picgate:`).
//!    Unknown keys are refused and **every** mistake is reported at once, with its path and line.
//! 2. *As needed*: [`Config`], with secrets resolved, sizes in bytes, addresses parsed and names looked up. It cannot
//!    be made wrong, so nothing checks it again. A setting is read nowhere but here.

mod secret;
mod settings;

pub use secret::Secret;
pub use settings::*;

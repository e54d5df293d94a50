//! Who may come in, and as whom.

mod keys;

pub use keys::{Client, Keys, StoredKey, new_key};

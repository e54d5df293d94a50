//! What the fuzz targets call.
//!
//! The rewriters are pure, so they are taken in as they lie instead of building the whole gateway. [`invariants`] is used
//! by `tests/it/corpus.rs` as well, which replays `corpus/` in `make test`.

#[path = "../../src/picture/mod.rs"]
pub mod picture;
#[path = "../../src/rewrite/mod.rs"]
pub mod rewrite;

pub mod invariants;

//! What the fuzz targets call.
//!
//! The rewriters are pure, so they are taken in as they lie instead of building the whole gateway. [`invariants`] and
//! [`linear`] are used by `tests/it` as well, which replays `corpus/` in `make test`.

#[path = "../../src/picture/mod.rs"]
pub mod picture;
#[path = "../../src/rewrite/mod.rs"]
pub mod rewrite;
#[path = "../../src/work.rs"]
pub mod work;

pub mod invariants;
pub mod linear;

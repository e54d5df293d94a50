//! Counts the bytes that parsers look at.
//!
//! A parser whose work grows faster than its input lets one small body keep a worker busy for seconds. A test cannot judge
//! time, but it can judge the number of bytes looked at. So every loop over bytes of an input reports its length with
//! [`looked_at`]: searches, comparisons, copies, and second looks at what was held. A step of constant cost reports 1.
//!
//! The count is per thread. Builds without debug assertions count nothing, and a report costs nothing there.
//! `fuzz/src/linear.rs` states how much each rewriter may look at.

use std::cell::Cell;

/// `true` in builds that count.
pub const IS_COUNTED: bool = cfg!(debug_assertions);

thread_local! {
    static LOOKED_AT: Cell<u64> = const { Cell::new(0) };
}

/// Reports that so many bytes are looked at.
#[inline]
pub fn looked_at(bytes: usize) {
    if IS_COUNTED {
        LOOKED_AT.with(|count| count.set(count.get().wrapping_add(bytes as u64)));
    }
}

/// Runs this, and returns how many bytes it looked at on this thread; 0 in a build that does not count.
pub fn counted<T>(run: impl FnOnce() -> T) -> (T, u64) {
    let before = LOOKED_AT.with(Cell::get);
    let result = run();
    (result, LOOKED_AT.with(Cell::get).wrapping_sub(before))
}

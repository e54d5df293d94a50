//! Looks for the input that costs most. libFuzzer keeps an input that reaches a counter no other one has reached; here the
//! counters are levels of work, so inputs climb from level to level up to the bound, where the target fails.
#![no_main]

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// How many levels there are up to the bound, for each rewriter.
const LEVELS: usize = 250;
const REWRITERS: usize = picgate_fuzz::linear::BOUNDS.len();

// SAFETY: libFuzzer reads and clears this section as bytes between two runs, on the same thread.
#[cfg(target_os = "linux")]
#[unsafe(link_section = "__libfuzzer_extra_counters")]
static REACHED: [AtomicU8; LEVELS * REWRITERS] = [const { AtomicU8::new(0) }; LEVELS * REWRITERS];

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let level = picgate_fuzz::linear::linear(input) * LEVELS / 1000;
    #[cfg(target_os = "linux")]
    if let Some(first) = input.first() {
        let rewriter = usize::from(first.wrapping_sub(b'0')) % REWRITERS;
        for reached in REACHED[rewriter * LEVELS..].iter().take((level + 1).min(LEVELS)) {
            reached.store(1, Relaxed);
        }
    }
});

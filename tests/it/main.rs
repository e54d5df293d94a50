//! The gateway as its users meet it: real sockets, real files, the demo upstream behind it.
#![allow(unreachable_pub, reason = "a binary has no outside; `pub` tells what a file offers to the others")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is the failure"
)]

mod harness;

mod answers;
mod bodies;
mod framings;
mod multipart;
mod policies;
mod regressions;
mod requests;

//! The gateway as its users meet it: real sockets, real files, the demo upstream behind it.
#![allow(unreachable_pub, dead_code, unused_imports, reason = "a harness offers more than one test uses")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is the failure"
)]

mod harness;

mod answers;
mod binary;
mod embed;
mod errors;
mod failover;
mod isolation;
mod models;
mod pass;
mod process;
mod regressions2;
mod scripted;
mod sdk;
mod serving;

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
mod archive;
mod archiving;
mod binary;
mod bodies;
mod bounds;
mod corpus;
mod differential;
mod embed;
mod encodings;
mod errors;
mod eviction;
mod failover;
mod fixtures;
mod framings;
mod heartbeats;
mod isolation;
mod models;
mod multipart;
mod pass;
mod policies;
mod process;
mod quirks;
mod raw_pictures;
mod regressions;
mod regressions2;
mod reload;
mod requests;
mod scripted;
mod sdk;
mod serving;
mod store_commands;
mod streams;

//! The gateway as its users meet it: real sockets, real files, the demo upstream behind it.
#![allow(unreachable_pub, reason = "a binary has no outside; `pub` tells what a file offers to the others")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is the failure"
)]
#![allow(clippy::print_stdout, reason = "figures, seeds and what was skipped; shown with --nocapture and on failure")]

mod harness;

mod answers;
mod archive;
mod archiving;
mod binary;
mod bodies;
mod bounds;
mod corpus;
mod crash;
mod data_dir;
mod decoders;
mod deletion;
mod differential;
mod embed;
mod encodings;
mod errors;
mod eviction;
mod failover;
mod fixtures;
mod framings;
mod full_disk;
mod hand_over;
mod heartbeats;
mod history;
mod http2_limits;
mod isolation;
mod labels;
mod linear;
mod load;
mod lookups;
mod memory;
mod mentions;
mod models;
mod multipart;
mod outgoing;
mod pass;
mod places;
mod policies;
mod process;
mod quirks;
mod raw_pictures;
mod regressions;
mod regressions2;
mod reload;
mod requests;
mod room;
mod scaling;
mod scripted;
mod sdk;
mod secrets;
mod send_buffer;
mod serving;
mod shared_folders;
mod signals;
mod signed;
mod soak;
mod spooling;
mod starting;
mod store_commands;
mod strace;
mod streams;
mod thoughts;
mod trickles;
mod variants;

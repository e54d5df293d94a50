//! Work that no request waits for. Each part does one round when it is told to, and says what it did.

mod ages;
pub mod archiver;
mod calendar;
pub mod eviction;
pub mod gauges;
mod troubles;

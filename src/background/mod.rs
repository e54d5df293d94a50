//! Work that no request waits for. Each part does one round when it is told to, and says what it did.

pub mod archiver;

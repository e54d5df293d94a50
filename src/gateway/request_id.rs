//! Names of requests.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

/// Told apart from those of other processes by this.
static PROCESS: LazyLock<u64> = LazyLock::new(|| {
    let mut random = [0u8; 8];
    if getrandom::fill(&mut random).is_err() {
        log::warn!("the system gives no random numbers; request ids may repeat those of another process");
    }
    u64::from_ne_bytes(random)
});
static COUNT: AtomicU64 = AtomicU64::new(0);

/// `req_` and 24 hex digits, the first 16 the same within a process. Every answer carries one in `x-request-id`, and so do
/// logs and records. No secret: it need not be guessed hard, only be unique.
pub(super) fn new() -> String {
    let count = COUNT.fetch_add(1, Ordering::Relaxed) & 0xffff_ffff;
    format!("req_{:016x}{count:08x}", *PROCESS)
}

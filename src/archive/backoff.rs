//! How long to wait before the bucket is tried again.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};

/// The first wait is at most this long; each further failure doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(60);

/// Waits with full jitter (a random time from nothing to a bound that doubles up to 60 s), shared by all who use one
/// bucket: when it fails it fails for all, and one success ends everybody's wait.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: AtomicU32,
    success: Notify,
}

impl Backoff {
    /// Notes a failure. Returns how long to wait before the next attempt.
    pub fn failed(&self) -> Duration {
        // Enough for the bound, far from overflow.
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(16);
        bound(failures).mul_f64(random())
    }

    /// Notes a success: the next wait is short again, and those who wait go on at once.
    pub fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.success.notify_waiters();
    }

    /// Waits for this time, or until someone succeeds.
    pub async fn rest(&self, time: Duration) {
        tokio::select! {
            () = sleep(time) => {}
            () = self.success.notified() => {}
        }
    }
}

fn bound(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.min(16)).min(LONGEST)
}

/// From 0 to 1. Where the system has no randomness to give, the middle.
fn random() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_a_success_makes_them_short_again() {
        assert_eq!([0, 1, 5, 6, 7, u32::MAX].map(|n| bound(n).as_secs()), [1, 2, 32, 60, 60, 60]);
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..200).map(|_| backoff.failed()).collect();
        assert!(waits.iter().zip(0..).all(|(wait, failures)| *wait <= bound(failures)));
        // With full jitter 190 waits of up to a minute are not all short, and not all long.
        assert!(waits.iter().any(|wait| wait.as_secs() >= 40) && waits.iter().any(|wait| wait.as_secs() < 20));
        backoff.succeeded();
        assert!(backoff.failed() <= FIRST);
    }

    #[tokio::test]
    async fn one_success_ends_every_wait() {
        let backoff = Backoff::default();
        let hour = Duration::from_secs(3600);
        // The waits are polled before the success, in this order.
        tokio::join!(biased; backoff.rest(hour), backoff.rest(hour), async { backoff.succeeded() });
    }
}

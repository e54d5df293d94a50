//! How long to wait before the bucket is tried again.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use tokio::{
    sync::{Mutex, MutexGuard, Notify},
    time::sleep,
};

/// The first wait is at most this long; each further failure doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(60);

/// Waits with full jitter (a random time from nothing to a bound that doubles up to 60 s), shared by all who use one
/// bucket: when it fails it fails for all. While it is away one attempt is made at a time, so that eight uploads do not
/// count as eight failures and wait 256 times as long; the first success lets everybody go on at once.
#[derive(Debug, Default)]
pub struct Backoff {
    /// Failures in a row; 0: all is well.
    failures: AtomicU32,
    /// Successes so far.
    successes: AtomicU64,
    /// Held by the one who tries while the bucket is away.
    probe: Mutex<()>,
    success: Notify,
}

/// Leave to try once. Dropped, it has neither failed nor succeeded.
#[derive(Debug)]
pub struct Turn<'a> {
    backoff: &'a Backoff,
    /// Failures in a row when it began.
    seen: u32,
    _probe: Option<MutexGuard<'a, ()>>,
}

impl Backoff {
    /// Waits as long as the bucket is to be left alone.
    pub async fn turn(&self) -> Turn<'_> {
        if self.failures() == 0 {
            return Turn { backoff: self, seen: 0, _probe: None };
        }
        let probe = self.probe.lock().await;
        let success = self.success.notified();
        let seen = self.failures();
        if seen > 0 {
            tokio::select! {
                () = sleep(jitter(seen - 1)) => {}
                () = success => {}
            }
        }
        match self.failures() {
            0 => Turn { backoff: self, seen: 0, _probe: None },
            seen => Turn { backoff: self, seen, _probe: Some(probe) },
        }
    }

    /// How many attempts have succeeded so far.
    pub fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    /// Whether the last attempt failed: one is made at a time.
    pub fn is_away(&self) -> bool {
        self.failures() > 0
    }

    fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }
}

impl Turn<'_> {
    /// The bucket is there: the next wait is short again, and those who wait go on at once.
    pub fn succeeded(self) {
        self.backoff.failures.store(0, Ordering::Relaxed);
        self.backoff.successes.fetch_add(1, Ordering::Relaxed);
        self.backoff.success.notify_waiters();
    }

    /// The bucket is away. Of attempts that ran side by side the first to fail counts: they tell of one trouble. Returns
    /// how long the next attempt will be waited for at most.
    pub fn failed(self) -> Duration {
        let failures = &self.backoff.failures;
        let next = self.seen.saturating_add(1);
        let _ = failures.compare_exchange(self.seen, next, Ordering::Relaxed, Ordering::Relaxed);
        bound(self.seen)
    }
}

/// How long to wait after a failure that so many others came before.
fn jitter(failures: u32) -> Duration {
    bound(failures).mul_f64(random())
}

fn bound(failures: u32) -> Duration {
    // Enough for the bound, far from overflow.
    FIRST.saturating_mul(1 << failures.min(16)).min(LONGEST)
}

/// From 0 to 1. Where the system has no randomness to give, the middle.
fn random() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::time::Instant;

    use super::*;

    /// How long an attempt is waited for, after so many failures in a row.
    async fn waits(failures: u32) -> Duration {
        let backoff = Backoff { failures: failures.into(), ..Backoff::default() };
        let start = Instant::now();
        backoff.turn().await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_to_a_minute_with_full_jitter() {
        assert_eq!([0, 1, 5, 6, 7, u32::MAX].map(|n| bound(n).as_secs()), [1, 2, 32, 60, 60, 60]);
        assert_eq!(waits(0).await, Duration::ZERO);
        let mut long = Vec::new();
        for failures in 1..100 {
            let waited = waits(failures).await;
            // The clock of tokio ticks in milliseconds.
            assert!(waited <= bound(failures - 1) + Duration::from_millis(1), "{failures}: {waited:?}");
            long.push(waited.as_secs());
        }
        assert!(long.iter().any(|secs| *secs >= 40) && long.iter().skip(10).any(|secs| *secs < 20), "{long:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn eight_attempts_that_fail_together_are_one_failure() {
        let backoff = Backoff::default();
        let turns = join_all((0..8).map(|_| backoff.turn())).await;
        for turn in turns {
            assert_eq!(turn.failed(), FIRST);
        }
        assert_eq!(backoff.failures(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn while_it_is_away_one_tries_at_a_time_and_its_success_lets_all_go_on() {
        let backoff = Backoff { failures: 3.into(), ..Backoff::default() };
        let first = backoff.turn().await;
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, backoff.turn()).await.is_err(), "two tried at once");
        assert_eq!(first.failed(), bound(3));
        let second = backoff.turn().await;
        let start = Instant::now();
        tokio::join!(biased; join_all((0..8).map(|_| backoff.turn())), async { second.succeeded() });
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_was_under_way_ends_the_wait_when_it_succeeds() {
        let backoff = Backoff::default();
        let (slow, quick) = (backoff.turn().await, backoff.turn().await);
        quick.failed();
        let start = Instant::now();
        tokio::join!(biased; backoff.turn(), async { slow.succeeded() });
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

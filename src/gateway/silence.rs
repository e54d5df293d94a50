//! How long nothing has gone out to a client.

use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, Sleep, sleep_until};

/// Measures silence. One timer for a whole answer: to set one anew for each of thousands of deltas would cost more than
/// some of them.
pub(super) struct Silence {
    since: Instant,
    /// Set for when the silence would have been long enough at the time it was set.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Default for Silence {
    fn default() -> Self {
        Self { since: Instant::now(), timer: None }
    }
}

impl Silence {
    /// Something has gone out.
    pub(super) fn broken(&mut self) {
        self.since = Instant::now();
    }

    /// Resolves when the silence has lasted for so long; never without a limit. May be dropped and asked again.
    pub(super) async fn lasts(&mut self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        loop {
            let end = self.since + limit;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
            if timer.deadline() > end {
                timer.as_mut().reset(end);
            }
            timer.as_mut().await;
            if Instant::now() >= end {
                return;
            }
            timer.as_mut().reset(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    const LIMIT: Option<Duration> = Some(Duration::from_secs(15));

    async fn seconds(silence: &mut Silence, limit: Option<Duration>) -> u64 {
        let start = Instant::now();
        silence.lasts(limit).await;
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn silence_begins_with_what_went_out_last() {
        let mut silence = Silence::default();
        for _ in 0..10 {
            assert!(timeout(Duration::from_secs(10), silence.lasts(LIMIT)).await.is_err());
            silence.broken();
        }
        assert_eq!(seconds(&mut silence, LIMIT).await, 15);
        silence.broken();
        advance(Duration::from_secs(6)).await;
        assert_eq!(seconds(&mut silence, LIMIT).await, 9);
    }

    #[tokio::test(start_paused = true)]
    async fn another_limit_counts_from_the_same_moment() {
        let mut silence = Silence::default();
        assert!(timeout(Duration::from_secs(1), silence.lasts(LIMIT)).await.is_err());
        assert_eq!(seconds(&mut silence, Some(Duration::from_secs(4))).await, 3);
        let hour = Duration::from_secs(3600);
        assert!(timeout(hour, silence.lasts(None)).await.is_err());
    }
}

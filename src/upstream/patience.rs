//! A limit on each of many waits.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Ends waits that take too long. One timer for all of them: to set one anew for each of thousands of deltas would cost
/// more than to read some of them.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    /// Set for when a wait would have been too long at the time it was set.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, timer: None }
    }

    /// Waits for `work`; `None` when it takes longer than the limit.
    pub(super) async fn wait<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let Self { limit, timer } = self;
        let (mut work, mut end) = (pin!(work), None);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            let end = *end.get_or_insert_with(|| Instant::now() + *limit);
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
            while timer.as_mut().poll(cx).is_ready() {
                if Instant::now() >= end {
                    return Poll::Ready(None);
                }
                timer.as_mut().reset(end);
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_the_whole_time() {
        let mut patience = Patience::new(LIMIT);
        for seconds in [0, 9, 9, 1, 9] {
            assert_eq!(patience.wait(sleep(Duration::from_secs(seconds))).await, Some(()), "{seconds}");
        }
        let start = Instant::now();
        assert_eq!(patience.wait(pending::<()>()).await, None);
        assert_eq!(start.elapsed().as_secs(), 10);
        // It can be asked again.
        assert_eq!(patience.wait(async { 7 }).await, Some(7));
        assert_eq!(patience.wait(sleep(Duration::from_secs(11))).await, None);
        assert_eq!(start.elapsed().as_secs(), 20);
    }
}

//! How many requests are being worked on, and when there are none.

use std::sync::Arc;

use prometheus::IntGauge;
use tokio::sync::watch;

/// Counts requests from their header to their answer's end. A clone is the same counter.
#[derive(Clone, Debug)]
pub struct InFlight {
    count: Arc<watch::Sender<usize>>,
    gauge: IntGauge,
}

/// Counts one request for as long as it lives.
#[derive(Debug)]
pub(super) struct Guard(InFlight);

impl InFlight {
    pub(super) fn new(gauge: IntGauge) -> Self {
        Self { count: Arc::new(watch::Sender::new(0)), gauge }
    }

    pub(super) fn enter(&self) -> Guard {
        self.count.send_modify(|count| *count += 1);
        self.gauge.inc();
        Guard(self.clone())
    }

    /// Requests that are being worked on now.
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Resolves when no request is being worked on.
    pub async fn none(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.count.send_modify(|count| *count = count.saturating_sub(1));
        self.0.gauge.dec();
    }
}

//! Whether the bucket answers.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

/// So long after a failure nobody waits for another: who asks is told at once.
const REST: Duration = Duration::from_secs(1);

/// Remembers for a moment that the bucket did not answer, so that those who ask do not queue up before it. After that, who
/// comes first tries again.
#[derive(Debug, Default)]
pub(super) struct Absence(Mutex<Option<Instant>>);

impl Absence {
    pub(super) fn failed(&self) {
        self.set(Some(Instant::now()));
    }

    pub(super) fn answered(&self) {
        self.set(None);
    }

    /// Whether it failed a moment ago, and has not answered since.
    pub(super) fn is_known(&self) -> bool {
        let since = *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        since.is_some_and(|since| since.elapsed() < REST)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = since;
    }
}

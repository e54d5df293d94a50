//! Whether the bucket answers.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use crate::{archive::ArchiveError, picture::PictureId};

/// So long after a failure nobody waits for another: who asks is told at once.
const REST: Duration = Duration::from_secs(1);
/// A failure of one picture counts so long towards that of another.
const COUNTS_FOR: Duration = Duration::from_secs(60);

/// Remembers for a moment that the bucket did not answer, so that those who ask do not queue up before it. After that, who
/// comes first tries again. One picture alone says nothing of the bucket: two must have failed with no success between.
#[derive(Debug, Default)]
pub(super) struct Absence(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    failed: Option<(Instant, PictureId)>,
    away_since: Option<Instant>,
}

impl Absence {
    /// Asking for this picture failed so.
    pub(super) fn failed(&self, id: PictureId, error: &ArchiveError) {
        if !matches!(error, ArchiveError::Unreachable(_) | ArchiveError::Timeout(_) | ArchiveError::Busy(_)) {
            return;
        }
        let (mut seen, now) = (self.seen(), Instant::now());
        let another = seen.failed.filter(|(since, other)| *other != id && since.elapsed() < COUNTS_FOR);
        if another.is_some() {
            seen.away_since = Some(now);
        }
        seen.failed = Some((now, id));
    }

    pub(super) fn answered(&self) {
        *self.seen() = Seen::default();
    }

    /// Whether it failed a moment ago, and has not answered since.
    pub(super) fn is_known(&self) -> bool {
        self.seen().away_since.is_some_and(|since| since.elapsed() < REST)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pictures_that_fail_are_an_absence_and_one_is_not() {
        let (absence, [a, b]) = (Absence::default(), [b"a", b"b"].map(|bytes| PictureId::of(bytes)));
        let away = ArchiveError::Unreachable("x".into());
        absence.failed(a, &away);
        absence.failed(a, &away);
        assert!(!absence.is_known());
        absence.failed(b, &ArchiveError::Missing);
        assert!(!absence.is_known());
        absence.failed(b, &away);
        assert!(absence.is_known());
        absence.answered();
        assert!(!absence.is_known());
        absence.failed(a, &away);
        assert!(!absence.is_known());
    }
}

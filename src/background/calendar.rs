//! Whether the clock that tells dates can be believed.

use std::time::{Duration, SystemTime};

use super::eviction::Moment;

/// How far the two clocks may drift apart between two looks: what setting a clock gently amounts to.
const DRIFT: Duration = Duration::from_secs(2);

/// Watches the date beside a clock that only goes on.
///
/// What is deleted for its age is gone, so the date that makes it old must not be the whim of a moment: a machine may
/// start with a dead clock battery, or its date may be set by hand. Every jump, also over a time of sleep, begins the
/// proof anew.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    last: Option<Moment>,
    right_for: Duration,
}

impl Calendar {
    pub(super) fn see(&mut self, now: Moment) {
        if let Some(last) = self.last {
            let passed = now.steady.saturating_duration_since(last.steady);
            self.right_for = match distance(now.date, last.date + passed) {
                off if off <= DRIFT => self.right_for + passed,
                _ => Duration::ZERO,
            };
        }
        self.last = Some(now);
    }

    /// Whether the date has gone on as time has, for so long.
    pub(super) fn has_been_right_for(&self, time: Duration) -> bool {
        self.right_for >= time
    }
}

fn distance(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|earlier| earlier.duration())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_jump_begins_the_proof_anew() {
        let (date, steady) = (SystemTime::now(), Instant::now());
        let s = Duration::from_secs;
        let mut calendar = Calendar::default();
        let mut see = |date_at: Duration, steady_at: Duration| {
            calendar.see(Moment { date: date + date_at, steady: steady + steady_at });
            (0..).take_while(|secs| calendar.has_been_right_for(s(*secs))).last()
        };
        assert_eq!(see(s(100_000), s(0)), Some(0));
        assert_eq!(see(s(100_010), s(10)), Some(10));
        assert_eq!(see(s(100_021), s(20)), Some(20), "set gently");
        assert_eq!(see(s(186_421), s(20)), Some(0), "a day ahead");
        assert_eq!(see(s(186_431), s(30)), Some(10));
        assert_eq!(see(s(100_041), s(40)), Some(0), "a day back");
        assert_eq!(see(s(103_641), s(41)), Some(0), "after a sleep");
    }
}

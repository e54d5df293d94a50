//! Pictures that failed, and rest.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use crate::picture::PictureId;

/// How long a picture rests after its first failure; each further one doubles it.
const FIRST: Duration = Duration::from_secs(5);
/// No rest is longer.
const LONGEST: Duration = Duration::from_secs(600);
/// Nor is one that may be everybody's: when the bucket is back, somebody must try it.
const LONGEST_SHARED: Duration = Duration::from_secs(60);
/// Pictures remembered at most; more are simply tried again.
const MOST: usize = 4096;

/// What is known of pictures that failed.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<HashMap<PictureId, Trouble>>);

#[derive(Clone, Copy, Debug)]
struct Trouble {
    failures: u32,
    rests_until: Instant,
    /// It may be everybody's: the rest ends with the first success.
    is_shared: bool,
    /// Successes of all pictures when it failed last.
    successes: u64,
}

/// Whose trouble a failure may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// This picture's alone, and trying soon cannot help.
    ItsForLong,
    /// This picture's alone.
    Its,
    /// Perhaps everybody's. If others went well since this picture failed the last time, it is its own all the same.
    Perhaps,
}

impl Troubles {
    /// Whether it is not to be tried now. `successes`: of all pictures, so far.
    pub(super) fn rests(&self, id: &PictureId, successes: u64) -> bool {
        self.known().get(id).is_some_and(|trouble| {
            Instant::now() < trouble.rests_until && !(trouble.is_shared && trouble.successes < successes)
        })
    }

    /// How often it has failed in a row.
    pub(super) fn failures(&self, id: &PictureId) -> u32 {
        self.known().get(id).map_or(0, |trouble| trouble.failures)
    }

    /// It failed, and rests. Whether it is its own trouble, and how long it rests.
    pub(super) fn failed(&self, id: PictureId, whose: Whose, successes: u64) -> (bool, Duration) {
        let mut known = self.known();
        let before = known.get(&id).copied();
        let is_own = whose != Whose::Perhaps || before.is_some_and(|trouble| trouble.successes < successes);
        let failures = before.map_or(0, |trouble| trouble.failures);
        let longest = if is_own { LONGEST } else { LONGEST_SHARED };
        let wait = match whose {
            Whose::ItsForLong => LONGEST,
            Whose::Its | Whose::Perhaps => FIRST.saturating_mul(1 << failures.min(16)).min(longest),
        };
        if before.is_some() || known.len() < MOST {
            let rests_until = Instant::now() + wait;
            let failures = failures.saturating_add(1);
            known.insert(id, Trouble { failures, rests_until, is_shared: !is_own, successes });
        }
        (is_own, wait)
    }

    /// It went well, or there is nothing to do any more.
    pub(super) fn forget(&self, id: &PictureId) {
        self.known().remove(id);
    }

    /// Forgets what nobody has tried for long: it may be gone.
    pub(super) fn tidy(&self) {
        let now = Instant::now();
        self.known().retain(|_, trouble| now < trouble.rests_until + 2 * LONGEST);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<PictureId, Trouble>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_while_others_go_well_rests_longer_and_longer() {
        let (troubles, id) = (Troubles::default(), PictureId::of(b"x"));
        assert!(!troubles.failed(id, Whose::Perhaps, 7).0, "it may be everybody's");
        assert!(troubles.rests(&id, 7));
        assert!(!troubles.rests(&id, 8), "it was everybody's, and is over");
        assert!(!troubles.failed(id, Whose::Perhaps, 7).0, "nobody went well since");
        assert!(troubles.failed(id, Whose::Perhaps, 8).0);
        assert!(troubles.rests(&id, 9));
        let waits: Vec<u64> = (0..6).map(|_| troubles.failed(id, Whose::Its, 9).1.as_secs()).collect();
        assert_eq!(waits, [40, 80, 160, 320, 600, 600]);
        troubles.forget(&id);
        assert!(!troubles.rests(&id, 9));
        assert_eq!(troubles.failed(id, Whose::ItsForLong, 9), (true, LONGEST));
        troubles.tidy();
        assert!(troubles.rests(&id, 10));
    }

    #[test]
    fn in_an_outage_of_hours_everybody_is_tried_within_a_minute() {
        let (troubles, id) = (Troubles::default(), PictureId::of(b"x"));
        let waits: Vec<u64> = (0..7).map(|_| troubles.failed(id, Whose::Perhaps, 7).1.as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 60, 60, 60]);
        assert_eq!(troubles.failures(&id), 7);
        assert_eq!(troubles.failures(&PictureId::of(b"y")), 0);
    }
}

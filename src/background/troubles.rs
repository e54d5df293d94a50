//! Pictures that make trouble of their own, and rest.

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
/// Pictures remembered at most; more are simply tried again.
const MOST: usize = 4096;

/// What is known of pictures that failed.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<HashMap<PictureId, Trouble>>);

#[derive(Clone, Copy, Debug)]
struct Trouble {
    /// Failures of its own.
    failures: u32,
    rests_until: Instant,
    /// Successes of all pictures when it failed last.
    successes: u64,
}

impl Troubles {
    /// Whether it is not to be tried now.
    pub(super) fn rests(&self, id: &PictureId) -> bool {
        self.known().get(id).is_some_and(|trouble| Instant::now() < trouble.rests_until)
    }

    /// It failed in a way that may be everybody's. Whether it is its own trouble all the same: others went well since it
    /// failed the last time.
    pub(super) fn is_own(&self, id: PictureId, successes: u64) -> bool {
        let fresh = Trouble { failures: 0, rests_until: Instant::now(), successes };
        let mut known = self.known();
        if let Some(trouble) = known.get_mut(&id) {
            return std::mem::replace(&mut trouble.successes, successes) < successes;
        }
        if known.len() < MOST {
            known.insert(id, fresh);
        }
        false
    }

    /// It rests; `for_long`: trying soon cannot help. Returns how long.
    pub(super) fn rest(&self, id: PictureId, for_long: bool) -> Duration {
        let mut known = self.known();
        let failures = known.get(&id).map_or(0, |trouble| trouble.failures);
        let wait = if for_long { LONGEST } else { FIRST.saturating_mul(1 << failures.min(16)).min(LONGEST) };
        let successes = known.get(&id).map_or(0, |trouble| trouble.successes);
        if known.len() < MOST || known.contains_key(&id) {
            let failures = failures.saturating_add(1);
            known.insert(id, Trouble { failures, rests_until: Instant::now() + wait, successes });
        }
        wait
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
        assert!(!troubles.is_own(id, 7), "it may be everybody's");
        assert!(!troubles.is_own(id, 7), "nobody went well since");
        assert!(troubles.is_own(id, 8));
        assert!(!troubles.is_own(id, 8));
        let waits: Vec<u64> = (0..9).map(|_| troubles.rest(id, false).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert!(troubles.rests(&id));
        troubles.forget(&id);
        assert!(!troubles.rests(&id));
        assert_eq!(troubles.rest(id, true), LONGEST);
        troubles.tidy();
        assert!(troubles.rests(&id));
    }
}

//! One large picture at a time.

use std::{
    sync::{Condvar, Mutex},
    time::Instant,
};

/// A door that lets one in. There is one in the process, because memory is the process's.
static DOOR: Door = Door { taken: Mutex::new(false), left: Condvar::new() };

struct Door {
    taken: Mutex<bool>,
    left: Condvar,
}

/// The right to hold a large picture; given back when dropped.
#[derive(Debug)]
pub(super) struct Heavy(());

impl Heavy {
    /// Waits for the turn; `None` when it has not come by `deadline`.
    pub(super) fn enter(deadline: Instant) -> Option<Self> {
        let taken = DOOR.taken.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let left = deadline.saturating_duration_since(Instant::now());
        let (mut taken, _) =
            DOOR.left.wait_timeout_while(taken, left, |taken| *taken).unwrap_or_else(|poisoned| poisoned.into_inner());
        if *taken {
            return None;
        }
        *taken = true;
        Some(Self(()))
    }
}

impl Drop for Heavy {
    fn drop(&mut self) {
        *DOOR.taken.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = false;
        DOOR.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_second_waits_for_the_first() {
        let far = || Instant::now() + Duration::from_secs(60);
        let first = Heavy::enter(far()).unwrap();
        assert!(Heavy::enter(Instant::now()).is_none());
        let second = std::thread::spawn(move || Heavy::enter(far()).is_some());
        drop(first);
        assert!(second.join().unwrap());
    }
}

//! How many bytes are how old, in a few kilobytes of memory.

/// Steps in which an age doubles: one is 2 % to 3 % of the age.
const PER_OCTAVE: u32 = 32;
/// Ages of up to 2^44 ms, five hundred years.
const OCTAVES: u32 = 44;

/// A histogram of ages. The older, the coarser.
#[derive(Debug)]
pub(super) struct Ages {
    now_ms: u64,
    bytes: Vec<u64>,
}

/// Where the old enough begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// All that is older goes.
    pub(super) age: usize,
    /// Of those of this age, so many bytes.
    pub(super) bytes: u64,
}

impl Ages {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { now_ms, bytes: vec![0; (OCTAVES * PER_OCTAVE) as usize] }
    }

    /// Counts a picture that was last looked at then.
    pub(super) fn add(&mut self, touched_ms: u64, len: u64) {
        let age = self.of(touched_ms);
        if let Some(bytes) = self.bytes.get_mut(age) {
            *bytes = bytes.saturating_add(len);
        }
    }

    /// Bytes of all that was counted.
    pub(super) fn total(&self) -> u64 {
        self.bytes.iter().fold(0, |total, bytes| total.saturating_add(*bytes))
    }

    /// The step of an age. A look in the future is one of just now.
    pub(super) fn of(&self, touched_ms: u64) -> usize {
        let age = self.now_ms.saturating_sub(touched_ms).saturating_add(u64::from(PER_OCTAVE));
        let octave = age.ilog2() - PER_OCTAVE.ilog2();
        let within = (age >> octave) - u64::from(PER_OCTAVE);
        let step = u64::from(octave * PER_OCTAVE) + within;
        usize::try_from(step).unwrap_or(usize::MAX).min(self.bytes.len() - 1)
    }

    /// From the oldest on, as much as makes `need` bytes.
    pub(super) fn cut(&self, need: u64) -> Cut {
        let mut left = need;
        for (age, bytes) in self.bytes.iter().enumerate().rev() {
            if *bytes >= left {
                return Cut { age, bytes: left };
            }
            left -= bytes;
        }
        Cut { age: 0, bytes: u64::MAX }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_oldest_make_the_room() {
        let mut ages = Ages::new(1_000_000);
        for (touched, len) in [(999_999, 5), (900_000, 7), (500_000, 11), (500_001, 13), (2_000_000, 17)] {
            ages.add(touched, len);
        }
        let (old, middle, young) = (ages.of(500_000), ages.of(900_000), ages.of(999_999));
        assert_eq!(ages.of(500_001), old);
        assert!(old > middle && middle > young && young > ages.of(1_000_000));
        assert_eq!(ages.cut(1), Cut { age: old, bytes: 1 });
        assert_eq!(ages.cut(24), Cut { age: old, bytes: 24 });
        assert_eq!(ages.cut(25), Cut { age: middle, bytes: 1 });
        assert_eq!(ages.cut(36), Cut { age: young, bytes: 5 });
        assert_eq!(ages.cut(53), Cut { age: 0, bytes: 17 });
        assert_eq!(ages.cut(100), Cut { age: 0, bytes: u64::MAX });
    }

    proptest! {
        #[test]
        fn older_is_never_a_lower_step_and_steps_are_narrow(now in any::<u64>(), a in any::<u64>(), b in any::<u64>()) {
            let ages = Ages::new(now);
            let (older, younger) = (a.min(b), a.max(b));
            prop_assert!(ages.of(older) >= ages.of(younger));
            let age = now.saturating_sub(older);
            if age < 1 << 40 && ages.of(older) == ages.of(younger) {
                let apart = age - now.saturating_sub(younger);
                prop_assert!(apart <= age / 32 + 1, "{apart} of {age}");
            }
        }
    }
}

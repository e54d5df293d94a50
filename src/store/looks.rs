//! When pictures are looked at: remembered in memory, told to the index coarsely, never written per look.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use quick_cache::sync::Cache;

use super::record::unix_ms;
use crate::picture::PictureId;

/// Pictures remembered. One that falls out is told of again at its next look, which does no harm.
const REMEMBERED: usize = 64 * 1024;
/// Shortest and longest time between two tellings of one picture.
const STEP: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// A picture is told of this often in the time after which it may go.
const PER_TTL: u32 = 16;

/// Decides which looks the index is told of.
#[derive(Debug)]
pub(super) struct Looks {
    step_ms: AtomicU64,
    /// The step in which a picture was last told of.
    told: Cache<PictureId, u64>,
}

impl Looks {
    /// `ttl`: how long after its last look a picture may go.
    pub(super) fn new(ttl: Option<Duration>) -> Self {
        Self { step_ms: AtomicU64::new(step_ms(ttl)), told: Cache::new(REMEMBERED) }
    }

    /// Another time takes its place.
    pub(super) fn set_ttl(&self, ttl: Option<Duration>) {
        self.step_ms.store(step_ms(ttl), Ordering::Relaxed);
    }

    /// Notes a look now. The time to tell the index, if it is due.
    pub(super) fn note(&self, id: &PictureId) -> Option<u64> {
        self.note_at(id, unix_ms(SystemTime::now()))
    }

    fn note_at(&self, id: &PictureId, now_ms: u64) -> Option<u64> {
        let step = now_ms / self.step_ms.load(Ordering::Relaxed);
        if self.told.get(id) == Some(step) {
            return None;
        }
        self.told.insert(*id, step);
        Some(now_ms)
    }
}

fn step_ms(ttl: Option<Duration>) -> u64 {
    let (least, most) = STEP;
    let step = ttl.map_or(most, |ttl| (ttl / PER_TTL).clamp(least, most));
    u64::try_from(step.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_told_of_once_in_a_step() {
        let looks = Looks::new(Some(Duration::from_secs(160)));
        let (one, other) = (PictureId::of(b"1"), PictureId::of(b"2"));
        assert_eq!(looks.note_at(&one, 20_000), Some(20_000));
        assert_eq!(looks.note_at(&one, 29_999), None);
        assert_eq!(looks.note_at(&other, 29_999), Some(29_999));
        assert_eq!(looks.note_at(&one, 30_000), Some(30_000));
    }

    #[test]
    fn the_step_fits_the_time_to_live() {
        for (ttl, step_ms) in [(None, 3_600_000), (Some(72 * 3600), 3_600_000), (Some(3600), 225_000), (Some(1), 1_000)]
        {
            assert_eq!(super::step_ms(ttl.map(Duration::from_secs)), step_ms, "{ttl:?}");
        }
    }
}

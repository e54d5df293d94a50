//! Asking the bucket for pictures that nobody here knows.
//!
//! Any name may be asked for: by readers of `/images/`, who need no key, and by requests that mention URLs of ours. Almost
//! every unknown name is unknown to the bucket too, so this is what a flood would use. Readers and requests therefore have
//! places of their own, a request has a small number of questions, and answers "no" are remembered apart for each.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::slots::{Slot, Slots};
use crate::picture::PictureId;

/// Names that are asked for at once, by readers and by requests; more wait.
const PLACES: usize = 16;
/// Names remembered as unknown to the bucket, by readers and by requests: about 2 MiB each.
const UNKNOWN: usize = 32 * 1024;
/// How long. Short, since another gateway may archive there.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Asker<'a> {
    /// A reader of `/images/`, whom nobody knows.
    Reader,
    /// A request with a key, which may ask so often.
    Request(&'a Questions),
}

/// How often, and until when, one request may ask the bucket for unknown pictures.
#[derive(Debug)]
pub struct Questions {
    left: AtomicUsize,
    until: Instant,
}

/// The places and the memory of one kind of asker.
#[derive(Debug)]
pub(super) struct Desk {
    places: Slots,
    unknown: Cache<PictureId, Instant>,
}

// === impl Questions ===

impl Questions {
    /// So many questions within this time from now.
    pub fn new(most: usize, time: Duration) -> Self {
        Self { left: AtomicUsize::new(most), until: Instant::now() + time }
    }

    /// Whether no more may be asked.
    pub fn are_used_up(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0 || Instant::now() >= self.until
    }

    fn take(&self) -> bool {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        taken.is_ok() && Instant::now() < self.until
    }
}

// === impl Asker ===

impl Asker<'_> {
    /// Spends one question. `false`: there is none left.
    pub(super) fn may_ask(&self) -> bool {
        match self {
            Self::Reader => true,
            Self::Request(questions) => questions.take(),
        }
    }

    /// When it stops waiting, if it waits so long at most.
    pub(super) fn until(&self, longest: Duration) -> Instant {
        let until = Instant::now() + longest;
        match self {
            Self::Reader => until,
            Self::Request(questions) => until.min(questions.until),
        }
    }
}

// === impl Desk ===

impl Default for Desk {
    fn default() -> Self {
        Self { places: Slots::new(PLACES), unknown: Cache::new(UNKNOWN) }
    }
}

impl Desk {
    /// Waits for a place.
    pub(super) async fn place(&self) -> Slot {
        self.places.enter().await
    }

    /// Whether the bucket did not know this name a moment ago.
    pub(super) fn is_unknown(&self, id: &PictureId) -> bool {
        self.unknown.get(id).is_some_and(|since| since.elapsed() < UNKNOWN_FOR)
    }

    /// The bucket does not know this name.
    pub(super) fn remember(&self, id: PictureId) {
        self.unknown.insert(id, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> PictureId {
        PictureId::of(&number.to_le_bytes())
    }

    /// Regression 10.9: names that are asked for again and again were pushed out by a flood of random ones.
    #[test]
    fn a_flood_does_not_empty_the_memory() {
        let desk = Desk::default();
        let asked: Vec<_> = (0..100).map(id).collect();
        for id in &asked {
            desk.remember(*id);
        }
        for number in 0..10 * UNKNOWN as u32 {
            // A page with broken pictures is looked at now and then.
            if number % 1000 == 0 {
                desk.is_unknown(&asked[(number / 1000) as usize % asked.len()]);
            }
            desk.remember(id(1_000_000 + number));
        }
        let kept = asked.iter().filter(|id| desk.is_unknown(id)).count();
        assert!(kept >= 95, "{kept} of {}", asked.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_so_many_questions_and_so_much_time() {
        let questions = Questions::new(2, Duration::from_secs(10));
        let asker = Asker::Request(&questions);
        assert_eq!([(); 3].map(|()| asker.may_ask()), [true, true, false]);
        assert!(questions.are_used_up());

        let questions = Questions::new(2, Duration::from_secs(10));
        assert!(!questions.are_used_up());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(questions.are_used_up() && !Asker::Request(&questions).may_ask());
        assert!(Asker::Reader.may_ask());
    }
}

//! Takes pictures off this disk: those nobody looks at, and the oldest when there are too many.
//!
//! | rule | what goes | when |
//! |---|---|---|
//! | `store.ttl` | local copies | not looked at for so long |
//! | `store.max_bytes` | local copies, least lately looked at first | local pictures exceed it; down to 90 % of it |
//! | `store.min_free` | as above | the disk has less than a tenth more free than it; up to a quarter more. Nothing, when even all of them would not reach it |
//! | `store.retention` | pictures, for good | made so long ago, and there is no archive |
//!
//! A local copy goes only if the archive was seen to have the picture and it is not pinned; the [store](Store::evict)
//! looks at the record once more. So a wrong clock can cost a download, never a picture. Retention deletes the only copy:
//! it asks for more (see `Calendar`).
//!
//! Nothing here grows with the number of pictures: a page of the index is looked at at a time, and which pictures are the
//! least lately looked at is told by a histogram (`Ages`). After each page the index is let to follow, then there is a
//! pause as long as the page took. Commits and readers meet a sweep only at the picture it has just in hand.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant, SystemTime};

use super::{ages::Ages, calendar::Calendar};
use crate::{
    config,
    store::{Archiving, Cursor, Entry, IndexState, Store, StoreError, unix_ms},
    telemetry::Metrics,
};

/// Entries looked at at a time.
const PAGE: usize = 256;
/// Ages are looked at so many times while they last.
const PER_LIMIT: u32 = 16;
/// Shortest and longest time between two sweeps for age.
const SWEEP: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// Shortest and longest time between two ticks. Room is looked at at every one.
const TICK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// A sweep for age, and one that could not make enough room, is followed by so many times its time without another.
const REST: u32 = 10;
/// Which of several processes does this.
const LEASE: &str = "eviction";
/// How long a lease is good for.
const LEASED_FOR: Duration = Duration::from_secs(60);
/// The clocks must have agreed for the retention time before anything is deleted for good, but never asked for longer.
const LONGEST_PROOF: Duration = Duration::from_secs(3600);
/// 2020-01-01, in milliseconds since 1970. Nothing was made here before: such a time comes from a clock that was not set.
const NOTHING_BEFORE_MS: u64 = 1_577_836_800_000;

/// The time, by the clock that tells dates and may jump, and by the one that only goes on.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub date: SystemTime,
    pub steady: Instant,
}

/// Evicts and deletes pictures of one store.
#[derive(Debug)]
pub struct Sweeper {
    store: Store,
    metrics: Metrics,
    /// Tells this process from others that share the index.
    holder: String,
    calendar: Calendar,
    /// When the lease was last taken.
    leased: Option<Instant>,
    /// When ages were last looked at, and how long that took.
    aged: Option<(Instant, Duration)>,
    /// Making room could not make enough; before this it is not tried again.
    in_vain_until: Option<Instant>,
    /// The log was told that a limit cannot be kept.
    told: bool,
}

/// What a tick did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Evicted: not looked at for `ttl`.
    pub unseen: Gone,
    /// Evicted: over `max_bytes`.
    pub over_budget: Gone,
    /// Evicted: the disk was getting full.
    pub low_space: Gone,
    /// Deleted for good: older than `retention`.
    pub deleted: Gone,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    pub pictures: u64,
    pub bytes: u64,
}

/// Why pictures must make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pressure {
    Budget,
    Space,
}

/// Bytes that must go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Need {
    /// For `max_bytes`.
    budget: u64,
    /// For `min_free` and the margin above it.
    space: u64,
    /// For `min_free` alone. When eviction cannot free this much, it frees nothing for `min_free`: every reader would
    /// wait for the archive, and new pictures would be refused all the same.
    shortage: u64,
}

/// How a sweep ended.
enum End {
    Done,
    /// The index is closed, or another process has the work now.
    Cut,
}

// === impl Sweeper ===

impl Sweeper {
    pub fn new(store: Store, metrics: Metrics) -> Self {
        let holder = format!("{}-{:x}", std::process::id(), getrandom::u64().unwrap_or_default());
        let calendar = Calendar::default();
        Self { store, metrics, holder, calendar, leased: None, aged: None, in_vain_until: None, told: false }
    }

    /// How long to wait for the next tick under these settings.
    pub fn pause(settings: &config::Store) -> Duration {
        let (least, most) = TICK;
        let shortest = [settings.ttl, settings.retention].into_iter().flatten().min();
        shortest.map_or(most, |limit| (limit / PER_LIMIT).clamp(least, most))
    }

    /// Does what is to be done now. Nothing while the index is not complete, or another process has this work.
    pub async fn tick(&mut self, settings: &config::Store, now: Moment) -> Swept {
        self.calendar.see(now);
        let mut swept = Swept::default();
        if self.store.index_state() != IndexState::Ready {
            return swept;
        }
        if self.is_due(settings, now) && self.is_ours().await {
            let start = Instant::now();
            if self.store.archive().is_some() {
                self.evict_unseen(settings, now, &mut swept.unseen).await;
            } else {
                self.delete_old(settings, now, &mut swept.deleted).await;
            }
            self.store.index_settled().await;
            self.aged = Some((now.steady, start.elapsed()));
        }
        if self.in_vain_until.is_none_or(|until| now.steady >= until)
            && let Some(need) = self.need(settings).await
            && self.is_ours().await
        {
            let start = Instant::now();
            let enough = self.make_room(need, now, &mut swept).await;
            self.store.index_settled().await;
            self.in_vain_until = (!enough).then(|| now.steady + start.elapsed() * REST);
            self.told = !enough;
        }
        self.count(&swept);
        swept
    }

    fn is_due(&self, settings: &config::Store, now: Moment) -> bool {
        let limit = if self.store.archive().is_some() { settings.ttl } else { settings.retention };
        let (least, most) = SWEEP;
        limit.is_some_and(|limit| {
            let step = (limit / PER_LIMIT).clamp(least, most);
            self.aged.is_none_or(|(at, took)| now.steady.saturating_duration_since(at) >= step.max(took * REST))
        })
    }

    /// Takes the lease, or renews it when half of its time is over.
    async fn is_ours(&mut self) -> bool {
        if self.leased.is_some_and(|leased| leased.elapsed() < LEASED_FOR / 2) {
            return true;
        }
        let ours = matches!(self.store.lease(LEASE, &self.holder, LEASED_FOR).await, Ok(true));
        self.leased = ours.then(Instant::now);
        ours
    }

    async fn evict_unseen(&mut self, settings: &config::Store, now: Moment, gone: &mut Gone) {
        let Some(ttl) = settings.ttl else { return };
        let before_ms = unix_ms(now.date.checked_sub(ttl).unwrap_or(SystemTime::UNIX_EPOCH));
        let mut pages = Pages::default();
        while let Some(page) = pages.next(&self.store).await {
            for entry in page.iter().filter(|entry| is_evictable(entry) && entry.touched_ms < before_ms) {
                self.evict(entry, gone).await;
            }
            // None behind it has been looked at earlier: a look comes after the making.
            let over = page.last().is_none_or(|last| last.facts.created_ms >= before_ms);
            if over || matches!(self.end_page(&mut pages).await, End::Cut) {
                return;
            }
        }
    }

    async fn delete_old(&mut self, settings: &config::Store, now: Moment, gone: &mut Gone) {
        let Some(retention) = settings.retention else { return };
        if !self.calendar.has_been_right_for(retention.min(LONGEST_PROOF)) {
            return;
        }
        let before_ms = unix_ms(now.date.checked_sub(retention).unwrap_or(SystemTime::UNIX_EPOCH));
        let mut pages = Pages::default();
        while let Some(page) = pages.next(&self.store).await {
            let is_old =
                |entry: &&Entry| (NOTHING_BEFORE_MS..before_ms).contains(&entry.facts.created_ms) && !entry.pinned;
            for entry in page.iter().filter(is_old) {
                match self.store.expire(entry.facts.id, before_ms).await {
                    Ok(bytes) => gone.add(bytes),
                    Err(e) => log::warn!("picture {} could not be deleted for its age: {e}", entry.facts.id),
                }
            }
            let over = page.last().is_none_or(|last| last.facts.created_ms >= before_ms);
            if over || matches!(self.end_page(&mut pages).await, End::Cut) {
                return;
            }
        }
    }

    /// Bytes that must go. `None`: none, or none may.
    async fn need(&self, settings: &config::Store) -> Option<Need> {
        self.store.archive()?;
        let counts = self.store.counts().await.ok()?;
        if counts.archived == 0 || counts.local == 0 {
            return None;
        }
        let over = settings.max_bytes.filter(|max| counts.local_bytes > *max);
        let budget = over.map_or(0, |max| counts.local_bytes - (max - max / 10));
        let (space, shortage) = match settings.min_free {
            0 => (0, 0),
            least => match self.store.lasting_free_space().await {
                Ok(free) if free < least.saturating_add(least / 10) => {
                    (least.saturating_add(least / 4) - free, least.saturating_sub(free))
                }
                _ => (0, 0),
            },
        };
        (budget > 0 || space > 0).then_some(Need { budget, space, shortage })
    }

    /// Evicts the least lately looked at until enough bytes are gone: a first pass finds how old is old enough, a second
    /// one evicts. `false`: too little could go.
    async fn make_room(&mut self, need: Need, now: Moment, swept: &mut Swept) -> bool {
        let now_ms = unix_ms(now.date);
        let mut ages = Ages::new(now_ms);
        let mut pages = Pages::default();
        while let Some(page) = pages.next(&self.store).await {
            for entry in page.iter().filter(|entry| is_evictable(entry)) {
                ages.add(entry.touched_ms, entry.facts.len);
            }
            if matches!(self.end_page(&mut pages).await, End::Cut) {
                return false;
            }
        }
        let is_out_of_reach = need.is_out_of_reach(ages.total());
        let (pressure, bytes) = need.of(ages.total());
        let gone = match pressure {
            Pressure::Budget => &mut swept.over_budget,
            Pressure::Space => &mut swept.low_space,
        };
        if bytes > 0 {
            self.evict_oldest(&ages, bytes, gone).await;
        }
        let is_enough = gone.bytes >= bytes;
        if is_out_of_reach {
            self.tell_out_of_reach(need, ages.total());
        } else if !is_enough {
            self.tell_too_little(pressure, bytes - gone.bytes);
        }
        is_enough && !is_out_of_reach
    }

    /// Evicts so many bytes of what is oldest.
    async fn evict_oldest(&mut self, ages: &Ages, bytes: u64, gone: &mut Gone) {
        let cut = ages.cut(bytes);
        let mut of_the_cut = cut.bytes;
        let mut pages = Pages::default();
        while let Some(page) = pages.next(&self.store).await {
            for entry in page.iter().filter(|entry| is_evictable(entry)) {
                let age = ages.of(entry.touched_ms);
                if gone.bytes >= bytes {
                    return;
                }
                if age > cut.age {
                    self.evict(entry, gone).await;
                } else if age == cut.age && of_the_cut > 0 {
                    of_the_cut = of_the_cut.saturating_sub(entry.facts.len);
                    self.evict(entry, gone).await;
                }
            }
            if matches!(self.end_page(&mut pages).await, End::Cut) {
                return;
            }
        }
    }

    async fn evict(&self, entry: &Entry, gone: &mut Gone) {
        match self.store.evict(entry.facts.id).await {
            Ok(bytes) => gone.add(bytes),
            Err(e) => log::warn!("picture {} could not be evicted: {e}", entry.facts.id),
        }
    }

    /// Lets the index follow, and others have the machine.
    async fn end_page(&mut self, pages: &mut Pages) -> End {
        self.store.index_settled().await;
        tokio::time::sleep(pages.took()).await;
        if self.is_ours().await { End::Done } else { End::Cut }
    }

    fn tell_too_little(&self, pressure: Pressure, lack: u64) {
        if !self.told {
            let setting = pressure.setting();
            log::warn!(
                "store.{setting} cannot be kept: {lack} bytes more should go, but what is here is pinned or waits for \
                 the archive"
            );
        }
    }

    fn tell_out_of_reach(&self, need: Need, evictable: u64) {
        if !self.told {
            let shortage = need.shortage;
            log::warn!(
                "store.min_free cannot be reached: the disk lacks {shortage} bytes and evicting every local copy would \
                 free {evictable}, so none is evicted. Make room on the disk, or lower store.min_free"
            );
        }
    }

    fn count(&self, swept: &Swept) {
        let evicted = [
            ("ttl", swept.unseen),
            (Pressure::Budget.setting(), swept.over_budget),
            (Pressure::Space.setting(), swept.low_space),
        ];
        for (why, gone) in evicted.into_iter().filter(|(_, gone)| gone.pictures > 0) {
            self.metrics.keeping.evicted.with_label_values(&[why]).inc_by(gone.pictures);
            self.metrics.keeping.evicted_bytes.with_label_values(&[why]).inc_by(gone.bytes);
            log::info!("evicted by store.{why}: {} pictures, {} bytes", gone.pictures, gone.bytes);
        }
        if swept.deleted.pictures > 0 {
            let Gone { pictures, bytes } = swept.deleted;
            self.metrics.keeping.deleted.inc_by(pictures);
            log::info!("deleted by store.retention: {pictures} pictures, {bytes} bytes");
        }
    }
}

fn is_evictable(entry: &Entry) -> bool {
    entry.local && entry.archive == Archiving::Done && !entry.pinned
}

/// The entries of the index, oldest first.
#[derive(Debug, Default)]
struct Pages {
    after: Option<Cursor>,
    since: Option<Instant>,
}

impl Pages {
    /// `None`: there are no more, or the index cannot be read.
    async fn next(&mut self, store: &Store) -> Option<Vec<Entry>> {
        self.since = Some(Instant::now());
        let page = match store.oldest(self.after, PAGE).await {
            Ok(page) => page,
            Err(StoreError::IndexClosed) => return None,
            Err(e) => {
                log::warn!("a sweep was cut off: {e}");
                return None;
            }
        };
        self.after = Some(page.last()?.cursor());
        Some(page)
    }

    /// Since the page was asked for.
    fn took(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

// === impl Need ===

impl Need {
    /// `true` if the disk stays below `min_free` after so many bytes are evicted.
    fn is_out_of_reach(&self, evictable: u64) -> bool {
        evictable < self.shortage
    }

    /// The reason for which pictures go, and the bytes that go, when so many could.
    fn of(&self, evictable: u64) -> (Pressure, u64) {
        let space = if self.is_out_of_reach(evictable) { 0 } else { self.space };
        (if self.budget >= space { Pressure::Budget } else { Pressure::Space }, self.budget.max(space))
    }
}

// === impl Gone ===

impl Gone {
    fn add(&mut self, bytes: Option<u64>) {
        if let Some(bytes) = bytes {
            self.pictures += 1;
            self.bytes += bytes;
        }
    }
}

// === impl Pressure ===

impl Pressure {
    fn setting(self) -> &'static str {
        match self {
            Pressure::Budget => "max_bytes",
            Pressure::Space => "min_free",
        }
    }
}

// === impl Moment ===

impl Moment {
    pub fn now() -> Self {
        Self { date: SystemTime::now(), steady: Instant::now() }
    }
}

//! Real stores in temporary folders; the time is what each test says it is.

use std::{
    fs::{self, File, FileTimes},
    path::PathBuf,
};

use prometheus::Registry;
use tempfile::TempDir;

use super::*;
use crate::{config::Durability, picture::PictureId, store::NewRecord};

const BUCKET: &str = "https://bucket/b/p/";
const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);

/// A store whose pictures were put there by hand, before it was opened.
struct Kept {
    dir: TempDir,
    now: Moment,
}

/// A picture by hand: so long before now it was made and last looked at.
#[derive(Clone, Copy)]
struct Made {
    ago: Duration,
    looked: Duration,
    len: usize,
    archived: bool,
    pinned: bool,
}

const MADE: Made = Made { ago: Duration::ZERO, looked: Duration::ZERO, len: 1000, archived: true, pinned: false };

impl Kept {
    fn new() -> Self {
        // Not now: the clock of the machine plays no part, only the date of the test does.
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
        Self { dir: tempfile::tempdir().unwrap(), now: Moment { date, steady: Instant::now() } }
    }

    /// A picture of so many bytes, nearly all of which are holes: its file takes no room on the disk of the test.
    fn put_sparse(&self, len: u64) -> PictureId {
        let id = self.put(MADE);
        File::options().write(true).open(self.blob(id)).unwrap().set_len(len).unwrap();
        let record = self.blob(id).with_extension("json");
        let mut told: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
        told["bytes"] = len.into();
        fs::write(record, told.to_string()).unwrap();
        id
    }

    fn put(&self, made: Made) -> PictureId {
        self.put_at(self.now.date - made.ago, self.now.date - made.looked, made)
    }

    fn put_at(&self, created: SystemTime, looked: SystemTime, made: Made) -> PictureId {
        let count = self.dir.path().join("images").read_dir().map_or(0, |shards| {
            shards.map(|shard| shard.unwrap().path().read_dir().unwrap().count() as u32).sum::<u32>()
        });
        let mut bytes = b"GIF89a\x01\x00\x01\x00\x00\x00\x00".to_vec();
        bytes.extend(count.to_le_bytes());
        bytes.resize(made.len, 0);
        let id = PictureId::of(&bytes);
        fs::create_dir_all(self.blob(id).parent().unwrap()).unwrap();
        fs::write(self.blob(id), &bytes).unwrap();
        let times = FileTimes::new().set_accessed(looked).set_modified(created);
        File::options().write(true).open(self.blob(id)).unwrap().set_times(times).unwrap();
        let mut record = serde_json::json!({
            "v": 1, "id": id.to_string(), "format": "gif", "type": "image/gif", "bytes": made.len,
            "created": unix_ms(created), "pinned": made.pinned,
        });
        if made.archived {
            record["archived"] = serde_json::json!({ "place": BUCKET, "at": 1 });
        }
        fs::write(self.blob(id).with_extension("json"), record.to_string()).unwrap();
        id
    }

    fn blob(&self, id: PictureId) -> PathBuf {
        self.dir.path().join("images").join(id.shard()).join(format!("{id}.gif"))
    }

    fn is_here(&self, id: PictureId) -> bool {
        self.blob(id).exists()
    }

    fn has_record(&self, id: PictureId) -> bool {
        self.blob(id).with_extension("json").exists()
    }

    async fn open(&self, archive: Option<&str>) -> (Store, Sweeper) {
        let store = Store::open(self.dir.path(), &settings(), archive.map(str::to_owned)).unwrap();
        ready(&store).await;
        (store.clone(), sweeper(&store))
    }

    fn after(&self, time: Duration) -> Moment {
        Moment { date: self.now.date + time, steady: self.now.steady + time }
    }
}

fn settings() -> config::Store {
    config::Store {
        memory_cache: 1 << 20,
        durability: Durability::Process,
        ttl: None,
        max_bytes: None,
        retention: None,
        min_free: 0,
    }
}

fn sweeper(store: &Store) -> Sweeper {
    Sweeper::new(store.clone(), Metrics::register(&Registry::new()).unwrap())
}

async fn ready(store: &Store) {
    let start = Instant::now();
    while store.index_state() != IndexState::Ready {
        assert!(start.elapsed() < Duration::from_secs(120), "the index does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn gone(pictures: u64, bytes: u64) -> Gone {
    Gone { pictures, bytes }
}

#[tokio::test]
async fn what_nobody_looked_at_for_the_ttl_goes_if_the_archive_has_it() {
    let kept = Kept::new();
    let old = Made { ago: 9 * DAY, looked: 73 * HOUR, ..MADE };
    let unseen = kept.put(old);
    let stay = [
        kept.put(Made { looked: 71 * HOUR, ..old }),
        kept.put(Made { archived: false, ..old }),
        kept.put(Made { pinned: true, ..old }),
        kept.put(MADE),
    ];
    let (store, mut sweeper) = kept.open(Some(BUCKET)).await;
    let settings = config::Store { ttl: Some(72 * HOUR), ..settings() };
    let swept = sweeper.tick(&settings, kept.now).await;
    assert_eq!(swept, Swept { unseen: gone(1, 1000), ..Swept::default() });
    assert!(!kept.is_here(unseen) && kept.has_record(unseen));
    assert!(stay.into_iter().all(|id| kept.is_here(id)));
    assert_eq!(store.counts().await.unwrap().local, 4);
    assert_eq!(sweeper.metrics.keeping.evicted.with_label_values(&["ttl"]).get(), 1);
    assert_eq!(sweeper.metrics.keeping.evicted_bytes.with_label_values(&["ttl"]).get(), 1000);
}

#[tokio::test]
async fn a_look_puts_it_off() {
    // The store notes a look at the time it has.
    let kept = Kept { now: Moment::now(), ..Kept::new() };
    let made = Made { ago: 9 * DAY, looked: 9 * DAY, ..MADE };
    let (seen, unseen) = (kept.put(made), kept.put(made));
    let (store, mut sweeper) = kept.open(Some(BUCKET)).await;
    store.get(&seen).await.unwrap().unwrap();
    store.index_settled().await;
    let settings = config::Store { ttl: Some(2 * HOUR), ..settings() };
    assert_eq!(sweeper.tick(&settings, kept.after(HOUR)).await.unseen.pictures, 1);
    assert!(kept.is_here(seen) && !kept.is_here(unseen));
}

#[tokio::test]
async fn ages_are_looked_at_again_when_it_is_time() {
    let kept = Kept::new();
    kept.put(Made { ago: 9 * DAY, looked: 71 * HOUR, ..MADE });
    let (_store, mut sweeper) = kept.open(Some(BUCKET)).await;
    let settings = config::Store { ttl: Some(72 * HOUR), ..settings() };
    for (after, evicted) in [(0, 0), (61, 1), (62, 0)] {
        let swept = sweeper.tick(&settings, kept.after(Duration::from_secs(after * 60))).await;
        assert_eq!(swept.unseen.pictures, evicted, "after {after} minutes");
    }
}

#[tokio::test]
async fn the_least_lately_looked_at_go_until_nine_tenths_of_the_budget_are_kept() {
    let kept = Kept::new();
    // Made in one order, looked at in another.
    let ids: Vec<_> =
        (0..20_u32).map(|n| kept.put(Made { ago: 30 * DAY, looked: HOUR * (1 + n * 7 % 20), ..MADE })).collect();
    let waiting = kept.put(Made { ago: 60 * DAY, looked: 60 * DAY, archived: false, ..MADE });
    let pinned = kept.put(Made { ago: 60 * DAY, looked: 60 * DAY, pinned: true, ..MADE });
    let (store, mut sweeper) = kept.open(Some(BUCKET)).await;

    let at = |max| config::Store { max_bytes: Some(max), ..settings() };
    assert_eq!(sweeper.tick(&at(22_000), kept.now).await, Swept::default());
    // 22 are here, 10 may be: 9 stay.
    let swept = sweeper.tick(&at(10_000), kept.after(HOUR)).await;
    assert_eq!(swept, Swept { over_budget: gone(13, 13_000), ..Swept::default() });
    for (n, id) in (0..20_u32).zip(ids) {
        assert_eq!(kept.is_here(id), n * 7 % 20 < 7, "looked at {} hours ago", 1 + n * 7 % 20);
    }
    assert!(kept.is_here(waiting) && kept.is_here(pinned));
    assert_eq!(store.counts().await.unwrap().local_bytes, 9000);
    assert_eq!(sweeper.tick(&at(10_000), kept.after(2 * HOUR)).await, Swept::default());
}

#[tokio::test]
async fn a_budget_that_cannot_be_kept_costs_no_only_copy() {
    let kept = Kept::new();
    let (archived, waiting) = (kept.put(MADE), kept.put(Made { archived: false, ago: 9 * DAY, ..MADE }));
    let (_store, mut sweeper) = kept.open(Some(BUCKET)).await;
    let settings = config::Store { max_bytes: Some(1), ..settings() };
    assert_eq!(sweeper.tick(&settings, kept.now).await.over_budget, gone(1, 1000));
    assert!(!kept.is_here(archived) && kept.is_here(waiting));
    assert!(sweeper.told);
}

const TIB: u64 = 1 << 40;

#[tokio::test]
async fn a_disk_that_gets_full_is_relieved() {
    let kept = Kept::new();
    let ids = [kept.put_sparse(4 * TIB), kept.put(Made { archived: false, ..MADE })];
    let (store, mut sweeper) = kept.open(Some(BUCKET)).await;
    let min_free = store.free_space().await.unwrap() + TIB;
    let swept = sweeper.tick(&config::Store { min_free, ..settings() }, kept.now).await;
    assert_eq!(swept, Swept { low_space: gone(1, 4 * TIB), ..Swept::default() });
    assert_eq!(ids.map(|id| kept.is_here(id)), [false, true]);
}

/// Regression 10.7: a `min_free` that the disk cannot have took every local copy, and helped nobody.
#[tokio::test]
async fn a_min_free_out_of_reach_evicts_nothing() {
    let kept = Kept::new();
    let ids = [kept.put_sparse(TIB), kept.put(MADE)];
    let (store, mut sweeper) = kept.open(Some(BUCKET)).await;
    let min_free = store.free_space().await.unwrap() + 2 * TIB;
    for min_free in [min_free, u64::MAX] {
        let settings = config::Store { min_free, ..settings() };
        assert_eq!(sweeper.tick(&settings, kept.now).await, Swept::default(), "{min_free}");
        assert!(sweeper.told);
        sweeper.in_vain_until = None;
    }
    assert_eq!(ids.map(|id| kept.is_here(id)), [true, true]);
    // The budget is another matter.
    let settings = config::Store { min_free, max_bytes: Some(2000), ..settings() };
    let swept = sweeper.tick(&settings, kept.now).await;
    assert!(swept.low_space == Gone::default() && swept.over_budget.bytes >= TIB, "{swept:?}");
}

#[tokio::test]
async fn spools_do_not_evict() {
    let kept = Kept::new();
    let id = kept.put_sparse(4 * TIB);
    let (store, mut sweeper) = kept.open(Some(BUCKET)).await;
    let before = store.lasting_free_space().await.unwrap();
    let mut spool = store.spooler("a key").spool(None);
    spool.write(&vec![0; 4 << 20]).await.unwrap();
    let spooled = store.lasting_free_space().await.unwrap() - store.free_space().await.unwrap();
    // Others write to this disk, too.
    assert!((1 << 20..1 << 30).contains(&spooled), "{spooled}");
    // With room for the margin as long as spools do not count.
    let settings = config::Store { min_free: before / 2, ..settings() };
    assert_eq!(sweeper.tick(&settings, kept.now).await, Swept::default());
    assert!(kept.is_here(id));
}

#[test]
fn what_goes_depends_on_what_could() {
    let need = |budget, space, shortage| Need { budget, space, shortage };
    for (need, evictable, expected) in [
        (need(10, 0, 0), 0, (Pressure::Budget, 10)),
        (need(0, 20, 15), 15, (Pressure::Space, 20)),
        (need(0, 20, 15), 14, (Pressure::Budget, 0)),
        (need(10, 20, 15), 15, (Pressure::Space, 20)),
        (need(10, 20, 15), 14, (Pressure::Budget, 10)),
        (need(30, 20, 15), 50, (Pressure::Budget, 30)),
        // Above `min_free`, and within its margin.
        (need(0, 5, 0), 0, (Pressure::Space, 5)),
    ] {
        assert_eq!(need.of(evictable), expected, "{need:?} of {evictable}");
    }
}

#[tokio::test]
async fn pages_and_order_hold_for_many() {
    let kept = Kept::new();
    let ids: Vec<_> = (0..1000_u32)
        .map(|n| kept.put(Made { ago: 400 * DAY, looked: DAY + HOUR * (n * 7919 % 1000), len: 20, ..MADE }))
        .collect();
    let (store, mut sweeper) = kept.open(Some(BUCKET)).await;
    let settings = config::Store { max_bytes: Some(10_000), ..settings() };
    let swept = sweeper.tick(&settings, kept.now).await;
    assert_eq!(swept.over_budget, gone(550, 11_000));
    assert_eq!(store.counts().await.unwrap().local, 450);
    assert_eq!(store.index_state(), IndexState::Ready);
    // Ages within 3 % count as one.
    for (n, id) in (0..1000_u32).zip(ids) {
        match n * 7919 % 1000 {
            ..435 => assert!(kept.is_here(id)),
            466.. => assert!(!kept.is_here(id)),
            _ => {}
        }
    }
}

#[tokio::test]
async fn without_an_archive_age_and_size_remove_nothing() {
    let kept = Kept::new();
    let id = kept.put(Made { ago: 900 * DAY, looked: 900 * DAY, ..MADE });
    let (_store, mut sweeper) = kept.open(None).await;
    let settings = config::Store { ttl: Some(HOUR), max_bytes: Some(1), min_free: u64::MAX, ..settings() };
    for hour in 0..3 {
        assert_eq!(sweeper.tick(&settings, kept.after(HOUR * hour)).await, Swept::default());
    }
    assert!(kept.is_here(id));
}

#[tokio::test]
async fn retention_deletes_what_is_old_where_there_is_no_archive() {
    let only_copy = Made { archived: false, ..MADE };
    let old = Made { ago: 31 * DAY, ..only_copy };
    let settings = config::Store { retention: Some(30 * DAY), ..settings() };

    let kept = Kept::new();
    let expired = kept.put(old);
    let stay = [
        kept.put(Made { ago: 29 * DAY, ..only_copy }),
        kept.put(Made { pinned: true, ..old }),
        kept.put(Made { archived: true, ..old }),
    ];
    let (store, mut sweeper) = kept.open(None).await;
    assert_eq!(sweeper.tick(&settings, kept.now).await, Swept::default(), "the date has not proved right");
    let swept = sweeper.tick(&settings, kept.after(HOUR)).await;
    assert_eq!(swept, Swept { deleted: gone(1, 1000), ..Swept::default() });
    assert!(!kept.is_here(expired) && !kept.has_record(expired));
    assert!(stay.into_iter().all(|id| kept.is_here(id)));
    assert_eq!(store.counts().await.unwrap().pictures, 3);
    assert_eq!(sweeper.metrics.keeping.deleted.get(), 1);

    let kept = Kept::new();
    let id = kept.put(old);
    let (_store, mut sweeper) = kept.open(Some(BUCKET)).await;
    for hour in 0..3 {
        assert_eq!(sweeper.tick(&settings, kept.after(HOUR * hour)).await, Swept::default(), "there is an archive");
    }
    assert!(kept.is_here(id));
}

/// Dates as they may come from a broken clock. The steady clock goes on by an hour at a time.
#[tokio::test]
async fn no_jump_of_the_clock_loses_a_picture() {
    let kept = Kept::new();
    let only_copy = Made { archived: false, ..MADE };
    let made_in = |date| kept.put_at(date, date, only_copy);
    let epoch = SystemTime::UNIX_EPOCH;
    let ids = [
        kept.put(Made { ago: 29 * DAY + 12 * HOUR, ..only_copy }),
        made_in(kept.now.date + 400 * DAY),
        made_in(epoch),
        made_in(epoch + Duration::from_secs(100)),
    ];
    let (store, mut sweeper) = kept.open(None).await;
    let settings = config::Store { retention: Some(30 * DAY), ..settings() };
    let right = |hours: u32| kept.now.date + HOUR * hours;
    for (hour, date) in (0_u32..).zip([
        right(0),
        right(1),
        right(2) + DAY,
        right(3),
        right(4) - DAY,
        right(5),
        epoch,
        epoch + HOUR,
        right(8),
        right(9) + 9000 * DAY,
        right(10),
        right(11),
    ]) {
        let now = Moment { date, steady: kept.now.steady + HOUR * hour };
        assert_eq!(sweeper.tick(&settings, now).await, Swept::default(), "in hour {hour}");
    }
    assert!(ids.into_iter().all(|id| kept.is_here(id)));

    // A date that stays is believed in the end; only what was made under a dead clock has no age.
    let later = Moment { date: right(24), steady: kept.now.steady + HOUR * 24 };
    assert_eq!(sweeper.tick(&settings, later).await.deleted.pictures, 1);
    assert!(ids[1..].iter().all(|id| kept.is_here(*id)));
    assert_eq!(store.counts().await.unwrap().pictures, 3);
}

#[tokio::test]
async fn a_jump_of_the_clock_evicts_only_what_the_archive_has() {
    let kept = Kept::new();
    let (archived, waiting) = (kept.put(MADE), kept.put(Made { archived: false, ..MADE }));
    let (store, mut sweeper) = kept.open(Some(BUCKET)).await;
    let settings = config::Store { ttl: Some(12 * HOUR), max_bytes: Some(1500), ..settings() };
    let jumped = |date| Moment { date, steady: kept.now.steady };
    assert_eq!(sweeper.tick(&settings, jumped(kept.now.date + DAY)).await.unseen, gone(1, 1000));
    assert!(!kept.is_here(archived) && kept.is_here(waiting));
    let record = store.record(&archived).await.unwrap().unwrap();
    assert!(record.is_archived_at(BUCKET));
    let mut sweeper = super::tests::sweeper(&store);
    assert_eq!(sweeper.tick(&settings, jumped(SystemTime::UNIX_EPOCH)).await, Swept::default());
    assert!(kept.is_here(waiting));
}

#[tokio::test]
async fn nothing_happens_while_another_process_has_the_index() {
    let kept = Kept::new();
    let id = kept.put(Made { ago: 9 * DAY, looked: 9 * DAY, ..MADE });
    let (first, _) = kept.open(Some(BUCKET)).await;
    let second = Store::open(kept.dir.path(), &settings(), Some(BUCKET.to_owned())).unwrap();
    let settings = config::Store { ttl: Some(HOUR), max_bytes: Some(1), ..settings() };
    assert_eq!(sweeper(&second).tick(&settings, kept.now).await, Swept::default());
    assert!(kept.is_here(id));
    drop((first, second));
}

#[tokio::test]
async fn of_several_sweepers_one_does_the_work() {
    let kept = Kept::new();
    let (store, mut one) = kept.open(Some(BUCKET)).await;
    let mut other = sweeper(&store);
    let settings = config::Store { ttl: Some(HOUR), ..settings() };
    one.tick(&settings, kept.now).await;
    assert!(one.is_ours().await && !other.is_ours().await);
    other.tick(&settings, kept.now).await;
    assert_eq!((one.aged.is_some(), other.aged.is_some()), (true, false));
}

#[tokio::test]
async fn commits_go_on_while_many_are_evicted() {
    let kept = Kept::new();
    for _ in 0..600 {
        kept.put(Made { ago: 9 * DAY, looked: 9 * DAY, len: 20, ..MADE });
    }
    let (store, mut sweeper) = kept.open(Some(BUCKET)).await;
    let settings = config::Store { ttl: Some(HOUR), ..settings() };
    let sweep = async { sweeper.tick(&settings, kept.now).await };
    let commits = async {
        for n in 0..50_u8 {
            let mut writer = store.writer();
            writer.write(b"GIF89a\x01\x00\x01\x00\x00\x00\x00another").await.unwrap();
            writer.write(&[n]).await.unwrap();
            writer.finish().await.unwrap().commit(NewRecord::default()).await.unwrap();
        }
    };
    let (swept, ()) = tokio::join!(sweep, commits);
    assert_eq!(swept.unseen.pictures, 600);
    store.index_settled().await;
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.pictures, counts.local, store.index_state()), (650, 50, IndexState::Ready));
}

#[test]
fn ticks_suit_the_limits() {
    let pause = |ttl, retention| Sweeper::pause(&config::Store { ttl, retention, ..settings() });
    let s = Duration::from_secs;
    assert_eq!(pause(None, None), s(5));
    assert_eq!(pause(Some(72 * HOUR), None), s(5));
    assert_eq!(pause(Some(72 * HOUR), Some(s(32))), s(2));
    assert_eq!(pause(Some(s(1)), None), s(1));
}

//! What every index must do: plain functions over `dyn Index`, run by each implementation's tests.

use std::time::Duration;

use super::*;
use crate::picture::Format;

/// Runs all of it, each part on an empty index of its own. What else `make` returns is kept as long as the index.
pub(super) async fn all<I: Index, K>(make: impl AsyncFn() -> (I, K)) {
    macro_rules! run {
        ($($part:ident),* $(,)?) => {$({
            let (index, _kept) = make().await;
            $part(&index).await;
        })*};
    }
    run!(
        an_empty_one,
        pages_go_both_ways,
        entries_of_one_moment_are_all_there,
        a_put_replaces,
        counts_follow_every_change,
        the_later_look_stays,
        what_waits_comes_oldest_first,
        changes_of_a_batch_see_each_other,
        shards_tell_what_is_here,
        graves,
        leases,
    );
}

/// Entry number `n`, of this many bytes: newer than those with lower numbers, on this disk, waiting for the archive.
pub(super) fn entry(n: u8, len: u64) -> Entry {
    let facts = Facts { id: PictureId::of(&[n]), format: Format::Png, len, created_ms: 1_000 + u64::from(n) };
    Entry {
        facts,
        model: Some(format!("model {n}")),
        key: None,
        local: true,
        archive: Archiving::Waiting,
        pinned: false,
        touched_ms: facts.created_ms,
    }
}

async fn put(index: &dyn Index, entries: impl IntoIterator<Item = Entry>) {
    index.apply(entries.into_iter().map(Change::Put).collect()).await.unwrap();
}

fn numbers(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.facts.created_ms - 1_000).collect()
}

async fn an_empty_one(index: &dyn Index) {
    assert_eq!(index.counts().await.unwrap(), Counts::default());
    assert!(index.newest(None, 9).await.unwrap().is_empty());
    assert!(index.oldest(None, 9).await.unwrap().is_empty());
    assert!(index.waiting(None, 9).await.unwrap().is_empty());
    assert!(index.buried(None, 9).await.unwrap().is_empty());
    assert!(index.shard(0).await.unwrap().is_empty());
    assert_eq!(index.entry(PictureId::of(b"x")).await.unwrap(), None);
    index.apply(vec![Change::Remove(PictureId::of(b"x")), Change::Forget(PictureId::of(b"x"))]).await.unwrap();
    assert_eq!(index.counts().await.unwrap(), Counts::default());
    index.flush().await.unwrap();
}

async fn pages_go_both_ways(index: &dyn Index) {
    put(index, [3, 1, 5, 2, 4].map(|n| entry(n, 1))).await;
    let first = index.newest(None, 2).await.unwrap();
    assert_eq!(numbers(&first), [5, 4]);
    assert_eq!(first[0], entry(5, 1));
    assert_eq!(numbers(&index.newest(Some(first[1].cursor()), 9).await.unwrap()), [3, 2, 1]);
    let first = index.oldest(None, 2).await.unwrap();
    assert_eq!(numbers(&first), [1, 2]);
    assert_eq!(numbers(&index.oldest(Some(first[1].cursor()), 9).await.unwrap()), [3, 4, 5]);
    assert!(index.newest(Some(first[0].cursor()), 9).await.unwrap().is_empty());
}

async fn entries_of_one_moment_are_all_there(index: &dyn Index) {
    let at_once = |n: u8| {
        let mut entry = entry(n, 1);
        entry.facts.created_ms = 7_000;
        entry
    };
    put(index, (0..20).map(at_once)).await;
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = index.newest(before, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.cursor());
        seen.extend(page.into_iter().map(|entry| entry.facts.id));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 20);
}

async fn a_put_replaces(index: &dyn Index) {
    put(index, [entry(1, 10)]).await;
    let mut other = entry(1, 20);
    other.facts.created_ms = 9_000;
    other.archive = Archiving::Done;
    other.pinned = true;
    put(index, [other.clone()]).await;
    other.touched_ms = 1_001.max(other.touched_ms);
    assert_eq!(index.entry(other.facts.id).await.unwrap(), Some(other.clone()));
    assert_eq!(index.newest(None, 9).await.unwrap(), [other]);
    assert!(index.waiting(None, 9).await.unwrap().is_empty());
    assert_eq!(index.counts().await.unwrap().bytes, 20);
}

async fn counts_follow_every_change(index: &dyn Index) {
    put(index, [entry(1, 10), entry(2, 20), entry(3, 40)]).await;
    put(index, [Entry { local: false, archive: Archiving::Done, ..entry(2, 20) }]).await;
    put(index, [Entry { archive: Archiving::Off, ..entry(3, 40) }]).await;
    let counts = Counts {
        pictures: 3,
        bytes: 70,
        local: 2,
        local_bytes: 50,
        archived: 1,
        archived_bytes: 20,
        waiting: 1,
        waiting_bytes: 10,
        buried: 0,
    };
    assert_eq!(index.counts().await.unwrap(), counts);
    index.apply((1..=3).map(|n| Change::Remove(PictureId::of(&[n]))).collect()).await.unwrap();
    assert_eq!(index.counts().await.unwrap(), Counts::default());
    assert!(index.oldest(None, 9).await.unwrap().is_empty() && index.waiting(None, 9).await.unwrap().is_empty());
}

async fn the_later_look_stays(index: &dyn Index) {
    let id = PictureId::of(&[1]);
    let touched = async || index.entry(id).await.unwrap().unwrap().touched_ms;
    put(index, [entry(1, 10)]).await;
    index.apply(vec![Change::Touch { id, at_ms: 5_000 }]).await.unwrap();
    assert_eq!(touched().await, 5_000);
    index.apply(vec![Change::Touch { id, at_ms: 4_000 }]).await.unwrap();
    put(index, [entry(1, 10)]).await;
    assert_eq!(touched().await, 5_000);
    index.apply(vec![Change::Touch { id: PictureId::of(b"unknown"), at_ms: 1 }]).await.unwrap();
    assert_eq!(index.counts().await.unwrap().pictures, 1);
}

async fn what_waits_comes_oldest_first(index: &dyn Index) {
    put(index, [4, 2, 3, 1].map(|n| entry(n, 1))).await;
    put(index, [Entry { archive: Archiving::Done, ..entry(2, 1) }]).await;
    let first = index.waiting(None, 2).await.unwrap();
    assert_eq!(numbers(&first), [1, 3]);
    assert_eq!(numbers(&index.waiting(Some(first[1].cursor()), 9).await.unwrap()), [4]);
}

async fn changes_of_a_batch_see_each_other(index: &dyn Index) {
    let id = PictureId::of(&[1]);
    let changes = vec![
        Change::Put(entry(1, 10)),
        Change::Touch { id, at_ms: 8_000 },
        Change::Put(Entry { local: false, ..entry(1, 10) }),
        Change::Put(entry(2, 5)),
        Change::Remove(PictureId::of(&[2])),
        Change::Bury(id),
        Change::Bury(id),
        Change::Forget(id),
        Change::Bury(PictureId::of(&[2])),
    ];
    index.apply(changes).await.unwrap();
    let counts = index.counts().await.unwrap();
    assert_eq!((counts.pictures, counts.bytes, counts.local, counts.waiting, counts.buried), (1, 10, 0, 1, 1));
    assert_eq!(index.entry(id).await.unwrap().unwrap().touched_ms, 8_000);
    assert_eq!(index.entry(PictureId::of(&[2])).await.unwrap(), None);
}

async fn shards_tell_what_is_here(index: &dyn Index) {
    put(index, (0..100).map(|n| Entry { local: n % 2 == 0, ..entry(n, 1) })).await;
    let mut all = Vec::new();
    for first in 0..=u8::MAX {
        let shard = index.shard(first).await.unwrap();
        assert!(shard.iter().all(|known| known.id.as_bytes()[0] == first) && shard.is_sorted_by_key(|known| known.id));
        all.extend(shard);
    }
    assert_eq!(all.len(), 100);
    for n in 0..100 {
        assert!(all.contains(&Known { id: PictureId::of(&[n]), local: n % 2 == 0 }));
    }
}

async fn graves(index: &dyn Index) {
    let mut ids: Vec<_> = (0..5).map(|n| PictureId::of(&[n])).collect();
    ids.sort();
    index.apply(ids.iter().copied().map(Change::Bury).collect()).await.unwrap();
    assert_eq!(index.buried(None, 2).await.unwrap(), ids[..2]);
    assert_eq!(index.buried(Some(ids[1]), 9).await.unwrap(), ids[2..]);
    assert_eq!(index.counts().await.unwrap().buried, 5);
    index.apply(vec![Change::Forget(ids[0])]).await.unwrap();
    assert_eq!(index.buried(None, 9).await.unwrap(), ids[1..]);
    assert_eq!(index.counts().await.unwrap().buried, 4);
}

async fn leases(index: &dyn Index) {
    let (long, over) = (Duration::from_secs(3600), Duration::ZERO);
    assert!(index.lease("archiver", "one", long).await.unwrap());
    assert!(index.lease("archiver", "one", long).await.unwrap());
    assert!(!index.lease("archiver", "two", long).await.unwrap());
    assert!(index.lease("sweeper", "two", long).await.unwrap());
    assert!(index.lease("archiver", "one", over).await.unwrap());
    assert!(index.lease("archiver", "two", long).await.unwrap());
    // As after the clock was set back: it ends later than one that begins now.
    assert!(index.lease("archiver", "three", long / 2).await.unwrap());
}

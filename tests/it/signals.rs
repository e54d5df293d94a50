//! Signals under load: no request fails because the operator changed something.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use picgate::{
    config,
    picture::PictureId,
    store::{Findings, IndexState, Store},
};

use crate::{
    binary::Site,
    load::{Dice, Kind, Load, Outcome, Seen, all_there},
    process::Process,
};

const KINDS: &[Kind] = &[Kind::Small, Kind::Picture, Kind::Picture, Kind::Models, Kind::Models, Kind::Stream];

/// Requests in all while something happens.
const FEW: u64 = 600;
const MANY: u64 = 10_000;

fn load(site: &Site) -> Load {
    Load::start(&site.url(""), 8, KINDS, Dice::told().below(u64::MAX), Arc::new(Seen::default()))
}

/// Waits for more good answers.
async fn more(seen: &Seen, times: u64) {
    let good = seen.times(Outcome::is_good) + times;
    seen.until(good, "good answers", Outcome::is_good).await;
}

async fn hup(requests: u64) {
    let site = Site::with_key().await;
    let process = site.run().await;
    let load = load(&site);
    let path = site.path("picgate.yaml");
    let good = std::fs::read_to_string(&path).unwrap();
    for (turn, text) in [&good, "picgate: { nonsense", &good, &good.replace("keys:", "kees:"), &good].iter().enumerate()
    {
        more(&load.seen, requests / 6).await;
        std::fs::write(&path, text).unwrap();
        process.signal("HUP");
        let said = if turn % 2 == 0 { "is in force" } else { "stays in force" };
        process.logs_times(said, turn / 2 + 1);
    }
    more(&load.seen, requests / 6).await;
    let seen = load.stop().await;
    seen.show();
    assert_eq!(seen.times(|outcome| !outcome.is_good()), 0, "{:?}\n{}", seen.outcomes(), process.stderr());
}

/// A new process takes the sockets over, and then the index.
async fn hand_over(requests: u64) {
    let site = Site::with_key().await;
    let mut old = site.run().await;
    let load = load(&site);
    more(&load.seen, requests / 4).await;
    let mut new = Process::start(site.command("run").arg("--upgrade"));
    new.logs("waiting for the running gateway");
    old.signal("QUIT");
    more(&load.seen, requests / 4).await;
    assert_eq!(old.exit().await, Some(0), "{}", old.stderr());
    new.logs("the index can be used again");
    more(&load.seen, requests / 4).await;
    let seen = load.stop().await;
    seen.show();
    assert_eq!(seen.times(|outcome| !outcome.is_good()), 0, "{:?}\n{}", seen.outcomes(), new.stderr());
    all_there(seen.urls()).await;
    new.signal("TERM");
    assert_eq!(new.exit().await, Some(0));
    assert_eq!(listed(&site, &seen.urls()).await.added, 0, "the process before had not listed them");
}

/// These pictures are listed. What the index had to be told for that.
pub async fn listed(site: &Site, urls: &BTreeSet<String>) -> Findings {
    let settings = config::Store {
        memory_cache: 0,
        durability: config::Durability::Process,
        ttl: None,
        max_bytes: None,
        retention: None,
        min_free: 0,
    };
    let store = Store::open(Path::new(&site.path("data")), &settings, None).unwrap();
    while store.index_state() != IndexState::Ready {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let page = store.recent(None, 100_000).await.unwrap();
    let listed: BTreeSet<PictureId> = page.entries.iter().map(|entry| entry.facts.id).collect();
    let told = urls.iter().map(|url| url.rsplit('/').next().unwrap().split('.').next().unwrap().parse().unwrap());
    assert!(told.collect::<BTreeSet<_>>().is_subset(&listed));
    store.findings()
}

/// The service manager's restart: stopped, then started. Who finds nobody there asks again.
async fn restart(requests: u64) {
    let site = Site::with_key().await;
    let mut process = site.run().await;
    let load = load(&site);
    for _ in 0..2 {
        more(&load.seen, requests / 3).await;
        process.signal("TERM");
        assert_eq!(process.exit().await, Some(0), "{}", process.stderr());
        process = site.run().await;
    }
    more(&load.seen, requests / 3).await;
    let seen = load.stop().await;
    seen.show();
    let fine = |outcome: &Outcome| outcome.is_good() || matches!(outcome, Outcome::Refused | Outcome::Reset);
    assert_eq!(seen.times(|outcome| !fine(outcome)), 0, "{:?}\n{}", seen.outcomes(), process.stderr());
    // No process had accepted those connections: nothing was done for them.
    let paid = usize::try_from(site.demo().posts()).unwrap();
    assert_eq!(paid, seen.urls().len(), "a picture was drawn and its URL not answered");
    all_there(seen.urls()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_good_and_bad_are_read_while_requests_come() {
    hup(FEW).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_under_load_fails_nobody() {
    hand_over(FEW).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_before_a_stop_is_answered() {
    restart(FEW).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; make torture"]
async fn torture_signals() {
    hup(MANY).await;
    hand_over(MANY).await;
    restart(MANY).await;
}

//! A disk that is full, nearly full, or refuses writing: clear errors, nothing lost, and no restart needed after it.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    binary::{KEY, Site},
    harness::PATIENCE,
    load::{Dice, Kind, Load, Outcome, Seen, all_there, ask},
    process::{Process, client, get},
    room::Room,
};

const KINDS: &[Kind] =
    &[Kind::Small, Kind::Large, Kind::Stream, Kind::Chat, Kind::ChatStream, Kind::Edit, Kind::Upload, Kind::Picture];

/// A site whose data directory is a disk of 24 MB. `None`: none can be made here.
async fn small_disk(store: &str) -> Option<(Site, Room)> {
    let site = Site::new(&format!("  keys: [ {{ name: test, key: {KEY} }} ]\n  store: {store}\n")).await;
    let room = Room::new(Path::new(&site.path("data")), "24m")?;
    Some((site, room))
}

async fn run(site: &Site, room: &Room) -> Process {
    let mut process = Process::start(room.inside(&site.command("run")).env("RUST_LOG", "info,picgate::gateway=warn"));
    process.answers(&site.url("/healthz")).await;
    process
}

fn is_full(outcome: &Outcome) -> bool {
    *outcome == Outcome::Answered(507, "storage_full".into()) || *outcome == Outcome::Told("storage_full".into())
}

/// One request of this kind.
async fn one(site: &Site, kind: Kind) -> Outcome {
    ask(&client(), &site.url(""), kind, &Seen::default(), &mut Dice::new(1)).await
}

/// Waits until a picture can be kept again; how long it took.
async fn until_kept(site: &Site, process: &Process) -> Duration {
    let since = Instant::now();
    while !one(site, Kind::Large).await.is_good() {
        assert!(since.elapsed() < PATIENCE, "{}", process.stderr());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    since.elapsed()
}

async fn serves(site: &Site) {
    for path in ["/healthz", "/admin/"] {
        assert_eq!(get(site.url(path)).await.status(), 200, "{path}");
    }
    assert!(one(site, Kind::Models).await.is_good());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_and_is_used_again_when_there_is_room() {
    let Some((site, room)) = small_disk("{ min_free: 0 }").await else { return };
    let mut process = run(&site, &room).await;
    let (seen, mut dice) = (Arc::new(Seen::default()), Dice::told());
    let load = Load::start(&site.url(""), 8, KINDS, dice.below(u64::MAX), Arc::clone(&seen));
    for (what, wanted) in [
        ("507", Outcome::Answered(507, "storage_full".into())),
        ("an error within a stream", Outcome::Told("storage_full".into())),
    ] {
        seen.until(10, what, |outcome| *outcome == wanted).await;
    }
    load.stop().await;
    seen.show();
    for (outcome, _) in seen.outcomes() {
        assert!(outcome.is_good() || is_full(&outcome), "{outcome:?}\n{}", process.stderr());
    }
    assert!(!process.stderr().contains("panicked"), "{}", process.stderr());
    serves(&site).await;
    all_there(seen.urls()).await;

    room.resize("96m");
    let took = until_kept(&site, &process).await;
    println!("kept a picture {took:.1?} after there was room");
    if process.stderr().contains("the index cannot be used for now") {
        process.logs("the index can be used again");
    }
    let load = Load::start(&site.url(""), 8, KINDS, dice.below(u64::MAX), Arc::new(Seen::default()));
    load.seen.until(20, "good", Outcome::is_good).await;
    let after = load.stop().await;
    assert_eq!(after.times(|outcome| !outcome.is_good()), 0, "{:?}", after.outcomes());

    process.signal("TERM");
    assert_eq!(process.exit().await, Some(0));
    let process = run(&site, &room).await;
    all_there(seen.urls().into_iter().chain(after.urls())).await;
    assert!(!process.stderr().contains("damaged"), "{}", process.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn below_min_free_nothing_is_paid_for_that_cannot_be_kept() {
    let Some((site, room)) = small_disk("{ min_free: 12MiB }").await else { return };
    let process = run(&site, &room).await;
    let (seen, mut dice) = (Arc::new(Seen::default()), Dice::told());
    let kinds = &[Kind::Small, Kind::Large, Kind::Stream];
    let load = Load::start(&site.url(""), 4, kinds, dice.below(u64::MAX), Arc::clone(&seen));
    seen.until(20, "full", is_full).await;
    load.stop().await;
    for (outcome, _) in seen.outcomes() {
        assert!(outcome.is_good() || is_full(&outcome), "{outcome:?}\n{}", process.stderr());
    }
    // What was under way when it got full has given its room back.
    let refused = Outcome::Answered(507, "storage_full".into());
    while one(&site, Kind::Small).await != refused || one(&site, Kind::Stream).await != refused {}
    let posts = || site.demo().received().iter().filter(|received| received.method == http::Method::POST).count();
    let paid = posts();
    for kind in [Kind::Small, Kind::Stream] {
        assert_eq!(one(&site, kind).await, Outcome::Answered(507, "storage_full".into()));
    }
    assert_eq!(posts(), paid, "the upstream was asked all the same");
    serves(&site).await;
    assert_eq!(get(site.url("/readyz")).await.status(), 200);
    all_there(seen.urls()).await;
    room.resize("96m");
    until_kept(&site, &process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_turns_read_only_is_read_on() {
    let Some((site, room)) = small_disk("{ min_free: 0 }").await else { return };
    let mut process = run(&site, &room).await;
    let (seen, mut dice) = (Arc::new(Seen::default()), Dice::told());
    let load = Load::start(&site.url(""), 4, KINDS, dice.below(u64::MAX), Arc::clone(&seen));
    seen.until(5, "good", Outcome::is_good).await;
    load.stop().await;

    room.make_read_only();
    let posts = || site.demo().received().iter().filter(|received| received.method == http::Method::POST).count();
    let paid = posts();
    for kind in [Kind::Small, Kind::Large, Kind::Stream] {
        assert_eq!(one(&site, kind).await, Outcome::Answered(500, "storage_failed".into()));
    }
    assert_eq!(posts(), paid, "the upstream was asked all the same");
    assert_eq!(get(site.url("/readyz")).await.status(), 503);
    serves(&site).await;
    all_there(seen.urls()).await;

    // Nor does it keep a gateway from starting.
    process.signal("TERM");
    assert_eq!(process.exit().await, Some(0));
    let process = run(&site, &room).await;
    serves(&site).await;
    all_there(seen.urls()).await;
    assert!(!process.stderr().contains("panicked"), "{}", process.stderr());

    room.make_writable();
    until_kept(&site, &process).await;
    assert_eq!(get(site.url("/readyz")).await.status(), 200);
    process.logs("the index can be used again");
}

//! kill -9 under load: no URL that a client was given is ever dead.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    binary::{KEY, Site},
    load::{Dice, Load, MIXED, Outcome, Seen, all_there},
    process::Process,
};

/// How long the starts took: the median, and the longest.
async fn killed(kills: usize, durability: &str) -> (Duration, Duration) {
    let store = format!("  store: {{ durability: {durability}, min_free: 0 }}\n");
    let site = Site::new(&format!("  keys: [ {{ name: test, key: {KEY} }} ]\n{store}")).await;
    let (seen, mut dice) = (Arc::new(Seen::default()), Dice::told());
    let mut checked = BTreeSet::new();
    let mut starts = Vec::new();
    let mut process = site.run().await;
    for _ in 0..kills {
        let load = Load::start(&site.url(""), 8, MIXED, dice.below(u64::MAX), Arc::clone(&seen));
        let good = seen.times(Outcome::is_good) + 1 + dice.below(16);
        seen.until(good, "a good answer", Outcome::is_good).await;
        tokio::time::sleep(Duration::from_millis(dice.below(30))).await;
        process.signal("KILL");
        process.exit().await;
        load.stop().await;

        let since = Instant::now();
        process = site.run().await;
        starts.push(since.elapsed());
        let urls = seen.urls();
        all_there(urls.difference(&checked).cloned()).await;
        checked = urls;
    }
    all_there(checked.clone()).await;
    starts.sort();
    let (half, most) = (starts[kills / 2], starts[kills - 1]);
    println!(
        "{durability}: {kills} kills, {} pictures; ready after {half:.1?} (p50), {most:.1?} at most",
        checked.len()
    );
    seen.show();
    nothing_odd(&seen, &process);
    (half, most)
}

/// What clients may see of a server that is killed: whole answers, broken and refused connections.
fn nothing_odd(seen: &Seen, process: &Process) {
    for (outcome, _) in seen.outcomes() {
        match outcome {
            Outcome::Answered(200, _) | Outcome::Refused | Outcome::Reset | Outcome::Broken(_) => {}
            Outcome::Answered(..) | Outcome::Told(_) => panic!("{outcome:?}\n{}", process.stderr()),
        }
    }
    assert!(!process.stderr().contains("panicked"), "{}", process.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_picture_is_lost_when_the_process_is_killed() {
    killed(5, "power").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_without_syncing_to_the_disk() {
    killed(5, "process").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; make torture"]
async fn torture_two_hundred_kills() {
    for durability in ["power", "process"] {
        let (_, most) = killed(100, durability).await;
        assert!(most <= Duration::from_secs(5), "ready only after {most:?}");
    }
}

//! Minutes of everything at once: load, a disk that fills and empties, turns read-only and back, HUP, and kills. What must
//! not grow is watched.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    binary::{KEY, Site},
    load::{Dice, Kind, Load, Outcome, Seen, all_there},
    process::Process,
    room::Room,
};

/// No large ones: the disk is to be filled by the test alone.
const KINDS: &[Kind] =
    &[Kind::Small, Kind::Stream, Kind::Chat, Kind::ChatStream, Kind::Edit, Kind::Upload, Kind::Picture, Kind::Models];
/// Between two samples.
const STEP: Duration = Duration::from_secs(2);

/// Resident memory in MiB, and open files.
fn sample(process: &Process) -> (f64, usize) {
    let of = format!("/proc/{}", process.id());
    let status = fs::read_to_string(format!("{of}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    (kib / 1024.0, fs::read_dir(format!("{of}/fd")).unwrap().count())
}

/// Growth per hour by least squares over the samples, which are a step apart.
fn per_hour(samples: &[f64]) -> f64 {
    let len = samples.len() as f64;
    let (mean_x, mean_y) = ((len - 1.0) / 2.0, samples.iter().sum::<f64>() / len);
    let (mut up, mut down) = (0.0, 0.0);
    for (x, y) in samples.iter().enumerate() {
        up += (x as f64 - mean_x) * (y - mean_y);
        down += (x as f64 - mean_x).powi(2);
    }
    up / down * 3600.0 / STEP.as_secs_f64()
}

async fn start(site: &Site, room: &Room) -> Process {
    let mut process = Process::start(room.inside(&site.command("run")).env("RUST_LOG", "error,picgate::gateway=off"));
    process.answers(&site.url("/readyz")).await;
    process
}

/// `PICGATE_SOAK_SECONDS`: how long, 240 by default; the last quarter with kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; make torture"]
async fn torture_soak() {
    let seconds = std::env::var("PICGATE_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(240);
    let store = "{ min_free: 0, memory_cache: 16MiB }";
    let site = Site::new(&format!("  keys: [ {{ name: test, key: {KEY} }} ]\n  store: {store}\n")).await;
    let Some(room) = Room::new(Path::new(&site.path("data")), "1g") else { return };
    let (seen, mut dice) = (Arc::new(Seen::default()), Dice::told());
    let mut process = start(&site, &room).await;
    let (_, idle_fds) = sample(&process);

    let load = Load::start(&site.url(""), 8, KINDS, dice.below(u64::MAX), Arc::clone(&seen));
    let begun = Instant::now();
    let (mut memory, mut fds) = (Vec::new(), Vec::new());
    while begun.elapsed() < Duration::from_secs(seconds * 3 / 4) {
        let trouble = dice.below(4);
        match trouble {
            0 => room.fill(),
            1 => room.make_read_only(),
            2 => process.signal("HUP"),
            _ => {}
        }
        tokio::time::sleep(STEP / 2).await;
        match trouble {
            0 => room.clear(),
            1 => room.make_writable(),
            _ => {}
        }
        tokio::time::sleep(STEP / 2).await;
        let (mib, open) = sample(&process);
        memory.push(mib);
        fds.push(open);
    }
    load.stop().await;
    seen.show();
    let warm = &memory[memory.len() / 3..];
    println!(
        "{} pictures; memory {:.0} MiB after a third, {:.0} at the end, {:+.0} MiB/h; files {idle_fds} idle, {} at most",
        seen.urls().len(),
        warm[0],
        warm[warm.len() - 1],
        per_hour(warm),
        fds.iter().max().unwrap(),
    );
    for (outcome, _) in seen.outcomes() {
        let clean = match &outcome {
            Outcome::Answered(200, _) => true,
            Outcome::Answered(_, code) | Outcome::Told(code) => code.starts_with("storage_"),
            _ => false,
        };
        assert!(clean, "{outcome:?}\n{}", process.stderr());
    }
    all_there(seen.urls()).await;
    let (_, after) = sample(&process);
    assert!(after < idle_fds + 64, "{idle_fds} files were open at the start, {after} are now");
    assert!(!process.stderr().contains("panicked"), "{}", process.stderr());

    let (mut kills, seen) = (0, Arc::new(Seen::default()));
    while begun.elapsed() < Duration::from_secs(seconds) {
        let load = Load::start(&site.url(""), 8, KINDS, dice.below(u64::MAX), Arc::clone(&seen));
        let good = seen.times(Outcome::is_good) + 1 + dice.below(30);
        seen.until(good, "a good answer", Outcome::is_good).await;
        process.signal("KILL");
        process.exit().await;
        load.stop().await;
        process = start(&site, &room).await;
        kills += 1;
    }
    println!("{kills} kills, {} pictures more", seen.urls().len());
    all_there(seen.urls()).await;
}

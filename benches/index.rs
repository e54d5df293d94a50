//! The index beside a great many pictures: how long a rebuild takes, a start, a page, a sweep, and in how much memory.
//!
//! `PICGATE_PICTURES=1000000 make bench BENCH=index`; 100 000 unless told otherwise. Each picture is two small files (a
//! million take 8 GB of the disk under `TMPDIR`). Figures are of one run: compare them with each other, not with other
//! machines.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench speaks to its user")]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use picgate::{
    background::eviction::{Moment, Sweeper},
    config::{self, Durability},
    picture::PictureId,
    store::{IndexState, Rebuild, Store, Verify},
    telemetry::Metrics,
};
use prometheus::Registry;

const PLACE: &str = "https://bucket/b/";

#[tokio::main]
async fn main() {
    let pictures = std::env::var("PICGATE_PICTURES").map_or(100_000, |number| number.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    println!("{pictures} pictures");
    let start = Instant::now();
    fill(dir.path(), pictures);
    tell("made by hand", start.elapsed());

    let rebuild = Rebuild::new(dir.path(), Some(PLACE.into())).unwrap();
    let start = Instant::now();
    assert_eq!(rebuild.run().await.unwrap().counts.pictures, pictures);
    tell("index built anew", start.elapsed());
    memory();

    let start = Instant::now();
    let store = Store::open(dir.path(), &settings(), Some(PLACE.into())).unwrap();
    tell("start: pictures are served", start.elapsed());
    let first = loop {
        match store.recent(None, 100).await {
            Ok(page) => break page,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    tell("start: the first page is listed", start.elapsed());
    until_ready(&store).await;
    tell("start: compared with the files", start.elapsed());
    memory();

    let start = Instant::now();
    let again = store.recent(None, 100).await.unwrap();
    tell("first page of 100", start.elapsed());
    assert_eq!(first, again);
    let start = Instant::now();
    store.counts().await.unwrap();
    tell("counts", start.elapsed());

    let mut sweeper = Sweeper::new(store.clone(), Metrics::register(&Registry::new()).unwrap());
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    let probe = async {
        loop {
            let start = Instant::now();
            store.recent(None, 100).await.unwrap();
            slowest = slowest.max(start.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // All were made before, and looked at since.
    let ttl = config::Store { ttl: Some(DAY * 5), ..settings() };
    tokio::select! {
        _ = sweeper.tick(&ttl, Moment::now()) => {}
        () = probe => {}
    }
    tell("a sweep that finds nothing", start.elapsed());
    tell("  slowest page of 100 meanwhile", slowest);

    let half = config::Store { max_bytes: Some(pictures * LEN as u64 / 2), ..settings() };
    let now = Moment { steady: Instant::now() + Duration::from_secs(1_000_000), ..Moment::now() };
    let start = Instant::now();
    let swept = sweeper.tick(&half, now).await;
    tell(&format!("{} evicted", swept.over_budget.pictures), start.elapsed());
    memory();
    drop(store);

    let start = Instant::now();
    let checked = Verify::new(dir.path(), Some(PLACE.into()), false).unwrap().run(|finding| println!("{finding:?}"));
    tell(&format!("{} verified, {} in the archive only", checked.pictures, checked.archived), start.elapsed());
    assert_eq!(checked.findings, 0);
}

/// Bytes of a picture.
const LEN: usize = 64;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Tiny pictures, as commits would have left them; the archive has all.
fn fill(dir: &Path, pictures: u64) {
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    for first in 0..=u8::MAX {
        fs::create_dir_all(dir.join(format!("images/{first:02x}"))).unwrap();
    }
    for n in 0..pictures {
        let mut bytes = b"GIF89a\x01\x00\x01\x00\x00\x00\x00".to_vec();
        bytes.extend(n.to_le_bytes());
        bytes.resize(LEN, 0);
        let id = PictureId::of(&bytes);
        let path = dir.join("images").join(id.shard()).join(format!("{id}.gif"));
        let record = format!(
            "{{\"v\":1,\"id\":\"{id}\",\"format\":\"gif\",\"type\":\"image/gif\",\"bytes\":{LEN},\"created\":{},\
             \"generation\":{{\"request_id\":\"req_{n:024x}\",\"key\":\"open-webui\",\"model\":\"gpt-image-2\",\
             \"upstream\":\"openai\",\"route\":\"/v1/images/generations\",\"prompt\":\"a lighthouse at dusk, number {n}\"}},\
             \"archived\":{{\"place\":\"{PLACE}\",\"at\":{now}}}}}",
            now - 10 * DAY.as_millis() as u64 - (pictures - n) * 1000,
        );
        fs::write(path.with_extension("json"), record).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn settings() -> config::Store {
    config::Store {
        memory_cache: 1 << 20,
        durability: Durability::Power,
        ttl: None,
        max_bytes: None,
        retention: None,
        min_free: 0,
    }
}

async fn until_ready(store: &Store) {
    while store.index_state() != IndexState::Ready {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn tell(what: &str, took: Duration) {
    println!("{what:<40} {:>10.1} ms", took.as_secs_f64() * 1000.0);
}

fn memory() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM")) {
        println!("  {line}");
    }
}

//! Pictures leave the disk, and are there all the same; or are deleted when they are old, if that was asked for.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use picgate::{
    background::{
        archiver::Archiver,
        eviction::{Gone, Moment, Sweeper, Swept},
    },
    config::Store,
    store::IndexState,
};
use serde_json::{Value, json};

use crate::{
    binary::{KEY, Site},
    harness::{
        House, PATIENCE,
        seaweed::{ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed},
        until,
    },
    process::client,
};

const HOUR: Duration = Duration::from_secs(3600);

/// A gateway with a bucket, and with its clock some time ahead.
struct Place {
    house: House,
    sweeper: Sweeper,
    archiver: Archiver,
}

impl Place {
    async fn new(prefix: &str) -> Self {
        let server = Seaweed::shared().await;
        let line = format!(
            "archive: {{ endpoint: \"http://{}\", bucket: {BUCKET}, prefix: {prefix}, access_key_id: {ACCESS_KEY}, \
             secret_access_key: {SECRET_KEY} }}",
            server.addr()
        );
        let house = House::builder().line(&line).start().await;
        let core = house.gateway.core();
        until("the index", || core.store.index_state() == IndexState::Ready).await;
        let archiver = Archiver::new(core.store.clone(), server.bucket(prefix), core.metrics.clone());
        let sweeper = Sweeper::new(core.store.clone(), core.metrics.clone());
        Self { sweeper, archiver, house }
    }

    async fn tick(&mut self, settings: impl FnOnce(&mut Store), ahead: Duration) -> Swept {
        self.house.gateway.core().store.index_settled().await;
        let mut store = self.house.gateway.core().settings().config.store.clone();
        settings(&mut store);
        let now = Moment::now();
        self.sweeper.tick(&store, Moment { date: now.date + ahead, steady: now.steady + ahead }).await
    }

    /// The files of pictures on its disk.
    fn files(&self) -> Vec<PathBuf> {
        let shards = std::fs::read_dir(self.house.data_dir().join("images")).unwrap();
        let files = shards.flat_map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().unwrap() != "json").collect()
    }
}

#[tokio::test]
async fn a_picture_that_nobody_looks_at_leaves_the_disk_and_is_there_all_the_same() {
    let mut place = Place::new("ttl/").await;
    let (url, bytes) = place.house.picture("a lighthouse").await;
    let settings = |store: &mut Store| store.ttl = Some(72 * HOUR);

    assert_eq!(place.tick(settings, 80 * HOUR).await, Swept::default(), "the archive does not have it yet");
    assert_eq!(place.archiver.round().await.archived, 1);
    assert_eq!(place.tick(settings, 100 * HOUR).await.unseen, Gone { pictures: 1, bytes: bytes.len() as u64 });
    assert_eq!(place.files(), Vec::<PathBuf>::new());
    assert_eq!(place.house.metric("picgate_evicted_total{why=\"ttl\"}"), 1);

    assert_eq!(place.house.get(&url).await.body, bytes);
    // It is kept again, and was looked at just now.
    until("the picture on the disk", || place.files().len() == 1).await;
    assert_eq!(place.tick(settings, 71 * HOUR).await, Swept::default());
    assert_eq!(place.house.get(&url).await.body, bytes);
}

#[tokio::test]
async fn a_budget_is_kept_and_no_url_dies_of_it() {
    let mut place = Place::new("budget/").await;
    let mut pictures = Vec::new();
    for n in 0..6 {
        pictures.push(place.house.picture(&format!("lighthouse {n}")).await);
    }
    place.house.gateway.core().store.index_settled().await;
    assert_eq!(place.archiver.round().await.archived, 6);
    let all: u64 = pictures.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let swept = place.tick(|store| store.max_bytes = Some(all / 2), Duration::ZERO).await;
    assert!(swept.over_budget.bytes >= all / 2, "{swept:?} of {all}");
    assert_eq!(place.files().len() as u64, 6 - swept.over_budget.pictures);
    for (url, bytes) in &pictures {
        assert_eq!(place.house.get(url).await.body, bytes, "{url}");
    }
}

async fn metric(site: &Site, line: &str) -> bool {
    let Ok(answer) = client().get(site.metrics_url()).send().await else { return false };
    answer.text().await.is_ok_and(|text| text.lines().any(|there| there == line))
}

async fn until_metric(site: &Site, line: &str) {
    let start = Instant::now();
    while !metric(site, line).await {
        assert!(start.elapsed() < PATIENCE, "no {line}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_that_hup_switches_on_deletes_and_the_metrics_tell() {
    let site = Site::with_key().await;
    let process = site.run().await;
    let body = json!({ "model": "demo-image", "prompt": "a cat", "size": "64x64" }).to_string();
    let request = client().post(site.url("/v1/images/generations")).bearer_auth(KEY);
    let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let url = answer["data"][0]["url"].as_str().unwrap().to_owned();
    until_metric(&site, "picgate_index_state{state=\"ready\"} 1").await;
    until_metric(&site, "picgate_store_pictures{tier=\"local\"} 1").await;
    assert!(!metric(&site, "picgate_disk_free_bytes 0").await);

    site.change("min_free: 0", "min_free: 0, retention: 1s");
    process.signal("HUP");
    process.logs("deleted by store.retention: 1 pictures");
    assert_eq!(client().get(&url).send().await.unwrap().status(), 404);
    until_metric(&site, "picgate_retention_deleted_total 1").await;
    until_metric(&site, "picgate_store_pictures{tier=\"all\"} 0").await;
    assert!(!process.stderr().contains("takes effect at the next start"), "{}", process.stderr());
}

//! Serving without a socket: finding a picture, deciding on the answer, reading the bytes.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may fail loudly")]

use std::{
    hint::black_box,
    time::{Duration, SystemTime},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, Method};
use picgate::{
    config::{self, Durability},
    images::{self, Shown},
    store::{NewRecord, Store},
};
use tokio::runtime::Runtime;

const LEN: usize = 1_500_000;

fn serving(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = c.benchmark_group("serving");
    group.measurement_time(Duration::from_secs(2)).sample_size(20).throughput(Throughput::Bytes(LEN as u64));
    for (name, memory_cache) in [("1.5 MB from memory", 128 << 20), ("1.5 MB from disk", 0)] {
        let dir = tempfile::tempdir().unwrap();
        let settings =
            config::Store { memory_cache, durability: Durability::Process, min_free: 0, ..config::Store::default() };
        let store = Store::open(dir.path(), &settings, None).unwrap();
        let id = runtime.block_on(async {
            let mut picture = include_bytes!("../tests/fixtures/wire/img/px1.png").to_vec();
            picture.resize(LEN, 7);
            let mut writer = store.writer();
            writer.write(&picture).await.unwrap();
            writer.finish().await.unwrap().commit(NewRecord::default()).await.unwrap().facts.id
        });
        let headers = HeaderMap::new();
        group.bench_function(name, |b| {
            b.to_async(&runtime).iter(|| async {
                let picture = store.get(&id).await.unwrap().unwrap();
                let answer = images::answer(&Method::GET, &headers, &Shown::picture(&picture.facts), SystemTime::now());
                let range = answer.range.unwrap();
                let mut at = range.start;
                while at < range.end {
                    let piece = picture.read(at..range.end).await.unwrap();
                    at += piece.len() as u64;
                    black_box(piece);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, serving);
criterion_main!(benches);

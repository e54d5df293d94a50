//! What the store holds, as numbers for `/metrics`: read in the background, so that a scrape never waits for the index
//! or the disk.

use std::time::SystemTime;

use crate::{
    store::{Findings, IndexState, Store, unix_ms},
    telemetry::Metrics,
};

/// Keeps the gauges of one store.
#[derive(Debug)]
pub struct Gauges {
    store: Store,
    metrics: Metrics,
    /// What has been counted already.
    findings: Findings,
}

impl Gauges {
    pub fn new(store: Store, metrics: Metrics) -> Self {
        Self { store, metrics, findings: Findings::default() }
    }

    /// Reads the numbers. What cannot be read now keeps its last value.
    pub async fn tick(&mut self, now: SystemTime) {
        let keeping = &self.metrics.keeping;
        let state = self.store.index_state();
        for (word, this) in
            [("closed", IndexState::Closed), ("filling", IndexState::Filling), ("ready", IndexState::Ready)]
        {
            keeping.index_state.with_label_values(&[word]).set(i64::from(state == this));
        }
        if let Ok(free) = self.store.free_space().await {
            keeping.free_space.set(number(free));
        }
        self.count_findings();
        if let Ok(counts) = self.store.counts().await {
            for (tier, pictures, bytes) in [
                ("all", counts.pictures, counts.bytes),
                ("local", counts.local, counts.local_bytes),
                ("archived", counts.archived, counts.archived_bytes),
                ("waiting", counts.waiting, counts.waiting_bytes),
            ] {
                self.metrics.keeping.pictures.with_label_values(&[tier]).set(number(pictures));
                self.metrics.keeping.bytes.with_label_values(&[tier]).set(number(bytes));
            }
            self.metrics.keeping.buried.set(number(counts.buried));
        }
        if let Ok(waiting) = self.store.waiting(None, 1).await {
            let since = waiting.first().map(|entry| entry.facts.created_ms);
            let age = since.map_or(0, |since| unix_ms(now).saturating_sub(since) / 1000);
            self.metrics.keeping.oldest_waiting.set(number(age));
        }
    }

    fn count_findings(&mut self) {
        let (now, before) = (self.store.findings(), self.findings);
        for (kind, now, before) in [
            ("added", now.added, before.added),
            ("removed", now.removed, before.removed),
            ("adopted", now.adopted, before.adopted),
            ("damaged", now.damaged, before.damaged),
            ("buried", now.buried, before.buried),
            ("rebuilt", now.rebuilt, before.rebuilt),
        ] {
            self.metrics.keeping.findings.with_label_values(&[kind]).inc_by(now.saturating_sub(before));
        }
        self.findings = now;
    }
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

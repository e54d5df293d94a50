//! What is counted about the pictures that are kept.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, Result};

/// The store in numbers, and what was taken out of it.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// Pictures by tier (`all`, `local`, `archived`, `waiting`). One may be in several.
    pub pictures: IntGaugeVec,
    pub bytes: IntGaugeVec,
    /// Deleted here, not yet in the archive.
    pub buried: IntGauge,
    /// Age of the picture that has waited longest for the archive, in seconds.
    pub oldest_waiting: IntGauge,
    /// Bytes that may still be written to the disk under `data_dir`.
    pub free_space: IntGauge,
    /// 1 for the state the index is in (`closed`, `filling`, `ready`), 0 for the others.
    pub index_state: IntGaugeVec,
    /// What comparing the index with the files has mended, by kind.
    pub findings: IntCounterVec,
    /// Local copies that were removed, by the setting that asked for it (`ttl`, `max_bytes`, `min_free`).
    pub evicted: IntCounterVec,
    pub evicted_bytes: IntCounterVec,
    /// Pictures deleted for good by `store.retention`.
    pub deleted: IntCounter,
}

impl Keeping {
    pub(super) fn register(registry: &Registry) -> Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let gauges = |name: &str, help: &str, label: &str| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let counters = |name: &str, help: &str, label: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let deleted = IntCounter::new("picgate_retention_deleted_total", "Pictures deleted for good for their age.")?;
        registry.register(Box::new(deleted.clone()))?;
        Ok(Self {
            pictures: gauges("picgate_store_pictures", "Pictures, by where they are.", "tier")?,
            bytes: gauges("picgate_store_bytes", "Bytes of pictures, by where they are.", "tier")?,
            buried: gauge("picgate_store_buried", "Pictures deleted here that the archive may still have.")?,
            oldest_waiting: gauge(
                "picgate_archive_oldest_waiting_seconds",
                "Age of the picture that has waited longest for the archive.",
            )?,
            free_space: gauge("picgate_disk_free_bytes", "Bytes that may still be written under data_dir.")?,
            index_state: gauges("picgate_index_state", "1 for the state the index is in.", "state")?,
            findings: counters("picgate_index_findings_total", "What comparing the index has mended.", "kind")?,
            evicted: counters("picgate_evicted_total", "Local copies removed.", "why")?,
            evicted_bytes: counters("picgate_evicted_bytes_total", "Bytes of local copies removed.", "why")?,
            deleted,
        })
    }
}

//! What is counted.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, Result};

use super::Keeping;

/// From a picture out of memory to a slow generation, in seconds.
const SECONDS: [f64; 14] = [0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0];

/// Every metric of the gateway.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Finished requests by route, status and upstream (`-` where none was asked).
    pub requests: IntCounterVec,
    /// From the request's header to the answer's end.
    pub duration: HistogramVec,
    /// Requests being worked on.
    pub in_flight: IntGauge,
    /// Pictures out of answers that are safe now; equal ones count each time.
    pub pictures_stored: IntCounter,
    /// Of these, the ones that were there already.
    pub pictures_deduplicated: IntCounter,
    pub picture_bytes_stored: IntCounter,
    /// Pictures that could not be kept.
    pub pictures_lost: IntCounter,
    /// Pictures that stayed in an answer because it had too many.
    pub pictures_left_out: IntCounter,
    /// Answers with a picture's bytes, by where they came from (`memory`, `disk`).
    pub pictures_served: IntCounterVec,
    pub picture_bytes_served: IntCounter,
    /// Pictures fetched from other hosts, by what for (`request`, `answer`) and result (`ok`, `failed`).
    pub fetches: IntCounterVec,
    /// References in requests that were made inline, by where from (`store`, `fetch`).
    pub inlined: IntCounterVec,
    /// From the last byte of a picture to its being safe.
    pub commit_seconds: Histogram,
    /// The store.
    pub keeping: Keeping,
    /// Pictures the archive has now.
    pub archived: IntCounter,
    pub archived_bytes: IntCounter,
    /// Attempts to archive or to delete in the archive that failed, by why.
    pub archive_failures: IntCounterVec,
    /// Deleted pictures whose copies in the archive are gone.
    pub archive_deletions: IntCounter,
    /// Pictures taken back from the archive, by result.
    pub fills: IntCounterVec,
    pub fill_bytes: IntCounter,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When the registry has metrics of these names already.
    pub fn register(registry: &Registry) -> Result<Self> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let seconds = |name: &str, help: &str| HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        let duration = HistogramVec::new(seconds("picgate_request_seconds", "Time to answer a request."), &["route"])?;
        registry.register(Box::new(duration.clone()))?;
        let commit_seconds =
            Histogram::with_opts(seconds("picgate_picture_commit_seconds", "Time to make a picture safe."))?;
        registry.register(Box::new(commit_seconds.clone()))?;
        let in_flight = IntGauge::new("picgate_requests_in_flight", "Requests being worked on.")?;
        registry.register(Box::new(in_flight.clone()))?;
        Ok(Self {
            requests: counters("picgate_requests_total", "Finished requests.", &["route", "status", "upstream"])?,
            duration,
            in_flight,
            pictures_stored: counter("picgate_pictures_stored_total", "Pictures out of answers that were kept.")?,
            pictures_deduplicated: counter(
                "picgate_pictures_deduplicated_total",
                "Kept pictures that were there already.",
            )?,
            picture_bytes_stored: counter("picgate_picture_bytes_stored_total", "Bytes of new pictures.")?,
            pictures_lost: counter("picgate_pictures_lost_total", "Pictures that could not be kept.")?,
            pictures_left_out: counter(
                "picgate_pictures_left_out_total",
                "Pictures that stayed in an answer because it had too many.",
            )?,
            pictures_served: counters("picgate_pictures_served_total", "Answers with a picture's bytes.", &["from"])?,
            picture_bytes_served: counter("picgate_picture_bytes_served_total", "Bytes of pictures sent.")?,
            fetches: counters("picgate_fetches_total", "Pictures fetched from other hosts.", &["for", "result"])?,
            inlined: counters("picgate_references_inlined_total", "Picture references made inline.", &["from"])?,
            commit_seconds,
            keeping: Keeping::register(registry)?,
            archived: counter("picgate_archived_total", "Pictures brought to the archive.")?,
            archived_bytes: counter("picgate_archived_bytes_total", "Bytes of pictures brought to the archive.")?,
            archive_failures: counters("picgate_archive_failures_total", "Failed attempts at the archive.", &["why"])?,
            archive_deletions: counter("picgate_archive_deletions_total", "Pictures deleted in the archive.")?,
            fills: counters("picgate_archive_fills_total", "Pictures taken back from the archive.", &["result"])?,
            fill_bytes: counter("picgate_archive_fill_bytes_total", "Bytes taken back from the archive.")?,
        })
    }

    /// Counts a finished request.
    pub fn finished(&self, route: &str, status: u16, upstream: Option<&str>, took: Duration) {
        let mut digits = [0; 3];
        let status = three_digits(status, &mut digits);
        self.requests.with_label_values(&[route, status, upstream.unwrap_or("-")]).inc();
        self.duration.with_label_values(&[route]).observe(took.as_secs_f64());
    }
}

/// A status as text, without allocating for every request.
fn three_digits(status: u16, digits: &mut [u8; 3]) -> &str {
    let mut rest = status;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    std::str::from_utf8(digits).unwrap_or("000")
}

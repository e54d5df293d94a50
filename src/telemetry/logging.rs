//! The log, and what may stand in it.
//!
//! `RUST_LOG` decides about the gateway's own lines at every level. Lines of dependencies have a ceiling that no setting
//! lifts, because at `debug` and `trace` they print what passes through them: request headers with client keys, our keys
//! for upstreams, signed URLs, the secret of the bucket, the whole configuration. [`ceiling`] is the table.

use log::{LevelFilter, Log, Metadata, Record};

/// Our own modules: `RUST_LOG` alone decides.
const OURS: &str = "picgate";
/// The ceiling of a dependency that [`CEILINGS`] does not name. Nobody has read its other lines.
const UNREAD: LevelFilter = LevelFilter::Error;

/// The most that a dependency may log, by the start of the target, and why. The longest start counts.
const CEILINGS: [(&str, LevelFilter); 9] = [
    // Warnings tell of handshakes, listeners and hand-overs. Info names services. Debug and trace print the configuration
    // file, peers, and each header of requests and answers.
    ("pingora_core", LevelFilter::Warn),
    ("pingora_core::server", LevelFilter::Info),
    ("pingora_core::services", LevelFilter::Info),
    // Errors of the metrics listener quote the request that could not be read.
    ("pingora_core::apps", LevelFilter::Off),
    // Warnings quote the Content-Length of a stranger.
    ("pingora_core::protocols", LevelFilter::Error),
    // Errors quote the header of an upstream's answer that could not be read, so cookies and echoed keys.
    // `gateway/pass.rs` logs each failure in our own words.
    ("pingora_proxy", LevelFilter::Off),
    // Warnings print the credential provider; debug prints the secret and the string to sign.
    ("reqsign", LevelFilter::Off),
    // Warnings tell of a damaged database. Debug prints keys and values.
    ("sled", LevelFilter::Warn),
    // Warnings tell of peers that break TLS. Trace prints handshakes with their names and tickets.
    ("rustls", LevelFilter::Warn),
];

/// The most that a target (a module's path) may log, whatever `RUST_LOG` says. Programs with a logger of their own should
/// apply it too.
pub fn ceiling(target: &str) -> LevelFilter {
    if is_under(target, OURS) {
        return LevelFilter::Trace;
    }
    let named = CEILINGS.iter().filter(|(start, _)| is_under(target, start) || is_family(target, start));
    named.max_by_key(|(start, _)| start.len()).map_or(UNREAD, |(_, ceiling)| *ceiling)
}

/// Starts logging to stderr. `RUST_LOG` overrides `level`. The first call counts.
pub fn start(level: &str) {
    let default = format!("{level},pingora_core=warn,sled=warn");
    let inner = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(default)).build();
    let most = inner.filter();
    if log::set_boxed_logger(Box::new(Capped(inner))).is_ok() {
        log::set_max_level(most);
    }
}

/// A logger under the ceilings.
struct Capped<L>(L);

impl<L: Log> Log for Capped<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= ceiling(metadata.target()) && self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() <= ceiling(record.target()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// Whether a module is this one or below it.
fn is_under(target: &str, module: &str) -> bool {
    target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether a crate is a part of a library in several crates: `reqsign_core` of `reqsign`.
fn is_family(target: &str, name: &str) -> bool {
    !name.contains("::") && target.strip_prefix(name).is_some_and(|rest| rest.starts_with('_'))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use log::Level;

    use super::*;

    #[test]
    fn every_target_has_its_ceiling() {
        for (target, expected) in [
            ("picgate", LevelFilter::Trace),
            ("picgate::upstream::transport", LevelFilter::Trace),
            // Not ours, whatever it is called.
            ("picgate_plugin", LevelFilter::Error),
            ("reqsign", LevelFilter::Off),
            ("reqsign_core::api", LevelFilter::Off),
            ("reqsign_aws_v4", LevelFilter::Off),
            ("pingora_proxy", LevelFilter::Off),
            ("pingora_proxy::proxy_h1", LevelFilter::Off),
            ("pingora_core::connectors::http", LevelFilter::Warn),
            ("pingora_core::server::configuration", LevelFilter::Info),
            ("pingora_core::protocols::http::v1::server", LevelFilter::Error),
            ("pingora_core::apps::http_app", LevelFilter::Off),
            ("hyper::proto::h1::io", LevelFilter::Error),
            ("hyper_util::client::legacy", LevelFilter::Error),
            ("reqwest::connect", LevelFilter::Error),
            ("h2::codec::framed_write", LevelFilter::Error),
            ("opendal_core::layers", LevelFilter::Error),
            ("rustls::client::hs", LevelFilter::Warn),
            ("sled::pagecache", LevelFilter::Warn),
            ("tracing::span", LevelFilter::Error),
            ("a_crate_of_tomorrow", LevelFilter::Error),
            ("", LevelFilter::Error),
        ] {
            assert_eq!(ceiling(target), expected, "{target}");
        }
    }

    /// Takes everything.
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Log for Heard {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            self.0.lock().unwrap().push(format!("{} {}", record.level(), record.target()));
        }

        fn flush(&self) {}
    }

    /// Regression 10.5: at `debug` and `trace` dependencies printed keys and secrets.
    #[test]
    fn what_is_above_the_ceiling_is_not_written() {
        let logger = Capped(Heard::default());
        for (target, level, passes) in [
            ("picgate::app", Level::Trace, true),
            ("reqsign_core::api", Level::Error, false),
            ("pingora_proxy", Level::Error, false),
            ("pingora_core::server", Level::Info, true),
            ("pingora_core::server", Level::Debug, false),
            ("hyper::client", Level::Warn, false),
        ] {
            let metadata = Metadata::builder().target(target).level(level).build();
            assert_eq!(logger.enabled(&metadata), passes, "{level} {target}");
            logger.log(&Record::builder().metadata(metadata).args(format_args!("x")).build());
            let heard = logger.0.0.lock().unwrap().pop();
            assert_eq!(heard.is_some(), passes, "{level} {target}");
        }
    }
}

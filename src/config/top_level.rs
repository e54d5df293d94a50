//! Pingora's part of the file: the keys beside `picgate:`.
//!
//! Pingora reads them itself and ignores what it does not know, so a slip of the pen would go unnoticed. Their values
//! are its own business, except where one cannot work with us.

use saphyr::{Scalar, YamlData};

use super::{
    expand,
    reader::{Map, Node},
    suggest::nearest,
};

/// Every key of Pingora 0.9.1's `ServerConf`.
const PINGORA_KEYS: &[&str] = &[
    "blocking_threads_ttl_seconds",
    "ca_file",
    "client_bind_to_ipv4",
    "client_bind_to_ipv6",
    "daemon",
    "daemon_notify_timeout_seconds",
    "daemon_ready_timeout_seconds",
    "daemon_wait_for_ready",
    "downstream_tls_offload_thread_per_pool",
    "downstream_tls_offload_threadpools",
    "error_log",
    "fast_timeout_to_tokio_threshold_seconds",
    "grace_period_seconds",
    "graceful_shutdown_timeout_seconds",
    "group",
    "listener_tasks_per_fd",
    "max_blocking_threads",
    "max_retries",
    "pid_file",
    "runtime_enable_alt_timer",
    "runtime_metrics_poll_time_histogram",
    "runtime_metrics_poll_time_histogram_buckets",
    "runtime_metrics_poll_time_histogram_resolution_micros",
    "runtime_metrics_poll_time_histogram_scale",
    "threads",
    "upgrade_sock",
    "upgrade_sock_connect_accept_max_retries",
    "upstream_connect_offload_thread_per_pool",
    "upstream_connect_offload_threadpools",
    "upstream_debug_ssl_keylog",
    "upstream_keepalive_pool_size",
    "user",
    "version",
    "work_stealing",
    "working_directory",
];

/// The keys that belong under `picgate:`.
const OURS: &[&str] = &[
    "admin",
    "archive",
    "data_dir",
    "fetch",
    "images",
    "keys",
    "limits",
    "listen",
    "metrics",
    "models",
    "public_aliases",
    "public_base_url",
    "store",
    "upstreams",
];

/// Looks at every key beside `picgate:`, for which `map` was asked already.
pub(super) fn check(map: &mut Map<'_>) {
    for (key, at, value) in map.others() {
        match key {
            "daemon" => refuse_daemon(&value),
            _ if PINGORA_KEYS.contains(&key) => warn_of_variables(&value),
            _ => value.reading.warning(value.path.clone(), at, advice(key)),
        }
    }
}

fn refuse_daemon(value: &Node<'_>) {
    if matches!(value.yaml.data, YamlData::Value(Scalar::Boolean(true))) {
        value.wrong(
            "picgate cannot go to the background by itself, because it starts threads and opens its index before \
             Pingora forks: use a service manager",
        );
    }
}

fn warn_of_variables(value: &Node<'_>) {
    if let YamlData::Value(Scalar::String(text)) = &value.yaml.data
        && expand::mentions_a_variable(text)
    {
        value.warn("is read by Pingora, which takes ${…} literally: variables work under `picgate:` only");
    }
}

fn advice(key: &str) -> String {
    const IGNORED: &str = "unknown key, ignored by Pingora";
    let known: Vec<&str> = PINGORA_KEYS.iter().copied().chain(["picgate"]).collect();
    if OURS.contains(&key) {
        return format!("{IGNORED}; it belongs under `picgate:` (is it indented?)");
    }
    match nearest(key, &known) {
        Some(known) => format!("{IGNORED}; did you mean `{known}`?"),
        None => IGNORED.to_owned(),
    }
}

//! The defaults: one set for the file and for code that builds a [`Config`] itself.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::settings::*;
use crate::picture::Format;

const KIB: u64 = 1 << 10;
const MIB: u64 = KIB << 10;
const GIB: u64 = MIB << 10;

/// Where the gateway listens: every IPv4 address of this machine, port 5643.
pub fn listen() -> Listen {
    Listen::plain(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5643))
}

/// Where `/metrics` is served: port 9643, to this machine only.
pub fn metrics() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9643)
}

/// `./data`, seen from the working directory.
pub fn data_dir() -> PathBuf {
    PathBuf::from("./data")
}

impl Default for Admin {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Default for Images {
    fn default() -> Self {
        Self {
            response_format: ResponseForm::Url,
            chat: AnswerPolicy::Url,
            responses: AnswerPolicy::AsUpstream,
            heartbeat: Heartbeat::default(),
            on_disconnect: OnDisconnect::Finish,
            history: History::default(),
            markdown: Markdown::Attach,
            max_input_pixels: 0,
        }
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { sse: Some(Duration::from_secs(15)), json: None }
    }
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            variants: Variants::default(),
            negotiate: false,
            access: Access::Public,
            signing_keys: Vec::new(),
            url_ttl: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

impl Default for Variants {
    fn default() -> Self {
        Self {
            sizes: vec![256, 512, 1024],
            formats: vec![Format::Jpeg, Format::Png, Format::Webp],
            qualities: vec![Self::QUALITY],
            max_disk: GIB,
        }
    }
}

impl Default for Fetch {
    fn default() -> Self {
        Self { allow: Vec::new(), ports: vec![80, 443], max_bytes: 20 * MIB, timeout: Duration::from_secs(15) }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            memory_cache: 128 * MIB,
            durability: Durability::Power,
            ttl: Some(Duration::from_secs(72 * 3600)),
            max_bytes: Some(10 * GIB),
            retention: None,
            min_free: GIB,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_body: 64 * MIB,
            upstream_body: 512 * MIB,
            spool: 8 * GIB,
            spool_per_key: 2 * GIB,
            response_body: 512 * MIB,
            images_per_answer: 64,
            header_timeout: Duration::from_secs(30),
            upstream_timeout: Duration::from_secs(600),
            send_timeout: Duration::from_secs(60),
            pixel_threads: None,
        }
    }
}

//! Pingora's side: listeners, phases, routes; turns errors into answers.
//!
//! [`Gateway`] is a [`ProxyHttp`](pingora_proxy::ProxyHttp). Intercepted routes are answered within `request_filter` by
//! an exchange of our own; what it does not know under `/v1` passes through Pingora's filter chain (files, realtime,
//! embeddings …).
//!
//! A foreign `ProxyHttp` can have the gateway inside: it keeps a [`Ctx`] in its own context, calls [`Gateway::handle`]
//! first in its `request_filter`, and for requests that pass on the `pass_…` methods in the phases after it and
//! [`Gateway::finish`] in `logging` (`examples/embed.rs`).

mod body;
mod deletion;
mod exchange;
mod handle;
pub mod handover;
mod hang_up;
mod header_limits;
mod in_flight;
mod parting;
mod pass;
mod path;
mod pictures;
mod proxy;
mod request_id;
mod respond;
mod route;
pub mod server;
mod service;
mod silence;
pub mod sockets;
pub mod tls;

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Instant};

use http::StatusCode;
use url::Url;

pub use in_flight::InFlight;
pub use pingora_core;
pub use pingora_http;
pub use pingora_proxy;

use crate::{core::Core, opaque::opaque, upstream::Scrubber};

/// The gateway. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Gateway {
    core: Arc<Core>,
    in_flight: InFlight,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It has been answered.
    Done,
    /// It is one of ours, and allowed, and goes to an upstream through the filter chain: [`Gateway::pass_peer`],
    /// [`Gateway::pass_request`], [`Gateway::pass_response`] and [`Gateway::pass_failed`] know where and how.
    Pass,
    /// None of ours: nothing has been read or written.
    NotOurs,
}

/// What the gateway remembers of one request.
#[derive(Debug)]
pub struct Ctx {
    request_id: String,
    started: Instant,
    route: &'static str,
    client: Option<String>,
    upstream: Option<String>,
    /// The status we answered with, when it is not the session's.
    status: Option<StatusCode>,
    pass: Option<Pass>,
    in_flight: Option<in_flight::Guard>,
}

/// Where a request that passes through goes.
struct Pass {
    url: Url,
    upstream: crate::config::Upstream,
    /// It asks for another protocol (WebSocket).
    upgrade: bool,
    /// The upstream's addresses that have not failed; looked up when first needed.
    addresses: VecDeque<SocketAddr>,
    /// When the header of the upstream's answer must have come, interim ones and all.
    header_due: Option<Instant>,
    /// The upstream has answered with an error, which may quote our key.
    scrubber: Option<Scrubber>,
}

opaque!(Pass { upgrade, header_due });

impl Gateway {
    pub fn new(core: Arc<Core>) -> Self {
        let in_flight = InFlight::new(core.metrics.in_flight.clone());
        Self { core, in_flight }
    }

    /// The requests being worked on.
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// The state shared by all requests.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Default for Ctx {
    fn default() -> Self {
        Self {
            request_id: String::new(),
            started: Instant::now(),
            route: "other",
            client: None,
            upstream: None,
            status: None,
            pass: None,
            in_flight: None,
        }
    }
}

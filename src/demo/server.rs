//! Starting and stopping.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use super::{
    draw::Studio,
    line::{Line, Lines},
    received::{Log, Received},
    routes,
};
use crate::config::Secret;

/// Longest time [`Demo::stop`] waits for connections to end.
const STOP: Duration = Duration::from_secs(2);

/// A running demo upstream. It stops when dropped.
#[derive(Debug)]
pub struct Demo {
    addr: SocketAddr,
    house: Arc<House>,
    stopping: watch::Sender<bool>,
    server: JoinHandle<()>,
}

/// Settings for a [`Demo`].
#[derive(Clone, Debug)]
pub struct Builder {
    api_key: Option<Secret>,
    origin: Option<String>,
    inspect: bool,
    typing: Option<Duration>,
}

/// What all requests share.
#[derive(Debug)]
pub(super) struct House {
    pub(super) api_key: Option<Secret>,
    /// Where `/pictures/…` is reached.
    pub(super) origin: String,
    pub(super) inspect: bool,
    pub(super) typing: Option<Duration>,
    pub(super) studio: Studio,
    pub(super) log: Log,
}

// === impl Demo ===

impl Demo {
    /// Settings to change before the start.
    pub fn builder() -> Builder {
        Builder { api_key: None, origin: None, inspect: true, typing: None }
    }

    /// Serves `listener` on the current runtime.
    pub fn start(listener: TcpListener) -> io::Result<Self> {
        Self::builder().start(listener)
    }

    /// Serves a free port of 127.0.0.1.
    pub async fn local() -> io::Result<Self> {
        Self::builder().local().await
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What a client takes as its base URL: `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("{}/v1", origin(self.addr))
    }

    /// The last 1000 requests under `/v1` and `/pictures`, the oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.house.log.all()
    }

    /// How many POST requests came since the start or the last [`clear`](Self::clear): what a real upstream charges for.
    pub fn posts(&self) -> u64 {
        self.house.log.posts()
    }

    /// Waits until `count` requests came since the start or the last [`clear`](Self::clear), then returns them.
    pub async fn received_at_least(&self, count: usize) -> Vec<Received> {
        self.house.log.at_least(count).await;
        self.received()
    }

    /// Forgets the requests received.
    pub fn clear(&self) {
        self.house.log.clear();
    }

    /// Closes the port and breaks every connection.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        if tokio::time::timeout(STOP, &mut self.server).await.is_err() {
            log::debug!("demo: connections outlived the server");
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
        self.server.abort();
    }
}

// === impl Builder ===

impl Builder {
    /// Takes only this key; without it any bearer token will do.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(Secret::new(key));
        self
    }

    /// Where its pictures are reached, if not at the bound address (`http://demo.example:8080`).
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into().trim_end_matches('/').to_owned());
        self
    }

    /// Whether bodies are hashed, kept and searched for pictures (default). Benches switch it off.
    #[must_use]
    pub fn inspect(mut self, inspect: bool) -> Self {
        self.inspect = inspect;
        self
    }

    /// Pause between the events of a stream, so that answers appear as if typed. Default: none.
    #[must_use]
    pub fn typing(mut self, pause: Duration) -> Self {
        self.typing = Some(pause).filter(|pause| !pause.is_zero());
        self
    }

    /// Serves a free port of 127.0.0.1.
    pub async fn local(self) -> io::Result<Demo> {
        self.start(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?)
    }

    /// Serves a listener of the standard library on the current runtime.
    pub fn start_std(self, listener: std::net::TcpListener) -> io::Result<Demo> {
        listener.set_nonblocking(true)?;
        self.start(TcpListener::from_std(listener)?)
    }

    /// Serves `listener` on the current runtime.
    pub fn start(self, listener: TcpListener) -> io::Result<Demo> {
        let addr = listener.local_addr()?;
        let house = Arc::new(House {
            api_key: self.api_key,
            origin: self.origin.unwrap_or_else(|| origin(addr)),
            inspect: self.inspect,
            typing: self.typing,
            studio: Studio::new(),
            log: Log::new(),
        });
        let (stopping, stopped) = watch::channel(false);
        let lines = Lines { listener, stopping: stopped.clone() };
        let app = Router::new().fallback(routes::serve).with_state(Arc::clone(&house));
        let server = tokio::spawn(async move {
            let mut stopped = stopped;
            let stop = async move {
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            let app = app.into_make_service_with_connect_info::<Line>();
            if let Err(error) = axum::serve(lines, app).with_graceful_shutdown(stop).await {
                log::warn!("demo: server ended: {error}");
            }
        });
        Ok(Demo { addr, house, stopping, server })
    }
}

/// The URL of an address; where every interface is bound, that of the loopback one.
fn origin(addr: SocketAddr) -> String {
    let ip = match addr {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other.ip(),
    };
    format!("http://{}", SocketAddr::new(ip, addr.port()))
}

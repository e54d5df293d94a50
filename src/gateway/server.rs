//! Pingora's server: the gateway on its listeners, `/metrics` on its own, and work that no request waits for.
//!
//! [`Process`] is all a program needs; the services are there one by one for those who have a server of their own.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use http::{HeaderValue, Response, StatusCode, header};
use pingora_core::{
    apps::{HttpServerOptions, http_app::ServeHttp},
    listeners::{TcpSocketOptions, tls::TlsSettings},
    protocols::http::{
        ServerSession,
        v2::server::{H2Options, default_h2_options},
    },
    server::{
        RunArgs, Server, ShutdownWatch,
        configuration::{Opt, ServerConf},
    },
    services::{
        ServiceWithDependents,
        background::{BackgroundService, background_service},
        listening::Service,
    },
};
use pingora_proxy::http_proxy;
use prometheus::{Encoder, Registry, TextEncoder};

use super::{Gateway, header_limits::LONGEST_H2, parting::Parting};
use crate::{
    background::{
        archiver::Archiver,
        eviction::{Moment, Sweeper},
        gauges::Gauges,
    },
    config::Listen,
};

/// A service to add to a Pingora server.
pub type BoxedService = Box<dyn ServiceWithDependents>;

/// How far an HTTP/2 client may send ahead, on one stream and on a connection: uploads are megabytes.
const H2_STREAM_WINDOW: u32 = 1024 * 1024;
const H2_CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Streams that an HTTP/2 client may have open on a connection. RFC 9113, section 6.5.2, advises against fewer.
const H2_STREAMS: u32 = 100;
/// Bytes of an answer that wait in memory for a connection that takes no more, for each stream.
const H2_SEND_BUFFER: usize = 64 * 1024;
const H2_IDLE: Duration = Duration::from_secs(120);
/// How soon the archiver looks again for what waits.
const ARCHIVE_PAUSE: Duration = Duration::from_secs(1);
/// How often the numbers about the store are read.
const GAUGES: Duration = Duration::from_secs(5);
/// How often the upstreams' model lists are asked for, so that no client waits for it.
const CATALOGUE: Duration = Duration::from_secs(60);

/// Pingora's own settings: the top-level keys of the configuration file.
#[derive(Debug)]
pub struct ServerSettings(ServerConf);

/// A server that has not been started.
pub struct Process {
    server: Server,
}

/// Tells a task that the process is to end.
#[derive(Debug)]
pub struct Shutdown(ShutdownWatch);

/// The gateway on its listeners.
///
/// # Errors
/// When a certificate or key cannot be read.
pub fn proxy(conf: &Arc<ServerConf>, gateway: Gateway, listen: &[Listen]) -> pingora_core::Result<BoxedService> {
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(H2_IDLE);
    let mut proxy = http_proxy(conf, gateway);
    proxy.server_options = Some(options);
    proxy.h2_options = Some(h2_options());
    let mut service = Service::new("picgate".to_owned(), Parting::new(proxy));
    for listener in listen {
        let address = listener.addr.to_string();
        let mut options = TcpSocketOptions::default();
        options.tcp_snd_buf = listener.send_buffer;
        match &listener.tls {
            None => service.add_tcp_with_settings(&address, options),
            Some(tls) => {
                let mut settings = TlsSettings::intermediate(&tls.cert.to_string_lossy(), &tls.key.to_string_lossy())?;
                if tls.h2 {
                    settings.enable_h2();
                }
                service.add_tls_with_settings(&address, Some(options), settings);
            }
        }
    }
    Ok(Box::new(service))
}

/// What is promised to a client of HTTP/2, and what is kept for it. Also for servers that have the gateway inside: without
/// these bounds a few kilobytes make a connection hold megabytes.
pub fn h2_options() -> H2Options {
    let mut options = default_h2_options();
    options
        .initial_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_concurrent_streams(H2_STREAMS)
        .max_header_list_size(LONGEST_H2)
        .max_send_buffer_size(H2_SEND_BUFFER);
    options
}

/// `/metrics` of this registry, in Prometheus' text format.
pub fn metrics(registry: Registry, address: SocketAddr) -> BoxedService {
    let mut service = Service::new("metrics".to_owned(), MetricsApp(registry));
    service.add_tcp(&address.to_string());
    Box::new(service)
}

/// The gateway's work that no request waits for.
pub fn background(gateway: Gateway) -> Vec<BoxedService> {
    let mut services = vec![catalogue(gateway.clone()), eviction(gateway.clone()), gauges(gateway.clone())];
    if let Some(bucket) = gateway.core().tier.bucket() {
        let core = gateway.core();
        services.push(archiver(Archiver::new(core.store.clone(), bucket.clone(), core.metrics.clone())));
    }
    services
}

fn catalogue(gateway: Gateway) -> BoxedService {
    task("model catalogue", move |mut shutdown| {
        let gateway = gateway.clone();
        async move {
            let mut turns = tokio::time::interval(CATALOGUE);
            loop {
                tokio::select! {
                    () = shutdown.requested() => return,
                    _ = turns.tick() => {}
                }
                let core = gateway.core();
                core.catalogue.list(&core.settings().config).await;
            }
        }
    })
}

/// The settings of the moment count, so that HUP changes them.
fn eviction(gateway: Gateway) -> BoxedService {
    task("eviction", move |mut shutdown| {
        let gateway = gateway.clone();
        async move {
            let core = gateway.core();
            let mut sweeper = Sweeper::new(core.store.clone(), core.metrics.clone());
            let ticks = async {
                loop {
                    let config = core.settings().config.clone();
                    sweeper.tick(&config.store, Moment::now()).await;
                    tokio::time::sleep(Sweeper::pause(&config.store)).await;
                }
            };
            tokio::select! {
                () = shutdown.requested() => {}
                () = ticks => {}
            }
        }
    })
}

fn gauges(gateway: Gateway) -> BoxedService {
    task("gauges", move |mut shutdown| {
        let gateway = gateway.clone();
        async move {
            let core = gateway.core();
            let mut gauges = Gauges::new(core.store.clone(), core.metrics.clone());
            let mut turns = tokio::time::interval(GAUGES);
            loop {
                tokio::select! {
                    () = shutdown.requested() => return,
                    _ = turns.tick() => gauges.tick(SystemTime::now()).await,
                }
            }
        }
    })
}

fn archiver(archiver: Archiver) -> BoxedService {
    let archiver = Arc::new(archiver);
    task("archiver", move |mut shutdown| {
        let archiver = Arc::clone(&archiver);
        async move {
            // What is under way when the process is to end is put again by the next one.
            let rounds = async {
                loop {
                    archiver.round().await;
                    tokio::time::sleep(ARCHIVE_PAUSE).await;
                }
            };
            tokio::select! {
                () = shutdown.requested() => {}
                () = rounds => {}
            }
        }
    })
}

/// Work that goes on until the process ends.
pub fn task<W, F>(name: &str, work: W) -> BoxedService
where
    W: Fn(Shutdown) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    Box::new(background_service(name, Task(work)))
}

// === impl ServerSettings ===

impl ServerSettings {
    /// Reads them from the text of a configuration file.
    ///
    /// # Errors
    /// Says what is wrong. Pingora's own message holds the whole file, and with it secrets: only the cause is kept.
    pub fn read(text: &str) -> Result<Self, String> {
        ServerConf::from_yaml(text)
            .map(Self)
            .map_err(|error| error.cause.map_or_else(|| "they cannot be read".to_owned(), |cause| cause.to_string()))
    }

    /// The defaults, with the process's own files in this folder.
    pub fn in_folder(threads: usize, folder: &Path) -> Self {
        let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let (pid_file, upgrade_sock) = (file("picgate.pid"), file("upgrade.sock"));
        Self(ServerConf { threads, pid_file, upgrade_sock, ..ServerConf::default() })
    }

    /// Where the process id is to be written.
    pub fn pid_file(&self) -> &str {
        &self.0.pid_file
    }
}

// === impl Process ===

impl Process {
    /// `upgrade`: takes the listening sockets over from a running process.
    pub fn new(settings: ServerSettings, upgrade: bool) -> Self {
        let ServerSettings(mut conf) = settings;
        // Pingora waits for the whole grace period and then drops what is still running. Here both periods are for
        // requests in flight; a task ends the process as soon as there are none.
        let grace = conf.grace_period_seconds.unwrap_or(5) + conf.graceful_shutdown_timeout_seconds.unwrap_or(10);
        conf.grace_period_seconds = Some(grace);
        conf.graceful_shutdown_timeout_seconds = Some(1);
        let opt = Opt { upgrade, ..Opt::default() };
        let mut server = Server::new_with_opt_and_conf(Some(opt), conf);
        server.bootstrap();
        Self { server }
    }

    /// Puts the gateway on these listeners.
    ///
    /// # Errors
    /// When a certificate or key cannot be read.
    pub fn listen(&mut self, gateway: Gateway, listen: &[Listen]) -> Result<(), String> {
        let proxy = proxy(&self.server.configuration, gateway.clone(), listen).map_err(|error| error.to_string())?;
        self.server.add_boxed_service(proxy);
        self.server.add_services(background(gateway));
        Ok(())
    }

    /// Adds a service.
    pub fn add(&mut self, service: BoxedService) {
        self.server.add_boxed_service(service);
    }

    /// Runs until a signal ends it.
    pub fn run(self) {
        self.server.run(RunArgs::default());
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").finish_non_exhaustive()
    }
}

// === impl Shutdown ===

impl Shutdown {
    /// Resolves when the process is to end.
    pub async fn requested(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left to ask: the server is gone already.
            std::future::pending::<()>().await;
        }
    }
}

struct Task<W>(W);

#[async_trait]
impl<W, F> BackgroundService for Task<W>
where
    W: Fn(Shutdown) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    async fn start(&self, shutdown: ShutdownWatch) {
        (self.0)(Shutdown(shutdown)).await;
    }
}

struct MetricsApp(Registry);

#[async_trait]
impl ServeHttp for MetricsApp {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut body = Vec::new();
        let (status, media_type) = if session.req_header().uri.path() != "/metrics" {
            (StatusCode::NOT_FOUND, "text/plain")
        } else if let Err(error) = TextEncoder::new().encode(&self.0.gather(), &mut body) {
            log::error!("metrics: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, "text/plain")
        } else {
            (StatusCode::OK, prometheus::TEXT_FORMAT)
        };
        let length = body.len();
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        response
    }
}

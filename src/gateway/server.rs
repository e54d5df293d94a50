//! Pingora's server: the gateway on its listeners, `/metrics` on its own, and work that no request waits for.
//!
//! [`Process`] is all a program needs; the services are there one by one for those who have a server of their own.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Response, StatusCode, header};
use pingora_core::{
    apps::{HttpServerOptions, http_app::ServeHttp},
    listeners::TcpSocketOptions,
    protocols::http::{
        ServerSession,
        v2::server::{H2Options, default_h2_options},
    },
    server::{
        RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
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

pub use super::service::Started;
use super::{Gateway, header_limits::LONGEST_H2, parting::Parting, service::Starting, sockets::Sockets, tls};
use crate::{
    background::{
        archiver::Archiver,
        eviction::{Moment, Sweeper},
        gauges::Gauges,
    },
    config::Listen,
    vital,
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
    sockets: Sockets,
    starting: Starting,
}

/// How a process is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Requests in flight are answered, within the periods of grace.
    Gracefully,
    AtOnce,
}

/// Tells a task that the process is to end.
#[derive(Debug)]
pub struct Shutdown(ShutdownWatch);

/// The gateway on its listeners.
///
/// # Errors
/// When a certificate or key cannot be used.
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
            Some(tls) => service.add_tls_with_settings(&address, Some(options), tls::settings(tls)?),
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
    /// Reads them from the text of a configuration file. Where it names no files for the process, they are in
    /// `data_dir/run`.
    ///
    /// # Errors
    /// Says what is wrong. Of Pingora's own message about a file that is no YAML, which holds the whole file and with it
    /// secrets, only the cause is kept.
    pub fn read(text: &str, data_dir: &Path) -> Result<Self, String> {
        let mut conf = ServerConf::from_yaml(text).map_err(|error| match (error.cause, error.context) {
            (Some(cause), _) => cause.to_string(),
            (None, Some(context)) => context.as_str().to_owned(),
            (None, None) => "they cannot be read".to_owned(),
        })?;
        let (pingoras, Self(ours)) = (ServerConf::default(), Self::in_data_dir(conf.threads, data_dir));
        if conf.pid_file.is_empty() || conf.pid_file == pingoras.pid_file {
            conf.pid_file = ours.pid_file;
        }
        if conf.upgrade_sock.is_empty() || conf.upgrade_sock == pingoras.upgrade_sock {
            conf.upgrade_sock = ours.upgrade_sock;
        }
        Ok(Self(conf))
    }

    /// The defaults, with the process's own files in `data_dir/run`.
    pub fn in_data_dir(threads: usize, data_dir: &Path) -> Self {
        let file = |name: &str| data_dir.join("run").join(name).to_string_lossy().into_owned();
        let (pid_file, upgrade_sock) = (file("picgate.pid"), file("upgrade.sock"));
        Self(ServerConf { threads, pid_file, upgrade_sock, ..ServerConf::default() })
    }

    /// Everything with which Pingora would panic when it starts.
    pub fn mistakes(&self) -> Vec<String> {
        let conf = &self.0;
        let mut mistakes = Vec::new();
        let numbers = [("threads", conf.threads), ("listener_tasks_per_fd", conf.listener_tasks_per_fd)];
        for (key, _) in numbers.iter().filter(|(_, number)| *number == 0) {
            mistakes.push(format!("{key}: must be 1 or more"));
        }
        let v4 = conf.client_bind_to_ipv4.iter().map(|text| ("client_bind_to_ipv4", text));
        let v6 = conf.client_bind_to_ipv6.iter().map(|text| ("client_bind_to_ipv6", text));
        for (key, text) in v4.chain(v6).filter(|(_, text)| text.parse::<IpAddr>().is_err()) {
            mistakes.push(format!("{key}: {text:?} is no IP address"));
        }
        if let Some(Err(why)) = conf.ca_file.as_deref().map(|file| tls::authorities(Path::new(file))) {
            mistakes.push(format!("ca_file: {why}"));
        }
        mistakes
    }

    /// Where the process id is to be written.
    pub fn pid_file(&self) -> PathBuf {
        self.0.pid_file.clone().into()
    }

    /// Where a successor waits for the listening sockets.
    pub fn upgrade_sock(&self) -> PathBuf {
        self.0.upgrade_sock.clone().into()
    }
}

// === impl Process ===

impl Process {
    /// `sockets`: those of all listeners that are going to be added.
    pub fn new(settings: ServerSettings, sockets: Sockets) -> Self {
        let ServerSettings(mut conf) = settings;
        // Pingora waits for the whole grace period and then drops what is still running. Here both periods are for
        // requests in flight; a task ends the process as soon as there are none.
        let grace = conf.grace_period_seconds.unwrap_or(5) + conf.graceful_shutdown_timeout_seconds.unwrap_or(10);
        conf.grace_period_seconds = Some(grace);
        conf.graceful_shutdown_timeout_seconds = Some(1);
        let mut server = Server::new_with_opt_and_conf(Some(Opt::default()), conf);
        server.bootstrap();
        Self { server, sockets, starting: Starting::new() }
    }

    /// Puts the gateway on these listeners.
    ///
    /// # Errors
    /// When a certificate or key cannot be used.
    pub fn listen(&mut self, gateway: Gateway, listen: &[Listen]) -> Result<(), String> {
        let proxy = proxy(&self.server.configuration, gateway.clone(), listen).map_err(|error| error.to_string())?;
        self.add(proxy);
        for service in background(gateway) {
            self.add(service);
        }
        Ok(())
    }

    /// Adds a service. The process ends when it ends.
    pub fn add(&mut self, service: BoxedService) {
        let service = self.starting.service(service, self.sockets.clone());
        self.server.add_boxed_service(service);
    }

    /// Tells when every service has started.
    pub fn started(&self) -> Started {
        self.starting.started()
    }

    /// Runs until `stop` says how to stop, or a service dies; then requests in flight are answered.
    ///
    /// # Errors
    /// Names the service that has died.
    pub fn run(self, stop: impl Future<Output = Stop> + Send + 'static) -> Result<(), String> {
        let signal = Signal { stop: Mutex::new(Some(Box::pin(stop))), sockets: self.sockets };
        self.server.run(RunArgs { shutdown_signal: Box::new(signal) });
        vital::cause().map_or(Ok(()), Err)
    }
}

/// What Pingora waits for.
struct Signal {
    stop: Mutex<Option<BoxFuture<'static, Stop>>>,
    sockets: Sockets,
}

#[async_trait]
impl ShutdownSignalWatch for Signal {
    async fn recv(&self) -> ShutdownSignal {
        let stop = self.stop.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        let stop = async {
            match stop {
                Some(stop) => stop.await,
                None => std::future::pending().await,
            }
        };
        let stop = tokio::select! {
            stop = stop => stop,
            _ = vital::death() => Stop::Gracefully,
        };
        // Pingora closes its own.
        self.sockets.close();
        match stop {
            Stop::Gracefully => ShutdownSignal::GracefulTerminate,
            Stop::AtOnce => ShutdownSignal::FastShutdown,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression 10.4: the process's own files are in no shared folder unless the configuration says so.
    #[test]
    fn own_files_are_in_data_dir_unless_they_are_named() {
        for (text, pid_file, upgrade_sock) in [
            ("version: 1", "data/run/picgate.pid", "data/run/upgrade.sock"),
            ("pid_file: /run/picgate/pid", "/run/picgate/pid", "data/run/upgrade.sock"),
            ("upgrade_sock: /run/picgate/sock", "data/run/picgate.pid", "/run/picgate/sock"),
            ("pid_file: \"\"\nupgrade_sock: \"\"", "data/run/picgate.pid", "data/run/upgrade.sock"),
        ] {
            let settings = ServerSettings::read(text, Path::new("data")).unwrap();
            assert_eq!(settings.pid_file(), Path::new(pid_file), "{text}");
            assert_eq!(settings.upgrade_sock(), Path::new(upgrade_sock), "{text}");
        }
    }

    /// Regression 10.13: what would make Pingora panic is told before it starts.
    #[test]
    fn what_pingora_would_panic_over_is_a_mistake() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_string_lossy().into_owned()
        };
        let garbage = file("garbage.pem", "garbage");
        let good = file("ca.pem", &rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem());
        for (text, wanted) in [
            ("threads: 2".to_owned(), &[][..]),
            (format!("ca_file: {good}"), &[]),
            ("threads: 0".to_owned(), &["threads: must be 1 or more"]),
            ("listener_tasks_per_fd: 0".to_owned(), &["listener_tasks_per_fd: must be 1 or more"]),
            (
                "client_bind_to_ipv4: [ 127.0.0.1, here ]".to_owned(),
                &["client_bind_to_ipv4: \"here\" is no IP address"],
            ),
            ("client_bind_to_ipv6: [ \"::1\", \"\" ]".to_owned(), &["client_bind_to_ipv6: \"\" is no IP address"]),
            (format!("threads: 0\nca_file: {garbage}"), &["threads: ", "ca_file: ", "holds no certificate"]),
            ("ca_file: /nowhere/ca.pem".to_owned(), &["ca_file: /nowhere/ca.pem: cannot be read"]),
        ] {
            let told = ServerSettings::read(&text, Path::new("data")).unwrap().mistakes().join("\n");
            assert_eq!(told.is_empty(), wanted.is_empty(), "{text}: {told}");
            assert!(wanted.iter().all(|word| told.contains(word)), "{text}: {told}");
        }
        let why = ServerSettings::read("max_blocking_threads: 0", Path::new("data")).unwrap_err();
        assert!(why.contains("max_blocking_threads"), "{why}");
    }
}

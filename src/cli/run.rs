//! `picgate run`.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use pingora_core::{
    server::{
        RunArgs, Server, ShutdownWatch,
        configuration::{Opt, ServerConf},
    },
    services::background::{BackgroundService, background_service},
};
use prometheus::Registry;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, check};
use crate::{
    app::{self, App},
    config::Config,
    gateway::{Gateway, server},
};

/// After the listeners were told to stop, connections accepted a moment before may still become requests.
const SETTLE: Duration = Duration::from_millis(300);

pub(super) fn run(path: &Path, upgrade: bool) -> Result<(), Failure> {
    start_logging("info");
    let loaded = check::load(path)?;
    let conf = check::server_conf(path)?;
    serve(conf, loaded.config, upgrade, Some(path.to_owned()), |config, first_key| {
        if let Some(key) = first_key {
            println!("picgate has no keys yet, so it made one. It is shown only now:\n\n  {key}\n");
        }
        log::info!("picgate {} listens; its pictures are under {}", env!("CARGO_PKG_VERSION"), config.public.base);
    })
}

/// Runs until a signal ends it. `file` is read again on HUP; `ready` is called before the first request can come.
pub(super) fn serve(
    mut conf: ServerConf,
    config: Config,
    upgrade: bool,
    file: Option<PathBuf>,
    ready: impl FnOnce(&Config, Option<&str>),
) -> Result<(), Failure> {
    // Pingora waits for the whole grace period and then drops what is still running. Here both periods are for requests in
    // flight, and the process ends as soon as there are none.
    let grace = conf.grace_period_seconds.unwrap_or(5) + conf.graceful_shutdown_timeout_seconds.unwrap_or(10);
    conf.grace_period_seconds = Some(grace);
    conf.graceful_shutdown_timeout_seconds = Some(1);
    if !upgrade {
        can_listen(&config)?;
    }
    let (listen, metrics, pid_file) = (config.listen.clone(), config.metrics, PidFile::new(&conf.pid_file));

    let registry = Registry::new();
    let shown = config.clone();
    let App { gateway, first_key } = App::build(config, &registry).map_err(Failure::broken)?;

    let opt = Opt { upgrade, ..Opt::default() };
    let mut server = Server::new_with_opt_and_conf(Some(opt), conf);
    server.bootstrap();
    let conf = Arc::clone(&server.configuration);
    let proxy =
        server::proxy(&conf, gateway.clone(), &listen).map_err(|error| Failure::broken(format!("listen: {error}")))?;
    server.add_boxed_service(proxy);
    if let Some(address) = metrics {
        server.add_boxed_service(server::metrics(registry, address));
    }
    server.add_services(server::background(gateway.clone()));
    server.add_service(background_service("reload", Reload { gateway: gateway.clone(), started: shown.clone(), file }));
    server.add_service(background_service("drain", Drain { gateway, pid_file: pid_file.clone() }));

    pid_file.write();
    ready(&shown, first_key.as_deref());
    server.run(RunArgs::default());
    pid_file.remove();
    Ok(())
}

/// Says in plain words when an address is taken; Pingora would panic later.
fn can_listen(config: &Config) -> Result<(), Failure> {
    for address in config.listen.iter().map(|listen| listen.addr).chain(config.metrics) {
        TcpListener::bind(address).map_err(|error| Failure::broken(format!("cannot listen on {address}: {error}")))?;
    }
    Ok(())
}

/// Logs to stderr; `RUST_LOG` overrides the level.
pub(super) fn start_logging(level: &str) {
    let default = format!("{level},pingora_core=warn,pingora_proxy=error,sled=warn");
    let _ = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(default)).try_init();
}

/// On HUP: reads the configuration again, whole, and puts it in force, or keeps the old one and says why.
struct Reload {
    gateway: Gateway,
    /// What the process was started with.
    started: Config,
    file: Option<PathBuf>,
}

#[async_trait]
impl BackgroundService for Reload {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let Ok(mut signals) = signal(SignalKind::hangup()) else { return };
        loop {
            tokio::select! {
                _ = shutdown.changed() => return,
                _ = signals.recv() => {}
            }
            let Some(file) = self.file.clone() else {
                log::warn!("HUP: there is no configuration file to read again");
                continue;
            };
            let (gateway, started) = (self.gateway.clone(), self.started.clone());
            let reloaded = tokio::task::spawn_blocking(move || reload(&gateway, &started, &file)).await;
            match reloaded {
                Ok(Ok(())) => log::info!("HUP: the configuration was read again and is in force"),
                Ok(Err(why)) => log::error!("HUP: the old configuration stays in force:\n{why}"),
                Err(_) => log::error!("HUP: the old configuration stays in force"),
            }
        }
    }
}

fn reload(gateway: &Gateway, started: &Config, file: &Path) -> Result<(), String> {
    let loaded = check::load(file).map_err(|failure| failure.message)?;
    let config = loaded.config;
    let bound = [
        ("listen", config.listen != started.listen),
        ("metrics", config.metrics != started.metrics),
        ("data_dir", config.data_dir != started.data_dir),
        ("store", config.store != started.store),
    ];
    for (key, _) in bound.iter().filter(|(_, changed)| *changed) {
        log::warn!("HUP: picgate.{key} has changed; that takes effect at the next start");
    }
    app::reload(gateway, config).map_err(|error| error.to_string())
}

/// Ends the process once a stop was asked for and every request has been answered.
struct Drain {
    gateway: Gateway,
    pid_file: PidFile,
}

#[async_trait]
impl BackgroundService for Drain {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        if shutdown.changed().await.is_err() {
            return;
        }
        log::info!("stopping: requests in flight are answered, new ones are not taken");
        tokio::time::sleep(SETTLE).await;
        self.gateway.in_flight().none().await;
        // HTTP/2 frames of the last answers may still be on their way from our queues to the sockets.
        tokio::time::sleep(SETTLE).await;
        log::info!("stopped");
        self.pid_file.remove();
        std::process::exit(0);
    }
}

/// The process id as a file, for scripts that send signals.
#[derive(Clone, Debug)]
struct PidFile(String);

impl PidFile {
    fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    fn write(&self) {
        let id = std::process::id().to_string();
        if let Some(folder) = Path::new(&self.0).parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        if let Err(error) = std::fs::write(&self.0, id) {
            log::warn!("pid_file {}: {error}", self.0);
        }
    }

    /// Removes the file, unless another process has put its own id there.
    fn remove(&self) {
        if std::fs::read_to_string(&self.0).is_ok_and(|id| id == std::process::id().to_string()) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

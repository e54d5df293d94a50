//! `picgate run`.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use prometheus::Registry;

use super::{Failure, check, pid_file::PidFile, reload};
use crate::{
    app::App,
    config::{Config, Secret},
    gateway::{
        Gateway,
        server::{self, BoxedService, Process, ServerSettings},
    },
    telemetry::logging,
};

/// After the listeners were told to stop, connections that are open may still bring requests; and after the last answer,
/// HTTP/2 frames may still be on their way from our queues to the sockets.
const SETTLE: Duration = Duration::from_millis(300);

pub(super) fn run(path: &Path, upgrade: bool) -> Result<(), Failure> {
    logging::start("info");
    let loaded = check::load(path)?;
    let settings = check::server_settings(path)?;
    serve(settings, loaded.config, upgrade, Some(path.to_owned()), |config, first_key| {
        if let Some(key) = first_key {
            println!("picgate has no keys yet, so it made one. It is shown only now:\n\n  {}\n", key.expose());
        }
        log::info!("picgate {} listens; its pictures are under {}", env!("CARGO_PKG_VERSION"), config.public.base);
    })
}

/// Runs until a signal ends it. `file` is read again on HUP; `ready` is called before the first request can come.
pub(super) fn serve(
    settings: ServerSettings,
    config: Config,
    upgrade: bool,
    file: Option<PathBuf>,
    ready: impl FnOnce(&Config, Option<&Secret>),
) -> Result<(), Failure> {
    if !upgrade {
        can_listen(&config)?;
    }
    let pid_file = PidFile::new(settings.pid_file());
    let registry = Registry::new();
    let App { gateway, first_key } = App::build(config.clone(), &registry).map_err(Failure::broken)?;

    let mut process = Process::new(settings, upgrade);
    let listening = process.listen(gateway.clone(), &config.listen);
    listening.map_err(|error| Failure::broken(format!("listen: {error}")))?;
    if let Some(address) = config.metrics {
        process.add(server::metrics(registry, address));
    }
    process.add(reload::on_hup(gateway.clone(), config.clone(), file));
    process.add(drain(gateway, pid_file.clone()));

    pid_file.write();
    ready(&config, first_key.as_ref());
    process.run();
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

/// Ends the process once a stop was asked for and every request has been answered.
fn drain(gateway: Gateway, pid_file: PidFile) -> BoxedService {
    server::task("drain", move |mut shutdown| {
        let (gateway, pid_file) = (gateway.clone(), pid_file.clone());
        async move {
            shutdown.requested().await;
            log::info!("stopping: requests in flight are answered, new ones are not taken");
            tokio::time::sleep(SETTLE).await;
            loop {
                gateway.in_flight().none().await;
                tokio::time::sleep(SETTLE).await;
                // One more may have come on a connection that was open.
                if gateway.in_flight().count() == 0 {
                    break;
                }
            }
            log::info!("stopped");
            pid_file.remove();
            std::process::exit(0);
        }
    })
}

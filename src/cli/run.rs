//! `picgate run`.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use prometheus::Registry;

use super::{Failure, check, own_files::OwnFiles, pid_file::PidFile, reload, stop::Signals, upgrade};
use crate::{
    app::App,
    config::{Config, Secret},
    gateway::{
        Gateway,
        handover::{Predecessor, Successor},
        server::{self, BoxedService, Process, ServerSettings, Started},
        sockets::Sockets,
    },
    telemetry::logging,
    vital,
};

/// After the listeners were told to stop, connections that are open may still bring requests; and after the last answer,
/// HTTP/2 frames may still be on their way from our queues to the sockets.
const SETTLE: Duration = Duration::from_millis(300);
/// Longest wait for a process that hands its sockets over: a person may have to send it QUIT.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the listening sockets come from.
#[derive(Debug)]
pub(super) enum Start {
    /// They are made here, but for this one, which is the one for metrics.
    Fresh { metrics: Option<TcpListener> },
    /// A running process hands them over.
    Upgrade {
        /// Words for `picgate upgrade` go to stdout; and once this process serves, it writes to where the one before wrote.
        report: bool,
    },
}

pub(super) fn run(path: &Path, start: Start) -> Result<(), Failure> {
    logging::start("info");
    let (config, settings) = check::whole(path)?;
    serve(settings, config, start, Some(path.to_owned()), |config, first_key| {
        if let Some(key) = first_key {
            println!("picgate has no keys yet, so it made one. It is shown only now:\n\n  {}\n", key.expose());
        }
        log::info!("picgate {} listens; its pictures are under {}", env!("CARGO_PKG_VERSION"), config.public.base);
    })
}

/// Runs until a signal ends it. `file` is read again on HUP; `ready` is called before the first request can come.
///
/// Everything that can fail is done before the first socket listens, or is taken over.
pub(super) fn serve(
    settings: ServerSettings,
    config: Config,
    start: Start,
    file: Option<PathBuf>,
    ready: impl FnOnce(&Config, Option<&Secret>),
) -> Result<(), Failure> {
    let own =
        OwnFiles::prepare(&settings, &config.data_dir).map_err(|wrong| Failure::broken(wrong.join("\npicgate: ")))?;
    let addresses = config.listen.iter().map(|listen| listen.addr).chain(config.metrics);
    let sockets = match &start {
        Start::Fresh { metrics: None } => Sockets::bind(addresses).map_err(Failure::broken)?,
        Start::Fresh { metrics: Some(metrics) } => with_metrics(addresses, metrics).map_err(Failure::broken)?,
        Start::Upgrade { .. } => Sockets::bind_free(addresses),
    };
    let registry = Registry::new();
    let App { gateway, first_key } = App::build(config.clone(), &registry).map_err(Failure::broken)?;

    let mut process = Process::new(settings, sockets.clone());
    let listening = process.listen(gateway.clone(), &config.listen);
    listening.map_err(|error| Failure::broken(format!("listen: {error}")))?;
    if let Some(address) = config.metrics {
        process.add(server::metrics(registry, address));
    }
    process.add(reload::on_hup(gateway.clone(), config.clone(), file));
    process.add(drain(gateway, own.pid_file.clone()));
    let signals = match start {
        Start::Fresh { .. } => {
            sockets.listen().map_err(Failure::broken)?;
            let signals = Signals::listen().map_err(Failure::broken)?;
            own.pid_file.write(None);
            signals
        }
        Start::Upgrade { report } => {
            let successor = Successor::at(&own.upgrade_sock).map_err(Failure::broken)?;
            log::info!("waiting for the running gateway to hand its sockets over at {}", own.upgrade_sock.display());
            say(report, upgrade::READY);
            let predecessor = successor.take_over(&sockets, PATIENCE).map_err(Failure::broken)?;
            // Until now they end this process at once: nothing is lost with it.
            let signals = Signals::listen().map_err(Failure::broken)?;
            let taking = Taking { predecessor, pid_file: own.pid_file.clone(), report };
            process.add(relieve(taking, process.started()));
            signals
        }
    };
    ready(&config, first_key.as_ref());
    let ended = process.run(signals.stop(sockets, own.upgrade_sock));
    own.pid_file.remove();
    ended.map_err(Failure::broken)
}

/// Binds these addresses, one of which is bound already.
fn with_metrics(addresses: impl Iterator<Item = SocketAddr>, metrics: &TcpListener) -> Result<Sockets, String> {
    let bound = || -> std::io::Result<(String, OwnedFd)> {
        metrics.set_nonblocking(true)?;
        Ok((metrics.local_addr()?.to_string(), metrics.try_clone()?.into()))
    };
    let sockets = Sockets::bind_free(addresses);
    sockets.inherit(vec![bound().map_err(|error| error.to_string())?])?;
    Ok(sockets)
}

/// Tells `picgate upgrade`, which may be gone.
fn say(report: bool, word: &str) {
    if report {
        let mut stdout = std::io::stdout();
        let _ = writeln!(stdout, "{word}").and_then(|()| stdout.flush());
    }
}

/// A hand-over whose sockets are here.
#[derive(Debug)]
struct Taking {
    predecessor: Predecessor,
    pid_file: PidFile,
    report: bool,
}

/// Lets the process before stop, once everything here has started.
fn relieve(taking: Taking, started: Started) -> BoxedService {
    let taking = std::sync::Arc::new(taking);
    server::task("relieve", move |mut shutdown| {
        let (taking, mut started) = (taking.clone(), started.clone());
        async move {
            started.all().await;
            match taking.predecessor.relieve() {
                Ok(()) => taking.done(),
                Err(why) => vital::died(why),
            }
            shutdown.requested().await;
        }
    })
}

impl Taking {
    fn done(&self) {
        let pid = self.predecessor.pid;
        log::info!("the sockets of process {} are served here now", pid.as_raw_nonzero());
        self.pid_file.write(Some(pid));
        say(self.report, upgrade::SERVING);
        if self.report
            && let Err(error) = self.predecessor.take_output()
        {
            log::warn!("the output of process {} cannot be written to: {error}", pid.as_raw_nonzero());
        }
    }
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
            pid_file.remove();
            // A service manager restarts what has failed.
            match vital::cause() {
                Some(what) => {
                    log::error!("stopped, because {what}");
                    std::process::exit(1);
                }
                None => {
                    log::info!("stopped");
                    std::process::exit(0);
                }
            }
        }
    })
}

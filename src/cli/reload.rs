//! HUP: the configuration is read again.

use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use super::check;
use crate::{
    app,
    config::{self, Config, Durability},
    gateway::{
        Gateway,
        server::{self, BoxedService},
    },
};

/// On HUP, reads the file whole and puts it in force, or keeps the old configuration and says why. `started`: what the
/// process was started with.
pub(super) fn on_hup(gateway: Gateway, started: Config, file: Option<PathBuf>) -> BoxedService {
    server::task("reload", move |mut shutdown| {
        let (gateway, started, file) = (gateway.clone(), started.clone(), file.clone());
        async move {
            let Ok(mut signals) = signal(SignalKind::hangup()) else { return };
            loop {
                tokio::select! {
                    () = shutdown.requested() => return,
                    _ = signals.recv() => {}
                }
                let Some(file) = file.clone() else {
                    log::warn!("HUP: there is no configuration file to read again");
                    continue;
                };
                let (gateway, started) = (gateway.clone(), started.clone());
                let reloaded = tokio::task::spawn_blocking(move || reload(&gateway, &started, &file)).await;
                match reloaded {
                    Ok(Ok(())) => log::info!("HUP: the configuration was read again and is in force"),
                    Ok(Err(why)) => log::error!("HUP: the old configuration stays in force:\n{why}"),
                    Err(_) => log::error!("HUP: the old configuration stays in force"),
                }
            }
        }
    })
}

/// What of these settings the process keeps to its end.
fn bound(store: &config::Store) -> (u64, Durability) {
    (store.memory_cache, store.durability)
}

fn reload(gateway: &Gateway, started: &Config, file: &Path) -> Result<(), String> {
    let config = check::load(file).map_err(|failure| failure.message)?.config;
    let changes = [
        ("listen", config.listen != started.listen),
        ("metrics", config.metrics != started.metrics),
        ("data_dir", config.data_dir != started.data_dir),
        ("archive", config.archive != started.archive),
        ("store", bound(&config.store) != bound(&started.store)),
        ("limits.pixel_threads", config.limits.pixel_threads != started.limits.pixel_threads),
    ];
    for (key, _) in changes.iter().filter(|(_, changed)| *changed) {
        log::warn!("HUP: picgate.{key} has changed; that takes effect at the next start");
    }
    for mistake in check::pairs(&config) {
        log::warn!("HUP: the next start would fail: {mistake}");
    }
    app::reload(gateway, config).map_err(|error| error.to_string())
}

//! Wires everything.

use std::sync::Arc;

use prometheus::Registry;

use crate::{
    access::{Keys, StoredKey, new_key},
    archive::{self, Bucket},
    config::{self, Access, Config, Secret},
    core::{Core, Settings},
    fetch::Fetcher,
    gateway::Gateway,
    images::Links,
    pixels::Pool,
    store::{Store, StoreError},
    telemetry::Metrics,
};

/// The file under `state/` that holds the keys made at run time.
const KEYS: &str = "keys";
/// The file under `state/` that holds the keys for signing URLs that were made at run time, in hex.
const SIGNING_KEYS: &str = "signing_keys";
/// Random bytes in a key for signing: as many as HMAC-SHA256 has use for.
const SIGNING_KEY_LEN: usize = 32;

/// A gateway that is ready to take requests.
#[derive(Debug)]
pub struct App {
    pub gateway: Gateway,
    /// A key that was made just now, because there was none. It is shown once and stored only as a hash.
    pub first_key: Option<Secret>,
}

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("data_dir: {0}")]
    Store(#[from] StoreError),
    #[error("fetch: {0}")]
    Fetch(String),
    #[error("archive: {0}")]
    Archive(#[from] archive::SetupError),
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("making a key: {0}")]
    Key(#[from] std::io::Error),
    #[error("starting threads for pixels: {0}")]
    Pixels(#[source] std::io::Error),
}

impl App {
    /// Opens the store and connects the parts. Metrics are registered in `registry`.
    ///
    /// Starts threads, so a program that forks must do so before.
    ///
    /// # Errors
    /// When the data directory cannot be used, or the registry has metrics of the same names.
    pub fn build(config: Config, registry: &Registry) -> Result<Self, StartError> {
        let metrics = Metrics::register(registry)?;
        let store = Store::open(&config.data_dir, &config.store, config.archive.as_ref().map(config::Archive::place))?;
        store.follow(&config.store, &config.limits);
        let pixels = Pool::start(config.limits.pixel_threads, metrics.clone()).map_err(StartError::Pixels)?;
        let mut stored = stored_keys(&store)?;
        let mut first_key = None;
        if stored.is_empty() && config.keys.is_empty() {
            let (key, entry) = new_key("first")?;
            stored.push(entry);
            store.state().write_json(KEYS, &stored)?;
            first_key = Some(Secret::new(key));
        }
        let bucket = config.archive.as_ref().map(Bucket::new).transpose()?;
        let settings = settings(config, &stored, &store)?;
        let gateway = Gateway::new(Arc::new(Core::new(settings, store, bucket, pixels, metrics)));
        Ok(Self { gateway, first_key })
    }
}

/// Puts another configuration in force. What is bound to the process (listeners, data directory, archive, most of the store,
/// metrics) stays as it was started.
///
/// Reads `state/`: not for an async worker.
///
/// # Errors
/// When it cannot be used; then nothing has changed.
pub fn reload(gateway: &Gateway, config: Config) -> Result<(), StartError> {
    let core = gateway.core();
    let stored = stored_keys(&core.store)?;
    let settings = settings(config, &stored, &core.store)?;
    core.store.follow(&settings.config.store, &settings.config.limits);
    core.replace(settings);
    Ok(())
}

/// Warns of keys that were made at run time and are still valid beside the configured ones. Nobody sees them in the file.
fn warn_of_stored_keys(config: &Config, stored: &[StoredKey], store: &Store) {
    let is_configured =
        |stored: &StoredKey| config.keys.iter().any(|key| StoredKey::of("", key.key.expose()).hash == stored.hash);
    let hidden: Vec<_> = stored.iter().filter(|key| !is_configured(key)).map(|key| key.name.as_str()).collect();
    if config.keys.is_empty() || hidden.is_empty() {
        return;
    }
    log::warn!(
        "`keys` are configured, and a key that the gateway made at its first start is valid beside them ({}). To end it, \
         delete {} and send HUP, or restart",
        hidden.join(", "),
        store.state().file(KEYS).display(),
    );
}

fn settings(config: Config, stored: &[StoredKey], store: &Store) -> Result<Settings, StartError> {
    warn_of_stored_keys(&config, stored, store);
    let keys = Keys::new(&config.keys, stored);
    let fetcher = Fetcher::new(&config.fetch).map_err(|error| StartError::Fetch(error.to_string()))?;
    let made = made_signing_keys(&config.serving, store)?;
    let written = config.serving.signing_keys.iter().map(|key| key.expose().as_bytes());
    let links =
        Links::new(config.public.base.clone(), &config.serving, written.chain(made.iter().map(String::as_bytes)));
    Ok(Settings { config: Arc::new(config), keys, fetcher, links })
}

/// The keys for signing that stand in no configuration. One is made when URLs are to be signed and there is none at all.
fn made_signing_keys(serving: &config::Serving, store: &Store) -> Result<Vec<String>, StartError> {
    let made: Vec<String> = store.state().read_json(SIGNING_KEYS)?.unwrap_or_default();
    if !made.is_empty() || !serving.signing_keys.is_empty() || serving.access == Access::Public {
        return Ok(made);
    }
    let mut random = [0; SIGNING_KEY_LEN];
    getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
    let made = vec![random.iter().map(|byte| format!("{byte:02x}")).collect::<String>()];
    store.state().write_json(SIGNING_KEYS, &made)?;
    Ok(made)
}

fn stored_keys(store: &Store) -> Result<Vec<StoredKey>, StoreError> {
    Ok(store.state().read_json(KEYS)?.unwrap_or_default())
}

//! The shared state a request needs.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{
    access::Keys,
    archive::Bucket,
    config::{Config, Redirect},
    fetch::Fetcher,
    images::Links,
    pixels::Pool,
    store::Store,
    telemetry::Metrics,
    tier::Tier,
    upstream::{Transport, catalogue::Catalogue},
    variants::Variants,
};

/// Everything a request works with. One per gateway, shared by all requests.
#[derive(Debug)]
pub struct Core {
    settings: ArcSwap<Settings>,
    pub store: Store,
    /// The same pictures, and those that are only in the archive.
    pub tier: Tier,
    pub pixels: Pool,
    pub variants: Variants,
    pub transport: Transport,
    pub catalogue: Catalogue,
    pub metrics: Metrics,
}

/// What the configuration says, in the form requests need it. A request takes it once and keeps it to its end.
#[derive(Debug)]
pub struct Settings {
    pub config: Arc<Config>,
    pub keys: Keys,
    pub fetcher: Fetcher,
    pub links: Links,
}

impl Core {
    /// `bucket`: where the store's pictures are archived.
    pub fn new(settings: Settings, store: Store, bucket: Option<Bucket>, pixels: Pool, metrics: Metrics) -> Self {
        let transport = Transport::default();
        let catalogue = Catalogue::new(transport.clone());
        let redirect = settings.config.archive.as_ref().map_or(Redirect::Off, |archive| archive.redirect.clone());
        let tier = Tier::new(store.clone(), bucket, redirect, metrics.clone());
        let variants = Variants::new(store.clone(), pixels.clone());
        let settings = ArcSwap::from_pointee(settings);
        Self { settings, store, tier, pixels, variants, transport, catalogue, metrics }
    }

    /// Puts other settings in force. Requests that have begun end under the ones they began with.
    pub fn replace(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// The settings in force now.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }
}

//! Pingora services: the gateway on its listeners, `/metrics` on its own, and work that no request waits for.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderValue, Response, StatusCode, header};
use pingora_core::{
    apps::{HttpServerOptions, http_app::ServeHttp},
    listeners::tls::TlsSettings,
    protocols::http::{ServerSession, v2::server::default_h2_options},
    server::{ShutdownWatch, configuration::ServerConf},
    services::{
        ServiceWithDependents,
        background::{BackgroundService, background_service},
        listening::Service,
    },
};
use pingora_proxy::ProxyServiceBuilder;
use prometheus::{Encoder, Registry, TextEncoder};

use super::Gateway;
use crate::config::Listen;

/// A service to add to a Pingora server.
pub type BoxedService = Box<dyn ServiceWithDependents>;

/// How far an HTTP/2 client may send ahead, on one stream and on a connection: uploads are megabytes.
const H2_STREAM_WINDOW: u32 = 1024 * 1024;
const H2_CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const H2_IDLE: Duration = Duration::from_secs(120);
/// How often the upstreams' model lists are asked for, so that no client waits for it.
const CATALOGUE: Duration = Duration::from_secs(60);

/// The gateway on its listeners.
///
/// # Errors
/// When a certificate or key cannot be read.
pub fn proxy(conf: &Arc<ServerConf>, gateway: Gateway, listen: &[Listen]) -> pingora_core::Result<BoxedService> {
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(H2_IDLE);
    let mut service = ProxyServiceBuilder::new(conf, gateway).name("picgate").server_options(options).build();
    if let Some(app) = service.app_logic_mut() {
        let mut h2 = default_h2_options();
        h2.initial_window_size(H2_STREAM_WINDOW).initial_connection_window_size(H2_CONNECTION_WINDOW);
        app.h2_options = Some(h2);
    }
    for listener in listen {
        let address = listener.addr.to_string();
        match &listener.tls {
            None => service.add_tcp(&address),
            Some(tls) => {
                let mut settings = TlsSettings::intermediate(&tls.cert.to_string_lossy(), &tls.key.to_string_lossy())?;
                if tls.h2 {
                    settings.enable_h2();
                }
                service.add_tls_with_settings(&address, None, settings);
            }
        }
    }
    Ok(Box::new(service))
}

/// `/metrics` of this registry, in Prometheus' text format.
pub fn metrics(registry: Registry, address: SocketAddr) -> BoxedService {
    let mut service = Service::new("metrics".to_owned(), MetricsApp(registry));
    service.add_tcp(&address.to_string());
    Box::new(service)
}

/// The gateway's work that no request waits for.
pub fn background(gateway: Gateway) -> Vec<BoxedService> {
    vec![Box::new(background_service("model catalogue", CatalogueService(gateway)))]
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

struct CatalogueService(Gateway);

#[async_trait]
impl BackgroundService for CatalogueService {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut turns = tokio::time::interval(CATALOGUE);
        loop {
            tokio::select! {
                _ = shutdown.changed() => return,
                _ = turns.tick() => {}
            }
            let core = self.0.core();
            core.catalogue.list(&core.settings().config).await;
        }
    }
}

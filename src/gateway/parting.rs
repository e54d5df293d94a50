//! Connections that are open, and idle, when the process is told to stop.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use pingora_core::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream},
    protocols::http::{ServerSession, v2::server::H2Options},
    server::ShutdownWatch,
};
use pingora_proxy::{HttpProxy, ProxyHttp};

/// How long they may send another request, whose answer then says that the connection will be closed.
const LINGER: Duration = Duration::from_secs(1);

/// Pingora's proxy, but for one thing: when the listeners have closed, Pingora closes idle connections at once, also those
/// whose request is on its way. A client can be told only by an answer.
pub(super) struct Parting<P: ProxyHttp>(Arc<HttpProxy<P>>);

impl<P: ProxyHttp> Parting<P> {
    pub(super) fn new(proxy: HttpProxy<P>) -> Self {
        Self(Arc::new(proxy))
    }
}

#[async_trait]
impl<P> HttpServerApp for Parting<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.0.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.0.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.0.server_options()
    }

    async fn http_cleanup(&self) {
        tokio::time::sleep(LINGER).await;
        self.0.http_cleanup().await;
    }
}

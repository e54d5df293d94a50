//! A `ProxyHttp` on a socket of our own, without Pingora's `Server`: many in one process, no signals, no fixed ports.

use std::{net::SocketAddr, sync::Arc};

use pingora_core::{apps::ServerApp, protocols::l4::stream::Stream, server::configuration::ServerConf};
use pingora_proxy::{ProxyHttp, http_proxy};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// Serves until dropped.
#[derive(Debug)]
pub struct Server {
    pub addr: SocketAddr,
    accepting: JoinHandle<()>,
    _shutdown: watch::Sender<bool>,
}

impl Server {
    /// HTTP/1.1, and HTTP/2 with prior knowledge.
    pub async fn start<P>(listener: TcpListener, app: P) -> Self
    where
        P: ProxyHttp + Send + Sync + 'static,
        P::CTX: Send + Sync + 'static,
    {
        let addr = listener.local_addr().unwrap();
        let mut proxy = http_proxy(&Arc::new(ServerConf::default()), app);
        let mut options = pingora_core::apps::HttpServerOptions::default();
        options.h2c = true;
        proxy.server_options = Some(options);
        proxy.h2_options = Some(picgate::gateway::server::h2_options());
        let proxy = Arc::new(proxy);
        let (shutdown, stopped) = watch::channel(false);
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).unwrap(); // as Pingora's own listeners do
                let (proxy, stopped) = (Arc::clone(&proxy), stopped.clone());
                tokio::spawn(async move {
                    let mut stream: Option<pingora_core::protocols::Stream> = Some(Box::new(Stream::from(socket)));
                    while let Some(open) = stream {
                        stream = proxy.process_new(open, &stopped).await;
                    }
                });
            }
        });
        Self { addr, accepting, _shutdown: shutdown }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

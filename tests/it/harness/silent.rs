//! An upstream that listens and never answers.

use std::net::SocketAddr;

use tokio::{io::AsyncReadExt, net::TcpListener, sync::watch, task::JoinHandle};

/// Takes requests; tells when one has begun to come, and when its sender has gone.
#[derive(Debug)]
pub struct Silent {
    addr: SocketAddr,
    seen: watch::Receiver<Seen>,
    accepting: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    requests: usize,
    gone: usize,
}

impl Silent {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (tell, seen) = watch::channel(Seen::default());
        let accepting = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let tell = tell.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    let mut begun = false;
                    while let Ok(1..) = socket.read(&mut buffer).await {
                        if !std::mem::replace(&mut begun, true) {
                            tell.send_modify(|seen| seen.requests += 1);
                        }
                    }
                    tell.send_modify(|seen| seen.gone += 1);
                });
            }
        });
        Self { addr, seen, accepting }
    }

    /// Its entry under `upstreams:`, named `silent`.
    pub fn upstream(&self) -> String {
        format!("{{ name: silent, base_url: \"http://{}/v1\" }}", self.addr)
    }

    /// Waits until a request has begun to come.
    pub async fn asked(&self) {
        self.wait(|seen| seen.requests > 0).await;
    }

    /// Waits until a sender has closed its connection.
    pub async fn left(&self) {
        self.wait(|seen| seen.gone > 0).await;
    }

    async fn wait(&self, until: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.clone();
        tokio::time::timeout(super::PATIENCE, seen.wait_for(until)).await.expect("in time").unwrap();
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

//! An upstream that answers when it is told to.

use std::net::SocketAddr;

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
};
use bytes::Bytes;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// Holds every answer back until it is let go.
#[derive(Debug)]
pub struct Held {
    addr: SocketAddr,
    gate: watch::Sender<bool>,
    asked: watch::Receiver<usize>,
    serving: JoinHandle<()>,
}

impl Held {
    pub async fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let (body, status) = (body.into(), StatusCode::from_u16(status).unwrap());
        let (gate, open) = watch::channel(false);
        let (tell, asked) = watch::channel(0);
        let answer = move |_: Bytes| {
            let (body, mut open) = (body.clone(), open.clone());
            tell.send_modify(|asked| *asked += 1);
            async move {
                open.wait_for(|open| *open).await.unwrap();
                (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer);
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { addr, gate, asked, serving }
    }

    /// The URL of something there.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Its entry under `upstreams:`, named `held`.
    pub fn upstream(&self) -> String {
        format!("{{ name: held, base_url: \"http://{}/v1\" }}", self.addr)
    }

    /// Waits until a request has come.
    pub async fn asked(&self) {
        let mut asked = self.asked.clone();
        tokio::time::timeout(super::PATIENCE, asked.wait_for(|asked| *asked > 0)).await.expect("in time").unwrap();
    }

    /// Lets all answers go, those to come too.
    pub fn let_go(&self) {
        self.gate.send_replace(true);
    }

    /// Holds answers back again.
    pub fn hold(&self) {
        self.gate.send_replace(false);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

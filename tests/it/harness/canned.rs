//! An upstream with one answer.

use std::net::SocketAddr;

use axum::{Router, http::header, response::IntoResponse};
use bytes::Bytes;
use tokio::{net::TcpListener, task::JoinHandle};

/// Answers every request with the same 200.
#[derive(Debug)]
pub struct Canned {
    addr: SocketAddr,
    serving: JoinHandle<()>,
}

impl Canned {
    pub async fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        // The request is read first: an answer before its end may be lost when the connection closes.
        let answer = move |_: Bytes| async move { ([(header::CONTENT_TYPE, content_type)], body).into_response() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer);
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { addr, serving }
    }

    /// A URL there.
    pub fn url(&self) -> String {
        format!("http://{}/answer", self.addr)
    }

    /// Its entry under `upstreams:`, named `canned`.
    pub fn upstream(&self) -> String {
        format!("{{ name: canned, base_url: \"http://{}/v1\" }}", self.addr)
    }
}

impl Drop for Canned {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

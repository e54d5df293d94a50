//! An upstream whose stream is sent piece by piece, when the test says so.

use std::net::SocketAddr;

use axum::{Router, body::Body, http::header, response::IntoResponse};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

/// Answers one request with an event stream. The stream ends when the sender is [closed](Paced::end).
#[derive(Debug)]
pub struct Paced {
    addr: SocketAddr,
    pieces: Option<mpsc::UnboundedSender<Bytes>>,
    serving: JoinHandle<()>,
}

impl Paced {
    pub async fn new() -> Self {
        let (pieces, stream) = mpsc::unbounded_channel::<Bytes>();
        let stream = std::sync::Arc::new(Mutex::new(Some(stream)));
        let answer = move |_: Bytes| {
            let stream = stream.clone();
            async move {
                let stream = stream.lock().await.take().expect("one request");
                let pieces = futures_util::stream::unfold(stream, async |mut stream| {
                    let piece = stream.recv().await?;
                    Some((piece, stream))
                });
                let body = Body::from_stream(pieces.map(Ok::<_, std::io::Error>));
                ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer);
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { addr, pieces: Some(pieces), serving }
    }

    /// Its entry under `upstreams:`, named `paced`.
    pub fn upstream(&self) -> String {
        format!("{{ name: paced, base_url: \"http://{}/v1\" }}", self.addr)
    }

    pub fn send(&self, piece: impl Into<Bytes>) {
        self.pieces.as_ref().expect("not ended").send(piece.into()).unwrap();
    }

    pub fn end(&mut self) {
        self.pieces = None;
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

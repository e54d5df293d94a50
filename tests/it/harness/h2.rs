//! A client that speaks HTTP/2 with prior knowledge.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::timeout};

use super::{Answer, House, KEY, PATIENCE};

/// An HTTP/2 connection to the gateway.
#[derive(Clone, Debug)]
pub struct H2 {
    requests: SendRequest<Full<Bytes>>,
    origin: String,
}

impl H2 {
    pub async fn to(house: &House) -> Self {
        let socket = TcpStream::connect(house.addr()).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (requests, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        Self { requests, origin: house.origin() }
    }

    pub async fn post(&self, path: &str, kind: &str, body: impl Into<Bytes>) -> Answer {
        self.send(Method::POST, path, kind, body.into()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "", Bytes::new()).await
    }

    /// A POST up to the header of its answer.
    pub async fn begin(&self, path: &str, body: impl Into<Bytes>) -> Response<Incoming> {
        timeout(PATIENCE, self.head(Method::POST, path, "application/json", body.into()))
            .await
            .expect("a header in time")
    }

    async fn send(&self, method: Method, path: &str, kind: &str, body: Bytes) -> Answer {
        let answer = async {
            let (head, body) = self.head(method, path, kind, body).await.into_parts();
            Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
        };
        timeout(PATIENCE, answer).await.expect("an answer in time")
    }

    async fn head(&self, method: Method, path: &str, kind: &str, body: Bytes) -> Response<Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin))
            .header("authorization", format!("Bearer {KEY}"))
            .header("content-type", kind)
            .body(Full::new(body))
            .unwrap();
        let mut requests = self.requests.clone();
        requests.ready().await.unwrap();
        requests.send_request(request).await.unwrap()
    }
}

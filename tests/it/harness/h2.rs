//! A client that speaks HTTP/2 with prior knowledge.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
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

    async fn send(&self, method: Method, path: &str, kind: &str, body: Bytes) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin))
            .header("authorization", format!("Bearer {KEY}"))
            .header("content-type", kind)
            .body(Full::new(body))
            .unwrap();
        let answer = async {
            let mut requests = self.requests.clone();
            requests.ready().await.unwrap();
            let (head, body) = requests.send_request(request).await.unwrap().into_parts();
            Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
        };
        timeout(PATIENCE, answer).await.expect("an answer in time")
    }
}

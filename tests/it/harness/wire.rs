//! A client that writes its HTTP/1.1 by hand.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Answer, House, KEY, PATIENCE};

/// A connection to the gateway.
#[derive(Debug)]
pub struct Wire {
    socket: TcpStream,
    unread: Vec<u8>,
}

impl Wire {
    pub async fn to(house: &House) -> Self {
        Self { socket: TcpStream::connect(house.addr()).await.unwrap(), unread: Vec::new() }
    }

    /// Sends these bytes. `false`: the other side takes no more.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        timeout(PATIENCE, self.socket.write_all(bytes.as_ref())).await.expect("sent in time").is_ok()
    }

    /// The next answer: an interim one too.
    pub async fn answer(&mut self) -> Answer {
        let end = loop {
            if let Some(end) = memchr::memmem::find(&self.unread, b"\r\n\r\n") {
                break end;
            }
            assert!(self.read().await, "the connection ended in {:?}", String::from_utf8_lossy(&self.unread));
        };
        let head: Vec<u8> = self.unread.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status: StatusCode = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: HeaderMap = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line:?}")))
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
            .collect();
        let mut answer = Answer { status, headers, body: Bytes::new() };
        if !status.is_informational() {
            answer.body = self.body(&answer).await.into();
        }
        answer
    }

    /// Everything that comes until the other side closes the connection.
    pub async fn rest(mut self) -> Vec<u8> {
        while self.read().await {}
        self.unread
    }

    /// What comes up to the end of these words.
    pub async fn up_to(&mut self, words: &str) -> String {
        loop {
            if let Some(at) = memchr::memmem::find(&self.unread, words.as_bytes()) {
                return String::from_utf8(self.unread.drain(..at + words.len()).collect()).unwrap();
            }
            assert!(self.read().await, "{words:?} did not come: {}", String::from_utf8_lossy(&self.unread));
        }
    }

    /// Whether the other side closes the connection without another byte.
    pub async fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && !self.read().await
    }

    async fn body(&mut self, answer: &Answer) -> Vec<u8> {
        if answer.header("transfer-encoding") != "chunked" {
            let len = answer.header("content-length").parse().expect("a length");
            return self.take(len).await;
        }
        let mut body = Vec::new();
        loop {
            let line = loop {
                match memchr::memmem::find(&self.unread, b"\r\n") {
                    Some(end) => break self.take(end + 2).await,
                    None => assert!(self.read().await, "the body broke off"),
                }
            };
            let len = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            body.extend(self.take(len).await);
            self.take(2).await;
            if len == 0 {
                return body;
            }
        }
    }

    async fn take(&mut self, len: usize) -> Vec<u8> {
        while self.unread.len() < len {
            assert!(self.read().await, "the body broke off");
        }
        self.unread.drain(..len).collect()
    }

    async fn read(&mut self) -> bool {
        let read = timeout(PATIENCE, self.socket.read_buf(&mut self.unread)).await.expect("something in time");
        read.is_ok_and(|len| len > 0)
    }
}

/// The head of a POST with the client's key; `more` are header lines, each with its line break.
pub fn post_head(path: &str, more: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n{more}\r\n"
    )
}

/// A whole POST.
pub fn post(path: &str, body: &str) -> String {
    post_head(path, &format!("Content-Length: {}\r\n", body.len())) + body
}

/// A body in chunks of this size, with its end.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(body.len() + body.len() / size * 8 + 16);
    for piece in body.chunks(size) {
        all.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        all.extend_from_slice(piece);
        all.extend_from_slice(b"\r\n");
    }
    all.extend_from_slice(b"0\r\n\r\n");
    all
}

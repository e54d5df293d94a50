//! An upstream that writes its HTTP/1.1 by hand.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Answers each request with the same pieces, each sent on its own; then it goes on with the connection, or closes it.
#[derive(Debug)]
pub struct Raw {
    addr: SocketAddr,
    requests: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    GoOn,
    Close,
}

impl Raw {
    pub async fn new<T: Into<Bytes>>(pieces: impl IntoIterator<Item = T>, then: Then) -> Self {
        let pieces: Arc<[Bytes]> = pieces.into_iter().map(Into::into).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).unwrap();
                tokio::spawn(serve(socket, Arc::clone(&pieces), then, Arc::clone(&counter)));
            }
        });
        Self { addr, requests, accepting }
    }

    /// Its entry under `upstreams:`, named `raw`.
    pub fn upstream(&self) -> String {
        format!("{{ name: raw, base_url: \"http://{}/v1\" }}", self.addr)
    }

    /// The whole requests that came.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut socket: TcpStream, pieces: Arc<[Bytes]>, then: Then, requests: Arc<AtomicUsize>) {
    let mut unread = Vec::new();
    while take_request(&mut socket, &mut unread).await.is_some() {
        requests.fetch_add(1, Ordering::SeqCst);
        for piece in pieces.iter() {
            if socket.write_all(piece).await.is_err() {
                return;
            }
            // The reader sees each piece alone.
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        if then == Then::Close {
            return;
        }
    }
}

/// Reads one request with a Content-Length.
async fn take_request(socket: &mut TcpStream, unread: &mut Vec<u8>) -> Option<()> {
    loop {
        if let Some(end) = memchr::memmem::find(unread, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&unread[..end]).to_lowercase();
            let len = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |len| len.parse().unwrap());
            if unread.len() >= end + 4 + len {
                unread.drain(..end + 4 + len);
                return Some(());
            }
        }
        if socket.read_buf(unread).await.ok()? == 0 {
            return None;
        }
    }
}

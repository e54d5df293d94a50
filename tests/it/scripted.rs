//! An upstream that answers bytes of our choosing, and a client that sends them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// How far away an upstream is that switches protocols. Pingora 0.9.1 ends an upgrade whose 101 has arrived before it
/// has dealt with the end of the request's empty body (its issue 946), which takes an upstream nearer than any real one.
const AWAY: Duration = Duration::from_millis(100);

/// A request as it came, byte for byte.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Request line and headers.
    pub head: String,
    pub body: Vec<u8>,
}

/// What a scripted upstream does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes, once the gate is open.
    Gated(Vec<u8>),
    /// These bytes before the body has been read; the body is read afterwards.
    Early(Vec<u8>),
    /// Nothing, ever.
    Silence,
    /// These bytes, then whatever comes goes back.
    Echo(Vec<u8>),
}

/// Serves until dropped.
#[derive(Debug)]
pub struct Scripted {
    addr: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    count: watch::Receiver<usize>,
    gate: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

// === impl Scripted ===

impl Scripted {
    /// Answers every request as `script` says by its head.
    pub async fn new(script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (counter, count) = watch::channel(0);
        let (gate, open) = watch::channel(false);
        let (log, script, counter) = (Arc::clone(&heard), Arc::new(script), Arc::new(counter));
        let accepting = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (log, script, counter, mut open) =
                    (Arc::clone(&log), Arc::clone(&script), Arc::clone(&counter), open.clone());
                tokio::spawn(async move {
                    let (head, rest) = read_head(&mut socket).await?;
                    let reply = script(&head);
                    if let Reply::Early(bytes) = &reply {
                        socket.write_all(bytes).await.ok()?;
                    }
                    let body = read_body(&mut socket, &head, rest).await?;
                    log.lock().unwrap().push(Heard { head, body });
                    counter.send_modify(|count| *count += 1);
                    match reply {
                        Reply::Bytes(bytes) => socket.write_all(&bytes).await.ok()?,
                        Reply::Gated(bytes) => {
                            open.wait_for(|open| *open).await.ok()?;
                            socket.write_all(&bytes).await.ok()?;
                        }
                        Reply::Early(_) => {}
                        Reply::Silence => std::future::pending().await,
                        Reply::Echo(bytes) => {
                            tokio::time::sleep(AWAY).await;
                            socket.write_all(&bytes).await.ok()?;
                            let (mut from, mut to) = socket.split();
                            tokio::io::copy(&mut from, &mut to).await.ok()?;
                        }
                    }
                    socket.shutdown().await.ok()
                });
            }
        });
        Self { addr, heard, count, gate, accepting }
    }

    /// Answers everything with this status and JSON.
    pub async fn answering(status: u16, body: impl Into<String>) -> Self {
        let reply = Reply::Bytes(json_answer(status, &body.into()));
        Self::new(move |_| reply.clone()).await
    }

    /// Takes requests and says nothing.
    pub async fn silent() -> Self {
        Self::new(|_| Reply::Silence).await
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// An entry of `upstreams:` with this name.
    pub fn upstream(&self, name: &str) -> String {
        format!("{{ name: {name}, kind: openai, base_url: \"{}\", api_key: sk-upstream }}", self.base_url())
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits until so many requests have come.
    pub async fn heard_at_least(&self, count: usize) -> Vec<Heard> {
        self.count.clone().wait_for(|heard| *heard >= count).await.unwrap();
        self.heard()
    }

    /// Lets every [`Reply::Gated`] go.
    pub fn open_gate(&self) {
        self.gate.send_replace(true);
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

// === impl Heard ===

impl Heard {
    /// A header's value; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        header(&self.head, name)
    }
}

/// A whole HTTP/1.1 answer with a JSON body.
pub fn json_answer(status: u16, body: &str) -> Vec<u8> {
    answer(status, "content-type: application/json", body)
}

/// A whole HTTP/1.1 answer with these header lines.
pub fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    format!("HTTP/1.1 {status} Scripted\r\n{headers}\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}")
        .into()
}

/// An address at which connections are refused for as long as the socket lives.
pub fn dead() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let base = format!("http://{}/v1", socket.local_addr().unwrap());
    (socket, base)
}

/// Sends these bytes and reads until the connection is closed.
pub async fn raw(addr: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    socket.write_all(request.as_ref()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The head of what comes on a socket, and the bytes read past it.
pub async fn read_head(socket: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Some((String::from_utf8(bytes).ok()?, rest));
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn read_body(socket: &mut TcpStream, head: &str, mut body: Vec<u8>) -> Option<Vec<u8>> {
    let len: usize = header(head, "content-length").parse().unwrap_or(0);
    while body.len() < len {
        if socket.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(body)
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map_or("", |(_, value)| value.trim())
}

/// A multipart body of text fields and files, and its content type.
pub fn form(fields: &[(&str, &str)], files: &[(&str, &str, Bytes)]) -> (&'static str, Vec<u8>) {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(format!("--edge\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes());
    }
    for (name, kind, bytes) in files {
        let head = format!("content-disposition: form-data; name=\"{name}\"; filename=\"{name}.png\"");
        body.extend(format!("--edge\r\n{head}\r\ncontent-type: {kind}\r\n\r\n").bytes());
        body.extend_from_slice(bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--edge--\r\n");
    ("multipart/form-data; boundary=edge", body)
}

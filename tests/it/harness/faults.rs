//! Something unreliable between picgate and a bucket.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

/// Bytes read at a time.
const BUFFER: usize = 64 * 1024;

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The request is read and answered with this status and S3 code; the server never sees it.
    Answer(u16, &'static str),
    /// The request is read, and there is no answer.
    Hang,
    /// The answer stops after so many bytes of its body, and the connection stays open.
    HangAfter(usize),
    /// The connection breaks after so many bytes of the answer's body.
    CutAfter(usize),
    /// After so many bytes of the request's body nothing more is read.
    StopReading(usize),
    /// The request's body is read in pieces of so many bytes, with pauses between them.
    SlowUpload(usize, Duration),
    /// This byte of the request's body arrives as another.
    FlipUpload(usize),
    /// This byte of the answer's body arrives as another.
    FlipDownload(usize),
    /// The answer's body comes in pieces of so many bytes, with pauses between them.
    Slow(usize, Duration),
    /// The answer has this ETag.
    Etag(&'static str),
}

/// A proxy for one request per connection. It passes everything on until it is told to [`inject`](Self::inject) a fault.
#[derive(Debug)]
pub struct Faults {
    addr: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    rules: Vec<Rule>,
    counts: HashMap<(String, String), usize>,
}

#[derive(Debug)]
struct Rule {
    /// `None`: any.
    method: Option<&'static str>,
    /// What its path must hold.
    of: String,
    /// Requests that pass before.
    skip: usize,
    left: usize,
    fault: Fault,
}

impl Faults {
    /// In front of a server.
    pub async fn before(server: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // As over a long way: what has not been read here stays with the sender, but for a little.
        socket.set_recv_buffer_size(128 * 1024).unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let listener = socket.listen(1024).unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::<Mutex<Shared>>::default();
        let state = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    // Whoever breaks off, the test sees it at the client.
                    let _ = carry(client, server, &state).await;
                });
            }
        });
        Self { addr, shared, accepting }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Every request with this method meets the fault, until [`heal`](Self::heal).
    pub fn inject(&self, method: &'static str, fault: Fault) {
        self.inject_times(usize::MAX, method, fault);
    }

    /// The next `times` requests with this method meet the fault.
    pub fn inject_times(&self, times: usize, method: &'static str, fault: Fault) {
        self.add(Rule { method: Some(method), of: String::new(), skip: 0, left: times, fault });
    }

    /// Every request with this method for a path that holds this text meets the fault, until [`heal`](Self::heal).
    pub fn inject_for(&self, of: &str, method: &'static str, fault: Fault) {
        self.add(Rule { method: Some(method), of: of.to_owned(), skip: 0, left: usize::MAX, fault });
    }

    /// The `nth` request from now on (counted from 1), whatever it is, meets the fault.
    pub fn inject_nth(&self, nth: usize, fault: Fault) {
        self.add(Rule { method: None, of: String::new(), skip: nth - 1, left: 1, fault });
    }

    /// Whether there are faults that no request has met.
    pub fn is_waiting(&self) -> bool {
        self.shared.lock().unwrap().rules.iter().any(|rule| rule.left > 0)
    }

    fn add(&self, rule: Rule) {
        self.shared.lock().unwrap().rules.push(rule);
    }

    /// No faults any more.
    pub fn heal(&self) {
        self.shared.lock().unwrap().rules.clear();
    }

    /// How many requests with this method named a path that ends so (without the query), faults or not.
    pub fn count(&self, method: &str, ending: &str) -> usize {
        let shared = self.shared.lock().unwrap();
        let counts = shared.counts.iter();
        counts.filter(|((m, path), _)| m == method && path.ends_with(ending)).map(|(_, count)| count).sum()
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn note(&mut self, head: &str) -> Option<Fault> {
        let mut words = head.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let path = target.split('?').next()?;
        *self.counts.entry((method.to_owned(), path.to_owned())).or_default() += 1;
        let fits = |rule: &Rule| rule.method.is_none_or(|of| of == method) && path.contains(&rule.of) && rule.left > 0;
        let rule = self.rules.iter_mut().filter(|rule| fits(rule)).find_map(|rule| {
            let waits = rule.skip > 0;
            rule.skip = rule.skip.saturating_sub(1);
            (!waits).then_some(rule)
        })?;
        rule.left = rule.left.saturating_sub(1);
        Some(rule.fault.clone())
    }
}

async fn carry(client: TcpStream, server: SocketAddr, shared: &Mutex<Shared>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let Some((head, mut rest)) = head(&mut from_client).await? else { return Ok(()) };
    let fault = shared.lock().unwrap().note(&head);
    let len = header(&head, "content-length").map_or(0, |len| len.parse().unwrap());

    if let Some(Fault::Answer(..) | Fault::Hang) = fault {
        while rest.len() < len && from_client.read_buf(&mut rest).await? > 0 {}
    }
    match fault {
        Some(Fault::Answer(status, code)) => {
            let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>a test</Message></Error>");
            let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            to_client.write_all(format!("{head}{body}").as_bytes()).await
        }
        Some(Fault::Hang) => silence(from_client, to_client).await,
        fault => {
            let server = TcpStream::connect(server).await?;
            server.set_nodelay(true)?;
            let (from_server, mut to_server) = server.into_split();
            // One request per connection: the answer is what comes until the end.
            to_server.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes()).await?;
            let mut sent = 0;
            rest.reserve(BUFFER);
            while sent < len {
                if rest.is_empty() && from_client.read_buf(&mut rest).await? == 0 {
                    return Ok(());
                }
                match fault {
                    Some(Fault::FlipUpload(at)) => flip(&mut rest, sent, at),
                    Some(Fault::StopReading(most)) if sent + rest.len() > most => {
                        return silence_unread(from_client, to_client).await;
                    }
                    _ => {}
                }
                to_server.write_all(&rest).await?;
                sent += rest.len();
                if let Some(Fault::SlowUpload(size, pause)) = fault {
                    tokio::time::sleep(pause.mul_f64(rest.len() as f64 / size as f64)).await;
                }
                rest.clear();
            }
            answer(from_server, to_client, fault).await
        }
    }
}

async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fault: Option<Fault>) -> std::io::Result<()> {
    let Some((mut head, mut rest)) = head(&mut from).await? else { return Ok(()) };
    if let Some(Fault::Etag(etag)) = fault {
        let lines = head.split("\r\n").map(|line| match line.to_lowercase().starts_with("etag:") {
            true => format!("ETag: {etag}"),
            false => line.to_owned(),
        });
        head = lines.collect::<Vec<_>>().join("\r\n");
    }
    to.write_all(head.as_bytes()).await?;
    let mut sent = 0;
    rest.reserve(BUFFER);
    loop {
        if rest.is_empty() && from.read_buf(&mut rest).await? == 0 {
            return to.shutdown().await;
        }
        match fault {
            Some(Fault::FlipDownload(at)) => flip(&mut rest, sent, at),
            Some(Fault::CutAfter(most)) if sent + rest.len() > most => {
                return to.write_all(&rest[..most - sent]).await;
            }
            Some(Fault::HangAfter(most)) if sent + rest.len() > most => {
                to.write_all(&rest[..most - sent]).await?;
                return std::future::pending().await;
            }
            Some(Fault::Slow(size, pause)) => {
                for piece in rest.chunks(size) {
                    to.write_all(piece).await?;
                    tokio::time::sleep(pause).await;
                }
                sent += rest.len();
                rest.clear();
                continue;
            }
            _ => {}
        }
        to.write_all(&rest).await?;
        sent += rest.len();
        rest.clear();
    }
}

/// Waits until the other side goes.
async fn silence(mut from: OwnedReadHalf, _to: OwnedWriteHalf) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    while from.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Holds the connection and reads nothing.
async fn silence_unread(_from: OwnedReadHalf, _to: OwnedWriteHalf) -> std::io::Result<()> {
    std::future::pending().await
}

/// A message's head with the empty line, and what was read beyond it.
async fn head(from: &mut OwnedReadHalf) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = memmem::find(&read, b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return Ok(Some((String::from_utf8(read).unwrap(), rest)));
        }
        if from.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Changes the byte at this place of the whole, if `piece`, which begins at `start`, holds it.
fn flip(piece: &mut [u8], start: usize, at: usize) {
    if let Some(byte) = at.checked_sub(start).and_then(|at| piece.get_mut(at)) {
        *byte ^= 1;
    }
}

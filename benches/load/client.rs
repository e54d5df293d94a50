//! The load: so many clients, each with one kept-alive HTTP/1.1 connection, each asking again as soon as it is answered.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{Result, server::KEY};

/// Digits of nanoseconds since 1970.
const STAMP: usize = 19;

/// What every client asks, over and over.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) path: String,
    /// `None` is a GET.
    pub(crate) body: Option<Bytes>,
    /// Every answer must be at least this long.
    pub(crate) at_least: u64,
    pub(crate) timed: Timed,
}

/// What takes the time that is measured.
#[derive(Clone, Copy)]
pub(crate) enum Timed {
    /// From the request to the end of its answer.
    Answer,
    /// The way of each word of a stream, from the moment the demo upstream stamped it to the client.
    Words,
}

/// How much load for how long.
#[derive(Clone, Copy)]
pub(crate) struct Dose {
    pub(crate) clients: usize,
    pub(crate) time: Duration,
    /// Ends the turn early: a generation leaves a megabyte on the disk.
    pub(crate) requests: u64,
}

/// One turn of one server.
#[derive(Default)]
pub(crate) struct Sample {
    pub(crate) elapsed: Duration,
    pub(crate) answers: u64,
    pub(crate) latencies: Vec<Duration>,
}

/// Drives `load` against `addr`. The first answer that is not as it should be ends the turn as an error.
pub(crate) async fn drive(addr: SocketAddr, load: &Load, dose: Dose) -> Result<Sample> {
    let start = Instant::now();
    let left = Arc::new(AtomicU64::new(dose.requests));
    let mut clients: JoinSet<Result<Sample>> = JoinSet::new();
    for _ in 0..dose.clients {
        let (load, left) = (load.clone(), Arc::clone(&left));
        clients.spawn(async move {
            let mut connection = Connection::open(addr).await?;
            let mut sample = Sample::default();
            while start.elapsed() < dose.time && take_one(&left) {
                connection.ask(&load, &mut sample.latencies).await?;
                sample.answers += 1;
            }
            Ok(sample)
        });
    }
    let mut sample = Sample::default();
    while let Some(client) = clients.join_next().await {
        let client = client??;
        sample.answers += client.answers;
        sample.latencies.extend(client.latencies);
    }
    sample.elapsed = start.elapsed();
    Ok(sample)
}

/// One request, its answer as a whole.
pub(crate) async fn once(addr: SocketAddr, load: &Load) -> Result<Bytes> {
    let mut connection = Connection::open(addr).await?;
    Ok(connection.send(load).await?.into_body().collect().await?.to_bytes())
}

fn take_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

struct Connection {
    addr: SocketAddr,
    sender: http1::SendRequest<Full<Bytes>>,
}

// === impl Connection ===

impl Connection {
    async fn open(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { addr, sender })
    }

    /// Asks and reads the answer to its end; tells what took how long.
    async fn ask(&mut self, load: &Load, latencies: &mut Vec<Duration>) -> Result<()> {
        let asked = Instant::now();
        let mut body = self.send(load).await?.into_body();
        let mut length = 0;
        let mut words = Words::default();
        while let Some(frame) = body.frame().await {
            let frame = frame?;
            let Some(data) = frame.data_ref() else { continue };
            length += data.len() as u64;
            if matches!(load.timed, Timed::Words) {
                words.take(data, latencies)?;
            }
        }
        if matches!(load.timed, Timed::Answer) {
            latencies.push(asked.elapsed());
        }
        if length < load.at_least {
            return Err(format!("an answer of {length} bytes instead of {}", load.at_least).into());
        }
        Ok(())
    }

    async fn send(&mut self, load: &Load) -> Result<http::Response<Incoming>> {
        // A server may close a connection between two requests; its clients then open another.
        if self.sender.ready().await.is_err() {
            *self = Self::open(self.addr).await?;
        }
        let request = Request::builder()
            .uri(&load.path)
            .header(header::HOST, self.addr.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {KEY}"));
        let request = match &load.body {
            Some(body) => request
                .method(Method::POST)
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(body.clone()))?,
            None => request.body(Full::default())?,
        };
        let answer = self.sender.send_request(request).await?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let status = answer.status();
        let text = answer.into_body().collect().await?.to_bytes();
        Err(format!("{status} for {}: {}", load.path, String::from_utf8_lossy(&text)).into())
    }
}

/// Finds the stamped words of a stream.
#[derive(Default)]
struct Words {
    /// The start of a line whose end has not come.
    rest: Vec<u8>,
}

// === impl Words ===

impl Words {
    fn take(&mut self, data: &[u8], latencies: &mut Vec<Duration>) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        self.rest.extend_from_slice(data);
        let end = memchr::memrchr(b'\n', &self.rest).map_or(0, |at| at + 1);
        for line in self.rest.drain(..end).as_slice().split(|byte| *byte == b'\n') {
            const TEXT: &[u8] = b"\"content\":\"";
            let text = memchr::memmem::find(line, TEXT).and_then(|at| line.get(at + TEXT.len()..));
            let stamp = text.and_then(|text| text.get(..STAMP)).and_then(|stamp| str::from_utf8(stamp).ok());
            // The first event has no text, the last no stamp.
            if let Some(sent) = stamp.and_then(|stamp| stamp.parse().ok()) {
                latencies.push(now.saturating_sub(Duration::from_nanos(sent)));
            }
        }
        Ok(())
    }
}

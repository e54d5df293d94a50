//! One request, one answer, over Pingora's HTTP connector.
//!
//! Connections are pooled per address, TLS name and protocol. They go back to the pool only after an answer that was
//! read to its end. An answer that comes before the request's body is out (an early 413) ends the sending.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora_core::{
    ErrorType,
    connectors::http::Connector,
    listeners::ALPN,
    protocols::http::client::HttpSession,
    upstreams::peer::{HttpPeer, Peer},
};
use pingora_http::RequestHeader;
use url::Url;

use super::{
    Body,
    decode::{self, Decoder, Step},
    patience::Patience,
    resolve::Resolver,
    scrub::Scrubber,
};
use crate::{
    config::Secret,
    error::{Code, Error},
    opaque::opaque,
    store::StoreError,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_AND_TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// Below the idle limits of common servers, so that they rarely close a connection we are about to use.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);
/// An upstream that takes nothing of a request for so long is stuck.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an upstream that stopped reading is given to say why.
const EARLY_ANSWER: Duration = Duration::from_secs(1);
/// How many pooled connections may turn out to be closed before one request gives up.
const MOST_STALE: u32 = 8;
/// What an HTTP/2 upstream may send ahead on one stream, and on a connection.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// Sends requests to upstreams. A clone is the same pool.
#[derive(Clone)]
pub struct Transport {
    inner: Arc<Inner>,
}

struct Inner {
    connector: Connector,
    resolver: Resolver,
}

/// A request to an upstream.
pub struct Outgoing<'a> {
    pub method: Method,
    /// The whole URL: the upstream's base with the path and query behind it.
    pub url: Url,
    /// Without `Host`, `Authorization` and `Content-Length`.
    pub headers: &'a HeaderMap,
    pub api_key: Option<&'a Secret>,
    pub body: &'a Body,
    /// Longest silence, and the longest time from the end of the request to the end of the answer's header.
    pub timeout: Duration,
}

opaque!(Outgoing<'_> { method, timeout });

/// An answer whose header has come.
pub struct Incoming {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// `None` once the answer has ended.
    session: Option<HttpSession>,
    peer: HttpPeer,
    transport: Arc<Inner>,
    /// The whole request went out.
    sent: bool,
    /// A piece that was looked at.
    peeked: Option<Bytes>,
    is_h2: bool,
    decoder: Option<Box<Decoder>>,
    scrubber: Option<Scrubber>,
    /// With its silence.
    patience: Patience,
}

/// Why there is no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection: nothing was sent.
    #[error("no connection")]
    Connect,
    /// Nothing came for too long.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke, or what came is no HTTP.
    #[error("the connection broke")]
    Broken,
    /// Our own disk failed while the body was read from it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Connect => Error::new(Code::UpstreamUnreachable, "The upstream cannot be reached."),
            Failure::Timeout => Error::new(Code::UpstreamTimeout, "The upstream did not answer in time."),
            Failure::Broken => {
                Error::new(Code::UpstreamFailed, "The upstream broke off before its answer was complete.")
            }
            Failure::Store(error) => error.into(),
        }
    }
}

impl Default for Transport {
    fn default() -> Self {
        Self { inner: Arc::new(Inner { connector: Connector::new(None), resolver: Resolver::default() }) }
    }
}

impl Transport {
    /// Sends a request and waits for the header of its answer.
    ///
    /// # Errors
    /// [`Failure::Connect`] only when no byte of the request has been sent.
    pub async fn send(&self, request: Outgoing<'_>) -> Result<Incoming, Failure> {
        let mut stale = 0;
        loop {
            let (peer, mut session, reused) = self.connect(&request.url).await?;
            session.set_read_timeout(Some(request.timeout));
            session.set_write_timeout(Some(WRITE_TIMEOUT));
            let header = request_header(&request).ok_or(Failure::Broken)?;
            match exchange(&mut session, header, &request).await {
                Ok(sent) => {
                    let patience = Patience::new(request.timeout);
                    return Incoming::new(session, peer, Arc::clone(&self.inner), sent, patience);
                }
                Err((failure, sent)) => {
                    session.shutdown().await;
                    // The upstream had closed an idle connection before the request was out: nothing was done.
                    stale += 1;
                    if !reused || sent || !matches!(failure, Failure::Broken) || stale > MOST_STALE {
                        return Err(failure);
                    }
                }
            }
        }
    }

    /// Forgets the addresses of a host that could not be connected to.
    pub(crate) fn forget(&self, url: &Url) {
        self.inner.resolver.forget(url);
    }

    /// The addresses of the URL's host, in the order to try them.
    ///
    /// # Errors
    /// When the name cannot be resolved.
    pub(crate) async fn addresses(&self, url: &Url) -> io::Result<Vec<SocketAddr>> {
        self.inner.resolver.addresses(url).await
    }

    async fn connect(&self, url: &Url) -> Result<(HttpPeer, HttpSession, bool), Failure> {
        let addresses = self.inner.resolver.addresses(url).await.map_err(|error| {
            log::warn!("upstream {}: {error}", url.host_str().unwrap_or_default());
            Failure::Connect
        })?;
        for address in addresses {
            let peer = peer(url, address);
            match self.inner.connector.get_http_session(&peer).await {
                Ok((session, reused)) => {
                    let host = url.host_str().unwrap_or_default();
                    log::trace!("upstream {host}: {} connection to {address}", if reused { "a kept" } else { "a new" });
                    return Ok((peer, session, reused));
                }
                Err(error) => log::warn!("upstream {}: {}", url.host_str().unwrap_or_default(), error.etype().as_str()),
            }
        }
        self.inner.resolver.forget(url);
        Err(Failure::Connect)
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// The host as it stands in a URL, with a port that is not the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// How to connect to an upstream at this address.
pub(crate) fn peer(url: &Url, address: SocketAddr) -> HttpPeer {
    let tls = url.scheme() == "https";
    // An address is a name too: its certificate is checked against it.
    let sni = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let mut peer = HttpPeer::new(address, tls, sni);
    let options = &mut peer.options;
    options.connection_timeout = Some(CONNECT_TIMEOUT);
    options.total_connection_timeout = Some(CONNECT_AND_TLS_TIMEOUT);
    options.idle_timeout = Some(IDLE_TIMEOUT);
    options.alpn = if tls { ALPN::H2H1 } else { ALPN::H1 };
    options.max_h2_streams = 100;
    options.h2_stream_window_size = Some(H2_STREAM_WINDOW);
    options.h2_connection_window_size = Some(H2_CONNECTION_WINDOW);
    peer
}

fn request_header(request: &Outgoing<'_>) -> Option<Box<RequestHeader>> {
    let mut target = request.url.path().to_owned();
    if let Some(query) = request.url.query() {
        target.push('?');
        target.push_str(query);
    }
    let mut header = RequestHeader::build(request.method.clone(), target.as_bytes(), None).ok()?;
    for (name, value) in request.headers {
        header.append_header(name, value.clone()).ok()?;
    }
    header.insert_header(header::HOST, authority(&request.url)).ok()?;
    if let Some(key) = request.api_key {
        header.insert_header(header::AUTHORIZATION, bearer(key)?).ok()?;
    }
    if !request.body.is_empty() || request.method != Method::GET {
        header.insert_header(header::CONTENT_LENGTH, request.body.len().to_string()).ok()?;
    }
    Some(Box::new(header))
}

/// `Bearer …`, marked so that no log shows it.
pub(crate) fn bearer(key: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Sends the request and reads the header of the final answer. Says, either way, whether the whole request went out.
async fn exchange(
    session: &mut HttpSession,
    header: Box<RequestHeader>,
    request: &Outgoing<'_>,
) -> Result<bool, (Failure, bool)> {
    let body = request.body;
    session.write_request_header(header).await.map_err(|error| (failure(&error), false))?;
    let mut reader = body.reader();
    let mut left = body.len();
    while let Some(piece) = reader.next().await.map_err(|error| (error.into(), false))? {
        let len = piece.len() as u64;
        if let Err(error) = session.write_request_body(piece, false).await {
            // It may have answered before it stopped reading.
            let early = tokio::time::timeout(EARLY_ANSWER, final_header(session)).await;
            return if matches!(early, Ok(Ok(()))) { Ok(false) } else { Err((failure(&error), false)) };
        }
        left = left.saturating_sub(len);
        if left == 0 {
            break;
        }
        // An answer before the end of the body: no need to send the rest.
        let early = tokio::select! {
            biased;
            header = session.read_response_header() => Some(header),
            () = std::future::ready(()) => None,
        };
        if let Some(header) = early {
            header.map_err(|error| (failure(&error), false))?;
            if is_final(session) {
                return Ok(false);
            }
        }
    }
    // From here on the upstream may have done its work.
    session.finish_request_body().await.map_err(|error| (failure(&error), true))?;
    // In all: each 1xx and each byte of a header begins a new silence, and an upstream could send those for ever.
    let answered = tokio::time::timeout(request.timeout, final_header(session)).await;
    answered.map_err(|_| (Failure::Timeout, true))?.map_err(|error| (failure(&error), true))?;
    Ok(true)
}

/// Reads up to the header of the answer itself, past a 100 or 103 before it.
async fn final_header(session: &mut HttpSession) -> pingora_core::Result<()> {
    loop {
        session.read_response_header().await?;
        if is_final(session) {
            return Ok(());
        }
    }
}

/// Whether the header read last is that of the answer itself, not of a 100 or 103 before it.
fn is_final(session: &HttpSession) -> bool {
    session.response_header().is_some_and(|header| !header.status.is_informational())
}

fn undecodable(error: &io::Error) -> Failure {
    log::warn!("a compressed answer cannot be read: {error}");
    Failure::Broken
}

fn failure(error: &pingora_core::Error) -> Failure {
    match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => Failure::Timeout,
        _ => Failure::Broken,
    }
}

// === impl Incoming ===

impl Incoming {
    fn new(
        mut session: HttpSession,
        peer: HttpPeer,
        transport: Arc<Inner>,
        sent: bool,
        patience: Patience,
    ) -> Result<Self, Failure> {
        let header = session.response_header().ok_or(Failure::Broken)?;
        let (status, headers) = (header.status, header.headers.clone());
        let is_h2 = session.as_http2().is_some();
        if let HttpSession::H1(h1) = &mut session {
            h1.respect_keepalive();
        }
        // Ours is cheaper.
        session.set_read_timeout(None);
        let (session, peeked, decoder, scrubber) = (Some(session), None, None, None);
        Ok(Self { status, headers, session, peer, transport, sent, peeked, is_h2, decoder, scrubber, patience })
    }

    /// A header's value as text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next piece, left where it is.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub async fn peek(&mut self) -> Result<&[u8], Failure> {
        if self.peeked.is_none() {
            self.peeked = self.chunk().await?;
        }
        Ok(self.peeked.as_deref().unwrap_or_default())
    }

    /// What has come so far, more than `known` bytes of it unless there are no more; left where it is.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub(crate) async fn peek_past(&mut self, known: usize) -> Result<&[u8], Failure> {
        while self.peek().await?.len() <= known {
            let Some(first) = self.peeked.take() else { break };
            let next = self.chunk().await;
            let more = next.as_ref().map_or(&[][..], |next| next.as_deref().unwrap_or_default());
            let is_end = more.is_empty();
            // In place: a copy for each of many small chunks would be a copy of all that came before it.
            let mut joined = first.try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
            joined.extend_from_slice(more);
            self.peeked = Some(joined.freeze());
            next?;
            if is_end {
                break;
            }
        }
        Ok(self.peeked.as_deref().unwrap_or_default())
    }

    /// Makes our key unreadable in the body from here on.
    pub(crate) fn scrub(&mut self, key: Option<&Secret>) {
        let Some(mut scrubber) = Scrubber::new(key) else { return };
        self.peeked = self.peeked.take().map(|piece| scrubber.push(piece)).filter(|piece| !piece.is_empty());
        self.scrubber = Some(scrubber);
    }

    /// From here on the body comes as it was before it was compressed, and the header says so. `false`: its coding is
    /// unknown, and nothing has changed. `limit` is that of what comes out. Twice as much may come in, so that a body
    /// that goes on for ever with nothing in it ends too.
    pub(crate) fn decode(&mut self, limit: u64) -> bool {
        let Some(codings) = decode::codings(&self.headers) else { return false };
        self.headers.remove(header::CONTENT_ENCODING);
        if !codings.is_empty() {
            self.headers.remove(header::CONTENT_LENGTH);
            self.decoder = Some(Box::new(Decoder::new(codings, limit.saturating_mul(2))));
        }
        true
    }

    /// Whether the end of the body is told by its framing or coding, not by the connection's.
    pub(crate) fn is_framed(&self) -> bool {
        let chunked = self.headers.contains_key(header::TRANSFER_ENCODING);
        self.is_h2 || chunked || self.decoder.is_some() || self.headers.contains_key(header::CONTENT_LENGTH)
    }

    /// The next piece of the body, at most 64 KiB; `None` at its end.
    ///
    /// # Errors
    /// When it breaks off, also when it is shorter than its Content-Length, or its coding is broken.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        if let Some(piece) = self.peeked.take() {
            return Ok(Some(piece));
        }
        loop {
            let piece = self.decoded().await?;
            let Some(scrubber) = &mut self.scrubber else { return Ok(piece) };
            let is_end = piece.is_none();
            let piece = match piece {
                Some(piece) => scrubber.push(piece),
                None => scrubber.finish(),
            };
            if !piece.is_empty() || is_end {
                return Ok(Some(piece).filter(|piece| !piece.is_empty()));
            }
        }
    }

    /// The next piece, as it was before it was compressed.
    async fn decoded(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let Some(decoder) = &mut self.decoder else { return self.received().await };
            // One piece from the connection may be thousands of pieces here.
            tokio::task::consume_budget().await;
            match decoder.next().map_err(|error| undecodable(&error))? {
                Step::Piece(piece) => return Ok(Some(piece)),
                Step::End => return Ok(None),
                Step::Wanting => {
                    let piece = self.received().await?;
                    if let Some(decoder) = &mut self.decoder {
                        decoder.push(piece).map_err(|error| undecodable(&error))?;
                    }
                }
            }
        }
    }

    /// The next piece as it is on the connection.
    async fn received(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let Some(session) = &mut self.session else { return Ok(None) };
            let piece = self.patience.wait(session.read_response_body()).await.ok_or(Failure::Timeout)?;
            match piece.map_err(|error| failure(&error))? {
                Some(piece) if piece.is_empty() && !session.response_done() => {}
                Some(piece) if !piece.is_empty() => return Ok(Some(piece)),
                _ => {
                    self.release().await;
                    return Ok(None);
                }
            }
        }
    }

    async fn release(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        if self.sent {
            let idle = self.peer.idle_timeout();
            self.transport.connector.release_http_session(session, &self.peer, idle).await;
        } else {
            session.shutdown().await;
        }
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("status", &self.status).finish_non_exhaustive()
    }
}

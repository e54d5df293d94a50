//! An intercepted request: body in, exchange, answer out.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use pingora_core::Result as PingoraResult;
use pingora_proxy::Session;
use serde::de::IgnoredAny;
use tokio::time::{Instant, timeout_at};

use super::{Ctx, Gateway, body, hang_up::hung_up, respond, silence::Silence};
use crate::{
    access::Client,
    config::{Heartbeat, OnDisconnect},
    core::Settings,
    error::{Code, Error, Result},
    exchange::{Answer, ApiRoute, Exchange, Request, Sent},
};

/// Tells nginx to pass on what there is.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
/// So many times `limits.upstream_timeout` an exchange may go on without its client. An upstream that is never silent for
/// long would hold it for ever.
const ALONE: u32 = 2;
/// But no longer than this.
const LONGEST_ALONE: Duration = Duration::from_secs(24 * 3600);
/// Longest answer that is told within a stream that has begun already.
const LONGEST_IN_BAND: usize = 256 * 1024;

/// One answer on its way to one client.
struct Delivery<'a> {
    session: &'a mut Session,
    ctx: &'a mut Ctx,
    on_disconnect: OnDisconnect,
    /// Whether anything has gone to an upstream.
    sent: Sent,
    /// When an exchange without a client ends, finished or not.
    finish_by: Option<Instant>,
    finish_within: Duration,
    heartbeat: Heartbeat,
    silence: Silence,
    /// The client is there.
    listening: bool,
    /// The header went out before the upstream's own came.
    begun: Option<Pulse>,
    /// The last byte sent is a CR: an LF behind it belongs to the same line end.
    after_cr: bool,
}

/// Says "still here" in an answer. What says so, every client skips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pulse {
    /// A comment between events.
    Events,
    /// White space before JSON.
    Json,
}

impl Pulse {
    /// A comment is one line with one line end (WHATWG HTML, section 9.2.5). A blank line behind it would end an event, and
    /// decoders that remember the last id would see an empty one. `after_cr`: behind a CR the line ends with a CR too, so
    /// that an LF that comes late does not become a blank line.
    fn bytes(self, after_cr: bool) -> Bytes {
        Bytes::from_static(match self {
            Self::Events if after_cr => b": keep-alive\r",
            Self::Events => b": keep-alive\n",
            Self::Json => b"\n",
        })
    }

    /// Silence after which it is due.
    fn after(self, heartbeat: &Heartbeat) -> Option<Duration> {
        match self {
            Self::Events => heartbeat.sse,
            Self::Json => heartbeat.json,
        }
    }

    /// The header of an answer that begins with it.
    fn headers(self) -> HeaderMap {
        let (kind, caching) = match self {
            Self::Events => ("text/event-stream", "no-cache, no-transform"),
            Self::Json => ("application/json", "no-store, no-transform"),
        };
        HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
            (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
            (UNBUFFERED, HeaderValue::from_static("no")),
        ])
    }
}

/// The client has gone, and what was running for it is not to be finished.
struct Abandoned;

impl Gateway {
    pub(super) async fn exchange(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        settings: Arc<Settings>,
        client: Arc<Client>,
        route: ApiRoute,
    ) -> PingoraResult<()> {
        let limit = settings.config.limits.request_body;
        let finish_within = settings.config.limits.upstream_timeout.saturating_mul(ALONE).min(LONGEST_ALONE);
        let spooler = self.core.store.spooler(&client.name);
        let received = match body::receive(session, route, &spooler, limit).await {
            Ok(received) => received,
            Err(error) => return respond::error(session, ctx, &error).await,
        };
        let header = session.req_header();
        let request = Request {
            route,
            query: header.uri.query().map(str::to_owned),
            headers: header.headers.clone(),
            client,
            request_id: ctx.request_id.clone(),
            received,
        };
        let exchange = match Exchange::new(Arc::clone(&self.core), settings, request) {
            Ok(exchange) => exchange,
            Err(error) => return respond::error(session, ctx, &error).await,
        };
        let images = exchange.images();
        let (on_disconnect, heartbeat) = (images.on_disconnect, images.heartbeat.clone());
        let silence = Silence::default();
        let mut delivery = Delivery {
            session,
            ctx,
            on_disconnect,
            sent: exchange.sent(),
            finish_by: None,
            finish_within,
            heartbeat,
            silence,
            listening: true,
            begun: None,
            after_cr: false,
        };
        let pulse = if exchange.wants_events() { Pulse::Events } else { Pulse::Json };
        let Ok(answer) = delivery.wait(Box::pin(exchange.run()), pulse).await else {
            return Ok(());
        };
        match answer {
            Ok(answer) => {
                delivery.ctx.upstream = Some(answer.upstream.clone());
                delivery.deliver(answer).await;
                Ok(())
            }
            Err(error) => {
                delivery.ctx.upstream = error.upstream().map(str::to_owned);
                delivery.fail(&error).await
            }
        }
    }
}

// === impl Delivery ===

impl Delivery<'_> {
    /// Waits for the header of an answer. When nothing comes for long, the answer begins without it: so that no proxy on
    /// the way gives up, at the price that an error can no longer have a status.
    async fn wait<T>(&mut self, work: impl Future<Output = T>, pulse: Pulse) -> Result<T, Abandoned> {
        // HTTP/1.0 has no chunks: such a JSON would end with its connection, whole or not.
        let deaf = pulse == Pulse::Json && self.session.req_header().version < Version::HTTP_11;
        let may_speak = Some(pulse).filter(|_| !deaf);
        let mut work = pin!(work);
        loop {
            if let Some(done) = self.work_or_silence(&mut work, may_speak).await? {
                return Ok(done);
            }
            if self.begun.is_none() && self.listening {
                self.begun = Some(pulse);
                self.head(StatusCode::OK, pulse.headers(), None).await;
            }
            self.write(pulse.bytes(self.after_cr), false).await;
        }
    }

    /// Sends an answer on. When the client goes, the rest is still read (and its pictures kept), unless told otherwise.
    async fn deliver(&mut self, mut answer: Answer) {
        match self.begun {
            Some(Pulse::Events) if !answer.is_events => return self.tell_in_band(answer).await,
            Some(Pulse::Json) => return self.go_on_with(answer).await,
            Some(Pulse::Events) => {}
            None => {
                let headers = std::mem::take(&mut answer.headers);
                self.head(answer.status, headers, answer.len).await;
            }
        }
        self.pump(answer).await;
    }

    /// Sends the pieces of an answer whose header is out.
    async fn pump(&mut self, mut answer: Answer) {
        loop {
            let between_events = answer.is_between_events();
            let pulse = between_events.then_some(Pulse::Events);
            let piece = match self.next_piece(&mut answer, pulse).await {
                Ok(Ok(piece)) => piece,
                Ok(Err(error)) => {
                    log::error!("{}: {}", self.ctx.request_id, error.to_string().escape_debug());
                    return self.break_off(answer.is_events, between_events, &error).await;
                }
                Err(Abandoned) => return,
            };
            let end = piece.is_none();
            self.write(piece.unwrap_or_default(), end).await;
            if end || (!self.listening && self.on_disconnect == OnDisconnect::Abort) {
                return;
            }
        }
    }

    /// Sends the JSON of an answer behind white space that is out already. Anything else than JSON cannot be told any
    /// more: it is read to its end, so that its pictures are kept, and the client gets an error.
    async fn go_on_with(&mut self, mut answer: Answer) {
        let encoded = answer.headers.contains_key(header::CONTENT_ENCODING);
        let start = match self.next_piece(&mut answer, Some(Pulse::Json)).await {
            Ok(Ok(piece)) => piece.unwrap_or_default(),
            Ok(Err(error)) => return self.tell_error(&error).await,
            Err(Abandoned) => return,
        };
        if !answer.status.is_success() {
            log::warn!("{}: upstream {} answered {} late", self.ctx.request_id, answer.upstream, answer.status);
        }
        if !encoded && matches!(start.trim_ascii_start().first(), Some(b'{' | b'[')) {
            self.write(start, false).await;
            return self.pump(answer).await;
        }
        let said = answer.status;
        loop {
            match self.next_piece(&mut answer, Some(Pulse::Json)).await {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None) | Err(_)) => break,
                Err(Abandoned) => return,
            }
        }
        self.tell_error(&no_json(said)).await;
    }

    /// The next piece of an answer; says "still here" while there is none, if it may.
    async fn next_piece(
        &mut self,
        answer: &mut Answer,
        pulse: Option<Pulse>,
    ) -> Result<Result<Option<Bytes>>, Abandoned> {
        let mut next = pin!(answer.next());
        loop {
            if let Some(piece) = self.work_or_silence(&mut next, pulse).await? {
                return Ok(piece);
            }
            self.write(pulse.map(|pulse| pulse.bytes(self.after_cr)).unwrap_or_default(), false).await;
        }
    }

    /// Runs `work` and notices meanwhile when the client goes. `None`: nothing came for as long as a heartbeat takes.
    async fn work_or_silence<T>(
        &mut self,
        mut work: impl Future<Output = T> + Unpin,
        pulse: Option<Pulse>,
    ) -> Result<Option<T>, Abandoned> {
        if self.listening {
            let heartbeat = pulse.and_then(|pulse| pulse.after(&self.heartbeat));
            tokio::select! {
                biased;
                done = &mut work => return Ok(Some(done)),
                () = self.silence.lasts(heartbeat) => return Ok(None),
                () = hung_up(self.session) => {
                    self.listening = false;
                    self.session.as_downstream_mut().set_keepalive(None);
                }
            }
        }
        // What has cost nothing yet is nobody's loss.
        if self.on_disconnect == OnDisconnect::Abort || !self.sent.get() {
            return Err(Abandoned);
        }
        let end = *self.finish_by.get_or_insert_with(|| Instant::now() + self.finish_within);
        match timeout_at(end, work).await {
            Ok(done) => Ok(Some(done)),
            Err(_) => {
                log::warn!("{}: the client has left, and the upstream does not come to an end", self.ctx.request_id);
                Err(Abandoned)
            }
        }
    }

    /// There is no answer, only an error.
    async fn fail(&mut self, error: &Error) -> PingoraResult<()> {
        if !self.listening {
            return Ok(());
        }
        if self.begun.is_none() {
            return respond::error(self.session, self.ctx, error).await;
        }
        self.tell_error(error).await;
        Ok(())
    }

    /// An error in an answer that has begun with nothing but signs of life.
    async fn tell_error(&mut self, error: &Error) {
        log::error!("{}: {}", self.ctx.request_id, error.to_string().escape_debug());
        if self.begun == Some(Pulse::Json) {
            return self.write(error.body().into(), true).await;
        }
        self.break_off(true, true, error).await;
    }

    /// An answer that is no stream, within a stream that has begun: as one event.
    async fn tell_in_band(&mut self, mut answer: Answer) {
        let mut text = Vec::new();
        loop {
            match answer.next().await {
                Ok(Some(piece)) if text.len() + piece.len() <= LONGEST_IN_BAND => text.extend_from_slice(&piece),
                Ok(None) => break,
                Ok(Some(_)) => return self.session.as_downstream_mut().shutdown().await,
                Err(error) => return self.break_off(true, true, &error).await,
            }
        }
        if !answer.status.is_success() && serde_json::from_slice::<IgnoredAny>(&text).is_err() {
            return self.break_off(true, true, &no_json(answer.status)).await;
        }
        let name = if answer.status.is_success() { "" } else { "event: error\n" };
        // Each line of the text is a line of the event's data.
        let data = String::from_utf8_lossy(&text).trim().replace("\r\n", "\n").replace('\n', "\ndata: ");
        self.write(format!("{name}data: {data}\n\n").into(), true).await;
    }

    /// The answer cannot be completed. A stream ends with an error event, after a blank line should another be
    /// incomplete, and its connection stays: its header has not said that it would be closed. Any other answer must not
    /// look complete.
    async fn break_off(&mut self, is_events: bool, between_events: bool, error: &Error) {
        if !self.listening {
            return;
        }
        if !is_events {
            self.session.as_downstream_mut().set_keepalive(None);
            return self.session.as_downstream_mut().shutdown().await;
        }
        let blank = if between_events { "" } else { "\n\n" };
        self.write(format!("{blank}event: error\ndata: {}\n\n", error.body()).into(), true).await;
    }

    async fn head(&mut self, status: StatusCode, mut headers: HeaderMap, len: Option<u64>) {
        if !self.listening {
            return;
        }
        if headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream") {
            headers.insert(UNBUFFERED, HeaderValue::from_static("no"));
        }
        self.listening = respond::head(self.session, self.ctx, status, headers, len, len == Some(0)).await.is_ok();
    }

    /// Writes to the client, if it is there.
    async fn write(&mut self, piece: Bytes, end: bool) {
        if let Some(last) = piece.last() {
            self.after_cr = *last == b'\r';
        }
        if self.listening && self.session.as_downstream_mut().write_response_body(piece, end).await.is_err() {
            self.listening = false;
            // At the end of a request Pingora ends its HTTP/2 stream in good order. An answer that was cut because its
            // client did not take it must not look whole.
            if self.session.as_downstream().is_http2() {
                self.session.as_downstream_mut().shutdown().await;
            }
        }
        self.silence.broken();
    }
}

/// An answer that cannot be told where JSON must stand: a proxy's page, mostly.
fn no_json(status: StatusCode) -> Error {
    Error::new(
        Code::UpstreamFailed,
        format!("The upstream answered with status {status} and something that is no JSON."),
    )
}

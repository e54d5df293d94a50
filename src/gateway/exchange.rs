//! An intercepted request: body in, exchange, answer out.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora_core::Result as PingoraResult;
use pingora_proxy::Session;

use super::{Ctx, Gateway, body, hang_up::hung_up, respond};
use crate::{
    access::Client,
    config::OnDisconnect,
    core::Settings,
    error::{Error, Result},
    exchange::{Answer, ApiRoute, Exchange, Request},
};

/// A comment that says nothing but "still here". Between events, every client skips it.
const HEARTBEAT: &[u8] = b": keep-alive\n\n";
/// Longest answer that is told within a stream that has begun already.
const LONGEST_IN_BAND: usize = 256 * 1024;

/// One answer on its way to one client.
struct Delivery<'a> {
    session: &'a mut Session,
    ctx: &'a mut Ctx,
    on_disconnect: OnDisconnect,
    /// Silence after which a stream gets a comment.
    heartbeat: Option<Duration>,
    /// The client is there.
    listening: bool,
    /// The header of a stream went out before the upstream's own came.
    begun: bool,
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
        let received = match body::receive(session, route, &self.core.store, limit).await {
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
        let (on_disconnect, heartbeat) = (images.on_disconnect, images.heartbeat.sse);
        let mut delivery = Delivery { session, ctx, on_disconnect, heartbeat, listening: true, begun: false };
        let wants_events = exchange.wants_events();
        let Ok(answer) = delivery.wait(Box::pin(exchange.run()), wants_events).await else {
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
    /// Waits for the header of an answer. When the client wants a stream, and nothing comes for long, the stream begins
    /// without it: so that no proxy on the way gives up, at the price that an error can no longer have a status.
    async fn wait<T>(&mut self, work: impl Future<Output = T>, wants_events: bool) -> Result<T, Abandoned> {
        let mut work = pin!(work);
        loop {
            if let Some(done) = self.work_or_silence(&mut work, wants_events).await? {
                return Ok(done);
            }
            if !self.begun && self.listening {
                let headers = HeaderMap::from_iter([
                    (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
                    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
                ]);
                self.begun = true;
                self.head(StatusCode::OK, headers, None).await;
            }
            self.write(Bytes::from_static(HEARTBEAT), false).await;
        }
    }

    /// Sends an answer on. When the client goes, the rest is still read (and its pictures kept), unless told otherwise.
    async fn deliver(&mut self, mut answer: Answer) {
        if self.begun && !answer.is_events {
            return self.tell_in_band(answer).await;
        }
        if !self.begun {
            let headers = std::mem::take(&mut answer.headers);
            self.head(answer.status, headers, answer.len).await;
        }
        loop {
            let between_events = answer.is_between_events();
            let piece = match self.next_piece(&mut answer, between_events).await {
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

    /// The next piece of an answer; says "still here" while there is none.
    async fn next_piece(
        &mut self,
        answer: &mut Answer,
        between_events: bool,
    ) -> Result<Result<Option<Bytes>>, Abandoned> {
        let mut next = pin!(answer.next());
        loop {
            if let Some(piece) = self.work_or_silence(&mut next, between_events).await? {
                return Ok(piece);
            }
            self.write(Bytes::from_static(HEARTBEAT), false).await;
        }
    }

    /// Runs `work` and notices meanwhile when the client goes. `None`: nothing came for as long as a heartbeat takes.
    async fn work_or_silence<T>(
        &mut self,
        mut work: impl Future<Output = T> + Unpin,
        may_speak: bool,
    ) -> Result<Option<T>, Abandoned> {
        if self.listening {
            let heartbeat = self.heartbeat.filter(|_| may_speak);
            tokio::select! {
                biased;
                done = &mut work => return Ok(Some(done)),
                () = silence(heartbeat) => return Ok(None),
                () = hung_up(self.session) => {
                    self.listening = false;
                    self.session.as_downstream_mut().set_keepalive(None);
                }
            }
        }
        match self.on_disconnect {
            OnDisconnect::Finish => Ok(Some(work.await)),
            OnDisconnect::Abort => Err(Abandoned),
        }
    }

    /// There is no answer, only an error.
    async fn fail(&mut self, error: &Error) -> PingoraResult<()> {
        if !self.listening {
            return Ok(());
        }
        if self.begun {
            log::error!("{}: {}", self.ctx.request_id, error.to_string().escape_debug());
            self.break_off(true, true, error).await;
            return Ok(());
        }
        respond::error(self.session, self.ctx, error).await
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
            headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        }
        self.listening = respond::head(self.session, self.ctx, status, headers, len, len == Some(0)).await.is_ok();
    }

    /// Writes to the client, if it is there.
    async fn write(&mut self, piece: Bytes, end: bool) {
        self.listening =
            self.listening && self.session.as_downstream_mut().write_response_body(piece, end).await.is_ok();
    }
}

/// Resolves after this time; never without one.
async fn silence(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

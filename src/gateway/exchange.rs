//! An intercepted request: body in, exchange, answer out.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
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

/// Whether somebody is there to write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listener {
    There,
    Gone,
}

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
        let on_disconnect = exchange.images().on_disconnect;
        let heartbeat = exchange.images().heartbeat.sse;
        let mut listener = Listener::There;
        let Some(answer) = while_there(session, Box::pin(exchange.run()), &mut listener, on_disconnect).await else {
            return Ok(()); // nobody waits, and nothing is to be finished
        };
        match answer {
            Ok(answer) => {
                ctx.upstream = Some(answer.upstream.clone());
                deliver(session, ctx, answer, listener, on_disconnect, heartbeat).await
            }
            Err(error) => {
                ctx.upstream = error.upstream().map(str::to_owned);
                match listener {
                    Listener::There => respond::error(session, ctx, &error).await,
                    Listener::Gone => Ok(()),
                }
            }
        }
    }
}

/// Runs `work` and notices meanwhile when the client goes. `None`: it has gone, and the work is dropped.
async fn while_there<T>(
    session: &mut Session,
    work: impl Future<Output = T>,
    listener: &mut Listener,
    on_disconnect: OnDisconnect,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    if *listener == Listener::There {
        tokio::select! {
            biased;
            done = &mut work => return Some(done),
            () = hung_up(session) => {
                *listener = Listener::Gone;
                session.as_downstream_mut().set_keepalive(None);
            }
        }
    }
    match on_disconnect {
        OnDisconnect::Finish => Some(work.await),
        OnDisconnect::Abort => None,
    }
}

/// Sends an answer on. When the client goes, the rest is still read (and its pictures kept), unless told otherwise.
async fn deliver(
    session: &mut Session,
    ctx: &mut Ctx,
    mut answer: Answer,
    mut listener: Listener,
    on_disconnect: OnDisconnect,
    heartbeat: Option<Duration>,
) -> PingoraResult<()> {
    let headers = std::mem::take(&mut answer.headers);
    if listener == Listener::There {
        let empty = answer.len == Some(0);
        if respond::head(session, ctx, answer.status, headers, answer.len, empty).await.is_err() {
            listener = Listener::Gone;
        }
    }
    loop {
        let heartbeat = heartbeat.filter(|_| answer.is_between_events());
        let Some(piece) = next_piece(session, &mut answer, &mut listener, on_disconnect, heartbeat).await else {
            return Ok(());
        };
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                log::error!("{}: {error}", ctx.request_id);
                if listener == Listener::There {
                    break_off(session, last_event(&answer, &error)).await;
                }
                return Ok(());
            }
        };
        let end = piece.is_none();
        listener = write(session, piece.unwrap_or_default(), end, listener).await;
        if end || (listener == Listener::Gone && on_disconnect == OnDisconnect::Abort) {
            return Ok(());
        }
    }
}

/// Waits for the next piece of an answer, and says "still here" meanwhile. `None`: the client has gone, and the answer is
/// not to be finished.
async fn next_piece(
    session: &mut Session,
    answer: &mut Answer,
    listener: &mut Listener,
    on_disconnect: OnDisconnect,
    heartbeat: Option<Duration>,
) -> Option<Result<Option<Bytes>>> {
    let mut next = pin!(answer.next());
    loop {
        let wait = async {
            tokio::select! {
                biased;
                piece = &mut next => Some(piece),
                () = silence(heartbeat) => None,
            }
        };
        match while_there(session, wait, listener, on_disconnect).await? {
            Some(piece) => return Some(piece),
            None => *listener = write(session, Bytes::from_static(HEARTBEAT), false, *listener).await,
        }
    }
}

/// Writes to the client, if it is there.
async fn write(session: &mut Session, piece: Bytes, end: bool, listener: Listener) -> Listener {
    if listener == Listener::There && session.as_downstream_mut().write_response_body(piece, end).await.is_ok() {
        Listener::There
    } else {
        Listener::Gone
    }
}

/// The answer cannot be completed. A stream ends with an error event; any other answer must not look complete.
async fn break_off(session: &mut Session, last_event: Option<String>) {
    let downstream = session.as_downstream_mut();
    downstream.set_keepalive(None);
    match last_event {
        Some(event) => {
            let _ = downstream.write_response_body(event.into(), true).await;
        }
        None => downstream.shutdown().await,
    }
}

/// What a stream says of an error: after a blank line, should an event be incomplete.
fn last_event(answer: &Answer, error: &Error) -> Option<String> {
    let start = if answer.is_between_events() { "" } else { "\n\n" };
    answer.is_events.then(|| format!("{start}event: error\ndata: {}\n\n", error.body()))
}

/// Resolves after this time; never without one.
async fn silence(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

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
    error::Error,
    exchange::{self, Answer, ApiRoute, Request},
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
        let on_disconnect = settings.config.images.on_disconnect;
        let heartbeat = settings.config.images.heartbeat.sse;
        let mut listener = Listener::There;
        let answer = {
            let run = exchange::run(Arc::clone(&self.core), settings, request);
            match while_there(session, run, &mut listener, on_disconnect).await {
                Some(answer) => answer,
                None => return Ok(()), // nobody waits, and nothing is to be finished
            }
        };
        match answer {
            Ok(answer) => {
                ctx.upstream = Some(answer.upstream.clone());
                deliver(session, ctx, answer, listener, on_disconnect, heartbeat).await
            }
            Err(_) if listener == Listener::Gone => Ok(()),
            Err(error) => respond::error(session, ctx, &error).await,
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
        let between_events = answer.is_between_events();
        let piece = {
            let mut next = pin!(answer.next());
            loop {
                let wait = async {
                    tokio::select! {
                        biased;
                        piece = &mut next => Some(piece),
                        () = silence(heartbeat.filter(|_| between_events)) => None,
                    }
                };
                match while_there(session, wait, &mut listener, on_disconnect).await {
                    Some(Some(piece)) => break piece,
                    Some(None) if listener == Listener::There => {
                        let comment = Bytes::from_static(HEARTBEAT);
                        if session.as_downstream_mut().write_response_body(comment, false).await.is_err() {
                            listener = Listener::Gone;
                        }
                    }
                    Some(None) => {}
                    None => return Ok(()),
                }
            }
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
        if listener == Listener::There {
            let write = session.as_downstream_mut().write_response_body(piece.unwrap_or_default(), end);
            if write.await.is_err() {
                listener = Listener::Gone;
                if on_disconnect == OnDisconnect::Abort {
                    return Ok(());
                }
            }
        }
        if end {
            return Ok(());
        }
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

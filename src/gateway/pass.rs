//! What Pingora's filter chain needs to know of a request that passes through.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use pingora_core::{
    Error as PingoraError, ErrorSource, ErrorType, Result as PingoraResult, listeners::ALPN, upstreams::peer::HttpPeer,
};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, Session};

use super::{
    Ctx, Gateway, Pass,
    respond::{self, REQUEST_ID},
};
use crate::{
    error::{Code, Error},
    upstream::{Scrubber, authority, bearer, headers, names_with_key, peer},
};

/// Set on an error that stands for an upstream's 401.
const UPSTREAM_AUTH: ErrorType = ErrorType::Custom("UpstreamRefusedOurKey");
/// No address for the upstream.
const UNKNOWN_HOST: ErrorType = ErrorType::Custom("UpstreamHostUnknown");

/// Framing and codings of the client's request: its body passes as it is, so must these.
const REQUEST_FRAMING: [&str; 5] =
    ["accept-encoding", "content-encoding", "content-length", "expect", "transfer-encoding"];
/// The same of an answer, where it is not among those that [pass](headers::for_client_as_they_are).
const ANSWER_FRAMING: &str = "transfer-encoding";
/// Asks for another protocol, or says that it is spoken from here on (RFC 9110, section 7.8).
const SWITCHING: [&str; 2] = ["connection", "upgrade"];

impl Gateway {
    /// Where a request that passes goes.
    ///
    /// # Errors
    /// When [`handle`](Self::handle) did not say [`Pass`](super::Handled::Pass), or the host has no address.
    pub async fn pass_peer(&self, ctx: &mut Ctx) -> PingoraResult<Box<HttpPeer>> {
        let pass = passing(ctx)?;
        if pass.addresses.is_empty() {
            let addresses = self.core.transport.addresses(&pass.url).await;
            pass.addresses = addresses.map_err(|_| PingoraError::new_up(UNKNOWN_HOST))?.into();
        }
        let address = pass.addresses.front().ok_or_else(|| PingoraError::new_up(UNKNOWN_HOST))?;
        let mut peer = peer(&pass.url, *address);
        if pass.upgrade {
            // HTTP/2 has no `Upgrade`; and a connection for it must not come out of the pool of those that speak it.
            peer.options.alpn = ALPN::H1;
            peer.group_key = 1;
        }
        let timeout = self.core.settings().config.limits.upstream_timeout;
        peer.options.read_timeout = Some(timeout);
        pass.header_due = Instant::now().checked_add(timeout);
        Ok(Box::new(peer))
    }

    /// After a failed connection: whether there is another address to try.
    pub fn pass_next_address(&self, ctx: &mut Ctx) -> bool {
        let Some(pass) = &mut ctx.pass else { return false };
        pass.addresses.pop_front();
        if pass.addresses.is_empty() {
            self.core.transport.forget(&pass.url);
        }
        !pass.addresses.is_empty()
    }

    /// Turns the client's header into ours: target, host and key.
    ///
    /// # Errors
    /// When the header cannot be made.
    pub fn pass_request(&self, header: &mut RequestHeader, ctx: &Ctx) -> PingoraResult<()> {
        let pass = ctx.pass.as_ref().ok_or_else(not_passing)?;
        let mut target = pass.url.path().to_owned();
        if let Some(query) = pass.url.query() {
            target = format!("{target}?{query}");
        }
        let uri: Uri = target.parse().map_err(|_| PingoraError::new(ErrorType::InternalError))?;
        header.set_uri(uri);
        let passing = headers::for_upstream(&header.headers, &ctx.request_id, &pass.upstream);
        let stays = |name: &str| REQUEST_FRAMING.contains(&name) || (pass.upgrade && SWITCHING.contains(&name));
        for name in all_but(&header.headers, stays) {
            header.remove_header(&name);
        }
        for (name, value) in &passing {
            header.append_header(name, value.clone())?;
        }
        header.insert_header(header::HOST, authority(&pass.url))?;
        if let Some(key) = pass.upstream.api_key.as_ref().and_then(bearer) {
            header.insert_header(header::AUTHORIZATION, key)?;
        }
        Ok(())
    }

    /// Takes out of an upstream's answer what is not the client's.
    ///
    /// # Errors
    /// When the upstream refused our key: that is not the client's fault, and not its business.
    pub fn pass_response(&self, header: &mut ResponseHeader, ctx: &mut Ctx) -> PingoraResult<()> {
        if header.status == http::StatusCode::UNAUTHORIZED {
            return Err(PingoraError::new_up(UPSTREAM_AUTH));
        }
        let pass = passing(ctx)?;
        if header.status.is_informational() {
            // Each of them begins a new silence: without a limit in all an upstream could send them for ever.
            if pass.header_due.is_some_and(|due| Instant::now() >= due) {
                return Err(PingoraError::new_up(ErrorType::ReadTimedout));
            }
        } else if !header.status.is_success() {
            pass.scrubber = Scrubber::new(pass.upstream.api_key.as_ref());
        }
        for name in names_with_key(&header.headers, pass.upstream.api_key.as_ref()) {
            header.remove_header(&name);
        }
        let passing = headers::for_client_as_they_are(&header.headers, &pass.upstream);
        let switches = header.status == http::StatusCode::SWITCHING_PROTOCOLS;
        let stays = |name: &str| name == ANSWER_FRAMING || (switches && SWITCHING.contains(&name));
        for name in all_but(&header.headers, stays) {
            header.remove_header(&name);
        }
        for (name, value) in &passing {
            header.append_header(name, value.clone())?;
        }
        header.insert_header(
            REQUEST_ID,
            HeaderValue::from_str(&ctx.request_id).unwrap_or(HeaderValue::from_static("-")),
        )?;
        Ok(())
    }

    /// Takes out of an upstream's trailers what is not the client's.
    pub fn pass_trailers(&self, trailers: &mut HeaderMap, ctx: &Ctx) {
        if let Some(pass) = &ctx.pass {
            headers::without_others(trailers, &pass.upstream);
        }
    }

    /// Tells the client why its request could not pass, if there is still a client and nothing has been sent. For
    /// `fail_to_proxy`.
    pub async fn pass_failed(&self, session: &mut Session, error: &PingoraError, ctx: &mut Ctx) -> FailToProxy {
        // Pingora's own message may quote the header of the upstream's answer: only its kind is told.
        let (kind, side) = (error.etype().as_str(), error.esource().as_str());
        let error = failure(error);
        let level = if error.is_some() { log::Level::Warn } else { log::Level::Debug };
        let upstream = ctx.upstream.as_deref().unwrap_or("-");
        log::log!(level, "{}: passing on to upstream {upstream} failed: {kind} ({side})", ctx.request_id);
        // Interim answers are no answer yet.
        let answered = |header: &ResponseHeader| {
            !header.status.is_informational() || header.status == http::StatusCode::SWITCHING_PROTOCOLS
        };
        let error = error.filter(|_| !session.response_written().is_some_and(answered));
        if let Some(error) = &error
            && let Err(e) = respond::error(session, ctx, error).await
        {
            log::debug!("{}: {e}", ctx.request_id);
        }
        let error_code = error.map_or(0, |error| error.status().as_u16());
        FailToProxy { error_code, can_reuse_downstream: false }
    }
}

impl Gateway {
    /// Makes our key unreadable in an upstream's error message. `end`: this is the last piece.
    pub fn pass_body(&self, body: &mut Option<Bytes>, end: bool, ctx: &mut Ctx) {
        let Some(scrubber) = ctx.pass.as_mut().and_then(|pass| pass.scrubber.as_mut()) else { return };
        let piece = body.take().map(|piece| scrubber.push(piece)).unwrap_or_default();
        let rest = if end { scrubber.finish() } else { Bytes::new() };
        *body = match (piece.is_empty(), rest.is_empty()) {
            (_, true) => Some(piece),
            (true, false) => Some(rest),
            (false, false) => Some([piece, rest].concat().into()),
        };
    }
}

/// The names of these headers, without those that stay.
fn all_but(headers: &HeaderMap, stays: impl Fn(&str) -> bool) -> Vec<HeaderName> {
    headers.keys().filter(|name| !stays(name.as_str())).cloned().collect()
}

fn passing(ctx: &mut Ctx) -> PingoraResult<&mut Pass> {
    ctx.pass.as_mut().ok_or_else(not_passing)
}

fn not_passing() -> Box<PingoraError> {
    PingoraError::explain(ErrorType::InternalError, "the request does not pass")
}

/// What to tell the client of a failure in the filter chain. `None`: there is nobody to tell.
fn failure(error: &PingoraError) -> Option<Error> {
    Some(match (error.esource(), error.etype()) {
        (_, kind) if *kind == UPSTREAM_AUTH => Error::new(
            Code::UpstreamAuth,
            "The upstream refused this gateway's credentials. The operator must check them.",
        ),
        (ErrorSource::Downstream, ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed) => {
            return None;
        }
        (ErrorSource::Downstream, _) => Error::new(Code::InvalidRequest, "The request is not valid HTTP."),
        (_, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => {
            Error::new(Code::UpstreamTimeout, "The upstream did not answer in time.")
        }
        (ErrorSource::Upstream, kind) if is_connect(kind) => {
            Error::new(Code::UpstreamUnreachable, "The upstream cannot be reached.")
        }
        (ErrorSource::Upstream, _) => {
            Error::new(Code::UpstreamFailed, "The upstream broke off before its answer was complete.")
        }
        _ => Error::new(Code::Internal, "The gateway failed."),
    })
}

fn is_connect(kind: &ErrorType) -> bool {
    use ErrorType::{
        ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, InvalidCert, SocketError, TLSHandshakeFailure,
        TLSHandshakeTimedout,
    };
    *kind == UNKNOWN_HOST
        || matches!(
            kind,
            ConnectError
                | ConnectNoRoute
                | ConnectRefused
                | ConnectTimedout
                | InvalidCert
                | SocketError
                | TLSHandshakeFailure
                | TLSHandshakeTimedout
        )
}

//! Pingora's phases, each a call of a line or two.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_core::{Error as PingoraError, Result as PingoraResult, upstreams::peer::HttpPeer};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use super::{Ctx, Gateway, Handled, header_limits, request_id, respond};
use crate::error::{Code, Error};

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx::default()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> PingoraResult<bool> {
        match self.handle(session, ctx).await? {
            Handled::Done => Ok(true),
            Handled::Pass => Ok(false),
            Handled::NotOurs => {
                ctx.request_id = request_id::new();
                let send_timeout = self.core().settings().config.limits.send_timeout;
                if !header_limits::admit(session, ctx, send_timeout).await? {
                    return Ok(true);
                }
                let error = Error::new(Code::NotFound, "There is nothing at this address. The API is under /v1.");
                respond::error(session, ctx, &error).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Ctx) -> PingoraResult<Box<HttpPeer>> {
        self.pass_peer(ctx).await
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        upstream_request: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> PingoraResult<()> {
        self.pass_request(upstream_request, ctx)
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        upstream_response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> PingoraResult<()> {
        self.pass_response(upstream_response, ctx)
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Ctx,
    ) -> PingoraResult<Option<Duration>> {
        self.pass_body(body, end_of_stream, ctx);
        Ok(None)
    }

    fn upstream_response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Ctx,
    ) -> PingoraResult<()> {
        self.pass_trailers(trailers, ctx);
        Ok(())
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &PingoraError, ctx: &mut Ctx) -> FailToProxy {
        self.pass_failed(session, e, ctx).await
    }

    /// What Pingora's own log lines say of a request. Never the query: it may hold a secret.
    fn request_summary(&self, session: &Session, ctx: &Ctx) -> String {
        let header = session.req_header();
        format!("{} {} {}", ctx.request_id, header.method, header.uri.path())
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Ctx,
        mut e: Box<PingoraError>,
    ) -> Box<PingoraError> {
        e.set_retry(self.pass_next_address(ctx));
        e
    }

    async fn logging(&self, session: &mut Session, _e: Option<&PingoraError>, ctx: &mut Ctx) {
        self.finish(session, ctx);
    }
}

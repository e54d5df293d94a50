//! Writes answers. The one place where an [`Error`] becomes an HTTP answer.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use pingora_core::Result as PingoraResult;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::Ctx;
use crate::error::Error;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// How long, and how much of, a body that nobody wants is read before the connection is closed. Without that, a client
/// that is still sending would often see a reset instead of the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// Sends a header with our request id in it. `len`: the exact length of the body; `None`: chunked.
pub(super) async fn head(
    session: &mut Session,
    ctx: &mut Ctx,
    status: StatusCode,
    headers: HeaderMap,
    len: Option<u64>,
    end: bool,
) -> PingoraResult<()> {
    ctx.status = Some(status);
    // RFC 9110, section 8.6, and RFC 9112, section 6.3: these have no body and no framing.
    let bare = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let end = end || bare;
    let mut response = ResponseHeader::build(status, Some(headers.len() + 3))?;
    for (name, value) in &headers {
        response.append_header(name.clone(), value.clone())?;
    }
    response.insert_header(REQUEST_ID, &ctx.request_id)?;
    match len {
        Some(len) if !bare => response.insert_header(header::CONTENT_LENGTH, len.to_string())?,
        // An HTTP/1.0 client is told the end by the connection's.
        None if !end && session.req_header().version == Version::HTTP_11 => {
            response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        _ => {}
    }
    session.as_downstream_mut().write_response_header(Box::new(response)).await?;
    if end {
        session.as_downstream_mut().write_response_body(Bytes::new(), true).await?;
    }
    Ok(())
}

/// Sends a whole answer.
pub(super) async fn whole(
    session: &mut Session,
    ctx: &mut Ctx,
    status: StatusCode,
    headers: HeaderMap,
    body: impl Into<Bytes>,
) -> PingoraResult<()> {
    let body = body.into();
    let no_body = session.req_header().method == http::Method::HEAD;
    head(session, ctx, status, headers, Some(body.len() as u64), no_body || body.is_empty()).await?;
    if !no_body && !body.is_empty() {
        session.as_downstream_mut().write_response_body(body, true).await?;
    }
    Ok(())
}

/// Sends text of this type.
pub(super) async fn text(
    session: &mut Session,
    ctx: &mut Ctx,
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> PingoraResult<()> {
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ]);
    whole(session, ctx, status, headers, body).await
}

/// Sends an error, after taking in what is left of a body that is on its way.
pub(super) async fn error(session: &mut Session, ctx: &mut Ctx, error: &Error) -> PingoraResult<()> {
    error_with(session, ctx, error, []).await
}

/// Sends an error with some headers more.
pub(super) async fn error_with<const N: usize>(
    session: &mut Session,
    ctx: &mut Ctx,
    error: &Error,
    more: [(HeaderName, HeaderValue); N],
) -> PingoraResult<()> {
    // The message may quote the client: no line of the log is of its making.
    let level = if error.status().is_server_error() { log::Level::Error } else { log::Level::Info };
    log::log!(level, "{}: {}", ctx.request_id, error.to_string().escape_debug());
    let mut headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]);
    headers.extend(more);
    if let Some(seconds) = error.retry_after_seconds() {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if error.status() == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if !error.code().may_repeat() {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    let body_done = session.as_downstream_mut().is_body_done();
    if !body_done {
        // The rest may be long: this connection is not used again unless it turns out to be short.
        session.as_downstream_mut().set_keepalive(None);
    }
    whole(session, ctx, error.status(), headers, error.body()).await?;
    if !body_done {
        linger(session).await;
    }
    Ok(())
}

/// Reads what a client is still sending, within limits.
async fn linger(session: &mut Session) {
    let drain = async {
        let mut read = 0;
        while read < LINGER_BYTES
            && let Ok(Some(piece)) = session.as_downstream_mut().read_request_body().await
        {
            read += piece.len();
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

//! The client's body → an [`Intake`].

use std::time::{Duration, Instant};

use http::header;
use pingora_proxy::Session;

use crate::{
    error::{Code, Error, Result},
    exchange::{ApiRoute, Intake, Received},
    store::Spooler,
};

/// A client that sends nothing of its body for so long has gone, or is up to no good.
const SILENCE: Duration = Duration::from_secs(30);
/// From a body's first byte to its last: 64 MiB at 1 Mbit/s.
const LONGEST: Duration = Duration::from_secs(600);

/// Reads the whole body. A body that says it is too long is refused before any of it is read.
pub(super) async fn receive(session: &mut Session, route: ApiRoute, spooler: &Spooler, limit: u64) -> Result<Received> {
    let text = |name| session.req_header().headers.get(name).and_then(|value| value.to_str().ok());
    let declared: Option<u64> = text(header::CONTENT_LENGTH).and_then(|len| len.parse().ok());
    if declared.is_some_and(|len| len > limit) {
        return Err(crate::exchange::too_large(limit));
    }
    if text(header::CONTENT_ENCODING).is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Error::new(Code::UnsupportedMediaType, "A request body must not be compressed."));
    }
    let mut intake = Intake::new(route, text(header::CONTENT_TYPE), spooler.spool(declared), limit)?;
    let expects = text(header::EXPECT).is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));

    let downstream = session.as_downstream_mut();
    if expects {
        downstream.write_continue_response().await.map_err(|_| broke_off())?;
    }
    // Pingora's own read timeout does not cover HTTP/2.
    let deadline = Instant::now() + LONGEST;
    loop {
        let wait = SILENCE.min(deadline.saturating_duration_since(Instant::now()));
        let piece = tokio::time::timeout(wait, downstream.read_request_body())
            .await
            .map_err(|_| Error::new(Code::RequestTimeout, "The request body came too slowly."))?;
        match piece.map_err(|_| broke_off())? {
            Some(piece) => intake.push(&piece).await?,
            None => return intake.finish().await,
        }
    }
}

fn broke_off() -> Error {
    Error::new(Code::InvalidRequest, "The request body broke off, or its framing is wrong.")
}

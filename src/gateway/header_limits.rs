//! Bounds on the header of a request. They hold before anybody has shown a key.
//!
//! On HTTP/2 a field costs its sender one byte (an index into the table of fields sent before) and costs us about a hundred,
//! for as long as its stream is open. So few fields are taken, and a request with more is refused without a body: a stream
//! whose window is shut would wait to send one, and hold its fields meanwhile.

use std::{iter, time::Duration};

use pingora_core::Result as PingoraResult;
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::{Ctx, respond};
use crate::error::{Code, Error, Result};

/// Most header fields of a request. Browsers and SDKs send about twenty.
const MOST_FIELDS: usize = 128;
/// Longest header of an HTTP/1 request.
const LONGEST: usize = 64 * 1024;
/// Longest header list of an HTTP/2 request, and longest list of its trailers.
pub(super) const LONGEST_H2: u32 = 16 * 1024;
/// What RFC 9113, section 6.5.2, counts for a field beside its name and value.
const PER_FIELD: usize = 32;

/// Refuses a request whose header is too large, and limits how long a client may leave its answer lying. `false`: it has
/// been answered.
///
/// # Errors
/// When the client's connection breaks.
pub(super) async fn admit(session: &mut Session, ctx: &mut Ctx, send_timeout: Duration) -> PingoraResult<bool> {
    session.as_downstream_mut().set_write_timeout(Some(send_timeout));
    let is_http2 = session.as_downstream().is_http2();
    let most = if is_http2 { LONGEST_H2 as usize } else { LONGEST };
    let Err(error) = check(session.req_header(), most) else { return Ok(true) };
    if is_http2 {
        respond::head(session, ctx, error.status(), http::HeaderMap::new(), None, true).await?;
    } else {
        respond::error(session, ctx, &error).await?;
    }
    Ok(false)
}

fn check(header: &RequestHeader, most: usize) -> Result<()> {
    let fields = header.headers.len();
    let target = header.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let named = header.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + PER_FIELD);
    if fields > MOST_FIELDS || iter::once(target).chain(named).sum::<usize>() > most {
        return Err(Error::new(
            Code::HeaderTooLarge,
            format!("The request's header is too large: at most {MOST_FIELDS} fields and {most} bytes are taken."),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn header(target: usize, fields: usize, value: usize) -> RequestHeader {
        let target = format!("/{}", "x".repeat(target - 1));
        let mut header = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        for _ in 0..fields {
            header.append_header("a", "v".repeat(value)).unwrap();
        }
        header
    }

    #[test]
    fn fields_and_bytes_are_counted() {
        for (what, header, fits) in [
            ("the usual", header(20, 20, 100), true),
            ("as many fields as may be", header(1, MOST_FIELDS, 0), true),
            ("one field more", header(1, MOST_FIELDS + 1, 0), false),
            ("as many bytes as may be", header(100, 1, 1000 - 100 - 1 - PER_FIELD), true),
            ("one byte more", header(100, 1, 1000 - 100 - PER_FIELD), false),
            ("a long target", header(1001, 0, 0), false),
        ] {
            let most = if header.headers.len() == 1 || header.headers.is_empty() { 1000 } else { LONGEST };
            let told = check(&header, most).map_err(|error| error.status());
            let expected = if fits { Ok(()) } else { Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) };
            assert_eq!(told, expected, "{what}");
        }
    }
}

//! The outgoing body: slices of the client's own bytes with other bytes between them.

use std::ops::Range;

use bytes::Bytes;

use super::{inline::Inlined, intake::Received, plan::Destination};
use crate::{
    error::{Code, Error, Result},
    upstream::{Body, Segment, Source},
};

/// The body for one destination. Nothing is copied: a second destination costs a list of segments.
///
/// A request of a few kilobytes can name one picture thousands of times, so the length is judged here, where every
/// insertion has been made.
///
/// # Errors
/// [`Code::RequestTooLarge`] when the body is longer than `limit` bytes.
pub(super) fn compose(received: &Received, inlined: &Inlined, to: &Destination<'_>, limit: u64) -> Result<Body> {
    let mut edits: Vec<(Range<u64>, Vec<Segment>)> = inlined.edits.clone();
    if let (Some(name), Some(model)) = (to.rename, &received.findings.model) {
        let text = if received.multipart { name.to_owned() } else { serde_json::Value::from(name).to_string() };
        edits.push((model.span.clone(), vec![Segment::Bytes(Bytes::from(text))]));
    }
    if let Some(field) = received.findings.response_format.as_ref().filter(|_| to.strip_response_format) {
        edits.push((field.member.clone(), Vec::new()));
    }
    // What is put in before a text comes before what is done to it.
    edits.sort_by_key(|(span, _)| (span.start, span.end));

    let mut body = Body::default();
    let mut at = 0;
    let slice = |range: Range<u64>| Segment::Raw(Source::Spool(received.body.clone()), range);
    for (span, segments) in edits {
        if at < span.start {
            body.push(slice(at..span.start));
        }
        segments.into_iter().for_each(|segment| body.push(segment));
        at = span.end;
    }
    if at < received.body.len() {
        body.push(slice(at..received.body.len()));
    }
    if body.len() > limit {
        return Err(too_large(body.len(), limit));
    }
    Ok(body)
}

fn too_large(len: u64, limit: u64) -> Error {
    Error::new(
        Code::RequestTooLarge,
        format!(
            "With its images inline the request is {len} bytes long. This gateway sends at most {limit} bytes to an \
             upstream (limits.upstream_body). Each image counts as often as the request names it. Name fewer images, or \
             have the operator limit the old images of conversations with images.history."
        ),
    )
}

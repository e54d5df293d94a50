//! What a route answers, and how it is put on the line.

use std::{
    collections::VecDeque,
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{body::Body, response::Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::{control::Controls, line::Line};

/// A body up to this size is sent as one piece.
const SMALL: usize = 64 * 1024;

/// Size of a piece when `slow:` paces a whole body, or a long event.
const PIECE: usize = 16 * 1024;

/// Stands in a JSON text where a large text without escapes goes in (see [`weave`]).
const HOLE: char = '\u{f8ff}';

/// Stands where the time of sending goes in: as long as nanoseconds since 1970 are.
pub(super) const STAMP: &str = "0000000000000000000";

#[derive(Clone, Debug)]
pub(super) struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Payload,
}

#[derive(Clone, Debug)]
enum Payload {
    /// Pieces of one body with a known length.
    Whole(Vec<Bytes>),
    /// Server-sent events.
    Events(Vec<Bytes>),
}

// === impl Answer ===

impl Answer {
    /// 200 with these pieces as the body.
    pub(super) fn whole(media_type: &'static str, body: Vec<Bytes>) -> Self {
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static(media_type))];
        Self { status: StatusCode::OK, headers, body: Payload::Whole(body) }
    }

    pub(super) fn json(value: &Value) -> Self {
        Self::woven(value, &[])
    }

    /// A JSON body whose [`hole`]s are filled.
    pub(super) fn woven(value: &Value, fillings: &[Vec<Bytes>]) -> Self {
        Self::whole("application/json", weave(value, fillings))
    }

    /// A stream of [`event`]s.
    pub(super) fn events(events: Vec<Bytes>) -> Self {
        let headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        Self { status: StatusCode::OK, headers, body: Payload::Events(events) }
    }

    /// An error as OpenAI writes it.
    pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Self {
        Self::error_about(status, code, message, None)
    }

    /// An error that names the field at fault.
    pub(super) fn error_about(status: StatusCode, code: &str, message: &str, param: Option<&str>) -> Self {
        let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
        let error = json!({ "error": { "message": message, "type": kind, "param": param, "code": code } });
        Self { status, ..Self::json(&error) }
    }

    /// The error `status:` and `early:` ask for.
    pub(super) fn failure(status: StatusCode) -> Self {
        let code = match status.as_u16() {
            400 => "moderation_blocked",
            401 => "invalid_api_key",
            403 => "forbidden",
            404 => "model_not_found",
            413 => "request_too_large",
            429 => "rate_limit_exceeded",
            500.. => "server_error",
            _ => "invalid_request",
        };
        let answer = Self::error(status, code, &format!("The demo was asked to answer {status}."));
        match status {
            StatusCode::TOO_MANY_REQUESTS => answer.header(header::RETRY_AFTER, HeaderValue::from_static("7")),
            _ => answer,
        }
    }

    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Spoils a good answer's JSON.
    #[must_use]
    pub(super) fn garbage(mut self) -> Self {
        const GARBAGE: &[u8] = b"{\"created\":1790000000,\"data\":[{\"b64_json\":\"iVBORw0KGgo\\x\",,}} <html>";
        match &mut self.body {
            Payload::Whole(body) => *body = vec![Bytes::from_static(GARBAGE)],
            Payload::Events(events) => events.insert(0, [b"data: ", GARBAGE, b"\n\n"].concat().into()),
        }
        self
    }

    /// The response, paced and cut as `controls` say; `typing` is the pause between events when they say nothing.
    pub(super) fn send(self, controls: &Controls, typing: Option<Duration>, line: &Line) -> Response {
        let length = match &self.body {
            Payload::Whole(pieces) => Some(pieces.iter().map(Bytes::len).sum::<usize>()),
            Payload::Events(_) => None,
        };
        let pause = controls.slow.or(typing.filter(|_| length.is_none()));
        let mut pieces = match self.body {
            Payload::Whole(pieces) if controls.slow.is_some() => split(&pieces, PIECE),
            // Short events stay whole.
            Payload::Events(events) if controls.slow.is_some() => {
                events.iter().flat_map(|event| split(std::slice::from_ref(event), PIECE)).collect()
            }
            Payload::Whole(pieces) | Payload::Events(pieces) => pieces,
        };
        let cut = controls.truncate.map(|share| shorten(&mut pieces, share)).is_some();
        let body = if !cut && pause.is_none() && length.is_some_and(|length| length <= SMALL) {
            Body::from(join(pieces))
        } else {
            paced(pieces, pause, cut, controls.stamp, line.clone())
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        if let Some(length) = length {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        response
    }
}

/// The pieces, one after the other, with pauses between them; a `cut` one ends in an error, which breaks the connection.
fn paced(pieces: Vec<Bytes>, pause: Option<Duration>, cut: bool, stamp: bool, line: Line) -> Body {
    /// Time for what was written to leave before the connection breaks.
    const LEAVE: Duration = Duration::from_millis(30);
    let state = (VecDeque::from(pieces), true);
    Body::from_stream(stream::unfold(state, move |(mut pieces, first)| {
        let line = line.clone();
        async move {
            match pieces.pop_front() {
                Some(piece) => {
                    if let Some(pause) = pause.filter(|_| !first) {
                        line.pause(pause).await;
                    }
                    let piece = if stamp { stamped(&piece) } else { piece };
                    Some((Ok(piece), (pieces, false)))
                }
                None if cut => {
                    line.pause(LEAVE).await;
                    Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), (pieces, false)))
                }
                None => None,
            }
        }
    }))
}

/// The piece with the time of now in place of every [`STAMP`].
fn stamped(piece: &Bytes) -> Bytes {
    if piece.len() > PIECE || memchr::memmem::find(piece, STAMP.as_bytes()).is_none() {
        return piece.clone();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
    String::from_utf8_lossy(piece).replace(STAMP, &now).into()
}

/// Keeps the first `share` per cent.
fn shorten(pieces: &mut Vec<Bytes>, share: u8) {
    let mut left = pieces.iter().map(Bytes::len).sum::<usize>() * usize::from(share) / 100;
    pieces.retain_mut(|piece| {
        piece.truncate(left);
        left -= piece.len();
        !piece.is_empty()
    });
}

/// One piece of all.
pub(super) fn join(mut pieces: Vec<Bytes>) -> Bytes {
    match (pieces.pop(), pieces.is_empty()) {
        (None, _) => Bytes::new(),
        (Some(only), true) => only,
        (Some(last), false) => {
            let mut all = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum::<usize>() + last.len());
            pieces.iter().chain([&last]).for_each(|piece| all.extend_from_slice(piece));
            all.freeze()
        }
    }
}

/// The same bytes in pieces of `size`, the last one shorter.
pub(super) fn split(pieces: &[Bytes], size: usize) -> Vec<Bytes> {
    let mut all = Vec::new();
    let mut begun = BytesMut::new();
    for piece in pieces {
        let mut piece = piece.clone();
        while begun.len() + piece.len() >= size {
            let more = piece.split_to(size - begun.len());
            if begun.is_empty() {
                all.push(more);
            } else {
                begun.extend_from_slice(&more);
                all.push(begun.split().freeze());
            }
        }
        begun.extend_from_slice(&piece);
    }
    if !begun.is_empty() {
        all.push(begun.freeze());
    }
    all
}

/// A JSON string in which the `index`th filling goes in place of the hole.
pub(super) fn hole(index: usize) -> String {
    format!("{HOLE}{index}{HOLE}")
}

/// Text a client sent, unable to be taken for a [`hole`].
pub(super) fn without_holes(text: &str) -> String {
    text.replace(HOLE, "")
}

/// JSON text with its holes filled: so a picture's base64 text is never copied or escaped.
pub(super) fn weave(value: &Value, fillings: &[Vec<Bytes>]) -> Vec<Bytes> {
    let text = write(value);
    if fillings.is_empty() {
        return vec![text.into()];
    }
    let mut woven = Vec::new();
    for (turn, part) in text.split(HOLE).enumerate() {
        if turn % 2 == 0 {
            woven.push(Bytes::copy_from_slice(part.as_bytes()));
        } else if let Some(filling) = part.parse().ok().and_then(|index: usize| fillings.get(index)) {
            woven.extend(filling.iter().cloned());
        }
    }
    woven
}

/// JSON text with the fields that tell what an object is before all others, as the real API writes them.
pub(super) fn write(value: &Value) -> String {
    const FIRST: [&str; 8] = ["type", "id", "object", "created", "created_at", "sequence_number", "status", "index"];
    fn append(text: &mut String, value: &Value) {
        match value {
            Value::Object(fields) => {
                let first = FIRST.iter().filter_map(|name| fields.get_key_value(*name));
                let rest = fields.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
                list(text, ['{', '}'], first.chain(rest), |text, (name, field)| {
                    text.push_str(&Value::from(name.as_str()).to_string());
                    text.push(':');
                    append(text, field);
                });
            }
            Value::Array(items) => list(text, ['[', ']'], items, append),
            other => text.push_str(&other.to_string()),
        }
    }
    fn list<T>(
        text: &mut String,
        [open, close]: [char; 2],
        items: impl IntoIterator<Item = T>,
        each: impl Fn(&mut String, T),
    ) {
        text.push(open);
        for (turn, item) in items.into_iter().enumerate() {
            if turn > 0 {
                text.push(',');
            }
            each(text, item);
        }
        text.push(close);
    }
    let mut text = String::with_capacity(256);
    append(&mut text, value);
    text
}

/// One server-sent event, with a name line if it has a name.
pub(super) fn event(name: Option<&str>, value: &Value, fillings: &[Vec<Bytes>]) -> Bytes {
    let head = name.map_or_else(|| "data: ".to_owned(), |name| format!("event: {name}\ndata: "));
    let mut pieces = vec![Bytes::from(head)];
    pieces.extend(weave(value, fillings));
    pieces.push(Bytes::from_static(b"\n\n"));
    join(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fillings_go_in_where_the_holes_are() {
        let value = json!({ "a": hole(1), "b": format!("x{}y", hole(0)), "c": "é\"" });
        let woven = join(weave(&value, &[vec!["one".into(), "two".into()], vec!["three".into()]]));
        let read: Value = serde_json::from_slice(&woven).unwrap();
        assert_eq!(read, json!({ "a": "three", "b": "xonetwoy", "c": "é\"" }));
    }

    #[test]
    fn an_object_says_first_what_it_is() {
        let value = json!({ "b64_json": "x", "type": "t", "a": [{ "result": 1, "id": 2 }, {}, []] });
        assert_eq!(write(&value), r#"{"type":"t","a":[{"id":2,"result":1},{},[]],"b64_json":"x"}"#);
    }

    #[test]
    fn splitting_and_shortening_keep_every_byte_in_order() {
        let pieces: Vec<Bytes> = vec!["abc".into(), "".into(), "d".into(), "efghij".into()];
        for size in 1..12 {
            let mut split = split(&pieces, size);
            assert_eq!(join(split.clone()), "abcdefghij");
            assert!(split.iter().rev().skip(1).all(|piece| piece.len() == size));
            shorten(&mut split, 50);
            assert_eq!(join(split), "abcde");
        }
    }
}

//! What the body of an answer is.
//!
//! Labels are wrong in every way: streams labelled as JSON, JSON labelled as a stream, either labelled as bytes, pictures
//! labelled as JSON. So the first bytes decide, and the label only where they say nothing.

use http::header;

use crate::{
    picture::{Sniff, Sniffer},
    upstream::{Failure, Incoming},
    work,
};

/// So much is looked at, at most.
const ENOUGH: usize = 64 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";
/// What lines of an event stream begin with (WHATWG HTML, section 9.2.6).
const FIELDS: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b":"];

/// What an answer's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Events,
    /// Labelled as events. Its header goes to the client before any byte has come; what it really is shows later.
    Labelled,
    /// A bare picture.
    Picture,
    Other,
}

impl Kind {
    /// Waits for the first bytes, unless a stream was asked for and the label says that it is one.
    pub(super) async fn of(incoming: &mut Incoming, wants_events: bool) -> Result<Self, Failure> {
        let label = incoming.header(header::CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
        if label.starts_with("text/event-stream") && wants_events {
            return Ok(Self::Labelled);
        }
        let is_bytes = ["image/", "audio/", "video/", "application/octet-stream", "text/event-stream"];
        let otherwise = if is_bytes.iter().any(|media| label.starts_with(media)) { Self::Other } else { Self::Json };
        let mut known = 0;
        let mut first = First::default();
        loop {
            let start = incoming.peek_past(known).await?;
            let is_all = start.len() == known || start.len() >= ENOUGH;
            match first.told(start) {
                Some(Self::Other) => return Ok(otherwise),
                Some(kind) => {
                    if otherwise == Self::Other {
                        // Clients would not read it as what it is.
                        incoming.headers.remove(header::CONTENT_TYPE);
                    }
                    return Ok(kind);
                }
                None if is_all => return Ok(otherwise),
                None => known = start.len(),
            }
        }
    }
}

/// Judges the first bytes of a body while they come, in pieces as small as they like: none is looked at all over again.
#[derive(Debug, Default)]
struct First {
    indent: Indent,
    sniffer: Sniffer,
}

impl First {
    /// What a body that begins so is; `None` when that does not show yet. `start` begins with what was given before.
    fn told(&mut self, start: &[u8]) -> Option<Kind> {
        let text = self.indent.behind(start);
        let may_be_events = FIELDS.iter().any(|field| field.starts_with(text));
        match self.sniffer.look(start) {
            _ if matches!(text.first(), Some(b'{' | b'[')) => Some(Kind::Json),
            _ if FIELDS.iter().any(|field| text.starts_with(field)) => Some(Kind::Events),
            Sniff::Picture(_) => Some(Kind::Picture),
            Sniff::More => None,
            Sniff::No if may_be_events => None,
            Sniff::No => Some(Kind::Other),
        }
    }
}

/// The byte-order mark and white space that a text begins with, while it comes.
#[derive(Debug, Default)]
pub(super) struct Indent {
    len: usize,
}

impl Indent {
    /// What stands behind them. `start` begins with what was given before.
    pub(super) fn behind<'a>(&mut self, start: &'a [u8]) -> &'a [u8] {
        if self.len == 0 && start.starts_with(BOM) {
            self.len = BOM.len();
        }
        let fresh = start.get(self.len..).unwrap_or_default();
        let text = fresh.trim_ascii_start();
        self.len += fresh.len() - text.len();
        work::looked_at(1 + fresh.len() - text.len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell() {
        for (start, kind) in [
            (&b"{"[..], Some(Kind::Json)),
            (b" \n[", Some(Kind::Json)),
            (b"\xef\xbb\xbf {", Some(Kind::Json)),
            (b"data:", Some(Kind::Events)),
            (b"\n\nevent: x", Some(Kind::Events)),
            (b": ping", Some(Kind::Events)),
            (b"\xef\xbb\xbfid:", Some(Kind::Events)),
            (include_bytes!("../../tests/fixtures/wire/img/px2.png"), Some(Kind::Picture)),
            (b"", None),
            (b"dat", None),
            (b"\x89PNG", None),
            (b"<html><body>", Some(Kind::Other)),
            (b"ID3\x04\0\0\0\0\0\0\0\0", Some(Kind::Other)),
            (b"dates and more", Some(Kind::Other)),
        ] {
            assert_eq!(First::default().told(start), kind, "{start:?}");
            let mut first = First::default();
            let told = (0..=start.len()).map(|end| first.told(&start[..end]));
            assert_eq!(told.last(), Some(kind), "{start:?} byte by byte");
        }
    }

    /// Regression 10.3: all that had come was looked at again with each piece.
    #[test]
    fn bodies_that_say_nothing_for_long_are_looked_at_once() {
        for (before, unit) in [("", " "), ("\n", "\r\n"), ("\u{feff}", "\t")] {
            let body = before.to_owned() + &unit.repeat(60_000 / unit.len());
            said_nothing(body.as_bytes());
        }
        said_nothing(&[0xff, 0xd8].iter().chain(&[0xff; 60_000]).copied().collect::<Vec<_>>());
    }

    fn said_nothing(body: &[u8]) {
        let ((), work) = work::counted(|| {
            let mut first = First::default();
            (1..=body.len()).for_each(|end| assert_eq!(first.told(&body[..end]), None));
        });
        assert!(work > 0 && work < 20 * body.len() as u64, "{work} bytes looked at");
    }
}

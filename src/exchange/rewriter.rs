//! The rewriter that fits an answer.

use bytes::Bytes;

use super::kind::without_white_space;
use crate::rewrite::{
    Event,
    answer::{AnswerRewriter, Rules},
    raw::RawRewriter,
    stream::StreamRewriter,
};

/// White space before an answer that is labelled as events, at most; what goes on after it is a stream.
const LONGEST_SPACE: usize = 64 * 1024;

/// The rewriter of an answer's kind.
pub(super) enum Rewriter {
    Json(Box<AnswerRewriter>),
    Events(Box<StreamRewriter>),
    Raw(RawRewriter),
    /// Labelled as events; some servers leave that label on an answer in JSON. What has come of it.
    Labelled(Rules, Vec<u8>),
    /// Such an answer: one event of the stream that was asked for, and may have begun with comments.
    OneEvent(Box<AnswerRewriter>),
}

impl Rewriter {
    pub(super) fn json(rules: Rules) -> Self {
        Self::Json(Box::new(AnswerRewriter::new(rules)))
    }

    pub(super) fn events(rules: Rules) -> Self {
        Self::Events(Box::new(StreamRewriter::new(rules)))
    }

    pub(super) fn push(&mut self, piece: &[u8]) -> Vec<Event> {
        match self {
            Rewriter::Json(rewriter) => rewriter.push(piece),
            Rewriter::Events(rewriter) => rewriter.push(piece),
            Rewriter::Raw(rewriter) => rewriter.push(piece),
            Rewriter::OneEvent(rewriter) => in_data(rewriter.push(piece)),
            Rewriter::Labelled(rules, start) => {
                let rules = *rules;
                start.extend_from_slice(piece);
                let first = without_white_space(start).first().copied();
                if first.is_none() && start.len() <= LONGEST_SPACE {
                    return Vec::new();
                }
                let start = std::mem::take(start);
                if matches!(first, Some(b'{' | b'[')) {
                    *self = Self::OneEvent(Box::new(AnswerRewriter::new(rules)));
                    let mut events = vec![Event::Copy(Bytes::from_static(b"data: "))];
                    events.extend(self.push(without_white_space(&start)));
                    return events;
                }
                *self = Self::events(rules);
                self.push(&start)
            }
        }
    }

    pub(super) fn finish(&mut self) -> Vec<Event> {
        match self {
            Rewriter::Json(rewriter) => rewriter.finish(),
            Rewriter::Events(rewriter) => rewriter.finish(),
            Rewriter::Raw(rewriter) => rewriter.finish(),
            Rewriter::OneEvent(rewriter) => {
                let mut events = in_data(rewriter.finish());
                events.push(Event::Copy(Bytes::from_static(b"\n\n")));
                events
            }
            Rewriter::Labelled(_, start) => vec![Event::Copy(std::mem::take(start).into())],
        }
    }

    /// How many pictures stay in the answer because it has too many.
    pub(super) fn left_out(&self) -> u64 {
        match self {
            Rewriter::Json(rewriter) => rewriter.left_out(),
            Rewriter::Events(rewriter) => rewriter.left_out(),
            Rewriter::OneEvent(rewriter) => rewriter.left_out(),
            Rewriter::Raw(_) | Rewriter::Labelled(..) => 0,
        }
    }

    /// Whether it is a stream of events, as far as is known.
    pub(super) fn is_events(&self) -> bool {
        matches!(self, Rewriter::Events(_) | Rewriter::Labelled(..) | Rewriter::OneEvent(_))
    }

    /// Whether what has come out so far may be sent without waiting for more.
    pub(super) fn is_between_events(&self) -> bool {
        match self {
            Rewriter::Json(_) | Rewriter::Raw(_) | Rewriter::Labelled(..) => true,
            Rewriter::Events(rewriter) => rewriter.is_between_events(),
            Rewriter::OneEvent(_) => false,
        }
    }

    /// Whether it is JSON that is not complete. To be asked before it is ended.
    pub(super) fn is_incomplete(&self) -> bool {
        matches!(self, Rewriter::Json(rewriter) | Rewriter::OneEvent(rewriter) if rewriter.is_incomplete())
    }
}

/// Each line of the text is a line of the event's data.
fn in_data(mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        if let Event::Copy(bytes) = event
            && memchr::memchr2(b'\n', b'\r', bytes).is_some()
        {
            let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
            // A line end is white space, wherever it may stand.
            *bytes = lines.join(&b"\ndata: "[..]).into_iter().filter(|byte| *byte != b'\r').collect();
        }
    }
    events
}

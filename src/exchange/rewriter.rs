//! The rewriter that fits an answer.

use bytes::Bytes;

use super::kind::Indent;
use crate::{
    rewrite::{
        Event,
        answer::{AnswerRewriter, Rules},
        raw::RawRewriter,
        stream::StreamRewriter,
    },
    work,
};

/// White space before an answer that is labelled as events, at most; what goes on after it is a stream.
const LONGEST_SPACE: usize = 64 * 1024;

/// The rewriter of an answer's kind.
pub(super) enum Rewriter {
    Json(Box<AnswerRewriter>),
    Events(Box<StreamRewriter>),
    Raw(RawRewriter),
    /// Labelled as events; some servers leave that label on an answer in JSON. What has come of it is white space.
    Labelled {
        rules: Rules,
        start: Vec<u8>,
        indent: Indent,
    },
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

    /// For an answer that is labelled as events.
    pub(super) fn labelled(rules: Rules) -> Self {
        Self::Labelled { rules, start: Vec::new(), indent: Indent::default() }
    }

    pub(super) fn push(&mut self, piece: &[u8]) -> Vec<Event> {
        match self {
            Rewriter::Json(rewriter) => rewriter.push(piece),
            Rewriter::Events(rewriter) => rewriter.push(piece),
            Rewriter::Raw(rewriter) => rewriter.push(piece),
            Rewriter::OneEvent(rewriter) => in_data(rewriter.push(piece)),
            Rewriter::Labelled { rules, start, indent } => {
                let rules = *rules;
                work::looked_at(piece.len());
                start.extend_from_slice(piece);
                let text = indent.behind(start);
                let (first, text) = (text.first().copied(), start.len() - text.len());
                if first.is_none() && start.len() <= LONGEST_SPACE {
                    return Vec::new();
                }
                let start = std::mem::take(start);
                if matches!(first, Some(b'{' | b'[')) {
                    *self = Self::OneEvent(Box::new(AnswerRewriter::new(rules)));
                    let mut events = vec![Event::Copy(Bytes::from_static(b"data: "))];
                    events.extend(self.push(start.get(text..).unwrap_or_default()));
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
            Rewriter::Labelled { start, .. } => vec![Event::Copy(std::mem::take(start).into())],
        }
    }

    /// How many pictures stay in the answer because it has too many.
    pub(super) fn left_out(&self) -> u64 {
        match self {
            Rewriter::Json(rewriter) => rewriter.left_out(),
            Rewriter::Events(rewriter) => rewriter.left_out(),
            Rewriter::OneEvent(rewriter) => rewriter.left_out(),
            Rewriter::Raw(_) | Rewriter::Labelled { .. } => 0,
        }
    }

    /// Whether it is a stream of events, as far as is known.
    pub(super) fn is_events(&self) -> bool {
        matches!(self, Rewriter::Events(_) | Rewriter::Labelled { .. } | Rewriter::OneEvent(_))
    }

    /// Whether what has come out so far may be sent without waiting for more.
    pub(super) fn is_between_events(&self) -> bool {
        match self {
            Rewriter::Json(_) | Rewriter::Raw(_) | Rewriter::Labelled { .. } => true,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::{answer::Form, shape::Shape};

    /// Regression 10.3: all white space that had come was looked at again with each piece.
    #[test]
    fn white_space_before_an_answer_is_looked_at_once() {
        for behind in [&b"{}"[..], b"data: {}\n\n"] {
            let body = [&[b' '; 60_000][..], behind].concat();
            let (out, work) = work::counted(|| {
                let mut rewriter = Rewriter::labelled(Rules::new(Shape::Chat, Form::Url));
                let mut events: Vec<Event> = body.chunks(1).flat_map(|piece| rewriter.push(piece)).collect();
                events.extend(rewriter.finish());
                events
            });
            let len: usize = out.iter().map(|event| if let Event::Copy(bytes) = event { bytes.len() } else { 0 }).sum();
            assert!(len >= behind.len());
            assert!(work > 0 && work < 20 * body.len() as u64, "{work} bytes looked at");
        }
    }
}

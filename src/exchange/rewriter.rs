//! The rewriter that fits an answer.

use super::kind::without_white_space;
use crate::rewrite::{
    Event,
    answer::{AnswerRewriter, Rules},
    raw::RawRewriter,
    stream::StreamRewriter,
};

/// White space before an answer that is labelled as events, at most; what goes on after it is a stream.
const LONGEST_SPACE: usize = 1024;

/// The rewriter of an answer's kind.
#[derive(Debug)]
pub(super) enum Rewriter {
    Json(Box<AnswerRewriter>),
    Events(Box<StreamRewriter>),
    Raw(RawRewriter),
    /// Labelled as events; some servers leave that label on an answer in JSON. What has come of it.
    Labelled(Rules, Vec<u8>),
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
            Rewriter::Labelled(rules, start) => {
                let rules = *rules;
                start.extend_from_slice(piece);
                let first = without_white_space(start).first().copied();
                if first.is_none() && start.len() <= LONGEST_SPACE {
                    return Vec::new();
                }
                let start = std::mem::take(start);
                let is_json = matches!(first, Some(b'{' | b'['));
                *self = if is_json { Self::json(rules) } else { Self::events(rules) };
                self.push(&start)
            }
        }
    }

    pub(super) fn finish(&mut self) -> Vec<Event> {
        match self {
            Rewriter::Json(rewriter) => rewriter.finish(),
            Rewriter::Events(rewriter) => rewriter.finish(),
            Rewriter::Raw(rewriter) => rewriter.finish(),
            Rewriter::Labelled(_, start) => vec![Event::Copy(std::mem::take(start).into())],
        }
    }

    /// How many pictures stay in the answer because it has too many.
    pub(super) fn left_out(&self) -> u64 {
        match self {
            Rewriter::Json(rewriter) => rewriter.left_out(),
            Rewriter::Events(rewriter) => rewriter.left_out(),
            Rewriter::Raw(_) | Rewriter::Labelled(..) => 0,
        }
    }

    /// Whether it is a stream of events, as far as is known.
    pub(super) fn is_events(&self) -> bool {
        matches!(self, Rewriter::Events(_) | Rewriter::Labelled(..))
    }

    /// Whether what has come out so far may be sent without waiting for more.
    pub(super) fn is_between_events(&self) -> bool {
        match self {
            Rewriter::Json(_) | Rewriter::Raw(_) | Rewriter::Labelled(..) => true,
            Rewriter::Events(rewriter) => rewriter.is_between_events(),
        }
    }

    /// Whether it is JSON that is not complete. To be asked before it is ended.
    pub(super) fn is_incomplete(&self) -> bool {
        matches!(self, Rewriter::Json(rewriter) if rewriter.is_incomplete())
    }
}

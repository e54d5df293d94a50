//! `<think>…</think>`: what a model thought before it answered.

use std::ops::Range;

use super::chars::Char;

const OPEN: &[u8] = b"<think>";
const CLOSE: &[u8] = b"</think>";

/// Finds thoughts.
#[derive(Debug, Default)]
pub(super) struct Thoughts {
    state: State,
    /// Characters of the tag that is waited for.
    matched: usize,
    /// Where the thought at hand begins.
    start: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Outside,
    Inside,
    /// Behind one: line breaks, up to `end`, belong to it.
    Behind {
        end: u64,
    },
}

impl Thoughts {
    /// Whether only `<` changes anything.
    pub(super) fn is_idle(&self) -> bool {
        self.matched == 0 && !matches!(self.state, State::Behind { .. })
    }

    /// Takes the next character; answers a thought that ends before it.
    pub(super) fn see(&mut self, char: Char<'_>) -> Option<Range<u64>> {
        let mut ended = None;
        if let State::Behind { end } = self.state {
            match char.ascii {
                b'\n' => self.state = State::Behind { end: char.end() },
                b' ' | b'\t' | b'\r' => {}
                _ => {
                    self.state = State::Outside;
                    ended = Some(self.start..end);
                }
            }
        }
        match self.state {
            State::Outside => {
                if char.ascii == b'<' {
                    self.start = char.start;
                }
                if self.has_matched(OPEN, char.ascii) {
                    self.state = State::Inside;
                }
            }
            State::Inside => {
                if self.has_matched(CLOSE, char.ascii) {
                    self.state = State::Behind { end: char.end() };
                }
            }
            State::Behind { .. } => {}
        }
        ended
    }

    /// Ends the text. A thought without an end stays.
    pub(super) fn finish(&self) -> Option<Range<u64>> {
        match self.state {
            State::Behind { end } => Some(self.start..end),
            State::Outside | State::Inside => None,
        }
    }

    /// Whether this character completes the tag. No tag has a second `<`, so a mismatch begins anew.
    fn has_matched(&mut self, tag: &[u8], c: u8) -> bool {
        self.matched = match tag.get(self.matched) {
            Some(expected) if *expected == c.to_ascii_lowercase() => self.matched + 1,
            _ => usize::from(c == b'<'),
        };
        let complete = self.matched == tag.len();
        if complete {
            self.matched = 0;
        }
        complete
    }
}

//! The framing of `text/event-stream` (WHATWG HTML, section 9.2).
//!
//! Lines end with LF, CR or CRLF; a blank line ends an event; `data` lines are joined by LF. Here nothing is joined or
//! parsed away: every byte is in exactly one [`Line`], so that what is not changed leaves as it came. One byte-order mark
//! at the very start is dropped, because the SDKs' parsers would take it for a part of the first field's name.

use memchr::memchr2;

use crate::work;

/// Longest field name that is looked for.
const LONGEST_NAME: usize = 16;

/// A piece of a stream, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// `data:` with the one space that may follow it.
    DataStart(&'a [u8]),
    /// Some of a data line's value.
    Data(&'a [u8]),
    /// Some of a line that is no data: another field, a comment.
    Other(&'a [u8]),
    /// The end of a line that was not empty.
    End(&'a [u8]),
    /// The end of an empty line: the event ends.
    Blank(&'a [u8]),
    /// The LF of a line end whose CR came in an earlier piece.
    Rest(&'a [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing of the line has been told; it may begin a field's name.
    Start,
    /// `data:` has been told; one space may follow.
    Space,
    Data,
    Other,
}

/// Splits a stream into [`Line`]s.
#[derive(Debug)]
pub(super) struct Framer {
    state: State,
    /// The start of a line that may become `data:`.
    name: Vec<u8>,
    /// The last byte was a CR that ended a line: an LF belongs to it.
    after_cr: bool,
}

impl Default for Framer {
    fn default() -> Self {
        Self { state: State::Start, name: Vec::with_capacity(LONGEST_NAME), after_cr: false }
    }
}

impl Framer {
    /// Whether the next byte begins a line.
    pub(super) fn is_between_lines(&self) -> bool {
        self.state == State::Start && self.name.is_empty() && !self.after_cr
    }

    /// Splits the next piece.
    pub(super) fn push(&mut self, piece: &[u8], mut tell: impl FnMut(Line<'_>)) {
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                tell(Line::Rest(b"\n"));
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            work::looked_at(2 + end);
            let (text, behind) = rest.split_at(end);
            self.text(text, &mut tell);
            rest = self.line_end(behind, &mut tell);
        }
    }

    /// Ends the stream: what is left of an unfinished line.
    pub(super) fn finish(&mut self, mut tell: impl FnMut(Line<'_>)) {
        let name = std::mem::take(&mut self.name);
        if !name.is_empty() {
            tell(Line::Other(&name));
        }
        self.state = State::Start;
    }

    /// Text of a line, without its end.
    fn text(&mut self, text: &[u8], tell: &mut impl FnMut(Line<'_>)) {
        if text.is_empty() {
            return;
        }
        match self.state {
            State::Start => {
                const FIELD: &[u8] = b"data:";
                let known = self.name.len();
                let wanted = text.get(..FIELD.len() - known).unwrap_or(text);
                self.name.extend_from_slice(wanted);
                let rest = text.get(wanted.len()..).unwrap_or_default();
                if self.name == FIELD {
                    self.state = State::Space;
                    self.text(rest, tell);
                } else if !FIELD.starts_with(&self.name) {
                    self.state = State::Other;
                    tell(Line::Other(&std::mem::take(&mut self.name)));
                    self.text(rest, tell);
                }
            }
            State::Space => {
                let spaces = usize::from(text.first() == Some(&b' '));
                let (space, value) = text.split_at(spaces);
                self.name.extend_from_slice(space);
                self.begin_data(tell);
                self.text(value, tell);
            }
            State::Data => tell(Line::Data(text)),
            State::Other => tell(Line::Other(text)),
        }
    }

    fn begin_data(&mut self, tell: &mut impl FnMut(Line<'_>)) {
        tell(Line::DataStart(&self.name));
        self.name.clear();
        self.state = State::Data;
    }

    /// Takes one line end off the start of `rest`.
    fn line_end<'a>(&mut self, rest: &'a [u8], tell: &mut impl FnMut(Line<'_>)) -> &'a [u8] {
        let (end, behind) = match rest {
            [b'\r', b'\n', ..] => rest.split_at(2),
            [_, ..] => rest.split_at(1),
            [] => return rest,
        };
        self.after_cr = end == b"\r";
        let blank = self.state == State::Start && self.name.is_empty();
        match self.state {
            State::Space => self.begin_data(tell),
            State::Start if !blank => tell(Line::Other(&std::mem::take(&mut self.name))),
            _ => {}
        }
        self.state = State::Start;
        tell(if blank { Line::Blank(end) } else { Line::End(end) });
        behind
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lines told, with neighbouring pieces joined, each with a letter for what it is.
    fn lines(pieces: &[&[u8]]) -> Vec<(char, String)> {
        let mut framer = Framer::default();
        let mut out: Vec<(char, String)> = Vec::new();
        let mut tell = |line: Line<'_>| {
            let (letter, text) = match line {
                Line::DataStart(text) => ('D', text),
                Line::Data(text) => ('d', text),
                Line::Other(text) | Line::Rest(text) => ('o', text),
                Line::End(text) => ('e', text),
                Line::Blank(text) => ('B', text),
            };
            let text = String::from_utf8_lossy(text).into_owned();
            match out.last_mut() {
                _ if text.is_empty() => {}
                Some((last, known)) if *last == letter && "do".contains(letter) => known.push_str(&text),
                _ => out.push((letter, text)),
            }
        };
        for piece in pieces {
            framer.push(piece, &mut tell);
        }
        framer.finish(&mut tell);
        out
    }

    #[test]
    fn lines_are_told_for_what_they_are() {
        let told = lines(&[b"event: a\r\ndata: {x}\r\ndata:{y}\n\n: c\rdata\rdatax: 1\r\rdata:\n\n"]);
        let told: Vec<(char, &str)> = told.iter().map(|(letter, text)| (*letter, text.as_str())).collect();
        assert_eq!(
            told,
            [
                ('o', "event: a"),
                ('e', "\r\n"),
                ('D', "data: "),
                ('d', "{x}"),
                ('e', "\r\n"),
                ('D', "data:"),
                ('d', "{y}"),
                ('e', "\n"),
                ('B', "\n"),
                ('o', ": c"),
                ('e', "\r"),
                ('o', "data"),
                ('e', "\r"),
                ('o', "datax: 1"),
                ('e', "\r"),
                ('B', "\r"),
                ('D', "data:"),
                ('e', "\n"),
                ('B', "\n"),
            ]
        );
    }

    proptest! {
        #[test]
        fn any_cut_tells_the_same_bytes_and_the_same_data(
            text in "(data: ?|event: |: |a|é|\\{|\n|\r|\r\n|\n\n){0,20}",
            size in 1usize..6,
        ) {
            let joined = |lines: Vec<(char, String)>, only: &str| -> String {
                lines.into_iter().filter(|(letter, _)| only.contains(*letter)).map(|(_, text)| text).collect()
            };
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            prop_assume!(pieces.iter().all(|piece| std::str::from_utf8(piece).is_ok()));
            let (cut, whole) = (lines(&pieces), lines(&[text.as_bytes()]));
            prop_assert_eq!(joined(cut.clone(), "DdoeB"), text.clone());
            prop_assert_eq!(joined(cut, "d"), joined(whole, "d"));
        }
    }
}

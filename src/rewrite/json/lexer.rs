//! An incremental tokeniser.

use memchr::memchr2;

use crate::work;

/// What a piece of the input is.
///
/// Every byte of a valid document is in exactly one token, in order: `Begin`, `End`, `Comma`, `Colon` and the starts and
/// ends of strings stand for their one byte. Long strings come in several parts, as the input is cut; an escape sequence
/// is never cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    Space(&'a [u8]),
    Begin(Container),
    End(Container),
    Comma,
    Colon,
    KeyStart,
    KeyPart(&'a [u8]),
    KeyEnd,
    StringStart,
    StringPart(&'a [u8]),
    StringEnd,
    /// A whole number, `true`, `false` or `null`.
    Scalar(&'a [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    Object,
    Array,
}

/// The input is not JSON, or nested too deeply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct Invalid {
    /// Offset in the whole input.
    pub at: u64,
    pub what: &'static str,
    /// Bytes of the piece given last that had been taken before.
    pub consumed: usize,
}

/// Longest number or word; real numbers end long before.
const LONGEST_SCALAR: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Value,
    ValueOrEnd,
    KeyOrEnd,
    Key,
    Colon,
    AfterValue,
    Text { key: bool },
    Scalar,
    Done,
}

/// Splits JSON text into [`Token`]s.
#[derive(Debug)]
pub struct Lexer {
    state: State,
    stack: Vec<Container>,
    max_depth: usize,
    /// Offset of the piece being read, in the whole input.
    offset: u64,
    /// An escape sequence, or a scalar, that the last piece cut.
    carry: Vec<u8>,
}

impl Lexer {
    /// `max_depth`: how many arrays and objects may be open at once.
    pub fn new(max_depth: usize) -> Self {
        Self { state: State::Value, stack: Vec::new(), max_depth, offset: 0, carry: Vec::new() }
    }

    /// Reads the next piece, telling `visit` each token and the offset of its first byte in the whole input.
    ///
    /// # Errors
    /// At the first byte that cannot stand where it stands. Tokens before it have been told; an unfinished escape or
    /// scalar has not ([`unread`](Self::unread)).
    pub fn push(&mut self, piece: &[u8], mut visit: impl FnMut(Token<'_>, u64)) -> Result<(), Invalid> {
        let mut at = 0;
        while let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty()) {
            let offset = self.offset + at as u64;
            let taken = match self.state {
                State::Text { key } => self.text(rest, key, offset, &mut visit),
                State::Scalar => self.scalar(rest, offset, &mut visit),
                _ => self.structure(rest, offset, &mut visit),
            };
            match taken {
                Ok(taken) => at += taken,
                Err(what) => return Err(Invalid { at: offset, what, consumed: at }),
            }
        }
        self.offset += piece.len() as u64;
        Ok(())
    }

    /// Ends the input.
    ///
    /// # Errors
    /// When the document is not complete.
    pub fn finish(&mut self, mut visit: impl FnMut(Token<'_>, u64)) -> Result<(), Invalid> {
        if self.state == State::Scalar && self.stack.is_empty() {
            self.end_scalar(self.offset, &mut visit).map_err(|what| Invalid { at: self.offset, what, consumed: 0 })?;
        }
        match self.state {
            State::Done => Ok(()),
            _ => Err(Invalid { at: self.offset, what: "unexpected end", consumed: 0 }),
        }
    }

    /// Starts again, for another document.
    pub fn clear(&mut self) {
        self.state = State::Value;
        self.stack.clear();
        self.offset = 0;
        self.carry.clear();
    }

    /// White space stands here that is told elsewhere: it ends a scalar. `false`: it may not, inside a string.
    ///
    /// # Errors
    /// When the scalar is none.
    pub fn white_space(&mut self, mut visit: impl FnMut(Token<'_>, u64)) -> Result<bool, Invalid> {
        if self.state == State::Scalar {
            self.end_scalar(self.offset, &mut visit).map_err(|what| Invalid { at: self.offset, what, consumed: 0 })?;
        }
        Ok(!matches!(self.state, State::Text { .. }))
    }

    /// Bytes taken in but not told yet: the start of an escape or of a scalar.
    pub fn unread(&self) -> &[u8] {
        &self.carry
    }

    /// How many arrays and objects are open.
    pub fn depth(&self) -> usize {
        self.stack.len()
    }

    fn structure(
        &mut self,
        rest: &[u8],
        offset: u64,
        visit: &mut impl FnMut(Token<'_>, u64),
    ) -> Result<usize, &'static str> {
        let space = rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
        work::looked_at(1 + space);
        if let Some(space) = rest.get(..space).filter(|space| !space.is_empty()) {
            visit(Token::Space(space), offset);
            return Ok(space.len());
        }
        let Some(&byte) = rest.first() else { return Ok(0) };
        match (self.state, byte) {
            (State::Value | State::ValueOrEnd, b'{') => self.begin(Container::Object, offset, visit)?,
            (State::Value | State::ValueOrEnd, b'[') => self.begin(Container::Array, offset, visit)?,
            (State::Value | State::ValueOrEnd, b'"') => {
                self.state = State::Text { key: false };
                visit(Token::StringStart, offset);
            }
            (State::Value | State::ValueOrEnd, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                self.state = State::Scalar;
                return Ok(0);
            }
            (State::ValueOrEnd, b']') | (State::AfterValue, b']') => self.end(Container::Array, offset, visit)?,
            (State::KeyOrEnd, b'}') | (State::AfterValue, b'}') => self.end(Container::Object, offset, visit)?,
            (State::KeyOrEnd | State::Key, b'"') => {
                self.state = State::Text { key: true };
                visit(Token::KeyStart, offset);
            }
            (State::Colon, b':') => {
                self.state = State::Value;
                visit(Token::Colon, offset);
            }
            (State::AfterValue, b',') => {
                self.state = match self.stack.last() {
                    Some(Container::Object) => State::Key,
                    _ => State::Value,
                };
                visit(Token::Comma, offset);
            }
            (State::Done, _) => return Err("text behind the end of the document"),
            _ => return Err("unexpected character"),
        }
        Ok(1)
    }

    fn begin(
        &mut self,
        container: Container,
        offset: u64,
        visit: &mut impl FnMut(Token<'_>, u64),
    ) -> Result<(), &'static str> {
        if self.stack.len() >= self.max_depth {
            return Err("nested too deeply");
        }
        self.stack.push(container);
        self.state = match container {
            Container::Object => State::KeyOrEnd,
            Container::Array => State::ValueOrEnd,
        };
        visit(Token::Begin(container), offset);
        Ok(())
    }

    fn end(
        &mut self,
        container: Container,
        offset: u64,
        visit: &mut impl FnMut(Token<'_>, u64),
    ) -> Result<(), &'static str> {
        if self.stack.pop() != Some(container) {
            return Err("mismatched bracket");
        }
        self.after_value();
        visit(Token::End(container), offset);
        Ok(())
    }

    fn after_value(&mut self) {
        self.state = if self.stack.is_empty() { State::Done } else { State::AfterValue };
    }

    /// Inside a string: a part up to its end, or to the end of the piece.
    fn text(
        &mut self,
        rest: &[u8],
        key: bool,
        offset: u64,
        visit: &mut impl FnMut(Token<'_>, u64),
    ) -> Result<usize, &'static str> {
        fn told(key: bool, bytes: &[u8]) -> Token<'_> {
            if key { Token::KeyPart(bytes) } else { Token::StringPart(bytes) }
        }
        if !self.carry.is_empty() {
            return self.carried_escape(rest, offset, |bytes, at| visit(told(key, bytes), at));
        }
        let mut end = 0;
        loop {
            let tail = rest.get(end..).unwrap_or_default();
            let run = memchr2(b'"', b'\\', tail).unwrap_or(tail.len());
            work::looked_at(1 + 2 * run);
            // The smallest byte, not the first small one: this loop has no exit, so it is vectorised.
            if tail.get(..run).unwrap_or_default().iter().fold(u8::MAX, |least, b| least.min(*b)) < 0x20 {
                return Err("control character in a string");
            }
            end += run;
            match rest.get(end) {
                Some(b'\\') => match escape_len(rest.get(end..).unwrap_or_default())? {
                    Some(len) => end += len,
                    None => {
                        let (whole, cut) = rest.split_at(end);
                        if !whole.is_empty() {
                            visit(told(key, whole), offset);
                        }
                        self.carry.extend_from_slice(cut);
                        return Ok(rest.len());
                    }
                },
                quote => {
                    if let Some(whole) = rest.get(..end).filter(|whole| !whole.is_empty()) {
                        visit(told(key, whole), offset);
                    }
                    if quote.is_none() {
                        return Ok(end);
                    }
                    if key {
                        self.state = State::Colon;
                        visit(Token::KeyEnd, offset + end as u64);
                    } else {
                        self.after_value();
                        visit(Token::StringEnd, offset + end as u64);
                    }
                    return Ok(end + 1);
                }
            }
        }
    }

    /// Completes an escape sequence whose start came with an earlier piece.
    fn carried_escape(
        &mut self,
        rest: &[u8],
        offset: u64,
        mut part: impl FnMut(&[u8], u64),
    ) -> Result<usize, &'static str> {
        let known = self.carry.len();
        for (taken, byte) in rest.iter().enumerate() {
            work::looked_at(1 + self.carry.len());
            self.carry.push(*byte);
            // What this piece added stays the caller's when the escape is invalid.
            if escape_len(&self.carry).inspect_err(|_| self.carry.truncate(known))?.is_some() {
                part(&self.carry, offset - known as u64);
                self.carry.clear();
                return Ok(taken + 1);
            }
        }
        Ok(rest.len())
    }

    fn scalar(
        &mut self,
        rest: &[u8],
        offset: u64,
        visit: &mut impl FnMut(Token<'_>, u64),
    ) -> Result<usize, &'static str> {
        let run = rest.iter().take_while(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.'));
        let run = run.count();
        work::looked_at(1 + 2 * run);
        if self.carry.len() + run > LONGEST_SCALAR {
            return Err("number too long");
        }
        self.carry.extend_from_slice(rest.get(..run).unwrap_or_default());
        if run < rest.len() {
            let start = offset + run as u64 - self.carry.len() as u64;
            self.end_scalar_at(start, visit).inspect_err(|_| {
                // What this piece added is still the caller's.
                let earlier = self.carry.len() - run;
                self.carry.truncate(earlier);
            })?;
        }
        Ok(run)
    }

    fn end_scalar(&mut self, offset: u64, visit: &mut impl FnMut(Token<'_>, u64)) -> Result<(), &'static str> {
        self.end_scalar_at(offset - self.carry.len() as u64, visit)
    }

    fn end_scalar_at(&mut self, start: u64, visit: &mut impl FnMut(Token<'_>, u64)) -> Result<(), &'static str> {
        work::looked_at(2 * self.carry.len());
        if !is_scalar(&self.carry) {
            return Err("neither a number nor true, false or null");
        }
        visit(Token::Scalar(&self.carry), start);
        self.carry.clear();
        self.after_value();
        Ok(())
    }
}

/// Length of the escape sequence at the start of `text` (which begins with a backslash); `None` when it is cut.
fn escape_len(text: &[u8]) -> Result<Option<usize>, &'static str> {
    const INVALID: &str = "invalid escape in a string";
    match text.get(1) {
        None => Ok(None),
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(Some(2)),
        Some(b'u') => {
            let digits = text.iter().skip(2).take(4);
            if !digits.clone().all(u8::is_ascii_hexdigit) {
                return Err(INVALID);
            }
            Ok((digits.count() == 4).then_some(6))
        }
        Some(_) => Err(INVALID),
    }
}

/// RFC 8259, sections 3 and 6.
fn is_scalar(text: &[u8]) -> bool {
    matches!(text, b"true" | b"false" | b"null") || is_number(text)
}

fn is_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, text) = digits(text);
    let Some(first) = whole.first() else { return false };
    if *first == b'0' && whole.len() > 1 {
        return false;
    }
    let text = match text.strip_prefix(b".") {
        Some(text) => match digits(text) {
            (fraction, text) if !fraction.is_empty() => text,
            _ => return false,
        },
        None => text,
    };
    match text {
        [] => true,
        [b'e' | b'E', exponent @ ..] => {
            let exponent = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent);
            matches!(digits(exponent), (digits, []) if !digits.is_empty())
        }
        _ => false,
    }
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let count = text.iter().take_while(|b| b.is_ascii_digit()).count();
    text.split_at(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All tokens written back as text, with neighbouring string parts joined.
    fn tokens(pieces: &[&[u8]]) -> Result<Vec<u8>, Invalid> {
        let mut lexer = Lexer::new(128);
        let mut out = Vec::new();
        let mut next = 0;
        let mut visit = |token: Token<'_>, at: u64| {
            let text: &[u8] = match &token {
                Token::Space(text) | Token::KeyPart(text) | Token::StringPart(text) | Token::Scalar(text) => text,
                Token::Begin(Container::Object) => b"{",
                Token::Begin(Container::Array) => b"[",
                Token::End(Container::Object) => b"}",
                Token::End(Container::Array) => b"]",
                Token::Comma => b",",
                Token::Colon => b":",
                Token::KeyStart | Token::KeyEnd | Token::StringStart | Token::StringEnd => b"\"",
            };
            assert_eq!(at, next, "offset of {token:?}");
            next += text.len() as u64;
            out.extend_from_slice(text);
        };
        for piece in pieces {
            lexer.push(piece, &mut visit)?;
        }
        lexer.finish(&mut visit)?;
        Ok(out)
    }

    #[test]
    fn valid_documents_come_back_byte_for_byte_cut_anywhere() {
        for text in [
            r#"{"a":[1,-2.5e+10,true,false,null,"x\u00e9\n\"\\y",{}],"b":{"c":[]}}"#,
            " { \"a\" : 1 ,\n\t\"b\" : [ 1 , 2 ] } \r\n",
            "12",
            "\"\\ud83d\\ude00\"",
            "\"πλαίσιο\"",
            "[]",
            "0",
            "-0.1E-7",
        ] {
            let text = text.as_bytes();
            assert_eq!(tokens(&[text]).unwrap(), text);
            for cut in 0..=text.len() {
                let (a, b) = text.split_at(cut);
                assert_eq!(tokens(&[a, b]).unwrap(), text, "cut at {cut}");
            }
            let single: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(tokens(&single).unwrap(), text);
        }
    }

    #[test]
    fn what_serde_json_refuses_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[",
            "[1,]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "[1 2]",
            "]",
            "}",
            "[}",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "--1",
            "tru",
            "nul",
            "truee",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "\"",
            "1 2",
            "{} {}",
            "[1}",
            "{\"a\":1]",
            "'a'",
            "NaN",
        ] {
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text:?} is valid after all");
            for size in [1, 2, 100] {
                let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
                assert!(tokens(&pieces).is_err(), "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "[".repeat(129) + &"]".repeat(129);
        assert_eq!(tokens(&[deep.as_bytes()]).unwrap_err().what, "nested too deeply");
        assert!(tokens(&[&deep.as_bytes()[1..257]]).is_ok());
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_anything(text in r#"[\[\]{},:" a0-9.eE+\\-]{0,24}"#, size in 1usize..8) {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let valid = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(tokens(&pieces).is_ok(), valid, "{}", text);
        }

        #[test]
        fn never_panics(bytes: Vec<u8>, size in 1usize..8) {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            let _ = tokens(&pieces);
        }
    }
}

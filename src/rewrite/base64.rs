//! Base64 that arrives piece by piece, in every spelling seen in the wild.
//!
//! The standard alphabet without line breaks takes a vectorised path. Everything else (URL-safe alphabet, missing
//! padding, line breaks, percent-encoding as in data URIs) is decoded character by character and marked as
//! not [`plain`](Decoder::is_plain), which means: encoding the bytes again would not give the same text.
//!
//! A mix of both alphabets, stray characters, and text after the padding are refused (RFC 4648, sections 3.3 and 5).

use crate::work;

/// How many characters may be written for one group of three bytes, at most.
const GROUP: usize = 4;

/// What may stand between the characters of the alphabet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerance {
    /// White space, as in MIME bodies (76 columns): a value of its own.
    WhiteSpace,
    /// Percent-encoded characters, as in data URIs inside text, where white space ends the URI.
    Percent,
    /// Both: a data URI that is a value of its own.
    WhiteSpaceAndPercent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alphabet {
    Standard,
    UrlSafe,
}

/// An incremental decoder.
#[derive(Debug)]
pub struct Decoder {
    tolerance: Tolerance,
    /// Characters of an unfinished group, as written (before decoding), and how many.
    group: [u8; GROUP],
    filled: usize,
    /// `=` seen so far.
    padding: usize,
    alphabet: Option<Alphabet>,
    plain: bool,
    /// A percent-encoded character that is not complete: its digits so far.
    percent: Option<Vec<u8>>,
}

/// This character cannot stand where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Index of the character in the piece given last.
    pub at: usize,
}

impl Decoder {
    pub fn new(tolerance: Tolerance) -> Self {
        Self { tolerance, group: [0; GROUP], filled: 0, padding: 0, alphabet: None, plain: true, percent: None }
    }

    /// Whether the text so far is standard, padded base64 without anything between.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Marks the text as not plain, because it was written with escapes this decoder does not see.
    pub fn mark_escaped(&mut self) {
        self.plain = false;
    }

    /// The characters of the group that is not complete yet. Their bytes have not been given out.
    pub fn pending(&self) -> Vec<u8> {
        work::looked_at(1 + self.filled);
        let mut pending = self.group.get(..self.filled).unwrap_or_default().to_vec();
        if self.filled > 0 {
            pending.resize(self.filled + self.padding, b'=');
        }
        pending
    }

    /// The bytes of the group that is not complete yet, were the text to end here.
    pub fn unfinished(&self) -> Vec<u8> {
        work::looked_at(1 + self.filled);
        let mut copy = Self { group: self.group, filled: self.filled, ..Self::new(self.tolerance) };
        let mut bytes = Vec::new();
        copy.decode_group(&mut bytes);
        bytes
    }

    /// Decodes `text` behind what came before and appends the bytes to `out`.
    ///
    /// # Errors
    /// At the first character that cannot be part of it; what stands before that has been taken.
    pub fn push(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
        let mut at = 0;
        while self.filled != 0 && at < text.len() {
            self.take(text, at, out)?;
            at += 1;
        }
        if self.padding == 0 && self.percent.is_none() && self.alphabet != Some(Alphabet::UrlSafe) {
            at += self.bulk(text.get(at..).unwrap_or_default(), out);
        }
        for at in at..text.len() {
            self.take(text, at, out)?;
        }
        Ok(())
    }

    /// Ends the text.
    ///
    /// # Errors
    /// When it stops where base64 cannot: one character of a group, or padding that is not complete.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Invalid> {
        const END: Invalid = Invalid { at: 0 };
        if self.percent.is_some() || (self.padding > 0 && self.filled != 0) {
            return Err(END);
        }
        match self.filled {
            0 => Ok(()),
            1 => Err(END),
            _ => {
                self.plain = false;
                self.decode_group(out);
                Ok(())
            }
        }
    }

    /// Decodes as many whole groups as stand at the start of `text` in standard base64; returns their length.
    fn bulk(&mut self, text: &[u8], out: &mut Vec<u8>) -> usize {
        let whole = text.len() / GROUP * GROUP;
        let Some(text) = text.get(..whole).filter(|text| !text.is_empty()) else { return 0 };
        // The last group may be padded; only a group without padding may be followed by another.
        work::looked_at(whole);
        // It would make just enough room: with many short texts that is a copy of all bytes for each of them.
        out.reserve(whole / GROUP * 3);
        if base64_simd::STANDARD.decode_append(text, out).is_err() {
            return 0;
        }
        work::looked_at(if self.alphabet.is_none() { whole } else { 0 });
        if self.alphabet.is_none() && memchr::memchr2(b'+', b'/', text).is_some() {
            self.alphabet = Some(Alphabet::Standard);
        }
        self.padding = text.iter().rev().take_while(|c| **c == b'=').count();
        whole
    }

    fn take(&mut self, text: &[u8], at: usize, out: &mut Vec<u8>) -> Result<(), Invalid> {
        let Some(&character) = text.get(at) else { return Ok(()) };
        work::looked_at(1);
        self.character(character, out).map_err(|()| Invalid { at })
    }

    fn character(&mut self, character: u8, out: &mut Vec<u8>) -> Result<(), ()> {
        if let Some(mut digits) = self.percent.take() {
            digits.push(character);
            if digits.len() < 2 {
                self.percent = Some(digits);
                return Ok(());
            }
            let hex = std::str::from_utf8(&digits).ok().filter(|_| digits.iter().all(u8::is_ascii_hexdigit));
            let taken = match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(b'%') | None => Err(()),
                Some(decoded) => self.literal(decoded, true, out),
            };
            // Its first characters have been taken: what ends here is not whole.
            return taken.inspect_err(|()| self.percent = Some(digits));
        }
        match (character, self.tolerance) {
            (b'%', Tolerance::Percent | Tolerance::WhiteSpaceAndPercent) => {
                self.plain = false;
                self.percent = Some(Vec::with_capacity(2));
                Ok(())
            }
            _ => {
                let white_space = self.tolerance != Tolerance::Percent;
                self.literal(character, white_space, out)
            }
        }
    }

    fn literal(&mut self, character: u8, white_space: bool, out: &mut Vec<u8>) -> Result<(), ()> {
        match character {
            b' ' | b'\t' | b'\r' | b'\n' if white_space => {
                self.plain = false;
                return Ok(());
            }
            b'=' => {
                if self.filled < 2 {
                    return Err(());
                }
                self.padding += 1;
                if self.filled + self.padding == GROUP {
                    self.decode_group(out);
                }
                return Ok(());
            }
            _ if self.padding > 0 => return Err(()),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => {}
            b'+' | b'/' => self.settle(Alphabet::Standard)?,
            b'-' | b'_' => {
                self.settle(Alphabet::UrlSafe)?;
                self.plain = false;
            }
            _ => return Err(()),
        }
        if let Some(place) = self.group.get_mut(self.filled) {
            *place = character;
            self.filled += 1;
        }
        if self.filled == GROUP {
            self.decode_group(out);
        }
        Ok(())
    }

    fn settle(&mut self, alphabet: Alphabet) -> Result<(), ()> {
        if *self.alphabet.get_or_insert(alphabet) == alphabet { Ok(()) } else { Err(()) }
    }

    /// Turns the two to four characters of the group into one to three bytes.
    fn decode_group(&mut self, out: &mut Vec<u8>) {
        let bits = self.group.iter().take(self.filled).fold(0u32, |bits, c| bits << 6 | u32::from(value(*c)));
        let bits = bits << (6 * (GROUP - self.filled));
        let [_, bytes @ ..] = bits.to_be_bytes();
        let count = self.filled.saturating_sub(1);
        let unused = bytes.get(count..).unwrap_or_default().iter().any(|b| *b != 0);
        if unused {
            self.plain = false; // non-zero bits behind the last byte: encoding again would clear them
        }
        out.extend_from_slice(bytes.get(..count).unwrap_or_default());
        self.filled = 0;
    }
}

/// The six bits a character of either alphabet stands for.
fn value(character: u8) -> u8 {
    match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' | b'-' => 62,
        _ => 63,
    }
}

/// Characters of standard, padded base64 for this many bytes.
pub const fn encoded_len(bytes: u64) -> u64 {
    bytes.div_ceil(3) * GROUP as u64
}

/// Encodes bytes that arrive piece by piece as standard, padded base64.
#[derive(Debug, Default)]
pub struct Encoder {
    /// The one or two bytes that do not fill a group yet.
    rest: Vec<u8>,
}

impl Encoder {
    /// The characters for `bytes` behind what came before, as far as groups are complete.
    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity((self.rest.len() + bytes.len()) / 3 * GROUP);
        if !self.rest.is_empty() {
            let missing = (3 - self.rest.len()).min(bytes.len());
            let (head, tail) = bytes.split_at(missing);
            self.rest.extend_from_slice(head);
            bytes = tail;
            if self.rest.len() < 3 {
                return out;
            }
            append(&self.rest, &mut out);
            self.rest.clear();
        }
        let (whole, rest) = bytes.split_at(bytes.len() / 3 * 3);
        append(whole, &mut out);
        self.rest.extend_from_slice(rest);
        out
    }

    /// The last, padded group.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        append(&self.rest, &mut out);
        self.rest.clear();
        out
    }
}

fn append(bytes: &[u8], out: &mut Vec<u8>) {
    work::looked_at(1 + bytes.len());
    base64_simd::STANDARD.encode_append(bytes, out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]], tolerance: Tolerance) -> Option<(Vec<u8>, bool)> {
        let mut decoder = Decoder::new(tolerance);
        let mut out = Vec::new();
        for piece in pieces {
            decoder.push(piece, &mut out).ok()?;
        }
        decoder.finish(&mut out).ok()?;
        Some((out, decoder.is_plain()))
    }

    #[test]
    fn every_spelling_gives_the_bytes_and_only_the_plain_one_is_plain() {
        use Tolerance::*;
        let bytes = Some(b"\xfb\xff\xfea".to_vec());
        for (text, tolerance, plain) in [
            ("+//+YQ==", WhiteSpace, true),
            ("+//+YQ", WhiteSpace, false),
            ("-__-YQ==", WhiteSpace, false),
            ("-__-YQ", Percent, false),
            ("+//+\r\nYQ==\n", WhiteSpace, false),
            ("%2B//%2bYQ%3D%3d", Percent, false),
            ("%2B//%2B%0AYQ==", WhiteSpaceAndPercent, false),
            ("+//+YR==", WhiteSpace, false),
        ] {
            let decoded = decode(&[text.as_bytes()], tolerance);
            assert_eq!(decoded, bytes.clone().map(|bytes| (bytes, plain)), "{text:?}");
            let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(decode(&single, tolerance), decoded, "{text:?} by single characters");
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        use Tolerance::*;
        for (text, tolerance) in [
            ("A", WhiteSpace),
            ("AAAAA", WhiteSpace),
            ("+_AA", WhiteSpace),
            ("AA=A", WhiteSpace),
            ("AA=", WhiteSpace),
            ("AAA==", WhiteSpace),
            ("=AAA", WhiteSpace),
            ("AAAA=", WhiteSpace),
            ("QQ==QQ==", WhiteSpace),
            ("AAAA AAAA", Percent),
            ("AA%2", Percent),
            ("AA%ZZ", Percent),
            ("AA%2BA", WhiteSpace),
            ("AAAA…AAA", WhiteSpace),
        ] {
            assert_eq!(decode(&[text.as_bytes()], tolerance), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_come_back(bytes: Vec<u8>, cuts: Vec<prop::sample::Index>) {
            let text = base64_simd::STANDARD.encode_to_string(&bytes);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            prop_assert_eq!(decode(&pieces, Tolerance::WhiteSpace), Some((bytes.clone(), true)));
            prop_assert_eq!(encoded_len(bytes.len() as u64), text.len() as u64);

            let mut encoder = Encoder::default();
            let mut again: Vec<u8> = bytes.chunks(7).flat_map(|piece| encoder.push(piece)).collect();
            again.extend(encoder.finish());
            prop_assert_eq!(again, text.into_bytes());
        }
    }
}

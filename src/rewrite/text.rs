//! Data URIs in running text: markdown, HTML, or bare.
//!
//! Only the URI is replaced; `![alt](` before it and `)` behind it stay. To find a URI that arrives in pieces, the longest
//! tail that may be the start of `data:image` is held back, nothing else.

use memchr::memchr_iter;

use super::{
    Events, Slot,
    candidate::{Candidate, Setting, Taken},
};
use crate::work;

/// In small letters or capitals (RFC 3986, section 3.1).
const TRIGGER: &[u8] = b"data:image";
/// Where its colon is: a rare character in texts, and none in base64.
const COLON: usize = 4;

/// Looks through one text field, given as raw characters of a JSON string.
#[derive(Debug)]
pub struct TextScanner {
    /// What events call its pictures, of which there is one at a time.
    picture: u32,
    slot: Slot,
    hold: Vec<u8>,
    candidate: Option<Candidate>,
    /// The text before `hold` ends inside a word.
    in_word: bool,
}

impl TextScanner {
    /// `slot`: what becomes of each URI that is a picture. `picture`: what events call it.
    pub fn new(slot: Slot, picture: u32) -> Self {
        Self { picture, slot, hold: Vec::new(), candidate: None, in_word: false }
    }

    /// Goes on behind text that has gone out. `in_word`: that text ended with a character of a word.
    pub fn behind(mut self, in_word: bool) -> Self {
        self.in_word = in_word;
        self
    }

    /// Whether text has come in that has not gone out.
    pub fn is_holding(&self) -> bool {
        self.candidate.is_some() || !self.hold.is_empty()
    }

    /// `true` if the text so far ends with a character of a word: no URI begins right behind it.
    pub fn is_in_word(&self) -> bool {
        self.in_word
    }

    /// `true` once a picture has begun, until it ends.
    pub fn has_picture(&self) -> bool {
        self.candidate.as_ref().is_some_and(Candidate::is_picture)
    }

    /// Takes the next characters.
    pub fn push(&mut self, raw: &[u8], events: &mut Events) {
        let mut joined;
        let mut rest = raw;
        if !self.hold.is_empty() {
            joined = [std::mem::take(&mut self.hold).as_slice(), raw].concat();
            work::looked_at(joined.len());
            rest = &joined;
        }
        while !rest.is_empty() {
            if let Some(candidate) = &mut self.candidate {
                let taken = match candidate.push(rest, events) {
                    Taken::All => {
                        self.in_word = ends_in_word(rest);
                        return;
                    }
                    Taken::Before(taken) => {
                        let (read, hold) = rest.split_at(taken.min(rest.len()));
                        self.in_word = if read.is_empty() { self.in_word } else { ends_in_word(read) };
                        self.hold.extend_from_slice(hold);
                        return;
                    }
                    Taken::Ended(taken) => taken,
                };
                let unread = candidate.take_unread();
                self.candidate = None;
                if let Some(read) = rest.get(..taken).filter(|read| !read.is_empty()) {
                    self.in_word = ends_in_word(read);
                }
                if !unread.is_empty() {
                    // The comma of `;base64,` stands before it.
                    self.in_word = false;
                }
                if let Some(back) = taken.checked_sub(unread.len()) {
                    rest = rest.get(back..).unwrap_or_default();
                } else {
                    // It began in an earlier piece: once per piece at most.
                    joined = [unread.as_slice(), rest.get(taken..).unwrap_or_default()].concat();
                    work::looked_at(joined.len());
                    rest = &joined;
                }
            } else if let Some(at) = self.trigger(rest) {
                let (text, uri) = rest.split_at(at);
                events.copy(text);
                // The trigger itself is the candidate's for sure: so a refused one cannot trigger again.
                let (trigger, behind) = uri.split_at(TRIGGER.len());
                let mut candidate = Candidate::new(Setting::Text, self.slot.clone(), self.picture);
                candidate.push(trigger, events);
                self.candidate = Some(candidate);
                self.in_word = true;
                rest = behind;
            } else {
                work::looked_at(TRIGGER.len());
                let begins = |len: usize| ends_with(rest, TRIGGER.get(..len).unwrap_or_default());
                let held = (1..TRIGGER.len()).rev().find(|len| begins(*len) && self.may_begin(rest, rest.len() - len));
                let (text, hold) = rest.split_at(rest.len() - held.unwrap_or(0));
                events.copy(text);
                self.in_word = hold.is_empty() && ends_in_word(rest);
                self.hold.extend_from_slice(hold);
                return;
            }
        }
    }

    /// Where the first trigger begins.
    fn trigger(&self, text: &[u8]) -> Option<usize> {
        let mut starts = memchr_iter(b':', text).filter_map(|colon| colon.checked_sub(COLON));
        let start = starts.find(|start| {
            work::looked_at(TRIGGER.len());
            let found = text.get(*start..start + TRIGGER.len());
            found.is_some_and(|found| found.eq_ignore_ascii_case(TRIGGER)) && self.may_begin(text, *start)
        });
        work::looked_at(start.unwrap_or(text.len()));
        start
    }

    /// Whether a URI may begin here: a scheme does not begin in the middle of a word (RFC 3986, section 3.1), nor inside an
    /// escape.
    fn may_begin(&self, text: &[u8], at: usize) -> bool {
        match text.get(..at) {
            Some([]) | None => !self.in_word,
            Some(before) => !ends_in_word(before),
        }
    }

    /// Whether a picture is under way whose end has not come for sure.
    pub fn is_under_way(&self) -> bool {
        self.candidate.as_ref().is_some_and(Candidate::is_under_way)
    }

    /// Something else comes between this text and what may follow: what is held goes out, unless a picture is under way.
    pub fn pause(&mut self, events: &mut Events) {
        if !self.is_under_way() {
            self.finish(events);
        }
    }

    /// Ends the text in the middle, because the JSON around it broke.
    pub fn abandon(&mut self, events: &mut Events) {
        if let Some(mut candidate) = self.candidate.take() {
            candidate.abandon(events);
            events.copy(&candidate.take_unread());
        }
        self.let_go(events);
    }

    /// Ends the text: what is held goes out.
    pub fn finish(&mut self, events: &mut Events) {
        if let Some(mut candidate) = self.candidate.take() {
            candidate.finish(events);
            events.copy(&candidate.take_unread());
        }
        self.let_go(events);
    }

    fn let_go(&mut self, events: &mut Events) {
        let hold = std::mem::take(&mut self.hold);
        if !hold.is_empty() {
            events.copy(&hold);
            self.in_word = ends_in_word(&hold);
        }
    }
}

fn ends_with(text: &[u8], end: &[u8]) -> bool {
    let last = text.len().checked_sub(end.len()).and_then(|start| text.get(start..));
    last.is_some_and(|last| last.eq_ignore_ascii_case(end))
}

/// Whether this raw JSON text ends with a character that a scheme may hold (a letter, a digit, `+`, `-`, `.`), or inside an
/// escape as `\u0` does. `\n` is a line end, not a letter.
fn ends_in_word(text: &[u8]) -> bool {
    let is_of_word = |character: u8| character.is_ascii_alphanumeric() || b"+-.".contains(&character);
    let is_escaped = |before: &[u8]| {
        let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
        work::looked_at(backslashes);
        backslashes % 2 == 1
    };
    work::looked_at(text.len().min(6));
    match text {
        [before @ .., b'\\', b'u', _, _, _, _] if !is_escaped(before) => {
            let digits = text.get(text.len() - 4..).and_then(|digits| std::str::from_utf8(digits).ok());
            let code = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            code.is_some_and(is_of_word)
        }
        [before @ .., last] => is_of_word(*last) && (!is_escaped(before) || *last == b'u'),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::document::url_slot;

    #[test]
    fn characters_of_words_are_told_from_escapes() {
        for (text, in_word) in [
            ("", false),
            ("word", true),
            ("2", true),
            ("+", true),
            (".", true),
            ("-", true),
            ("_", false),
            (" ", false),
            ("(", false),
            ("é", false),
            ("图", false),
            (r"\n", false),
            (r"\\n", true),
            (r"\\\n", false),
            (r"\t", false),
            (r#"\""#, false),
            (r"\u0041", true),
            (r"\u0020", false),
            (r"\u56fe", false),
            (r"\\u0020", true),
            (r"\u", true),
            (r"\u0", true),
            (r"\u00e", true),
        ] {
            assert_eq!(ends_in_word(text.as_bytes()), in_word, "{text}");
        }
    }

    #[test]
    fn only_what_may_become_a_picture_is_held() {
        for (texts, held) in [
            (&["world"][..], ""),
            (&["good"], ""),
            (&["Hello!"], ""),
            (&["[", "!", "(", "<", "[0]"], ""),
            (&["pow", "d"], ""),
            (&["bad", "", "d"], ""),
            (&["1", "data"], ""),
            (&["d"], "d"),
            (&["a d"], "d"),
            (&["see ", "da"], "da"),
            (&["see", " DATA:im"], "DATA:im"),
            (&["é", "d"], "d"),
            (&[r"line\n", "data"], "data"),
            (&["d", "ate"], ""),
            (&["data", "d"], ""),
            (&["data ", "d"], "d"),
        ] {
            let mut events = Events::at_most(1);
            let mut scanner = TextScanner::new(url_slot(), 1);
            for text in texts {
                scanner.push(text.as_bytes(), &mut events);
            }
            assert_eq!(scanner.hold, held.as_bytes(), "{texts:?}");
            assert_eq!(scanner.is_holding(), !held.is_empty(), "{texts:?}");
        }
    }
}

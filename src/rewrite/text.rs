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
}

impl TextScanner {
    /// `slot`: what becomes of each URI that is a picture. `picture`: what events call it.
    pub fn new(slot: Slot, picture: u32) -> Self {
        Self { picture, slot, hold: Vec::new(), candidate: None }
    }

    /// Whether text has come in that has not gone out.
    pub fn is_holding(&self) -> bool {
        self.candidate.is_some() || !self.hold.is_empty()
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
                    Taken::All => return,
                    Taken::Before(taken) => {
                        self.hold.extend_from_slice(rest.get(taken..).unwrap_or_default());
                        return;
                    }
                    Taken::Ended(taken) => taken,
                };
                let unread = candidate.take_unread();
                self.candidate = None;
                if let Some(back) = taken.checked_sub(unread.len()) {
                    rest = rest.get(back..).unwrap_or_default();
                } else {
                    // It began in an earlier piece: once per piece at most.
                    joined = [unread.as_slice(), rest.get(taken..).unwrap_or_default()].concat();
                    work::looked_at(joined.len());
                    rest = &joined;
                }
            } else if let Some(at) = trigger(rest) {
                let (text, uri) = rest.split_at(at);
                events.copy(text);
                // The trigger itself is the candidate's for sure: so a refused one cannot trigger again.
                let (trigger, behind) = uri.split_at(TRIGGER.len());
                let mut candidate = Candidate::new(Setting::Text, self.slot.clone(), self.picture);
                candidate.push(trigger, events);
                self.candidate = Some(candidate);
                rest = behind;
            } else {
                work::looked_at(TRIGGER.len());
                let begins = |len: usize| ends_with(rest, TRIGGER.get(..len).unwrap_or_default());
                let held = (1..TRIGGER.len()).rev().find(|len| begins(*len) && !is_in_escape(rest, rest.len() - len));
                let (text, hold) = rest.split_at(rest.len() - held.unwrap_or(0));
                events.copy(text);
                self.hold.extend_from_slice(hold);
                return;
            }
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
        events.copy(&std::mem::take(&mut self.hold));
    }

    /// Ends the text: what is held goes out.
    pub fn finish(&mut self, events: &mut Events) {
        if let Some(mut candidate) = self.candidate.take() {
            candidate.finish(events);
            events.copy(&candidate.take_unread());
        }
        events.copy(&std::mem::take(&mut self.hold));
    }
}

/// Where the first trigger begins.
fn trigger(text: &[u8]) -> Option<usize> {
    let mut starts = memchr_iter(b':', text).filter_map(|colon| colon.checked_sub(COLON));
    let start = starts.find(|start| {
        work::looked_at(TRIGGER.len());
        let found = text.get(*start..start + TRIGGER.len());
        found.is_some_and(|found| found.eq_ignore_ascii_case(TRIGGER)) && !is_in_escape(text, *start)
    });
    work::looked_at(start.unwrap_or(text.len()));
    start
}

fn ends_with(text: &[u8], end: &[u8]) -> bool {
    let last = text.len().checked_sub(end.len()).and_then(|start| text.get(start..));
    last.is_some_and(|last| last.eq_ignore_ascii_case(end))
}

/// Whether this place is inside an escape, as the `d` of `\u00ed` is: it begins nothing, and nothing may be cut there.
/// (Parts of a string never end inside an escape.)
fn is_in_escape(text: &[u8], at: usize) -> bool {
    (2..=5).any(|back| {
        let Some(before) = at.checked_sub(back).and_then(|start| text.get(..start)) else { return false };
        work::looked_at(2);
        // First, or each of many such places costs a run of backslashes four times.
        if !text.get(before.len()..).is_some_and(|escape| escape.starts_with(b"\\u")) {
            return false;
        }
        let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
        work::looked_at(backslashes);
        backslashes.is_multiple_of(2)
    })
}

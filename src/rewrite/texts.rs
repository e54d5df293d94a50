//! Text fields that go on from one document of a stream to the next.

use super::{
    Events, Slot,
    event::HeldText,
    json::Name,
    outline::{Close, Outline},
    text::TextScanner,
};
use crate::work;

/// How many fields may hold text back at once, each up to 64 KiB or a picture on disk. The text of a further one ends with
/// its string, as in an answer that is no stream.
const MOST_HOLDING: usize = 64;

/// One text field of one choice (or output).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) place: u32,
    pub(super) name: Name,
}

/// The text fields of a stream that hold something back, and where text was last.
#[derive(Debug, Default)]
pub(super) struct Texts {
    open: Vec<(Field, TextScanner)>,
    /// Fields whose last character is one of a word: no picture begins right behind it.
    in_word: Vec<Field>,
    /// What is known of the document at hand.
    pub(super) outline: Outline,
    /// Places of the choices of the document at hand, in order, as far as they are known before.
    pub(super) places: Vec<u32>,
    /// Where the last text of the document at hand that may go on began and ended, by its offsets in the document.
    pub(super) last: Option<(Field, u64, u64)>,
    /// How many values of the document at hand are looked into: texts, pictures, URLs.
    pub(super) looked_into: usize,
    numbers: u32,
}

impl Texts {
    /// Begins the next document.
    pub(super) fn begin(&mut self, outline: Outline) {
        self.places.clear();
        self.places.extend(outline.places());
        self.outline = outline;
        self.last = None;
        self.looked_into = 0;
    }

    /// A scanner for a text that begins and ends with its string.
    pub(super) fn fresh(&mut self, slot: Slot) -> TextScanner {
        self.numbers = self.numbers.wrapping_add(1).max(1);
        TextScanner::new(slot, self.numbers)
    }

    /// The scanner of a field, as it was left, or a new one that goes on with the field's text.
    pub(super) fn take(&mut self, field: Field, slot: Slot) -> TextScanner {
        work::looked_at(self.open.len());
        match self.open.iter().position(|(open, _)| *open == field) {
            Some(at) => self.open.swap_remove(at).1,
            None => {
                let in_word = self.in_word.contains(&field);
                self.fresh(slot).behind(in_word)
            }
        }
    }

    /// Remembers how far the text of a field has come.
    fn note(&mut self, field: Field, in_word: bool) {
        let known = self.in_word.iter().position(|known| *known == field);
        match (known, in_word) {
            (Some(at), false) => {
                self.in_word.swap_remove(at);
            }
            // A field that is not remembered may hold a letter or two too much.
            (None, true) if self.in_word.len() < MOST_HOLDING => self.in_word.push(field),
            _ => {}
        }
    }

    /// A whole string of a field that goes on in later documents.
    pub(super) fn go_on(&mut self, field: Field, slot: impl FnOnce() -> Slot, raw: &[u8], events: &mut Events) {
        work::looked_at(2 * self.open.len());
        match self.open.iter_mut().find(|(open, _)| *open == field) {
            Some((_, scanner)) if !raw.is_empty() => {
                scanner.push(raw, events);
                if !scanner.is_holding() {
                    let in_word = scanner.is_in_word();
                    self.open.retain(|(open, _)| *open != field);
                    self.note(field, in_word);
                }
            }
            Some(_) => {}
            None => {
                let mut scanner = self.take(field, slot());
                scanner.push(raw, events);
                self.put(field, scanner, events);
            }
        }
    }

    /// The field's string ends; its text goes on in another document, unless this one closes it.
    pub(super) fn put(&mut self, field: Field, mut scanner: TextScanner, events: &mut Events) {
        let close = self.outline.within(field);
        match close {
            _ if self.open.len() >= MOST_HOLDING => scanner.finish(events),
            Some(Close::Finish) => scanner.finish(events),
            Some(Close::Pause) => scanner.pause(events),
            None => {}
        }
        if scanner.is_holding() {
            self.open.push((field, scanner));
        } else {
            self.note(field, close != Some(Close::Finish) && scanner.is_in_word());
        }
    }

    /// Whether any text is held back.
    pub(super) fn is_holding(&self) -> bool {
        !self.open.is_empty()
    }

    /// The kind of text that is held back.
    pub(super) fn held(&self) -> HeldText {
        if self.open.is_empty() {
            HeldText::None
        } else if self.open.iter().any(|(_, scanner)| scanner.has_picture()) {
            HeldText::Picture
        } else {
            HeldText::Text
        }
    }

    /// The fields that hold text back.
    pub(super) fn holding(&self) -> impl Iterator<Item = Field> {
        self.open.iter().map(|(field, _)| *field)
    }

    /// Whether closing this field says anything.
    pub(super) fn lets_go(&self, field: Field, close: Close) -> bool {
        work::looked_at(self.open.len());
        let scanner = self.open.iter().find(|(open, _)| *open == field);
        scanner.is_some_and(|(_, scanner)| close == Close::Finish || !scanner.is_under_way())
    }

    /// Lets go of what a field holds.
    pub(super) fn close(&mut self, field: Field, close: Close, events: &mut Events) {
        work::looked_at(self.open.len());
        let Some(at) = self.open.iter().position(|(open, _)| *open == field) else { return };
        let Some((_, scanner)) = self.open.get_mut(at) else { return };
        match close {
            Close::Finish => scanner.finish(events),
            Close::Pause => scanner.pause(events),
        }
        if !scanner.is_holding() {
            let in_word = close != Close::Finish && scanner.is_in_word();
            self.open.swap_remove(at);
            self.note(field, in_word);
        }
    }
}

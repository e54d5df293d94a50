//! Writes the pieces of events, and the text that was held back.

use memchr::memchr2;

use super::{Tag, WHOLE, pattern::Pattern};
use crate::rewrite::{
    Events,
    document::{Document, Rules, url_slot},
    event::HeldText,
    outline::Close,
    shape::{Kind, Shape},
    texts::Field,
};
use crate::work;

/// Longest event that is used as a pattern for held text.
const LONGEST_PATTERN: usize = 16 * 1024;
/// Of the events whose text is held back one goes out in so many bytes.
const SIGN_OF_LIFE: usize = 512 * 1024;

/// Writes the pieces of events.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shape: Shape,
    pub(super) document: Document,
    kind: Kind,
    /// The event's data have begun.
    in_data: bool,
    /// What stands between two data lines, or behind the last.
    between: Vec<u8>,
    patterns: Vec<Pattern>,
    /// The last event, when nothing but one text was looked into and it ended nothing. Most events differ from the one
    /// before in their text alone: those need not be parsed.
    envelope: Option<Pattern>,
    /// What the data of the event say that it is.
    pub(super) named: Option<Kind>,
    /// The last event that had a text and was no [envelope](Self::envelope), if it was short.
    last: Vec<u8>,
    /// Bytes of events that were left out since one went out.
    left_out: usize,
    /// The last event was left out.
    is_silent: bool,
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            shape: rules.shape,
            document: Document::new(rules),
            kind: Kind::Event,
            in_data: false,
            between: Vec::new(),
            patterns: Vec::new(),
            envelope: None,
            named: None,
            last: Vec::new(),
            left_out: 0,
            is_silent: false,
        }
    }

    pub(super) fn piece(&mut self, tag: Tag, bytes: &[u8], events: &mut Events) {
        match tag {
            Tag::DataStart if self.in_data => {
                self.between.extend_from_slice(bytes);
                let between = std::mem::take(&mut self.between);
                self.document.interpose(&between, events);
            }
            Tag::DataStart => {
                events.copy(bytes);
                let named = self.named.filter(|_| self.kind == Kind::Event);
                self.document.begin(named.unwrap_or(self.kind));
                self.in_data = true;
            }
            Tag::Data => self.document.push(bytes, events),
            Tag::Blank => {
                self.end_data(events);
                events.copy(bytes);
                self.kind = Kind::Event;
                self.named = None;
            }
            Tag::Other | Tag::End if self.in_data => {
                work::looked_at(bytes.len());
                self.between.extend_from_slice(bytes);
                if self.between.len() > WHOLE {
                    let between = std::mem::take(&mut self.between);
                    self.document.interpose(&between, events);
                }
            }
            Tag::Other => {
                if let Some(name) = bytes.strip_prefix(b"event:") {
                    self.kind = Kind::of(name.trim_ascii());
                }
                events.copy(bytes);
            }
            Tag::End => events.copy(bytes),
        }
    }

    pub(super) fn end_data(&mut self, events: &mut Events) {
        if std::mem::take(&mut self.in_data) {
            self.document.finish(events);
        }
        events.copy(&std::mem::take(&mut self.between));
    }

    /// What is left of the line end that ended the last event.
    pub(super) fn rest(&mut self, bytes: &[u8], events: &mut Events) {
        if !self.is_silent {
            events.copy(bytes);
        }
        let cut = self.envelope.iter_mut().chain(&mut self.patterns).filter(|pattern| pattern.blank == b"\r");
        cut.for_each(|pattern| pattern.blank.extend_from_slice(bytes));
    }

    /// Sends the text of fields that are closed now, each in an event of its own.
    pub(super) fn flush(&mut self, close: impl Fn(Field) -> Option<Close>, events: &mut Events) {
        let texts = self.document.texts();
        let closed = texts.holding().filter_map(|field| Some((field, close(field)?)));
        let closed: Vec<_> = closed.filter(|(field, close)| texts.lets_go(*field, *close)).collect();
        for (field, close) in closed {
            let known = self.patterns.iter().find(|pattern| pattern.field == field).cloned();
            let pattern = known.unwrap_or_else(|| Pattern::plain(self.shape, field, &self.last, b"\n"));
            work::looked_at(pattern.before.len() + pattern.behind.len());
            events.copy(&pattern.before);
            self.document.texts().close(field, close, events);
            events.copy(&pattern.behind);
            events.copy(&pattern.blank);
        }
        events.settle(self.document.texts().held());
    }

    /// Rewrites an event that is the one before but for its text. `false`: it is not, or may be not, and nothing was done.
    pub(super) fn in_envelope(&mut self, event: &[u8], blank: &[u8], events: &mut Events) -> bool {
        self.is_silent = false;
        let Some(envelope) = &self.envelope else { return false };
        let Pattern { field, before, behind, .. } = envelope;
        work::looked_at(1 + (before.len() + behind.len()).min(event.len()));
        let rest = event.strip_prefix(before.as_slice());
        let Some(text) = rest.and_then(|rest| rest.strip_suffix(behind.as_slice())) else { return false };
        work::looked_at(2 * text.len());
        if !is_in_one_string(text) {
            return false;
        }
        let texts = self.document.texts();
        let said = events.said();
        events.event_begins(texts.held());
        events.copy(before);
        texts.go_on(*field, url_slot, text, events);
        let silent = !text.is_empty() && events.said() == said + before.len() as u64 && texts.is_holding();
        if silent && self.left_out < SIGN_OF_LIFE && envelope.says_only_text(self.shape) {
            events.take_back(before.len());
            self.left_out += event.len();
            self.is_silent = true;
        } else {
            events.copy(behind);
            events.copy(blank);
            self.left_out = 0;
        }
        let (field, held) = (*field, self.document.texts().held());
        events.event_ends([event, blank], held);
        if held == HeldText::None {
            self.patterns.clear();
        } else if !self.patterns.iter().any(|pattern| pattern.field == field) {
            self.patterns.extend(self.envelope.as_ref().map(|envelope| envelope.around(self.shape, field)));
        }
        true
    }

    /// Keeps the event around its last text: to recognise the next one by, and as long as texts of it are held back.
    pub(super) fn remember(&mut self, data: Option<usize>, event: &[u8], blank: &[u8]) {
        self.envelope = None;
        let is_json = !self.document.is_broken();
        let texts = self.document.texts();
        work::looked_at(event.len() + 2 * self.patterns.len() * texts.holding().count());
        self.patterns.retain(|pattern| texts.holding().any(|field| field == pattern.field));
        if texts.looked_into > 0 && event.len() <= LONGEST_PATTERN {
            self.last.clear();
            self.last.extend_from_slice(event);
        }
        let (Some(data), Some((field, start, end))) = (data, texts.last) else { return };
        let at = |offset: u64| data + usize::try_from(offset).unwrap_or(0);
        let (Some(before), Some(behind)) = (event.get(..at(start)), event.get(at(end)..)) else { return };
        let is_envelope = is_json && texts.looked_into == 1 && texts.outline.says_only(self.shape, field);
        if before.len() + behind.len() > LONGEST_PATTERN || !(texts.is_holding() || is_envelope) {
            return;
        }
        work::looked_at(event.len());
        let pattern = Pattern::new(field, before, behind, blank);
        for field in texts.holding() {
            let is_known = self.patterns.iter().any(|pattern| pattern.field == field);
            if !is_known || field == pattern.field {
                self.patterns.retain(|pattern| pattern.field != field);
                self.patterns.push(pattern.around(self.shape, field));
            }
        }
        self.envelope = Some(pattern).filter(|_| is_envelope);
    }
}

/// `true` for raw text of one JSON string: it ends neither the string nor an escape in the middle (RFC 8259, section 7).
fn is_in_one_string(text: &[u8]) -> bool {
    if text.iter().fold(u8::MAX, |least, byte| least.min(*byte)) < 0x20 {
        return false;
    }
    let mut rest = text;
    while let Some(at) = memchr2(b'"', b'\\', rest) {
        rest = match rest.get(at..) {
            Some([b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', behind @ ..]) => behind,
            Some([b'\\', b'u', digits @ ..]) if is_hex(digits.get(..4)) => digits.get(4..).unwrap_or_default(),
            _ => return false,
        };
    }
    true
}

fn is_hex(digits: Option<&[u8]>) -> bool {
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

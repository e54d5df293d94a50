//! Event streams: base64 ↔ URL, event by event.
//!
//! An event whose data need no change leaves byte for byte, and at once. An event is looked at as a whole, so that text
//! held back from earlier ones can go out before the event that ends it; past 32 KiB (a picture in one line) it is
//! rewritten while it arrives.
//!
//! Text may carry a picture over any number of deltas, cut anywhere. An event whose text ends with what may be the start of a
//! picture waits, and so do the events behind it, up to 64 KiB. When the text turns out to be no picture, all of them leave byte
//! for byte. When a picture begins, they leave with the text that they still have. After that, deltas that carry only text of
//! the picture are dropped, except one in every 512 KiB as a sign of life.
//!
//! Past 64 KiB, held text is moved: it leaves in the event that releases it, or in an event of its own. The joined text is
//! identical.

#[cfg(test)]
mod model;
mod pattern;
#[cfg(test)]
mod plain;
#[cfg(test)]
mod tests;
mod writer;

use std::borrow::Cow;

use writer::Writer;

use super::{
    Event, Events,
    document::Rules,
    event::HeldText,
    json::Name,
    outline::{Close, Outline},
    sse::{Framer, Line},
};
use crate::work;

/// An event up to this size is looked at as a whole.
const WHOLE: usize = 32 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Rewrites one event stream.
#[derive(Debug)]
pub struct StreamRewriter {
    framer: Framer,
    current: Current,
    writer: Writer,
    events: Events,
    /// Bytes of a byte-order mark that have come; `None` once the start is over.
    bom: Option<usize>,
}

/// The event being read.
#[derive(Debug, Default)]
struct Current {
    bytes: Vec<u8>,
    lines: Vec<(Tag, usize)>,
    /// It is too long to be looked at as a whole, and is being rewritten.
    flowing: bool,
    /// Something of it has come.
    begun: bool,
}

/// A [`Line`] without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    DataStart,
    Data,
    Other,
    End,
    Blank,
}

impl StreamRewriter {
    pub fn new(rules: Rules) -> Self {
        let writer = Writer::new(rules);
        let events = Events::at_most(rules.pictures);
        Self { framer: Framer::default(), current: Current::default(), writer, events, bom: Some(0) }
    }

    /// Takes the next piece of the stream.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Event> {
        let mut piece = self.without_bom(piece);
        let Self { framer, current, writer, events, .. } = self;
        while !piece.is_empty() {
            let (event, later) = piece.split_at(end_of_event(piece));
            work::looked_at(1 + event.len());
            piece = later;
            // Most are the one before but for their text: these need not be taken apart, nor copied together.
            let is_at_start = framer.is_between_lines() && current.is_between_events();
            let whole = event.strip_suffix(b"\n").filter(|whole| is_at_start && whole.ends_with(b"\n"));
            let whole = whole.filter(|whole| whole.len() <= WHOLE);
            if !whole.is_some_and(|whole| writer.in_envelope(whole, b"\n", events)) {
                framer.push(event, |line| current.line(line, writer, events));
            }
        }
        self.events.take()
    }

    /// Ends the stream: what is held or unfinished goes out.
    pub fn finish(&mut self) -> Vec<Event> {
        self.events.copy(self.bom.take().and_then(|known| BOM.get(..known)).unwrap_or_default());
        let Self { framer, current, writer, events, .. } = self;
        framer.finish(|line| current.line(line, writer, events));
        if current.can_wait() {
            writer.flush(|_| Some(Close::Finish), events);
        }
        let separator = current.separator();
        events.came(&current.bytes);
        current.flow(writer, events);
        writer.end_data(events);
        if writer.document.texts().is_holding() {
            events.copy(separator);
            writer.flush(|_| Some(Close::Finish), events);
        }
        events.settle(HeldText::None);
        self.events.take()
    }

    /// How many pictures stayed as they came because they were one too many.
    pub fn left_out(&self) -> u64 {
        self.events.refused()
    }

    /// Whether what has come out so far ends with an event: a comment may follow.
    pub fn is_between_events(&self) -> bool {
        !self.current.flowing || self.events.is_waiting()
    }

    /// Drops a byte-order mark at the very start, which may come in pieces.
    fn without_bom<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let Some(known) = self.bom else { return piece };
        let wanted = BOM.get(known..).unwrap_or_default();
        let common = wanted.iter().zip(piece).take_while(|(a, b)| a == b).count();
        if common == piece.len() && common < wanted.len() {
            self.bom = Some(known + common);
            return &[];
        }
        self.bom = None;
        if common == wanted.len() {
            return piece.get(common..).unwrap_or_default();
        }
        // No mark after all. Its first bytes alone are no stream either, but they are not ours to drop.
        self.events.copy(BOM.get(..known).unwrap_or_default());
        piece
    }
}

// === impl Current ===

impl Current {
    /// Nothing has come of the next event.
    fn is_between_events(&self) -> bool {
        !self.begun && !self.flowing
    }

    fn line(&mut self, line: Line<'_>, writer: &mut Writer, events: &mut Events) {
        let (tag, bytes) = match line {
            Line::Rest(bytes) if !self.begun => {
                events.came(bytes);
                return writer.rest(bytes, events);
            }
            Line::Rest(bytes) => (Tag::End, bytes),
            Line::DataStart(bytes) => (Tag::DataStart, bytes),
            Line::Data(bytes) => (Tag::Data, bytes),
            Line::Other(bytes) => (Tag::Other, bytes),
            Line::End(bytes) => (Tag::End, bytes),
            Line::Blank(bytes) => (Tag::Blank, bytes),
        };
        if self.flowing {
            events.came(bytes);
            writer.piece(tag, bytes, events);
            self.begun = tag != Tag::Blank;
            self.flowing = self.begun;
            if !self.flowing {
                events.long_event_ends(writer.document.texts().held());
                writer.document.texts().begin(Outline::default());
            }
            return;
        }
        self.begun = tag != Tag::Blank;
        if self.begun && self.bytes.len() + bytes.len() > WHOLE {
            self.too_long(writer, events);
            events.came(bytes);
            return writer.piece(tag, bytes, events);
        }
        work::looked_at(1 + bytes.len());
        self.bytes.extend_from_slice(bytes);
        match self.lines.last_mut() {
            Some((last, end)) if *last == tag && matches!(tag, Tag::Data | Tag::Other) => *end = self.bytes.len(),
            _ => self.lines.push((tag, self.bytes.len())),
        }
        if tag == Tag::Blank {
            self.whole(writer, events);
        }
    }

    /// The event is complete.
    fn whole(&mut self, writer: &mut Writer, events: &mut Events) {
        let blank = self.lines.iter().rev().nth(1).map_or(0, |(_, end)| *end);
        let (event, blank) = self.bytes.split_at(blank.min(self.bytes.len()));
        if writer.in_envelope(event, blank, events) {
            self.bytes.clear();
            self.lines.clear();
            return;
        }
        // The lines are gone through for each of what is looked for, and those with data are joined.
        work::looked_at(4 * self.lines.len() + self.bytes.len());
        let outline = Outline::of(writer.shape, self.event_line(), &self.data());
        writer.flush(|field| outline.before(field), events);
        writer.named = outline.kind;
        writer.document.texts().begin(outline);
        let data = self.only_data().map(|(start, _)| start);
        let blank = blank.len();
        events.event_begins(writer.document.texts().held());
        self.flow(writer, events);
        let (event, blank) = self.bytes.split_at(self.bytes.len() - blank.min(self.bytes.len()));
        events.event_ends([event, blank], writer.document.texts().held());
        writer.remember(data, event, blank);
        writer.document.texts().begin(Outline::default());
        self.bytes.clear();
        self.lines.clear();
    }

    /// The event turns out to be too long to be looked at as a whole. In nearly all of these it is one string that is so
    /// long, and it has begun: text of that field may go on, any other may not.
    fn too_long(&mut self, writer: &mut Writer, events: &mut Events) {
        work::looked_at(self.bytes.len() + self.lines.len());
        let name = open_string(&self.bytes);
        writer.flush(|field| (name != Some(field.name)).then_some(Close::Pause), events);
        writer.document.texts().begin(Outline::too_long());
        events.event_begins(writer.document.texts().held());
        events.came(&self.bytes);
        self.flow(writer, events);
        // A picture follows, and its memory is spent elsewhere.
        self.bytes = Vec::new();
        self.flowing = true;
    }

    /// Whether held text may go out before this event, which the stream's end cut: it has no data that could go on with
    /// the text.
    fn can_wait(&self) -> bool {
        !self.flowing && !self.lines.iter().any(|(tag, _)| *tag == Tag::DataStart)
    }

    /// What stands between this event, which the stream's end cut, and another one. The first LF may become one with a CR
    /// that ended the last line.
    fn separator(&self) -> &'static [u8] {
        if self.begun { b"\n\n" } else { b"" }
    }

    /// Rewrites what is known of the event.
    fn flow(&mut self, writer: &mut Writer, events: &mut Events) {
        let mut start = 0;
        for (tag, end) in self.lines.drain(..) {
            writer.piece(tag, self.bytes.get(start..end).unwrap_or_default(), events);
            start = end;
        }
    }

    /// What stands in its `event` line.
    fn event_line(&self) -> Option<&str> {
        let mut pieces = self.pieces().filter(|(tag, _)| *tag == Tag::Other);
        let value = pieces.find_map(|(_, (start, end))| self.bytes.get(start..end)?.strip_prefix(b"event:"));
        std::str::from_utf8(value?.trim_ascii()).ok()
    }

    /// The event's data, its lines joined.
    fn data(&self) -> Cow<'_, [u8]> {
        let lines = self.pieces().filter(|(tag, _)| *tag == Tag::Data);
        let mut lines = lines.map(|(_, (start, end))| self.bytes.get(start..end).unwrap_or_default());
        match (lines.next(), lines.next()) {
            (first, None) => first.unwrap_or_default().into(),
            (Some(first), Some(second)) => {
                let lines: Vec<&[u8]> = [first, second].into_iter().chain(lines).collect();
                lines.join(&b'\n').into()
            }
            (None, Some(_)) => Cow::default(),
        }
    }

    /// Where the event's data begin and end, if they stand in one line.
    fn only_data(&self) -> Option<(usize, usize)> {
        let mut lines = self.pieces().filter(|(tag, _)| *tag == Tag::Data);
        lines.next().filter(|_| lines.next().is_none()).map(|(_, place)| place)
    }

    /// What it is made of.
    fn pieces(&self) -> impl Iterator<Item = (Tag, (usize, usize))> {
        let mut start = 0;
        self.lines.iter().map(move |(tag, end)| (*tag, (std::mem::replace(&mut start, *end), *end)))
    }
}

/// Where the first empty line of this text ends, if it is one of LF; else where the text ends.
fn end_of_event(text: &[u8]) -> usize {
    let mut ends = memchr::memchr_iter(b'\n', text);
    ends.find(|at| text.get(at + 1) == Some(&b'\n')).map_or(text.len(), |at| at + 2)
}

/// The key of the string that is open at the end of this JSON, if it may be one whose text goes on.
fn open_string(json: &[u8]) -> Option<Name> {
    let quote = memchr::memrchr(b'"', json)?;
    let key = json.get(..quote)?.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end().strip_suffix(b"\"")?;
    let start = memchr::memrchr(b'"', key)? + 1;
    Some(Name::of(std::str::from_utf8(key.get(start..)?).ok()?))
}

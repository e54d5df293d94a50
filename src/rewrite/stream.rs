//! Event streams: base64 ↔ URL, event by event.
//!
//! An event whose data need no change leaves byte for byte, and at once. An event is looked at as a whole, so that text
//! held back from earlier ones can go out before the event that ends it; past 32 KiB (a picture in one line) it is
//! rewritten while it arrives.
//!
//! Text may carry a picture over any number of deltas, cut anywhere. What may be the start of a picture is held back and
//! its event leaves with the text it still has. One that has none left and says nothing else that is new is left out, but
//! for one in every 64 KiB, as a sign of life. Held text that turns out to be no picture is released unchanged; deltas may
//! come out coalesced, the joined text is identical.

mod pattern;
#[cfg(test)]
mod tests;
mod writer;

use writer::Writer;

use super::{
    Event, Events,
    document::Rules,
    outline::{Ends, places},
    sse::{Framer, Line},
};

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
        let piece = self.without_bom(piece);
        let Self { framer, current, writer, events, .. } = self;
        framer.push(piece, |line| current.line(line, writer, events));
        self.events.take()
    }

    /// Ends the stream: what is held or unfinished goes out.
    pub fn finish(&mut self) -> Vec<Event> {
        self.events.copy(self.bom.take().and_then(|known| BOM.get(..known)).unwrap_or_default());
        let Self { framer, current, writer, events, .. } = self;
        framer.finish(|line| current.line(line, writer, events));
        if current.can_wait() {
            writer.flush(|_| true, events);
        }
        let separator = current.separator();
        current.flow(writer, events);
        writer.end_data(events);
        if writer.document.texts().is_holding() {
            events.copy(separator);
            writer.flush(|_| true, events);
        }
        self.events.take()
    }

    /// How many pictures stayed as they came because they were one too many.
    pub fn left_out(&self) -> u64 {
        self.events.refused()
    }

    /// Whether what has come out so far ends with an event: a comment may follow.
    pub fn is_between_events(&self) -> bool {
        !self.current.flowing
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
    fn line(&mut self, line: Line<'_>, writer: &mut Writer, events: &mut Events) {
        let (tag, bytes) = match line {
            Line::Rest(bytes) if !self.begun => return writer.rest(bytes, events),
            Line::Rest(bytes) => (Tag::Other, bytes),
            Line::DataStart(bytes) => (Tag::DataStart, bytes),
            Line::Data(bytes) => (Tag::Data, bytes),
            Line::Other(bytes) => (Tag::Other, bytes),
            Line::End(bytes) => (Tag::End, bytes),
            Line::Blank(bytes) => (Tag::Blank, bytes),
        };
        if self.flowing {
            writer.piece(tag, bytes, events);
            self.begun = tag != Tag::Blank;
            self.flowing = tag != Tag::Blank;
            return;
        }
        self.begun = tag != Tag::Blank;
        if self.begun && self.bytes.len() + bytes.len() > WHOLE {
            self.flow(writer, events);
            // A picture follows, and its memory is spent elsewhere.
            self.bytes = Vec::new();
            self.flowing = true;
            return writer.piece(tag, bytes, events);
        }
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
        let data = self.data();
        let holding = writer.document.texts().is_holding();
        let ends = data.map_or_else(Ends::default, |(start, end)| {
            Ends::of(writer.shape, self.bytes.get(start..end).unwrap_or_default())
        });
        if holding {
            writer.flush(|field| ends.comes_before(field), events);
        }
        let places = data.map(|(start, end)| places(writer.shape, self.bytes.get(start..end).unwrap_or_default()));
        let texts = writer.document.texts();
        texts.places = places.unwrap_or_default();
        texts.ending.extend(ends.places.iter().map(|(place, _)| *place));
        texts.last = None;
        texts.looked_into = 0;
        let blank = blank.len();
        self.flow(writer, events);
        let (event, blank) = self.bytes.split_at(self.bytes.len() - blank.min(self.bytes.len()));
        writer.remember(data.map(|(start, _)| start), event, blank, ends == Ends::default());
        writer.document.texts().ending.clear();
        writer.document.texts().places.clear();
        self.bytes.clear();
        self.lines.clear();
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

    /// Where the event's data begin and end, if they stand in one line.
    fn data(&self) -> Option<(usize, usize)> {
        let mut found = None;
        let mut start = 0;
        for (tag, end) in &self.lines {
            if *tag == Tag::Data && found.replace((start, *end)).is_some() {
                return None;
            }
            start = *end;
        }
        found
    }
}

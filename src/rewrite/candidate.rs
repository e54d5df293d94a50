//! One value that may be a base64 picture.
//!
//! Takes the raw characters of a JSON string (escapes and all) from the place where the picture would begin, and says
//! [`Event::Start`] only when type and size header are there. Until then everything is held, at most 64 KiB; a picture
//! whose size header lies deeper (a JPEG behind a large thumbnail) is begun on trust and judged by the store at its end.

use bytes::Bytes;

use super::{
    Event, Events, Slot,
    base64::{Decoder, Tolerance},
};
use crate::{
    picture::{Ending, Sniff, Sniffer},
    work,
};

/// How many characters are held, about, before a picture is begun on trust.
const HOLD: usize = 64 * 1024;
/// Longest `data:…;base64,` before the payload.
const LONGEST_PREFIX: usize = 300;
/// Before a picture begins, so much of a piece is looked at, and then three times as much as turned out to be base64.
/// Base64 that ends soon in a long text must not cost a search through all of that text, each time it does.
const FIRST_WINDOW: usize = 64;
/// What a line of base64 is not, but the start of another picture is.
const NEXT: &[u8] = b"data:";

/// Where the candidate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// It is a whole value: bare base64, or a data URI of any type.
    Value,
    /// It stands in running text: a `data:image/` URI that ends at the first character that cannot be part of it.
    Text,
}

#[derive(Debug)]
enum Phase {
    /// Reading `data:image/png;base64,`; the text so far, behind its escapes.
    Prefix(Vec<u8>),
    /// Decoding, no verdict yet; the bytes so far.
    Head(Vec<u8>),
    /// A picture has begun.
    Body,
}

/// A value under examination.
#[derive(Debug)]
pub struct Candidate {
    /// Its number in events.
    picture: u32,
    setting: Setting,
    slot: Slot,
    /// Copied out when a picture whose characters are passed on begins; else the slot's `original` is.
    opening: Bytes,
    phase: Phase,
    decoder: Decoder,
    /// How far the picture is, once it has begun.
    ending: Ending,
    /// What the bytes say, until it has.
    sniffer: Sniffer,
    /// Raw characters up to the payload, and of the payload, that have not been told.
    prefix: Vec<u8>,
    payload: Vec<u8>,
    unread: Vec<u8>,
    /// Every further [`Event::Data`] carries its raw text.
    spelled_out: bool,
    given_back: bool,
}

impl Candidate {
    /// `picture`: what events call it.
    pub fn new(setting: Setting, slot: Slot, picture: u32) -> Self {
        Self::passing_on(setting, slot, Bytes::new(), picture)
    }

    /// With `slot.passed_on`, a picture's characters are copied out as they come, behind `opening`, and the picture is
    /// only kept.
    pub fn passing_on(setting: Setting, slot: Slot, opening: Bytes, picture: u32) -> Self {
        let tolerance = match setting {
            Setting::Value => Tolerance::WhiteSpaceAndPercent,
            Setting::Text => Tolerance::Percent,
        };
        Self {
            picture,
            setting,
            slot,
            opening,
            phase: Phase::Prefix(Vec::new()),
            decoder: Decoder::new(tolerance),
            ending: Ending::of(b""),
            sniffer: Sniffer::default(),
            prefix: Vec::new(),
            payload: Vec::new(),
            unread: Vec::new(),
            spelled_out: false,
            given_back: false,
        }
    }

    /// Takes the next characters.
    pub fn push(&mut self, raw: &[u8], events: &mut Events) -> Taken {
        let mut at = 0;
        if matches!(self.phase, Phase::Prefix(_)) {
            match self.read_prefix(raw) {
                Prefix::More => return Taken::All,
                Prefix::Complete(taken) => at = taken,
                Prefix::Refused(taken) => {
                    let read = raw.get(..taken).unwrap_or_default();
                    self.prefix.extend_from_slice(read);
                    self.give_back(events);
                    return Taken::Ended(taken);
                }
            }
        }
        loop {
            let (taken, refused) = self.payload(raw.get(at..).unwrap_or_default(), events);
            at += taken;
            if refused {
                return Taken::Ended(at);
            }
            let Some(rest) = raw.get(at..).filter(|rest| !rest.is_empty()) else { return Taken::All };
            match self.line_end(rest) {
                Line::GoesOn(len) => {
                    let pending = self.decoder.pending();
                    self.decoder.mark_escaped();
                    at += len;
                    if self.tell(&[], &pending, rest.get(..len).unwrap_or_default(), events) {
                        return Taken::Ended(at);
                    }
                }
                Line::Unclear => return Taken::Before(at),
                Line::Over => {
                    if !self.given_back {
                        match self.setting {
                            Setting::Text => self.finish(events),
                            Setting::Value => self.give_back(events),
                        }
                    }
                    return Taken::Ended(at);
                }
            }
        }
    }

    /// Takes what of this is base64: how many characters that is, and whether the candidate was refused for it.
    fn payload(&mut self, payload: &[u8], events: &mut Events) -> (usize, bool) {
        let pending = self.decoder.pending();
        let body = matches!(self.phase, Phase::Body);
        let mut fresh = Vec::new();
        // In a picture's body nothing is left to judge: its bytes go straight where they are wanted.
        let decoded = if body && !self.spelled_out { events.data(self.picture) } else { &mut fresh };
        let known = decoded.len();
        let taken = self.decode(payload, decoded);
        let text = payload.get(..taken).unwrap_or_default();
        if body {
            self.ending.push(decoded.get(known..).unwrap_or_default());
            if !self.spelled_out && self.needs_raw() {
                work::looked_at(decoded.len() - known);
                fresh = decoded.split_off(known);
            }
        }
        self.pass_on(text, events);
        (taken, self.tell(&fresh, &pending, text, events))
    }

    /// What becomes of the base64 at a character that is none of its own. Some write it in lines, in text too.
    fn line_end(&self, rest: &[u8]) -> Line {
        let Some((Some(b'\n' | b'\r'), len)) = Characters(rest).next().filter(|_| self.setting == Setting::Text) else {
            return Line::Over;
        };
        let goes_on = match self.phase {
            Phase::Prefix(_) => false,
            Phase::Head(_) => true,
            Phase::Body => {
                // Without padding the last bytes have not been given out yet.
                let mut ending = self.ending;
                ending.push(&self.decoder.unfinished());
                ending.is_over() == Some(false)
            }
        };
        let behind = rest.get(len..).unwrap_or_default();
        let next = behind.get(..NEXT.len()).unwrap_or(behind);
        match NEXT.get(..next.len()).is_some_and(|start| start.eq_ignore_ascii_case(next)) {
            _ if !goes_on => Line::Over,
            // Another one begins there.
            true if next.len() == NEXT.len() => Line::Over,
            true => Line::Unclear,
            false => Line::GoesOn(len),
        }
    }

    /// Whether a picture has begun, and its end has not come for sure.
    pub fn is_under_way(&self) -> bool {
        self.is_picture() && self.ending.is_over() != Some(true)
    }

    /// Whether a picture has begun, and has not been given back.
    pub fn is_picture(&self) -> bool {
        matches!(self.phase, Phase::Body) && !self.given_back
    }

    /// Ends the value in the middle, because the text around it broke.
    pub fn abandon(&mut self, events: &mut Events) {
        self.give_back(events);
    }

    /// Ends the value.
    pub fn finish(&mut self, events: &mut Events) {
        let pending = self.decoder.pending();
        let mut decoded = Vec::new();
        let whole = !matches!(self.phase, Phase::Prefix(_)) && self.decoder.finish(&mut decoded).is_ok();
        if !whole {
            return self.give_back(events);
        }
        self.ending.push(&decoded);
        if self.tell(&decoded, &pending, &[], events) {
            return;
        }
        match self.phase {
            // Cut short, or an example: in text, nobody said that it was whole.
            Phase::Body if self.setting == Setting::Text && self.ending.is_cut() => self.give_back(events),
            Phase::Body => events.push(Event::End { picture: self.picture }),
            _ => self.give_back(events),
        }
    }

    /// Reads up to the first character of the payload.
    fn read_prefix(&mut self, raw: &[u8]) -> Prefix {
        let Phase::Prefix(text) = &mut self.phase else { return Prefix::Complete(0) };
        let mut at = 0;
        let scheme: &[u8] = match self.setting {
            Setting::Value => b"data:",
            Setting::Text => b"data:image/",
        };
        for (character, len) in Characters(raw) {
            let Some(character) = character else { return Prefix::Refused(at) };
            text.push(character);
            let known = text.len();
            work::looked_at(1 + if known <= scheme.len() { known } else { 0 });
            if known <= scheme.len() && !scheme.get(..known).is_some_and(|scheme| scheme.eq_ignore_ascii_case(text)) {
                if self.setting == Setting::Text {
                    return Prefix::Refused(at);
                }
                // Bare base64: nothing has been decoded yet, so the text so far is its payload.
                let bare = std::mem::take(&mut self.prefix);
                self.phase = Phase::Head(Vec::new());
                return self.replay(bare).map_or(Prefix::Refused(0), |()| Prefix::Complete(0));
            }
            // The characters of a media type and its attributes (RFC 2397, RFC 6838 section 4.2).
            let legal =
                character.is_ascii_alphanumeric() || b"!#$&^_.+-/;=%,".contains(&character) || known <= scheme.len();
            if known > LONGEST_PREFIX || (!legal && self.setting == Setting::Text) {
                return Prefix::Refused(at);
            }
            at += len;
            if character == b',' {
                if !is_base64_prefix(text, self.setting) {
                    return Prefix::Refused(at);
                }
                self.prefix.extend_from_slice(raw.get(..at).unwrap_or_default());
                self.phase = Phase::Head(Vec::new());
                return Prefix::Complete(at);
            }
        }
        self.prefix.extend_from_slice(raw);
        Prefix::More
    }

    /// Decodes the few characters that came before it was clear that there is no prefix.
    fn replay(&mut self, bare: Vec<u8>) -> Option<()> {
        let mut decoded = Vec::new();
        let taken = self.decode(&bare, &mut decoded);
        work::looked_at(2 * bare.len());
        let whole = taken == bare.len();
        if let Phase::Head(head) = &mut self.phase {
            head.extend(decoded);
        }
        self.payload.extend(bare);
        whole.then_some(())
    }

    /// Decodes as far as the characters go; returns how many raw characters that was.
    fn decode(&mut self, raw: &[u8], decoded: &mut Vec<u8>) -> usize {
        let mut at = 0;
        // So many pictures begin in one answer, and no more: there the whole piece may be searched.
        let first = if matches!(self.phase, Phase::Body) { raw.len() } else { FIRST_WINDOW };
        while let Some(rest) = raw.get(at..).filter(|rest| !rest.is_empty()) {
            let near = rest.get(..first.max(3 * at)).unwrap_or(rest);
            let plain = memchr::memchr(b'\\', near).unwrap_or(near.len());
            work::looked_at(1 + plain);
            if let Err(invalid) = self.decoder.push(near.get(..plain).unwrap_or_default(), decoded) {
                return at + invalid.at;
            }
            at += plain;
            if plain == near.len() {
                continue;
            }
            if let Some((character, len)) = Characters(raw.get(at..).unwrap_or_default()).next() {
                self.decoder.mark_escaped();
                let Some(character) = character else { return at };
                if self.decoder.push(&[character], decoded).is_err() {
                    return at;
                }
                at += len;
            }
        }
        at
    }

    /// Tells what was decoded, with the text it came from. `true`: it is no picture and has been given back.
    fn tell(&mut self, decoded: &[u8], pending: &[u8], text: &[u8], events: &mut Events) -> bool {
        match &mut self.phase {
            Phase::Prefix(_) => {}
            Phase::Head(head) => {
                work::looked_at(decoded.len() + text.len());
                head.extend_from_slice(decoded);
                self.payload.extend_from_slice(text);
                let begins = match self.sniffer.look(head) {
                    Sniff::Picture(_) => true,
                    Sniff::More if self.payload.len() > HOLD => true,
                    Sniff::More => return false,
                    Sniff::No => false,
                };
                if begins && events.admit() {
                    self.start(events);
                    return false;
                }
                self.give_back(events);
                return true;
            }
            Phase::Body => self.tell_data(decoded, pending, text, events),
        }
        false
    }

    fn tell_data(&mut self, decoded: &[u8], pending: &[u8], text: &[u8], events: &mut Events) {
        if self.needs_raw() {
            let pending = if std::mem::replace(&mut self.spelled_out, true) { &[] } else { pending };
            events.spelled_out(self.picture, decoded, [pending, text]);
        } else {
            events.data(self.picture).extend_from_slice(decoded);
        }
    }

    fn start(&mut self, events: &mut Events) {
        let Phase::Head(head) = std::mem::replace(&mut self.phase, Phase::Body) else { return };
        self.ending = Ending::of(&head);
        let payload = std::mem::take(&mut self.payload);
        work::looked_at(head.len() + self.prefix.len() + self.slot.original.len());
        let mut slot = self.slot.clone();
        if slot.passed_on {
            slot.original = Bytes::new();
            events.copy(&self.opening);
            events.copy(&self.prefix);
            events.copy(&payload);
        } else {
            slot.original = [&slot.original, self.prefix.as_slice()].concat().into();
        }
        events.push(Event::Start { picture: self.picture, slot });
        self.spelled_out = self.needs_raw();
        let raw = self.spelled_out.then(|| payload.into());
        events.push(Event::Data { picture: self.picture, decoded: head.into(), raw });
    }

    /// Whether the text is kept beside the decoded bytes: it is not when encoding these again gives it back.
    fn needs_raw(&self) -> bool {
        !self.slot.passed_on && (self.spelled_out || !self.decoder.is_plain())
    }

    /// It is no picture: what is held goes out as it came.
    fn give_back(&mut self, events: &mut Events) {
        let begun = matches!(self.phase, Phase::Body);
        self.given_back = true;
        if begun {
            let spelled_out = self.spelled_out || self.slot.passed_on;
            let tail = if spelled_out { Bytes::new() } else { self.decoder.pending().into() };
            events.push(Event::Release { picture: self.picture, tail });
        } else {
            events.copy(&self.slot.original);
            events.copy(&self.prefix);
            match self.setting {
                Setting::Value => events.copy(&self.payload),
                Setting::Text => self.unread = std::mem::take(&mut self.payload),
            }
        }
    }

    /// The payload of what was no picture, which has not gone out: in running text it may end with the start of another.
    pub fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// Copies out what belongs to a picture that is passed on.
    fn pass_on(&self, raw: &[u8], events: &mut Events) {
        if self.slot.passed_on && matches!(self.phase, Phase::Body) {
            events.copy(raw);
        }
    }
}

/// How far a candidate took the characters it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    All,
    /// Whether those behind so many are its, what follows will tell: they are to be given again, with more.
    Before(usize),
    /// It has ended, by success or not, after so many; the rest is not its.
    Ended(usize),
}

/// What a line end does.
enum Line {
    /// It is so long, and the base64 goes on behind it.
    GoesOn(usize),
    Unclear,
    /// Nothing goes on.
    Over,
}

enum Prefix {
    More,
    /// The payload begins after this many raw characters.
    Complete(usize),
    /// No picture; this many raw characters belong to what is given back.
    Refused(usize),
}

/// `data:[type/subtype][;attr=value]*;base64,` (RFC 2397); in text only `data:image/…`.
fn is_base64_prefix(text: &[u8], setting: Setting) -> bool {
    work::looked_at(text.len());
    let text = text.to_ascii_lowercase();
    let image = text.starts_with(b"data:image/");
    text.ends_with(b";base64,") && (image || setting == Setting::Value)
}

/// The characters of a raw JSON string with the raw length of each; `None` for one beyond ASCII.
pub(super) struct Characters<'a>(pub(super) &'a [u8]);

impl Iterator for Characters<'_> {
    type Item = (Option<u8>, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let first = *self.0.first()?;
        let (character, len) = match (first, self.0.get(1)) {
            (b'\\', Some(b'u')) => (self.0.get(2..6).and_then(escaped), 6),
            (b'\\', Some(b'n')) => (Some(b'\n'), 2),
            (b'\\', Some(b'r')) => (Some(b'\r'), 2),
            (b'\\', Some(b't')) => (Some(b'\t'), 2),
            (b'\\', Some(b'b' | b'f')) => (Some(0), 2),
            (b'\\', Some(literal)) => (Some(*literal), 2),
            (0..=0x7f, _) => (Some(first), 1),
            _ => (None, 1),
        };
        self.0 = self.0.get(len..).unwrap_or_default();
        Some((character, len))
    }
}

/// The ASCII character that four hex digits name.
fn escaped(digits: &[u8]) -> Option<u8> {
    let code = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    u8::try_from(code).ok().filter(u8::is_ascii)
}

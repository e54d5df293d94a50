//! What a rewriter says.

use bytes::{Bytes, BytesMut};

use crate::work;

/// Most bytes of stream events that wait, about.
const MOST_WAITING: usize = 64 * 1024;

/// One thing a rewriter found, in the order of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes that leave as they are.
    Copy(Bytes),
    /// A base64 picture begins: its type and size header have been seen. [`Data`](Event::Data) follows, then
    /// [`End`](Event::End) or [`Release`](Event::Release). In a stream, several may be under way: `picture` tells them
    /// apart, and is used again once a picture has ended.
    Start { picture: u32, slot: Slot },
    /// Decoded bytes of the picture.
    ///
    /// `raw` is what they were written as, when encoding them again would not give that back (line breaks, URL-safe
    /// alphabet, escapes). Once it is given, every later piece of the same picture has it too.
    Data { picture: u32, decoded: Bytes, raw: Option<Bytes> },
    /// The picture is complete: fill its slot, which is here.
    End { picture: u32 },
    /// It was no picture after all. What goes out instead is the slot's `original`, the pieces again as they were
    /// written, and `tail`.
    Release { picture: u32, tail: Bytes },
    /// The answer names a picture by an http(s) URL.
    Link { slot: Slot, url: String },
    /// What has been said so far ends between two events of a stream; the next one has a picture in it, or is long.
    Between,
}

/// Where a picture stood, and what to write there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Written before the fill.
    pub lead: Bytes,
    pub fill: Fill,
    /// What stood there up to the picture's bytes; written when the slot cannot be filled.
    pub original: Bytes,
    /// The value's own bytes have gone out already, by [`Event::Copy`]: a release writes nothing.
    pub passed_on: bool,
}

/// What a slot is filled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Nothing: the picture is kept, the answer is not changed.
    Nothing,
    /// Our URL of the picture.
    Url,
    /// Its bytes as base64.
    Base64,
    /// Its bytes as base64, then this text, then our URL.
    Base64ThenUrl(Bytes),
}

/// The text of a stream that has come in and has not gone out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldText {
    /// All text has gone out.
    None,
    /// Some text may be the start of a picture.
    Text,
    /// A picture has begun in some text.
    Picture,
}

/// Collects events; neighbouring copies become one, and so does the data of one picture: data have no place among copies, so
/// the many short ones of a stream become one of each kind. Counts pictures, and lets so many pass and no more.
#[derive(Debug)]
pub struct Events {
    copy: BytesMut,
    /// Where in `copy` the event of the stream begins that is under way, and whether no text was held then. `None` too once
    /// some of that event has been queued.
    begun: Option<(usize, bool)>,
    /// Stream events that wait, as they came, because their last text may be the start of a picture. `copy` then holds the
    /// same events rewritten. One of the two goes out.
    waiting: Option<Vec<u8>>,
    /// Bytes copied and events pushed so far.
    said: u64,
    data: Option<Data>,
    queue: Vec<Event>,
    /// How many more pictures may be told.
    left: usize,
    /// How many were not told.
    refused: u64,
}

/// Data of one picture that have not been told yet.
#[derive(Debug)]
struct Data {
    picture: u32,
    decoded: Vec<u8>,
    raw: Option<Vec<u8>>,
}

impl Events {
    /// At most this many pictures and links are told; further ones are to stay as they came.
    pub fn at_most(pictures: usize) -> Self {
        Self {
            copy: BytesMut::new(),
            begun: None,
            waiting: None,
            said: 0,
            data: None,
            queue: Vec::new(),
            left: pictures,
            refused: 0,
        }
    }

    /// Bytes that leave as they are.
    pub fn copy(&mut self, bytes: &[u8]) {
        work::looked_at(1 + bytes.len());
        self.said += bytes.len() as u64;
        self.copy.extend_from_slice(bytes);
    }

    /// How much has been said so far, in bytes and events; data of pictures do not count.
    pub fn said(&self) -> u64 {
        self.said
    }

    /// Takes the last bytes copied back. Nothing may have been said since.
    pub fn take_back(&mut self, len: usize) {
        self.said -= len as u64;
        self.copy.truncate(self.copy.len().saturating_sub(len));
    }

    /// An event of a stream begins. Should it have a picture, what was said before need not wait for that. `text`: the text
    /// of earlier events that is held.
    pub fn event_begins(&mut self, text: HeldText) {
        self.begun = Some((self.copy.len(), text == HeldText::None));
    }

    /// The event has ended. `original`: its bytes as they came. Events wait from the first whose text is
    /// [held](HeldText::Text) until that text is known to be none of a picture: then all leave as they came. Once a picture
    /// has begun, or more than 64 KiB wait, they leave rewritten.
    pub fn event_ends(&mut self, original: [&[u8]; 2], text: HeldText) {
        let begun = self.begun.take();
        if self.waiting.is_some() {
            original.iter().for_each(|bytes| self.came(bytes));
        } else if let (HeldText::Text, Some((begun, true))) = (text, begun) {
            let before = self.copy.split_to(begun);
            self.queue_copy(before);
            self.waiting = Some(original.concat());
            work::looked_at(original.iter().map(|bytes| bytes.len()).sum());
        }
        self.settle(text);
    }

    /// An event has ended whose bytes [came](Self::came) one by one.
    pub fn long_event_ends(&mut self, text: HeldText) {
        self.begun = None;
        self.settle(text);
    }

    /// Some bytes of events have come: if any event waits, they wait too.
    pub fn came(&mut self, bytes: &[u8]) {
        if let Some(waiting) = &mut self.waiting {
            work::looked_at(bytes.len());
            waiting.extend_from_slice(bytes);
            if waiting.len() > MOST_WAITING {
                self.waiting = None;
            }
        }
    }

    /// Lets go of events that wait, once no text is held: as they came.
    pub fn settle(&mut self, text: HeldText) {
        if text == HeldText::None
            && let Some(waiting) = self.waiting.take()
        {
            work::looked_at(waiting.len());
            self.copy.clear();
            self.copy.extend_from_slice(&waiting);
        }
    }

    /// `true` while events of the stream wait.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Decoded bytes of a picture are appended to this. They need no raw text.
    pub fn data(&mut self, picture: u32) -> &mut Vec<u8> {
        &mut self.data_of(picture, false).decoded
    }

    /// Decoded bytes of a picture, and the pieces of the text they were written as. Many short ones become one event: base64
    /// in lines of four characters would be two events a line.
    pub fn spelled_out(&mut self, picture: u32, decoded: &[u8], text: [&[u8]; 2]) {
        let data = self.data_of(picture, true);
        data.decoded.extend_from_slice(decoded);
        work::looked_at(1 + decoded.len());
        for text in text {
            work::looked_at(text.len());
            data.raw.get_or_insert_default().extend_from_slice(text);
        }
    }

    /// What is known of this picture's data, all with raw text or all without.
    fn data_of(&mut self, picture: u32, has_raw: bool) -> &mut Data {
        let fits = |data: &Data| data.picture == picture && data.raw.is_some() == has_raw;
        if self.data.as_ref().is_some_and(|data| !fits(data)) {
            self.flush_data();
        }
        let raw = has_raw.then(Vec::new);
        self.data.get_or_insert_with(|| Data { picture, decoded: Vec::new(), raw })
    }

    /// Any other event.
    pub fn push(&mut self, event: Event) {
        self.flush();
        self.said += 1;
        self.queue.push(event);
    }

    /// A link; one too many stays as it came.
    pub fn link(&mut self, slot: Slot, url: String) {
        if self.admit() {
            self.push(Event::Link { slot, url });
        } else {
            self.copy(&slot.original);
        }
    }

    /// A picture is about to be told, or a link. `false`: it is one too many.
    pub fn admit(&mut self) -> bool {
        let admitted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        self.refused += u64::from(!admitted);
        admitted
    }

    /// Whether a further picture would be one too many.
    pub fn is_full(&self) -> bool {
        self.left == 0
    }

    /// How many pictures were one too many.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Takes out everything said so far, without events that wait.
    pub fn take(&mut self) -> Vec<Event> {
        if self.waiting.is_none() {
            self.flush();
        }
        std::mem::take(&mut self.queue)
    }

    fn flush(&mut self) {
        self.waiting = None;
        self.flush_data();
        let begun = self.begun.take().map(|(before, _)| before);
        if let Some(before) = begun.filter(|before| (1..=self.copy.len()).contains(before)) {
            let before = self.copy.split_to(before);
            self.queue_copy(before);
            self.queue.push(Event::Between);
        }
        let copy = self.copy.split();
        self.queue_copy(copy);
    }

    fn queue_copy(&mut self, copy: BytesMut) {
        if !copy.is_empty() {
            self.queue.push(Event::Copy(copy.freeze()));
        }
    }

    fn flush_data(&mut self) {
        if let Some(Data { picture, decoded, raw }) = self.data.take()
            && (!decoded.is_empty() || raw.as_ref().is_some_and(|raw| !raw.is_empty()))
        {
            self.queue.push(Event::Data { picture, decoded: decoded.into(), raw: raw.map(Bytes::from) });
        }
    }
}

//! What a rewriter says.

use bytes::{Bytes, BytesMut};

use crate::work;

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

/// Collects events; neighbouring copies become one, and so does the data of one picture: data have no place among copies, so
/// the many short ones of a stream become one of each kind. Counts pictures, and lets so many pass and no more.
#[derive(Debug)]
pub struct Events {
    copy: BytesMut,
    /// Where in `copy` the event of the stream begins that is under way.
    begun: Option<usize>,
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
        Self { copy: BytesMut::new(), begun: None, said: 0, data: None, queue: Vec::new(), left: pictures, refused: 0 }
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

    /// An event of a stream begins. Should it have a picture, what was said before need not wait for that.
    pub fn event_begins(&mut self) {
        self.begun = Some(self.copy.len());
    }

    /// It has ended.
    pub fn event_ends(&mut self) {
        self.begun = None;
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

    /// Takes out everything said so far.
    pub fn take(&mut self) -> Vec<Event> {
        self.flush();
        std::mem::take(&mut self.queue)
    }

    fn flush(&mut self) {
        self.flush_data();
        if let Some(before) = self.begun.take().filter(|before| (1..=self.copy.len()).contains(before)) {
            self.queue.push(Event::Copy(self.copy.split_to(before).freeze()));
            self.queue.push(Event::Between);
        }
        if !self.copy.is_empty() {
            self.queue.push(Event::Copy(self.copy.split().freeze()));
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

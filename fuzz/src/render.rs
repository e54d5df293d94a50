//! What the exchange does with events, without a store.

use std::collections::HashMap;

use super::super::{
    picture::{PictureId, Sniff, sniff},
    rewrite::{Event, Fill, Slot, base64::Encoder},
};

/// Renders events. The URL of a picture is [`url`].
#[derive(Debug, Default)]
pub struct Renderer {
    pub out: Vec<u8>,
    /// The pictures that were kept, in the order of their ends.
    pub kept: Vec<Vec<u8>>,
    /// A picture has begun, whatever became of it.
    pub begun: bool,
    /// The links that were told.
    pub links: Vec<String>,
    /// What every link leads to; `None`: links cannot be fetched.
    linked: Option<Vec<u8>>,
    under_way: HashMap<u32, UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    slot: Slot,
    bytes: Vec<u8>,
    /// How many of them came without their raw text.
    plain: usize,
    raw: Vec<u8>,
}

/// The URL that a picture gets.
pub fn url(bytes: &[u8]) -> String {
    format!("u:{}", PictureId::of(bytes))
}

impl Renderer {
    pub fn new(linked: Option<&[u8]>) -> Self {
        Self { linked: linked.map(<[u8]>::to_vec), ..Self::default() }
    }

    /// Whether anything was put in place of something else, or kept.
    pub fn found_nothing(&self) -> bool {
        self.kept.is_empty() && (self.links.is_empty() || self.linked.is_none())
    }

    /// To be called at the end.
    pub fn finish(self) -> Self {
        assert!(self.under_way.is_empty(), "a picture was begun and never ended");
        self
    }

    pub fn events(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Between => {}
                Event::Copy(bytes) => self.out.extend(bytes),
                Event::Start { picture, slot } => {
                    self.begun = true;
                    let fresh = UnderWay { slot, bytes: Vec::new(), plain: 0, raw: Vec::new() };
                    assert!(self.under_way.insert(picture, fresh).is_none(), "{picture} is under way already");
                }
                Event::Data { picture, decoded, raw } => {
                    let picture = self.under_way.get_mut(&picture).expect("a picture under way");
                    match raw {
                        Some(raw) => picture.raw.extend(raw),
                        None => {
                            assert!(picture.raw.is_empty(), "raw text once, raw text always");
                            picture.plain += decoded.len();
                        }
                    }
                    picture.bytes.extend(decoded);
                }
                Event::End { picture } => {
                    let picture = self.under_way.remove(&picture).expect("a picture under way");
                    // One that was begun on trust is judged at its end, as the store does.
                    match sniff(&picture.bytes) {
                        Sniff::Picture(_) => {
                            self.fill(&picture.slot, &picture.bytes);
                            self.kept.push(picture.bytes);
                        }
                        _ => self.release(picture, &[]),
                    }
                }
                Event::Release { picture, tail } => {
                    let picture = self.under_way.remove(&picture).expect("a picture under way");
                    self.release(picture, &tail);
                }
                Event::Link { slot, url } => {
                    self.links.push(url);
                    match self.linked.clone() {
                        Some(bytes) => self.fill(&slot, &bytes),
                        None => self.out.extend(slot.original),
                    }
                }
            }
        }
    }

    fn fill(&mut self, slot: &Slot, bytes: &[u8]) {
        let base64 = || base64_simd::STANDARD.encode_to_string(bytes).into_bytes();
        let fill = match &slot.fill {
            Fill::Nothing => return,
            Fill::Url => url(bytes).into_bytes(),
            Fill::Base64 => base64(),
            Fill::Base64ThenUrl(between) => [base64().as_slice(), between, url(bytes).as_bytes()].concat(),
        };
        self.out.extend_from_slice(&slot.lead);
        self.out.extend(fill);
    }

    fn release(&mut self, picture: UnderWay, tail: &[u8]) {
        if picture.slot.passed_on {
            return;
        }
        let mut encoder = Encoder::default();
        self.out.extend(picture.slot.original);
        self.out.extend(encoder.push(&picture.bytes[..picture.plain]));
        self.out.extend(encoder.finish());
        self.out.extend(picture.raw);
        self.out.extend_from_slice(tail);
    }
}

//! What the exchange does with events, without a store, for the tests of this folder.

use std::collections::HashMap;

use super::{Event, Fill, Slot, base64::Encoder};
use crate::picture::{PictureId, Sniff, sniff};

pub(super) const PNG: &[u8] = include_bytes!("../../tests/fixtures/wire/img/px2b.png");
pub(super) const PNG_BASE64: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAYAAABytg0kAAAAGklEQVR42mNgZGL+z8LK9p+BnYPzPxc3z38AIAsES4oxhygAAAAASUVORK5CYII=";

/// A picture's URL is `u:` and the first digits of its id, a linked picture is [`PNG`], and links to `http://gone` cannot
/// be fetched.
#[derive(Default)]
pub(super) struct Renderer {
    pub(super) out: Vec<u8>,
    under_way: HashMap<u32, UnderWay>,
}

struct UnderWay {
    slot: Slot,
    bytes: Vec<u8>,
    plain: usize,
    raw: Vec<u8>,
}

impl Renderer {
    pub(super) fn url(bytes: &[u8]) -> String {
        format!("u:{}", &PictureId::of(bytes).to_string()[..6])
    }

    /// Everything that went out.
    #[track_caller]
    pub(super) fn text(self) -> String {
        assert!(self.under_way.is_empty(), "a picture was begun and never ended");
        String::from_utf8_lossy(&self.out).into_owned()
    }

    fn fill(&mut self, slot: &Slot, bytes: &[u8]) {
        let base64 = base64_simd::STANDARD.encode_to_string(bytes);
        let fill = match &slot.fill {
            Fill::Nothing => return,
            Fill::Url => Self::url(bytes),
            Fill::Base64 => base64,
            Fill::Base64ThenUrl(between) => base64 + std::str::from_utf8(between).unwrap() + Self::url(bytes).as_str(),
        };
        self.out.extend_from_slice(&slot.lead);
        self.out.extend(fill.into_bytes());
    }

    pub(super) fn events(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Between => {}
                Event::Copy(bytes) => self.out.extend(bytes),
                Event::Start { picture, slot } => {
                    let fresh = UnderWay { slot, bytes: Vec::new(), plain: 0, raw: Vec::new() };
                    assert!(self.under_way.insert(picture, fresh).is_none());
                }
                Event::Data { picture, decoded, raw } => {
                    let picture = self.under_way.get_mut(&picture).unwrap();
                    match raw {
                        Some(raw) => picture.raw.extend(raw),
                        None => {
                            assert!(picture.raw.is_empty());
                            picture.plain += decoded.len();
                        }
                    }
                    picture.bytes.extend(decoded);
                }
                Event::End { picture } => {
                    let picture = self.under_way.remove(&picture).unwrap();
                    assert!(matches!(sniff(&picture.bytes), Sniff::Picture(_)));
                    self.fill(&picture.slot, &picture.bytes);
                }
                Event::Release { picture, tail } => {
                    let picture = self.under_way.remove(&picture).unwrap();
                    if picture.slot.passed_on {
                        continue;
                    }
                    let mut encoder = Encoder::default();
                    self.out.extend(picture.slot.original);
                    self.out.extend(encoder.push(&picture.bytes[..picture.plain]));
                    self.out.extend(encoder.finish());
                    self.out.extend(picture.raw);
                    self.out.extend(tail);
                }
                Event::Link { slot, url } if url.starts_with("http://gone") => self.out.extend(slot.original),
                Event::Link { slot, .. } => self.fill(&slot, PNG),
            }
        }
    }
}

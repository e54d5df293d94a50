//! An images answer out of a bare picture.
//!
//! Some providers answer a generation with the picture itself (`Content-Type: image/png`). The client asked an images
//! endpoint, so it gets what that answers: `{"created":…,"data":[{"url":…}]}`, in the form it wants.

use bytes::Bytes;

use super::{Event, Fill, Slot, document::Form};
use crate::work;

/// What events call the picture.
const PICTURE: u32 = 0;

/// Wraps one picture. To be used only for bytes that are a picture by their start.
#[derive(Debug)]
pub struct RawRewriter {
    /// What goes out before the picture's place, until it has.
    start: Option<(Bytes, Slot)>,
}

impl RawRewriter {
    /// `created`: seconds since 1970. `None` for [`Form::AsCame`], which leaves such an answer as it is.
    pub fn new(form: Form, created: u64) -> Option<Self> {
        let (key, fill) = match form {
            Form::Url => ("url", Fill::Url),
            Form::Base64 => ("b64_json", Fill::Base64),
            Form::Both => ("b64_json", Fill::Base64ThenUrl(Bytes::from_static(b"\",\"url\":\""))),
            Form::AsCame => return None,
        };
        let lead = format!("\"{key}\":\"").into();
        let slot = Slot { lead, fill, original: Bytes::new(), passed_on: false };
        Some(Self { start: Some((format!("{{\"created\":{created},\"data\":[{{").into(), slot)) })
    }

    /// Takes the next bytes of the picture.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some((text, slot)) = self.start.take() {
            events.extend([Event::Copy(text), Event::Start { picture: PICTURE, slot }]);
        }
        work::looked_at(1 + piece.len());
        events.push(Event::Data { picture: PICTURE, decoded: Bytes::copy_from_slice(piece), raw: None });
        events
    }

    /// Ends the picture.
    pub fn finish(&mut self) -> Vec<Event> {
        vec![Event::End { picture: PICTURE }, Event::Copy(Bytes::from_static(b"\"}]}"))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::testing::{PNG, PNG_BASE64, Renderer};

    #[test]
    fn a_picture_becomes_an_answer_in_every_form() {
        let u = Renderer::url(PNG);
        for (form, item) in [
            (Form::Url, format!(r#"{{"url":"{u}"}}"#)),
            (Form::Base64, format!(r#"{{"b64_json":"{PNG_BASE64}"}}"#)),
            (Form::Both, format!(r#"{{"b64_json":"{PNG_BASE64}","url":"{u}"}}"#)),
        ] {
            for size in [1, 7, 1000] {
                let mut rewriter = RawRewriter::new(form, 12).unwrap();
                let mut renderer = Renderer::default();
                PNG.chunks(size).for_each(|piece| renderer.events(rewriter.push(piece)));
                renderer.events(rewriter.finish());
                assert_eq!(renderer.text(), format!(r#"{{"created":12,"data":[{item}]}}"#));
            }
        }
        assert!(RawRewriter::new(Form::AsCame, 12).is_none());
    }
}

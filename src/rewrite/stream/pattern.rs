//! Events as patterns: what stands around a text.

use memchr::memmem;

use crate::rewrite::{json::Name, shape::Shape, texts::Field};

/// What clients append to what came before, also when it is the same once more.
const ADDING: [&[u8]; 4] = [b"\"audio\"", b"_details\"", b"\"refusal\"", b"\"annotations\""];

/// An event that was sent, around the text of one field.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub(super) field: Field,
    pub(super) before: Vec<u8>,
    pub(super) behind: Vec<u8>,
    /// The empty line that ended it.
    pub(super) blank: Vec<u8>,
}

impl Pattern {
    pub(super) fn empty(field: Field) -> Self {
        Self { field, before: Vec::new(), behind: Vec::new(), blank: Vec::new() }
    }

    pub(super) fn set(&mut self, field: Field, before: &[u8], behind: &[u8], blank: &[u8]) {
        self.field = field;
        self.before.clear();
        self.before.extend_from_slice(before);
        self.behind.clear();
        self.behind.extend_from_slice(behind);
        self.blank.clear();
        self.blank.extend_from_slice(blank);
    }

    /// Whether an event like it says nothing new without its text: then it may be left out.
    pub(super) fn is_empty_without_text(&self) -> bool {
        let stands = |name: &&[u8]| [&self.before, &self.behind].iter().any(|part| memmem::find(part, name).is_some());
        !ADDING.iter().any(stands)
    }

    /// An event around a text, when none is at hand to copy.
    pub(super) fn plain(shape: Shape, field: Field) -> Self {
        let Field { place, name } = field;
        let (before, behind) = match shape {
            Shape::Responses => {
                let (output, content) = (place >> 16, place & 0xffff);
                let kind = "response.output_text.delta";
                let before = format!(
                    "event: {kind}\ndata: {{\"type\":\"{kind}\",\"output_index\":{output},\"content_index\":{content},\"delta\":\""
                );
                (before, "\"}\n")
            }
            Shape::Chat | Shape::Images => {
                let name = if name == Name::Other { Name::Content } else { name }.as_str();
                let before = format!(
                    "data: {{\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":{place},\"delta\":{{\"{name}\":\""
                );
                (before, "\"},\"finish_reason\":null}]}\n")
            }
        };
        Self { field, before: before.into_bytes(), behind: behind.into(), blank: b"\n".into() }
    }
}

//! Events as patterns: what stands around a text.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::{
    rewrite::{json::Name, shape::Shape, texts::Field},
    work,
};

/// What every event of a stream repeats, and an event of ours has, too.
const IDENTITY: [&str; 8] =
    ["id", "object", "created", "model", "system_fingerprint", "service_tier", "provider", "item_id"];

/// An event that was sent, around the text of one field.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub(super) field: Field,
    pub(super) before: Vec<u8>,
    pub(super) behind: Vec<u8>,
    /// The empty line that ended it.
    pub(super) blank: Vec<u8>,
    says_only_text: OnceLock<bool>,
}

impl Pattern {
    pub(super) fn new(field: Field, before: &[u8], behind: &[u8], blank: &[u8]) -> Self {
        let [before, behind, blank] = [before, behind, blank].map(<[u8]>::to_vec);
        Self { field, before, behind, blank, says_only_text: OnceLock::new() }
    }

    /// Whether an event like it says nothing but its text: it may be left out when that is empty, and sent again around
    /// another.
    pub(super) fn says_only_text(&self, shape: Shape) -> bool {
        *self.says_only_text.get_or_init(|| {
            let whole = [self.before.as_slice(), &self.behind].concat();
            work::looked_at(2 * whole.len());
            let mut lines = whole.split(is_line_end).filter(|line| !line.is_empty() && !line.starts_with(b"event:"));
            let is_only = lines.next().is_some_and(|line| line.starts_with(b"data:")) && lines.next().is_none();
            is_only && says_nothing(shape, &object(&whole))
        })
    }

    /// An event around another text of the same field, or of this one of its fields.
    pub(super) fn around(&self, shape: Shape, field: Field) -> Self {
        work::looked_at(self.before.len() + self.behind.len());
        if self.field == field && self.says_only_text(shape) {
            return self.clone();
        }
        let whole = [self.before.as_slice(), &self.behind].concat();
        Self::plain(shape, field, &whole, &self.blank)
    }

    /// An event around a text that says nothing else, with what it has in common with another.
    pub(super) fn plain(shape: Shape, field: Field, like: &[u8], blank: &[u8]) -> Self {
        let like = object(like);
        let common: String =
            IDENTITY.into_iter().filter_map(|name| Some(format!("\"{name}\":{},", like.get(name)?))).collect();
        work::looked_at(common.len());
        let line_end = match blank {
            [b'\r', b'\n', ..] => "\r\n",
            [b'\r', ..] => "\r",
            _ => "\n",
        };
        let Field { place, name } = field;
        let (before, behind) = match shape {
            Shape::Responses => {
                let (output, part) = (place >> 16, place & 0xffff);
                let (kind, of) = match name {
                    Name::Reasoning => ("response.reasoning_text.delta", "content_index"),
                    Name::ReasoningContent => ("response.reasoning_summary_text.delta", "summary_index"),
                    _ => ("response.output_text.delta", "content_index"),
                };
                let before = format!(
                    "event: {kind}{line_end}data: {{{common}\"type\":\"{kind}\",\"output_index\":{output},\"{of}\":{part},\"delta\":\""
                );
                (before, "\"}")
            }
            Shape::Chat | Shape::Images => {
                let object = if like.contains_key("object") { "" } else { "\"object\":\"chat.completion.chunk\"," };
                let (value, end) = match name {
                    Name::Text => ("\"content\":[{\"type\":\"text\",\"text\":\"", "\"}]},\"finish_reason\":null}]}"),
                    Name::Reasoning => ("\"reasoning\":\"", "\"},\"finish_reason\":null}]}"),
                    Name::ReasoningContent => ("\"reasoning_content\":\"", "\"},\"finish_reason\":null}]}"),
                    _ => ("\"content\":\"", "\"},\"finish_reason\":null}]}"),
                };
                let before = format!("data: {{{common}{object}\"choices\":[{{\"index\":{place},\"delta\":{{{value}");
                (before, end)
            }
        };
        Self::new(field, before.as_bytes(), &[behind, line_end].concat().into_bytes(), blank)
    }
}

fn is_line_end(byte: &u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// The object that is an event's data; empty when they are none.
fn object(event: &[u8]) -> Map<String, Value> {
    work::looked_at(3 * event.len());
    let data = event.split(is_line_end).filter_map(|line| line.strip_prefix(b"data:"));
    serde_json::from_slice(&data.collect::<Vec<_>>().join(&b'\n')).unwrap_or_default()
}

/// Whether an event whose one text is empty says nothing that others do not. What is not known may say something.
fn says_nothing(shape: Shape, event: &Map<String, Value>) -> bool {
    event.iter().all(|(name, value)| match (shape, name.as_str()) {
        (_, name) if IDENTITY.contains(&name) || name == "obfuscation" => true,
        (Shape::Responses, "type" | "output_index" | "content_index" | "summary_index" | "response_id") => true,
        (Shape::Chat, "choices") => match value.as_array().map(Vec::as_slice) {
            Some([Value::Object(choice)]) => choice.iter().all(|(name, value)| match (name.as_str(), value) {
                ("index", _) => true,
                ("delta", Value::Object(delta)) => delta.iter().all(says_nothing_in_delta),
                _ => is_nothing(value),
            }),
            _ => false,
        },
        _ => is_nothing(value),
    })
}

fn says_nothing_in_delta((name, value): (&String, &Value)) -> bool {
    match (name.as_str(), value) {
        ("role", _) => true,
        ("content", Value::Array(parts)) => matches!(parts.as_slice(), [Value::Object(part)]
            if part.iter().all(|(name, value)| name == "type" || is_nothing(value))),
        _ => is_nothing(value),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

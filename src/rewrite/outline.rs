//! What an event is about, before it is rewritten.
//!
//! Text that is held back must go out before the event that ends it, or that says something else in its stead. Servers say
//! "nothing" in many ways (`"tool_calls":[]`, `"finish_reason":""`, `"error":null`), so it is the values that count, not
//! the names. What cannot be understood says nothing.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    json::Name,
    shape::{Kind, Shape},
    texts::Field,
};
use crate::work;

/// How a text is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// It is over.
    Finish,
    /// Something else comes between. A picture that is under way goes on behind it; nothing else is held.
    Pause,
}

/// What an event says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outline {
    /// What its data say it is.
    pub(super) kind: Option<Kind>,
    /// Closes every text that it does not go on with.
    all: Option<Close>,
    choices: Vec<Choice>,
    /// The text of a response that it goes on with.
    pub(super) delta: Option<Field>,
    /// What it ends of a response: an output, or a part of one. `None`: all of it.
    ended: Option<(u32, Option<u32>)>,
}

/// What one choice of a chat says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Choice {
    place: u32,
    finishes: bool,
    /// Fields with text.
    texts: Vec<Name>,
    /// The content is a list of several parts.
    has_parts: bool,
    /// It says something that is no text.
    says_more: bool,
}

impl Outline {
    /// Looks at an event: what its `event` line says, if there is one, and its data.
    pub(super) fn of(shape: Shape, line: Option<&str>, data: &[u8]) -> Self {
        if data.trim_ascii().starts_with(b"[DONE]") {
            return Self { all: Some(Close::Finish), ..Self::default() };
        }
        work::looked_at(data.len());
        let Ok(Members(members)) = serde_json::from_slice(data) else { return Self::default() };
        let kind = members.iter().find(|(name, _)| *name == Name::Type).and_then(|(_, value)| text(value)).or(line);
        match shape {
            Shape::Chat => chat(&members),
            Shape::Responses => response(kind.unwrap_or_default(), &members),
            Shape::Images => Self { kind: kind.map(|kind| Kind::of(kind.as_bytes())), ..Self::default() },
        }
    }

    /// Of an event that is too long to be looked at as a whole: its texts end with their strings, as far as can be told.
    pub(super) fn too_long() -> Self {
        Self { all: Some(Close::Pause), ..Self::default() }
    }

    /// How held text of this field is closed before the event, if it is.
    pub(super) fn before(&self, field: Field) -> Option<Close> {
        work::looked_at(1 + self.choices.len());
        if let Some(delta) = self.delta {
            let takes_over = delta != field && delta.place >> 16 == field.place >> 16;
            return takes_over.then_some(Close::Pause);
        }
        if let Some((output, part)) = self.ended {
            let is_its = field.place >> 16 == output && part.is_none_or(|part| field.place & 0xffff == part);
            return if is_its { self.all } else { Some(Close::Pause) };
        }
        let choice = self.choices.iter().find(|choice| choice.place == field.place);
        match choice {
            Some(choice) if choice.texts.contains(&field.name) => None,
            Some(choice) if choice.finishes => Some(Close::Finish),
            Some(choice) if choice.says_more || !choice.texts.is_empty() => self.all.or(Some(Close::Pause)),
            _ => self.all,
        }
    }

    /// How text of this field is closed where its string in the event ends, if it is.
    pub(super) fn within(&self, field: Field) -> Option<Close> {
        work::looked_at(1 + self.choices.len());
        let choice = self.choices.iter().find(|choice| choice.place == field.place);
        match choice {
            Some(choice) if choice.finishes || choice.has_parts => Some(Close::Finish),
            _ => self.all,
        }
    }

    /// Whether it says nothing but some text of this field.
    pub(super) fn says_only(&self, shape: Shape, field: Field) -> bool {
        match shape {
            Shape::Chat => matches!(self.choices.as_slice(), [choice]
                if choice.place == field.place && choice.texts == [field.name] && !choice.says_more && self.within(field).is_none()),
            Shape::Responses => self.delta == Some(field),
            Shape::Images => false,
        }
    }

    /// Which choices the deltas belong to, in order.
    pub(super) fn places(&self) -> impl Iterator<Item = u32> {
        self.choices.iter().map(|choice| choice.place)
    }
}

fn chat(members: &[(Name, &RawValue)]) -> Outline {
    let mut outline = Outline::default();
    for (name, value) in members {
        match name {
            Name::Error if !is_nothing(value) => outline.all = Some(Close::Finish),
            Name::Choices => {
                work::looked_at(value.get().len());
                let choices = serde_json::from_str::<Vec<Members<'_>>>(value.get()).unwrap_or_default();
                outline.choices = (0..).zip(choices).map(|(at, Members(members))| choice(at, &members)).collect();
            }
            _ => {}
        }
    }
    outline
}

fn response(kind: &str, members: &[(Name, &RawValue)]) -> Outline {
    let number = |wanted: Name| {
        let value = members.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.get());
        value.and_then(|value| value.parse::<u16>().ok()).map(u32::from)
    };
    let known = Some(Kind::of(kind.as_bytes())).filter(|_| !kind.is_empty());
    let (output, content) = (number(Name::OutputIndex), number(Name::ContentIndex));
    if known == Some(Kind::TextDelta) {
        let (name, part) = match kind {
            _ if kind.ends_with(".reasoning_summary_text.delta") => {
                (Name::ReasoningContent, number(Name::SummaryIndex))
            }
            _ if kind.ends_with(".reasoning_text.delta") => (Name::Reasoning, content),
            _ => (Name::Delta, content),
        };
        let place = output.unwrap_or(0) << 16 | part.unwrap_or(0);
        return Outline { kind: known, delta: Some(Field { place, name }), ..Outline::default() };
    }
    let all = closes(kind);
    let ended = output.filter(|_| all == Some(Close::Finish)).map(|output| (output, content));
    Outline { kind: known, all, ended, ..Outline::default() }
}

fn choice(at: u32, members: &[(Name, &RawValue)]) -> Choice {
    let mut choice = Choice { place: at, ..Choice::default() };
    for (name, value) in members {
        match name {
            Name::Index => {
                let number = value.get().trim_matches('"').parse::<u16>();
                choice.place = number.map_or(at, u32::from);
            }
            Name::FinishReason => choice.finishes = !is_nothing(value),
            Name::Delta => delta(value, &mut choice),
            _ => {}
        }
    }
    choice
}

fn delta(value: &RawValue, choice: &mut Choice) {
    work::looked_at(value.get().len());
    let Members(members) = serde_json::from_str(value.get()).unwrap_or_default();
    for (name, value) in members {
        match name {
            _ if is_nothing(value) => {}
            Name::Content if value.get().starts_with('[') => {
                work::looked_at(value.get().len());
                let parts = serde_json::from_str::<Vec<Members<'_>>>(value.get()).unwrap_or_default();
                match parts.as_slice() {
                    [Members(part)] if part.iter().any(|(name, _)| *name == Name::Text) => {
                        choice.texts.push(Name::Text)
                    }
                    _ => (choice.has_parts, choice.says_more) = (true, true),
                }
            }
            Name::Content | Name::Reasoning | Name::ReasoningContent => choice.texts.push(name),
            Name::ToolCalls | Name::FunctionCall | Name::Images | Name::Refusal | Name::Audio => {
                choice.says_more = true
            }
            _ => {}
        }
    }
}

/// What an event of a response, which is no delta of a text, does to the texts before it. Some say nothing at all.
fn closes(kind: &str) -> Option<Close> {
    let over = [".done", ".completed", ".failed", ".incomplete"].iter().any(|end| kind.ends_with(end));
    match kind {
        "ping" | "keepalive" | "response.in_progress" | "response.queued" => None,
        "error" => Some(Close::Finish),
        // A tool that is done does not end a text.
        _ if over && !kind.contains("_call") => Some(Close::Finish),
        _ => Some(Close::Pause),
    }
}

/// `null`, `false`, `""`, `[]` or `{}`.
fn is_nothing(value: &RawValue) -> bool {
    let text = value.get();
    work::looked_at(if text.starts_with(['[', '{']) { text.len() } else { 1 });
    let is_empty = |open, close| {
        text.strip_prefix(open)
            .and_then(|rest| rest.strip_suffix(close))
            .is_some_and(|inner: &str| inner.trim().is_empty())
    };
    matches!(text, "null" | "false" | "\"\"") || is_empty('[', ']') || is_empty('{', '}')
}

fn text<'a>(value: &&'a RawValue) -> Option<&'a str> {
    value.get().strip_prefix('"')?.strip_suffix('"')
}

/// The members of an object, as they are written.
#[derive(Default)]
struct Members<'a>(Vec<(Name, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(Name, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Object).map(Members)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl Visitor<'_> for Key {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E>(self, key: &str) -> Result<Name, E> {
                Ok(Name::of(key))
            }
        }
        deserializer.deserialize_str(Key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(data: &str) -> Outline {
        Outline::of(Shape::Chat, None, data.as_bytes())
    }

    fn field(place: u32, name: Name) -> Field {
        Field { place, name }
    }

    /// What becomes of held content and reasoning of choice 0 before the event, and of its content's end within.
    fn closed(data: &str) -> [Option<Close>; 3] {
        let outline = chat(data);
        let [content, reasoning] = [Name::Content, Name::Reasoning].map(|name| field(0, name));
        [outline.before(content), outline.before(reasoning), outline.within(content)]
    }

    fn of_delta(delta: &str, more: &str) -> [Option<Close>; 3] {
        closed(&format!(r#"{{"choices":[{{"index":0,"delta":{delta}{more}}}]}}"#))
    }

    #[test]
    fn only_what_says_something_closes_a_text() {
        const NONE: [Option<Close>; 3] = [None; 3];
        const PAUSE: Option<Close> = Some(Close::Pause);
        const FINISH: Option<Close> = Some(Close::Finish);
        for nothing in ["null", "[]", "[ ]", "\"\"", "{}", "false"] {
            for name in ["tool_calls", "function_call", "images", "refusal", "audio", "reasoning"] {
                let delta = format!(r#"{{"content":"x","{name}":{nothing}}}"#);
                let alone = of_delta(&delta, &format!(r#","finish_reason":{nothing},"logprobs":null"#));
                assert_eq!(alone, [None, PAUSE, None], "{delta}");
                assert_eq!(of_delta(&format!(r#"{{"role":"assistant","{name}":{nothing}}}"#), ""), NONE);
            }
            assert_eq!(closed(&format!(r#"{{"choices":[],"usage":{{"x":1}},"error":{nothing}}}"#)), NONE);
        }
        assert_eq!(of_delta(r#"{"tool_calls":[{"index":0}]}"#, ""), [PAUSE, PAUSE, None]);
        assert_eq!(of_delta(r#"{"content":"x","function_call":{"name":"f"}}"#, ""), [None, PAUSE, None]);
        assert_eq!(of_delta(r#"{"content":"x","reasoning":"y"}"#, ""), [None, None, None]);
        assert_eq!(of_delta(r#"{"content":"x"}"#, r#","finish_reason" : "stop""#), [None, FINISH, FINISH]);
        assert_eq!(of_delta("{}", r#","finish_reason":"stop""#), [FINISH, FINISH, FINISH]);
        assert_eq!(of_delta("null", r#","finish_reason":"stop""#), [FINISH, FINISH, FINISH]);
        assert_eq!(
            of_delta(r#"{"content":[{"type":"text","text":"x"},{"type":"text","text":"y"}]}"#, ""),
            [PAUSE, PAUSE, FINISH]
        );
        assert_eq!(closed("[DONE]"), [FINISH; 3]);
        assert_eq!(closed(r#"{"error":{"message":"x"}}"#), [FINISH; 3]);
        assert_eq!(closed(r#"{"error":"busy"}"#), [FINISH; 3]);
        for other in ["{", "[1]", "7", r#"{"choices":7}"#, r#"{"choices":[{"index":9,"delta":{"content":"x"}}]}"#] {
            assert_eq!(closed(other), NONE, "{other}");
        }
    }

    #[test]
    fn places_are_told_wherever_they_stand() {
        let of = |data: &str| chat(data).places().collect::<Vec<_>>();
        assert_eq!(of(r#"{"choices":[{"delta":{"images":[{"index":7}]},"index":3},{"delta":{}}]}"#), [3, 1]);
        assert_eq!(of(r#"{"choices":[{"index":"2","delta":{"content":"\"index\""}}]}"#), [2]);
    }

    #[test]
    fn events_of_a_response_close_texts_by_their_type() {
        for (kind, close) in [
            ("response.output_text.delta", None),
            ("response.in_progress", None),
            ("response.output_text.done", Some(Close::Finish)),
            ("response.output_item.done", Some(Close::Finish)),
            ("response.completed", Some(Close::Finish)),
            ("response.image_generation_call.completed", Some(Close::Pause)),
            ("response.function_call_arguments.delta", Some(Close::Pause)),
            ("response.output_item.added", Some(Close::Pause)),
            ("error", Some(Close::Finish)),
        ] {
            let outline = format!(r#"{{"output_index":0,"type":"{kind}"}}"#);
            let outline = Outline::of(Shape::Responses, Some("x"), outline.as_bytes());
            assert_eq!(outline.before(field(0, Name::Delta)), close, "{kind}");
        }
    }
}

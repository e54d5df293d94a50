//! What an event is about, before it is rewritten.
//!
//! Text that is held back must go out before the event that ends it. Nearly all events end nothing, and that can be told
//! by a quick look for three words; only the others are parsed.

use std::{collections::HashMap, sync::LazyLock};

use memchr::memmem::{self, Finder};
use serde::{Deserialize, de::IgnoredAny};

use super::{json::Name, shape::Shape, texts::Field};

/// Searchers are made once: making one takes longer than most events are to search.
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));
static TOOL_CALLS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"tool_calls\""));
static FINISH_REASON: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"finish_reason\""));
static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"delta\""));
static INDEX: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"index\""));

/// What an event ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// Every text.
    pub(super) all: bool,
    /// Texts of these places; with the names of those that still have text in the event itself.
    pub(super) places: Vec<(u32, Vec<Name>)>,
    /// Texts of these places go on later, but not through this event (a tool call comes between).
    pub(super) interrupted: Vec<u32>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default, borrow)]
    choices: Vec<Choice<'a>>,
    #[serde(default)]
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: Option<u16>,
    #[serde(default)]
    finish_reason: Option<IgnoredAny>,
    #[serde(default, borrow)]
    delta: Option<HashMap<&'a str, Option<IgnoredAny>>>,
}

impl Ends {
    /// Looks at the data of an event.
    pub(super) fn of(shape: Shape, data: &[u8]) -> Self {
        if data.trim_ascii().starts_with(b"[DONE]") {
            return Self { all: true, ..Self::default() };
        }
        match shape {
            Shape::Chat => chat(data),
            Shape::Responses => Self { all: ends_responses(data), ..Self::default() },
            Shape::Images => Self::default(),
        }
    }

    /// Whether text of this field must go out before the event.
    pub(super) fn comes_before(&self, field: Field) -> bool {
        let ends = |(place, names): &(u32, Vec<Name>)| *place == field.place && !names.contains(&field.name);
        self.all || self.interrupted.contains(&field.place) || self.places.iter().any(ends)
    }
}

/// Which choices the deltas of a chat's event belong to, in order, where that stands behind them (servers that sort their
/// keys). Empty when it stands before them, and is read in passing.
pub(super) fn places(shape: Shape, data: &[u8]) -> Vec<u32> {
    let late = || DELTA.find(data).is_some_and(|delta| INDEX.find(data).is_some_and(|index| delta < index));
    if shape != Shape::Chat || !late() {
        return Vec::new();
    }
    let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data) else { return Vec::new() };
    (0..).zip(chunk.choices).map(|(at, choice)| choice.index.unwrap_or(at).into()).collect()
}

fn chat(data: &[u8]) -> Ends {
    let says = |word: &Finder<'_>| word.find(data).is_some();
    if !finishes(data) && !says(&ERROR) && !says(&TOOL_CALLS) {
        return Ends::default();
    }
    let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data) else { return Ends::default() };
    let mut ends = Ends { all: chunk.error.is_some(), ..Ends::default() };
    for (at, choice) in (0..).zip(chunk.choices) {
        let place = choice.index.unwrap_or(at).into();
        let delta = choice.delta.unwrap_or_default();
        if choice.finish_reason.is_some() {
            let texts = delta.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| Name::of(name)).collect();
            ends.places.push((place, texts));
        } else if delta.contains_key("tool_calls") {
            ends.interrupted.push(place);
        }
    }
    ends
}

/// Whether a `finish_reason` is there that is not null. Inside a string the closing quote of the name would be escaped.
fn finishes(data: &[u8]) -> bool {
    FINISH_REASON.find_iter(data).any(|at| {
        let value = data.get(at + FINISH_REASON.needle().len()..).unwrap_or_default().trim_ascii_start();
        value.strip_prefix(b":").is_some_and(|value| !value.trim_ascii_start().starts_with(b"null"))
    })
}

/// Events that repeat or close what the deltas said.
fn ends_responses(data: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(rename = "type", default)]
        name: &'a str,
    }
    const CLOSING: [&[u8]; 5] =
        [b".done\"", b"response.completed\"", b"response.failed\"", b"response.incomplete\"", b"\"error\""];
    if !CLOSING.iter().any(|name| memmem::find(data, name).is_some()) {
        return false;
    }
    let name = serde_json::from_slice::<Event<'_>>(data).map_or("", |event| event.name);
    name == "error"
        || name.ends_with(".done")
        || name.ends_with(".completed") && !name.contains("_call")
        || name.ends_with(".failed")
        || name.ends_with(".incomplete")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_a_text_ends_it() {
        let chat = |data: &str| Ends::of(Shape::Chat, data.as_bytes());
        assert_eq!(chat(r#"{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}"#), Ends::default());
        assert_eq!(chat(r#"{"choices":[{"delta":{"content":"\"finish_reason\":\"x\" \"error\""}}]}"#), Ends::default());
        assert!(chat("[DONE]").all);
        assert!(chat(r#"{"error":{"message":"x"}}"#).all);
        let ends = chat(r#"{"choices":[{"delta":{"content":"x","role":null},"index":3,"finish_reason" : "stop"}]}"#);
        assert_eq!(ends.places, [(3, vec![Name::Content])]);
        assert!(!ends.comes_before(Field { place: 3, name: Name::Content }));
        assert!(ends.comes_before(Field { place: 3, name: Name::Reasoning }));
        assert!(!ends.comes_before(Field { place: 0, name: Name::Content }));
        assert_eq!(chat(r#"{"choices":[{"index":1,"delta":{"tool_calls":[]}}]}"#).interrupted, [1]);
    }

    #[test]
    fn places_are_asked_for_only_where_they_stand_behind_their_deltas() {
        let of = |data: &str| places(Shape::Chat, data.as_bytes());
        assert_eq!(of(r#"{"choices":[{"delta":{"images":[{"index":7}]},"index":3},{"delta":{}}]}"#), [3, 1]);
        assert!(of(r#"{"choices":[{"index":3,"delta":{"content":"\"index\""}}]}"#).is_empty());
        assert!(of(r#"{"choices":[{"delta":{"content":"x"}}]}"#).is_empty());
    }
}

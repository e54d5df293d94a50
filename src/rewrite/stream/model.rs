//! What a client of a chat's stream puts together, against what was said: for random streams of two choices that speak,
//! think, call tools, show pictures and send lists of parts.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::rewrite::{
    document::Form,
    shape::Shape,
    testing::{PNG, PNG_BASE64, Renderer},
};

/// Something a choice says, as its client understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Content(String),
    Thought(String),
    Tool(String),
    Picture(String),
    Refusal(String),
    Finish(String),
}

/// One thing that a choice does, over one event or several.
#[derive(Clone, Debug)]
enum Act {
    /// Text, and the lengths of its deltas.
    Speak(Vec<Fragment>, Vec<usize>),
    Think(Vec<Fragment>, Vec<usize>),
    Call(Vec<&'static str>),
    Show,
    Refuse,
    /// A list of parts in one delta; `None`: a picture.
    Parts(Vec<Option<Vec<Fragment>>>),
    /// Text and a call in the same delta.
    SpeakAndCall(Vec<Fragment>),
}

#[derive(Clone, Copy, Debug)]
enum Fragment {
    Text(&'static str),
    Markdown,
    Tag,
    /// Followed by a blank.
    Bare,
    InLines,
    /// The start of a picture, as documentation has it.
    Cut,
}

/// What a field has said so far, with base64 in it and with URLs.
#[derive(Clone, Debug, Default)]
struct Spoken {
    raw: String,
    left: String,
}

/// The texts of one choice.
#[derive(Debug, Default)]
struct Texts {
    content: Spoken,
    parts: Spoken,
    thoughts: Spoken,
}

impl Spoken {
    fn say(&mut self, fragments: &[Fragment]) -> (String, String) {
        let known = (self.raw.len(), self.left.len());
        for fragment in fragments {
            let (raw, left) = fragment.texts(self.raw.ends_with(|last: char| last.is_ascii_alphanumeric()));
            self.raw.push_str(&raw);
            self.left.push_str(&left);
        }
        // A picture at the very end of what is said needs nothing behind it.
        self.raw.truncate(self.raw.trim_end().len().max(known.0));
        self.left.truncate(self.left.trim_end().len().max(known.1));
        (self.raw[known.0..].to_owned(), self.left[known.1..].to_owned())
    }
}

impl Fragment {
    /// As the upstream writes it, and as it is to leave. `in_word`: behind a letter or a digit.
    fn texts(self, in_word: bool) -> (String, String) {
        let uri = format!("data:image/png;base64,{PNG_BASE64}");
        let around = |before: &str, behind: &str| {
            let raw = format!("{before}{uri}{behind}");
            let url = format!("{before}{}{behind}", Renderer::url(PNG));
            (raw.clone(), if in_word && before.is_empty() { raw } else { url })
        };
        match self {
            Fragment::Text(text) => (text.to_owned(), text.to_owned()),
            Fragment::Markdown => around("![d](", ")"),
            Fragment::Tag => around("<img src='", "'>"),
            Fragment::Bare => around("", " "),
            Fragment::InLines => {
                let (first, second) = PNG_BASE64.split_at(76);
                let raw = format!("(data:image/png;base64,{first}\n{second})");
                (raw, format!("({})", Renderer::url(PNG)))
            }
            Fragment::Cut => {
                let cut = format!("`data:image/png;base64,{}...`", &PNG_BASE64[..60]);
                (cut.clone(), cut)
            }
        }
    }
}

impl Act {
    /// Its deltas, and what a client is to understand.
    fn play(&self, spoken: &mut Texts) -> (Vec<Value>, Vec<Said>) {
        let uri = format!("data:image/png;base64,{PNG_BASE64}");
        let image = |url: &str| json!({ "type": "image_url", "image_url": { "url": url } });
        let cut = |text: &str, sizes: &[usize]| {
            let mut characters = text.chars();
            let mut sizes = sizes.iter().copied().cycle();
            std::iter::from_fn(move || {
                let piece: String = characters.by_ref().take(sizes.next().unwrap_or(1)).collect();
                (!piece.is_empty()).then_some(piece)
            })
            .collect::<Vec<_>>()
        };
        match self {
            Act::Speak(fragments, sizes) => {
                let (raw, left) = spoken.content.say(fragments);
                (
                    cut(&raw, sizes).into_iter().map(|text| json!({ "content": text })).collect(),
                    vec![Said::Content(left)],
                )
            }
            Act::Think(fragments, sizes) => {
                let (raw, left) = spoken.thoughts.say(fragments);
                let deltas = cut(&raw, sizes).into_iter();
                (
                    deltas.map(|text| json!({ "reasoning_content": text, "content": null })).collect(),
                    vec![Said::Thought(left)],
                )
            }
            Act::Call(arguments) => {
                let call = |text: &&str| json!({ "tool_calls": [{ "index": 0, "function": { "arguments": text } }] });
                (arguments.iter().map(call).collect(), vec![Said::Tool(arguments.concat())])
            }
            Act::Show => {
                (vec![json!({ "content": "", "images": [image(&uri)] })], vec![Said::Picture(Renderer::url(PNG))])
            }
            Act::Refuse => (vec![json!({ "refusal": "da" })], vec![Said::Refusal("da".into())]),
            Act::Parts(parts) => {
                let (mut list, mut said) = (Vec::new(), Vec::new());
                for part in parts {
                    match part {
                        None => {
                            list.push(image(&uri));
                            said.push(Said::Picture(Renderer::url(PNG)));
                        }
                        Some(fragments) => {
                            let (raw, left) = spoken.parts.say(fragments);
                            // A list of one part is a delta; each of several parts is a text of its own.
                            if parts.len() > 1 {
                                spoken.parts = Spoken::default();
                            }
                            list.push(json!({ "type": "text", "text": raw }));
                            said.push(Said::Content(left));
                        }
                    }
                }
                (vec![json!({ "content": list })], said)
            }
            Act::SpeakAndCall(fragments) => {
                let (raw, left) = spoken.content.say(fragments);
                let call = json!([{ "index": 0, "function": { "arguments": "{}" } }]);
                (
                    vec![json!({ "content": raw, "tool_calls": call })],
                    vec![Said::Content(left), Said::Tool("{}".into())],
                )
            }
        }
    }
}

/// What is said in an event, and where.
fn understood(event: &Value) -> Vec<(u64, Said)> {
    let mut said = Vec::new();
    for choice in event["choices"].as_array().into_iter().flatten() {
        let mut say = |one: Said| said.push((choice["index"].as_u64().unwrap(), one));
        let delta = &choice["delta"];
        if let Some(text) = delta["reasoning_content"].as_str() {
            say(Said::Thought(text.to_owned()));
        }
        match &delta["content"] {
            Value::String(text) => say(Said::Content(text.clone())),
            Value::Array(parts) => {
                for part in parts {
                    match part["text"].as_str() {
                        Some(text) => say(Said::Content(text.to_owned())),
                        None => say(Said::Picture(part["image_url"]["url"].as_str().unwrap().to_owned())),
                    }
                }
            }
            _ => {}
        }
        for image in delta["images"].as_array().into_iter().flatten() {
            say(Said::Picture(image["image_url"]["url"].as_str().unwrap().to_owned()));
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            say(Said::Tool(call["function"]["arguments"].as_str().unwrap().to_owned()));
        }
        if let Some(text) = delta["refusal"].as_str() {
            say(Said::Refusal(text.to_owned()));
        }
        if let Some(reason) = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
            say(Said::Finish(reason.to_owned()));
        }
    }
    said
}

/// Neighbours of the same kind become one; what is empty says nothing.
fn merged(said: impl IntoIterator<Item = Said>) -> Vec<Said> {
    let mut out: Vec<Said> = Vec::new();
    for one in said {
        match (out.last_mut(), one) {
            (_, Said::Content(text) | Said::Thought(text) | Said::Tool(text)) if text.is_empty() => {}
            (Some(Said::Content(known)), Said::Content(text))
            | (Some(Said::Thought(known)), Said::Thought(text))
            | (Some(Said::Tool(known)), Said::Tool(text)) => known.push_str(&text),
            (_, one) => out.push(one),
        }
    }
    out
}

/// Text and a call in one delta have no order among them.
fn without_ties(said: &[Said]) -> Vec<Said> {
    let rank = |one: &Said| match one {
        Said::Tool(_) => 1,
        _ => 0,
    };
    let mut out = said.to_vec();
    out.sort_by_key(rank);
    merged(out)
}

/// A stream of these deltas, each in an event of its own that carries a number, in one of the ways servers write it.
fn stream(deltas: &[(u64, Value, Option<&str>)], style: usize, together: bool) -> String {
    let empty =
        [("tool_calls", Value::Null), ("tool_calls", json!([])), ("reasoning", json!("")), ("refusal", Value::Null)];
    let mut out = String::new();
    let mut at = 0;
    while let Some((choice, delta, finish)) = deltas.get(at) {
        let written = |choice: u64, delta: &Value, finish: Option<&str>| {
            let mut delta = delta.clone();
            let (name, value) = &empty[style % empty.len()];
            delta.as_object_mut().unwrap().entry(*name).or_insert(value.clone());
            let none = if style.is_multiple_of(2) { Value::Null } else { json!("") };
            json!({ "index": choice, "delta": delta, "finish_reason": finish.map_or(none, Value::from) })
        };
        let mut choices = vec![written(*choice, delta, *finish)];
        if let Some((other, delta, finish)) = deltas.get(at + 1).filter(|(other, ..)| together && other != choice) {
            choices.push(written(*other, delta, *finish));
            at += 1;
        }
        let mut event = json!({ "id": "c", "choices": choices });
        if style.is_multiple_of(3) {
            event["usage"] = json!({ "number": at });
        }
        let json =
            if style.is_multiple_of(5) { serde_json::to_string_pretty(&event) } else { serde_json::to_string(&event) };
        for line in json.unwrap().lines() {
            out.push_str(&format!("data: {line}\n"));
        }
        out.push('\n');
        at += 1;
    }
    out + "data: [DONE]\n\n"
}

fn events(stream: &str) -> Vec<Value> {
    let events = stream
        .split("\n\n")
        .map(|event| event.lines().filter_map(|line| line.strip_prefix("data:")).collect::<Vec<_>>().join("\n"));
    events.filter_map(|event| serde_json::from_str(&event).ok()).collect()
}

fn rewritten(stream: &str, size: usize) -> String {
    let mut rewriter = StreamRewriter::new(Rules::new(Shape::Chat, Form::Url));
    let mut renderer = Renderer::default();
    for piece in stream.as_bytes().chunks(size) {
        renderer.events(rewriter.push(piece));
    }
    renderer.events(rewriter.finish());
    renderer.text()
}

fn fragments() -> impl Strategy<Value = Vec<Fragment>> {
    let text = prop::sample::select(vec![
        "d",
        "da",
        "Dad",
        "data",
        "data:image",
        "DATA:im",
        "see ",
        " ",
        "x",
        "\n",
        "é",
        "\\",
        "\"",
        "data:image/png;base64, ",
    ]);
    let fragment = prop_oneof![
        4 => text.prop_map(Fragment::Text),
        1 => Just(Fragment::Markdown),
        1 => Just(Fragment::Tag),
        1 => Just(Fragment::Bare),
        1 => Just(Fragment::InLines),
        1 => Just(Fragment::Cut),
    ];
    prop::collection::vec(fragment, 1..5)
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let sizes = || prop::collection::vec(prop_oneof![1usize..12, 30usize..200], 1..4);
    let act = prop_oneof![
        4 => (fragments(), sizes()).prop_map(|(text, sizes)| Act::Speak(text, sizes)),
        2 => (fragments(), sizes()).prop_map(|(text, sizes)| Act::Think(text, sizes)),
        1 => Just(Act::Call(vec!["{\"a\":", "\"data:image\"}"])),
        1 => Just(Act::Show),
        1 => Just(Act::Refuse),
        1 => prop::collection::vec(prop::option::of(fragments()), 1..4).prop_map(Act::Parts),
        1 => fragments().prop_map(Act::SpeakAndCall),
    ];
    prop::collection::vec(act, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// What a client understands is what was said, in its order, with pictures as URLs; and each event is there once.
    #[test]
    fn clients_understand_what_was_said(
        both in [acts(), acts()],
        turns in prop::collection::vec(any::<bool>(), 1..40),
        style in 0usize..30,
        together in any::<bool>(),
        size in 1usize..3000,
    ) {
        let mut queues: Vec<Vec<(u64, Value, Option<&str>)>> = Vec::new();
        let mut expected = Vec::new();
        for (choice, acts) in (0..).zip(&both) {
            let (mut deltas, mut said) = (Vec::new(), Vec::new());
            let mut spoken = Texts::default();
            for act in acts {
                let (play, says) = act.play(&mut spoken);
                deltas.extend(play.into_iter().map(|delta| (choice, delta, None)));
                said.extend(says);
            }
            deltas.push((choice, json!({}), Some("stop")));
            said.push(Said::Finish("stop".into()));
            deltas.reverse();
            queues.push(deltas);
            expected.push(merged(said));
        }
        let mut deltas = Vec::new();
        let mut turns = turns.into_iter().cycle();
        while queues.iter().any(|queue| !queue.is_empty()) {
            let turn = usize::from(turns.next().unwrap());
            let queue = if queues[turn].is_empty() { 1 - turn } else { turn };
            deltas.extend(queues[queue].pop());
        }
        let stream = stream(&deltas, style, together);
        let out = rewritten(&stream, size);
        let events = events(&out);
        for (choice, expected) in (0u64..).zip(&expected) {
            let said = events.iter().flat_map(understood).filter(|(of, _)| *of == choice).map(|(_, said)| said);
            let said = merged(said);
            let ties = both.iter().flatten().any(|act| matches!(act, Act::SpeakAndCall(_)));
            if ties {
                prop_assert_eq!(without_ties(&said), without_ties(expected), "choice {}:\n{}\n{}", choice, stream, out);
            } else {
                prop_assert_eq!(&said, expected, "choice {}:\n{}\n{}", choice, stream, out);
            }
        }
        let numbers = |stream: &str| -> Vec<u64> {
            self::events(stream).iter().filter_map(|event| event["usage"]["number"].as_u64()).collect()
        };
        prop_assert_eq!(numbers(&stream), numbers(&out), "{}", out);
        prop_assert!(out.ends_with("data: [DONE]\n\n"));
    }
}

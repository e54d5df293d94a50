//! The rewriters, which see an answer piece by piece, against a plain computation over the whole of it
//! (`fuzz/src/reference.rs`): every fixture, and answers and streams made of pictures at every place in every spelling.

use std::collections::BTreeMap;

use picgate::rewrite::{
    answer::{AnswerRewriter, Form, Rules},
    shape::Shape,
    stream::StreamRewriter,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    corpus::invariants::{
        reference::{Place, Plain, ids, places},
        render,
    },
    harness::{encoded, fixture},
};

const SHAPES: [Shape; 3] = [Shape::Images, Shape::Chat, Shape::Responses];
const FORMS: [Form; 4] = [Form::Url, Form::Base64, Form::Both, Form::AsCame];

fn linked() -> Vec<u8> {
    fixture("img/px2b.png")
}

// === Whole answers ===

/// Asserts that an answer, cut in pieces of this size, becomes what the plain computation says. `false`: that says nothing.
#[track_caller]
fn assert_answer(rules: Rules, text: &str, size: usize) -> bool {
    let linked = linked();
    let mut plain = Plain::new(rules, &linked);
    let mut expected: Value = serde_json::from_str(text).unwrap();
    plain.answer(&mut expected);
    if plain.ambiguous {
        return false;
    }
    let got = render(AnswerRewriter::new(rules), Some(&linked), text.as_bytes().chunks(size));
    let value: Value = serde_json::from_slice(&got.out).unwrap();
    assert_eq!(value, expected, "{rules:?}: {text}");
    assert_eq!(ids(&got.kept), ids(&plain.kept), "{rules:?}: {text}");
    true
}

#[test]
fn every_recorded_answer() {
    let folder = format!("{}/tests/fixtures/wire", env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with("resp.") || !name.ends_with(".json") {
            continue;
        }
        let text = String::from_utf8(fixture(&name)).unwrap();
        for (shape, form) in SHAPES.into_iter().flat_map(|shape| FORMS.map(|form| (shape, form))) {
            for (links, named) in [(true, false), (true, true), (false, false)] {
                let rules = Rules { links, named, ..Rules::new(shape, form) };
                assert!([usize::MAX, 9].iter().all(|size| assert_answer(rules, &text, *size)), "{name}");
            }
        }
        seen += 1;
    }
    assert!(seen > 15, "{seen}");
}

/// Puts a value at a path such as `data[].url`, into the last element of each list; what stands there already stays.
fn put(into: &mut Value, path: &str, value: Value, new: bool) {
    if path.is_empty() {
        if into.is_null() {
            *into = value;
        }
        return;
    }
    if let Some(rest) = path.strip_prefix("[]") {
        if into.is_null() {
            *into = json!([]);
        }
        let Value::Array(list) = into else { return };
        if new || list.is_empty() {
            list.push(Value::Null);
        }
        return put(list.last_mut().unwrap(), rest.strip_prefix('.').unwrap_or(rest), value, false);
    }
    if into.is_null() {
        *into = json!({});
    }
    let Value::Object(object) = into else { return };
    let (key, rest) = path.split_at(path.find(['.', '[']).unwrap_or(path.len()));
    let at = object.entry(key).or_insert(Value::Null);
    put(at, rest.strip_prefix('.').unwrap_or(rest), value, new);
}

/// Writes JSON: keys in either order, with white space or without, slashes escaped or not.
fn written(value: &Value, style: u8, out: &mut String) {
    let space = if style & 1 == 0 { "" } else { " \n" };
    let between = |out: &mut String, at: usize| {
        if at > 0 {
            *out += space;
            *out += ",";
        }
        *out += space;
    };
    match value {
        Value::Object(object) => {
            *out += "{";
            let mut members: Vec<_> = object.iter().collect();
            if style & 2 != 0 {
                members.reverse();
            }
            for (at, (key, value)) in members.into_iter().enumerate() {
                between(out, at);
                *out += &Value::from(key.as_str()).to_string();
                *out += space;
                *out += ":";
                *out += space;
                written(value, style, out);
            }
            *out += "}";
        }
        Value::Array(list) => {
            *out += "[";
            for (at, value) in list.iter().enumerate() {
                between(out, at);
                written(value, style, out);
            }
            *out += "]";
        }
        Value::String(_) if style & 4 != 0 => *out += &value.to_string().replace('/', "\\/"),
        other => *out += &other.to_string(),
    }
}

fn picture() -> impl Strategy<Value = (String, &'static str)> {
    let file = prop::sample::select(vec![
        ("px2.png", "image/png"),
        ("px2.jpg", "image/jpeg"),
        ("px2.webp", "image/webp"),
        ("px2.gif", "image/gif"),
        ("px2.avif", "image/avif"),
        ("px2.svg", "image/svg+xml"),
    ]);
    file.prop_map(|(file, kind)| (encoded(&fixture(&format!("img/{file}"))), kind))
}

/// Base64 of a picture in some spelling.
fn base64() -> impl Strategy<Value = String> {
    (picture(), 0..7).prop_map(|((text, _), spelling)| match spelling {
        0 => text.replace('+', "-").replace('/', "_"),
        1 => text.trim_end_matches('=').to_owned(),
        2 => text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap().to_owned() + "\r\n").collect(),
        3 => text.replace('+', "%2B").replace('=', "%3d"),
        4 => text[..text.len() / 2].to_owned(),
        _ => text,
    })
}

fn data_uri() -> impl Strategy<Value = String> {
    (base64(), picture(), 0..5).prop_map(|(text, (_, kind), spelling)| match spelling {
        0 => format!("DATA:{};BASE64,{text}", kind.to_uppercase()),
        1 => format!("data:{kind};charset=utf-8;base64,{text}"),
        2 => format!("data:application/octet-stream;base64,{text}"),
        3 => format!("data:{kind},{text}"),
        _ => format!("data:{kind};base64,{text}"),
    })
}

fn prose() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => data_uri(),
        1 => base64(),
        3 => prop::sample::select(vec![
            "![x](", ")", " ", "\"", "<", "data:", "data:image", "data:image/png;base64,", "d", "dat", "\\", "é", "zzzz", "\n", "%", "%2", "=",
            "data:image/png;", ",", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
        ]).prop_map(str::to_owned),
    ];
    prop::collection::vec(word, 0..7).prop_map(|words| words.concat())
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => base64().prop_map(Value::from),
        4 => data_uri().prop_map(Value::from),
        2 => prose().prop_map(Value::from),
        2 => prop::sample::select(vec!["https://up.example/a.png?x=1&y=2", "http://up/b", "HTTPS://UP/c", "httpx", "/d.png", "blob:x", ""])
            .prop_map(Value::from),
        1 => prop::sample::select(vec![json!(null), json!(1.5), json!(true), json!({ "data": [] })]),
    ]
}

/// Where to put a leaf: at a place that means something, at one beside it, or anywhere.
fn path(shape: Shape) -> impl Strategy<Value = String> {
    let known: Vec<String> = places(shape)
        .into_iter()
        .flat_map(|(path, place)| match place {
            Place::Item => vec![format!("{path}.b64_json"), format!("{path}.url"), format!("{path}.revised_prompt")],
            _ => vec![path],
        })
        .collect();
    let other = [
        "usage.total_tokens",
        "error.message",
        "choices[].message.tool_calls[].function.arguments",
        "choices[].delta.audio.data",
        "data[].embedding",
        "metadata.output",
        "choices[].message.reasoning_details[].data",
        "output[].encrypted_content",
        "created",
    ];
    prop_oneof![
        8 => prop::sample::select(known),
        1 => prop::sample::select(other.map(str::to_owned).to_vec()),
    ]
}

fn shape_and_leaves() -> impl Strategy<Value = (Shape, Vec<(String, Value, bool)>)> {
    prop::sample::select(SHAPES.to_vec())
        .prop_flat_map(|shape| (Just(shape), prop::collection::vec((path(shape), leaf(), any::<bool>()), 1..6)))
}

fn rules(shape: Shape) -> impl Strategy<Value = Rules> {
    (prop::sample::select(FORMS.to_vec()), any::<bool>(), any::<bool>()).prop_map(move |(form, links, named)| Rules {
        links,
        named,
        ..Rules::new(shape, form)
    })
}

proptest! {
    #[test]
    fn any_answer(
        (shape, leaves) in shape_and_leaves(),
        form in prop::sample::select(FORMS.to_vec()),
        links: bool,
        named: bool,
        style in 0u8..8,
        size in prop_oneof![Just(usize::MAX), 1usize..200],
    ) {
        let mut answer = Value::Null;
        for (path, leaf, new) in leaves {
            put(&mut answer, &path, leaf, new);
        }
        let mut text = String::new();
        written(&answer, style, &mut text);
        let rules = Rules { links, named, ..Rules::new(shape, form) };
        prop_assume!(assert_answer(rules, &text, size));
    }
}

// === Streams ===

/// The data of a stream's events, as a parser of the whole stream gives them.
fn events(stream: &str) -> Vec<(String, String)> {
    let mut events = Vec::new();
    for block in stream.split("\n\n") {
        let field = |name: &str| {
            let lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            lines.map(|value| value.strip_prefix(' ').unwrap_or(value)).collect::<Vec<_>>()
        };
        let data = field("data");
        if !data.is_empty() {
            events.push((field("event").concat(), data.join("\n")));
        }
    }
    events
}

/// Takes the streamed texts out of an event: what is left, and each text with the name of its field.
fn without_texts(shape: Shape, event: &mut Value) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    let mut take = |name: String, value: Option<&mut Value>| {
        if let Some(Value::String(text)) = value {
            texts.push((name, std::mem::take(text)));
        }
    };
    match shape {
        Shape::Chat => {
            for choice in event.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
                let index = choice["index"].to_string();
                for name in ["content", "reasoning", "reasoning_content"] {
                    take(format!("{index} {name}"), choice.get_mut("delta").and_then(|delta| delta.get_mut(name)));
                }
            }
        }
        Shape::Responses if event["type"] == "response.output_text.delta" => {
            let place = format!("{} {}", event["output_index"], event["content_index"]);
            take(place, event.get_mut("delta"));
        }
        _ => {}
    }
    texts
}

/// What a client puts together: each streamed text whole, and the events without them.
fn read(shape: Shape, stream: &str) -> (BTreeMap<String, String>, Vec<Value>) {
    let mut texts = BTreeMap::new();
    let mut rest = Vec::new();
    for (_, data) in events(stream) {
        let mut event = serde_json::from_str(&data).unwrap_or(json!({ "text": data }));
        for (name, text) in without_texts(shape, &mut event) {
            *texts.entry(name).or_insert_with(String::new) += &text;
        }
        rest.push(event);
    }
    (texts, rest)
}

/// Asserts that a stream, cut in pieces of this size, becomes what the plain computation says. `false`: that says nothing.
#[track_caller]
fn assert_stream(rules: Rules, stream: &str, size: usize) -> bool {
    let linked = linked();
    let mut plain = Plain::new(rules, &linked);
    let (texts, mut expected) = read(rules.shape, stream);
    let texts: BTreeMap<String, String> = texts.into_iter().map(|(name, text)| (name, plain.text(&text))).collect();
    let names: Vec<String> = events(stream).into_iter().map(|(name, _)| name).collect();
    for (event, name) in expected.iter_mut().zip(names) {
        let kind = event["type"].as_str().unwrap_or(&name).to_owned();
        plain.event(event, &kind);
    }
    if plain.ambiguous {
        return false;
    }
    let got = render(StreamRewriter::new(rules), Some(&linked), stream.as_bytes().chunks(size));
    let out = String::from_utf8(got.out).unwrap();
    let (got_texts, got_events) = read(rules.shape, &out);
    assert_eq!(got_texts, texts, "{rules:?}: {stream}");
    // Held text goes out in an event of its own, like one of its field before; and an event whose text is held back does not
    // go out at all when it is otherwise as the one before: without its text it says nothing new.
    expected.dedup();
    let mut rest = got_events.iter();
    for event in &expected {
        assert!(rest.any(|got| got == event), "{rules:?}: {event} is missing in\n{out}\nof\n{stream}");
    }
    assert_eq!(ids(&got.kept), ids(&plain.kept), "{rules:?}: {stream}");
    true
}

#[test]
fn every_recorded_stream() {
    for name in [
        "resp.chat.delta-images.sse",
        "resp.chat.markdown-split.sse",
        "resp.images.ark-stream.sse",
        "resp.images.stream-edit.sse",
        "resp.images.stream-generation.sse",
        "resp.responses.stream.sse",
    ] {
        let text = String::from_utf8(fixture(name)).unwrap();
        for (shape, form) in SHAPES.into_iter().flat_map(|shape| FORMS.map(|form| (shape, form))) {
            for size in [usize::MAX, 1, 100] {
                assert!(assert_stream(Rules::new(shape, form), &text, size), "{name}");
            }
        }
    }
}

/// A chat's stream: a text field of each of two choices, cut anywhere, with events of others among them. (What a choice says
/// beside its text closes it; that is for the tests beside the rewriter.)
fn chat() -> impl Strategy<Value = String> {
    let more = prop::collection::vec((leaf(), 0usize..4), 0..3);
    (prop::collection::vec((prose(), 0u8..2), 1..4), prop::collection::vec(1usize..40, 1..5), more).prop_map(
        |(texts, cuts, more)| {
            let mut streams: Vec<Vec<String>> = Vec::new();
            for (text, index) in texts {
                let field = ["content", "reasoning"][usize::from(index)];
                let letters: Vec<char> = text.chars().collect();
                let mut rest = letters.as_slice();
                let mut deltas = Vec::new();
                for cut in cuts.iter().cycle() {
                    if rest.is_empty() {
                        break;
                    }
                    let (piece, behind) = rest.split_at((*cut).min(rest.len()));
                    let piece: String = piece.iter().collect();
                    deltas.push(json!({ "choices": [{ "delta": { field: piece }, "index": index, "finish_reason": null }] }).to_string());
                    rest = behind;
                }
                streams.push(deltas);
            }
            let mut out = String::new();
            let longest = streams.iter().map(Vec::len).max().unwrap_or(0);
            for at in 0..longest {
                for stream in &streams {
                    if let Some(delta) = stream.get(at) {
                        out += &format!("data: {delta}\n\n");
                    }
                }
                for (leaf, kind) in more.iter().filter(|(_, turn)| *turn == at) {
                    let event = match kind % 2 {
                        0 => json!({ "choices": [{ "index": 2, "delta": { "images": [{ "image_url": { "url": leaf } }, leaf] } }] }),
                        _ => json!({ "choices": [], "usage": { "x": leaf } }),
                    };
                    out += &format!(": c\n\nid: 1\ndata:{event}\n\n");
                }
            }
            for index in 0..2 {
                out += &format!("data: {}\n\n", json!({ "choices": [{ "delta": {}, "index": index, "finish_reason": "stop" }] }));
            }
            out + "data: [DONE]\n\n"
        },
    )
}

/// Events of images, each with leaves at its places.
fn images() -> impl Strategy<Value = String> {
    let names =
        ["image_generation.completed", "image_edit.partial_image", "image_generation.partial_succeeded", "error", ""];
    let paths = vec!["b64_json", "url", "data[].b64_json", "data[].url", "images[]", "error.message", "usage.x"];
    let event =
        (prop::sample::select(names.to_vec()), prop::collection::vec((prop::sample::select(paths), leaf()), 0..3));
    prop::collection::vec(event, 1..5).prop_map(|events| {
        let mut out = String::new();
        for (name, leaves) in events {
            let mut event = json!({});
            for (path, leaf) in leaves {
                put(&mut event, path, leaf, false);
            }
            let mut members = String::new();
            written(&event, 0, &mut members);
            let kind = if members == "{}" { "\"type\"" } else { "\"type\"," };
            let kind = kind.replace("\"type\"", &format!("\"type\":{}", json!(name)));
            out += &format!("event: {name}\ndata: {{{kind}{}\n\n", &members[1..]);
        }
        out
    })
}

/// A response's stream: deltas of one text, cut anywhere, then its repetitions.
fn responses() -> impl Strategy<Value = String> {
    (prose(), leaf(), 1usize..30).prop_map(|(text, leaf, cut)| {
        let mut out = String::new();
        let mut say = |kind: &str, mut event: Value| {
            event["type"] = kind.into();
            out += &format!("event: {kind}\ndata: {event}\n\n");
        };
        let letters: Vec<char> = text.chars().collect();
        for piece in letters.chunks(cut) {
            let piece: String = piece.iter().collect();
            say("response.output_text.delta", json!({ "output_index": 0, "content_index": 0, "delta": piece }));
        }
        say("response.image_generation_call.partial_image", json!({ "partial_image_b64": leaf, "result": leaf }));
        say("response.function_call_arguments.delta", json!({ "delta": leaf }));
        let item = json!({ "result": leaf, "content": [{ "image_url": leaf }] });
        say("response.output_item.done", json!({ "item": item }));
        say("response.completed", json!({ "response": { "output": [item] } }));
        out
    })
}

proptest! {
    #[test]
    fn any_stream(
        (shape, stream, rules) in prop_oneof![
            2 => (Just(Shape::Chat), chat(), rules(Shape::Chat)),
            1 => (Just(Shape::Images), images(), rules(Shape::Images)),
            1 => (Just(Shape::Responses), responses(), rules(Shape::Responses)),
        ],
        size in prop_oneof![Just(usize::MAX), 1usize..100],
    ) {
        prop_assert_eq!(shape, rules.shape);
        prop_assume!(assert_stream(rules, &stream, size));
    }
}

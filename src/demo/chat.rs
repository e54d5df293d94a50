//! `POST /v1/chat/completions`.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use super::{
    answer::{Answer, event, hole, split, write},
    call::Call,
    control::Shape,
    draw::Print,
    images::now,
    pictures,
    server::House,
    talk,
};
use crate::picture::Format;

/// Bytes of content in each event of a picture, unless `delta:` says otherwise.
const DELTA: usize = 4096;

/// Choices answered at most.
const CHOICES: u64 = 4;

/// One choice of the answer.
#[derive(Debug)]
enum Choice {
    Text(Vec<String>),
    Picture { shape: Shape, alt: String, source: Source },
}

/// Where a picture's `src` points.
#[derive(Debug)]
enum Source {
    Inline(Print),
    Url(String),
}

pub(super) async fn answer(house: &House, call: &Call) -> Result<Answer, Answer> {
    let body = call.json()?;
    let model = call.model().unwrap_or_else(|| "demo-chat".to_owned());
    let count = body.get("n").and_then(Value::as_u64).unwrap_or(1).clamp(1, CHOICES);
    let mut choices = Vec::new();
    for turn in 0..count {
        choices.push(match talk::subject(call, &model, false) {
            Some(subject) => picture(house, call, &subject, turn).await,
            None => Choice::Text(talk::words(call)),
        });
    }
    let id = format!("chatcmpl-demo-{}", house.studio.number());
    if !call.streams() {
        return Ok(whole(call, &id, &model, &choices));
    }
    let head = json!({ "id": id, "object": "chat.completion.chunk", "created": now(), "model": model });
    let mut streams: Vec<_> = choices
        .iter()
        .enumerate()
        .map(|(index, choice)| choice.deltas(&head, index, call.controls.delta.unwrap_or(DELTA)).into_iter())
        .collect();
    // Choices take turns, as they do when they are made at the same time.
    let mut events = Vec::new();
    loop {
        let before = events.len();
        events.extend(streams.iter_mut().filter_map(Iterator::next));
        if events.len() == before {
            break;
        }
    }
    if body.pointer("/stream_options/include_usage").and_then(Value::as_bool) == Some(true) {
        let mut value = head;
        if let Some(value) = value.as_object_mut() {
            value.insert("choices".into(), json!([]));
            value.insert("usage".into(), usage(call, &choices));
        }
        events.push(event(None, &value, &[]));
    }
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    Ok(Answer::events(events))
}

async fn picture(house: &House, call: &Call, subject: &str, turn: u64) -> Choice {
    let order = call.order(subject, turn, (1024, 1024), Format::Png);
    let number = call.controls.unique.then(|| house.studio.number());
    let source = if call.controls.as_url {
        Source::Url(pictures::url(house, &order, number, call.controls.lost))
    } else {
        Source::Inline(house.studio.print(order, number).await)
    };
    let alt =
        subject.chars().filter(|letter| !matches!(letter, '[' | ']' | '(' | ')' | '\\' | '<' | '>' | '!')).collect();
    Choice::Picture { shape: call.controls.shape.unwrap_or(Shape::Markdown), alt, source }
}

fn whole(call: &Call, id: &str, model: &str, choices: &[Choice]) -> Answer {
    let mut fillings = Vec::new();
    let list: Vec<Value> = choices
        .iter()
        .enumerate()
        .map(|(index, choice)| {
            let message = choice.message(fillings.len());
            if let Choice::Picture { source: Source::Inline(print), .. } = choice {
                fillings.push(print.base64.clone());
            }
            json!({ "index": index, "message": message, "logprobs": null, "finish_reason": "stop" })
        })
        .collect();
    let body = json!({
        "id": id,
        "object": "chat.completion",
        "created": now(),
        "model": model,
        "choices": list,
        "usage": usage(call, choices),
    });
    Answer::woven(&body, &fillings)
}

fn usage(call: &Call, choices: &[Choice]) -> Value {
    let prompt = call.prompt.len() / 4 + 1;
    let completion: usize = choices
        .iter()
        .map(|choice| match choice {
            Choice::Text(words) => words.len(),
            Choice::Picture { .. } => 200,
        })
        .sum();
    json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
}

impl Source {
    /// The `src`, base64 as the hole `at`.
    fn uri(&self, at: usize) -> String {
        match self {
            Source::Inline(print) => format!("data:{};base64,{}", print.format.media_type(), hole(at)),
            Source::Url(url) => url.clone(),
        }
    }

    fn filling(&self) -> &[Bytes] {
        match self {
            Source::Inline(print) => &print.base64,
            Source::Url(_) => &[],
        }
    }
}

impl Choice {
    /// The whole message, base64 as the hole `at`.
    fn message(&self, at: usize) -> Value {
        match self {
            Choice::Text(words) => json!({ "role": "assistant", "content": words.concat() }),
            Choice::Picture { shape, alt, source } => {
                let uri = source.uri(at);
                match shape {
                    Shape::Markdown => json!({ "role": "assistant", "content": format!("![{alt}]({uri})") }),
                    Shape::Bare => json!({ "role": "assistant", "content": uri }),
                    Shape::Images => json!({ "role": "assistant", "content": "Here it is.", "images": images(&uri) }),
                    Shape::Array => json!({ "role": "assistant", "content": parts(alt, &uri) }),
                }
            }
        }
    }

    /// The choice as stream events: role, content in pieces, end.
    fn deltas(&self, head: &Value, index: usize, size: usize) -> Vec<Bytes> {
        let chunk = |delta: Value, finish: Option<&str>| {
            let mut value = head.clone();
            if let Some(value) = value.as_object_mut() {
                value.insert(
                    "choices".into(),
                    json!([{ "index": index, "delta": delta, "logprobs": null, "finish_reason": finish }]),
                );
            }
            value
        };
        let mut events = vec![event(None, &chunk(json!({ "role": "assistant", "content": "" }), None), &[])];
        let frame = Frame::around(&chunk(json!({ "content": hole(0) }), None));
        match self {
            Choice::Text(words) => events.extend(words.iter().map(|word| frame.text(word))),
            Choice::Picture { shape: Shape::Images, source, .. } => {
                let delta = json!({ "content": "", "images": images(&source.uri(0)) });
                events.push(event(None, &chunk(delta, None), &[source.filling().to_vec()]));
            }
            Choice::Picture { shape: Shape::Array, alt, source } => {
                let delta = json!({ "content": parts(alt, &source.uri(0)) });
                events.push(event(None, &chunk(delta, None), &[source.filling().to_vec()]));
            }
            Choice::Picture { shape, alt, source } => {
                let (open, close) = match shape {
                    Shape::Bare => (String::new(), ""),
                    _ => (format!("![{alt}]("), ")"),
                };
                let text = match source {
                    Source::Inline(print) => format!("{open}data:{};base64,", print.format.media_type()),
                    Source::Url(url) => open + url,
                };
                events.extend(lengths(&text, size).map(|piece| frame.text(piece)));
                events.extend(split(source.filling(), size).iter().map(|piece| frame.raw(piece)));
                events.extend(lengths(close, size).map(|piece| frame.text(piece)));
            }
        }
        events.push(event(None, &chunk(json!({}), Some("stop")), &[]));
        events
    }
}

fn images(uri: &str) -> Value {
    json!([{ "type": "image_url", "image_url": { "url": uri }, "index": 0 }])
}

fn parts(alt: &str, uri: &str) -> Value {
    json!([{ "type": "text", "text": alt }, { "type": "image_url", "image_url": { "url": uri } }])
}

/// A text in pieces of at most `size` bytes, never within a character.
fn lengths(text: &str, size: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?.len_utf8();
        let end = (first..=rest.len().min(size.max(first))).rev().find(|end| rest.is_char_boundary(*end))?;
        let (piece, more) = rest.split_at(end);
        rest = more;
        Some(piece)
    })
}

/// An event that is the same but for one text.
#[derive(Debug)]
struct Frame {
    head: String,
    tail: String,
}

impl Frame {
    fn around(chunk: &Value) -> Self {
        let text = write(chunk);
        let hole = hole(0);
        let (head, tail) = text.split_once(&hole).unwrap_or((&text, ""));
        Self { head: format!("data: {head}"), tail: format!("{tail}\n\n") }
    }

    fn text(&self, text: &str) -> Bytes {
        let quoted = Value::from(text).to_string();
        self.raw(quoted.get(1..quoted.len() - 1).unwrap_or_default().as_bytes())
    }

    /// With text that needs no escapes.
    fn raw(&self, text: &[u8]) -> Bytes {
        let mut event = BytesMut::with_capacity(self.head.len() + text.len() + self.tail.len());
        event.put_slice(self.head.as_bytes());
        event.put_slice(text);
        event.put_slice(self.tail.as_bytes());
        event.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_never_cut_within_a_character() {
        let text = "![\"Öl\" 猫](data:";
        for size in 1..20 {
            let pieces: Vec<&str> = lengths(text, size).collect();
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|piece| piece.len() <= size.max(3)));
        }
    }

    #[test]
    fn quotes_in_a_piece_are_escaped() {
        let frame = Frame::around(&json!({ "content": hole(0) }));
        assert_eq!(frame.text("\"a\\"), "data: {\"content\":\"\\\"a\\\\\"}\n\n");
    }
}

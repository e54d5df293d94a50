//! Text without pictures leaves byte for byte and at once: real prose, code and markdown, in tokens, as servers of every shape
//! stream them.

use serde_json::{Value, json};

use super::*;
use crate::rewrite::{document::Form, shape::Shape, testing::Renderer};

const ENGLISH: &str = include_str!("../../../tests/fixtures/text/english.txt");
const CHINESE: &str = include_str!("../../../tests/fixtures/text/chinese.txt");
const CODE: &str = include_str!("../../../tests/fixtures/text/code.txt");
const MARKDOWN: &str = include_str!("../../../tests/fixtures/text/markdown.md");

/// Numbers that look random, the same in each run (Knuth's linear congruential generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[derive(PartialEq, Clone, Copy)]
enum Class {
    Letter,
    Digit,
    Space,
    Wide,
    Mark,
}

impl Class {
    fn of(character: char) -> Self {
        match character {
            _ if character.is_ascii_alphabetic() => Self::Letter,
            _ if character.is_ascii_digit() => Self::Digit,
            _ if character.is_whitespace() => Self::Space,
            _ if character.is_alphanumeric() => Self::Wide,
            _ => Self::Mark,
        }
    }

    /// How many characters of it stand in one token.
    fn length(self, numbers: &mut Numbers) -> usize {
        match self {
            Self::Letter => 4 + numbers.below(6),
            _ => 1 + numbers.below(3),
        }
    }
}

/// Tokens as language models cut text: a word with the blank before it, long words in pieces, digits and punctuation in short
/// runs, Chinese in one to three characters. The cuts differ from call to call.
fn tokens(text: &str, numbers: &mut Numbers) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut last = None;
    let mut room = 0;
    for character in text.chars() {
        let class = Class::of(character);
        let behind_blank = class != Class::Space && out.last().is_some_and(|token| token == " ");
        if behind_blank || last != Some(class) || room == 0 {
            room = class.length(numbers);
            if !behind_blank {
                out.push(String::new());
            }
        }
        out.last_mut().unwrap().push(character);
        room -= 1;
        last = Some(class);
    }
    out
}

/// A stream of one shape: the event of a delta, and of the end.
#[derive(Clone, Copy, Debug)]
enum Server {
    Chat,
    /// With the log probability and the bytes of each token.
    Logprobs,
    /// With a random member in each event, as OpenAI's have.
    Obfuscated,
    Reasoning,
    /// With an id before each event, and CRLF.
    Numbered,
    Responses,
}

impl Server {
    const ALL: [Self; 6] =
        [Self::Chat, Self::Logprobs, Self::Obfuscated, Self::Reasoning, Self::Numbered, Self::Responses];

    fn shape(self) -> Shape {
        if matches!(self, Self::Responses) { Shape::Responses } else { Shape::Chat }
    }

    fn event(self, at: usize, token: &str) -> String {
        let chunk = |delta: Value, logprobs: Value| {
            json!({
                "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                "choices": [{ "index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": null }],
            })
        };
        let content = || chunk(json!({ "content": token }), Value::Null);
        match self {
            Self::Chat => format!("data: {}\n\n", content()),
            Self::Logprobs => {
                let logprob = json!({ "token": token, "logprob": -0.1, "bytes": token.as_bytes() });
                format!("data: {}\n\n", chunk(json!({ "content": token }), json!({ "content": [logprob] })))
            }
            Self::Obfuscated => {
                let mut event = content();
                event["obfuscation"] = "da!".repeat(at % 5).into();
                format!("data: {event}\n\n")
            }
            Self::Reasoning => format!("data: {}\n\n", chunk(json!({ "reasoning_content": token }), Value::Null)),
            Self::Numbered => format!("id: {at}\r\nevent: message\r\ndata: {}\r\n\r\n", content()),
            Self::Responses => {
                let event = json!({
                    "type": "response.output_text.delta", "sequence_number": at, "item_id": "msg_1",
                    "output_index": 0, "content_index": 0, "delta": token, "logprobs": [],
                });
                format!("event: response.output_text.delta\ndata: {event}\n\n")
            }
        }
    }

    fn end(self) -> &'static str {
        match self {
            Self::Responses => "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{}}\n\n",
            _ => {
                "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
                 data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\ndata: [DONE]\n\n"
            }
        }
    }
}

#[test]
fn every_event_leaves_as_it_came_and_hardly_any_waits() {
    let mut numbers = Numbers(1);
    for server in Server::ALL {
        for text in [ENGLISH, CHINESE, CODE, MARKDOWN] {
            let (mut events, mut waited) = (0, Vec::new());
            while events < 10_000 {
                let mut rewriter = StreamRewriter::new(Rules::new(server.shape(), Form::Url));
                let mut renderer = Renderer::default();
                let mut came = String::new();
                for (at, token) in tokens(text, &mut numbers).iter().enumerate() {
                    let before = came.len();
                    came.push_str(&server.event(at, token));
                    renderer.events(rewriter.push(&came.as_bytes()[before..]));
                    let left = renderer.out.len();
                    assert!(came.as_bytes().starts_with(&renderer.out), "{server:?}: an event was changed: {token:?}");
                    assert!(left == came.len() || left == before, "{server:?}: more than one event waits at {token:?}");
                    assert!(rewriter.is_between_events(), "{server:?}: a comment cannot follow {token:?}");
                    events += 1;
                    if left == before {
                        waited.push(token.clone());
                    }
                }
                came.push_str(server.end());
                renderer.events(rewriter.push(server.end().as_bytes()));
                assert!(renderer.out == came.as_bytes(), "{server:?}: the end was changed");
                assert!(rewriter.finish().is_empty());
            }
            assert!(waited.len() * 200 < events, "{server:?}: {} of {events} events waited: {waited:?}", waited.len());
        }
    }
}

/// Regression 33: letters at the end of a delta were taken back and said again in the next one.
#[test]
fn words_that_end_like_a_scheme_begins_leave_with_their_events() {
    let tokens =
        [" world", " and", " good", "!", " [", "0", "]", "(", " <", "x", "d", ".d", "+d", "9da", "mid", "data", "<"];
    let mut rewriter = StreamRewriter::new(Rules::new(Shape::Chat, Form::Url));
    for (at, token) in tokens.iter().enumerate() {
        let event = Server::Logprobs.event(at, token);
        let mut renderer = Renderer::default();
        renderer.events(rewriter.push(event.as_bytes()));
        assert_eq!(renderer.text(), event, "{token}");
    }
}

#[test]
fn events_that_waited_leave_as_they_came_whatever_comes_behind_them() {
    let finish = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let call = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\n";
    let other = "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"the d\"}}]}\n\n";
    let event = |token: &str| Server::Logprobs.event(0, token);
    for (waiting, behind) in [
        (event(" data"), event("base")),
        (event("a d"), finish.into()),
        (event("see data:image"), call.into()),
        (event("data:image/png;base64,"), finish.into()),
        (event("data:image/png;base64,") + &event("iVBORw0K") + &event("GgoAAAANSUhEUgA"), finish.into()),
        (event("the d"), "data: [DONE]\n\n".into()),
        (event("the d") + other + ": ping\n\n", event("ay") + other + finish),
        (event("the d") + other, String::new()),
        (event("the d"), ": cut".into()),
        (event("the d"), event("ay").trim_end().to_owned()),
        (event("the d").replace("\n", "\r"), event("ay").replace("\n", "\r\n")),
        (event("the d").replace("\n", "\r\n"), "data: {\"choices\"".into()),
        (event("the d"), Server::Chat.event(0, &" long".repeat(8_000))),
        (event("the d"), Server::Chat.event(0, &"a".repeat(8_000)) + &Server::Chat.event(0, &"b".repeat(40_000))),
    ] {
        let stream = waiting.clone() + &behind;
        for size in [1, 2, 3, 100, 1 << 20] {
            let mut rewriter = StreamRewriter::new(Rules::new(Shape::Chat, Form::Url));
            let mut renderer = Renderer::default();
            for piece in waiting.as_bytes().chunks(size) {
                renderer.events(rewriter.push(piece));
            }
            assert!(renderer.out.is_empty() && rewriter.is_between_events(), "waits: {waiting}");
            for piece in behind.as_bytes().chunks(size) {
                renderer.events(rewriter.push(piece));
            }
            renderer.events(rewriter.finish());
            assert_eq!(renderer.text(), stream, "in pieces of {size}");
        }
    }
}

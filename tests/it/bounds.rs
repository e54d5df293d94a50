//! No answer makes the gateway hold more than it should: past each bound what is held goes out, and no picture is half changed.

use picgate::rewrite::{
    Event,
    answer::{AnswerRewriter, Form, Rules},
    shape::Shape,
    stream::StreamRewriter,
};
use serde_json::json;

use crate::{
    corpus::invariants::{Renderer, render, render::url},
    harness::{Canned, House, encoded, fixture},
};

fn png() -> Vec<u8> {
    fixture("img/px2.png")
}

/// Feeds a rewriter pieces of 4 KiB, and asserts that it never keeps back more than this.
#[track_caller]
fn assert_holds(
    mut push: impl FnMut(&[u8]) -> Vec<Event>,
    input: impl Iterator<Item = Vec<u8>>,
    most: usize,
) -> Renderer {
    let (mut came, mut given, mut renderer) = (0, 0, Renderer::new(None));
    for piece in input {
        came += piece.len();
        let events = push(&piece);
        for event in &events {
            given += match event {
                Event::Data { decoded, raw, .. } => raw.as_ref().map_or(decoded.len() / 3 * 4, |raw| raw.len()),
                _ => 0,
            };
        }
        renderer.events(events);
        let held = came.saturating_sub(renderer.out.len() + given);
        assert!(held <= most, "{held} of {came} bytes are held");
    }
    renderer
}

/// A start, the same piece again and again, and an end.
fn endless(start: &str, again: &str, bytes: usize, end: &str) -> impl Iterator<Item = Vec<u8>> {
    let middle = again.repeat(4096 / again.len() + 1).into_bytes();
    let pieces = std::iter::repeat_n(middle.clone(), bytes / middle.len());
    std::iter::once(start.as_bytes().to_vec()).chain(pieces).chain(std::iter::once(end.as_bytes().to_vec()))
}

/// Several times what may be held.
const LONG: usize = 400 * 1024;
/// What may be held of one value, with the piece that shows it.
const HELD: usize = 80 * 1024;

#[test]
fn nothing_between_two_members_grows() {
    for (what, start, again, end) in [
        ("white space in an item", r#"{"data":[{"a":1"#, " ", r#","b64_json":""}]}"#),
        ("white space behind a held member", r#"{"data":[{"url":"""#, " ", "}]}"),
        ("a key", r#"{"data":[{""#, "k", r#"":1}]}"#),
        ("white space behind a key", r#"{"data":[{"b64_json""#, "\n", r#":""}]}"#),
        ("a value behind a held member", r#"{"data":[{"b64_json":"","x":""#, "x", r#""}]}"#),
        ("members behind a held member", r#"{"data":[{"b64_json":"""#, r#","x":[1]"#, "}]}"),
        ("a URL", r#"{"data":[{"url":"https://a/"#, "x", r#""}]}"#),
        ("a URL in escapes", r#"{"data":[{"url":"https://a/"#, "\\u0041", r#""}]}"#),
        ("what is no URL", r#"{"data":[{"url":"a/"#, "x", r#""}]}"#),
        ("a reference", r#"{"output":["https://a/"#, "x", r#""]}"#),
        ("the media type of a data URI", r#"{"data":[{"url":"data:image/"#, "x", r#""}]}"#),
        ("base64 that is white space", r#"{"data":[{"b64_json":"iVBORw0K"#, "\\n", r#""}]}"#),
    ] {
        let input: Vec<Vec<u8>> = endless(start, again, LONG, end).collect();
        for form in [Form::Url, Form::Base64, Form::Both, Form::AsCame] {
            let mut rewriter = AnswerRewriter::new(Rules::new(Shape::Images, form));
            let mut renderer = assert_holds(|piece| rewriter.push(piece), input.iter().cloned(), 2 * HELD);
            renderer.events(rewriter.finish());
            assert!(renderer.out == input.concat(), "{what}, {form:?}");
        }
    }
}

#[test]
fn no_line_and_no_event_grows() {
    for (what, shape, start, again, end) in [
        ("a comment", Shape::Chat, ":", "x", "\n\n"),
        ("a field", Shape::Chat, "event: ", "x", "\n\n"),
        ("a line of data that is no JSON", Shape::Chat, "data: ", "x", "\n\n"),
        ("a text", Shape::Chat, "data: {\"choices\":[{\"delta\":{\"content\":\"", "x", "\"}}]}\n\n"),
        ("an unknown member", Shape::Images, "data: {\"x\":\"", "x", "\"}\n\n"),
        ("a type", Shape::Images, "data: {\"type\":\"", "x", "\"}\n\n"),
        ("lines behind the data", Shape::Images, "data: {\"url\":\"\"}\n", ": c\n", "\n"),
        ("lines within the data", Shape::Images, "data: {\"url\":\"\",\n", ": c\n", "data: \"x\":1}\n\n"),
        ("lines of data", Shape::Chat, "data: [\n", "data: 1,\n", "data: 1]\n\n"),
        ("short lines", Shape::Chat, "", "a\n", "\n"),
        ("empty events", Shape::Chat, "", "\n", ""),
        ("a stream that never begins", Shape::Chat, "", "d", ""),
    ] {
        let input: Vec<Vec<u8>> = endless(start, again, LONG, end).collect();
        let mut rewriter = StreamRewriter::new(Rules::new(shape, Form::Url));
        let mut renderer = assert_holds(|piece| rewriter.push(piece), input.iter().cloned(), 2 * HELD);
        renderer.events(rewriter.finish());
        assert!(renderer.out == input.concat(), "{what}");
    }
}

#[test]
fn ever_more_choices_hold_no_more_text() {
    // Each begins what may become a picture, and never goes on.
    let start = format!("data:image/png;base64,{}", &encoded(&png())[..40]);
    let delta = |index: usize| {
        format!("data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"{start}\"}}}}]}}\n\n").into_bytes()
    };
    let mut rewriter = StreamRewriter::new(Rules::new(Shape::Chat, Form::Url));
    // Events wait up to 64 KiB; from then on, of 64 choices at most.
    let most = (64 << 10) + 64 * start.len();
    let renderer = assert_holds(|piece| rewriter.push(piece), (0..5000).map(delta), most);
    assert!(!renderer.out.is_empty());
}

#[test]
fn pictures_past_the_bound_stay_as_they_came() {
    let base64 = encoded(&png());
    let item = format!(r#"{{"url":"","b64_json":"{base64}"}}"#);
    let answer = format!(r#"{{"data":[{}]}}"#, [item.as_str(); 5].join(","));
    for (form, changed) in [
        (Form::Url, format!(r#"{{"url":"{}"}}"#, url(&png()))),
        (Form::Base64, format!(r#"{{"b64_json":"{base64}"}}"#)),
        (Form::Both, format!(r#"{{"b64_json":"{base64}","url":"{}"}}"#, url(&png()))),
        (Form::AsCame, item.clone()),
    ] {
        let rules = Rules { pictures: 2, ..Rules::new(Shape::Images, form) };
        let mut rewriter = AnswerRewriter::new(rules);
        let mut renderer = Renderer::new(None);
        renderer.events(rewriter.push(answer.as_bytes()));
        renderer.events(rewriter.finish());
        let expected = format!(r#"{{"data":[{changed},{changed},{item},{item},{item}]}}"#);
        assert_eq!((String::from_utf8(renderer.out).unwrap(), renderer.kept.len()), (expected, 2), "{form:?}");
        assert_eq!(rewriter.left_out(), 3, "{form:?}");
    }

    let link = r#"{"url":"https://up.example/1","b64_json":""}"#;
    let answer = format!(r#"{{"data":[{}]}}"#, [link; 3].join(","));
    let rules = Rules { pictures: 1, ..Rules::new(Shape::Images, Form::Url) };
    let got = render(AnswerRewriter::new(rules), Some(&png()), [answer.as_bytes()]);
    let first = format!(r#"{{"url":"{}"}}"#, url(&png()));
    assert_eq!(String::from_utf8(got.out).unwrap(), format!(r#"{{"data":[{first},{link},{link}]}}"#));

    let uri = format!("data:image/png;base64,{base64}");
    let delta = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{uri} {uri} {uri}\"}}}}]}}\n\n");
    let rules = Rules { pictures: 2, ..Rules::new(Shape::Chat, Form::Url) };
    let got = render(StreamRewriter::new(rules), None, delta.as_bytes().chunks(50));
    assert_eq!(String::from_utf8(got.out).unwrap(), delta.replacen(&uri, &url(&png()), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_too_many_pictures_keeps_the_rest_as_it_came_and_says_so() {
    let item = format!(r#"{{"b64_json":"{}"}}"#, encoded(&png()));
    let answer = format!(r#"{{"data":[{}]}}"#, [item.as_str(); 4].join(","));
    let canned = Canned::new("application/json", answer).await;
    let house = House::builder()
        .upstream(&canned.upstream())
        .models("    - { name: \"*\", targets: [ { upstream: canned } ] }")
        .line("limits: { images_per_answer: 3 }")
        .start()
        .await;
    let answer = house.post("/v1/images/generations", json!({ "model": "x", "prompt": "x" })).await.ok();
    let items = answer["data"].as_array().unwrap();
    assert!(items[..3].iter().all(|item| item["url"].is_string() && item.get("b64_json").is_none()));
    assert_eq!(items[3].to_string(), item);
    assert_eq!(house.metric("picgate_pictures_stored_total"), 3);
    assert_eq!(house.metric("picgate_pictures_left_out_total"), 1);
}

#[test]
fn answers_nested_too_deeply_pass_as_they_came() {
    let picture = format!(r#"{{"data":[{{"b64_json":"{}"}}]}}"#, encoded(&png()));
    for (depth, kept) in [(250, 1), (253, 1), (300, 0)] {
        // The deep part comes first: behind it nothing is known any more.
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let answer = picture.replacen('{', &format!("{{\"deep\":{deep},"), 1);
        let got = render(AnswerRewriter::new(Rules::new(Shape::Images, Form::Url)), None, [answer.as_bytes()]);
        assert_eq!(got.kept.len(), kept, "{depth}");
        assert!(kept == 1 || got.out == answer.as_bytes());
    }
}

/// 512 KiB of text without a picture in it: more than is held before an answer begins.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_too_long_to_be_held_begins_before_its_end() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("{{ name: up, base_url: \"http://{}/v1\" }}", listener.local_addr().unwrap());
    let (go_on, told) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        // The whole request: what is unread when a socket closes resets it.
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            assert!(socket.read_buf(&mut request).await.unwrap() > 0);
        }
        let half = "x".repeat(512 * 1024);
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", 2 + half.len());
        socket.write_all(format!("{head}\"{half}").as_bytes()).await.unwrap();
        told.await.unwrap();
        socket.write_all(b"\"").await.unwrap();
        socket.shutdown().await.unwrap();
    });
    let models = "    - { name: \"*\", targets: [ { upstream: up } ] }";
    let house = House::builder().upstream(&upstream).models(models).start().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("{}/v1/chat/completions", house.origin())).bearer_auth(crate::harness::KEY);
    // The header comes while the upstream waits.
    let answer = request.body(r#"{"model":"x"}"#).header("content-type", "application/json").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    go_on.send(()).unwrap();
    assert_eq!(answer.bytes().await.unwrap().len(), 512 * 1024 + 2);
    serving.await.unwrap();
}

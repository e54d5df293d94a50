//! Streams leave with their pictures as URLs, event by event.

use http::Method;
use serde_json::{Value, json};

use crate::{
    framings::in_front_of,
    harness::{
        Answer, Held, House, KEY,
        raw::{Raw, Then},
        wire::{Wire, post},
    },
};

/// The JSON of every event.
fn events(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("x-accel-buffering"), "no");
    let text = answer.text();
    text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

async fn chat(house: &House, prompt: &str) -> Answer {
    let body = json!({ "model": "demo-chat", "stream": true, "messages": [ { "role": "user", "content": prompt } ] });
    house.post("/v1/chat/completions", body).await
}

/// The only URL of ours in a text, and the picture behind it.
async fn only_picture(house: &House, text: &str) -> Answer {
    let prefix = format!("{}/images/", house.origin());
    let mut found = text.split(&prefix).skip(1);
    let name = found.next().unwrap_or_else(|| panic!("no picture in {text}"));
    assert!(found.next().is_none(), "{text}");
    let name: String = name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
    let picture = house.get(&format!("/images/{name}")).await;
    assert_eq!(picture.status, 200);
    picture
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_picture_cut_over_many_deltas_is_one_url() {
    let house = House::new().await;
    let picture = house.drawn("a red fox").await;
    for words in ["", "delta:7", "delta:1000", "shape:bare delta:50", "shape:images", "shape:array"] {
        let answer = chat(&house, &format!("draw a red fox {words}")).await;
        assert!(!answer.text().contains("base64"), "{words}");
        assert_eq!(only_picture(&house, &answer.text().replace("\"}", "\" }")).await.body, picture, "{words}");
        assert!(answer.text().trim_end().ends_with("data: [DONE]"));
        let finish = events(&answer)
            .into_iter()
            .filter_map(|event| event["choices"][0]["finish_reason"].as_str().map(str::to_owned));
        assert_eq!(finish.collect::<Vec<_>>(), ["stop"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_images_stream_keeps_previews_and_turns_the_picture_into_a_url() {
    let house = House::new().await;
    let body = json!({ "model": "demo-image", "prompt": "a fox", "stream": true, "partial_images": 2 });
    let answer = house.post("/v1/images/generations", body).await;
    let events = events(&answer);
    let names: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["image_generation.partial_image", "image_generation.partial_image", "image_generation.completed"]
    );
    assert!(events[0]["b64_json"].as_str().unwrap().starts_with("iVBOR"));
    assert!(events[2].get("b64_json").is_none());
    only_picture(&house, events[2]["url"].as_str().unwrap()).await;
    assert_eq!(house.metric("picgate_pictures_stored_total"), 1, "previews are not kept");

    let body = json!({ "model": "demo-image", "prompt": "a fox", "stream": true, "response_format": "b64_json" });
    let answer = house.post("/v1/images/generations", body).await;
    let completed = self::events(&answer).pop().unwrap();
    assert!(completed.get("url").is_none());
    assert!(completed["b64_json"].as_str().unwrap().starts_with("iVBOR"));
    assert_eq!(house.metric("picgate_pictures_deduplicated_total"), 1, "kept all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_responses_stream_names_the_same_picture_the_same_in_every_event() {
    let models = "    - { name: demo-image, targets: [ { upstream: demo } ], images: { responses: url } }";
    let house = House::builder().models(models).start().await;
    let body = json!({ "model": "demo-image", "stream": true, "input": "a fox" });
    let events = events(&house.post("/v1/responses", body).await);
    let find = |name: &str| events.iter().find(|event| event["type"] == name).unwrap().clone();
    let item = find("response.output_item.done")["item"]["result"].clone();
    assert!(item.as_str().unwrap().starts_with(&house.origin()));
    assert_eq!(find("response.completed")["response"]["output"][0]["result"], item);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_is_kept_alive_between_events() {
    let house = House::builder().line("images: { heartbeat: { sse: 20ms } }").start().await;
    let answer = chat(&house, "hello slow:300ms words:3").await;
    assert!(answer.text().contains("\n\n: keep-alive\n"), "{}", answer.text());
    // A comment is one line: a blank line of its own would end an event.
    assert!(!answer.text().contains("keep-alive\n\n"), "{}", answer.text());
    let quiet = House::builder().line("images: { heartbeat: { sse: off } }").start().await;
    assert!(!chat(&quiet, "hello slow:50ms words:3").await.text().contains("keep-alive"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_arrives_slowly_keeps_its_stream_alive() {
    let house = House::builder().line("images: { heartbeat: { sse: 50ms } }").start().await;
    // Its deltas say nothing new, so none of them goes out; and the upstream is never silent for long.
    let answer = chat(&house, "draw a fox size:64x64 bytes:20000 delta:1000 slow:20ms").await;
    assert!(answer.text().contains("\n\n: keep-alive\n"), "{}", answer.text());
    only_picture(&house, &answer.text()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_says_so() {
    let house = House::new().await;
    let answer = chat(&house, "draw a fox truncate:50%").await;
    let last = answer.text();
    assert!(last.contains("\n\nevent: error\ndata: {\"error\":"), "{last}");
    assert_eq!(events(&answer).pop().unwrap()["error"]["code"], "upstream_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_labelled_as_json_is_still_a_stream() {
    let body = crate::harness::fixture("resp.chat.markdown-split.sse");
    let canned = crate::harness::Canned::new("application/json", body).await;
    let models = "    - { name: \"*\", targets: [ { upstream: canned } ] }";
    let house = House::builder().upstream(&canned.upstream()).models(models).start().await;
    let headers = [("authorization", format!("Bearer {KEY}")), ("content-type", "application/json".to_owned())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = house.send(Method::POST, "/v1/chat/completions", &headers, r#"{"model":"x","stream":true}"#).await;
    assert!(!events(&answer).is_empty());
    only_picture(&house, &answer.text()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_although_the_upstream_is_silent() {
    let house = House::builder().line("images: { heartbeat: { sse: 50ms } }").start().await;
    let answer = chat(&house, "hello delay:400ms words:3").await;
    assert!(answer.text().starts_with(": keep-alive\n: keep-alive\n"), "{}", answer.text());
    assert!(answer.text().trim_end().ends_with("data: [DONE]"));
    assert!(events(&answer).len() > 3);

    // What has begun cannot have another status: the upstream's error is an event.
    let answer = chat(&house, "hello delay:400ms status:429").await;
    let error = events(&answer).pop().unwrap();
    assert_eq!(error["error"]["code"], "rate_limit_exceeded");
    assert!(answer.text().contains(": keep-alive\nevent: error\ndata: {"));
    let answer = chat(&house, "hello delay:400ms reset").await;
    assert_eq!(events(&answer).pop().unwrap()["error"]["code"], "upstream_failed");

    // An error that comes in time keeps its status, and an answer that is no stream is not begun.
    assert_eq!(chat(&house, "hello status:429").await.status, 429);
    let slow = house.chat(json!([ { "role": "user", "content": "hello delay:200ms" } ])).await;
    assert_eq!(slow.ok()["object"], "chat.completion");
}

const STREAMED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The event of this word, in a chunk of its own.
fn chunk(word: &str) -> String {
    let event = delta(word);
    format!("{:x}\r\n{event}\r\n", event.len())
}

fn delta(word: &str) -> String {
    format!("data: {}\n\n", json!({ "choices": [ { "index": 0, "delta": { "content": word } } ] }))
}

/// What a client gets of a streamed chat, as it stands on the connection, up to these words.
async fn wire_up_to(house: &House, end: &str) -> String {
    let mut wire = Wire::to(house).await;
    assert!(wire.send(post("/v1/chat/completions", r#"{"model":"x","stream":true,"messages":[]}"#)).await);
    wire.up_to(end).await
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_together_leave_together() {
    let words: Vec<String> = (0..200).map(|number| format!("word{number} ")).collect();
    let text: String = words.iter().map(|word| chunk(word)).collect();
    let raw = Raw::new([format!("{STREAMED}{text}0\r\n\r\n")], Then::GoOn).await;
    let house = in_front_of(&raw).await;
    let got = wire_up_to(&house, "\r\n0\r\n\r\n").await;
    let events: String = words.iter().map(|word| delta(word)).collect();
    let (mut joined, mut chunks, mut rest) = (String::new(), 0, got.split_once("\r\n\r\n").unwrap().1);
    while let Some((len, behind)) = rest.split_once("\r\n") {
        let len = usize::from_str_radix(len, 16).unwrap();
        joined += &behind[..len];
        rest = &behind[len + 2..];
        chunks += 1;
    }
    assert_eq!(joined, events);
    // They cannot come in one read, but in a few.
    assert!(chunks < 20, "{chunks} writes for 200 events");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_events_that_come_with_a_break_leave_before_its_error() {
    let raw = Raw::new([format!("{STREAMED}{}{}zz\r\n", chunk("one"), chunk("two"))], Then::Close).await;
    let got = wire_up_to(&in_front_of(&raw).await, "\r\n0\r\n\r\n").await;
    let one = got.find(&delta("one")).expect("the first");
    let two = got.find(&delta("two")).expect("the second");
    let error = got.find("event: error").expect("an error");
    assert!(one < two && two < error, "{got}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_does_not_wait_for_a_long_one_that_has_begun() {
    let long = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}", "long ".repeat(16_000));
    let text = format!("{STREAMED}{}{:x}\r\n{long}\r\n", chunk("first"), long.len());
    let raw = Raw::new([text], Then::GoOn).await;
    // The rest of the long one never comes.
    wire_up_to(&in_front_of(&raw).await, &delta("first")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_does_not_wait_for_a_picture_that_came_with_it() {
    let held = Held::new(200, "image/png", "never").await;
    let picture = json!({ "type": "image_url", "image_url": { "url": held.url("/picture.png") } });
    let event = json!({ "choices": [ { "index": 0, "delta": { "content": "second", "images": [ picture ] } } ] });
    let event = format!("data: {event}\n\n");
    let text = format!("{STREAMED}{}{:x}\r\n{event}\r\n", chunk("first"), event.len());
    let raw = Raw::new([text], Then::GoOn).await;
    let house = House::builder()
        .upstream(&raw.upstream())
        .models("    - { name: \"*\", targets: [ { upstream: raw } ] }")
        .line("fetch: { allow: [ 127.0.0.0/8 ], timeout: 40s }")
        .start()
        .await;
    wire_up_to(&house, &delta("first")).await;
    held.asked().await;
}

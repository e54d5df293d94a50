//! Bodies of every size and framing, and connections that carry more than one request, or end early.

use futures_util::future::join_all;
use picgate::picture::PictureId;
use serde_json::{Value, json};

use crate::harness::{
    H2, House, Silent, data_uri, decoded, fixture, sha256, until,
    wire::{self, Wire},
};

const CHAT: &str = "/v1/chat/completions";
const GENERATIONS: &str = "/v1/images/generations";

/// A chat request of about this many bytes, most of them a picture.
fn chat_of(bytes: usize) -> String {
    let mut file = fixture("img/px2.png");
    file.resize(bytes / 4 * 3, 0x5a);
    let part = json!({ "type": "image_url", "image_url": { "url": data_uri("image/png", &file) } });
    json!({ "model": "demo-chat", "messages": [{ "role": "user", "content": [part] }] }).to_string()
}

/// Asserts that the upstream received this body, of a known length.
#[track_caller]
fn assert_received(house: &House, body: &str) {
    let request = house.demo.received().pop().expect("a request");
    assert_eq!((request.length, request.content_length), (body.len(), Some(body.len() as u64)));
    assert_eq!(request.sha256, sha256(body.as_bytes()));
    assert!(!request.chunked);
}

// === Size ===

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_32_megabytes_arrives_whole() {
    let house = House::new().await;
    let body = chat_of(32_000_000);
    house.post(CHAT, body.as_str()).await.ok();
    assert_received(&house, &body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_at_the_limit_is_taken_and_one_byte_more_is_not() {
    let house = House::builder().line("limits: { request_body: 100000 }").start().await;
    let mut body = chat_of(90_000);
    body.push_str(&" ".repeat(100_000 - body.len()));
    house.post(CHAT, body.as_str()).await.ok();
    assert_received(&house, &body);
    house.demo.clear();
    body.push(' ');
    house.post(CHAT, body.as_str()).await.error(413, "request_too_large");

    let head = wire::post_head(CHAT, "Transfer-Encoding: chunked\r\n");
    let mut wire = Wire::to(&house).await;
    wire.send(&head).await;
    wire.send(wire::chunked(body.as_bytes(), 8000)).await;
    wire.answer().await.error(413, "request_too_large");
    assert!(house.demo.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_far_over_the_limit_is_refused_while_it_is_sent() {
    let house = House::builder().line("limits: { request_body: 1MiB }").start().await;
    let piece = "x".repeat(1 << 20);
    for declared in [true, false] {
        let framing = if declared { "Content-Length: 8388608\r\n" } else { "Transfer-Encoding: chunked\r\n" };
        let mut wire = Wire::to(&house).await;
        wire.send(wire::post_head(CHAT, framing)).await;
        // All of it goes out before the answer is read, as most clients do it.
        for turn in 0..8 {
            let piece = if declared { piece.clone() } else { format!("100000\r\n{piece}\r\n") };
            // The body is no JSON: it is made so up to the limit.
            let piece = if turn == 0 { piece.replacen("xx", "\"x", 1) } else { piece };
            wire.send(piece).await;
        }
        if !declared {
            wire.send("0\r\n\r\n").await;
        }
        wire.answer().await.error(413, "request_too_large");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_that_stops_sending_is_answered_all_the_same() {
    let house = House::builder().line("limits: { request_body: 1MiB }").start().await;
    let mut wire = Wire::to(&house).await;
    wire.send(wire::post_head(CHAT, "Content-Length: 99999999\r\n")).await;
    wire.answer().await.error(413, "request_too_large");
    assert!(wire.is_closed().await);
}

// === Framing ===

#[tokio::test(flavor = "multi_thread")]
async fn chunked_bodies_go_on_with_a_length() {
    let house = House::new().await;
    for (body, size) in [(chat_of(2000), 1), (chat_of(300_000), 1000), (chat_of(3_000_000), 65_537)] {
        let mut wire = Wire::to(&house).await;
        wire.send(wire::post_head(CHAT, "Transfer-Encoding: chunked\r\n")).await;
        wire.send(wire::chunked(body.as_bytes(), size)).await;
        wire.answer().await.ok();
        assert_received(&house, &body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_reaches_nobody() {
    let house = House::new().await;
    let body = chat_of(2000);
    let mut wire = Wire::to(&house).await;
    wire.send(wire::post_head(CHAT, "Transfer-Encoding: chunked\r\n") + "4\r\n{\"mo\r\nzz\r\n").await;
    wire.answer().await.error(400, "invalid_request");
    let mut wire = Wire::to(&house).await;
    wire.send(wire::post_head(CHAT, &format!("Content-Length: {}\r\n", body.len() + 5)) + &body).await;
    drop(wire);
    until("the broken request", || {
        house.metric(r#"picgate_requests_total{route="chat",status="400",upstream="-"}"#) == 2
    })
    .await;
    assert!(house.demo.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_expects_100_continue_gets_it_before_its_body() {
    let house = House::new().await;
    let body = chat_of(5000);
    let mut wire = Wire::to(&house).await;
    let head = wire::post_head(CHAT, &format!("Expect: 100-continue\r\nContent-Length: {}\r\n", body.len()));
    wire.send(head).await;
    assert_eq!(wire.answer().await.status, 100);
    wire.send(&body).await;
    wire.answer().await.ok();
    assert_received(&house, &body);
    assert_eq!(house.demo.received()[0].header("expect"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_that_expects_100_continue_does_not_get_it() {
    let house = House::builder().line("limits: { request_body: 1MiB }").start().await;
    let expect = |more: &str| wire::post_head(CHAT, &format!("Expect: 100-continue\r\n{more}"));
    for (head, status, code) in [
        (expect("Content-Length: 1048577\r\n"), 413, "request_too_large"),
        (expect("Content-Length: 5\r\nContent-Encoding: gzip\r\n"), 415, "unsupported_media_type"),
        (expect("Content-Length: 5\r\n").replace("Bearer", "Basic"), 401, "invalid_api_key"),
        (expect("Content-Length: 5\r\n").replace("application/json", "image/png"), 415, "unsupported_media_type"),
    ] {
        let mut wire = Wire::to(&house).await;
        wire.send(head).await;
        wire.answer().await.error(status, code);
    }
}

// === HTTP/2 ===

#[tokio::test(flavor = "multi_thread")]
async fn http2_carries_megabytes_both_ways() {
    let house = House::new().await;
    let h2 = H2::to(&house).await;
    for bytes in [1000, 70_000, 6_000_000] {
        let body = chat_of(bytes);
        h2.post(CHAT, "application/json", body.clone()).await.ok();
        assert_received(&house, &body);
        let body = json!({
            "model": "demo-image", "prompt": format!("a buoy size:64x64 bytes:{bytes}"), "response_format": "b64_json",
        });
        let answer = h2.post(GENERATIONS, "application/json", body.to_string()).await.ok();
        let picture = decoded(&answer["data"][0]["b64_json"]);
        assert!(picture.len() > bytes - 100);
        let served = h2.get(&format!("/images/{}", PictureId::of(&picture))).await;
        assert_eq!((served.status.as_u16(), served.header("content-type")), (200, "image/png"));
        assert!(served.body == picture);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_carries_many_requests_at_once() {
    let house = House::new().await;
    let h2 = H2::to(&house).await;
    let asks = (0..20).map(|turn| {
        let h2 = h2.clone();
        async move {
            let body = json!({ "model": "demo-image", "prompt": format!("buoy {turn} size:64x64 bytes:200000") });
            let answer = h2.post(GENERATIONS, "application/json", body.to_string()).await.ok();
            answer["data"][0]["url"].as_str().unwrap().to_owned()
        }
    });
    let mut urls = join_all(asks).await;
    urls.sort();
    urls.dedup();
    assert_eq!(urls.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_bodies_have_the_same_limit() {
    let house = House::builder().line("limits: { request_body: 100000 }").start().await;
    let h2 = H2::to(&house).await;
    h2.post(CHAT, "application/json", chat_of(50_000)).await.ok();
    h2.post(CHAT, "application/json", chat_of(200_000)).await.error(413, "request_too_large");
    h2.post(CHAT, "application/json", chat_of(50_000)).await.ok();
}

// === More than one request ===

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_takes_one_request_after_the_other() {
    let house = House::new().await;
    let mut wire = Wire::to(&house).await;
    for turn in 0..3 {
        let body = json!({ "model": "demo-image", "prompt": format!("a cup {turn} size:64x64") }).to_string();
        wire.send(wire::post(GENERATIONS, &body)).await;
        let answer = wire.answer().await.ok();
        let path = answer["data"][0]["url"].as_str().unwrap().strip_prefix(&house.origin()).unwrap();
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n")).await;
        assert_eq!(wire.answer().await.header("content-type"), "image/png");
        // A refused request does not end it either, once its body has been read.
        wire.send(wire::post(CHAT, r#"{"model":"demo-chat","messages":[]"#)).await;
        wire.answer().await.error(400, "invalid_json");
    }
}

/// Pingora hands the bytes it has read ahead to nobody: the second request of a pipeline may be answered or not, but
/// then the connection ends, so that the client knows to send it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipelined_request_is_answered_or_the_connection_ends() {
    let house = House::new().await;
    let body =
        json!({ "model": "demo-chat", "messages": [{ "role": "user", "content": "hi delay:50ms" }] }).to_string();
    let request = wire::post(CHAT, &body);
    let mut wire = Wire::to(&house).await;
    wire.send(request.clone() + &request).await;
    wire.answer().await.ok();
    if !wire.is_closed().await {
        wire.answer().await.ok();
    }

    // The second comes while the first is being worked on.
    house.demo.clear();
    let mut wire = Wire::to(&house).await;
    wire.send(&request).await;
    house.demo.received_at_least(1).await;
    wire.send(&request).await;
    wire.answer().await.ok();
    if !wire.is_closed().await {
        wire.answer().await.ok();
    }
}

// === Ends that come early ===

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_before_the_body_is_out_reaches_the_client() {
    let house = House::new().await;
    let content = json!([{ "type": "text", "text": "early:413" }, { "type": "text", "text": "x".repeat(20_000_000) }]);
    let body = json!({ "messages": [{ "role": "user", "content": content }], "model": "demo-chat" });
    for _ in 0..3 {
        let answer = house.post(CHAT, body.clone()).await;
        assert_eq!(answer.status, 413, "{}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "request_too_large");
        assert!(answer.header("x-upstream-request-id").starts_with("req_demo_"));
    }
    // The next request is not disturbed by what was left of those.
    house.chat(json!([{ "role": "user", "content": "hi" }])).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_still_gets_its_picture_kept() {
    let house = House::new().await;
    let prompt = "a kite size:64x64";
    let body = json!({ "model": "demo-image", "prompt": format!("{prompt} delay:300ms") }).to_string();
    let mut wire = Wire::to(&house).await;
    wire.send(wire::post(GENERATIONS, &body)).await;
    house.demo.received_at_least(1).await;
    drop(wire);
    until("the picture", || house.metric("picgate_pictures_stored_total") == 1).await;
    let kept = house.get(&format!("/images/{}", PictureId::of(&house.drawn(prompt).await))).await;
    assert_eq!(kept.status, 200);
    until("the request's end", || house.metric("picgate_requests_in_flight") == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_within_the_answer_still_gets_every_picture_kept() {
    let house = House::builder().line("images: { response_format: both }").start().await;
    let body = json!({ "model": "demo-image", "n": 3, "prompt": "kites size:64x64 unique:yes bytes:400000 slow:5ms" });
    let mut wire = Wire::to(&house).await;
    wire.send(wire::post(GENERATIONS, &body.to_string())).await;
    until("the first picture", || house.metric("picgate_pictures_stored_total") > 0).await;
    drop(wire);
    until("all pictures", || house.metric("picgate_pictures_stored_total") == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_abort_a_client_that_hangs_up_ends_the_work() {
    let silent = Silent::new().await;
    let house = House::builder()
        .upstream(&silent.upstream())
        .models("    - { name: silent, targets: [ { upstream: silent } ] }\n    - { name: \"*\", targets: [ { upstream: demo } ] }")
        .line("images: { on_disconnect: abort }")
        .start()
        .await;
    let body = json!({ "model": "silent", "prompt": "x" }).to_string();
    let mut wire = Wire::to(&house).await;
    wire.send(wire::post(GENERATIONS, &body)).await;
    silent.asked().await;
    drop(wire);
    silent.left().await;
    until("the request's end", || house.metric("picgate_requests_in_flight") == 0).await;
    assert_eq!(house.metric("picgate_pictures_stored_total"), 0);
    // Those who stay are answered.
    let answer: Value = house.generate(json!({ "prompt": "a kite size:64x64" })).await.ok();
    assert!(answer["data"][0]["url"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_breaks_off_is_an_error_and_not_half_a_picture() {
    let house = House::new().await;
    let prompt = "a kite size:64x64 bytes:500000 truncate:50%";
    let answer = house.generate(json!({ "prompt": prompt })).await;
    answer.error(502, "upstream_failed");
    assert_eq!(answer.header("x-should-retry"), "false");
    house.generate(json!({ "prompt": "a kite size:64x64 reset" })).await.error(502, "upstream_failed");
    assert_eq!(house.metric("picgate_pictures_stored_total"), 0);
    assert!(house.data_dir().join("tmp").read_dir().unwrap().next().is_none());
    assert_eq!(house.demo.received().len(), 2, "nothing was sent twice");
}

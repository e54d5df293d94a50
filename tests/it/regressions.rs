//! Bugs that were found and fixed, each with a number.

use serde_json::json;

use crate::{
    framings::in_front_of,
    harness::{
        Canned, House,
        raw::{Raw, Then},
    },
};

/// 1: the body of an encoded answer passed, but without its `Content-Encoding`, so that nobody could read it.
#[tokio::test(flavor = "multi_thread")]
async fn r1_an_encoded_answer_says_that_it_is() {
    let text = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\u{8}ab";
    let raw = Raw::new([text], Then::GoOn).await;
    let answer = in_front_of(&raw).await.generate(json!({ "prompt": "x" })).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"\x1f\x08ab"[..]));
    assert_eq!(answer.header("content-encoding"), "gzip", "or nobody could read it");
}

/// 2: an empty `b64_json` that came before the picture's URL was answered, and some clients took it for the picture.
#[tokio::test(flavor = "multi_thread")]
async fn r2_an_empty_twin_before_a_url_goes() {
    let elsewhere = House::new().await;
    let theirs = elsewhere.remote_picture("a lantern size:64x64").await;
    let body = format!("{{\"data\":[{{\"b64_json\":\"\",\"x\":1,\"url\":\"{theirs}\"}}]}}");
    let canned = Canned::new("application/json", body).await;
    let models = "    - { name: \"*\", targets: [ { upstream: canned } ] }";
    let house = House::builder().upstream(&canned.upstream()).models(models).start().await;
    let answer = house.generate(json!({ "prompt": "x" })).await;
    let ours = answer.ok()["data"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(answer.text(), format!("{{\"data\":[{{\"x\":1,\"url\":\"{ours}\"}}]}}"));
}

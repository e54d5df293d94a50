//! Bugs that were found and fixed, each with a number.

use serde_json::json;

use crate::{
    framings::in_front_of,
    harness::raw::{Raw, Then},
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

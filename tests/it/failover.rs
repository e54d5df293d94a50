//! From the first upstream to the second: only while nothing can have been paid for.

use bytes::Bytes;
use serde_json::json;

use crate::{
    harness::{Builder, House, sha256},
    scripted::{Reply, Scripted, dead, form, json_answer},
};

/// `demo-image` goes to `first`, then to the demo.
fn first_then_demo(first: &str) -> Builder {
    House::builder()
        .upstream(first)
        .models("    - { name: demo-image, targets: [ { upstream: first, model: theirs }, { upstream: demo } ] }")
}

fn refusal(status: u16) -> String {
    format!(r#"{{"error":{{"message":"not now","type":"server_error","code":"code_{status}"}}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_first_upstream_is_stepped_over() {
    let (_port, base) = dead();
    let house = first_then_demo(&format!("{{ name: first, kind: openai, base_url: \"{base}\", api_key: k }}"));
    let house = house.start().await;
    house.generate(json!({ "prompt": "a fox" })).await.ok();
    let received = house.demo.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].model.as_deref(), Some("demo-image"));
    house.gateway.in_flight().none().await;
    assert_eq!(house.metric(r#"picgate_requests_total{route="generations",status="200",upstream="demo"}"#), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_has_no_time_is_stepped_over() {
    for status in [429, 503] {
        let first = Scripted::answering(status, refusal(status)).await;
        let house = first_then_demo(&first.upstream("first")).start().await;
        let answer = house.generate(json!({ "prompt": "a fox" })).await;
        assert!(answer.ok()["data"][0]["url"].as_str().unwrap().starts_with(&house.origin()));
        assert_eq!(answer.header("retry-after"), "");
        assert_eq!(first.heard().len(), 1);
        assert!(String::from_utf8_lossy(&first.heard()[0].body).contains(r#""model":"theirs""#));
        assert_eq!(house.demo.received().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_refusal_is_the_clients_answer() {
    let first = Scripted::answering(503, refusal(503)).await;
    let second = Scripted::answering(429, refusal(429)).await;
    let house = House::builder().upstream(&first.upstream("first")).upstream(&second.upstream("second"));
    let models = "    - { name: demo-image, targets: [ { upstream: first }, { upstream: second } ] }";
    let house = house.models(models).start().await;
    let message = house.generate(json!({ "prompt": "a fox" })).await.error(429, "code_429");
    assert_eq!(message, "not now");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_paid_for_does_not_go_on() {
    for status in [400, 408, 500, 502, 504] {
        let first = Scripted::answering(status, refusal(status)).await;
        let house = first_then_demo(&first.upstream("first")).start().await;
        house.generate(json!({ "prompt": "a fox" })).await.error(status, &format!("code_{status}"));
        assert!(house.demo.received().is_empty(), "{status}");
    }
    let broken = Scripted::new(|_| Reply::Bytes(Vec::new())).await;
    let house = first_then_demo(&broken.upstream("first")).start().await;
    house.generate(json!({ "prompt": "a fox" })).await.error(502, "upstream_failed");
    assert!(house.demo.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_was_silent_too_long_may_be_at_work() {
    let first = Scripted::silent().await;
    let house = first_then_demo(&first.upstream("first")).line("limits: { upstream_timeout: 300ms }").start().await;
    house.generate(json!({ "prompt": "a fox" })).await.error(504, "upstream_timeout");
    assert_eq!(first.heard().len(), 1);
    assert!(house.demo.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_has_begun_is_not_asked_for_again() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{\"data\":[";
    let first = Scripted::new(move |_| Reply::Bytes(head.into())).await;
    let house = first_then_demo(&first.upstream("first")).start().await;
    house.generate(json!({ "prompt": "a fox" })).await.error(502, "upstream_failed");
    assert!(house.demo.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_form_is_sent_again_in_full() {
    let pixels = noise(3 * 1024 * 1024);
    let fields = [("model", "demo-image"), ("prompt", "a fox"), ("response_format", "b64_json")];
    for early in [false, true] {
        let refuse = json_answer(503, &refusal(503));
        let first = Scripted::new(move |_| match early {
            true => Reply::Early(refuse.clone()),
            false => Reply::Bytes(refuse.clone()),
        });
        let first = first.await;
        let house = first_then_demo(&first.upstream("first")).start().await;
        let (kind, body) = form(&fields, &[("image", "image/png", pixels.clone())]);
        house.post("/v1/images/edits", (kind, body.clone())).await.ok();
        let received = house.demo.received();
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].sha256, sha256(&body), "early: {early}");
        assert_eq!(received[0].content_length, Some(body.len() as u64));
        if !early {
            let heard = first.heard();
            assert_eq!(
                heard[0].header("content-length"),
                (body.len() - "demo-image".len() + "theirs".len()).to_string()
            );
            assert!(memchr::memmem::find(&heard[0].body, &pixels).is_some());
        }
    }
}

/// A PNG's signature and header with bytes behind it that do not repeat.
fn noise(len: usize) -> Bytes {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10\x08\x06\0\0\0".to_vec();
    let mut state = 1u64;
    while bytes.len() < len {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.into()
}

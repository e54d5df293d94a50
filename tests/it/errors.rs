//! What a client is told when something is wrong, and what it is not told.

use std::path::Path;

use http::Method;
use serde_json::json;

use crate::{
    harness::{Answer, House, KEY},
    scripted::{Scripted, answer, dead, raw},
};

const UPSTREAM_KEY: &str = "sk-upstream";

type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

/// Asserts that neither the answer nor the metrics hold a key, and that the request can be traced.
#[track_caller]
fn is_clean(house: &House, answer: &Answer) {
    assert!(answer.header("x-request-id").starts_with("req_"), "{answer:?}");
    let metrics = prometheus::TextEncoder::new().encode_to_string(&house.registry.gather()).unwrap();
    for text in [answer.text(), format!("{:?}", answer.headers), metrics] {
        for secret in [KEY, UPSTREAM_KEY] {
            assert!(!text.contains(secret), "a secret in: {text}");
        }
    }
}

/// Files under `images/`: pictures and their records.
fn kept(house: &House) -> usize {
    fn count(dir: &Path) -> usize {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    count(&house.data_dir().join("images"))
}

/// A gateway whose only model, `demo-image`, goes to the upstream `other`.
fn behind(other: &str) -> crate::harness::Builder {
    House::builder().upstream(other).models("    - { name: demo-image, targets: [ { upstream: other } ] }")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_right_never_reaches_an_upstream() {
    let house = House::builder().line("limits: { request_body: 4KiB }").start().await;
    let bearer = format!("Bearer {KEY}");
    let right = ("authorization", bearer.as_str());
    let json = ("content-type", "application/json");
    let fox = r#"{"model":"demo-image","prompt":"a fox"}"#;
    let long = format!(r#"{{"model":"demo-image","prompt":"{}"}}"#, "x".repeat(5000));
    // What is wrong, headers, body → status, code.
    let cases: [Case<'_>; 17] = [
        ("no key", &[json], fox, 401, "invalid_api_key"),
        ("a wrong key", &[("authorization", "Bearer sk-nobody"), json], fox, 401, "invalid_api_key"),
        ("the upstream's key", &[("authorization", "Bearer sk-upstream"), json], fox, 401, "invalid_api_key"),
        ("a key of another scheme", &[("authorization", "Basic dGVzdA=="), json], fox, 401, "invalid_api_key"),
        ("unknown model", &[right, json], r#"{"model":"nope","prompt":"a fox"}"#, 404, "model_not_found"),
        ("no model", &[right, json], r#"{"prompt":"a fox"}"#, 400, "invalid_request"),
        ("broken JSON", &[right, json], r#"{"model":"demo-image","prompt":"a fox""#, 400, "invalid_json"),
        ("no JSON", &[right, json], "model=demo-image", 400, "invalid_json"),
        ("nothing", &[right, json], "", 400, "invalid_json"),
        ("a list", &[right, json], "[1]", 400, "invalid_request"),
        ("model twice", &[right, json], r#"{"model":"demo-image","model":"picture"}"#, 400, "invalid_request"),
        (
            "stream twice",
            &[right, json],
            r#"{"stream":true,"model":"demo-image","stream":false}"#,
            400,
            "invalid_request",
        ),
        ("model is a number", &[right, json], r#"{"model":5}"#, 400, "invalid_request"),
        ("too long", &[right, json], &long, 413, "request_too_large"),
        ("a form", &[right, ("content-type", "application/x-www-form-urlencoded")], fox, 415, "unsupported_media_type"),
        (
            "multipart",
            &[right, ("content-type", "multipart/form-data; boundary=x")],
            fox,
            415,
            "unsupported_media_type",
        ),
        ("compressed", &[right, json, ("content-encoding", "gzip")], fox, 415, "unsupported_media_type"),
    ];
    for (what, headers, body, status, code) in cases {
        let answer = house.send(Method::POST, "/v1/images/generations", headers, body.to_owned()).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        let message = answer.error(status, code);
        assert!(message.len() > 10, "{what}: {message}");
        is_clean(&house, &answer);
    }
    let deep = format!(r#"{{"model":"demo-image","x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    house.post("/v1/images/generations", deep.as_str()).await.error(400, "invalid_json");
    assert!(house.demo.received().is_empty());
    assert_eq!(kept(&house), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_unknown_length_is_cut_at_the_limit() {
    let house = House::builder().line("limits: { request_body: 4KiB }").start().await;
    let piece = "x".repeat(1000);
    let mut request = format!(
        "POST /v1/images/generations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    for piece in [r#"{"model":"demo-image","prompt":""#].into_iter().chain(std::iter::repeat_n(piece.as_str(), 8)) {
        request.push_str(&format!("{:x}\r\n{piece}\r\n", piece.len()));
    }
    request.push_str("0\r\n\r\n");
    let answer = raw(house.addr(), request).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\"request_too_large\""), "{answer}");
    assert!(house.demo.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_field_at_fault_is_named() {
    let house = House::new().await;
    for body in [json!({ "model": "nope" }), json!({ "prompt": "x" }), json!({ "model": 5 })] {
        let answer = house.post("/v1/images/generations", body).await;
        assert_eq!(answer.json()["error"]["param"], "model");
    }
    let answer = house.send(Method::POST, "/v1/images/generations", &[], "{}").await;
    answer.error(401, "invalid_api_key");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_a_request_id_of_its_own() {
    let house = House::new().await;
    let mut ids = std::collections::HashSet::new();
    for path in
        ["/", "/nothing", "/healthz", "/readyz", "/admin/", "/images/none", "/v1/models", "/v1/models/x", "/v1/x"]
    {
        let answer = house.get_with_key(path).await;
        is_clean(&house, &answer);
        assert!(ids.insert(answer.header("x-request-id").to_owned()), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_upstream_is_a_502_that_may_be_tried_again() {
    let (_port, base) = dead();
    let house = behind(&format!("{{ name: other, kind: openai, base_url: \"{base}\", api_key: {UPSTREAM_KEY} }}"));
    let house = house.start().await;
    let answer = house.generate(json!({ "prompt": "a fox" })).await;
    let message = answer.error(502, "upstream_unreachable");
    assert!(!message.contains("127.0.0.1"), "an address of the inside: {message}");
    assert_eq!(answer.header("x-should-retry"), "");
    is_clean(&house, &answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstreams_own_error_passes_with_status_message_and_code() {
    let house = House::new().await;
    for (status, code) in [(400, "moderation_blocked"), (403, "forbidden"), (429, "rate_limit_exceeded")]
        .into_iter()
        .chain([(500, "server_error"), (503, "server_error")])
    {
        let answer = house.generate(json!({ "prompt": format!("a fox status:{status}") })).await;
        let message = answer.error(status, code);
        assert!(message.starts_with(&format!("The demo was asked to answer {status}")), "{message}");
        assert_eq!(answer.header("retry-after"), if status == 429 { "7" } else { "" });
        assert!(answer.header("x-upstream-request-id").starts_with("req_demo_"));
        is_clean(&house, &answer);
        house.chat(json!([{ "role": "user", "content": format!("status:{status}") }])).await.error(status, code);
    }
    assert_eq!(kept(&house), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_page_that_is_no_json_passes_as_it_came() {
    let page = "<html><h1>502 Bad Gateway</h1></html>";
    let reply = crate::scripted::Reply::Bytes(answer(502, "content-type: text/html\r\nset-cookie: a=b", page));
    let other = Scripted::new(move |_| reply.clone()).await;
    let house = behind(&other.upstream("other")).start().await;
    let answer = house.generate(json!({ "prompt": "a fox" })).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (502, page));
    assert_eq!(answer.header("content-type"), "text/html");
    assert_eq!(answer.header("set-cookie"), "");
    is_clean(&house, &answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_refuses_our_key_says_nothing_of_it_to_the_client() {
    let body = r#"{"error":{"message":"Incorrect API key provided: sk-upstream.","code":"invalid_api_key"}}"#;
    let other = Scripted::answering(401, body).await;
    let house = behind(&other.upstream("other")).start().await;
    let answer = house.generate(json!({ "prompt": "a fox" })).await;
    answer.error(502, "upstream_auth_failed");
    assert_eq!(answer.header("x-should-retry"), "false");
    is_clean(&house, &answer);
    assert_eq!(other.heard()[0].header("authorization"), "Bearer sk-upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_breaks_off_is_one_clean_502_and_is_asked_once() {
    let house = House::new().await;
    // So that a pooled connection is used, whose failure could be taken for a stale one.
    house.picture("a first one").await;
    let before = kept(&house);
    for prompt in ["a fox reset", "a fox truncate:50%", "a fox truncate:50% bytes:1500000", "a fox truncate:0%"] {
        house.demo.clear();
        let answer = house.generate(json!({ "prompt": prompt })).await;
        answer.error(502, "upstream_failed");
        assert_eq!(answer.header("x-should-retry"), "false", "{prompt}");
        is_clean(&house, &answer);
        assert_eq!(house.demo.received().len(), 1, "{prompt}");
        assert_eq!(kept(&house), before, "{prompt}");
    }
    house.gateway.in_flight().none().await;
    assert_eq!(house.metric(r#"picgate_requests_total{route="generations",status="502",upstream="demo"}"#), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_upstream_is_a_504_that_must_not_be_tried_again() {
    let house = House::builder().line("limits: { upstream_timeout: 300ms }").start().await;
    let answer = house.generate(json!({ "prompt": "a fox delay:60s" })).await;
    answer.error(504, "upstream_timeout");
    assert_eq!(answer.header("x-should-retry"), "false");
    is_clean(&house, &answer);
    assert_eq!(house.demo.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_the_limit_is_a_502_and_nothing_of_it_is_kept() {
    let house = House::builder().line("limits: { response_body: 100KiB }").start().await;
    let answer = house.generate(json!({ "prompt": "a fox bytes:300000" })).await;
    answer.error(502, "upstream_answer_too_large");
    assert_eq!(answer.header("x-should-retry"), "false");
    is_clean(&house, &answer);
    assert_eq!(kept(&house), 0);
    house.generate(json!({ "prompt": "a fox", "size": "64x64" })).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_507_before_anything_is_paid_and_pictures_stay_readable() {
    let house = House::new().await;
    let (url, bytes) = house.picture("kept while there was room").await;
    let path = url.strip_prefix(&house.origin()).unwrap().to_owned();
    let data = house.data_dir().to_owned();
    // The same directory again, with a guard that no disk satisfies.
    let full = House::builder().line("store: { durability: process, min_free: 1000000GiB }").start().await;
    copy(&data.join("images"), &full.data_dir().join("images"));
    let answer = full.generate(json!({ "prompt": "a fox" })).await;
    answer.error(507, "storage_full");
    assert_eq!(answer.header("x-should-retry"), "false");
    is_clean(&full, &answer);
    assert!(full.demo.received().is_empty());
    assert_eq!(full.get(&path).await.body, bytes);
    full.chat(json!([{ "role": "user", "content": "hello" }])).await.ok();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_json_passes_as_it_came() {
    let house = House::new().await;
    let answer = house.generate(json!({ "prompt": "a fox noise:garbage" })).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().ends_with("<html>"), "{}", answer.text());
    is_clean(&house, &answer);
    assert_eq!(kept(&house), 0);
}

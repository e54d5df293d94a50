//! Upstreams frame their answers in many ways; the client gets a right answer or an error.

use serde_json::json;

use crate::harness::{
    H2, House, Silent, encoded, fixture,
    raw::{Raw, Then},
    until,
};

const GENERATIONS: &str = "/v1/images/generations";

/// A gateway whose every model is at this upstream.
pub async fn in_front_of(raw: &Raw) -> House {
    House::builder()
        .upstream(&raw.upstream())
        .models("    - { name: \"*\", targets: [ { upstream: raw } ] }")
        .start()
        .await
}

fn body() -> String {
    format!("{{\"created\":1,\"data\":[{{\"b64_json\":\"{}\"}}]}}", encoded(&fixture("img/noise16.png")))
}

fn with_length(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn chunked(body: &str, size: usize) -> String {
    let mut text = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for piece in body.as_bytes().chunks(size) {
        text += &format!("{:X};ext=\"1\"\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece));
    }
    text + "0\r\nX-Trailer: 1\r\n\r\n"
}

/// Asserts that two generations in a row come back as URLs of the same picture.
async fn assert_answers(raw: &Raw, case: &str) {
    let house = in_front_of(raw).await;
    for _ in 0..2 {
        let answer = house.generate(json!({ "prompt": "x" })).await;
        assert_eq!(answer.status, 200, "{case}: {}", answer.text());
        let answer = answer.ok();
        let url = answer["data"][0]["url"].as_str().unwrap_or_else(|| panic!("{case}: {answer}"));
        assert!(house.get(url).await.body == fixture("img/noise16.png"), "{case}");
    }
    assert_eq!(raw.requests(), 2, "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_be_framed_in_any_legal_way() {
    let body = body();
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let to_the_end = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{body}");
    let old = format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}");
    for (case, text, then) in [
        ("a length", with_length(&body), Then::GoOn),
        // An upstream that closes says so. One that does not can lose a request that was on its way, and such a request is
        // not sent again: it may have been carried out.
        ("a length, then closed", with_length(&body).replacen("\r\n", "\r\nConnection: close\r\n", 1), Then::Close),
        ("chunks", chunked(&body, 100), Then::GoOn),
        ("tiny chunks", chunked(&body, 3), Then::GoOn),
        ("interim answers", format!("{interim}{}", with_length(&body)), Then::GoOn),
        ("up to the end", to_the_end, Then::Close),
        ("HTTP/1.0", old, Then::Close),
        ("no type", with_length(&body).replace("Content-Type: application/json\r\n", ""), Then::GoOn),
    ] {
        let raw = Raw::new([text.clone()], then).await;
        assert_answers(&raw, case).await;
        let pieces: Vec<_> = text.as_bytes().chunks(211).map(<[u8]>::to_vec).collect();
        let raw = Raw::new(pieces, then).await;
        assert_answers(&raw, &format!("{case}, in pieces")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_http_or_too_short_is_the_upstreams_failure() {
    let body = body();
    let whole = with_length(&body);
    for (case, text) in [
        ("nothing", String::new()),
        ("half a header", "HTTP/1.1 200 OK\r\nContent-Type: appl".to_owned()),
        ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n\r\n".to_owned()),
        ("too short", whole[..whole.len() - 1].to_owned()),
        ("only the header", whole[..whole.len() - body.len()].to_owned()),
        ("no last chunk", chunked(&body, 100).replace("0\r\nX-Trailer: 1\r\n\r\n", "")),
        ("a broken chunk", chunked(&body, 100).replacen("64;", "zz;", 2)),
    ] {
        let raw = Raw::new([text], Then::Close).await;
        let house = in_front_of(&raw).await;
        let answer = house.generate(json!({ "prompt": "x" })).await;
        assert_eq!(answer.status, 502, "{case}: {}", answer.text());
        answer.error(502, "upstream_failed");
        assert_eq!(answer.header("x-should-retry"), "false", "{case}");
        assert_eq!(raw.requests(), 1, "{case}: nothing is sent twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_the_limit_is_refused() {
    let house = House::builder().line("limits: { response_body: 200KiB }").start().await;
    let ask =
        |bytes: u32, extra: &str| house.generate(json!({ "prompt": format!("a size:64x64 bytes:{bytes} {extra}") }));
    ask(100_000, "").await.ok();
    ask(400_000, "").await.error(502, "upstream_answer_too_large");
    ask(100_000, "").await.ok();
    assert_eq!(house.metric("picgate_pictures_stored_total"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstreams_own_error_passes_with_its_status() {
    for (name, status) in [("resp.error.openai-400.json", 400), ("resp.error.detail-422.json", 422)] {
        let body = String::from_utf8(fixture(name)).unwrap();
        let text = with_length(&body).replace("200 OK", &format!("{status} Sorry"));
        let raw = Raw::new([text], Then::GoOn).await;
        let answer = in_front_of(&raw).await.generate(json!({ "prompt": "x" })).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (status, body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_body_has_none() {
    for text in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    ] {
        let raw = Raw::new([text], Then::GoOn).await;
        let house = in_front_of(&raw).await;
        for _ in 0..2 {
            let answer = house.generate(json!({ "prompt": "x" })).await;
            assert!(text.contains(answer.status.as_str()), "{text:?}: {}", answer.status);
            assert!(answer.body.is_empty(), "{text:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_client_that_resets_its_stream_is_gone() {
    let silent = Silent::new().await;
    let house = House::builder()
        .upstream(&silent.upstream())
        .models("    - { name: silent, targets: [ { upstream: silent } ] }\n    - { name: \"*\", targets: [ { upstream: demo } ] }")
        .line("images: { on_disconnect: abort }")
        .start()
        .await;
    let h2 = H2::to(&house).await;
    let body = json!({ "model": "silent", "prompt": "x" }).to_string();
    tokio::select! {
        answer = h2.post(GENERATIONS, "application/json", body) => panic!("{answer:?}"),
        () = silent.asked() => {}
    }
    silent.left().await;
    // The connection goes on.
    let body = json!({ "model": "demo-image", "prompt": "a kite size:64x64" }).to_string();
    h2.post(GENERATIONS, "application/json", body).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_client_that_resets_its_stream_still_gets_its_picture_kept() {
    let house = House::new().await;
    let h2 = H2::to(&house).await;
    let body = json!({ "model": "demo-image", "prompt": "a kite size:64x64 delay:200ms" }).to_string();
    tokio::select! {
        answer = h2.post(GENERATIONS, "application/json", body) => panic!("{answer:?}"),
        _ = house.demo.received_at_least(1) => {}
    }
    until("the picture", || house.metric("picgate_pictures_stored_total") == 1).await;
}

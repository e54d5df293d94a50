//! `images.heartbeat.json`: white space before a JSON answer that takes its time.

use bytes::BytesMut;
use http::Version;
use http_body_util::BodyExt as _;
use reqwest::Response;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{H2, Held, House, KEY, encoded, fixture, until, wire::post};

const PICTURE: &str = "img/noise16.png";
const GENERATIONS: &str = "/v1/images/generations";

fn answer() -> String {
    format!("{{\"created\":1,\"data\":[{{\"b64_json\":\"{}\"}}]}}", encoded(&fixture(PICTURE)))
}

/// A gateway in front of this upstream, with a sign of life every 10 ms for the model `slow`, and none for `quiet`.
async fn in_front_of(held: &Held) -> House {
    House::builder()
        .upstream(&held.upstream())
        .models(
            "    - { name: slow, targets: [ { upstream: held } ], images: { heartbeat: { json: 10ms } } }
    - { name: quiet, targets: [ { upstream: held } ] }",
        )
        .start()
        .await
}

/// A POST up to the header of its answer.
async fn begin(house: &House, path: &str, body: Value) -> Response {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("{}{path}", house.origin())).bearer_auth(KEY).body(body.to_string());
    request.header("content-type", "application/json").send().await.unwrap()
}

/// Asserts that the answer has begun although the upstream is silent.
async fn assert_alive(response: &mut Response) {
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_11));
    let header = |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap());
    assert_eq!(header("content-type"), "application/json");
    assert_eq!((header("content-length"), header("transfer-encoding")), ("", "chunked"));
    assert_eq!((header("x-accel-buffering"), header("cache-control")), ("no", "no-store, no-transform"));
    assert!(header("x-request-id").starts_with("req_"));
    for _ in 0..3 {
        let piece = response.chunk().await.unwrap().unwrap();
        assert!(!piece.is_empty() && piece.iter().all(|byte| *byte == b'\n'), "{piece:?}");
    }
}

async fn rest(response: Response) -> String {
    response.text().await.unwrap()
}

fn slow() -> Value {
    json!({ "model": "slow", "prompt": "x" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_begins_with_white_space_and_is_json_all_the_same() {
    let held = Held::new(200, "application/json", answer()).await;
    let house = in_front_of(&held).await;
    let mut response = begin(&house, GENERATIONS, slow()).await;
    assert_alive(&mut response).await;
    held.let_go();
    let text = rest(response).await;
    let json: Value = serde_json::from_str(&text).unwrap();
    let url = json["data"][0]["url"].as_str().unwrap();
    assert_eq!(text.trim_start(), format!("{{\"created\":1,\"data\":[{{\"url\":\"{url}\"}}]}}"));
    assert_eq!(house.get(url).await.body, fixture(PICTURE));

    // Bytes of a picture too, however long.
    held.hold();
    let mut response = begin(&house, GENERATIONS, json!({ "model": "slow", "response_format": "b64_json" })).await;
    assert_alive(&mut response).await;
    held.let_go();
    assert_eq!(rest(response).await.trim_start(), answer());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_chat_and_http2_are_no_different() {
    let held = Held::new(200, "application/json", r#"{"choices":[]}"#).await;
    let house = in_front_of(&held).await;
    let mut response = begin(&house, "/v1/chat/completions", slow()).await;
    assert_alive(&mut response).await;

    let h2 = H2::to(&house).await;
    let mut second = h2.begin(GENERATIONS, slow().to_string()).await;
    assert_eq!((second.status().as_u16(), second.version()), (200, Version::HTTP_2));
    assert!(!second.headers().contains_key("transfer-encoding"));
    let mut body = BytesMut::new();
    while body.len() < 3 {
        body.extend(second.body_mut().frame().await.unwrap().unwrap().into_data().unwrap());
    }
    assert!(body.iter().all(|byte| *byte == b'\n'), "{body:?}");
    held.let_go();
    assert_eq!(rest(response).await.trim_start(), r#"{"choices":[]}"#);
    assert_eq!(second.into_body().collect().await.unwrap().to_bytes().trim_ascii_start(), br#"{"choices":[]}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_time_has_its_status_and_its_length() {
    let held = Held::new(429, "application/json", r#"{"error":{"code":"x"}}"#).await;
    held.let_go();
    let models = "    - { name: slow, targets: [ { upstream: held } ], images: { heartbeat: { json: 10m } } }";
    let house = House::builder().upstream(&held.upstream()).models(models).start().await;
    let answer = house.post(GENERATIONS, slow()).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (429, r#"{"error":{"code":"x"}}"#));
    assert_eq!(answer.header("content-length"), "22");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_off_unless_switched_on_and_http_1_0_has_none() {
    let held = Held::new(200, "application/json", answer()).await;
    let house = in_front_of(&held).await;
    // Beside the two, a slow one shows that there was time for signs of life.
    let quiet = tokio::spawn({
        let request = post(GENERATIONS, r#"{"model":"quiet"}"#).replacen("Host", "Connection: close\r\nHost", 1);
        let socket = TcpStream::connect(house.addr()).await.unwrap();
        exchanged(socket, request)
    });
    let old = tokio::spawn({
        let socket = TcpStream::connect(house.addr()).await.unwrap();
        exchanged(socket, post(GENERATIONS, r#"{"model":"slow"}"#).replace("HTTP/1.1", "HTTP/1.0"))
    });
    held.asked().await;
    let mut response = begin(&house, GENERATIONS, slow()).await;
    assert_alive(&mut response).await;
    held.let_go();
    rest(response).await;
    for answer in [quiet.await.unwrap(), old.await.unwrap()] {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.to_lowercase().contains(&format!("content-length: {}", body.len())), "{answer}");
        assert!(body.starts_with("{\"created\""), "{answer}");
    }
}

/// All that comes back.
async fn exchanged(mut socket: TcpStream, request: String) -> String {
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_then_is_an_error_in_the_body() {
    let own = r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#;
    for (status, kind, body, code) in [
        (429, "application/json", own, "rate_limit_exceeded"),
        (502, "text/html", "<html>Bad Gateway</html>", "upstream_failed"),
        (200, "image/svg+xml", "<svg/>", "upstream_failed"),
        (200, "text/event-stream", "data: {}\n\n", "upstream_failed"),
        (401, "application/json", own, "upstream_auth_failed"),
        (204, "application/json", "", "upstream_failed"),
    ] {
        let held = Held::new(status, kind, body).await;
        let house = in_front_of(&held).await;
        let mut response = begin(&house, GENERATIONS, slow()).await;
        assert_alive(&mut response).await;
        held.let_go();
        let text = rest(response).await;
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(json["error"]["code"], code, "{status} {kind}: {text}");
        assert!(json.get("data").is_none());
        if body == own && status == 429 {
            assert_eq!(text.trim_start(), own, "as the upstream wrote it");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_goes_is_an_error_in_the_body() {
    let house = House::builder()
        .models("    - { name: slow, targets: [ { upstream: demo } ], images: { heartbeat: { json: 10ms } } }")
        .start()
        .await;
    let mut response = begin(&house, GENERATIONS, json!({ "model": "slow", "prompt": "x delay:300ms reset" })).await;
    assert_alive(&mut response).await;
    let json: Value = serde_json::from_str(&rest(response).await).unwrap();
    assert_eq!(json["error"]["code"], "upstream_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_kept_although_nobody_can_be_told() {
    // The client goes; and: events in answer to who wanted none.
    let held = Held::new(200, "application/json", answer()).await;
    let house = in_front_of(&held).await;
    let mut response = begin(&house, GENERATIONS, slow()).await;
    assert_alive(&mut response).await;
    drop(response);
    held.let_go();
    until("the picture", || house.metric("picgate_pictures_stored_total") == 1).await;

    let events = format!("data: {}\n\n", answer());
    let held = Held::new(200, "text/event-stream", events).await;
    let house = in_front_of(&held).await;
    let mut response = begin(&house, GENERATIONS, slow()).await;
    assert_alive(&mut response).await;
    held.let_go();
    assert!(rest(response).await.contains("upstream_failed"));
    assert_eq!(house.metric("picgate_pictures_stored_total"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_none_of_its_business() {
    let held = Held::new(200, "text/event-stream", "data: {\"choices\":[]}\n\n").await;
    let house = in_front_of(&held).await;
    let stream = async {
        let request = json!({ "model": "slow", "stream": true });
        let response = begin(&house, "/v1/chat/completions", request).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        rest(response).await
    };
    let beside = async {
        assert_alive(&mut begin(&house, GENERATIONS, slow()).await).await;
        held.let_go();
    };
    assert_eq!(tokio::join!(stream, beside).0, "data: {\"choices\":[]}\n\n");
}

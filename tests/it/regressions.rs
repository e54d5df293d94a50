//! Bugs that were found and fixed, each with a number.

use std::time::Duration;

use picgate::{
    config,
    store::{IndexState, NewRecord, Store},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use picgate::rewrite::{
    answer::{Form, Rules},
    shape::Shape,
    stream::StreamRewriter,
};

use crate::{
    corpus::invariants::{render, render::url},
    framings::in_front_of,
    harness::{
        Canned, House, PATIENCE, encoded, fixture,
        raw::{Raw, Then},
        wire::{Wire, post},
    },
};

/// 1: the body of an encoded answer passed, but without its `Content-Encoding`, so that nobody could read it.
#[tokio::test(flavor = "multi_thread")]
async fn r1_an_encoded_answer_says_that_it_is() {
    for (status, coding) in [(200, "compress"), (200, "gzip, gzip, gzip"), (400, "gzip")] {
        let text = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Encoding: {coding}\r\nContent-Length: 4\r\n\r\n\x1f\u{8}ab"
        );
        let raw = Raw::new([text], Then::GoOn).await;
        let answer = in_front_of(&raw).await.generate(json!({ "prompt": "x" })).await;
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, &b"\x1f\x08ab"[..]), "{coding}");
        assert_eq!(answer.header("content-encoding"), coding, "or nobody could read it");
    }
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

/// 3: `..` in a path led out of the upstream's base path, with the operator's key; other spellings led past the rules of
/// an intercepted route.
#[tokio::test(flavor = "multi_thread")]
async fn r3_no_path_leads_out_of_the_upstreams_base() {
    let house = House::new().await;
    for path in ["/v1/../../admin", "/v1/%2e%2e/%2E%2e/admin", "/v1/x/../images/generations", "/v1//images/generations"]
    {
        let mut wire = Wire::to(&house).await;
        wire.send(post(path, "{}")).await;
        wire.answer().await.error(400, "invalid_request");
    }
    assert!(house.demo.received().is_empty());
}

/// 4: an upstream's error message that quotes the gateway's key there went on to the client.
#[tokio::test(flavor = "multi_thread")]
async fn r4_a_quoted_key_is_unreadable() {
    let text = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 42\r\n\r\n{\"error\":{\"message\":\"key sk-raw-secret!\"}}";
    let raw = Raw::new([text], Then::GoOn).await;
    let upstream = raw.upstream().replace(" }", ", api_key: sk-raw-secret }");
    let models = "    - { name: \"*\", targets: [ { upstream: raw } ] }";
    let house = House::builder().upstream(&upstream).models(models).start().await;
    for path in ["/v1/images/generations", "/v1/embeddings"] {
        let answer = house.post(path, json!({ "model": "x", "prompt": "x" })).await;
        assert_eq!(answer.status, 403, "{path}");
        assert_eq!(answer.text(), "{\"error\":{\"message\":\"key *************!\"}}", "{path}");
    }
}

/// 5: an answer of unknown length went to an HTTP/1.0 client in chunks, which it took for the data.
#[tokio::test(flavor = "multi_thread")]
async fn r5_an_http_1_0_client_gets_no_chunks() {
    let text = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: 1\n\n";
    let raw = Raw::new([text], Then::Close).await;
    let house = in_front_of(&raw).await;
    let mut socket = TcpStream::connect(house.addr()).await.unwrap();
    let request = post("/v1/chat/completions", r#"{"model":"x"}"#).replace("HTTP/1.1", "HTTP/1.0");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\ndata: 1\n\n"), "{answer}");
}

/// 6: a 429 that says when to come back was lost when the next upstream could not be reached.
#[tokio::test(flavor = "multi_thread")]
async fn r6_the_best_refusal_is_the_answer() {
    let refusal = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let raw = Raw::new([refusal], Then::GoOn).await;
    let house = House::builder()
        .upstream(&raw.upstream())
        .upstream("{ name: dead, base_url: \"http://127.0.0.1:1/v1\" }")
        .models("    - { name: \"*\", targets: [ { upstream: raw }, { upstream: dead } ] }")
        .start()
        .await;
    let answer = house.generate(json!({ "prompt": "x" })).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, "7"));
}

/// 7: an answer that ends with its connection, in the middle of its JSON, passed as complete.
#[tokio::test(flavor = "multi_thread")]
async fn r7_a_cut_answer_without_framing_is_no_answer() {
    let text = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"data\":[{\"b64_json\":\"iVBOR";
    let raw = Raw::new([text], Then::Close).await;
    in_front_of(&raw).await.generate(json!({ "prompt": "x" })).await.error(502, "upstream_failed");
}

/// 8: `response_format: null` reached models that refuse the field.
#[tokio::test(flavor = "multi_thread")]
async fn r8_a_null_response_format_is_taken_out() {
    let house = House::new().await;
    let body = json!({ "model": "gpt-image-demo", "prompt": "x", "size": "64x64", "response_format": null });
    house.post("/v1/images/generations", body).await.ok();
    assert!(house.demo.received()[0].json().unwrap().get("response_format").is_none());
}

/// 9: a whole images answer as one event of a stream passed with its base64: the event was taken for an item, and nothing
/// in an item for another.
#[tokio::test(flavor = "multi_thread")]
async fn r9_a_whole_answer_as_one_event_is_rewritten() {
    let picture = encoded(&fixture("img/px2.png"));
    let stream = format!("data: {{\"created\":1,\"data\":[{{\"b64_json\":\"{picture}\"}}]}}\n\ndata: [DONE]\n\n");
    let canned = Canned::new("text/event-stream", stream).await;
    let models = "    - { name: \"*\", targets: [ { upstream: canned } ] }";
    let house = House::builder().upstream(&canned.upstream()).models(models).start().await;
    let answer = house.generate(json!({ "prompt": "x", "stream": true })).await.text();
    assert!(
        answer.starts_with(&format!("data: {{\"created\":1,\"data\":[{{\"url\":\"{}/images/", house.origin())),
        "{answer}"
    );
    assert_eq!(house.metric("picgate_pictures_stored_total"), 1);
}

/// What comes out of a chat stream, in pieces of this size; pictures become `u:…`.
fn rewritten(stream: &str, size: usize) -> String {
    let rules = Rules::new(Shape::Chat, Form::Url);
    let out = render(StreamRewriter::new(rules), None, stream.as_bytes().chunks(size)).out;
    String::from_utf8(out).unwrap()
}

/// 10: servers that sort their keys write a choice's index behind its delta. With several choices their texts were mixed up.
#[test]
fn r10_a_choice_is_known_wherever_its_index_stands() {
    let picture = fixture("img/px2.png");
    let uri = format!("data:image/png;base64,{}", encoded(&picture));
    let delta = |index: u8, text: &str| {
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}},\"index\":{index}}}]}}\n\n")
    };
    let stream =
        [delta(1, &uri[..30]), delta(0, "dat"), delta(1, &uri[30..]), delta(0, "es"), "data: [DONE]\n\n".into()]
            .concat();
    let got = rewritten(&stream, 9);
    assert!(got.contains(&delta(1, &url(&picture))), "{got}");
    assert!(got.contains(&delta(0, "dates")), "{got}");
}

/// 11: a data URI behind another that is no picture was found or not, depending on where the network cut the answer.
#[test]
fn r11_a_picture_behind_a_broken_one_is_found_however_it_is_cut() {
    let picture = fixture("img/px2.png");
    let uri = format!("data:image/png;base64,{}", encoded(&picture));
    let delta = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let broken = format!("data:image/png;base64,{}/", "z".repeat(40));
    for size in [1, 7, 60, 90, usize::MAX] {
        let got = rewritten(&delta(&format!("{broken}{uri} ")), size);
        assert_eq!(got, delta(&format!("{broken}{} ", url(&picture))), "pieces of {size}");
    }
}

/// 12: of base64 that ends in a broken percent code, the first characters of that code were lost.
#[test]
fn r12_a_broken_percent_code_stays() {
    let uri = format!("data:image/png;base64,{}", encoded(&fixture("img/px2.png")));
    for end in ["%ZZ)", "%22)", "%2", "%", "%+A)"] {
        let stream = format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{uri}{end}\"}},\"finish_reason\":\"stop\"}}]}}\n\n"
        );
        for size in [1, 7, usize::MAX] {
            assert_eq!(rewritten(&stream, size), stream, "{end}");
        }
    }
}

/// 13: a relative `url` beside `b64_json` was left, and with our own the item had two.
#[tokio::test(flavor = "multi_thread")]
async fn r13_an_item_has_one_url() {
    let picture = encoded(&fixture("img/px2.png"));
    for item in [
        format!(r#"{{"url":"/generated-images/x.png","b64_json":"{picture}"}}"#),
        format!(r#"{{"b64_json":"{picture}","url":"/generated-images/x.png"}}"#),
    ] {
        let canned = Canned::new("application/json", format!(r#"{{"data":[{item}]}}"#)).await;
        let models = "    - { name: \"*\", targets: [ { upstream: canned } ] }";
        let house = House::builder().upstream(&canned.upstream()).models(models).start().await;
        let answer = house.generate(json!({ "prompt": "x" })).await.text();
        assert_eq!(answer.matches("url").count(), 1, "{answer}");
        assert!(answer.contains("/images/") && !answer.contains("generated-images"), "{answer}");
    }
}

/// 14: a stream that ended with an error closed its connection without having said so, and the client's next request failed.
#[tokio::test(flavor = "multi_thread")]
async fn r14_a_connection_outlives_an_error_within_a_stream() {
    let text =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
    let raw = Raw::new([text], Then::Close).await;
    let house = in_front_of(&raw).await;
    let mut wire = Wire::to(&house).await;
    wire.send(post("/v1/chat/completions", r#"{"model":"x","stream":true}"#)).await;
    let answer = wire.answer().await;
    assert!(answer.text().contains("event: error"), "{}", answer.text());
    assert_eq!(
        answer.headers.get("connection").map(|value| value.to_str().unwrap()).unwrap_or("keep-alive"),
        "keep-alive"
    );
    wire.send("GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n").await;
    assert_eq!(wire.answer().await.status, 200);
}

/// 15: the index took a picture for deleted whose deletion had been taken back just before a crash; the archive's copy
/// would have been looked at for deletion for ever.
#[tokio::test(flavor = "multi_thread")]
async fn r15_a_grave_without_a_tombstone_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let settings = config::Store {
            memory_cache: 0,
            durability: config::Durability::Process,
            ttl: None,
            max_bytes: None,
            retention: None,
            min_free: 0,
        };
        Store::open(dir.path(), &settings, Some("bucket".into())).unwrap()
    };
    let until = async |store: &Store, buried: usize| {
        let there =
            async || store.index_state() == IndexState::Ready && store.buried(None, 9).await.unwrap().len() == buried;
        let wait = async {
            while !there().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("in time");
    };
    let store = open();
    let mut writer = store.writer();
    writer.write(b"GIF89a\x01\x00\x01\x00\x00\x00\x00").await.unwrap();
    let id = writer.finish().await.unwrap().commit(NewRecord::default()).await.unwrap().facts.id;
    store.delete(id).await.unwrap();
    until(&store, 1).await;
    drop((writer, store));
    std::fs::remove_file(dir.path().join(format!("images/{}/{id}.gone", id.shard()))).unwrap();
    until(&open(), 0).await;
}

/// 16: what stood in `tmp/` and could not be opened kept the gateway from starting, a file in a shard's place kept the
/// index closed for ever, and a pipe with a picture's name kept whoever asked for it waiting: see `data_dir.rs`. A record
/// that could not be read was replaced by an empty one, and a picture whose tombstone had been taken away too early could
/// come back from the archive: see `src/store/tests/faults.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn r16_a_pipe_is_no_picture() {
    let house = House::new().await;
    let id = "0".repeat(40);
    let shard = house.data_dir().join("images/00");
    std::fs::create_dir_all(&shard).unwrap();
    for ext in ["png", "json"] {
        let made = std::process::Command::new("mkfifo").arg(shard.join(format!("{id}.{ext}"))).status().unwrap();
        assert!(made.success());
    }
    assert_eq!(house.get(&format!("/images/{id}.png")).await.status, 404);
}

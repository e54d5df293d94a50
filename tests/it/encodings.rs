//! Upstreams that compress although they were asked not to.

use async_compression::tokio::write::{BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
use serde_json::json;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::{
    framings::in_front_of,
    harness::{
        House, data_uri, encoded, fixture,
        raw::{Raw, Then},
    },
};

const PICTURE: &str = "img/noise16.png";

fn body() -> String {
    format!("{{\"created\":1,\"data\":[{{\"b64_json\":\"{}\"}}]}}", encoded(&fixture(PICTURE)))
}

/// Writes all of these, each flushed, into an encoder.
async fn write<W: AsyncWrite + Unpin>(mut encoder: W, pieces: &[&[u8]]) -> W {
    for piece in pieces {
        encoder.write_all(piece).await.unwrap();
        encoder.flush().await.unwrap();
    }
    encoder.shutdown().await.unwrap();
    encoder
}

async fn coded(coding: &str, pieces: &[&[u8]]) -> Vec<u8> {
    match coding {
        "gzip" | "x-gzip" => write(GzipEncoder::new(Vec::new()), pieces).await.into_inner(),
        "deflate" => write(ZlibEncoder::new(Vec::new()), pieces).await.into_inner(),
        "Deflate" => write(DeflateEncoder::new(Vec::new()), pieces).await.into_inner(),
        "br" => write(BrotliEncoder::new(Vec::new()), pieces).await.into_inner(),
        "zstd" => write(ZstdEncoder::new(Vec::new()), pieces).await.into_inner(),
        "gzip, gzip" => {
            let once = write(GzipEncoder::new(Vec::new()), pieces).await.into_inner();
            write(GzipEncoder::new(Vec::new()), &[&once]).await.into_inner()
        }
        other => panic!("{other}"),
    }
}

fn head(kind: &str, coding: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Encoding: {coding}\r\n")
}

fn with_length(coding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{}Content-Length: {}\r\n\r\n", head("application/json", coding), body.len());
    [head.as_bytes(), body].concat()
}

const CODINGS: [&str; 7] = ["gzip", "x-gzip", "deflate", "Deflate", "br", "zstd", "gzip, gzip"];

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_answer_is_rewritten_like_any_other() {
    for coding in CODINGS {
        let text = with_length(coding, &coded(coding, &[body().as_bytes()]).await);
        for pieces in [vec![text.clone()], text.chunks(97).map(<[u8]>::to_vec).collect()] {
            let raw = Raw::new(pieces, Then::GoOn).await;
            let house = in_front_of(&raw).await;
            for _ in 0..2 {
                let answer = house.generate(json!({ "prompt": "x" })).await;
                assert_eq!(answer.header("content-encoding"), "", "{coding}");
                let url = answer.ok()["data"][0]["url"].as_str().unwrap().to_owned();
                assert!(house.get(&url).await.body == fixture(PICTURE), "{coding}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_stream_is_rewritten_like_any_other() {
    let delta =
        |text: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let picture = format!("![x]({})", data_uri("image/png", &fixture(PICTURE)));
    let events = [delta("Here:"), delta(&picture[..99]), delta(&picture[99..]), "data: [DONE]\n\n".to_owned()];
    let events: Vec<&[u8]> = events.iter().map(String::as_bytes).collect();
    for coding in CODINGS {
        let body = coded(coding, &events).await;
        let head = format!("{}Connection: close\r\n\r\n", head("text/event-stream", coding)).into_bytes();
        let pieces = std::iter::once(head).chain(body.chunks(61).map(<[u8]>::to_vec));
        let raw = Raw::new(pieces, Then::Close).await;
        let house = in_front_of(&raw).await;
        let answer = house.post("/v1/chat/completions", json!({ "model": "x", "stream": true })).await;
        let text = answer.text();
        assert_eq!((answer.status.as_u16(), answer.header("content-encoding")), (200, ""), "{coding}");
        assert!(text.starts_with("data: {\"choices\"") && text.ends_with("data: [DONE]\n\n"), "{coding}: {text}");
        assert!(text.contains("/images/") && !text.contains("base64"), "{coding}: {text}");
        assert_eq!(house.metric("picgate_pictures_stored_total"), 1, "{coding}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_flushed_leaves_while_the_upstream_is_silent() {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        // Without its end: the first event has to come out of what is there.
        let event = &b"data: {\"choices\":[]}\n\n"[..];
        let mut body = coded(coding, &[event, b"data: 2\n\n"]).await;
        body.truncate(body.len() - 1);
        let head =
            format!("{}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", head("text/event-stream", coding), body.len());
        let raw = Raw::new([[head.as_bytes(), &body, b"\r\n"].concat()], Then::GoOn).await;
        let house = House::builder()
            .upstream(&raw.upstream())
            .models("    - { name: \"*\", targets: [ { upstream: raw } ] }")
            .line("limits: { upstream_timeout: 1s }")
            .start()
            .await;
        let answer = house.post("/v1/chat/completions", json!({ "model": "x", "stream": true })).await;
        let text = answer.text();
        assert!(text.starts_with("data: {\"choices\":[]}\n\n"), "{coding}: {text}");
        assert!(text.contains("event: error\ndata: {") && text.contains("upstream_timeout"), "{coding}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_of_nothing_is_too_large() {
    let zeros = vec![b' '; 16 << 20];
    let gzip = coded("gzip", &[&zeros]).await.repeat(64);
    let twice = coded("gzip", &[&gzip]).await;
    for (coding, body) in [("gzip", gzip), ("gzip, gzip", twice)] {
        let raw = Raw::new([with_length(coding, &body)], Then::GoOn).await;
        let house = House::builder()
            .upstream(&raw.upstream())
            .models("    - { name: \"*\", targets: [ { upstream: raw } ] }")
            .line("limits: { response_body: 200KiB }") // less than is held before an answer begins
            .start()
            .await;
        house.generate(json!({ "prompt": "x" })).await.error(502, "upstream_answer_too_large");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_coding_is_the_upstreams_failure() {
    for coding in CODINGS {
        let whole = coded(coding, &[body().as_bytes()]).await;
        let more = [&whole[..], b"more"].concat();
        for (case, body) in [
            ("cut in half", &whole[..whole.len() / 2]),
            ("without its last byte", &whole[..whole.len() - 1]),
            ("with more behind it", &more),
        ] {
            let raw = Raw::new([with_length(coding, body)], Then::GoOn).await;
            let answer = in_front_of(&raw).await.generate(json!({ "prompt": "x" })).await;
            assert_eq!(answer.status, 502, "{coding}, {case}: {}", answer.text());
            answer.error(502, "upstream_failed");
            assert_eq!(raw.requests(), 1, "{coding}, {case}: nothing is sent twice");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coded_answer_without_a_body_has_none() {
    let raw = Raw::new([with_length("gzip", b"")], Then::GoOn).await;
    let answer = in_front_of(&raw).await.generate(json!({ "prompt": "x" })).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-encoding"), answer.body.len()), (200, "", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coding_we_do_not_know_passes() {
    let text = with_length("dcb", body().as_bytes());
    let raw = Raw::new([text], Then::GoOn).await;
    let answer = in_front_of(&raw).await.generate(json!({ "prompt": "x" })).await;
    assert_eq!((answer.header("content-encoding"), answer.text()), ("dcb", body()));
}

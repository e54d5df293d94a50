//! Upstreams whose labels are wrong: the bytes tell what an answer is.

use serde_json::json;

use crate::{
    framings::in_front_of,
    harness::{
        data_uri, encoded, fixture,
        raw::{Raw, Then},
    },
};

const PICTURE: &str = "img/noise16.png";

/// An answer with this label, its body in these pieces, each sent alone.
fn labelled(label: &str, more: &str, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let len: usize = pieces.iter().map(|piece| piece.len()).sum();
    let label = if label.is_empty() { String::new() } else { format!("Content-Type: {label}\r\n") };
    let head = format!("HTTP/1.1 200 OK\r\n{label}{more}Content-Length: {len}\r\n\r\n");
    std::iter::once(head.into_bytes()).chain(pieces.iter().map(|piece| piece.to_vec())).collect()
}

const LABELS: [&str; 9] = [
    "",
    "application/json",
    "text/plain; charset=utf-8",
    "text/html",
    "text/event-stream",
    "application/octet-stream",
    "image/png",
    "audio/mpeg",
    "video/mp4",
];

/// A body whole, and with its first bytes alone.
fn cuts(body: &[u8]) -> [Vec<&[u8]>; 3] {
    [vec![body], vec![&body[..1], &body[1..]], vec![&body[..4], &body[4..]]]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_json_is_rewritten_whatever_its_label() {
    let body = format!("{{\"created\":1,\"data\":[{{\"b64_json\":\"{}\"}}]}}", encoded(&fixture(PICTURE)));
    for label in LABELS {
        for start in ["", "\n ", "\u{feff}"] {
            let body = format!("{start}{body}");
            for pieces in cuts(body.as_bytes()) {
                // A byte-order mark that comes in pieces behind a stream's label is a stream's.
                if label == "text/event-stream" && start == "\u{feff}" && pieces.len() > 1 {
                    continue;
                }
                let raw = Raw::new(labelled(label, "", &pieces), Then::GoOn).await;
                let house = in_front_of(&raw).await;
                let answer = house.generate(json!({ "prompt": "x" })).await;
                let text = answer.text();
                let told = text.strip_prefix(start).expect("what stands before it stays");
                let value: serde_json::Value = serde_json::from_str(told).unwrap();
                let url = value["data"][0]["url"].as_str().unwrap_or_else(|| panic!("{label:?}, {start:?}: {text}"));
                assert!(house.get(url).await.body == fixture(PICTURE), "{label}");
                let kind = answer.header("content-type");
                let is_read = kind.starts_with("application/json") || kind.starts_with("text/");
                assert!(is_read, "{label} became {kind}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_rewritten_whatever_its_label() {
    let delta =
        |text: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let picture = format!("![x]({})", data_uri("image/png", &fixture(PICTURE)));
    let events = [delta("Here:"), delta(&picture[..99]), delta(&picture[99..]), "data: [DONE]\n\n".into()].concat();
    for label in LABELS {
        for start in ["", "\n\n", ": hello\n\n", "\u{feff}"] {
            let body = format!("{start}{events}");
            for pieces in cuts(body.as_bytes()) {
                let raw = Raw::new(labelled(label, "", &pieces), Then::GoOn).await;
                let house = in_front_of(&raw).await;
                let request = json!({ "model": "raw", "stream": true, "messages": [] });
                let answer = house.post("/v1/chat/completions", request).await;
                assert_eq!(answer.header("content-type"), "text/event-stream", "{label}");
                assert!(!answer.text().contains("base64") && answer.text().contains("/images/"), "{label}, {start:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_picture_is_one_whatever_its_label() {
    let picture = fixture(PICTURE);
    for label in LABELS.into_iter().filter(|label| *label != "text/event-stream") {
        for pieces in cuts(&picture) {
            let raw = Raw::new(labelled(label, "", &pieces), Then::GoOn).await;
            let house = in_front_of(&raw).await;
            let answer = house.generate(json!({ "prompt": "x" })).await;
            let url = answer.ok()["data"][0]["url"].as_str().unwrap().to_owned();
            assert!(house.get(&url).await.body == picture, "{label}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_labelled_as_compressed_and_is_not_is_taken_as_it_is() {
    let body = format!("{{\"created\":1,\"data\":[{{\"b64_json\":\"{}\"}}]}}", encoded(&fixture(PICTURE)));
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let coding = format!("Content-Encoding: {coding}\r\n");
        let raw = Raw::new(labelled("application/json", &coding, &[body.as_bytes()]), Then::GoOn).await;
        let house = in_front_of(&raw).await;
        let answer = house.generate(json!({ "prompt": "x" })).await;
        assert!(answer.ok()["data"][0]["url"].is_string(), "{coding}");
        assert_eq!(answer.header("content-encoding"), "");
    }
}

/// JSON behind a stream's label, to who asked for a stream and may have got comments already: one event.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_json_within_a_stream_is_one_event() {
    let uri = data_uri("image/png", &fixture(PICTURE));
    let answer = json!({ "choices": [{ "index": 0, "message": { "content": format!("![x]({uri})") } }] });
    let body = format!("\n{}\n", serde_json::to_string_pretty(&answer).unwrap().replace('\n', "\r\n"));
    for pieces in cuts(body.as_bytes()) {
        let raw = Raw::new(labelled("text/event-stream", "", &pieces), Then::GoOn).await;
        let house = in_front_of(&raw).await;
        let request = json!({ "model": "raw", "stream": true, "messages": [] });
        let answer = house.post("/v1/chat/completions", request).await.text();
        let data: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(answer.trim_end().lines().count(), data.len(), "{answer}");
        let told: serde_json::Value = serde_json::from_str(&data.join("\n")).unwrap();
        let content = told["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(content.contains("/images/") && !content.contains("base64"), "{content}");
        assert!(answer.ends_with("\n\n"));
    }
}

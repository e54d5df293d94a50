//! What clients' decoders make of an event stream with heartbeats: the same as of the upstream's own.

use serde_json::{Value, json};

use crate::harness::{House, KEY, PATIENCE, Paced};

/// An event as a decoder gives it out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Event {
    name: Option<String>,
    data: Vec<String>,
    id: Option<String>,
    retry: Option<String>,
}

/// How decoders in use differ where the standard (WHATWG HTML, section 9.2.6) leaves no choice.
#[derive(Clone, Copy, Debug)]
enum Decoder {
    /// As the standard says: an event without data is none.
    Standard,
    /// As openai-python: an event is given out at a blank line when it has anything at all, a remembered id included.
    RemembersId,
    /// As openai-go up to the middle of 2026: every blank line gives out an event.
    EveryBlankLine,
}

impl Decoder {
    const ALL: [Self; 3] = [Self::Standard, Self::RemembersId, Self::EveryBlankLine];

    fn events(self, stream: &[u8]) -> Vec<Event> {
        let text = std::str::from_utf8(stream).unwrap();
        let (mut events, mut event) = (Vec::new(), Event::default());
        let mut lines = text.replace("\r\n", "\n").replace('\r', "\n");
        // What stands behind the last line end is no line.
        lines.truncate(lines.rfind('\n').map_or(0, |end| end + 1));
        for line in lines.lines() {
            if line.is_empty() {
                let id = event.id.clone();
                let is_given_out = match self {
                    Self::Standard => !event.data.is_empty(),
                    Self::RemembersId => event != Event::default(),
                    Self::EveryBlankLine => true,
                };
                if is_given_out {
                    events.push(std::mem::take(&mut event));
                }
                event = Event { id, ..Event::default() };
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "event" => event.name = Some(value),
                "data" => event.data.push(value),
                "id" => event.id = Some(value),
                "retry" => event.retry = Some(value),
                _ => {}
            }
        }
        events
    }
}

/// Reads until `heartbeats` further comments have come.
async fn read_heartbeats(response: &mut reqwest::Response, read: &mut Vec<u8>, heartbeats: usize) {
    let count = |read: &[u8]| memchr::memmem::find_iter(read, b": keep-alive").count();
    let wanted = count(read) + heartbeats;
    while count(read) < wanted {
        let piece = tokio::time::timeout(PATIENCE, response.chunk()).await.expect("a heartbeat in time");
        read.extend(piece.unwrap().expect("the stream goes on"));
    }
}

/// Sends these pieces, each after two heartbeats. Returns what the client reads.
async fn with_heartbeats(pieces: &[&[u8]]) -> Vec<u8> {
    let mut upstream = Paced::new().await;
    let house = House::builder()
        .upstream(&upstream.upstream())
        .models("    - { name: paced, targets: [ { upstream: paced } ] }")
        .line("images: { heartbeat: { sse: 10ms } }")
        .start()
        .await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("{}/v1/chat/completions", house.origin())).bearer_auth(KEY);
    let body = json!({ "model": "paced", "stream": true, "messages": [] });
    let sending = request.header("content-type", "application/json").body(body.to_string()).send();
    let mut response = sending.await.unwrap();
    let mut read = Vec::new();
    read_heartbeats(&mut response, &mut read, 2).await;
    for piece in pieces {
        upstream.send(piece.to_vec());
        read_heartbeats(&mut response, &mut read, 2).await;
    }
    upstream.end();
    while let Some(piece) = response.chunk().await.unwrap() {
        read.extend(piece);
    }
    read
}

fn delta(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n")
}

/// Regression 34: a heartbeat ended with a blank line, which ended an event that was none.
#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_are_seen_by_no_decoder() {
    let done = "data: [DONE]\n\n".to_owned();
    let ids = [format!("id: 0\n{}", delta("a")), format!("id: 1\nevent: message\n{}", delta("b")), done.clone()];
    let without = [delta("a"), delta("the d"), delta("ay"), done.clone()];
    let odd = ["retry: 5\n\n".into(), "id: 7\n\n".into(), ": a comment\n\n".into(), "event: ping\n\n".into(), done];
    for stream in [&ids[..], &without, &odd] {
        for line_end in ["\n", "\r\n", "\r"] {
            let pieces: Vec<String> = stream.iter().map(|event| event.replace('\n', line_end)).collect();
            let pieces: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
            assert_same(&pieces).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_between_the_two_bytes_of_a_line_end_is_no_blank_line() {
    let event = |text: &str| format!("id: 3\n{}", delta(text)).replace('\n', "\r\n").into_bytes();
    let (first, second) = (event("a"), event("b"));
    let (head, line_feed) = first.split_at(first.len() - 1);
    assert_same(&[head, &[line_feed, &second].concat(), b"data: [DONE]\r\n\r\n"]).await;
}

/// Asserts that every decoder sees in the gateway's stream what it sees in the upstream's.
async fn assert_same(pieces: &[&[u8]]) {
    let (sent, read) = (pieces.concat(), with_heartbeats(pieces).await);
    for decoder in Decoder::ALL {
        let (expected, seen) = (decoder.events(&sent), decoder.events(&read));
        assert_eq!(seen, expected, "{decoder:?}: {:?}", String::from_utf8_lossy(&read));
    }
}

/// A stream that ends with an error of ours is an event like any other.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_ends_a_stream_is_one_event() {
    let house = House::builder().line("images: { heartbeat: { sse: 10ms } }").start().await;
    for words in ["hello delay:200ms status:429", "hello delay:200ms reset", "hello words:4 truncate:50%"] {
        let body = json!({ "model": "demo-chat", "stream": true, "messages": [{ "role": "user", "content": words }] });
        let answer = house.post("/v1/chat/completions", body).await;
        for decoder in [Decoder::Standard, Decoder::RemembersId] {
            let events = decoder.events(&answer.body);
            let (last, before) = events.split_last().unwrap();
            assert_eq!(last.name.as_deref(), Some("error"), "{words}: {events:?}");
            let json: Value = serde_json::from_str(&last.data.concat()).unwrap();
            assert!(json["error"]["message"].is_string(), "{words}: {json}");
            let mut deltas = before.iter().map(|event| serde_json::from_str::<Value>(&event.data.concat()));
            assert!(deltas.all(|delta| delta.is_ok()), "{words}: {events:?}");
        }
    }
}

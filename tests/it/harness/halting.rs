//! An upstream whose streams fall silent before each event.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Uri, header},
    response::IntoResponse,
};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};

/// Silence before each event.
const HALT: Duration = Duration::from_millis(250);

/// Streams by route and model: `{shape}-{lf|crlf|cr}`. Each event has an id.
#[derive(Debug)]
pub struct Halting {
    addr: SocketAddr,
    serving: JoinHandle<()>,
}

impl Halting {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer);
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { addr, serving }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// Its entry under `upstreams:`, named `halting`.
    pub fn upstream(&self) -> String {
        format!("{{ name: halting, base_url: \"{}\" }}", self.base_url())
    }
}

impl Drop for Halting {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(uri: Uri, request: Bytes) -> impl IntoResponse {
    let says = |word: &str| memchr::memmem::find(&request, word.as_bytes()).is_some();
    let stream = match uri.path() {
        "/v1/images/generations" => fixture("images.stream-generation"),
        "/v1/images/edits" => fixture("images.stream-edit"),
        "/v1/responses" => fixture("responses.stream"),
        _ if says("pictures-") => fixture("chat.delta-images"),
        _ => text(says("logprobs-")),
    };
    let line_end = match () {
        () if says("-crlf") => "\r\n",
        () if says("-cr") => "\r",
        () => "\n",
    };
    let events: Vec<String> =
        stream.split_terminator("\n\n").enumerate().map(|(at, event)| with_id(at, event)).collect();
    let pieces = stream::unfold(events.into_iter(), move |mut events| async move {
        let event = events.next()?.replace('\n', line_end);
        tokio::time::sleep(HALT).await;
        Some((Ok::<_, std::io::Error>(Bytes::from(event)), events))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(pieces))
}

/// The event with an id. A comment is one line: with a blank line of its own, the SDK would stumble over the upstream itself.
fn with_id(at: usize, event: &str) -> String {
    if event.starts_with(':') { format!("{event}\n") } else { format!("id: {at}\n{event}\n\n") }
}

fn fixture(name: &str) -> String {
    String::from_utf8(super::fixture(&format!("resp.{name}.sse"))).unwrap()
}

/// A chat in words, some of which end as a data URI begins.
fn text(logprobs: bool) -> String {
    let chunk = |token: &str| {
        let logprob = json!({ "token": token, "logprob": -0.5, "bytes": token.as_bytes(), "top_logprobs": [] });
        let logprobs = if logprobs { json!({ "content": [logprob], "refusal": null }) } else { json!(null) };
        let choice = json!({ "index": 0, "delta": { "content": token }, "logprobs": logprobs, "finish_reason": null });
        json!({ "id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice] })
    };
    let end = json!({
        "id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{ "index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop" }],
    });
    let events = ["Good", " d", "ay", " world", "!", " <", " data"].map(|token| format!("data: {}\n\n", chunk(token)));
    events.concat() + &format!("data: {end}\n\ndata: [DONE]\n\n")
}

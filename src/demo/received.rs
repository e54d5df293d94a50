//! What came in: kept for tests and for `GET /demo/received`.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::picture::Format;

/// Requests kept.
const KEPT: usize = 1000;

/// Bodies up to this size are kept with their request.
pub(super) const KEPT_BODY: usize = 1 << 20;

/// Memory for all kept bodies; the oldest go first.
const KEPT_BODIES: usize = 64 << 20;

/// Headers whose value is shown as a hash only.
const SECRET: [&str; 5] = ["authorization", "api-key", "x-api-key", "cookie", "proxy-authorization"];

/// A request the demo upstream received.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// As they came; secret ones are marked sensitive, so `Debug` does not show them.
    pub headers: HeaderMap,
    /// The value of `Content-Length`.
    pub content_length: Option<u64>,
    /// Whether the body came with `Transfer-Encoding: chunked`.
    pub chunked: bool,
    /// Bytes of body read.
    pub length: usize,
    /// SHA-256 of the body in hex; empty when the server does not inspect bodies.
    pub sha256: String,
    /// The body, when it is no longer than 1 MiB and not too many came since.
    pub body: Option<Bytes>,
    /// The field `model`.
    pub model: Option<String>,
    /// Text parts of a form, in order: name and value.
    pub fields: Vec<(String, String)>,
    /// Pictures and other data URIs in it, in order.
    pub images: Vec<ReceivedImage>,
}

/// A picture in a request, or what claimed to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedImage {
    /// `messages[0].content[1].image_url.url`, or the name of the form's part (`image[]`).
    pub place: String,
    /// The type it was declared as.
    pub media_type: Option<String>,
    /// The format its bytes tell.
    pub format: Option<Format>,
    /// Width and height, when they can be read.
    pub size: Option<(u32, u32)>,
    /// Size of its bytes.
    pub length: usize,
    /// SHA-256 of its bytes in hex.
    pub sha256: String,
}

/// The last requests.
#[derive(Debug)]
pub(super) struct Log {
    kept: Mutex<Kept>,
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Kept {
    requests: VecDeque<Received>,
    bodies: usize,
    posts: u64,
}

// === impl Received ===

impl Received {
    /// The body as JSON, if it was kept and is JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(self.body.as_ref()?).ok()
    }

    /// The value of a text part of a form.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn report(&self) -> Value {
        let headers: Vec<Value> = self
            .headers
            .iter()
            .map(|(name, value)| {
                let shown = if value.is_sensitive() {
                    format!("sha256:{}", sha256(value.as_bytes()).get(..12).unwrap_or_default())
                } else {
                    String::from_utf8_lossy(value.as_bytes()).into_owned()
                };
                json!([name.as_str(), shown])
            })
            .collect();
        let images: Vec<Value> = self
            .images
            .iter()
            .map(|image| {
                json!({
                    "place": image.place,
                    "media_type": image.media_type,
                    "format": image.format.map(Format::media_type),
                    "size": image.size.map(|(width, height)| format!("{width}x{height}")),
                    "length": image.length,
                    "sha256": image.sha256,
                })
            })
            .collect();
        json!({
            "method": self.method.as_str(),
            "target": self.target,
            "headers": headers,
            "content_length": self.content_length,
            "chunked": self.chunked,
            "length": self.length,
            "sha256": self.sha256,
            "body": self.body.as_ref().and_then(|body| std::str::from_utf8(body).ok()),
            "model": self.model,
            "fields": self.fields,
            "images": images,
        })
    }
}

/// Marks the headers that must not be shown.
pub(super) fn hide_secrets(headers: &mut HeaderMap) {
    for name in SECRET {
        if let http::header::Entry::Occupied(mut entry) = headers.entry(name) {
            entry.iter_mut().for_each(|value| value.set_sensitive(true));
        }
    }
}

/// SHA-256 in hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

// === impl Log ===

impl Log {
    pub(super) fn new() -> Self {
        Self { kept: Mutex::default(), count: watch::Sender::new(0) }
    }

    pub(super) fn push(&self, received: Received) {
        let mut kept = self.kept();
        kept.bodies += received.body.as_ref().map_or(0, Bytes::len);
        kept.posts += u64::from(received.method == Method::POST);
        kept.requests.push_back(received);
        if kept.requests.len() > KEPT
            && let Some(oldest) = kept.requests.pop_front()
        {
            kept.bodies -= oldest.body.map_or(0, |body| body.len());
        }
        let Kept { requests, bodies, .. } = &mut *kept;
        for received in requests {
            if *bodies <= KEPT_BODIES {
                break;
            }
            *bodies -= received.body.take().map_or(0, |body| body.len());
        }
        drop(kept);
        self.count.send_modify(|count| *count += 1);
    }

    pub(super) fn all(&self) -> Vec<Received> {
        self.kept().requests.iter().cloned().collect()
    }

    pub(super) fn posts(&self) -> u64 {
        self.kept().posts
    }

    pub(super) fn clear(&self) {
        *self.kept() = Kept::default();
        self.count.send_replace(0);
    }

    /// Waits until `count` requests came since the log was last cleared.
    pub(super) async fn at_least(&self, count: usize) {
        // The sender lives in `self`, so the channel cannot close while we wait.
        let _ = self.count.subscribe().wait_for(|seen| *seen >= count).await;
    }

    pub(super) fn report(&self) -> Value {
        let requests: Vec<Value> = self.kept().requests.iter().map(Received::report).collect();
        json!({ "object": "list", "data": requests })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

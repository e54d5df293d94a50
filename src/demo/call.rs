//! One request, read and understood.

use axum::{body::Body, extract::Request};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, request::Parts};
use memchr::memmem;
use serde_json::Value;
use url::form_urlencoded;

use super::{
    answer::{Answer, without_holes},
    control::Controls,
    draw::Order,
    inspect,
    line::Line,
    multipart::{self, Part},
    received::{KEPT_BODY, Received, ReceivedImage, hide_secrets, sha256},
    server::House,
};
use crate::{opaque::opaque, picture::Format};

/// Largest body taken.
const LIMIT: usize = 128 << 20;

/// How far into a body `early:` is looked for.
const EARLY: usize = 64 * 1024;

/// Bodies over this size are looked through on a thread that may block.
const LONG: usize = 1 << 20;

pub(super) struct Call {
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Content,
    pub(super) length: usize,
    /// Pictures in the body.
    pub(super) images: Vec<ReceivedImage>,
    pub(super) controls: Controls,
    /// The prompt without its control words.
    pub(super) prompt: String,
}

opaque!(Call { path, length });

pub(super) enum Content {
    Json(Value),
    Form(Vec<Part>),
    /// Nothing we can read: the reason.
    None(&'static str),
}

impl Call {
    /// Reads a request and records it. When it must be answered at once, that answer and the controls for it.
    pub(super) async fn take(house: &House, request: Request, line: &Line) -> Result<Self, (Answer, Controls)> {
        let (mut head, body) = request.into_parts();
        hide_secrets(&mut head.headers);
        let mut controls = Controls::default();
        let query = head.uri.query().unwrap_or_default().to_owned();
        if let Some(words) = head.headers.get("x-demo").and_then(|words| words.to_str().ok()) {
            controls.take_from(words);
        }
        for (_, words) in form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "demo") {
            controls.take_from(&words);
        }

        let length = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let (bytes, end) = read(body, length.unwrap_or(0), &mut controls, line).await;
        if let End::Early(status) = end {
            house.log.push(received(&head, length, &bytes, Vec::new(), &Content::None(""), house.inspect));
            let mut answer = Answer::failure(status);
            if head.version < Version::HTTP_2 {
                answer = answer.header(header::CONNECTION, HeaderValue::from_static("close"));
            }
            return Err((answer, Controls { delay: None, reset: false, ..controls }));
        }

        let body = understand(&head, &bytes);
        let (body, images, log) = if house.inspect && bytes.len() > LONG {
            let (head, bytes) = (head.clone(), bytes.clone());
            let look = move || look(&head, length, &bytes, body, true);
            match tokio::task::spawn_blocking(look).await {
                Ok(seen) => seen,
                Err(error) => {
                    let answer = Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string());
                    return Err((answer, Controls::default()));
                }
            }
        } else {
            look(&head, length, &bytes, body, house.inspect)
        };
        house.log.push(log);
        match end {
            End::Whole => {}
            End::TooLarge => return Err((Answer::failure(StatusCode::PAYLOAD_TOO_LARGE), Controls::default())),
            End::Broken | End::Early(_) => {
                let answer = Answer::error(StatusCode::BAD_REQUEST, "invalid_request", "The body broke off.");
                return Err((answer, Controls::default()));
            }
        }

        let mut call = Self {
            path: head.uri.path().to_owned(),
            query,
            headers: head.headers,
            body,
            length: bytes.len(),
            images,
            controls,
            prompt: String::new(),
        };
        if let Some(prompt) = call.written_prompt() {
            call.prompt = without_holes(&call.controls.take_from(&prompt));
        }
        Ok(call)
    }

    /// A field of the JSON body, or a text part of the form. Numbers and booleans come as text.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        match &self.body {
            Content::Json(body) => match body.get(name)? {
                Value::String(text) => Some(text.clone()),
                value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
                _ => None,
            },
            Content::Form(parts) => {
                let part = parts.iter().find(|part| part.name == name && part.file_name.is_none())?;
                Some(String::from_utf8_lossy(&part.body).into_owned())
            }
            Content::None(_) => None,
        }
    }

    /// The JSON body, or the answer that says it is none.
    pub(super) fn json(&self) -> Result<&Value, Answer> {
        match &self.body {
            Content::Json(body) if body.is_object() => Ok(body),
            Content::None(reason) => Err(Answer::error(StatusCode::BAD_REQUEST, "invalid_json", reason)),
            _ => Err(Answer::error(StatusCode::BAD_REQUEST, "invalid_json", "The body is not a JSON object.")),
        }
    }

    pub(super) fn model(&self) -> Option<String> {
        self.field("model").map(|model| without_holes(&model))
    }

    pub(super) fn streams(&self) -> bool {
        self.field("stream").as_deref() == Some("true")
    }

    /// The picture this call asks for.
    pub(super) fn order(&self, prompt: &str, index: u64, size: (u32, u32), format: Format) -> Order {
        let (width, height) = self.controls.size.unwrap_or(size);
        let format = self.controls.format.unwrap_or(format);
        Order { prompt: prompt.to_owned(), index, width, height, format, bytes: self.controls.bytes }
    }

    /// The words a person wrote: `prompt`, the last user message, or `input`.
    fn written_prompt(&self) -> Option<String> {
        if let Some(prompt) = self.field("prompt") {
            return Some(prompt);
        }
        let Content::Json(body) = &self.body else { return self.field("input") };
        let list = body.get("messages").or_else(|| body.get("input"))?;
        match list {
            Value::String(text) => Some(text.clone()),
            Value::Array(items) => {
                let last = items
                    .iter()
                    .rev()
                    .find(|item| item.is_string() || item.get("role").and_then(Value::as_str) == Some("user"))?;
                Some(text_of(last.get("content").unwrap_or(last)))
            }
            _ => None,
        }
    }
}

/// The text of a content that is a string or a list of parts.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
            texts.join(" ")
        }
        _ => String::new(),
    }
}

/// How reading a body ended.
#[derive(Debug)]
enum End {
    Whole,
    Broken,
    TooLarge,
    /// Not read on, because this answer was asked for.
    Early(StatusCode),
}

async fn read(body: Body, length: usize, controls: &mut Controls, line: &Line) -> (Bytes, End) {
    let mut all = BytesMut::with_capacity(length.min(LIMIT));
    let mut stream = body.into_data_stream();
    loop {
        if controls.early.is_none() && all.len() <= EARLY * 2 {
            controls.early = early(all.get(..all.len().min(EARLY)).unwrap_or_default());
        }
        if let Some(status) = controls.early {
            // What is still on its way must not meet a closed socket, or the peer loses the answer.
            let line = line.clone();
            tokio::spawn(async move {
                line.pause(std::time::Duration::from_millis(100)).await;
                let rest = async { while let Some(Ok(_)) = stream.next().await {} };
                let _ = tokio::time::timeout(std::time::Duration::from_millis(400), rest).await;
            });
            return (all.freeze(), End::Early(status));
        }
        match stream.next().await {
            None => return (all.freeze(), End::Whole),
            Some(Err(_)) => return (all.freeze(), End::Broken),
            Some(Ok(piece)) if all.len() + piece.len() > LIMIT => return (all.freeze(), End::TooLarge),
            Some(Ok(piece)) => all.extend_from_slice(&piece),
        }
    }
}

/// The status of an `early:NNN` in the head of a body.
fn early(head: &[u8]) -> Option<StatusCode> {
    let at = memmem::find(head, b"early:")?;
    let status: u16 = std::str::from_utf8(head.get(at + 6..at + 9)?).ok()?.parse().ok()?;
    StatusCode::from_u16(status).ok().filter(|status| status.is_client_error() || status.is_server_error())
}

fn understand(head: &Parts, bytes: &Bytes) -> Content {
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if head.method == Method::GET || head.method == Method::HEAD {
        return Content::None("This method has no body.");
    }
    if content_type.starts_with("multipart/") {
        return multipart::boundary(content_type)
            .and_then(|boundary| multipart::parse(bytes, boundary))
            .map_or(Content::None("The form is broken."), Content::Form);
    }
    serde_json::from_slice(bytes)
        .map_or(Content::None("We could not parse the JSON body of your request."), Content::Json)
}

fn look(
    head: &Parts,
    length: Option<usize>,
    bytes: &Bytes,
    body: Content,
    inspect: bool,
) -> (Content, Vec<ReceivedImage>, Received) {
    let images = match &body {
        Content::Json(body) if inspect => inspect::in_json(body),
        Content::Form(parts) if inspect => inspect::in_form(parts),
        _ => Vec::new(),
    };
    let log = received(head, length, bytes, images.clone(), &body, inspect);
    (body, images, log)
}

fn received(
    head: &Parts,
    length: Option<usize>,
    bytes: &Bytes,
    images: Vec<ReceivedImage>,
    body: &Content,
    inspect: bool,
) -> Received {
    let fields: Vec<(String, String)> = match body {
        Content::Form(parts) => parts
            .iter()
            .filter(|part| part.file_name.is_none())
            .map(|part| (part.name.clone(), String::from_utf8_lossy(&part.body).into_owned()))
            .collect(),
        _ => Vec::new(),
    };
    let model = match body {
        Content::Json(body) => body.get("model").and_then(Value::as_str).map(str::to_owned),
        _ => fields.iter().find(|(name, _)| name == "model").map(|(_, model)| model.clone()),
    };
    let coding = head.headers.get(header::TRANSFER_ENCODING).and_then(|coding| coding.to_str().ok());
    Received {
        method: head.method.clone(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: head.headers.clone(),
        content_length: length.map(|length| length as u64),
        chunked: coding.is_some_and(|coding| coding.contains("chunked")),
        length: bytes.len(),
        sha256: if inspect { sha256(bytes) } else { String::new() },
        body: (inspect && bytes.len() <= KEPT_BODY).then(|| bytes.clone()),
        model,
        fields,
        images,
    }
}

//! What came back, with assertions that say what they saw.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// An answer that has been read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// A header's value; empty when there is none.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// The JSON body of a 200.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/json");
        assert!(self.header("x-request-id").starts_with("req_"));
        self.json()
    }

    /// Asserts an error of OpenAI's shape; returns its message.
    #[track_caller]
    pub fn error(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/json");
        assert!(self.header("x-request-id").starts_with("req_"));
        let error = &self.json()["error"];
        assert_eq!(error["code"], code, "{error}");
        assert!(error["type"].is_string(), "{error}");
        error["message"].as_str().unwrap().to_owned()
    }
}

/// What can be sent.
pub trait IntoBody {
    /// Content type and bytes.
    fn into_body(self) -> (&'static str, Bytes);
}

impl IntoBody for Value {
    fn into_body(self) -> (&'static str, Bytes) {
        ("application/json", self.to_string().into())
    }
}

impl IntoBody for &str {
    fn into_body(self) -> (&'static str, Bytes) {
        ("application/json", self.to_owned().into())
    }
}

impl IntoBody for (&'static str, Vec<u8>) {
    fn into_body(self) -> (&'static str, Bytes) {
        (self.0, self.1.into())
    }
}

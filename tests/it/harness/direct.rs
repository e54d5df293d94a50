//! The demo upstream asked without the gateway: what an answer looks like before it is rewritten.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{Answer, House, house::UPSTREAM_KEY};

impl House {
    /// What the demo upstream answers to a POST below its `/v1`. It forgets the request.
    pub async fn direct(&self, path: &str, body: Value) -> Answer {
        let url = format!("{}{path}", self.demo.base_url());
        let key = format!("Bearer {UPSTREAM_KEY}");
        let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
        let answer = self.send(Method::POST, &url, &headers, body.to_string()).await;
        self.demo.clear();
        answer
    }

    /// The file that the demo upstream draws for this prompt.
    pub async fn drawn(&self, prompt: &str) -> Bytes {
        let body = json!({ "model": "demo-image", "prompt": prompt });
        decoded(&self.direct("/images/generations", body).await.json()["data"][0]["b64_json"])
    }
}

/// The bytes of a base64 text.
#[track_caller]
pub fn decoded(text: &Value) -> Bytes {
    STANDARD.decode(text.as_str().unwrap_or_else(|| panic!("no text but {text}"))).unwrap().into()
}

/// Standard base64 of bytes.
pub fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// `data:{media_type};base64,…`.
pub fn data_uri(media_type: &str, bytes: &[u8]) -> String {
    format!("data:{media_type};base64,{}", encoded(bytes))
}

//! The one error type that reaches a client, and the one table that says how it looks there.
//!
//! Modules below the gateway have small error enums of their own and turn them into an [`Error`] at their edge. The
//! gateway turns an [`Error`] into an answer of OpenAI's shape (`gateway/respond.rs`); nobody else writes error bodies.

use std::{borrow::Cow, time::Duration};

use http::StatusCode;

/// Shorthand for results that end at a client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong with a request, in words its sender can act on.
///
/// The message never holds a secret, an upstream's address or a path of this machine.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct Error {
    code: Code,
    message: Cow<'static, str>,
    param: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    /// Name of the upstream at which it happened: for metrics and logs, never for the client.
    upstream: Option<String>,
}

/// Every way a request can fail by our own doing. An upstream's own error answers pass through and are not in here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The body or a header breaks the protocol or the API's rules.
    InvalidRequest,
    /// The body is not valid JSON.
    InvalidJson,
    /// The multipart body is broken.
    InvalidMultipart,
    /// An image reference is no picture, or none this route can take.
    InvalidImageUrl,
    /// A picture named in the request may not be fetched (address, scheme or port refused).
    ImageFetchBlocked,
    /// A picture named in the request could not be fetched.
    ImageFetchFailed,
    /// A picture named in the request is over the fetch limit.
    ImageTooLarge,
    /// A URL of ours whose picture we do not have (any more).
    ImageExpired,
    /// No key, or none of ours.
    InvalidApiKey,
    /// A picture is read by signed URLs, and this one has no signature that fits.
    InvalidSignature,
    /// A signed URL whose time is over.
    ImageUrlExpired,
    /// This key may not do that.
    NotAllowed,
    /// No model of this name.
    ModelNotFound,
    /// No such path, or no such picture.
    NotFound,
    /// The path is there, the method is not.
    MethodNotAllowed,
    /// The client took too long to send its request.
    RequestTimeout,
    /// The body is over `limits.request_body`, or with its images inline over `limits.upstream_body`.
    RequestTooLarge,
    /// The header has too many fields or bytes.
    HeaderTooLarge,
    /// The body's type is none this route takes.
    UnsupportedMediaType,
    /// A variant of a picture that cannot be decoded here: its format, its size, or damage.
    ImageNotDecodable,
    /// Nobody could be connected to.
    UpstreamUnreachable,
    /// The upstream refused the key of ours.
    UpstreamAuth,
    /// The upstream broke off or spoke nonsense.
    UpstreamFailed,
    /// The upstream said nothing for `limits.upstream_timeout`.
    UpstreamTimeout,
    /// The upstream's answer is over `limits.response_body`.
    UpstreamTooLarge,
    /// A picture was made but there is no room to keep it.
    StorageFull,
    /// A picture was made but could not be kept.
    StorageFailed,
    /// The gateway is at a limit of its own, or stopping.
    Unavailable,
    /// A fault of ours.
    Internal,
}

impl Code {
    /// The table: HTTP status, OpenAI `type`, OpenAI `code`.
    pub const fn answer(self) -> (StatusCode, &'static str, &'static str) {
        const REQUEST: &str = "invalid_request_error";
        const SERVER: &str = "server_error";
        match self {
            Code::InvalidRequest => (StatusCode::BAD_REQUEST, REQUEST, "invalid_request"),
            Code::InvalidJson => (StatusCode::BAD_REQUEST, REQUEST, "invalid_json"),
            Code::InvalidMultipart => (StatusCode::BAD_REQUEST, REQUEST, "invalid_multipart"),
            Code::InvalidImageUrl => (StatusCode::BAD_REQUEST, REQUEST, "invalid_image_url"),
            Code::ImageFetchBlocked => (StatusCode::BAD_REQUEST, REQUEST, "image_fetch_blocked"),
            Code::ImageFetchFailed => (StatusCode::BAD_REQUEST, REQUEST, "image_fetch_failed"),
            Code::ImageTooLarge => (StatusCode::BAD_REQUEST, REQUEST, "image_too_large"),
            Code::ImageExpired => (StatusCode::BAD_REQUEST, REQUEST, "image_expired"),
            Code::InvalidApiKey => (StatusCode::UNAUTHORIZED, REQUEST, "invalid_api_key"),
            Code::InvalidSignature => (StatusCode::FORBIDDEN, REQUEST, "invalid_signature"),
            Code::ImageUrlExpired => (StatusCode::FORBIDDEN, REQUEST, "image_url_expired"),
            Code::NotAllowed => (StatusCode::FORBIDDEN, REQUEST, "not_allowed"),
            Code::ModelNotFound => (StatusCode::NOT_FOUND, REQUEST, "model_not_found"),
            Code::NotFound => (StatusCode::NOT_FOUND, REQUEST, "not_found"),
            Code::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, REQUEST, "method_not_allowed"),
            Code::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, REQUEST, "request_timeout"),
            Code::RequestTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, REQUEST, "request_too_large"),
            Code::HeaderTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, REQUEST, "request_header_too_large"),
            Code::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, REQUEST, "unsupported_media_type"),
            Code::ImageNotDecodable => (StatusCode::UNSUPPORTED_MEDIA_TYPE, REQUEST, "image_not_decodable"),
            Code::UpstreamUnreachable => (StatusCode::BAD_GATEWAY, SERVER, "upstream_unreachable"),
            Code::UpstreamAuth => (StatusCode::BAD_GATEWAY, SERVER, "upstream_auth_failed"),
            Code::UpstreamFailed => (StatusCode::BAD_GATEWAY, SERVER, "upstream_failed"),
            Code::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, SERVER, "upstream_timeout"),
            Code::UpstreamTooLarge => (StatusCode::BAD_GATEWAY, SERVER, "upstream_answer_too_large"),
            Code::StorageFull => (StatusCode::INSUFFICIENT_STORAGE, SERVER, "storage_full"),
            Code::StorageFailed => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "storage_failed"),
            Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "unavailable"),
            Code::Internal => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "internal_error"),
        }
    }

    /// Whether an SDK may send the same request again by itself.
    ///
    /// OpenAI's SDKs repeat 408, 409, 429 and every 5xx up to twice unless `x-should-retry: false` stops them. Past the
    /// point where an upstream may have done (and billed) the work, a repeat makes the user pay again.
    pub const fn may_repeat(self) -> bool {
        !matches!(
            self,
            Code::UpstreamTimeout
                | Code::UpstreamFailed
                | Code::UpstreamAuth
                | Code::UpstreamTooLarge
                | Code::StorageFull
                | Code::StorageFailed
        )
    }
}

impl Error {
    /// An error with this code and message.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), param: None, retry_after: None, upstream: None }
    }

    /// Names the request's field that is at fault (`messages[0].content[1].image_url.url`).
    #[must_use]
    pub fn param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Notes the upstream at which it happened.
    #[must_use]
    pub fn at_upstream(mut self, name: &str) -> Self {
        self.upstream = Some(name.to_owned());
        self
    }

    /// The upstream at which it happened.
    pub fn upstream(&self) -> Option<&str> {
        self.upstream.as_deref()
    }

    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The HTTP status it is answered with.
    pub fn status(&self) -> StatusCode {
        self.code.answer().0
    }

    /// When to come back, if that is known.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|after| after.as_secs().max(1))
    }

    /// The body: `{"error":{"message":…,"type":…,"param":…,"code":…}}`.
    pub fn body(&self) -> String {
        let (_, kind, code) = self.code.answer();
        serde_json::json!({
            "error": { "message": self.message, "type": kind, "param": self.param, "code": code }
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_openais_shape() {
        let error = Error::new(Code::InvalidJson, "a \"quoted\" thing").param("messages");
        let body: serde_json::Value = serde_json::from_str(&error.body()).unwrap();
        assert_eq!(body["error"]["message"], "a \"quoted\" thing");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["param"], "messages");
        assert_eq!(body["error"]["code"], "invalid_json");
        assert!(serde_json::from_str::<serde_json::Value>(&Error::new(Code::Internal, "x").body()).unwrap()["error"]
            ["param"]
            .is_null());
    }

    #[test]
    fn nothing_that_may_have_been_billed_is_repeated() {
        assert!(!Code::UpstreamTimeout.may_repeat());
        assert!(!Code::StorageFull.may_repeat());
        assert!(Code::UpstreamUnreachable.may_repeat());
        assert!(Code::Unavailable.may_repeat());
    }
}

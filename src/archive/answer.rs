//! An answer that is not a success → an error by meaning.
//!
//! Error bodies may quote the access key id, the string to sign or a signature. Only the code and the message are taken
//! out of them, cut, and cleaned of our credentials and of whatever looks like a signature.

use config::Secret;
use http::StatusCode;
use serde::Deserialize;

use super::{ArchiveError, error::Said};
use crate::config;

/// Longest code and message kept, in characters.
const LONGEST: usize = 200;
/// A word this long is a signature, a token or a URL; codes, key names and request ids are shorter.
const LONGEST_WORD: usize = 60;

/// S3's error body. What else is in it is not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(rename = "Code")]
    code: String,
    #[serde(rename = "Message")]
    message: String,
}

/// Cleans texts of these credentials.
#[derive(Clone, Debug)]
pub(super) struct Scrub(Vec<Secret>);

impl Scrub {
    pub(super) fn new(archive: &config::Archive) -> Self {
        Self(vec![archive.secret_access_key.clone(), archive.access_key_id.clone()])
    }

    /// One line, at most 200 characters, without secrets.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.0.iter().map(Secret::expose).filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "***");
        }
        let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
        let words: Vec<_> = words.map(|word| if word.chars().count() > LONGEST_WORD { "***" } else { word }).collect();
        words.join(" ").chars().take(LONGEST).collect()
    }
}

/// What an unsuccessful answer means. `body` may be its beginning only, and is empty after HEAD.
pub(super) fn error(status: StatusCode, body: &[u8], scrub: &Scrub) -> ArchiveError {
    let told: Body = quick_xml::de::from_str(&String::from_utf8_lossy(body)).unwrap_or_default();
    let said =
        Said { status: Some(status.as_u16()), code: scrub.clean(&told.code), message: scrub.clean(&told.message) };
    match (status.as_u16(), said.code.as_str()) {
        (_, "SlowDown" | "TooManyRequests" | "RequestTimeout" | "InternalError" | "ServiceUnavailable") => {
            ArchiveError::Busy(said)
        }
        // The body did not arrive as it was sent.
        (_, "BadDigest") => ArchiveError::Mismatch(said.to_string()),
        (404, "" | "NoSuchKey" | "NotFound") => ArchiveError::Missing,
        (401 | 403, _) => ArchiveError::Denied(said),
        // 499: R2's word for a connection that broke.
        (408 | 429 | 499 | 500..=599, _) => ArchiveError::Busy(said),
        _ => ArchiveError::Refused(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrub() -> Scrub {
        Scrub(vec![Secret::new("s3cr3t"), Secret::new("AKIDEXAMPLE")])
    }

    fn of(status: u16, body: &str) -> ArchiveError {
        error(StatusCode::from_u16(status).unwrap(), body.as_bytes(), &scrub())
    }

    #[test]
    fn answers_are_told_apart_by_meaning() {
        let code =
            |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message></Error>");
        let cases = [
            (404, code("NoSuchKey"), "Missing"),
            (404, String::new(), "Missing"),
            (404, code("NoSuchBucket"), "Refused"),
            (403, code("SignatureDoesNotMatch"), "Denied"),
            (403, String::new(), "Denied"),
            (401, code("Unauthorized"), "Denied"),
            (503, code("SlowDown"), "Busy"),
            (500, "<html>oops".to_owned(), "Busy"),
            (429, String::new(), "Busy"),
            (400, code("RequestTimeout"), "Busy"),
            (400, code("BadDigest"), "Mismatch"),
            (400, code("InvalidArgument"), "Refused"),
            (301, code("PermanentRedirect"), "Refused"),
        ];
        for (status, body, expected) in cases {
            let error = of(status, &body);
            assert!(format!("{error:?}").starts_with(expected), "{status} {body}: {error:?}");
        }
    }

    #[test]
    fn no_secret_and_no_flood_comes_out_of_an_answer() {
        let signature = "f".repeat(64);
        let body = format!(
            "<Error><Code>SignatureDoesNotMatch</Code><Message>key AKIDEXAMPLE, secret s3cr3t,\n {signature} {long}</Message>\
             <AWSAccessKeyId>AKIDEXAMPLE</AWSAccessKeyId><StringToSign>{signature}</StringToSign></Error>",
            long = "word ".repeat(10_000),
        );
        let shown = format!("{0} {0:?}", of(403, &body));
        for hidden in ["AKIDEXAMPLE", "s3cr3t", signature.as_str(), "\n"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
        assert!(shown.contains("key ***, secret ***"), "{shown}");
        assert!(shown.len() < 1000, "{shown}");
    }
}

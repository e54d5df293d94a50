//! What a picture carries in the bucket beside its bytes, for people and tools that look there without its record.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// Longest model name kept, in bytes as written. All metadata together may have 2 KiB.
const LONGEST_MODEL: usize = 256;
/// What stays as it is in a header: printable ASCII, but for the sign that begins an escape.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%').add(b' ').add(b'"');

/// Facts about a picture that become its metadata in the bucket.
#[derive(Clone, Debug)]
pub struct Meta {
    /// When it was made. Written in milliseconds since 1970, as in its record.
    pub created: SystemTime,
    /// The model that drew it. Written percent-encoded, and cut after 256 bytes.
    pub model: Option<String>,
}

impl Meta {
    /// Names and values of `x-amz-meta-*`. `sha256` is added when the bytes are known.
    pub(super) fn headers(&self) -> HashMap<String, String> {
        let created = self.created.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut headers = HashMap::from([("created".to_owned(), created.to_string())]);
        if let Some(model) = self.model.as_deref().filter(|model| !model.is_empty()) {
            headers.insert("model".to_owned(), escaped(model));
        }
        headers
    }
}

/// Never cut within a character or an escape.
fn escaped(model: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4];
    for character in model.chars() {
        let piece = utf8_percent_encode(character.encode_utf8(&mut buffer), ESCAPED).to_string();
        if text.len() + piece.len() > LONGEST_MODEL {
            break;
        }
        text.push_str(&piece);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn values_are_short_printable_ascii() {
        let created = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let headers = |model: Option<&str>| Meta { created, model: model.map(str::to_owned) }.headers();
        assert_eq!(headers(None), HashMap::from([("created".to_owned(), "1700000000123".to_owned())]));
        let cases = [
            ("gpt-image-1", "gpt-image-1"),
            ("org/model:v1.5", "org/model:v1.5"),
            ("50% \"x\"\r\ny", "50%25%20%22x%22%0D%0Ay"),
            ("通义", "%E9%80%9A%E4%B9%89"),
        ];
        for (model, expected) in cases {
            assert_eq!(headers(Some(model))["model"], expected);
        }
        let long = &headers(Some(&"é".repeat(10_000)))["model"];
        assert!(long.len() <= 256 && long.len() % 6 == 0, "{long}");
        let before = Meta { created: UNIX_EPOCH - Duration::from_secs(1), model: None };
        assert_eq!(before.headers()["created"], "0");
    }
}

//! The text a JSON string stands for.

use std::borrow::Cow;

/// The text behind the escapes of a raw JSON string (without its quotes). `None` when it is not valid, or not UTF-8.
pub fn unescape(raw: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(raw).ok()?;
    if !text.contains('\\') {
        return Some(Cow::Borrowed(text));
    }
    serde_json::from_str::<String>(&format!("\"{text}\"")).ok().map(Cow::Owned)
}

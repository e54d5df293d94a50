//! The text a JSON string stands for.

use std::borrow::Cow;

use crate::work;

/// The text behind the escapes of a raw JSON string (without its quotes). `None` when it is not valid, or not UTF-8.
pub fn unescape(raw: &[u8]) -> Option<Cow<'_, str>> {
    work::looked_at(2 * raw.len());
    let text = std::str::from_utf8(raw).ok()?;
    if !text.contains('\\') {
        return Some(Cow::Borrowed(text));
    }
    work::looked_at(3 * text.len());
    serde_json::from_str::<String>(&format!("\"{text}\"")).ok().map(Cow::Owned)
}

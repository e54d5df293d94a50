//! Finds the pictures in a request.

use std::io::Cursor;

use image::ImageReader;
use memchr::memmem;
use serde_json::Value;

use super::{
    multipart::Part,
    received::{ReceivedImage, sha256},
};
use crate::picture::{Sniff, sniff};

/// Every data URI anywhere in a JSON body, and bare base64 in `input[].result`.
pub(super) fn in_json(body: &Value) -> Vec<ReceivedImage> {
    let mut found = Vec::new();
    walk(body, &mut String::new(), &mut found);
    found
}

/// Every file of a form.
pub(super) fn in_form(parts: &[Part]) -> Vec<ReceivedImage> {
    parts
        .iter()
        .filter(|part| part.file_name.is_some())
        .map(|part| image(&part.name, part.media_type.clone(), &part.body))
        .collect()
}

fn walk(value: &Value, place: &mut String, found: &mut Vec<ReceivedImage>) {
    let here = place.len();
    match value {
        Value::String(text) => in_text(text, place, found),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                place.push_str(&format!("[{index}]"));
                walk(item, place, found);
                place.truncate(here);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                if here > 0 {
                    place.push('.');
                }
                place.push_str(name);
                match field {
                    Value::String(text) if name == "result" && place.starts_with("input[") => {
                        if let Ok(bytes) = base64_simd::STANDARD.decode_to_vec(text) {
                            found.push(image(place, None, &bytes));
                        }
                    }
                    _ => walk(field, place, found),
                }
                place.truncate(here);
            }
        }
        _ => {}
    }
}

/// Data URIs in a text, whether they are all of it or stand in markdown.
fn in_text(text: &str, place: &str, found: &mut Vec<ReceivedImage>) {
    for start in memmem::find_iter(text.as_bytes(), "data:") {
        let Some((head, rest)) = text.get(start + 5..).and_then(|uri| uri.split_once(',')) else { continue };
        let Some(media_type) = head.strip_suffix(";base64").filter(|head| head.len() < 128) else { continue };
        let foreign = |byte: u8| !matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=');
        let end = rest.bytes().position(foreign).unwrap_or(rest.len());
        let Ok(bytes) = base64_simd::STANDARD.decode_to_vec(rest.get(..end).unwrap_or_default()) else { continue };
        found.push(image(place, Some(media_type.to_owned()), &bytes));
    }
}

fn image(place: &str, media_type: Option<String>, bytes: &[u8]) -> ReceivedImage {
    let format = match sniff(bytes) {
        Sniff::Picture(format) => Some(format),
        _ => None,
    };
    let reader = format.and_then(|_| ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok());
    ReceivedImage {
        place: place.to_owned(),
        media_type,
        format,
        size: reader.and_then(|reader| reader.into_dimensions().ok()),
        length: bytes.len(),
        sha256: sha256(bytes),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_uris_are_found_wherever_they_stand() {
        let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mM4IScHAAK2AQUKW6YGAAAAAElFTkSuQmCC";
        let found = in_json(&json!({
            "messages": [
                { "content": [{ "image_url": { "url": format!("data:image/png;base64,{png}") } }] },
                { "content": format!("see ![a](data:image/jpeg;base64,{png}) and data:text/plain,no") },
            ],
            "input": [{ "type": "image_generation_call", "result": png }],
            "file": { "file_data": "data:application/pdf;base64,JVBERi0=" },
        }));
        let seen = |place: &str| found.iter().find(|image| image.place == place).unwrap();
        assert_eq!(found.len(), 4);
        let first = seen("messages[0].content[0].image_url.url");
        assert_eq!((first.length, first.size), (69, Some((1, 1))));
        assert_eq!(first.sha256, "1db7d0d116a2861ae3ec18d9aa050f56a515c689b89ba5f8bdba68745296632f");
        assert_eq!(seen("messages[1].content").media_type.as_deref(), Some("image/jpeg"));
        assert_eq!(seen("input[0].result").format, first.format);
        assert_eq!(seen("file.file_data").format, None);
    }
}

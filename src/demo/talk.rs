//! What a chat model says, and whether it draws instead.

use super::{answer::STAMP, call::Call};

/// Words of a text answer made of time stamps when `words:` does not tell.
const STAMPS: usize = 20;

/// What to draw, when the model's name has `image` in it or the text starts by asking for a picture.
pub(super) fn subject(call: &Call, model: &str, tool: bool) -> Option<String> {
    let (verb, rest) = call.prompt.split_once(' ').unwrap_or((&call.prompt, ""));
    let verb = verb.trim_end_matches([':', ',']).to_ascii_lowercase();
    let told = matches!(verb.as_str(), "draw" | "paint" | "generate");
    if !told && !tool && !model.contains("image") && call.controls.shape.is_none() {
        return None;
    }
    let subject = if told { rest } else { &call.prompt };
    Some(if subject.is_empty() { "a picture".to_owned() } else { subject.to_owned() })
}

/// The words of a text answer: they repeat the prompt and tell which pictures arrived. Each but the last ends in a space.
pub(super) fn words(call: &Call) -> Vec<String> {
    if call.controls.stamp {
        return vec![format!("{STAMP} "); call.controls.words.unwrap_or(STAMPS)];
    }
    let said = reply(call);
    let mut words: Vec<String> = said.split(' ').map(|word| format!("{word} ")).collect();
    if let Some(count) = call.controls.words {
        words = words.into_iter().cycle().take(count).collect();
    }
    if let Some(last) = words.last_mut() {
        last.pop();
    }
    words
}

fn reply(call: &Call) -> String {
    const QUOTED: usize = 200;
    let quoted: String = call.prompt.chars().take(QUOTED).collect();
    let tail = if quoted.len() < call.prompt.len() { "…" } else { "" };
    let mut text = format!("You said: “{quoted}{tail}”.");
    match call.images.as_slice() {
        [] => text.push_str(" I received no pictures."),
        [_] => text.push_str(" I received 1 picture:"),
        more => text.push_str(&format!(" I received {} pictures:", more.len())),
    }
    for (turn, image) in call.images.iter().enumerate() {
        let size = image.size.map_or("unknown size".to_owned(), |(width, height)| format!("{width}x{height}"));
        let kind = image.format.map_or("no image format I know", |format| format.media_type());
        let comma = if turn > 0 { "," } else { "" };
        text.push_str(&format!("{comma} {size} ({kind}, {} bytes)", image.length));
    }
    if !call.images.is_empty() {
        text.push('.');
    }
    text.push_str(" Start with “draw” and I make a picture.");
    text
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::demo::{call::Content, control::Controls};

    fn call(prompt: &str) -> Call {
        Call {
            path: String::new(),
            query: String::new(),
            headers: HeaderMap::new(),
            body: Content::None(""),
            length: 0,
            images: Vec::new(),
            controls: Controls::default(),
            prompt: prompt.to_owned(),
        }
    }

    #[test]
    fn it_draws_when_asked_and_talks_otherwise() {
        assert_eq!(subject(&call("Draw a cat"), "demo-chat", false).as_deref(), Some("a cat"));
        assert_eq!(subject(&call("paint: a cat"), "demo-chat", false).as_deref(), Some("a cat"));
        assert_eq!(subject(&call("a cat"), "my-image-1", false).as_deref(), Some("a cat"));
        assert_eq!(subject(&call("draw"), "demo-chat", false).as_deref(), Some("a picture"));
        assert_eq!(subject(&call("who can draw a cat"), "demo-chat", false), None);
        assert!(words(&call("hello there")).concat().starts_with("You said: “hello there”."));
    }
}

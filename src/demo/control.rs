//! Words in a prompt that steer the answer.

use std::time::Duration;

use http::StatusCode;

use super::draw::{MAX_BYTES, MAX_SIDE};
use crate::picture::Format;

/// The control words: how one is written, and what it does.
pub(super) const TABLE: [(&str, &str); 19] = [
    ("delay:2s", "wait before the answer's header (`150ms`, `2s`)"),
    ("slow:20ms", "wait between pieces of the body: 16 KiB of it, or one event of a stream"),
    ("bytes:1500000", "pad the picture's file to about this size with data that does not compress"),
    ("status:429", "answer this status with an error body (429 has `Retry-After: 7`, 400 is `moderation_blocked`)"),
    ("reset", "cut the connection without an answer"),
    ("truncate:50%", "cut the connection after this share of the body"),
    ("early:413", "answer this status before the body has been read, then close"),
    ("noise:garbage", "answer 200 with a body (or an event) that is not valid JSON"),
    ("format:webp", "file format: `png`, `jpeg` or `webp`"),
    ("size:512x512", "size of the picture, whatever is asked"),
    ("unique:yes", "make every picture's bytes differ from all before (cheap for PNG)"),
    ("asurl", "answer URLs whatever is asked"),
    ("lost:yes", "with URLs: point to pictures that are not there"),
    ("shape:images", "chat: the picture in `message.images` or `delta.images`"),
    ("shape:array", "chat: `content` is a list of parts"),
    ("shape:bare", "chat: `content` is the data URI alone (`shape:markdown` is the default)"),
    ("delta:4096", "chat streams: bytes of content in each event of a picture"),
    ("words:200", "chat and responses: length of a text answer, in words"),
    ("stamp:yes", "chat and responses streams: each word is the time it was sent, in nanoseconds since 1970"),
];

/// What the control words ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Controls {
    pub(super) delay: Option<Duration>,
    pub(super) slow: Option<Duration>,
    pub(super) bytes: Option<usize>,
    pub(super) status: Option<StatusCode>,
    pub(super) reset: bool,
    /// Per cent of the body that is sent.
    pub(super) truncate: Option<u8>,
    pub(super) early: Option<StatusCode>,
    pub(super) garbage: bool,
    pub(super) format: Option<Format>,
    pub(super) size: Option<(u32, u32)>,
    pub(super) unique: bool,
    pub(super) as_url: bool,
    pub(super) lost: bool,
    pub(super) shape: Option<Shape>,
    pub(super) delta: Option<usize>,
    pub(super) words: Option<usize>,
    pub(super) stamp: bool,
}

/// How a chat answer carries a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Markdown,
    Images,
    Array,
    Bare,
}

impl Controls {
    /// Takes the control words out of a prompt; the rest of it is returned, its words joined by single spaces.
    pub(super) fn take_from(&mut self, prompt: &str) -> String {
        let mut rest = String::with_capacity(prompt.len());
        for word in prompt.split_whitespace().filter(|word| self.take(word).is_none()) {
            if !rest.is_empty() {
                rest.push(' ');
            }
            rest.push_str(word);
        }
        rest
    }

    /// Takes one word, if it is a control word.
    fn take(&mut self, word: &str) -> Option<()> {
        match word.split_once(':') {
            None => match word {
                "reset" => self.reset = true,
                "asurl" => self.as_url = true,
                _ => return None,
            },
            Some((name, value)) => match name {
                "delay" => self.delay = Some(duration(value)?),
                "slow" => self.slow = Some(duration(value)?),
                "bytes" => self.bytes = Some(value.parse::<usize>().ok()?.min(MAX_BYTES)),
                "status" => self.status = Some(failure(value)?),
                "early" => self.early = Some(failure(value)?),
                "truncate" => {
                    self.truncate = Some(value.strip_suffix('%')?.parse().ok().filter(|share| *share < 100)?);
                }
                "noise" if value == "garbage" => self.garbage = true,
                "format" => self.format = Some(format(value)?),
                "size" => self.size = Some(size(value)?),
                "unique" if value == "yes" => self.unique = true,
                "lost" if value == "yes" => self.lost = true,
                "stamp" if value == "yes" => self.stamp = true,
                "shape" => self.shape = Some(Shape::named(value)?),
                "delta" => self.delta = Some(value.parse().ok().filter(|bytes| *bytes > 0)?),
                "words" => self.words = Some(value.parse::<usize>().ok()?.min(100_000)),
                _ => return None,
            },
        }
        Some(())
    }
}

impl Shape {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "markdown" => Shape::Markdown,
            "images" => Shape::Images,
            "array" => Shape::Array,
            "bare" => Shape::Bare,
            _ => return None,
        })
    }
}

/// `png`, `jpeg` or `webp`: the formats the demo can write.
pub(super) fn format(name: &str) -> Option<Format> {
    match name {
        "png" => Some(Format::Png),
        "jpeg" | "jpg" => Some(Format::Jpeg),
        "webp" => Some(Format::Webp),
        _ => None,
    }
}

/// `WxH`, each side from 1 to [`MAX_SIDE`] pixels.
pub(super) fn size(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    let side = |text: &str| text.parse().ok().filter(|side| (1..=MAX_SIDE).contains(side));
    Some((side(width)?, side(height)?))
}

/// A status from 400 to 599.
fn failure(text: &str) -> Option<StatusCode> {
    text.parse::<u16>().ok().filter(|status| (400..600).contains(status)).and_then(|s| StatusCode::from_u16(s).ok())
}

fn duration(text: &str) -> Option<Duration> {
    if let Some(millis) = text.strip_suffix("ms") {
        return millis.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_table_is_known_and_documented() {
        for (word, _) in TABLE {
            let mut controls = Controls::default();
            assert_eq!(controls.take_from(&format!("a {word} cat")), "a cat", "{word}");
            assert_ne!(controls, Controls::default(), "{word}");
            assert!(include_str!("mod.rs").contains(&format!("//! | `{word}` |")), "{word} is not in the module docs");
        }
    }

    #[test]
    fn words_that_only_look_like_controls_stay_in_the_prompt() {
        let mut controls = Controls::default();
        let prompt =
            "status:fine shape:heart delay:soon 3:2 http://x.example bytes:-1 status:200 truncate:150% size:0x9";
        assert_eq!(controls.take_from(prompt), prompt);
        assert_eq!(controls, Controls::default());
    }
}

//! Running text in requests: pictures that are mentioned in it, and thoughts that a model wrote down.
//!
//! A text is the inside of a JSON string, which comes in pieces and may hold megabytes (a data URI in markdown). It is
//! read once, behind its escapes, and nothing of it is held but the URL or the tag at hand.

mod chars;
mod mention;
mod thought;

use std::ops::Range;

use chars::{Char, chars};
use memchr::memchr3;
use mention::Mentions;
use thought::Thoughts;

use super::conversation::{MOST_MENTION_BYTES, MOST_PICTURES, MOST_THOUGHTS};
use crate::work;

/// What stands in one text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Prose {
    /// URLs of pictures in image markup, behind all escapes, and where the markup begins.
    pub(super) mentions: Vec<(String, u64)>,
    /// `<think>…</think>`, and the line breaks behind it.
    pub(super) thoughts: Vec<Range<u64>>,
}

/// Reads one text.
#[derive(Debug, Default)]
pub(super) struct ProseReader {
    mentions: Mentions,
    thoughts: Thoughts,
    found: Prose,
    mention_bytes: usize,
}

impl ProseReader {
    /// Reads the next piece; `at` is its place in the body. Escapes are never cut.
    pub(super) fn push(&mut self, raw: &[u8], at: u64) {
        let mut rest = raw;
        while !rest.is_empty() {
            // Markup begins with one of these, or with an escape that may stand for one.
            if self.mentions.is_idle() && self.thoughts.is_idle() {
                let skip = memchr3(b'!', b'<', b'\\', rest).unwrap_or(rest.len());
                work::looked_at(skip);
                rest = rest.get(skip..).unwrap_or_default();
            }
            let Some((char, behind)) = chars(rest) else { return };
            work::looked_at(2 + char.raw.len());
            let start = at + (raw.len() - rest.len()) as u64;
            let char = Char { start, ..char };
            if let Some(mention) = self.mentions.see(char) {
                self.found.keep_mention(mention, &mut self.mention_bytes);
            }
            if let Some(thought) = self.thoughts.see(char) {
                self.found.keep_thought(thought);
            }
            rest = behind;
        }
    }

    /// Ends the text.
    pub(super) fn finish(mut self) -> Prose {
        if let Some(thought) = self.thoughts.finish() {
            self.found.keep_thought(thought);
        }
        self.found
    }
}

/// A text of megabytes can consist of nothing else, so what is kept of one text is bounded like what is kept of a request.
impl Prose {
    fn keep_mention(&mut self, mention: (String, u64), bytes: &mut usize) {
        *bytes += mention.0.len();
        if self.mentions.len() < MOST_PICTURES && *bytes <= MOST_MENTION_BYTES {
            self.mentions.push(mention);
        }
    }

    fn keep_thought(&mut self, thought: Range<u64>) {
        let known = self.thoughts.len();
        match self.thoughts.last_mut() {
            Some(last) if last.end == thought.start => last.end = thought.end,
            _ if known < MOST_THOUGHTS => self.thoughts.push(thought),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(raw: &str, size: usize) -> Prose {
        let mut reader = ProseReader::default();
        let mut at = 0;
        let mut rest = raw.as_bytes();
        while !rest.is_empty() {
            // As the lexer cuts: never inside an escape.
            let mut len = 0;
            while len < size.min(rest.len()) {
                len = rest.len() - chars(&rest[len..]).unwrap().1.len();
            }
            reader.push(&rest[..len], at);
            at += len as u64;
            rest = &rest[len..];
        }
        reader.finish()
    }

    fn prose(raw: &str) -> Prose {
        let whole = read(raw, raw.len().max(1));
        for size in [1, 2, 3, 7] {
            assert_eq!(read(raw, size), whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn pictures_are_mentioned_by_image_markup_only() {
        let u = "https://g.example/images/a.png";
        for (text, count) in [
            ("![a cat]($)", 1),
            ("see ![]($), and ![x]( $ ), and ![x](<$>)", 3),
            (r#"![a]($ \"a title\") ![a]($ 'it\\'s') ![a](<$>\n(t))"#, 3),
            ("[![a]($)](https://elsewhere.example)", 1),
            ("![a [b] c]($) ![![a]($)]($)", 2),
            (r"![a \\] b]($)", 1),
            (r"!\u005ba](https:\/\/g.example\/images\/a.png)", 1),
            (r#"<img src=\"$\"> <IMG alt='>' width=5 src = '$' /> <img\n src=$>"#, 3),
            (r"!![a]($) <<img src='$'> \u003cimg src='$'\u003e", 3),
            ("![画像]($)", 1),
            // Mentions, links and what is no markup.
            ("$ [a]($) <$> <a href='$'> ! [a]($) ![a] ($) ![a][$] `x`", 0),
            ("![a]($ b) ![a](<$ ![a]($", 0),
            ("<image src='$'> <img data-src='$'> <img src=''>", 0),
            ("![a](data:image/png;base64,AAAA) ![a](https://g.example/other/a.png)", 0),
            (r"\\!\\[a]($)", 0),
        ] {
            let found = prose(&text.replace('$', u)).mentions;
            assert_eq!(found.len(), count, "{text}: {found:?}");
            assert!(found.iter().all(|(url, _)| url == u), "{text}: {found:?}");
        }
        let entity = prose(r"<img src='https://g.example/images/a.png?w=1&amp;h=2'>").mentions;
        assert_eq!(entity[0].0, format!("{u}?w=1&h=2"));
    }

    #[test]
    fn thoughts_are_taken_with_the_blank_lines_behind_them() {
        for (text, left) in [
            ("<think>a</think>b", "b"),
            (r"<think>\na\n</think>\n\nb\n", r"b\n"),
            (r"<think>a</think> \t\n \n  b", "  b"),
            (r"<think>a</think> b", " b"),
            (r"a <think>b</think>\u000a c<think></think>", "a  c"),
            (r"\u003cthink\u003ea\u003c/think\u003e\r\nb", "b"),
            (r"\u003Cthink>a\u003c\/think>b", "b"),
            ("<think><think>a</think>b</think>c", "b</think>c"),
            ("<think>a</think><think>b</think>c", "c"),
            ("<<think>a<</think>b", "<b"),
            ("<think>a", "<think>a"),
            ("a</think>b <thinking>c</thinking>", "a</think>b <thinking>c</thinking>"),
            ("<think>画</think>", ""),
        ] {
            let mut rest = text.to_owned();
            for span in prose(text).thoughts.iter().rev() {
                rest.replace_range(span.start as usize..span.end as usize, "");
            }
            // Blanks before the text on its own line stay: they may be its indentation.
            assert_eq!(rest, left, "{text}");
        }
    }

    #[test]
    fn long_texts_are_not_held() {
        let mut reader = ProseReader::default();
        for piece in ["![a](", "![", "<img ", "<think>"] {
            reader.push(piece.as_bytes(), 0);
            for _ in 0..64 {
                reader.push(&[b'A'; 1024], 0);
            }
            assert!(reader.mentions.is_idle(), "{piece}");
        }
        assert!(reader.finish().thoughts.is_empty());
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(
            text in r#"(!|\[|\]|\(|\)|<|>|img src=|think>|/|'|\\"|\\\\|\\n|\\u003c|https://g/images/a|a| |画){0,40}"#,
            size in 1usize..9,
        ) {
            prop_assert_eq!(read(&text, size), read(&text, text.len().max(1)));
        }
    }
}

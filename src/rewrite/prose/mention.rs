//! Image markup: `![alt](url "title")`, `![alt](<url>)`, `<img src="url">`.
//!
//! A link or a bare URL shows nobody a picture, so it is none. Of markup within markup the inner one counts.

use std::borrow::Cow;

use super::chars::Char;
use crate::{rewrite::json::unescape, work};

/// Longest URL, in bytes as written.
const LONGEST_URL: usize = 2 * 1024;
/// Longest `<img …>`.
const LONGEST_TAG: usize = 4 * 1024;
/// Longest alternative text, and longest title.
const LONGEST_ALT: usize = 2 * 1024;
/// Every URL of a picture has this in its path.
const PATH: &str = "/images/";

/// Finds image markup.
#[derive(Debug, Default)]
pub(super) struct Mentions {
    state: State,
    /// Where the markup at hand begins.
    start: u64,
    /// The URL or the tag at hand, as written.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Outside,
    /// Behind `!`.
    Bang,
    Alt {
        depth: u32,
        len: usize,
        /// The character before, if it matters.
        before: u8,
    },
    AltEnd,
    UrlStart,
    Url {
        depth: u32,
    },
    /// A URL in angle brackets.
    Angle,
    UrlEnd,
    Title {
        close: u8,
        len: usize,
        escaped: bool,
    },
    TitleEnd,
    /// Behind `<`, with so many characters of the tag.
    Tag {
        len: usize,
        quote: Option<u8>,
    },
}

impl Mentions {
    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Outside
    }

    /// Takes the next character; answers the URL of markup that it completes, and where that began.
    pub(super) fn see(&mut self, char: Char<'_>) -> Option<(String, u64)> {
        let c = char.ascii;
        let white = c.is_ascii_whitespace();
        self.state = match self.state {
            State::Outside => self.begin(char),
            State::Bang if c == b'[' => State::Alt { depth: 0, len: 0, before: 0 },
            State::Alt { len, .. } if len > LONGEST_ALT => self.begin(char),
            State::Alt { depth, len, before } => match (before, c) {
                (b'\\', _) => State::Alt { depth, len: len + 1, before: 0 },
                (b'!', b'[') => {
                    // The inner one.
                    self.start = char.start - 1;
                    State::Alt { depth: 0, len: 0, before: 0 }
                }
                (_, b']') if depth == 0 => State::AltEnd,
                (_, b']') => State::Alt { depth: depth - 1, len: len + 1, before: c },
                (_, b'[') => State::Alt { depth: depth + 1, len: len + 1, before: c },
                (_, _) => State::Alt { depth, len: len + 1, before: c },
            },
            State::AltEnd if c == b'(' => State::UrlStart,
            State::UrlStart if white => State::UrlStart,
            State::UrlStart if c == b'<' => {
                self.held.clear();
                State::Angle
            }
            State::UrlStart => {
                self.held.clear();
                self.url(char, 0)
            }
            State::Url { depth: 0 } if c == b')' => return self.complete(destination),
            State::Url { .. } if white => State::UrlEnd,
            State::Url { depth } => self.url(char, depth),
            State::Angle if c == b'>' => State::UrlEnd,
            State::Angle if self.held.len() < LONGEST_URL && !matches!(c, b'<' | b'\n') => {
                self.held.extend_from_slice(char.raw);
                State::Angle
            }
            State::UrlEnd | State::TitleEnd if c == b')' => return self.complete(destination),
            State::UrlEnd | State::TitleEnd if white => self.state,
            State::UrlEnd if matches!(c, b'"' | b'\'') => State::Title { close: c, len: 0, escaped: false },
            State::UrlEnd if c == b'(' => State::Title { close: b')', len: 0, escaped: false },
            State::Title { close, escaped: false, .. } if c == close => State::TitleEnd,
            State::Title { close, len, escaped } if len < LONGEST_ALT => {
                State::Title { close, len: len + 1, escaped: !escaped && c == b'\\' }
            }
            State::Tag { quote: None, .. } if c == b'>' => return self.complete(source),
            State::Tag { len, quote }
                if fits(len, c) && self.held.len() < LONGEST_TAG && (c != b'<' || quote.is_some()) =>
            {
                self.held.extend_from_slice(char.raw);
                let quote = match quote {
                    None if matches!(c, b'"' | b'\'') => Some(c),
                    Some(quote) if quote == c => None,
                    quote => quote,
                };
                State::Tag { len: len + 1, quote }
            }
            // It was no markup; other markup may begin here.
            _ => self.begin(char),
        };
        None
    }

    /// Outside of all markup: what does this character begin?
    fn begin(&mut self, char: Char<'_>) -> State {
        self.start = char.start;
        match char.ascii {
            b'!' => State::Bang,
            b'<' => {
                self.held.clear();
                State::Tag { len: 0, quote: None }
            }
            _ => State::Outside,
        }
    }

    fn url(&mut self, char: Char<'_>, depth: u32) -> State {
        if self.held.len() >= LONGEST_URL {
            return self.begin(char);
        }
        self.held.extend_from_slice(char.raw);
        State::Url {
            depth: match char.ascii {
                b'(' => depth + 1,
                b')' => depth.saturating_sub(1),
                _ => depth,
            },
        }
    }

    fn complete(&mut self, url: fn(&[u8]) -> Option<String>) -> Option<(String, u64)> {
        self.state = State::Outside;
        // A tag is gone through for its attributes.
        work::looked_at(4 * self.held.len());
        let url = url(&self.held)?;
        url.contains(PATH).then_some((url, self.start))
    }
}

/// Whether a tag that begins with `img` may have this character at this place.
fn fits(at: usize, c: u8) -> bool {
    match b"img".get(at) {
        Some(letter) => c.eq_ignore_ascii_case(letter),
        None => at > 3 || c.is_ascii_whitespace() || c == b'/',
    }
}

/// The URL of markdown.
fn destination(raw: &[u8]) -> Option<String> {
    unescape(raw).map(Cow::into_owned)
}

/// The `src` of a tag, given as `img …` without its brackets.
fn source(tag: &[u8]) -> Option<String> {
    let tag = unescape(tag)?;
    let mut rest = tag.get(3..)?;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return None;
        }
        // A name, then perhaps a value; a stray `=` is part of the name.
        let end = rest.char_indices().skip(1).find(|(_, c)| c.is_ascii_whitespace() || matches!(c, '=' | '/'));
        let (name, behind) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        let Some(value) = behind.trim_start().strip_prefix('=') else {
            rest = behind;
            continue;
        };
        let value = value.trim_start();
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.split_once(*quote));
        let unquoted = || value.split_at(value.find(|c: char| c.is_ascii_whitespace()).unwrap_or(value.len()));
        let (value, behind) = quoted.unwrap_or_else(unquoted);
        if name.eq_ignore_ascii_case("src") {
            return Some(value.replace("&amp;", "&"));
        }
        rest = behind;
    }
}

//! Our key, in what an upstream says.
//!
//! Some upstreams quote the key in their error messages. The client of a gateway must never see it.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName};
use memchr::memmem;

use crate::{config::Secret, opaque::opaque};

/// Puts stars where our key stands in a body that comes in pieces. Lengths stay as they are. At most one byte less than
/// the key is held back between two pieces.
pub(crate) struct Scrubber {
    key: Secret,
    /// The end of what has come: the key may begin in it.
    held: Bytes,
}

opaque!(Scrubber {});

impl Scrubber {
    /// `None`: there is no key to hide.
    pub(crate) fn new(key: Option<&Secret>) -> Option<Self> {
        let key = key.filter(|key| !key.expose().is_empty())?;
        Some(Self { key: key.clone(), held: Bytes::new() })
    }

    /// Takes the next piece; returns what may go on, possibly nothing yet.
    pub(crate) fn push(&mut self, piece: Bytes) -> Bytes {
        let joined = match self.held.is_empty() {
            true => piece,
            false => {
                let mut joined = BytesMut::from(self.held.as_ref());
                joined.extend_from_slice(&piece);
                joined.freeze()
            }
        };
        let key = self.key.expose().as_bytes();
        let mut out = starred(joined, key);
        let open = (1..key.len().min(out.len() + 1)).rev().find(|len| out.ends_with(key.get(..*len).unwrap_or(key)));
        self.held = out.split_off(out.len() - open.unwrap_or(0));
        out
    }

    /// What was held back, at the end of the body.
    pub(crate) fn finish(&mut self) -> Bytes {
        std::mem::take(&mut self.held)
    }
}

/// Takes out the headers that hold our key.
pub(crate) fn without_key(headers: &mut HeaderMap, key: Option<&Secret>) {
    for name in names_with_key(headers, key) {
        headers.remove(name);
    }
}

/// The names of the headers that hold our key.
pub(crate) fn names_with_key(headers: &HeaderMap, key: Option<&Secret>) -> Vec<HeaderName> {
    let Some(key) = key.map(|key| key.expose().as_bytes()).filter(|key| !key.is_empty()) else { return Vec::new() };
    let with_key = headers.iter().filter(|(_, value)| memmem::find(value.as_bytes(), key).is_some());
    with_key.map(|(name, _)| name.clone()).collect()
}

fn starred(text: Bytes, key: &[u8]) -> Bytes {
    if memmem::find(&text, key).is_none() {
        return text;
    }
    let mut starred = text.to_vec();
    for at in memmem::find_iter(&text, key) {
        if let Some(found) = starred.get_mut(at..at + key.len()) {
            found.fill(b'*');
        }
    }
    starred.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubbed(key: &str, text: &str, size: usize) -> String {
        let mut scrubber = Scrubber::new(Some(&Secret::new(key))).unwrap();
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            out.extend_from_slice(&scrubber.push(Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&scrubber.finish());
        String::from_utf8(out).unwrap()
    }

    /// Regression 10.5: only the first piece of an error was looked at, so a key in the second went through.
    #[test]
    fn a_key_is_hidden_wherever_the_pieces_end() {
        for (text, expected) in [
            ("no key here", "no key here"),
            ("sk-aab", "******"),
            ("bad key sk-aab, sk-aab!", "bad key ******, ******!"),
            ("sk-sk-aab", "sk-******"),
            ("sk-aasksk-aab", "sk-aask******"),
            ("ends with sk-aa", "ends with sk-aa"),
            ("", ""),
        ] {
            for size in 1..=text.len().max(1) {
                assert_eq!(scrubbed("sk-aab", text, size), expected, "{text} by {size}");
            }
        }
    }

    #[test]
    fn without_a_key_nothing_is_hidden() {
        assert!(Scrubber::new(None).is_none() && Scrubber::new(Some(&Secret::new(""))).is_none());
    }

    #[test]
    fn headers_that_hold_the_key_go() {
        let lines = [("x-echo", "Bearer sk-1"), ("location", "http://x/?key=sk-1&y"), ("etag", "\"sk-2\"")];
        let mut headers: HeaderMap =
            lines.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect();
        without_key(&mut headers, Some(&Secret::new("sk-1")));
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["etag"]);
        without_key(&mut headers, None);
        assert_eq!(headers.len(), 1);
    }
}

//! What the rewriters must come to, computed the plain way: the whole body at once, as values, with no thought for memory.
//!
//! It shares nothing with them but the verdict on bytes ([`picture::sniff`]). Where an answer means two things at once (two
//! different pictures in one item, a picture's URL beside bytes of none) it gives no answer.

use serde_json::{Map, Value};

use super::super::{
    picture::{self, Ending, PictureId, Sniff},
    rewrite::{
        answer::{Form, Rules},
        shape::Shape,
    },
};

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An object with `b64_json` and `url`.
    Item,
    /// An http(s) URL, a data URI, or bare base64.
    Any,
    /// An http(s) URL or a data URI.
    Reference,
    /// Base64 that becomes a URL.
    Base64,
    /// Base64 that stays.
    Kept,
    /// Running text.
    Text,
}

use Place::{Any, Base64, Item, Kept, Reference, Text};

const GEMINI: [&str; 4] = [
    "candidates[].content.parts[].inlineData.data",
    "candidates[].content.parts[].inline_data.data",
    "[].candidates[].content.parts[].inlineData.data",
    "[].candidates[].content.parts[].inline_data.data",
];

const IMAGES: [(&str, Place); 18] = [
    ("data[]", Item),
    ("images[]", Item),
    ("image", Item),
    ("data[]", Any),
    ("images[]", Any),
    ("image", Any),
    ("output", Any),
    ("output[]", Any),
    ("artifacts[].base64", Kept),
    ("base64", Kept),
    ("base64[]", Kept),
    ("predictions[].bytesBase64Encoded", Kept),
    ("data.image_urls[]", Reference),
    ("data.image_base64[]", Kept),
    ("output.results[].url", Reference),
    ("output.results[].b64_image", Kept),
    ("output.choices[].message.content[].image", Any),
    ("result.sample", Reference),
];

/// Below `choices[].message` and `choices[].delta`.
const MESSAGE: [(&str, Place); 22] = [
    ("content", Text),
    ("reasoning", Text),
    ("reasoning_content", Text),
    ("content[].text", Text),
    ("images[].text", Text),
    ("content[]", Item),
    ("images[]", Item),
    ("images[]", Any),
    ("content[].image_url", Reference),
    ("content[].imageUrl", Reference),
    ("content[].image", Reference),
    ("content[].image_url.url", Reference),
    ("content[].imageUrl.url", Reference),
    ("content[].image.url", Reference),
    ("content[].source.url", Reference),
    ("content[].source.data", Kept),
    ("images[].image_url", Reference),
    ("images[].imageUrl", Reference),
    ("images[].image", Reference),
    ("images[].image_url.url", Reference),
    ("images[].imageUrl.url", Reference),
    ("images[].image.url", Reference),
];

/// Of an output item of `/v1/responses`.
const OUTPUT: [(&str, Place); 4] =
    [("result", Base64), ("content[].text", Text), ("content[].image_url", Reference), ("outputs[].url", Reference)];

/// Every place of a whole answer.
pub fn places(shape: Shape) -> Vec<(String, Place)> {
    let owned = |(path, place): &(&str, Place)| ((*path).to_owned(), *place);
    let gemini = GEMINI.iter().map(|path| ((*path).to_owned(), Kept));
    match shape {
        Shape::Images => IMAGES.iter().map(owned).chain(gemini).collect(),
        Shape::Chat => {
            let below = |above: &str| MESSAGE.map(|(path, place)| (format!("choices[].{above}.{path}"), place));
            below("message").into_iter().chain(below("delta")).chain(gemini).collect()
        }
        Shape::Responses => OUTPUT.map(|(path, place)| (format!("output[].{path}"), place)).to_vec(),
    }
}

/// Every place of an event of this type.
fn event_places(shape: Shape, kind: &str) -> Vec<(String, Place)> {
    if kind.ends_with(".partial_image") {
        return Vec::new();
    }
    match shape {
        Shape::Images => [(String::new(), Item)].into_iter().chain(places(shape)).collect(),
        Shape::Chat => places(shape),
        Shape::Responses => {
            let below = |above: &str| OUTPUT.map(|(path, place)| (format!("{above}.{path}"), place));
            let text = [("text", Text), ("part.text", Text), ("part.image_url", Reference)];
            let delta = Some(("delta", Text)).filter(|_| kind.ends_with(".output_text.delta"));
            let more = text.into_iter().chain(delta).map(|(path, place)| (path.to_owned(), place));
            below("item").into_iter().chain(below("response.output[]")).chain(more).collect()
        }
    }
}

/// Rewrites whole values.
#[derive(Debug)]
pub struct Plain<'a> {
    rules: Rules,
    /// What every link leads to.
    linked: &'a [u8],
    /// The pictures that were kept, but for those behind links.
    pub kept: Vec<Vec<u8>>,
    /// Something in there means two things at once.
    pub ambiguous: bool,
}

impl<'a> Plain<'a> {
    pub fn new(rules: Rules, linked: &'a [u8]) -> Self {
        Self { rules, linked, kept: Vec::new(), ambiguous: false }
    }

    /// A whole answer.
    pub fn answer(&mut self, answer: &mut Value) {
        for (path, place) in places(self.rules.shape) {
            each(answer, &path, &mut |value| self.place(place, value));
        }
    }

    /// The data of one event, but for text, which may go on in the next.
    pub fn event(&mut self, event: &mut Value, kind: &str) {
        for (path, place) in event_places(self.rules.shape, kind).into_iter().filter(|(_, place)| *place != Text) {
            each(event, &path, &mut |value| self.place(place, value));
        }
    }

    fn place(&mut self, place: Place, value: &mut Value) {
        if place == Item {
            return if let Value::Object(item) = value {
                self.item(item)
            };
        }
        let Value::String(text) = value else { return };
        let becomes = match place {
            Text => Some(self.text(text)),
            _ => self.value(place, text),
        };
        if let Some(becomes) = becomes {
            *text = becomes;
        }
    }

    /// What becomes of a text that is a picture; `None`: it stays.
    fn value(&mut self, place: Place, text: &str) -> Option<String> {
        if is_http(text) && matches!(place, Any | Reference) {
            return self.rules.links.then(|| super::render::url(self.linked));
        }
        let is_uri = starts_with_ignoring_case(text, "data:");
        if !is_uri && place == Reference {
            return None;
        }
        let bytes = decoded(text)?;
        let url = super::render::url(&bytes);
        self.kept.push(bytes);
        let stays = match place {
            Kept => true,
            Any => !is_uri && !self.rules.named,
            _ => false,
        };
        (!stays && self.rules.form == Form::Url).then_some(url)
    }

    fn item(&mut self, item: &mut Map<String, Value>) {
        let text = |key: &str, item: &Map<String, Value>| item.get(key).and_then(Value::as_str).map(str::to_owned);
        let (base64, url) = (text("b64_json", item), text("url", item));
        let picture = base64.as_deref().and_then(decoded);
        let uri = url.as_deref().filter(|url| starts_with_ignoring_case(url, "data:"));
        let in_uri = uri.and_then(decoded);
        let is_link = url.as_deref().is_some_and(is_http) && self.rules.links;
        if self.rules.form == Form::AsCame {
            self.kept.extend(picture);
            self.kept.extend(in_uri);
            if is_link {
                item.insert("url".into(), super::render::url(self.linked).into());
            }
            return;
        }
        let other_base64 = picture.is_none() && base64.as_deref().is_some_and(|text| !text.is_empty());
        self.ambiguous |= picture.is_some() && uri.is_some();
        self.ambiguous |= other_base64 && (is_link || uri.is_some());
        // Bytes that are passed on are gone when they turn out to be none, and so is what stood beside them.
        self.ambiguous |= other_base64 && item.contains_key("url") && self.rules.form != Form::Url;
        let (bytes, written) = match (picture, in_uri) {
            (Some(bytes), _) => {
                self.kept.push(bytes.clone());
                (bytes, base64)
            }
            (None, Some(bytes)) => {
                self.kept.push(bytes.clone());
                (bytes, None)
            }
            (None, None) if is_link => (self.linked.to_vec(), None),
            (None, None) => return,
        };
        // What is neither text nor null is nobody's: it stays beside, under its own key.
        self.ambiguous |= ["b64_json", "url"]
            .iter()
            .any(|key| item.get(*key).is_some_and(|value| !value.is_string() && !value.is_null()));
        item.remove("url");
        item.remove("b64_json");
        if self.rules.form != Form::Url {
            let encoded = || base64_simd::STANDARD.encode_to_string(&bytes);
            item.insert("b64_json".into(), written.unwrap_or_else(encoded).into());
        }
        if self.rules.form != Form::Base64 {
            item.insert("url".into(), super::render::url(&bytes).into());
        }
    }

    /// Running text: every data URI that is a picture becomes a URL.
    pub fn text(&mut self, text: &str) -> String {
        const TRIGGER: &str = "data:image";
        let mut out = String::new();
        let mut rest = text;
        if !matches!(self.rules.form, Form::Url | Form::Both) {
            return text.to_owned();
        }
        while let Some(at) = rest.to_ascii_lowercase().find(TRIGGER) {
            let (before, uri) = rest.split_at(at);
            out += before;
            // A scheme does not begin in the middle of a word (RFC 3986, section 3.1).
            if text[..text.len() - uri.len()].ends_with(is_of_word) {
                let (first, behind) = uri.split_at(1);
                out += first;
                rest = behind;
                continue;
            }
            match prefix(uri) {
                Ok(len) => {
                    let (taken, bytes) = payload(&uri[len..]);
                    // What ends within a percent code is no picture, but where text goes on is anybody's guess.
                    self.ambiguous |= uri[len + taken..].starts_with('%');
                    // The end of one that was cut may be the start of another's `data:`.
                    self.ambiguous |= uri[len + taken..].starts_with(':');
                    match bytes.filter(|bytes| is_picture(bytes) && !Ending::of(bytes).is_cut()) {
                        Some(bytes) => {
                            out += &super::render::url(&bytes);
                            self.kept.push(bytes);
                            rest = &uri[len + taken..];
                        }
                        None => {
                            out += &uri[..len];
                            rest = &uri[len..];
                        }
                    }
                }
                Err(len) => {
                    out += &uri[..len];
                    rest = &uri[len..];
                }
            }
        }
        out + rest
    }
}

/// Calls `f` with every value at a path such as `data[].url`.
pub fn each(value: &mut Value, path: &str, f: &mut impl FnMut(&mut Value)) {
    if path.is_empty() {
        return f(value);
    }
    if let Some(rest) = path.strip_prefix("[]") {
        let rest = rest.strip_prefix('.').unwrap_or(rest);
        if let Value::Array(list) = value {
            list.iter_mut().for_each(|value| each(value, rest, f));
        }
        return;
    }
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (key, rest) = path.split_at(end);
    if let Some(value) = value.get_mut(key) {
        each(value, rest.strip_prefix('.').unwrap_or(rest), f);
    }
}

/// Whether a scheme may go on with this character.
fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || "+-.".contains(character)
}

fn is_http(text: &str) -> bool {
    starts_with_ignoring_case(text, "http://") || starts_with_ignoring_case(text, "https://")
}

fn starts_with_ignoring_case(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start))
}

fn is_picture(bytes: &[u8]) -> bool {
    matches!(picture::sniff(bytes), Sniff::Picture(_))
}

/// Whether these are the first bytes of a picture, and more are to come for sure.
fn is_cut(bytes: &[u8]) -> bool {
    match picture::sniff(bytes) {
        Sniff::Picture(_) => Ending::of(bytes).is_over() == Some(false),
        Sniff::More => true,
        Sniff::No => false,
    }
}

/// The bytes of a picture that is a whole value: bare base64 or a data URI.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let base64 = if starts_with_ignoring_case(text, "data:") {
        let (prefix, payload) = text.split_at(text.find(',')? + 1);
        let is_base64 = prefix.len() <= 300 && prefix.is_ascii() && prefix.to_ascii_lowercase().ends_with(";base64,");
        Some(payload).filter(|_| is_base64)?
    } else {
        text
    };
    let plain: String = percent_decoded(base64)?.chars().filter(|letter| !" \t\r\n".contains(*letter)).collect();
    let (taken, bytes) = payload(&plain);
    bytes.filter(|bytes| taken == plain.len() && is_picture(bytes))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        let code = u8::from_str_radix(digits, 16).ok().filter(|code| *code != b'%' && code.is_ascii())?;
        out.push(char::from(code));
        out += &part[2..];
    }
    Some(out)
}

/// `data:image/…;base64,` at the start of a text: its length, or how far it was one.
fn prefix(text: &str) -> Result<usize, usize> {
    const SCHEME: &str = "data:image/";
    for (at, letter) in text.char_indices() {
        let legal = match SCHEME.as_bytes().get(at) {
            Some(wanted) => letter.is_ascii() && letter.to_ascii_lowercase() == char::from(*wanted),
            None => letter.is_ascii_alphanumeric() || "!#$&^_.+-/;=%,".contains(letter),
        };
        if !legal || at >= 300 {
            return Err(at);
        }
        if letter == ',' {
            let whole = &text[..=at];
            return if whole.to_ascii_lowercase().ends_with(";base64,") { Ok(at + 1) } else { Err(at + 1) };
        }
    }
    Err(text.len())
}

/// The longest base64 at the start of a text, percent-encoding undone, and its bytes if it is whole.
fn payload(text: &str) -> (usize, Option<Vec<u8>>) {
    let (mut at, mut letters, mut padding) = (0, String::new(), 0);
    let (mut standard, mut url_safe) = (false, false);
    while let Some(letter) = text[at..].chars().next() {
        let (letter, len) = match letter {
            '%' => {
                let digits =
                    text.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
                match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(code) if code.is_ascii() => (char::from(code), 3),
                    _ => return (at, None),
                }
            }
            letter => (letter, letter.len_utf8()),
        };
        match letter {
            ' ' | '\t' | '\r' | '\n' if len == 3 => {}
            // Lines of base64, unless the next one is another picture.
            '\r' | '\n' if is_cut(&bytes_of(&letters)) && !starts_with_ignoring_case(&text[at + 1..], "data:") => {}
            '=' if letters.len() % 4 + padding < 4 && letters.len() % 4 >= 2 => padding += 1,
            'A'..='Z' | 'a'..='z' | '0'..='9' if padding == 0 => letters.push(letter),
            '+' | '/' if padding == 0 && !url_safe => {
                standard = true;
                letters.push(letter);
            }
            '-' | '_' if padding == 0 && !standard => {
                url_safe = true;
                letters.push(if letter == '-' { '+' } else { '/' });
            }
            _ if len == 3 => return (at, None),
            _ => break,
        }
        at += len;
    }
    let whole = letters.len() % 4 != 1 && (padding == 0 || (letters.len() + padding).is_multiple_of(4));
    (at, whole.then(|| bytes_of(&letters)))
}

fn bytes_of(letters: &str) -> Vec<u8> {
    // Bits beyond the last byte do not count.
    let mut bytes = Vec::new();
    for group in letters.as_bytes().chunks(4) {
        let value = |letter: &u8| ALPHABET.iter().position(|known| known == letter).unwrap_or(0) as u32;
        let bits = group.iter().fold(0, |bits, letter| bits << 6 | value(letter)) << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len().max(1)]);
    }
    bytes
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The names of pictures, in an order of their own.
pub fn ids(pictures: &[Vec<u8>]) -> Vec<String> {
    let mut ids: Vec<String> = pictures.iter().map(|bytes| PictureId::of(bytes).to_string()).collect();
    ids.sort();
    ids
}

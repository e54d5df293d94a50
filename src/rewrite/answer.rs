//! JSON answers: base64 ↔ URL.

use super::{
    Event, Events, Fill, Slot,
    candidate::{Candidate, Setting},
    item::{Item, text},
    json::{Container, Lexer, Path, Token, unescape},
    shape::{Role, Shape},
    text::TextScanner,
};

/// Answers may be nested this deep; deeper ones pass as they came.
const MAX_DEPTH: usize = 256;
/// Longest URL that is looked at.
const LONGEST_URL: usize = 16 * 1024;

/// In which form an answer's pictures leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As URLs of ours; in items, `b64_json` is absent.
    Url,
    /// As base64; in items, `url` is absent.
    Base64,
    /// In items, `b64_json` and behind it `url`.
    Both,
    /// As they came; they are only kept.
    AsCame,
}

/// What to do with an answer.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub shape: Shape,
    pub form: Form,
    /// Pictures that the upstream names by URL are fetched, kept and given out as ours.
    pub links: bool,
}

/// Rewrites one JSON answer.
#[derive(Debug)]
pub struct AnswerRewriter {
    lexer: Lexer,
    state: State,
    /// The answer is no JSON (any more): the rest passes.
    broken: bool,
}

#[derive(Debug)]
struct State {
    rules: Rules,
    path: Path,
    item: Option<Item>,
    value: Value,
    events: Events,
}

/// The string at hand.
#[derive(Debug)]
enum Value {
    /// Passes.
    Plain,
    /// A member of an item that may be a base64 picture; nothing of it has been read.
    Member,
    Candidate(Candidate),
    Text(TextScanner),
    /// A URL of either kind, collected raw. `member`: its key is held by the item.
    Url {
        raw: Vec<u8>,
        member: bool,
    },
}

impl AnswerRewriter {
    pub fn new(rules: Rules) -> Self {
        let state = State { rules, path: Path::default(), item: None, value: Value::Plain, events: Events::default() };
        Self { lexer: Lexer::new(MAX_DEPTH), state, broken: false }
    }

    /// Takes the next piece of the answer.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Event> {
        if self.broken {
            self.state.events.copy(piece);
        } else if let Err(invalid) = self.lexer.push(piece, |token, _| self.state.token(token)) {
            self.give_up();
            self.state.events.copy(piece.get(invalid.consumed..).unwrap_or_default());
        }
        self.state.events.take()
    }

    /// Ends the answer.
    pub fn finish(&mut self) -> Vec<Event> {
        if !self.broken && self.lexer.finish(|token, _| self.state.token(token)).is_err() {
            self.give_up();
        }
        self.state.events.take()
    }

    /// Whether the answer turned out not to be valid JSON.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    fn give_up(&mut self) {
        self.broken = true;
        self.state.abandon();
        self.state.events.copy(self.lexer.unread());
    }
}

// === impl State ===

impl State {
    fn token(&mut self, token: Token<'_>) {
        match token {
            Token::Begin(container) => {
                let item = self.item.is_none()
                    && container == Container::Object
                    && self.rules.shape.is_item(self.path.steps());
                self.keep();
                self.write(if container == Container::Object { b"{" } else { b"[" });
                self.path.see(token);
                if item {
                    self.item = Some(Item::new(self.path.steps().len()));
                }
                return;
            }
            Token::End(container) => {
                self.path.see(token);
                if self.item.as_ref().is_some_and(|item| self.path.steps().len() < item.depth)
                    && let Some(item) = self.item.take()
                {
                    item.finish(&mut self.events);
                }
                self.write(if container == Container::Object { b"}" } else { b"]" });
                return;
            }
            _ => self.path.see(token),
        }
        match token {
            Token::Space(bytes) => self.between(bytes, false),
            Token::Comma => self.between(b",", false),
            Token::Colon => self.between(b":", false),
            Token::KeyStart | Token::KeyEnd => self.between(b"\"", true),
            Token::KeyPart(bytes) => self.between(bytes, true),
            Token::StringStart => self.string_start(),
            Token::StringPart(raw) => self.string_part(raw),
            Token::StringEnd => self.string_end(),
            Token::Scalar(bytes) => self.scalar(bytes),
            Token::Begin(_) | Token::End(_) => {}
        }
    }

    /// Bytes between values.
    fn between(&mut self, bytes: &[u8], key: bool) {
        match &mut self.item {
            Some(item) if self.path.steps().len() == item.depth => item.between(bytes, key),
            _ => self.write(bytes),
        }
    }

    /// Bytes that stay.
    fn write(&mut self, bytes: &[u8]) {
        match &mut self.item {
            Some(item) => item.write(bytes, &mut self.events),
            None => self.events.copy(bytes),
        }
    }

    /// The member at hand stays.
    fn keep(&mut self) {
        if let Some(item) = self.item.as_mut().filter(|item| item.at_value()) {
            item.keep(&mut self.events);
        }
    }

    /// The item whose member is at hand.
    fn member(&mut self) -> Option<&mut Item> {
        self.item.as_mut().filter(|item| item.at_value())
    }

    fn role(&self) -> Role {
        self.rules.shape.role(self.path.steps())
    }

    fn scalar(&mut self, bytes: &[u8]) {
        let twin = bytes == b"null" && matches!(self.role(), Role::Base64Member | Role::UrlMember);
        if twin
            && self.rules.form != Form::AsCame
            && let Some(item) = &mut self.item
        {
            return item.hold_empty(bytes, &mut self.events);
        }
        self.keep();
        self.write(bytes);
    }

    fn string_start(&mut self) {
        let role = self.role();
        let form = self.rules.form;
        self.value = match role {
            Role::Base64Member if self.member().is_some() => Value::Member,
            Role::UrlMember if self.member().is_some() => Value::Url { raw: Vec::new(), member: true },
            _ => {
                self.keep();
                self.write(b"\"");
                match (role, form) {
                    (Role::Base64, _) => self.candidate(Value::Plain),
                    (Role::Reference, _) => Value::Url { raw: Vec::new(), member: false },
                    (Role::Text, Form::Url | Form::Both) => {
                        self.settle();
                        Value::Text(TextScanner::new(url_slot()))
                    }
                    _ => Value::Plain,
                }
            }
        };
    }

    fn string_part(&mut self, raw: &[u8]) {
        match &mut self.value {
            Value::Plain => self.write(raw),
            Value::Member => {
                self.begin_member();
                self.string_part(raw);
            }
            Value::Text(scanner) => scanner.push(raw, &mut self.events),
            Value::Candidate(candidate) => {
                if let Some(taken) = candidate.push(raw, &mut self.events) {
                    self.value = Value::Plain;
                    self.write(raw.get(taken..).unwrap_or_default());
                }
            }
            Value::Url { raw: known, .. } => {
                known.extend_from_slice(raw);
                let member = match &self.value {
                    Value::Url { raw: known, .. } if known.len() < b"data:".len() => return,
                    Value::Url { raw: known, member } if is_data_uri(known) || known.len() > LONGEST_URL => *member,
                    _ => return,
                };
                let Value::Url { raw, .. } = std::mem::replace(&mut self.value, Value::Plain) else { return };
                self.value = match (is_data_uri(&raw), member) {
                    (true, true) => self.data_uri_member(),
                    (true, false) => self.candidate(Value::Plain),
                    (false, _) => {
                        self.open_member(member);
                        Value::Plain
                    }
                };
                self.string_part(&raw);
            }
        }
    }

    fn string_end(&mut self) {
        match std::mem::replace(&mut self.value, Value::Plain) {
            Value::Plain => {}
            Value::Text(mut scanner) => scanner.finish(&mut self.events),
            Value::Candidate(mut candidate) => candidate.finish(&mut self.events),
            Value::Member => return self.empty_member(),
            Value::Url { raw, member: true } if raw.is_empty() => return self.empty_member(),
            Value::Url { raw, member } => {
                if self.url_end(&raw, member) {
                    return;
                }
            }
        }
        self.write(b"\"");
    }

    /// `"b64_json":"` with something behind it.
    fn begin_member(&mut self) {
        let form = self.rules.form;
        self.value = match form {
            Form::Url => {
                let Some(item) = self.member() else { return };
                let (lead, original) = item.replace("\"url\"");
                let slot = Slot {
                    lead: text(&[&lead, b"\""]),
                    fill: Fill::Url,
                    original: text(&[&original, b"\""]),
                    passed_on: false,
                };
                Value::Candidate(Candidate::new(Setting::Value, slot))
            }
            Form::Base64 | Form::Both | Form::AsCame => {
                if let Some(item) = self.member() {
                    item.pictured = true;
                }
                if let Some(item) = &mut self.item {
                    item.settle(form == Form::AsCame, &mut self.events);
                }
                self.open_member(true);
                let url = form == Form::Both;
                let slot = Slot {
                    lead: if url { text(&[b"\",\"url\":\""]) } else { Default::default() },
                    fill: if url { Fill::Url } else { Fill::Nothing },
                    original: Default::default(),
                    passed_on: true,
                };
                Value::Candidate(Candidate::new(Setting::Value, slot))
            }
        };
    }

    /// `"url":"data:`.
    fn data_uri_member(&mut self) -> Value {
        let form = self.rules.form;
        let (key, fill) = match form {
            Form::Url => ("\"url\"", Fill::Url),
            Form::Base64 => ("\"b64_json\"", Fill::Base64),
            Form::Both => ("\"b64_json\"", base64_then_url()),
            Form::AsCame => {
                self.open_member(true);
                return self.candidate(Value::Plain);
            }
        };
        let Some(item) = self.member() else { return Value::Plain };
        let (lead, original) = item.replace(key);
        let (lead, original) = (text(&[&lead, b"\""]), text(&[&original, b"\""]));
        Value::Candidate(Candidate::new(Setting::Value, Slot { lead, fill, original, passed_on: false }))
    }

    /// A candidate whose key stays and has been written.
    fn candidate(&mut self, otherwise: Value) -> Value {
        self.settle();
        match self.rules.form {
            Form::Url => Value::Candidate(Candidate::new(Setting::Value, url_slot())),
            Form::AsCame => Value::Candidate(Candidate::new(Setting::Value, kept_slot())),
            Form::Base64 | Form::Both => otherwise,
        }
    }

    /// `""` for a member that names a picture.
    fn empty_member(&mut self) {
        match &mut self.item {
            Some(item) if self.rules.form != Form::AsCame => item.hold_empty(b"\"\"", &mut self.events),
            _ => {
                self.open_member(true);
                self.write(b"\"");
            }
        }
    }

    /// A URL is complete. `true`: its closing quote is none of the caller's business.
    fn url_end(&mut self, raw: &[u8], member: bool) -> bool {
        let url = unescape(raw).filter(|url| self.rules.links && is_http(url)).map(|url| url.into_owned());
        let Some(url) = url else {
            self.open_member(member);
            self.write(raw);
            return false;
        };
        let (key, fill) = match self.rules.form {
            Form::Url | Form::AsCame => ("\"url\"", Fill::Url),
            Form::Base64 => ("\"b64_json\"", Fill::Base64),
            Form::Both => ("\"b64_json\"", base64_then_url()),
        };
        match &mut self.item {
            Some(item) if member => {
                if item.pictured && self.rules.form != Form::AsCame {
                    item.leave_out();
                    return true;
                }
                item.hold_link(fill, url, key, raw, &mut self.events);
                true
            }
            _ => {
                self.settle();
                let slot = Slot { original: raw.to_vec().into(), ..url_slot() };
                self.events.push(Event::Link { slot, url });
                false
            }
        }
    }

    /// Writes a held key and the opening quote of its value.
    fn open_member(&mut self, member: bool) {
        if member {
            self.keep();
            self.write(b"\"");
        }
    }

    /// Nothing may be held while a slot's events are told.
    fn settle(&mut self) {
        if let Some(item) = &mut self.item {
            item.settle(true, &mut self.events);
        }
    }

    /// The text broke: whatever is held goes out as it came.
    fn abandon(&mut self) {
        match std::mem::replace(&mut self.value, Value::Plain) {
            Value::Plain => {}
            Value::Text(mut scanner) => scanner.abandon(&mut self.events),
            Value::Candidate(mut candidate) => candidate.abandon(&mut self.events),
            Value::Member => self.open_member(true),
            Value::Url { raw, member } => {
                self.open_member(member);
                self.write(&raw);
            }
        }
        if let Some(item) = self.item.take() {
            item.finish(&mut self.events);
        }
    }
}

fn url_slot() -> Slot {
    Slot { lead: Default::default(), fill: Fill::Url, original: Default::default(), passed_on: false }
}

fn kept_slot() -> Slot {
    Slot { fill: Fill::Nothing, passed_on: true, ..url_slot() }
}

fn base64_then_url() -> Fill {
    Fill::Base64ThenUrl(text(&[b"\",\"url\":\""]))
}

fn is_data_uri(raw: &[u8]) -> bool {
    raw.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"data:"))
}

fn is_http(url: &str) -> bool {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        picture::{PictureId, Sniff, sniff},
        rewrite::base64::Encoder,
    };

    const PNG: &[u8] = include_bytes!("../../tests/fixtures/wire/img/px2b.png");
    const PNG_BASE64: &str = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAYAAABytg0kAAAAGklEQVR42mNgZGL+z8LK9p+BnYPzPxc3z38AIAsES4oxhygAAAAASUVORK5CYII=";

    /// What the exchange does with events, without a store: a picture's URL is `u:` and the first digits of its id, a
    /// linked picture is `PNG`, and links to `http://gone` cannot be fetched.
    #[derive(Default)]
    struct Renderer {
        out: Vec<u8>,
        slot: Option<Slot>,
        bytes: Vec<u8>,
        plain: usize,
        raw: Vec<u8>,
    }

    impl Renderer {
        fn url(bytes: &[u8]) -> String {
            format!("u:{}", &PictureId::of(bytes).to_string()[..6])
        }

        fn fill(&mut self, slot: &Slot, bytes: &[u8]) {
            let base64 = base64_simd::STANDARD.encode_to_string(bytes);
            let fill = match &slot.fill {
                Fill::Nothing => return,
                Fill::Url => Self::url(bytes),
                Fill::Base64 => base64,
                Fill::Base64ThenUrl(between) => {
                    base64 + std::str::from_utf8(between).unwrap() + Self::url(bytes).as_str()
                }
            };
            self.out.extend_from_slice(&slot.lead);
            self.out.extend(fill.into_bytes());
        }

        fn events(&mut self, events: Vec<Event>) {
            for event in events {
                match event {
                    Event::Copy(bytes) => self.out.extend(bytes),
                    Event::Start(slot) => {
                        assert!(self.slot.replace(slot).is_none());
                        self.bytes.clear();
                        self.raw.clear();
                        self.plain = 0;
                    }
                    Event::Data { decoded, raw } => {
                        match raw {
                            Some(raw) => self.raw.extend(raw),
                            None => {
                                assert!(self.raw.is_empty());
                                self.plain += decoded.len();
                            }
                        }
                        self.bytes.extend(decoded);
                    }
                    Event::End => {
                        let slot = self.slot.take().unwrap();
                        let bytes = std::mem::take(&mut self.bytes);
                        assert!(matches!(sniff(&bytes), Sniff::Picture(_)));
                        self.fill(&slot, &bytes);
                    }
                    Event::Release { tail } => {
                        let slot = self.slot.take().unwrap();
                        if slot.passed_on {
                            continue;
                        }
                        let mut encoder = Encoder::default();
                        self.out.extend(slot.original);
                        self.out.extend(encoder.push(&self.bytes[..self.plain]));
                        self.out.extend(encoder.finish());
                        self.out.extend_from_slice(&self.raw);
                        self.out.extend(tail);
                    }
                    Event::Link { slot, url } if url.starts_with("http://gone") => self.out.extend(slot.original),
                    Event::Link { slot, .. } => self.fill(&slot, PNG),
                }
            }
        }
    }

    fn rewrite_pieces<'a>(rules: Rules, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut rewriter = AnswerRewriter::new(rules);
        let mut renderer = Renderer::default();
        for piece in pieces {
            renderer.events(rewriter.push(piece));
        }
        renderer.events(rewriter.finish());
        assert!(renderer.slot.is_none(), "a picture was begun and never ended");
        String::from_utf8_lossy(&renderer.out).into_owned()
    }

    fn rules(shape: Shape, form: Form) -> Rules {
        Rules { shape, form, links: true }
    }

    /// Rewrites the text whole, cut once at every place, and byte by byte; all must agree.
    #[track_caller]
    fn rewrite(rules: Rules, text: &str) -> String {
        let text = text.as_bytes();
        let whole = rewrite_pieces(rules, [text]);
        for cut in 0..=text.len() {
            let (a, b) = text.split_at(cut);
            assert_eq!(rewrite_pieces(rules, [a, b]), whole, "cut at {cut}");
        }
        assert_eq!(rewrite_pieces(rules, text.chunks(1)), whole, "byte by byte");
        whole
    }

    #[test]
    fn items_leave_in_the_form_that_is_wanted() {
        let p = PNG_BASE64;
        let u = &Renderer::url(PNG);
        let forms = [Form::Url, Form::Base64, Form::Both, Form::AsCame];
        // One row: the answer's item, then what becomes of it as url, b64_json, both, as it came.
        let rows = [
            [
                format!(r#"{{"b64_json":"{p}"}}"#),
                format!(r#"{{"url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{p}"}}"#),
                format!(r#"{{"b64_json":"{p}","url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{p}"}}"#),
            ],
            [
                format!(r#"{{ "revised_prompt" : "x" , "b64_json" : "{p}" , "seed":1.0e5 }}"#),
                format!(r#"{{ "revised_prompt" : "x" , "url" : "{u}" , "seed":1.0e5 }}"#),
                format!(r#"{{ "revised_prompt" : "x" , "b64_json" : "{p}" , "seed":1.0e5 }}"#),
                format!(r#"{{ "revised_prompt" : "x" , "b64_json" : "{p}","url":"{u}" , "seed":1.0e5 }}"#),
                format!(r#"{{ "revised_prompt" : "x" , "b64_json" : "{p}" , "seed":1.0e5 }}"#),
            ],
            [
                r#"{"url":"http://up/a.png?x=1&y=2"}"#.into(),
                format!(r#"{{"url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{p}"}}"#),
                format!(r#"{{"b64_json":"{p}","url":"{u}"}}"#),
                format!(r#"{{"url":"{u}"}}"#),
            ],
            // Empty twins, before and behind, first and last.
            [
                format!(r#"{{"url":"","b64_json":"{p}","revised_prompt":""}}"#),
                format!(r#"{{"url":"{u}","revised_prompt":""}}"#),
                format!(r#"{{"b64_json":"{p}","revised_prompt":""}}"#),
                format!(r#"{{"b64_json":"{p}","url":"{u}","revised_prompt":""}}"#),
                format!(r#"{{"url":"","b64_json":"{p}","revised_prompt":""}}"#),
            ],
            [
                format!(r#"{{"a":1, "url":null ,"b64_json":"{p}"}}"#),
                format!(r#"{{"a":1 ,"url":"{u}"}}"#),
                format!(r#"{{"a":1 ,"b64_json":"{p}"}}"#),
                format!(r#"{{"a":1 ,"b64_json":"{p}","url":"{u}"}}"#),
                format!(r#"{{"a":1, "url":null ,"b64_json":"{p}"}}"#),
            ],
            [
                r#"{"url":"https://up/a.png","b64_json":""}"#.into(),
                format!(r#"{{"url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{p}"}}"#),
                format!(r#"{{"b64_json":"{p}","url":"{u}"}}"#),
                format!(r#"{{"url":"{u}","b64_json":""}}"#),
            ],
            [
                format!(r#"{{"b64_json":"{p}","url":""}}"#),
                format!(r#"{{"url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{p}"}}"#),
                format!(r#"{{"b64_json":"{p}","url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{p}","url":""}}"#),
            ],
            // Both are there: the bytes win over the link.
            [
                format!(r#"{{"url":"http://gone/x","size":"1x1","b64_json":"{p}"}}"#),
                format!(r#"{{"size":"1x1","url":"{u}"}}"#),
                format!(r#"{{"size":"1x1","b64_json":"{p}"}}"#),
                format!(r#"{{"size":"1x1","b64_json":"{p}","url":"{u}"}}"#),
                format!(r#"{{"url":"http://gone/x","size":"1x1","b64_json":"{p}"}}"#),
            ],
            [
                format!(r#"{{"url":"data:image/png;base64,{p}"}}"#),
                format!(r#"{{"url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{p}"}}"#),
                format!(r#"{{"b64_json":"{p}","url":"{u}"}}"#),
                format!(r#"{{"url":"data:image/png;base64,{p}"}}"#),
            ],
        ];
        for [item, expected @ ..] in rows {
            for (form, expected) in forms.into_iter().zip(expected) {
                let text = format!(r#"{{"created":1, "data":[{item}],"usage":{{}}}}"#);
                let expected = format!(r#"{{"created":1, "data":[{expected}],"usage":{{}}}}"#);
                assert_eq!(rewrite(rules(Shape::Images, form), &text), expected, "{form:?} of {item}");
            }
        }
    }

    #[test]
    fn every_spelling_of_base64_is_a_picture() {
        let u = &Renderer::url(PNG);
        let p = PNG_BASE64;
        let url_safe = p.replace('+', "-").replace('/', "_");
        for spelled in [
            p.to_owned(),
            format!("data:image/png;base64,{p}"),
            format!("DATA:IMAGE/PNG;charset=utf-8;BASE64,{p}"),
            format!("data:application/octet-stream;base64,{p}"),
            p.replace('/', "\\/"),
            p.replace('/', "\\u002F"),
            format!("\\u0069{}", &p[1..]),
            format!("{}\\n{}\\r\\n", &p[..40], &p[40..]),
            url_safe.clone(),
            p.trim_end_matches('=').to_owned(),
            format!("data:image\\/png;base64,{}", p.replace('+', "%2B").replace('/', "%2f")),
        ] {
            let text = format!(r#"{{"data":[{{"b64_json":"{spelled}"}}]}}"#);
            let expected = format!(r#"{{"data":[{{"url":"{u}"}}]}}"#);
            assert_eq!(rewrite(rules(Shape::Images, Form::Url), &text), expected, "{spelled}");
        }
    }

    #[test]
    fn what_is_no_picture_leaves_as_it_came() {
        let p = PNG_BASE64;
        let half = &p[..60];
        for value in [
            "".to_owned(),
            "hello".into(),
            "dat".into(),
            "data:".into(),
            "iVBORw0KGgo...".into(),
            "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciLz4=".into(),
            "data:image/svg+xml;base64,PHN2Zy8+".into(),
            "data:image/png,notbase64".into(),
            format!("{half}***{half}"),
            format!("{p}=="),
            format!("{p}x"),
            format!("{}xx", p.trim_end_matches('=')),
            format!("{half}\\n{half}!"),
            format!("{}-_", p.trim_end_matches('=').replace('/', "\\/")),
            format!("iVBORw0KGgoé{p}"),
        ] {
            for form in [Form::Url, Form::Base64, Form::Both, Form::AsCame] {
                let text = format!(r#"{{"data":[{{"b64_json":"{value}","x":[1,2]}}]}}"#);
                assert_eq!(rewrite(rules(Shape::Images, form), &text), text, "{form:?}");
            }
        }
    }

    #[test]
    fn broken_and_odd_answers_pass() {
        let p = PNG_BASE64;
        for text in [
            "",
            "not json",
            "<html>502</html>",
            r#"{"data":[{"url":"","b64_json"#,
            r#"{"data":[{"url":"", "x" :"#,
            r#"{"data":[{"url":"http://up/x"#,
            r#"{"data":[{"b64_json":"abc\u00"#,
            r#"{"data":[{"b64_json":"abc\q"}]}"#,
            r#"{"data":null,"images":{}}"#,
            r#"{"data":[{"b64_json":12,"url":{"a":[]}}]}"#,
            r#"{"data":[{"url":"","b64_json":""}]}"#,
            r#"{"data":[{"url":null,"b64_json":null}]}"#,
            r#"{"data":[{"error":{"code":"x","message":"y"}},"s",[{"b64_json":""}]]}"#,
            r#"{"data":[{"url":"/generated-images/x.png"},{"url":"ftp://x/y"}]}"#,
            r#"{"data":[{"url":"http://gone/x.png?a=1\u0026b=2"}]}"#,
            &format!(r#"{{"data":[{{"b64_json":"{}"#, &p[..80]),
            &format!(r#"{{"error":{{"message":"{p}"}}}}"#),
            &"[".repeat(400),
        ] {
            for form in [Form::Url, Form::Base64, Form::Both, Form::AsCame] {
                assert_eq!(rewrite(rules(Shape::Images, form), text), text, "{form:?}");
            }
        }
    }

    #[test]
    fn chat_text_keeps_everything_but_the_uri() {
        let p = PNG_BASE64;
        let u = &Renderer::url(PNG);
        for (content, expected) in [
            (format!("![image](data:image/png;base64,{p})"), format!("![image]({u})")),
            (format!(r#"a ![](data:image\/png;base64,{p} \"t\") b"#), format!(r#"a ![]({u} \"t\") b"#)),
            (format!(r#"<img src=\"data:image/png;base64,{p}\">"#), format!(r#"<img src=\"{u}\">"#)),
            (format!("data:image/png;base64,{p}"), u.clone()),
            (format!("data:image/png;base64,{p}\\ndata:image/png;base64,{p} é"), format!("{u}\\n{u} é")),
            ("a data:image/png;base64,iVBORw0KGgo... b".into(), "a data:image/png;base64,iVBORw0KGgo... b".into()),
            (
                "dada data:imag data:image/ data:image/png;x".into(),
                "dada data:imag data:image/ data:image/png;x".into(),
            ),
            (format!("data:imagedata:image/png;base64,{p}"), format!("data:image{u}")),
        ] {
            let text = format!(r#"{{"choices":[{{"message":{{"content":"{content}","refusal":null}}}}]}}"#);
            let expected = format!(r#"{{"choices":[{{"message":{{"content":"{expected}","refusal":null}}}}]}}"#);
            assert_eq!(rewrite(rules(Shape::Chat, Form::Url), &text), expected, "{content}");
            assert_eq!(rewrite(rules(Shape::Chat, Form::AsCame), &text), text, "{content}");
        }
    }

    #[test]
    fn chat_parts_are_found_in_every_spelling() {
        let u = &Renderer::url(PNG);
        for part in [
            r#"{"type":"image_url","image_url":{"url":"$"},"index":0}"#,
            r#"{"type":"image_url","image_url":"$"}"#,
            r#"{"type":"output_image","image_url":"$"}"#,
            r#"{"type":"image","image":{"url":"$"}}"#,
            r#"{"type":"image","image":"$"}"#,
        ] {
            for (field, uri) in [("content", "data:image/png;base64,"), ("images", "data:image/png;base64,")] {
                let text = format!(r#"{{"choices":[{{"message":{{"{field}":[{part}]}}}}]}}"#);
                let from = text.replace('$', &format!("{uri}{PNG_BASE64}"));
                assert_eq!(rewrite(rules(Shape::Chat, Form::Url), &from), text.replace('$', u));
                let link = text.replace('$', "https://up/x.png");
                assert_eq!(rewrite(rules(Shape::Chat, Form::Url), &link), text.replace('$', u));
                let left = Rules { links: false, ..rules(Shape::Chat, Form::AsCame) };
                assert_eq!(rewrite(left, &from), from);
                assert_eq!(rewrite(left, &link), link);
            }
        }
    }

    #[test]
    fn a_late_stray_character_gives_the_whole_value_back() {
        let noise: Vec<u8> = (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut text = base64_simd::STANDARD.encode_to_string([PNG, &noise].concat());
        text.insert(text.len() - 3, '*');
        for text in [text.clone(), text.replace('/', "\\/"), format!("{}\\n{}", &text[..90_000], &text[90_000..])] {
            let text = format!(r#"{{"data":[{{"b64_json":"{text}"}}]}}"#);
            for size in [1 << 20, 65_536, 1000, 77] {
                let out = rewrite_pieces(rules(Shape::Images, Form::Url), text.as_bytes().chunks(size));
                assert!(out == text, "in pieces of {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(
            parts in prop::collection::vec(prop_oneof![
                Just(PNG_BASE64.to_owned()), Just("data:image/png;base64,".to_owned()), Just("data:image\\/".into()),
                Just("\\n".into()), Just("=".into()), Just("http://up/".into()), Just("".into()), "[a-zA-Z+/(é]{0,9}"
            ], 0..6),
            sizes in prop::collection::vec(1usize..40, 1..8),
            form in prop_oneof![Just(Form::Url), Just(Form::Base64), Just(Form::Both), Just(Form::AsCame)],
        ) {
            let value = parts.concat();
            let images = format!(r#"{{"data":[{{"url":"{value}","x":"","b64_json":"{value}"}},{{"b64_json":"{value}","url":""}}]}}"#);
            let chat = format!(r#"{{"choices":[{{"message":{{"content":"{value}"}},"delta":{{"content":[{{"text":"{value}"}}]}}}}]}}"#);
            for (shape, text) in [(Shape::Images, images), (Shape::Chat, chat)] {
                let whole = rewrite_pieces(rules(shape, form), [text.as_bytes()]);
                let mut rest = text.as_bytes();
                let mut pieces = Vec::new();
                for size in sizes.iter().cycle() {
                    if rest.is_empty() { break; }
                    let (piece, tail) = rest.split_at((*size).min(rest.len()));
                    pieces.push(piece);
                    rest = tail;
                }
                prop_assert_eq!(rewrite_pieces(rules(shape, form), pieces), whole);
            }
        }

        #[test]
        fn anything_at_all_comes_out_again(bytes: Vec<u8>, size in 1usize..9) {
            let mut rewriter = AnswerRewriter::new(rules(Shape::Images, Form::Url));
            let mut renderer = Renderer::default();
            for piece in bytes.chunks(size) {
                renderer.events(rewriter.push(piece));
            }
            renderer.events(rewriter.finish());
            prop_assert_eq!(renderer.out, bytes);
        }
    }
}

//! JSON requests: where the things stand that the gateway acts on.
//!
//! Nothing is changed here. [`RequestScanner`] reads the body once, as it arrives, and reports spans; the outgoing body
//! is then made of slices of the client's own bytes with other bytes between them.

use std::{borrow::Cow, ops::Range};

use memchr::memchr;

use super::{
    conversation::{Conversation, Dialect, Kind, MOST_PICTURES, Tracker},
    json::{
        Container, Invalid, Lexer, Name,
        Name::{Messages, Model, N, ResponseFormat, Source, Stream},
        Path,
        Step::{Index, Key},
        Token, unescape,
    },
    places::Use,
    prose::ProseReader,
};

/// Requests may be nested this deep.
const MAX_DEPTH: usize = 128;
/// Longest value that is read: a URL, a model's name. Longer ones are data.
const LONGEST_VALUE: usize = 16 * 1024;
/// Shorter base64 is no picture.
const SHORTEST_PICTURE: u64 = 32;
/// How much of a prompt is kept, in bytes.
const LONGEST_PROMPT: usize = 8 * 1024;

/// Whose rules a request follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Images,
    Chat,
    Responses,
}

/// What stands in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub model: Option<Field>,
    pub response_format: Option<Field>,
    pub stream: bool,
    /// The last text of a user: the prompt of an images route, the newest text of a chat. At most 8 KiB.
    pub prompt: String,
    /// Pictures named by a URL, in the order of the body.
    pub references: Vec<Reference>,
    /// A mask stands in it, whose pictures must keep their size.
    pub has_mask: bool,
    pub conversation: Conversation,
}

/// A top-level text field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub value: String,
    /// Its value in the body, quotes and all (of a multipart field: the bare text).
    pub span: Range<u64>,
    /// What to take out to remove it: with its key and one comma (of a multipart field: the whole part).
    pub member: Range<u64>,
}

/// A picture named in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Where, as an error names it: `messages[0].content[1].image_url.url`.
    pub path: String,
    /// The URL, behind its escapes.
    pub url: String,
    /// What to replace.
    pub span: Range<u64>,
    pub form: ReferenceForm,
    /// The [element](Conversation::elements) it stands in.
    pub element: Option<usize>,
}

/// What a reference is replaced with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceForm {
    /// `"data:image/png;base64,…"`, quotes and all.
    DataUri,
    /// `"…"`, bare base64.
    Base64,
    /// `{"type":"base64","media_type":"image/png","data":"…"}`.
    Source,
    /// A multipart part of its own: header lines and the picture's bytes.
    Part {
        /// The form field's name.
        name: String,
    },
}

/// The request cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    #[error("the body is not valid JSON: {0}")]
    Invalid(#[from] Invalid),
    #[error("the body must be a JSON object")]
    NotAnObject,
    #[error("'{0}' is given more than once")]
    Repeated(&'static str),
    #[error("'{field}' must be {expected}")]
    WrongType { field: &'static str, expected: &'static str },
    #[error("the request holds more than {MOST_PICTURES} pictures")]
    TooManyPictures,
    #[error("{0}")]
    Multipart(&'static str),
}

/// Reads one JSON request.
#[derive(Debug)]
pub struct RequestScanner {
    lexer: Lexer,
    state: State,
}

#[derive(Debug)]
struct State {
    route: Route,
    path: Path,
    root: Option<Container>,
    found: Findings,
    seen: Vec<Name>,
    error: Option<ScanError>,
    string: Option<Text>,
    /// `None`: the route has no conversation.
    tracker: Option<Tracker>,
    /// Where the `source` at hand began, and the URL in it.
    source: (u64, Option<(String, String)>),
    /// The last text, and whether it is a user's (who need not be named).
    prompt: Option<String>,
    is_users: bool,
    /// The top-level member at hand.
    member: Member,
    /// A removable member is complete, but not yet the comma behind it.
    open_member: bool,
}

/// The string at hand.
#[derive(Debug)]
struct Text {
    what: Use,
    start: u64,
    /// Its beginning.
    raw: Vec<u8>,
    prose: Option<ProseReader>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Member {
    comma_before: Option<u64>,
    start: u64,
}

impl RequestScanner {
    pub fn new(route: Route) -> Self {
        let state = State {
            route,
            path: Path::default(),
            root: None,
            found: Findings::default(),
            seen: Vec::new(),
            error: None,
            string: None,
            tracker: match route {
                Route::Images => None,
                Route::Chat => Some(Tracker::new(Dialect::Chat)),
                Route::Responses => Some(Tracker::new(Dialect::Responses)),
            },
            source: (0, None),
            prompt: None,
            is_users: true,
            member: Member::default(),
            open_member: false,
        };
        Self { lexer: Lexer::new(MAX_DEPTH), state }
    }

    /// Reads the next piece of the body.
    ///
    /// # Errors
    /// When the body cannot be used; nothing more need be read.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), ScanError> {
        self.lexer.push(piece, |token, at| self.state.token(token, at))?;
        self.state.error.take().map_or(Ok(()), Err)
    }

    /// Ends the body.
    ///
    /// # Errors
    /// When it is not complete, or no JSON object.
    pub fn finish(mut self) -> Result<Findings, ScanError> {
        self.lexer.finish(|token, at| self.state.token(token, at))?;
        let State { error, root, tracker, found, .. } = self.state;
        match (error, root) {
            (Some(error), _) => Err(error),
            (None, Some(Container::Object)) => {
                let conversation = tracker.map(Tracker::finish).unwrap_or_default();
                Ok(Findings { conversation, ..found })
            }
            (None, _) => Err(ScanError::NotAnObject),
        }
    }
}

// === impl State ===

impl State {
    fn token(&mut self, token: Token<'_>, at: u64) {
        let top_level = self.path.steps().len() == 1;
        match token {
            Token::Comma if top_level => self.end_member(at + 1, Some(at)),
            Token::End(_) if top_level => self.end_member(at, None),
            Token::KeyStart if top_level => self.member.start = at,
            Token::Begin(container) => {
                self.root.get_or_insert(container);
                self.value(None);
                self.begin(if container == Container::Array { Kind::Array } else { Kind::Other }, at);
            }
            _ => {}
        }
        self.path.see(token);
        if let Token::End(container) = token {
            self.end(if container == Container::Array { Kind::Array } else { Kind::Other }, at + 1);
        }
        if matches!(token, Token::End(_)) && self.path.steps().len() <= 2 {
            self.end_message();
        }
        match token {
            Token::KeyEnd if top_level => self.refuse_repeated(),
            Token::StringStart => {
                self.value(Some(token));
                self.begin(Kind::Text, at);
                self.string = self.route.use_of(self.path.steps()).map(|what| {
                    let has_prose = self.tracker.is_some() && matches!(what, Use::Prompt | Use::Output);
                    Text { what, start: at, raw: Vec::new(), prose: has_prose.then(ProseReader::default) }
                });
            }
            Token::StringPart(raw) => {
                if let Some(text) = &mut self.string {
                    let room = (LONGEST_VALUE + 1).saturating_sub(text.raw.len());
                    text.raw.extend_from_slice(raw.get(..room).unwrap_or(raw));
                    if let Some(prose) = &mut text.prose {
                        prose.push(raw, at);
                    }
                }
            }
            Token::StringEnd => {
                self.string_end(at + 1);
                self.end(Kind::Text, at + 1);
            }
            Token::Scalar(text) => {
                self.value(Some(token));
                let end = at + text.len() as u64;
                self.begin(Kind::Other, at);
                self.end(Kind::Other, end);
                match self.path.steps() {
                    [Key(Stream)] => self.found.stream = text == b"true",
                    // Asks for nothing, but must not reach a model that refuses the field.
                    [Key(ResponseFormat)] if self.route == Route::Images => {
                        self.field(ResponseFormat, String::new(), at..end);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, kind: Kind, at: u64) {
        let path = self.path.steps();
        if let Some(tracker) = &mut self.tracker {
            tracker.begin(path, kind, at);
        }
        if matches!(path, [Key(Messages), Index(_), _, Index(_), Key(Source)]) {
            self.source = (at, None);
        }
    }

    fn end(&mut self, kind: Kind, end: u64) {
        let path = self.path.steps();
        if matches!(path, [Key(Messages), Index(_), _, Index(_), Key(Source)])
            && let (start, Some((path, url))) = std::mem::take(&mut self.source)
        {
            self.reference(path, url, start..end, ReferenceForm::Source);
        }
        if let Some(tracker) = &mut self.tracker {
            tracker.end(self.path.steps(), kind, end);
        }
    }

    /// A value begins: checks the types of the fields the gateway acts on.
    fn value(&mut self, token: Option<Token<'_>>) {
        self.found.has_mask |= self.route.is_mask(self.path.steps()) && token != Some(Token::Scalar(b"null"));
        let (field, expected, fits) = match (self.path.steps(), token) {
            ([Key(Model)], token) => ("model", "a string", matches!(token, Some(Token::StringStart))),
            ([Key(ResponseFormat)], token) if self.route == Route::Images => {
                let fits = matches!(token, Some(Token::StringStart | Token::Scalar(b"null")));
                ("response_format", "a string", fits)
            }
            ([Key(Stream)], token) => {
                let fits = matches!(token, Some(Token::Scalar(b"true" | b"false" | b"null")));
                ("stream", "true or false", fits)
            }
            _ => return,
        };
        if !fits {
            self.refuse(field, expected);
        }
    }

    fn refuse(&mut self, field: &'static str, expected: &'static str) {
        self.error.get_or_insert(ScanError::WrongType { field, expected });
    }

    fn refuse_repeated(&mut self) {
        let [Key(name @ (Model | N | ResponseFormat | Stream))] = self.path.steps() else { return };
        if self.seen.contains(name) {
            self.error.get_or_insert(ScanError::Repeated(name.as_str()));
        }
        self.seen.push(*name);
    }

    fn string_end(&mut self, end: u64) {
        let Some(Text { what, start, raw, prose }) = self.string.take() else { return };
        if let (Some(prose), Some(tracker)) = (prose, &mut self.tracker) {
            tracker.text(prose.finish());
        }
        let whole = raw.len() <= LONGEST_VALUE;
        match what {
            Use::Prompt => self.prompt = unescape_start(&raw).map(|value| shortened(&value)),
            Use::Output => {}
            Use::Role => {
                let role = unescape(&raw).unwrap_or_default();
                self.is_users = role == "user";
                if let Some(tracker) = &mut self.tracker {
                    tracker.role(&role);
                }
            }
            Use::Field(name) if whole => match unescape(&raw) {
                Some(value) => self.field(name, value.into_owned(), start..end),
                None => self.refuse(name.as_str(), "text without lone surrogates"),
            },
            Use::Field(_) => {}
            Use::SourceUrl => self.source.1 = resource(&raw).map(|url| (self.path.to_string(), url)),
            Use::Reference(form) => match resource(&raw) {
                Some(url) => self.reference(self.path.to_string(), url, start..end, form),
                None => self.inline(&raw, start..end),
            },
            Use::Inline => self.inline(&raw, start..end),
        }
    }

    /// A string that is no URL stands where a picture belongs: most likely its base64. `start`: its beginning.
    fn inline(&mut self, start: &[u8], span: Range<u64>) {
        let lead = if start.starts_with(b"data:") { memchr(b',', start).map_or(0, |comma| comma + 1) } else { 0 };
        let characters = (span.end - span.start).saturating_sub(2 + lead as u64);
        if characters >= SHORTEST_PICTURE {
            self.picture(characters / 4 * 3);
        }
    }

    fn reference(&mut self, path: String, url: String, span: Range<u64>, form: ReferenceForm) {
        let element = self.picture(0);
        if self.found.references.len() >= MOST_PICTURES {
            self.error.get_or_insert(ScanError::TooManyPictures);
            return;
        }
        self.found.references.push(Reference { path, url, span, form, element });
    }

    /// A picture stands in the list element at hand, if there is one.
    fn picture(&mut self, inline: u64) -> Option<usize> {
        let element = self.tracker.as_mut()?.picture(inline);
        element.unwrap_or_else(|_| {
            self.error.get_or_insert(ScanError::TooManyPictures);
            None
        })
    }

    fn field(&mut self, name: Name, value: String, span: Range<u64>) {
        let field = Field { value, member: self.member.start..span.end, span };
        match name {
            Model => self.found.model = Some(field),
            _ => self.found.response_format = Some(field),
        }
        self.open_member = name == ResponseFormat;
    }

    /// A message, or what else is in a list, ends: the text in it counts if it is a user's.
    fn end_message(&mut self) {
        if let Some(prompt) = self.prompt.take().filter(|_| self.is_users) {
            self.found.prompt = prompt;
        }
        self.is_users = true;
    }

    /// The top-level member ends: at a comma, or at the end of the object.
    fn end_member(&mut self, end: u64, comma: Option<u64>) {
        if let Some(field) = self.found.response_format.as_mut().filter(|_| self.open_member) {
            field.member = match (comma, self.member.comma_before) {
                (Some(_), _) => self.member.start..end,
                (None, Some(before)) => before..field.span.end,
                (None, None) => self.member.start..field.span.end,
            };
        }
        self.open_member = false;
        self.member.comma_before = comma;
    }
}

/// The URL in a raw string, if it is one that names something.
fn resource(raw: &[u8]) -> Option<String> {
    let url = unescape(raw).filter(|url| raw.len() <= LONGEST_VALUE && names_a_resource(url));
    url.map(Cow::into_owned)
}

/// Whether this is a URL of any scheme but `data:`. Bare base64 has no colon.
fn names_a_resource(value: &str) -> bool {
    let scheme = value.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        let letters = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && letters && !scheme.eq_ignore_ascii_case("data")
    })
}

/// The text of a raw string that may have been cut inside a character or an escape.
fn unescape_start(raw: &[u8]) -> Option<Cow<'_, str>> {
    const LONGEST_SEQUENCE: usize = 12; // two escaped surrogates
    (0..=LONGEST_SEQUENCE.min(raw.len())).find_map(|cut| unescape(raw.get(..raw.len() - cut)?))
}

/// The text, cut to what is kept of a prompt.
pub(super) fn shortened(text: &str) -> String {
    text.get(..text.floor_char_boundary(LONGEST_PROMPT)).unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rewrite::conversation::Piece;

    fn scan(route: Route, text: &str) -> Result<Findings, ScanError> {
        let scan = |size: usize| {
            let mut scanner = RequestScanner::new(route);
            for piece in text.as_bytes().chunks(size) {
                scanner.push(piece)?;
            }
            scanner.finish()
        };
        let whole = scan(text.len().max(1));
        for size in [1, 2, 3, 7] {
            assert_eq!(scan(size).is_ok(), whole.is_ok());
            if let (Ok(a), Ok(b)) = (scan(size), &whole) {
                assert_eq!(&a, b, "in pieces of {size}");
            }
        }
        whole
    }

    fn at(text: &str, span: &Range<u64>) -> String {
        text[span.start as usize..span.end as usize].to_owned()
    }

    fn without(text: &str, span: &Range<u64>) -> String {
        text[..span.start as usize].to_owned() + &text[span.end as usize..]
    }

    #[test]
    fn fields_are_found_with_the_text_to_take_out() {
        for (text, rest) in [
            (r#"{"model":"m","response_format":"url","n":1}"#, r#"{"model":"m","n":1}"#),
            (r#"{"response_format" : "url" , "model":"m"}"#, r#"{ "model":"m"}"#),
            (r#"{"model":"m" , "response_format":"url" }"#, r#"{"model":"m"  }"#),
            (r#"{"response_format":"url"}"#, r#"{}"#),
            (
                r#"{"a":{"response_format":"no","b":[1,2]},"response_format":"url"}"#,
                r#"{"a":{"response_format":"no","b":[1,2]}}"#,
            ),
        ] {
            let field = scan(Route::Images, text).unwrap().response_format.unwrap();
            assert_eq!(field.value, "url");
            assert_eq!(at(text, &field.span), "\"url\"");
            assert_eq!(without(text, &field.member), rest);
        }
        let text = r#"{"model":"g\u0070t-4","stream":true,"prompt":"a cat","metadata":{"model":"x"}}"#;
        let found = scan(Route::Images, text).unwrap();
        let model = found.model.unwrap();
        assert_eq!((model.value.as_str(), at(text, &model.span).as_str()), ("gpt-4", r#""g\u0070t-4""#));
        assert!(found.stream);
        assert_eq!(found.prompt, "a cat");
    }

    #[test]
    fn the_prompt_is_the_users_last_text() {
        let long = "画".repeat(6000);
        for (route, text, prompt) in [
            (Route::Images, format!(r#"{{"prompt":"{long}"}}"#), "画".repeat(8192 / 3)),
            (Route::Images, format!(r#"{{"prompt":"{}"}}"#, "\\u753b".repeat(6000)), "画".repeat(8190 / 3)),
            (
                Route::Chat,
                r#"{"messages":[{"role":"user","content":"a cat"},{"content":"sure","role":"assistant"}]}"#.into(),
                "a cat".into(),
            ),
            (
                Route::Chat,
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url"}]}]}"#.into(),
                "x".into(),
            ),
            (Route::Responses, r#"{"input":"a dog"}"#.into(), "a dog".into()),
            (
                Route::Responses,
                r#"{"input":[{"role":"user","content":[{"text":"a"}]},{"type":"reasoning"}]}"#.into(),
                "a".into(),
            ),
        ] {
            assert_eq!(scan(route, &text).unwrap().prompt, prompt);
        }
    }

    #[test]
    fn a_null_response_format_can_be_taken_out() {
        let text = r#"{"model":"m","response_format": null ,"n":1}"#;
        let field = scan(Route::Images, text).unwrap().response_format.unwrap();
        assert_eq!(field.value, "");
        assert_eq!(without(text, &field.member), r#"{"model":"m","n":1}"#);
    }

    #[test]
    fn references_are_found_where_routes_have_them_and_nowhere_else() {
        let u = "https://x.example/a.png";
        let rows: &[(Route, &str, &[&str])] = &[
            (
                Route::Chat,
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"$"},{"type":"image_url","image_url":{"url":"$"}},{"type":"image_url","image_url":"$"},{"type":"input_audio","input_audio":{"data":"$"}},{"type":"file","file":{"file_data":"$"}}]},{"images":[{"image_url":{"url":"$"}}],"tool_calls":[{"function":{"arguments":"$"}}]}]}"#,
                &[
                    "messages[0].content[1].image_url.url",
                    "messages[0].content[2].image_url",
                    "messages[1].images[0].image_url.url",
                ],
            ),
            (
                Route::Responses,
                r#"{"input":[{"content":[{"type":"input_image","image_url":"$"},{"type":"input_file","file_url":"$"}]},{"type":"function_call_output","output":[{"image_url":"$"}]},{"type":"computer_call_output","output":{"image_url":"$"}},{"type":"image_generation_call","result":"$"}],"tools":[{"input_image_mask":{"image_url":"$"}}],"prompt":{"variables":{"v":{"image_url":"$"}}}}"#,
                &[
                    "input[0].content[0].image_url",
                    "input[1].output[0].image_url",
                    "input[2].output.image_url",
                    "input[3].result",
                    "tools[0].input_image_mask.image_url",
                    "prompt.variables.….image_url",
                ],
            ),
            (
                Route::Images,
                r#"{"prompt":"$","image":"$","images":["$",{"image_url":"$"},{"file_id":"$"}],"mask":{"image_url":"$"},"user":"$"}"#,
                &["image", "images[0]", "images[1].image_url", "mask.image_url"],
            ),
            (
                Route::Images,
                r#"{"image":{"url":"$","type":"image_url"},"input_references":[{"type":"image_url","image_url":{"url":"$"}}]}"#,
                &["image.url", "input_references[0].image_url.url"],
            ),
            (
                Route::Images,
                r#"{"image":["$","data:image/png;base64,AAAA","iVBORw0KGgo="],"reference_images":["$"]}"#,
                &["image[0]", "reference_images[0]"],
            ),
        ];
        for (route, text, paths) in rows {
            let text = text.replace('$', u);
            let found = scan(*route, &text).unwrap().references;
            assert_eq!(found.iter().map(|r| r.path.as_str()).collect::<Vec<_>>(), *paths);
            for reference in found {
                assert_eq!(reference.url, u);
                assert_eq!(at(&text, &reference.span), format!("\"{u}\""));
            }
        }
    }

    #[test]
    fn a_mask_is_noticed_and_null_is_none() {
        for (route, text, has_mask) in [
            (Route::Images, r#"{"mask":{"file_id":"f"}}"#, true),
            (Route::Images, r#"{"mask":"x"}"#, true),
            (Route::Images, r#"{"mask":null,"x":{"mask":1}}"#, false),
            (Route::Responses, r#"{"tools":[{"input_image_mask":{}}]}"#, true),
            (Route::Chat, r#"{"mask":"x"}"#, false),
        ] {
            assert_eq!(scan(route, text).unwrap().has_mask, has_mask, "{text}");
        }
    }

    #[test]
    fn pictures_in_lists_are_counted_with_the_bytes_that_stand_there() {
        let base64 = "A".repeat(400);
        let text = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"$"},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,$"}},{"type":"image_url","image_url":{"url":"http://x/a"}},
            {"type":"image","source":{"type":"base64","data":"$"}},{"type":"image_url","image_url":{"url":"short"}},
            {"type":"input_audio","input_audio":{"data":"$"}}]},{"role":"assistant","images":["$"],"tool_calls":["$"]}]}"#;
        let found = scan(Route::Chat, &text.replace('$', &base64)).unwrap().conversation;
        let seen: Vec<_> = found.elements.iter().map(|element| (element.turn, element.inline)).collect();
        assert_eq!(seen, [(0, 300), (0, 0), (0, 300), (1, 300)]);
        assert_eq!(found.last_user, Some(0));
    }

    #[test]
    fn there_is_an_end_to_pictures_and_turns_cost_nothing() {
        let part = r#"{"image_url":"http://x/a"},"#.repeat(MOST_PICTURES);
        let chat = |parts: &str| format!(r#"{{"messages":[{{"content":[{parts}1]}}]}}"#);
        let scan = |text: &str| {
            let mut scanner = RequestScanner::new(Route::Chat);
            scanner.push(text.as_bytes())?;
            scanner.finish()
        };
        assert_eq!(scan(&chat(&part)).unwrap().references.len(), MOST_PICTURES);
        assert_eq!(scan(&chat(&format!("{part}{{\"image\":\"a:\"}},"))), Err(ScanError::TooManyPictures));
        let mention = "![a](http://x/images/a)".repeat(MOST_PICTURES + 1);
        let turns = r#"{"role":"user","content":"a"},"#.repeat(1000);
        let text = format!(r#"{{"messages":[{turns}{{"role":"assistant","content":"{mention}"}},{turns}1]}}"#);
        let found = scan(&text).unwrap().conversation;
        assert_eq!(found.mentions.len(), MOST_PICTURES);
        assert_eq!(found.last_user, Some(2000));
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        use ScanError::*;
        for (text, error) in [
            ("[]", NotAnObject),
            ("\"x\"", NotAnObject),
            (r#"{"model":"a","model":"b"}"#, Repeated("model")),
            (r#"{"n":1,"\u006e":2}"#, Repeated("n")),
            (r#"{"stream":true,"stream":false}"#, Repeated("stream")),
            (r#"{"model":1}"#, WrongType { field: "model", expected: "a string" }),
            (r#"{"model":"m\ud800"}"#, WrongType { field: "model", expected: "text without lone surrogates" }),
            (r#"{"model":{"a":1}}"#, WrongType { field: "model", expected: "a string" }),
            (r#"{"response_format":{}}"#, WrongType { field: "response_format", expected: "a string" }),
            (r#"{"stream":"yes"}"#, WrongType { field: "stream", expected: "true or false" }),
        ] {
            assert_eq!(scan(Route::Images, text), Err(error), "{text}");
        }
        for text in ["", "{", "nope", r#"{"a":1,}"#, &("{\"a\":".repeat(200))] {
            assert!(matches!(scan(Route::Chat, text), Err(Invalid(_))), "{text}");
        }
        assert!(scan(Route::Chat, r#"{"messages":[{"n":1,"n":2}],"tools":[{"model":1}]}"#).is_ok());
    }

    /// A conversation in either dialect, with what matters in it, in any order.
    fn conversations() -> impl Strategy<Value = (Route, String)> {
        let url = "http://g/images/a.png";
        let text = prop::sample::select(vec![
            "hi".to_owned(),
            format!("![a]({url})"),
            format!("<think>![b](<{url}>)</think>\\n\\nyes"),
            format!("\\u0021[\\u00e9]({url}) \\u003cthink>\\ud83d\\ude00<\\/think>"),
        ]);
        let part = prop_oneof![
            text.clone().prop_map(|text| format!(r#"{{"type":"text","text":"{text}"}}"#)),
            Just(format!(r#"{{"image_url":{{"url":"{url}"}}}}"#)),
            Just(format!(r#"{{"image_url":"{url}","text":"<think></think>"}}"#)),
            Just(format!(r#"{{"source":{{"url":"{url}","type":"url"}}}}"#)),
            Just(format!(r#""data:image/png;base64,{}""#, "AAAA".repeat(12))),
            Just(" null ".to_owned()),
        ];
        let list = prop::collection::vec(part, 0..4).prop_map(|parts| format!("[{}]", parts.join(" ,")));
        let content = prop_oneof![text.prop_map(|text| format!("\"{text}\"")), list.clone(), Just("null".to_owned())];
        let role = prop::sample::select(vec!["user", "assistant", "tool"]);
        let turn = (role, content, list, any::<bool>()).prop_map(|(role, content, list, first)| match first {
            true => format!(r#"{{"role":"{role}","content":{content},"images":{list}}}"#),
            false => format!(r#"{{"output":{list},"content":{content} ,"role":"{role}"}}"#),
        });
        let turns = prop::collection::vec(turn, 0..5).prop_map(|turns| turns.join(","));
        (any::<bool>(), turns).prop_map(|(chat, turns)| match chat {
            true => (Route::Chat, format!(r#"{{"messages":[{turns}]}}"#)),
            false => (Route::Responses, format!(r#"{{"input":[{turns}]}}"#)),
        })
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_and_edits_leave_json(
            (route, text) in conversations(), left_out in any::<u32>(),
        ) {
            // Cuts it in several sizes and compares.
            let found = scan(route, &text).unwrap();
            let conversation = found.conversation;
            let omitted: Vec<usize> = (0..conversation.elements.len()).filter(|at| left_out >> (at % 32) & 1 == 1).collect();
            let mut edits = conversation.omit(&omitted);
            edits.extend(conversation.strip(&omitted));
            edits.extend(conversation.attach(conversation.mentions.iter().zip(0..)));
            edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
            let (mut out, mut known) = (String::new(), 0);
            for edit in edits {
                prop_assert!(edit.span.start >= known, "edits overlap in {}", text);
                out += &at(&text, &(known..edit.span.start));
                for piece in edit.with {
                    out += match &piece {
                        Piece::Text(text) => text,
                        Piece::Picture(_) => "data:,",
                    };
                }
                known = edit.span.end;
            }
            out += &at(&text, &(known..text.len() as u64));
            let again = scan(route, &out);
            prop_assert!(again.is_ok(), "{}\n{}", text, out);
            let again = again.unwrap().conversation;
            prop_assert_eq!(again.thoughts.len(), 0);
            // What is attached here is too short to count as a picture.
            prop_assert_eq!(again.elements.len() + omitted.len(), conversation.elements.len());
            prop_assert_eq!(again.last_user, conversation.last_user);
        }
    }
}

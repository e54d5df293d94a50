//! JSON requests: where the things stand that the gateway acts on.
//!
//! Nothing is changed here. [`RequestScanner`] reads the body once, as it arrives, and reports spans; the outgoing body
//! is then made of slices of the client's own bytes with other bytes between them.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, ops::Range};

use memchr::memchr;

use super::{
    conversation::{Conversation, Dialect, Kind, MOST_PICTURES, Tracker},
    json::{
        Container, Invalid, Lexer, Name,
        Name::{Messages, Model, N, ResponseFormat, Source, Stream},
        Path,
        Step::{self, Index, Key},
        Token, unescape,
    },
    places::Use,
    prose::ProseReader,
};
use crate::work;

use crate::opaque::opaque;

/// Requests may be nested this deep.
const MAX_DEPTH: usize = 128;
/// Longest value that is read: a URL, a model's name. Longer ones are data.
const LONGEST_VALUE: usize = 16 * 1024;
/// Most bytes of picture URLs, and of the names of the fields they stand in, that are kept of one request. They stay in
/// memory until the upstream has answered.
pub const MOST_URL_BYTES: usize = 2 * 1024 * 1024;
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
#[derive(Clone, Default, PartialEq, Eq)]
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
    /// Bytes of text that `references` hold. At most [`MOST_URL_BYTES`].
    pub reference_bytes: usize,
}

impl Findings {
    /// Keeps a reference.
    ///
    /// # Errors
    /// When there are more than [`MOST_PICTURES`], or more than [`MOST_URL_BYTES`] of URLs.
    pub(super) fn keep(&mut self, reference: Reference) -> Result<(), ScanError> {
        if self.references.len() >= MOST_PICTURES {
            return Err(ScanError::TooManyPictures);
        }
        self.reference_bytes += reference.held();
        if self.reference_bytes > MOST_URL_BYTES {
            return Err(ScanError::UrlsTooLong);
        }
        self.references.push(reference);
        Ok(())
    }
}

impl Reference {
    /// Bytes of text that it holds.
    fn held(&self) -> usize {
        let name = match &self.form {
            ReferenceForm::Part { name } => name.len(),
            ReferenceForm::DataUri | ReferenceForm::Base64 | ReferenceForm::Source => 0,
        };
        self.path.len() + self.url.len() + name
    }
}

opaque!(Findings { model, response_format, stream, has_mask });

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
#[derive(Clone, PartialEq, Eq)]
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

opaque!(Reference { path, span, form, element });

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
    #[error("a key differs from '{0}' only by case: write it as '{0}'")]
    AnotherCase(&'static str),
    #[error("'{field}' must be {expected}")]
    WrongType { field: &'static str, expected: &'static str },
    #[error("the request holds more than {MOST_PICTURES} pictures")]
    TooManyPictures,
    #[error("the URLs of the request's pictures have more than {MOST_URL_BYTES} bytes together")]
    UrlsTooLong,
    #[error("{0}")]
    Multipart(&'static str),
}

/// Reads one JSON request.
pub struct RequestScanner {
    lexer: Lexer,
    state: State,
}

opaque!(RequestScanner {});

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
            Token::KeyEnd => {
                self.refuse_another_case();
                if top_level {
                    self.refuse_repeated();
                }
            }
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
                    work::looked_at(1 + room.min(raw.len()));
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

    /// Refuses a key that decides something for servers that match without case, and that was not read here.
    fn refuse_another_case(&mut self) {
        let [above @ .., Key(Name::Other)] = self.path.steps() else { return };
        let name = self.path.name_in_another_case();
        if name == Name::Other {
            return;
        }
        let meant: Vec<Step> = above.iter().copied().chain([Key(name)]).collect();
        if self.route.decides(&meant) {
            self.error.get_or_insert(ScanError::AnotherCase(name.as_str()));
        }
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
        work::looked_at(start.len());
        let lead = if start.starts_with(b"data:") { memchr(b',', start).map_or(0, |comma| comma + 1) } else { 0 };
        let characters = (span.end - span.start).saturating_sub(2 + lead as u64);
        if characters >= SHORTEST_PICTURE {
            self.picture(characters / 4 * 3);
        }
    }

    fn reference(&mut self, path: String, url: String, span: Range<u64>, form: ReferenceForm) {
        let element = self.picture(0);
        if let Err(error) = self.found.keep(Reference { path, url, span, form, element }) {
            self.error.get_or_insert(error);
        }
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
    work::looked_at(3 * raw.len());
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
    let whole = raw.get(..whole_characters(raw))?;
    unescape(whole).filter(|_| raw.len() - whole.len() <= LONGEST_SEQUENCE)
}

/// How much of a raw string is whole characters, up to the first that is not.
fn whole_characters(raw: &[u8]) -> usize {
    let unit = |at: usize| {
        let digits = raw.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    work::looked_at(2 * raw.len());
    let mut at = 0;
    while let Some(rest) = raw.get(at..).filter(|rest| !rest.is_empty()) {
        let escape = memchr(b'\\', rest).unwrap_or(rest.len());
        if let Err(error) = std::str::from_utf8(rest.get(..escape).unwrap_or_default()) {
            return at + error.valid_up_to();
        }
        at += escape;
        at += match (raw.get(at + 1), unit(at)) {
            (None, _) => return at,
            (Some(b'u'), Some(0xd800..=0xdbff)) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => 12,
            (Some(b'u'), None | Some(0xd800..=0xdfff)) => return at,
            (Some(b'u'), Some(_)) => 6,
            (Some(_), _) => 2,
        };
    }
    at
}

/// The text, cut to what is kept of a prompt.
pub(super) fn shortened(text: &str) -> String {
    text.get(..text.floor_char_boundary(LONGEST_PROMPT)).unwrap_or(text).to_owned()
}

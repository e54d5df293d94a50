//! One JSON document: base64 ↔ URL.
//!
//! A whole answer is one document; a stream is many, with text fields that go on from one to the next.

use super::{
    Events, Fill, Slot,
    candidate::{Candidate, Characters, Setting, Taken},
    item::{Item, text},
    json::{Container, Lexer, Name, Path, Step, Token, unescape},
    shape::{Kind, Role, Shape},
    text::TextScanner,
    texts::{Field, Texts},
};
use crate::work;

/// Answers may be nested this deep; deeper ones pass as they came.
const MAX_DEPTH: usize = 256;
/// Longest URL that is looked at.
const LONGEST_URL: usize = 16 * 1024;
/// Longest `type` of an event.
const LONGEST_TYPE: usize = 64;
/// What events call a picture that is a whole value. Text fields have numbers of their own.
const VALUE: u32 = 0;

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
    /// The client named the form, or its key did: not a default. Then bare base64 under a key that promises none becomes
    /// a URL too.
    pub named: bool,
    /// Pictures and links that are taken out of one answer; further ones stay as they came.
    pub pictures: usize,
}

impl Rules {
    /// For a form by default, with links and any number of pictures.
    pub const fn new(shape: Shape, form: Form) -> Self {
        Self { shape, form, links: true, named: false, pictures: usize::MAX }
    }
}

/// Rewrites one JSON document at a time.
#[derive(Debug)]
pub(super) struct Document {
    lexer: Lexer,
    state: State,
    /// It is no JSON (any more): the rest passes.
    broken: bool,
}

#[derive(Debug)]
struct State {
    rules: Rules,
    kind: Kind,
    path: Path,
    /// The items at hand, the innermost last: an event that is an item may hold a whole answer.
    items: Vec<Item>,
    value: Value,
    texts: Texts,
    /// Which choice or output the values at hand belong to.
    place: u32,
}

/// The string at hand.
#[derive(Debug)]
enum Value {
    /// Passes.
    Plain,
    /// A member of an item that may be a base64 picture; nothing of it has been read.
    Member,
    Candidate(Candidate),
    /// Running text, which goes on in another document.
    Delta(Field, TextScanner),
    /// Running text that ends with its string.
    Text(TextScanner),
    /// A URL of either kind, collected raw. `member`: its key is held by the item.
    Url {
        raw: Vec<u8>,
        member: bool,
    },
    /// The type of an event; it passes.
    Type(Vec<u8>),
}

impl Document {
    pub(super) fn new(rules: Rules) -> Self {
        let state = State {
            rules,
            kind: Kind::Answer,
            path: Path::default(),
            items: Vec::new(),
            value: Value::Plain,
            texts: Texts::default(),
            place: 0,
        };
        Self { lexer: Lexer::new(MAX_DEPTH), state, broken: false }
    }

    /// Begins the next document of a stream.
    pub(super) fn begin(&mut self, kind: Kind) {
        self.lexer.clear();
        self.state.path.clear();
        self.state.kind = kind;
        self.state.place = 0;
        self.broken = false;
    }

    /// The text fields, which outlive a document.
    pub(super) fn texts(&mut self) -> &mut Texts {
        &mut self.state.texts
    }

    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: &[u8], events: &mut Events) {
        if self.broken {
            events.copy(piece);
        } else if let Err(invalid) = self.lexer.push(piece, |token, at| self.state.token(token, at, events)) {
            self.give_up(events);
            events.copy(piece.get(invalid.consumed..).unwrap_or_default());
        }
    }

    /// Bytes that are none of the document but stand in it, as the line breaks of an event do.
    pub(super) fn interpose(&mut self, bytes: &[u8], events: &mut Events) {
        let may_stand =
            !self.broken && self.lexer.white_space(|token, at| self.state.token(token, at, events)).unwrap_or(false);
        if may_stand {
            self.state.between(bytes, false, events);
        } else {
            if !self.broken {
                self.give_up(events);
            }
            events.copy(bytes);
        }
    }

    /// Ends the document.
    pub(super) fn finish(&mut self, events: &mut Events) {
        if !self.broken && self.lexer.finish(|token, at| self.state.token(token, at, events)).is_err() {
            self.give_up(events);
        }
    }

    /// Whether it turned out not to be valid JSON.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether it began as JSON and is not complete (yet).
    pub(super) fn is_incomplete(&self) -> bool {
        !self.broken && self.lexer.depth() > 0
    }

    fn give_up(&mut self, events: &mut Events) {
        self.broken = true;
        self.state.abandon(events);
        events.copy(self.lexer.unread());
    }
}

// === impl State ===

impl State {
    fn token(&mut self, token: Token<'_>, at: u64, events: &mut Events) {
        match token {
            Token::Begin(container) => {
                let item = container == Container::Object && self.rules.shape.is_item(self.kind, self.path.steps());
                self.keep(events);
                self.write(if container == Container::Object { b"{" } else { b"[" }, events);
                if let [Step::Key(Name::Choices), Step::Index(at)] = self.path.steps() {
                    let known = self.texts.places.get(*at).copied();
                    self.place = known.unwrap_or(u32::try_from(*at).unwrap_or(u32::MAX));
                }
                self.path.see(token);
                if item {
                    self.texts.looked_into += 1;
                    self.settle(events);
                    self.items.push(Item::new(self.path.steps().len()));
                }
                return;
            }
            Token::End(container) => {
                self.path.see(token);
                if self.items.last().is_some_and(|item| self.path.steps().len() < item.depth)
                    && let Some(item) = self.items.pop()
                {
                    item.finish(events);
                }
                self.write(if container == Container::Object { b"}" } else { b"]" }, events);
                return;
            }
            _ => self.path.see(token),
        }
        match token {
            Token::Space(bytes) => self.between(bytes, false, events),
            Token::Comma => self.between(b",", false, events),
            Token::Colon => self.between(b":", false, events),
            Token::KeyStart | Token::KeyEnd => self.between(b"\"", true, events),
            Token::KeyPart(bytes) => self.between(bytes, true, events),
            Token::StringStart => self.string_start(at, events),
            Token::StringPart(raw) => self.string_part(raw, events),
            Token::StringEnd => self.string_end(at, events),
            Token::Scalar(bytes) => self.scalar(bytes, events),
            Token::Begin(_) | Token::End(_) => {}
        }
    }

    /// Bytes between values.
    fn between(&mut self, bytes: &[u8], key: bool, events: &mut Events) {
        let depth = self.path.steps().len();
        let Some(item) = self.items.last_mut().filter(|item| item.depth == depth) else {
            return self.write(bytes, events);
        };
        item.between(bytes, key);
        if item.is_overlong()
            && let Some(item) = self.items.pop()
        {
            item.finish(events);
        }
    }

    /// Bytes that stay.
    fn write(&mut self, bytes: &[u8], events: &mut Events) {
        match self.items.last_mut() {
            Some(item) => item.write(bytes, events),
            None => events.copy(bytes),
        }
    }

    /// The member at hand stays.
    fn keep(&mut self, events: &mut Events) {
        if let Some(item) = self.items.last_mut().filter(|item| item.at_value()) {
            item.keep(events);
        }
    }

    /// The item whose member is at hand.
    fn member(&mut self) -> Option<&mut Item> {
        self.items.last_mut().filter(|item| item.at_value())
    }

    fn role(&self) -> Role {
        self.rules.shape.role(self.kind, self.path.steps())
    }

    fn scalar(&mut self, bytes: &[u8], events: &mut Events) {
        let twin = bytes == b"null" && matches!(self.role(), Role::Base64Member | Role::UrlMember);
        if twin
            && self.rules.form != Form::AsCame
            && let Some(item) = self.items.last_mut()
        {
            return item.hold(bytes, events);
        }
        self.note_place(bytes);
        self.keep(events);
        self.write(bytes, events);
    }

    /// Which choice of a chat, or which part of which output, the values that follow belong to.
    fn note_place(&mut self, number: &[u8]) {
        let number = || std::str::from_utf8(number).ok()?.parse::<u16>().ok().map(u32::from);
        match self.path.steps() {
            [Step::Key(Name::Choices), Step::Index(_), Step::Key(Name::Index)] => {
                self.place = number().unwrap_or(self.place);
            }
            [Step::Key(Name::OutputIndex)] => self.place = self.place & 0xffff | number().unwrap_or(0) << 16,
            [Step::Key(Name::ContentIndex)] => self.place = self.place & 0xffff_0000 | number().unwrap_or(0),
            _ => {}
        }
    }

    /// The text field at hand.
    fn field(&self) -> Field {
        let name = match self.path.steps().last() {
            Some(Step::Key(name)) => *name,
            _ => Name::Other,
        };
        Field { place: self.place, name }
    }

    /// A text that begins here. What deltas say goes on; what they said may be repeated in other events, whole.
    fn text(&mut self, start: u64) -> Value {
        let goes_on = match self.rules.shape {
            Shape::Chat => self.kind != Kind::Answer && matches!(self.path.steps(), [_, _, Step::Key(Name::Delta), ..]),
            Shape::Responses => self.kind == Kind::TextDelta,
            Shape::Images => false,
        };
        if !goes_on {
            return Value::Text(self.texts.fresh(url_slot()));
        }
        let field = self.texts.outline.delta.unwrap_or_else(|| self.field());
        self.texts.last = Some((field, start, start));
        Value::Delta(field, self.texts.take(field, url_slot()))
    }

    fn string_start(&mut self, at: u64, events: &mut Events) {
        let role = self.role();
        let form = self.rules.form;
        self.value = match role {
            Role::Base64Member if self.member().is_some() => Value::Member,
            Role::UrlMember if self.member().is_some() => Value::Url { raw: Vec::new(), member: true },
            _ => {
                self.keep(events);
                self.write(b"\"", events);
                if self.kind != Kind::Answer && self.path.steps() == [Step::Key(Name::Type)] {
                    self.value = Value::Type(Vec::new());
                    return;
                }
                match (role, form) {
                    (Role::Base64, _) => self.candidate(events),
                    (Role::Kept, _) => self.kept(events),
                    (Role::Reference | Role::Any, _) => Value::Url { raw: Vec::new(), member: false },
                    (Role::Text, Form::Url | Form::Both) => {
                        self.settle(events);
                        self.text(at + 1)
                    }
                    _ => Value::Plain,
                }
            }
        };
        self.texts.looked_into += usize::from(!matches!(self.value, Value::Plain));
    }

    fn string_part(&mut self, raw: &[u8], events: &mut Events) {
        match &mut self.value {
            Value::Plain => self.write(raw, events),
            Value::Type(known) => {
                let room = LONGEST_TYPE.saturating_sub(known.len());
                known.extend_from_slice(raw.get(..room).unwrap_or(raw));
                self.write(raw, events);
            }
            Value::Member => {
                self.begin_member(events);
                self.string_part(raw, events);
            }
            Value::Delta(_, scanner) | Value::Text(scanner) => scanner.push(raw, events),
            Value::Candidate(candidate) => {
                if let Taken::Ended(taken) = candidate.push(raw, events) {
                    self.judge(candidate_is_picture(&self.value));
                    self.value = Value::Plain;
                    self.write(raw.get(taken..).unwrap_or_default(), events);
                }
            }
            Value::Url { raw: known, member } => {
                work::looked_at(5 + raw.len());
                known.extend_from_slice(raw);
                let (scheme, member) = (Scheme::of(known), *member);
                // What names no picture is held too where one may stand beside it.
                let may_go = member && self.rules.form != Form::AsCame && scheme == Scheme::Other;
                let waits = scheme == Scheme::Http || may_go;
                if scheme == Scheme::Unknown || waits && known.len() <= LONGEST_URL {
                    return;
                }
                let Value::Url { raw, .. } = std::mem::replace(&mut self.value, Value::Plain) else { return };
                self.value = match (scheme, member) {
                    (Scheme::Data, true) => self.data_uri_member(events),
                    (Scheme::Data, false) => self.candidate(events),
                    (Scheme::Other, false) if self.role() == Role::Any => self.bare(events),
                    _ => {
                        self.open_member(member, events);
                        Value::Plain
                    }
                };
                self.string_part(&raw, events);
            }
        }
    }

    fn string_end(&mut self, at: u64, events: &mut Events) {
        match std::mem::replace(&mut self.value, Value::Plain) {
            Value::Plain => {}
            Value::Text(mut scanner) => scanner.finish(events),
            Value::Delta(field, scanner) => {
                if let Some((_, _, end)) = &mut self.texts.last {
                    *end = at;
                }
                self.texts.put(field, scanner, events);
            }
            Value::Type(event_type) => self.kind = Kind::of(&event_type),
            Value::Candidate(mut candidate) => {
                candidate.finish(events);
                self.judge(candidate.is_picture());
            }
            Value::Member => return self.empty_member(events),
            Value::Url { raw, member: true } if raw.is_empty() => return self.empty_member(events),
            Value::Url { raw, member } => {
                if self.url_end(&raw, member, events) {
                    return;
                }
            }
        }
        self.write(b"\"", events);
    }

    /// A member of an item turned out to be a picture, or not.
    fn judge(&mut self, is_picture: bool) {
        let steps = self.path.steps();
        if let Some(item) = self.items.last_mut().filter(|item| !is_picture && item.depth == steps.len()) {
            item.pictured = false;
            item.occupied |= steps.last() == Some(&Step::Key(Name::B64Json));
        }
    }

    /// `"b64_json":"` with something behind it.
    fn begin_member(&mut self, events: &mut Events) {
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
                Value::Candidate(Candidate::new(Setting::Value, slot, VALUE))
            }
            Form::AsCame => {
                self.open_member(true, events);
                self.kept(events)
            }
            Form::Base64 | Form::Both => {
                let Some(item) = self.member() else { return };
                let (opening, original) = item.replace("\"b64_json\"");
                let url = form == Form::Both;
                let slot = Slot {
                    lead: if url { text(&[b"\",\"url\":\""]) } else { Default::default() },
                    fill: if url { Fill::Url } else { Fill::Nothing },
                    original: text(&[&original, b"\""]),
                    passed_on: true,
                };
                let opening = text(&[&opening, b"\""]);
                Value::Candidate(Candidate::passing_on(Setting::Value, slot, opening, VALUE))
            }
        };
    }

    /// `"url":"data:`.
    fn data_uri_member(&mut self, events: &mut Events) -> Value {
        let form = self.rules.form;
        let (key, fill) = match form {
            Form::Url => ("\"url\"", Fill::Url),
            Form::Base64 => ("\"b64_json\"", Fill::Base64),
            Form::Both => ("\"b64_json\"", base64_then_url()),
            Form::AsCame => {
                self.open_member(true, events);
                return self.kept(events);
            }
        };
        let Some(item) = self.member() else { return Value::Plain };
        let (lead, original) = item.replace(key);
        let (lead, original) = (text(&[&lead, b"\""]), text(&[&original, b"\""]));
        Value::Candidate(Candidate::new(Setting::Value, Slot { lead, fill, original, passed_on: false }, VALUE))
    }

    /// A candidate whose key stays and has been written.
    fn candidate(&mut self, events: &mut Events) -> Value {
        let slot = if self.rules.form == Form::Url { url_slot() } else { kept_slot() };
        self.settle(events);
        Value::Candidate(Candidate::new(Setting::Value, slot, VALUE))
    }

    /// Bare base64 whose key promises none.
    fn bare(&mut self, events: &mut Events) -> Value {
        if self.rules.named { self.candidate(events) } else { self.kept(events) }
    }

    /// A candidate that stays, and is kept.
    fn kept(&mut self, events: &mut Events) -> Value {
        self.settle(events);
        Value::Candidate(Candidate::new(Setting::Value, kept_slot(), VALUE))
    }

    /// `""` for a member that names a picture.
    fn empty_member(&mut self, events: &mut Events) {
        match self.items.last_mut() {
            Some(item) if self.rules.form != Form::AsCame => item.hold(b"\"\"", events),
            _ => {
                self.open_member(true, events);
                self.write(b"\"", events);
            }
        }
    }

    /// A URL is complete. `true`: its closing quote is none of the caller's business.
    fn url_end(&mut self, raw: &[u8], member: bool, events: &mut Events) -> bool {
        let url = unescape(raw).filter(|url| self.rules.links && is_http(url)).map(|url| url.into_owned());
        let Some(url) = url.filter(|_| !events.is_full() || events.admit()) else {
            return self.no_url_end(raw, member, events);
        };
        let occupied = self.items.last().is_some_and(|item| item.occupied);
        let (key, fill) = match self.rules.form {
            _ if occupied => ("\"url\"", Fill::Url),
            Form::Url | Form::AsCame => ("\"url\"", Fill::Url),
            Form::Base64 => ("\"b64_json\"", Fill::Base64),
            Form::Both => ("\"b64_json\"", base64_then_url()),
        };
        match self.items.last_mut() {
            Some(item) if member => {
                if item.pictured && self.rules.form != Form::AsCame {
                    item.leave_out();
                    return true;
                }
                item.hold_link(fill, url, key, raw, events);
                true
            }
            _ => {
                self.settle(events);
                work::looked_at(raw.len());
                let slot = Slot { original: raw.to_vec().into(), ..url_slot() };
                events.link(slot, url);
                false
            }
        }
    }

    /// The same for a text that names no picture. It stays, unless the item has the picture's bytes too.
    fn no_url_end(&mut self, raw: &[u8], member: bool, events: &mut Events) -> bool {
        let form = self.rules.form;
        match self.items.last_mut().filter(|item| member && form != Form::AsCame && !item.occupied) {
            Some(item) => {
                work::looked_at(raw.len());
                item.hold(&[b"\"", raw, b"\""].concat(), events);
                true
            }
            None => {
                self.open_member(member, events);
                self.write(raw, events);
                false
            }
        }
    }

    /// Writes a held key and the opening quote of its value.
    fn open_member(&mut self, member: bool, events: &mut Events) {
        if member {
            self.keep(events);
            self.write(b"\"", events);
        }
    }

    /// Nothing may be held while a slot's events are told.
    fn settle(&mut self, events: &mut Events) {
        if let Some(item) = self.items.last_mut() {
            item.settle(true, events);
        }
    }

    /// The text broke: whatever is held goes out as it came.
    fn abandon(&mut self, events: &mut Events) {
        match std::mem::replace(&mut self.value, Value::Plain) {
            Value::Plain | Value::Type(_) => {}
            Value::Delta(_, mut scanner) | Value::Text(mut scanner) => scanner.abandon(events),
            Value::Candidate(mut candidate) => candidate.abandon(events),
            Value::Member => self.open_member(true, events),
            Value::Url { raw, member } => {
                self.open_member(member, events);
                self.write(&raw, events);
            }
        }
        while let Some(item) = self.items.pop() {
            item.finish(events);
        }
    }
}

fn candidate_is_picture(value: &Value) -> bool {
    matches!(value, Value::Candidate(candidate) if candidate.is_picture())
}

pub(super) fn url_slot() -> Slot {
    Slot { lead: Default::default(), fill: Fill::Url, original: Default::default(), passed_on: false }
}

fn kept_slot() -> Slot {
    Slot { fill: Fill::Nothing, passed_on: true, ..url_slot() }
}

fn base64_then_url() -> Fill {
    Fill::Base64ThenUrl(text(&[b"\",\"url\":\""]))
}

/// What the start of a string says of its being a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    /// Too short to say.
    Unknown,
    Data,
    /// It may be an http(s) URL.
    Http,
    Other,
}

impl Scheme {
    fn of(raw: &[u8]) -> Self {
        let start: Vec<u8> =
            Characters(raw).take(5).map(|(known, _)| known.unwrap_or(0).to_ascii_lowercase()).collect();
        match start.as_slice() {
            b"data:" => Self::Data,
            start if start.len() < 5 => Self::Unknown,
            start if start.starts_with(b"http") => Self::Http,
            _ => Self::Other,
        }
    }
}

fn is_http(url: &str) -> bool {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https"))
}

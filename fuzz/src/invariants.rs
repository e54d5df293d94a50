//! What must hold for any input, one function per fuzz target.
//!
//! An input is two bytes and a body. The first byte chooses the rules, the second where the body is cut. Seeds are the
//! files of `tests/fixtures/wire` behind two such bytes, and what fuzzing has found.

use serde::de::IgnoredAny;
use serde_json::Value;

use self::reference::{Plain, ids};
pub use self::render::Renderer;
use super::{
    picture::{self, Sniff},
    rewrite::{
        Event,
        answer::{AnswerRewriter, Form, Rules},
        base64::{Decoder, Encoder, Tolerance},
        conversation::{Dialect, Edit, Mention, Piece},
        multipart::MultipartScanner,
        request::{Field, Findings, ReferenceForm, RequestScanner, Route, ScanError},
        shape::Shape,
        stream::StreamRewriter,
    },
};

#[path = "reference.rs"]
pub mod reference;
#[path = "render.rs"]
pub mod render;

const FORMS: [Form; 4] = [Form::Url, Form::Base64, Form::Both, Form::AsCame];
const SHAPES: [Shape; 3] = [Shape::Images, Shape::Chat, Shape::Responses];
/// What links lead to.
const LINKED: &[u8] = include_bytes!("../../tests/fixtures/wire/img/px2b.png");

// === Input ===

/// Choice, seed, body.
pub fn parts(input: &[u8]) -> Option<(usize, u8, &[u8])> {
    let [choice, seed, body @ ..] = input else { return None };
    Some((usize::from(choice.wrapping_sub(b'0')), *seed, body))
}

/// The body cut in pieces whose sizes follow from the seed.
pub fn pieces(body: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut state = u32::from(seed).wrapping_mul(2_654_435_761) | 1;
    let mut rest = body;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let longest = if seed.is_multiple_of(4) { 1 } else { 1usize << (seed % 11) };
        let size = 1 + (state >> 16) as usize % longest;
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

pub fn rules(choice: usize) -> Rules {
    let rules = Rules::new(SHAPES[choice % 3], FORMS[choice / 3 % 4]);
    Rules { links: (choice / 12).is_multiple_of(2), named: choice / 24 % 2 == 1, ..rules }
}

fn is_json(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok_and(|body| serde_json::from_str::<IgnoredAny>(body).is_ok())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// With every line ended by LF.
fn by_lf(bytes: &[u8]) -> String {
    text(bytes).replace("\r\n", "\n").replace('\r', "\n")
}

// === Answers and streams ===

/// Either rewriter.
pub trait Rewriter {
    fn push(&mut self, piece: &[u8]) -> Vec<Event>;
    fn finish(&mut self) -> Vec<Event>;
}

impl Rewriter for AnswerRewriter {
    fn push(&mut self, piece: &[u8]) -> Vec<Event> {
        self.push(piece)
    }

    fn finish(&mut self) -> Vec<Event> {
        self.finish()
    }
}

impl Rewriter for StreamRewriter {
    fn push(&mut self, piece: &[u8]) -> Vec<Event> {
        self.push(piece)
    }

    fn finish(&mut self) -> Vec<Event> {
        self.finish()
    }
}

/// What comes out of a rewriter; every link leads to `linked`.
pub fn render<'a>(
    mut rewriter: impl Rewriter,
    linked: Option<&[u8]>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Renderer {
    let mut renderer = Renderer::new(linked);
    for piece in pieces {
        renderer.events(rewriter.push(piece));
    }
    renderer.events(rewriter.finish());
    renderer.finish()
}

/// The body rewritten whole, after comparing it with the body rewritten in pieces. They may differ in what was done before
/// JSON broke, so not where it is not `sound`. And in a stream by a LF, of a CR LF that was cut, that follows held text.
fn rewritten<R: Rewriter>(new: impl Fn() -> R, rules: Rules, seed: u8, body: &[u8], sound: bool) -> Renderer {
    let linked = Some(LINKED).filter(|_| rules.form != Form::AsCame);
    let whole = render(new(), linked, [body]);
    let cut = render(new(), linked, pieces(body, seed));
    if sound || is_unchanged(rules, &whole) && is_unchanged(rules, &cut) {
        if is_json(body) || !body.contains(&b'\r') {
            assert_eq!(text(&cut.out), text(&whole.out), "in pieces");
        }
        assert_eq!(events(&cut.out), events(&whole.out), "in pieces");
        assert!(cut.kept == whole.kept, "pictures in pieces");
    }
    assert!(rules.links || whole.links.is_empty(), "links are not wanted");
    whole
}

/// Whether every byte must have stayed. Where base64 stays, what stood around a picture that breaks off is gone already.
fn is_unchanged(rules: Rules, whole: &Renderer) -> bool {
    rules.form == Form::AsCame || (whole.found_nothing() && (rules.form == Form::Url || !whole.begun))
}

/// Whether an object has one of an item's two keys twice. Of those an empty one may be left out, whatever comes after it.
fn repeats_a_key(body: &[u8]) -> bool {
    let count = |object: &[u8], key: &[u8]| object.windows(key.len()).filter(|window| *window == key).count();
    body.split(|byte| matches!(byte, b'{' | b'}'))
        .any(|object| [&b"b64_json"[..], b"url"].iter().any(|key| count(object, key) > 1))
}

/// A JSON answer: the pieces do not matter; where nothing was found every byte stays; JSON stays JSON.
pub fn answer(input: &[u8]) {
    let Some((choice, seed, body)) = parts(input) else { return };
    let rules = rules(choice);
    let whole = rewritten(|| AnswerRewriter::new(rules), rules, seed, body, is_json(body));
    if is_unchanged(rules, &whole) && !repeats_a_key(body) {
        assert_eq!(text(&whole.out), text(body));
        assert!(whole.out == body);
    }
    assert!(!is_json(body) || is_json(&whole.out), "no JSON any more: {}", text(&whole.out));
    agrees(rules, body);
}

/// The answer is what the plain computation says, where that can say something.
fn agrees(rules: Rules, body: &[u8]) {
    let Ok(mut expected) = serde_json::from_slice::<Value>(body) else { return };
    // A key that stands twice is two members here and one there; an escaped letter hides a data URI here.
    let escapes = body.windows(2).any(|pair| pair == b"\\u");
    if members(&expected) != colons(body) || escapes || body.len() > 8 * 1024 {
        return;
    }
    let mut plain = Plain::new(rules, LINKED);
    plain.answer(&mut expected);
    if !plain.ambiguous {
        let got = render(AnswerRewriter::new(rules), Some(LINKED), [body]);
        let value: Value = serde_json::from_slice(&got.out).expect("JSON");
        assert_eq!(value, expected, "{rules:?}: {}", text(body));
        assert_eq!(ids(&got.kept), ids(&plain.kept), "{rules:?}: {}", text(body));
    }
}

fn members(value: &Value) -> usize {
    match value {
        Value::Object(object) => object.len() + object.values().map(members).sum::<usize>(),
        Value::Array(list) => list.iter().map(members).sum(),
        _ => 0,
    }
}

/// The colons outside of strings.
fn colons(body: &[u8]) -> usize {
    let (mut in_string, mut escaped, mut colons) = (false, false, 0);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b':' if !in_string => colons += 1,
            _ => {}
        }
    }
    colons
}

/// An event stream: as an answer; and text comes out the same however it is cut into deltas.
pub fn stream(input: &[u8]) {
    let Some((choice, seed, body)) = parts(input) else { return };
    let rules = rules(choice);
    let whole = rewritten(|| StreamRewriter::new(rules), rules, seed, body, is_sound(body));
    // Only text may leave later than it came, and there is none in images.
    if rules.form == Form::AsCame || (rules.shape == Shape::Images && is_unchanged(rules, &whole)) {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        assert_eq!(text(&whole.out), text(body));
        assert!(whole.out == body);
    }
    if let Ok(body) = std::str::from_utf8(body)
        && body.len() < 600
    {
        deltas(body, seed);
    }
}

/// A chat's text in deltas becomes what the same text in a whole answer does.
fn deltas(content: &str, seed: u8) {
    let rules = Rules::new(Shape::Chat, Form::Url);
    let json = |text: &str| Value::from(text).to_string();
    let message = format!(r#"{{"choices":[{{"message":{{"content":{}}}}}]}}"#, json(content));
    let whole = render(AnswerRewriter::new(rules), Some(LINKED), [message.as_bytes()]);
    let answer: Value = serde_json::from_slice(&whole.out).expect("JSON");

    let mut deltas = String::new();
    let mut cut = 0;
    for piece in pieces(content.as_bytes(), seed) {
        let end = content.floor_char_boundary(cut + piece.len()).max(cut);
        let delta = json(&content[cut..end]);
        deltas += &format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{delta}}}}}]}}\n\n");
        cut = end;
    }
    let rest = json(&content[cut..]);
    deltas += &format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{rest}}}}}]}}\n\n");
    deltas += "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let streamed = render(StreamRewriter::new(rules), Some(LINKED), pieces(deltas.as_bytes(), seed));
    let mut joined = String::new();
    for event in events(&streamed.out) {
        if event.data != "[DONE]" {
            let json = serde_json::from_str::<Value>(&event.data);
            let event = json.unwrap_or_else(|error| panic!("{error}: {} of {}", event.data, text(&streamed.out)));
            joined += event["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        }
    }
    assert_eq!(Some(joined.as_str()), answer["choices"][0]["message"]["content"].as_str());
    assert!(streamed.kept == whole.kept);
}

// === Framing of streams ===

/// An event as a client's parser gives it out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Dispatched {
    name: String,
    data: String,
}

/// The events of a stream (WHATWG HTML, section 9.2.6), by a parser that shares nothing with the gateway's.
fn events(stream: &[u8]) -> Vec<Dispatched> {
    let stream = by_lf(stream);
    let stream = stream.strip_prefix('\u{feff}').unwrap_or(&stream);
    let mut events = Vec::new();
    let mut lines: Option<Vec<&str>> = None;
    let mut name = "";
    // What is behind the last line end is no line.
    let whole = stream.rfind('\n').map_or("", |end| &stream[..end]);
    for line in whole.split('\n').filter(|_| stream.contains('\n')) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            _ if line.is_empty() => {
                if let Some(lines) = lines.take() {
                    events.push(Dispatched { name: name.to_owned(), data: lines.join("\n") });
                }
                name = "";
            }
            "data" => lines.get_or_insert_default().push(value),
            "event" => name = value,
            _ => {}
        }
    }
    events
}

/// Whether the data of every event are JSON, or nothing like it.
fn is_sound(stream: &[u8]) -> bool {
    let ended = [stream, b"\n\n"].concat();
    let plain = |data: &str| data.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'[' | b']'));
    std::str::from_utf8(stream).is_ok()
        && events(&ended).iter().all(|event| is_json(event.data.as_bytes()) || plain(&event.data))
}

/// The framing of a stream: a client sees the same events whatever ends the lines, and as many as came.
pub fn sse(input: &[u8]) {
    let Some((choice, seed, body)) = parts(input) else { return };
    let rules = rules(choice);
    let lines: Vec<u8> = body.iter().copied().filter(|byte| *byte != b'\r').collect();
    let sound = is_sound(&lines);
    if lines.len() > 8 * 1024 || !sound {
        return; // long events are rewritten while they arrive; broken ones up to where they break
    }
    let ended_by = |end: &[u8]| {
        let body = lines.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(end);
        rewritten(|| StreamRewriter::new(rules), rules, seed, &body, sound)
    };
    let (lf, crlf, cr) = (ended_by(b"\n"), ended_by(b"\r\n"), ended_by(b"\r"));
    assert_eq!(events(&crlf.out), events(&lf.out), "CR LF");
    assert_eq!(events(&cr.out), events(&lf.out), "CR");
    assert!(crlf.kept == lf.kept && cr.kept == lf.kept);
    if rules.shape == Shape::Images {
        let names = |stream: &[u8]| events(stream).into_iter().map(|event| event.name).collect::<Vec<_>>();
        assert_eq!(names(&lf.out), names(&lines));
    }
}

// === Requests ===

/// Whether this is about the JSON itself, and not about what is in it.
fn is_invalid(error: &ScanError) -> bool {
    matches!(error, ScanError::Invalid(_))
}

fn scan<'a>(route: Route, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Findings, ScanError> {
    let mut scanner = RequestScanner::new(route);
    for piece in pieces {
        scanner.push(piece)?;
    }
    scanner.finish()
}

fn at(body: &[u8], span: &std::ops::Range<u64>) -> Vec<u8> {
    body.get(span.start as usize..span.end as usize).expect("a span inside the body").to_vec()
}

/// The body with each of these spans, which are in order, replaced.
fn replaced<'a>(body: &[u8], spans: impl Iterator<Item = &'a std::ops::Range<u64>>, by: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut known = 0;
    for span in spans {
        assert!(span.start >= known, "spans overlap");
        out.extend(at(body, &(known..span.start)));
        out.extend_from_slice(by);
        known = span.end;
    }
    out.extend(at(body, &(known..body.len() as u64)));
    out
}

/// What the findings say without saying where.
fn said(found: &Findings) -> String {
    let value = |field: &Option<Field>| field.as_ref().map(|field| field.value.clone());
    let references: Vec<_> = found.references.iter().map(|reference| (&reference.path, &reference.url)).collect();
    format!("{:?}", (value(&found.model), value(&found.response_format), found.stream, &found.prompt, references))
}

/// A JSON request: the pieces do not matter; spans hold what is said of them; taking out and replacing leaves a request
/// that says the rest.
pub fn request(input: &[u8]) {
    let Some((choice, seed, body)) = parts(input) else { return };
    let route = [Route::Images, Route::Chat, Route::Responses][choice % 3];
    let whole = scan(route, [body]);
    let cut = scan(route, pieces(body, seed));
    let found = match (whole, cut) {
        (Ok(whole), Ok(cut)) => {
            assert_eq!(whole, cut);
            whole
        }
        (Err(whole), Err(cut)) => {
            // Of two mistakes either may be met first: types are judged per piece, syntax at once.
            assert!(is_invalid(&whole) || is_invalid(&cut) || whole == cut, "{whole} or {cut}");
            let nested = body.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > 100;
            let valid = serde_json::from_slice::<Value>(body).is_ok();
            assert!(nested || !valid || !is_invalid(&whole), "{whole}: {}", text(body));
            return;
        }
        (whole, cut) => panic!("{whole:?} or {cut:?}"),
    };
    // Whether strings are UTF-8 is for the upstream to say.
    assert!(serde_json::from_slice::<IgnoredAny>(body).is_ok(), "{}", text(body));
    for field in [&found.model, &found.response_format].into_iter().flatten() {
        let value = serde_json::from_slice::<Option<String>>(&at(body, &field.span)).expect("text or null");
        assert_eq!(value.unwrap_or_default(), field.value);
        assert!(field.member.start <= field.span.start && field.span.end <= field.member.end);
    }
    for reference in &found.references {
        let value: Value = serde_json::from_str(&text(&at(body, &reference.span))).expect("JSON");
        match reference.form {
            ReferenceForm::DataUri | ReferenceForm::Base64 => assert_eq!(value, reference.url.as_str()),
            // Where it stands twice, the last text counts.
            ReferenceForm::Source => assert!(!value["url"].is_string() || value["url"] == reference.url.as_str()),
            ReferenceForm::Part { .. } => panic!("no form"),
        }
    }
    let inlined =
        replaced(body, found.references.iter().map(|reference| &reference.span), b"\"data:image/png;base64,AA==\"");
    let again = scan(route, [inlined.as_slice()]).expect("a request");
    assert!(again.references.is_empty());
    conversation(&found, seed, body);
    if let Some(field) = &found.response_format {
        let without = replaced(body, std::iter::once(&field.member), b"");
        let again = scan(route, [without.as_slice()]).unwrap_or_else(|error| panic!("{error}: {}", text(&without)));
        let expected = Findings { response_format: None, ..found.clone() };
        assert_eq!(said(&again), said(&expected));
    }
}

/// What is done to a conversation leaves JSON, does not overlap, and does what it says.
fn conversation(found: &Findings, seed: u8, body: &[u8]) {
    let conversation = &found.conversation;
    let omitted: Vec<usize> = (0..conversation.elements.len()).filter(|at| seed >> (at % 8) & 1 == 1).collect();
    let picture = "data:image/png;base64,AA==";
    let mut edits = conversation.omit(&omitted);
    assert_eq!(edits.len(), omitted.len());
    let attached = conversation.attach(conversation.mentions.iter().zip(0..));
    let pictures = |edits: &[Edit]| {
        let pieces = edits.iter().flat_map(|edit| &edit.with);
        pieces.filter(|piece| matches!(piece, Piece::Picture(_))).count()
    };
    let expected = if conversation.takes_pictures() { conversation.mentions.len() } else { 0 };
    assert_eq!(pictures(&attached), expected, "every mention once");
    edits.extend(attached);
    edits.extend(conversation.strip(&omitted));
    let is_sent = |element: Option<usize>| element.is_none_or(|element| !omitted.contains(&element));
    edits.extend(found.references.iter().filter(|reference| is_sent(reference.element)).map(|reference| Edit {
        span: reference.span.clone(),
        with: vec![Piece::Text("\"".into()), Piece::Picture(0), Piece::Text("\"".into())],
    }));
    edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
    let mut out = Vec::new();
    let mut known = 0;
    for Edit { span, with } in &edits {
        assert!(span.start >= known, "edits overlap");
        out.extend(at(body, &(known..span.start)));
        for piece in with {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Picture(_) => out.extend_from_slice(picture.as_bytes()),
            }
        }
        known = span.end;
    }
    out.extend(at(body, &(known..body.len() as u64)));
    assert!(serde_json::from_slice::<IgnoredAny>(&out).is_ok(), "{}", text(&out));
    let route = match conversation.dialect {
        _ if edits.is_empty() => return,
        Dialect::Chat => Route::Chat,
        Dialect::Responses => Route::Responses,
    };
    let again = scan(route, [out.as_slice()]).unwrap_or_else(|error| panic!("{error}: {}", text(&out))).conversation;
    for thought in &conversation.thoughts {
        let thought = text(&at(body, thought));
        assert!(thought.contains("ink"), "{thought}");
    }
    // What the text says is the same but for the thoughts; the labels show nothing.
    let said = |of: &[Mention]| of.iter().map(|mention| mention.url.clone()).collect::<Vec<_>>();
    let is_plain = |mention: &Mention| !mention.url.contains(['!', '<']);
    if conversation.thoughts.is_empty() && omitted.is_empty() && conversation.mentions.iter().all(is_plain) {
        assert_eq!(said(&again.mentions), said(&conversation.mentions));
        assert!(again.thoughts.is_empty());
    }
}

fn scan_form<'a>(kind: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Findings, ScanError> {
    let mut scanner = MultipartScanner::new(kind)?;
    for piece in pieces {
        scanner.push(piece)?;
    }
    scanner.finish()
}

/// The boundary that the first line of a body tells.
pub fn boundary(body: &[u8]) -> Option<&str> {
    let line = body.strip_prefix(b"--")?;
    let line = std::str::from_utf8(line.get(..line.windows(2).position(|end| end == b"\r\n")?)?).ok()?;
    let legal = line.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
    (legal && (1..=70).contains(&line.len())).then_some(line)
}

/// A form: as a JSON request.
pub fn multipart(input: &[u8]) {
    let Some((_, seed, body)) = parts(input) else { return };
    let boundary = boundary(body).unwrap_or("b");
    let kind = format!("multipart/form-data; boundary=\"{boundary}\"");
    let whole = scan_form(&kind, [body]);
    let cut = scan_form(&kind, pieces(body, seed));
    assert_eq!(whole.is_ok(), cut.is_ok(), "{whole:?} or {cut:?}");
    let Ok(found) = whole else { return };
    assert_eq!(cut.as_ref(), Ok(&found));
    let delimiter = format!("--{boundary}");
    for field in [&found.model, &found.response_format].into_iter().flatten() {
        assert_eq!(text(&at(body, &field.span)), field.value);
        assert!(at(body, &field.member).starts_with(delimiter.as_bytes()));
        assert!(at(body, &(field.member.end..body.len() as u64)).starts_with(delimiter.as_bytes()));
    }
    for reference in &found.references {
        assert!(matches!(&reference.form, ReferenceForm::Part { name } if *name == reference.path));
        let part = at(body, &reference.span);
        let head = part.windows(4).position(|end| end == b"\r\n\r\n").expect("the end of the header");
        assert_eq!(text(&part[head + 4..]).trim(), reference.url);
        assert!(at(body, &(0..reference.span.start)).ends_with(b"\r\n"));
        assert!(at(body, &(reference.span.end..body.len() as u64)).starts_with(format!("\r\n{delimiter}").as_bytes()));
    }
    replaced(body, found.references.iter().map(|reference| &reference.span), b"");
    if let Some(field) = &found.response_format {
        let without = replaced(body, std::iter::once(&field.member), b"");
        let again =
            scan_form(&kind, [without.as_slice()]).unwrap_or_else(|error| panic!("{error}: {}", text(&without)));
        let expected = Findings { response_format: None, ..found.clone() };
        assert_eq!(said(&again), said(&expected));
    }
}

// === Bytes ===

/// Base64: cuts do not matter; plain text comes back when its bytes are encoded, up to where it was refused.
pub fn base64(input: &[u8]) {
    let Some((choice, seed, body)) = parts(input) else { return };
    let tolerance = [Tolerance::WhiteSpace, Tolerance::Percent, Tolerance::WhiteSpaceAndPercent][choice % 3];
    let decode = |pieces: Vec<&[u8]>| {
        let mut decoder = Decoder::new(tolerance);
        let mut out = Vec::new();
        let mut known = 0;
        for piece in pieces {
            if let Err(invalid) = decoder.push(piece, &mut out) {
                return (Err(known + invalid.at), out, decoder.is_plain(), decoder.pending());
            }
            known += piece.len();
        }
        let pending = decoder.pending();
        match decoder.finish(&mut out) {
            Ok(()) => (Ok(()), out, decoder.is_plain(), Vec::new()),
            Err(_) => (Err(known), out, decoder.is_plain(), pending),
        }
    };
    let whole = decode(vec![body]);
    assert_eq!(decode(pieces(body, seed)), whole);
    let (end, out, plain, pending) = whole;
    let encode = |pieces: Vec<&[u8]>| {
        let mut encoder = Encoder::default();
        let mut text: Vec<u8> = pieces.into_iter().flat_map(|piece| encoder.push(piece)).collect();
        text.extend(encoder.finish());
        text
    };
    let encoded = encode(vec![&out]);
    assert!(encode(pieces(&out, seed)) == encoded);
    if plain {
        let taken = end.err().unwrap_or(body.len());
        assert_eq!(text(&[encoded, pending].concat()), text(&body[..taken]));
    }
    if let Ok(strict) = base64_simd::STANDARD.decode_to_vec(body) {
        assert!(end.is_ok() && plain, "standard base64 is plain");
        assert!(strict == out);
    }
    let mine = base64_simd::STANDARD.encode_to_string(body);
    assert!(encode(pieces(body, seed)) == mine.as_bytes());
}

/// Sniffing: once there is a verdict, more bytes do not change it.
pub fn sniff(input: &[u8]) {
    let Some((_, seed, body)) = parts(input) else { return };
    let mut verdict = Sniff::More;
    let mut see = |head: &[u8]| {
        let next = picture::sniff(head);
        assert!(verdict == Sniff::More || next == verdict, "{verdict:?}, then {next:?} at {}", head.len());
        verdict = next;
    };
    for end in 0..body.len().min(200) {
        see(&body[..end]);
    }
    let mut end = 0;
    for piece in pieces(body, seed | 3) {
        end += piece.len();
        if end >= 200 {
            see(&body[..end]);
        }
    }
    see(body);
    if let Sniff::Picture(format) = picture::sniff(body) {
        assert!(format.media_type().starts_with("image/") && !format.extension().is_empty());
    }
}

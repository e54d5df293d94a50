//! `multipart/form-data` requests (RFC 7578, RFC 2046 section 5.1): where the things stand that the gateway acts on.
//!
//! The body is read once, as it arrives, and never held: a file part may be of any size. What comes out is the same
//! [`Findings`] as for JSON, so that the outgoing body is made the same way and every other byte stays.

use memchr::{memchr, memmem, memrchr};

use super::json::without_case;
use super::request::{Field, Findings, Reference, ReferenceForm, ScanError, shortened};
use crate::work;

use crate::opaque::opaque;

/// Longest header block of a part.
const LONGEST_HEADER: usize = 16 * 1024;
/// Longest text field that is read.
const LONGEST_TEXT: usize = 64 * 1024;
/// A longer name is none of ours.
const LONGEST_NAME: usize = 64;
/// More parts than any client sends.
const MOST_PARTS: usize = 1000;
/// Most white space behind a boundary, on its line.
const LONGEST_PADDING: usize = 256;

/// Ends a part's header, whose first line break ends the delimiter's line.
const HEADER_END: &[u8] = b"\r\n\r\n";

const TOO_LONG_HEADER: ScanError = ScanError::Multipart("the header of a part is too long");

/// Reads one multipart body.
///
/// Each byte is looked at a few times, in whatever pieces it comes and however much of the body looks like a delimiter.
/// That is simple because a delimiter has its only CR in front: of the bytes that were taken for one, none but a last CR
/// can begin another.
pub struct MultipartScanner {
    /// Finds CR LF `--` boundary.
    delimiter: memmem::Finder<'static>,
    /// Offset in the body of the next byte.
    at: i64,
    state: State,
    /// The part at hand; `None` before the first.
    part: Option<Part>,
    parts: usize,
    seen: Vec<String>,
    found: Findings,
}

opaque!(MultipartScanner {});

#[derive(Debug)]
enum State {
    /// In the preamble, or in a part's body. What has come last are so many characters of a delimiter.
    Text {
        matched: usize,
    },
    /// Behind a delimiter, whose dashes are at `dashes`, if the rest of its line says so.
    Delimiter {
        dashes: i64,
        padding: Vec<u8>,
        then: Then,
    },
    /// In the header of a part. `lines`: its text so far; they begin at `start`.
    Header {
        dashes: i64,
        start: i64,
        lines: Vec<u8>,
    },
    Epilogue,
}

/// What has come behind a delimiter and its padding.
#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    Dash,
    Cr,
}

/// The part being read.
#[derive(Debug)]
struct Part {
    /// Where the dashes of its delimiter are.
    start: i64,
    /// Where its header lines begin, and where its body does.
    header: i64,
    body: i64,
    name: String,
    /// The text, for a field the gateway acts on.
    text: Option<Vec<u8>>,
}

impl MultipartScanner {
    /// `content_type`: the header's value, which names the boundary.
    ///
    /// # Errors
    /// When there is no usable boundary.
    pub fn new(content_type: &str) -> Result<Self, ScanError> {
        let boundary = boundary(content_type)
            .ok_or(ScanError::Multipart("the Content-Type header names no boundary of 1 to 70 characters"))?;
        Ok(Self {
            delimiter: memmem::Finder::new(&[b"\r\n--", boundary.as_bytes()].concat()).into_owned(),
            at: 0,
            // The first delimiter lacks its CR LF.
            state: State::Text { matched: 2 },
            part: None,
            parts: 0,
            seen: Vec::new(),
            found: Findings::default(),
        })
    }

    /// Reads the next piece.
    ///
    /// # Errors
    /// When the body cannot be used; nothing more need be read.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), ScanError> {
        let mut rest = piece;
        while let Some(first) = rest.first() {
            work::looked_at(1);
            let taken = match &mut self.state {
                State::Text { matched: 0 } => self.text(rest)?,
                State::Text { matched } => {
                    let matched = std::mem::take(matched);
                    self.delimiter_goes_on(matched, rest)?
                }
                State::Delimiter { .. } => self.behind_delimiter(*first)?,
                State::Header { .. } => self.header(rest)?,
                State::Epilogue => return Ok(()),
            };
            self.at += taken as i64;
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// When the closing delimiter has not come.
    pub fn finish(mut self) -> Result<Findings, ScanError> {
        match self.state {
            State::Epilogue => Ok(std::mem::take(&mut self.found)),
            _ => Err(ScanError::Multipart("the multipart body ends without its closing boundary")),
        }
    }

    /// Takes text up to the next delimiter, or up to what may be the start of one.
    fn text(&mut self, rest: &[u8]) -> Result<usize, ScanError> {
        let delimiter = self.delimiter.needle();
        if let Some(at) = self.delimiter.find(rest) {
            let taken = at + delimiter.len();
            work::looked_at(taken);
            self.delimiter_ends(taken);
            keep(&mut self.part, rest.get(..at).unwrap_or_default())?;
            return Ok(taken);
        }
        work::looked_at(rest.len() + delimiter.len().min(rest.len()));
        let last = rest.len() - (delimiter.len() - 1).min(rest.len());
        let cr = memrchr(b'\r', rest.get(last..).unwrap_or_default()).map(|cr| last + cr);
        let begins = cr.filter(|cr| rest.get(*cr..).is_some_and(|tail| delimiter.starts_with(tail)));
        let (text, begun) = rest.split_at(begins.unwrap_or(rest.len()));
        self.state = State::Text { matched: begun.len() };
        keep(&mut self.part, text)?;
        Ok(rest.len())
    }

    /// So many characters of a delimiter came before; goes on with it as far as it does.
    fn delimiter_goes_on(&mut self, matched: usize, rest: &[u8]) -> Result<usize, ScanError> {
        let (known, wanted) = self.delimiter.needle().split_at(matched);
        let same = wanted.iter().zip(rest).take_while(|(wanted, byte)| wanted == byte).count();
        work::looked_at(same);
        if same == wanted.len() {
            self.delimiter_ends(same);
        } else if same == rest.len() {
            self.state = State::Text { matched: matched + same };
        } else {
            keep(&mut self.part, known)?;
            keep(&mut self.part, wanted.get(..same).unwrap_or_default())?;
        }
        Ok(same)
    }

    /// A delimiter ends behind so many more bytes.
    fn delimiter_ends(&mut self, more: usize) {
        let dashes = self.at + more as i64 - self.delimiter.needle().len() as i64 + 2;
        self.state = State::Delimiter { dashes, padding: Vec::new(), then: Then::Nothing };
    }

    /// Judges what came before as a delimiter by the next byte of its line; returns whether that is taken.
    fn behind_delimiter(&mut self, byte: u8) -> Result<usize, ScanError> {
        let State::Delimiter { dashes, padding, then } = &mut self.state else { return Ok(0) };
        let dashes = *dashes;
        match (*then, byte) {
            (Then::Nothing, b'-') if padding.is_empty() => *then = Then::Dash,
            (Then::Nothing, b'\r') => *then = Then::Cr,
            (Then::Nothing, b' ' | b'\t') if padding.len() < LONGEST_PADDING => padding.push(byte),
            (Then::Nothing, b' ' | b'\t') => {
                return Err(ScanError::Multipart("white space without end behind a boundary"));
            }
            (Then::Dash, b'-') => {
                self.state = State::Epilogue;
                self.end_part(dashes)?;
            }
            (Then::Cr, b'\n') => {
                self.state = State::Header { dashes, start: self.at + 1, lines: b"\r\n".to_vec() };
                self.end_part(dashes)?;
            }
            (then, _) => {
                // The start of something longer: data.
                work::looked_at(self.delimiter.needle().len() + padding.len());
                keep(&mut self.part, self.delimiter.needle())?;
                keep(&mut self.part, padding)?;
                keep(&mut self.part, if matches!(then, Then::Dash) { b"-" } else { b"" })?;
                self.state = State::Text { matched: usize::from(matches!(then, Then::Cr)) };
                return Ok(0);
            }
        }
        Ok(1)
    }

    /// Reads the next line of a part's header.
    fn header(&mut self, rest: &[u8]) -> Result<usize, ScanError> {
        let State::Header { dashes, start, lines } = &mut self.state else { return Ok(0) };
        // Not searched further than is allowed.
        let near = rest.get(..LONGEST_HEADER + HEADER_END.len()).unwrap_or(rest);
        let taken = memchr(b'\n', near).map_or(near.len(), |end| end + 1);
        work::looked_at(2 * taken);
        lines.extend_from_slice(near.get(..taken).unwrap_or_default());
        let is_whole = lines.ends_with(HEADER_END);
        if lines.len() > LONGEST_HEADER + HEADER_END.len() {
            return Err(TOO_LONG_HEADER);
        }
        if !is_whole {
            return Ok(taken);
        }
        self.parts += 1;
        if self.parts > MOST_PARTS {
            return Err(ScanError::Multipart("the multipart body has too many parts"));
        }
        // It is searched for three parameters.
        work::looked_at(5 * lines.len());
        let (name, is_file) = disposition(lines)
            .ok_or(ScanError::Multipart("a part has no Content-Disposition with a name, or has two"))?;
        work::looked_at(2 * name.len());
        if let Some(field) = in_another_case(&name) {
            return Err(ScanError::AnotherCase(field));
        }
        self.found.has_mask |= base_name(&name) == "mask";
        let text = (!is_file && is_ours(&name)).then(Vec::new);
        self.part = Some(Part { start: *dashes, header: *start, body: self.at + taken as i64, name, text });
        self.state = State::Text { matched: 0 };
        Ok(taken)
    }

    /// The part at hand is complete, if there is one; `next` is where the dashes of the following delimiter are.
    fn end_part(&mut self, next: i64) -> Result<(), ScanError> {
        let Some(Part { text: Some(text), start, header, body, name }) = self.part.take() else { return Ok(()) };
        let Ok(value) = String::from_utf8(text) else {
            return Err(ScanError::Multipart("a text field is not UTF-8"));
        };
        let offset = |at: i64| u64::try_from(at).unwrap_or(0);
        let field =
            |value: String| Field { span: offset(body)..offset(next - 2), member: offset(start)..offset(next), value };
        let once = [("model", "model"), ("n", "n"), ("response_format", "response_format"), ("stream", "stream")];
        if let Some((_, name)) = once.into_iter().find(|(once, _)| *once == name.as_str()) {
            if self.seen.iter().any(|seen| seen == name) {
                return Err(ScanError::Repeated(name));
            }
            self.seen.push(name.to_owned());
        }
        match name.as_str() {
            "model" => self.found.model = Some(field(value)),
            "response_format" => self.found.response_format = Some(field(value)),
            "stream" => self.found.stream = value.trim().eq_ignore_ascii_case("true"),
            "prompt" => self.found.prompt = shortened(&value),
            "n" => {}
            _ => {
                let url = value.trim();
                if url.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http")) && url.contains("://") {
                    self.found.keep(Reference {
                        path: name.clone(),
                        url: url.to_owned(),
                        span: offset(header)..offset(next - 2),
                        form: ReferenceForm::Part { name },
                        element: None,
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// Adds to the text of the part at hand, if it is read.
fn keep(part: &mut Option<Part>, bytes: &[u8]) -> Result<(), ScanError> {
    if let Some(Part { text: Some(text), .. }) = part {
        work::looked_at(bytes.len());
        text.extend_from_slice(bytes);
        if text.len() > LONGEST_TEXT {
            return Err(ScanError::Multipart("a text field is too long"));
        }
    }
    Ok(())
}

/// Text fields that are read.
const FIELDS: [&str; 5] = ["model", "n", "response_format", "stream", "prompt"];
/// Fields that hold pictures: `image`, `image[]`, `image[0]`, `mask`, `mask[]`.
const PICTURES: [&str; 2] = ["image", "mask"];

fn is_ours(name: &str) -> bool {
    FIELDS.contains(&name) || is_picture(name)
}

/// The field that this name is, were its case another.
fn in_another_case(name: &str) -> Option<&'static str> {
    let base = base_name(name);
    let mut fields = FIELDS.into_iter().chain(PICTURES);
    let same = |field: &&str| base != *field && base.len() <= LONGEST_NAME && without_case(base) == *field;
    fields.find(same)
}

fn is_picture(name: &str) -> bool {
    PICTURES.contains(&base_name(name))
}

/// The name without what stands in brackets.
fn base_name(name: &str) -> &str {
    name.split_once('[').map_or(name, |(base, _)| base)
}

/// The `boundary` parameter (RFC 2046, section 5.1.1).
fn boundary(content_type: &str) -> Option<String> {
    let (_, parameters) = content_type.split_once(';')?;
    let value = parameter(parameters, "boundary")?;
    let legal = value.bytes().all(|b| (b' '..=b'~').contains(&b)) && !value.ends_with(' ');
    ((1..=70).contains(&value.len()) && legal).then_some(value)
}

/// The name of a part, and whether it is a file.
fn disposition(header: &[u8]) -> Option<(String, bool)> {
    let header = String::from_utf8_lossy(header);
    let mut values = header.split("\r\n").filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    // Of two, the upstream may take the other.
    let value = values.next().filter(|_| values.next().is_none())?;
    let (kind, parameters) = value.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return None;
    }
    let is_file = parameter(parameters, "filename").is_some() || parameter(parameters, "filename*").is_some();
    let has_extended_name = ["name*", "name*0"].iter().any(|name| first_parameter(parameters, name).is_some());
    Some((parameter(parameters, "name").filter(|_| !has_extended_name)?, is_file))
}

/// The value of `name` in `a=b; c="d"` (RFC 9110, section 5.6.6), if it stands there once: of two, the upstream may take
/// the other.
fn parameter(parameters: &str, name: &str) -> Option<String> {
    let (value, rest) = first_parameter(parameters, name)?;
    first_parameter(rest, name).is_none().then_some(value)
}

/// The first value of `name`, and what stands behind it.
fn first_parameter<'a>(parameters: &'a str, name: &str) -> Option<(String, &'a str)> {
    let mut rest = parameters;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() {
            return None;
        }
        let (key, after) = rest.split_once('=')?;
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => quoted_text(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                let (value, after) = after.split_at(end);
                (value.trim().to_owned(), after)
            }
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some((value, after));
        }
        rest = after;
    }
}

/// Reads up to the closing quote.
fn quoted_text(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match characters.next()? {
                (_, escaped @ ('"' | '\\')) => value.push(escaped),
                // File names of old browsers hold bare backslashes.
                (_, other) => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan_pieces(boundary: &str, body: &[u8], size: usize) -> Result<Findings, ScanError> {
        let mut scanner = MultipartScanner::new(&format!("multipart/form-data; boundary={boundary}"))?;
        for piece in body.chunks(size) {
            scanner.push(piece)?;
        }
        scanner.finish()
    }

    fn scan(boundary: &str, body: &[u8]) -> Result<Findings, ScanError> {
        let whole = scan_pieces(boundary, body, body.len().max(1));
        for size in [1, 2, 3, 5, 64] {
            assert_eq!(scan_pieces(boundary, body, size), whole, "in pieces of {size}");
        }
        whole
    }

    fn at(body: &[u8], span: &std::ops::Range<u64>) -> String {
        String::from_utf8_lossy(&body[span.start as usize..span.end as usize]).into_owned()
    }

    #[test]
    fn fixtures_give_their_fields() {
        for (file, boundary, has_model) in [
            ("req.images-edits.multipart-single.bin", "bndA1", true),
            ("req.images-edits.multipart-array-mask.bin", "----formdata-bndB2", true),
            ("req.images-variations.multipart.bin", "bndC3", false),
        ] {
            let path = format!("{}/tests/fixtures/wire/{file}", env!("CARGO_MANIFEST_DIR"));
            let body = std::fs::read(path).unwrap();
            let found = scan(boundary, &body).unwrap();
            assert_eq!(found.model.is_some(), has_model, "{file}");
            let Some(model) = found.model.or(found.response_format) else { continue };
            assert_eq!(at(&body, &model.span), model.value);
            let part = at(&body, &model.member);
            assert!(part.starts_with(&format!("--{boundary}\r\n")) && part.ends_with(&format!("{}\r\n", model.value)));
            assert!(found.references.is_empty(), "file parts are no references");
        }
    }

    #[test]
    fn fields_and_references_are_found_wherever_they_stand() {
        let body = b"preamble\r\n--b \t\r\ncontent-disposition: form-data; name=image; filename=\"a;name=\\\"model\\\".png\"\r\n\r\n--b\r\n\r\n--bb\r\n--b\r\nContent-Disposition: form-data; name=\"response_format\"\r\n\r\nurl\r\n--b\r\nX: y\r\nContent-Disposition: form-data; name=\"image[]\"\r\n\r\nhttp://x/a.png\r\n--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"stream\"\r\n\r\ntrue\r\n--b--\r\nepilogue";
        let found = scan("b", body).unwrap();
        assert_eq!(found.response_format.as_ref().unwrap().value, "url");
        assert_eq!(
            at(body, &found.response_format.unwrap().member),
            "--b\r\nContent-Disposition: form-data; name=\"response_format\"\r\n\r\nurl\r\n"
        );
        assert_eq!(found.model.unwrap().value, "");
        assert!(found.stream);
        let [reference] = &found.references[..] else { panic!("{:?}", found.references) };
        assert_eq!(reference.url, "http://x/a.png");
        assert_eq!(
            at(body, &reference.span),
            "X: y\r\nContent-Disposition: form-data; name=\"image[]\"\r\n\r\nhttp://x/a.png"
        );
    }

    /// Regression 10.11: fields in another case passed unseen to servers that match without case.
    #[test]
    fn fields_in_another_case_are_refused() {
        let body = |disposition: &str| format!("--b\r\n{disposition}\r\n\r\nx\r\n--b--");
        let named =
            |name: &str| scan("b", body(&format!("Content-Disposition: form-data; name=\"{name}\"")).as_bytes());
        for (name, field) in [
            ("Model", "model"),
            ("N", "n"),
            ("STREAM", "stream"),
            ("Response_Format", "response_format"),
            ("prompT", "prompt"),
            ("re\u{17f}ponse_format", "response_format"),
            ("Image", "image"),
            ("IMAGE[]", "image"),
            ("Image[0]", "image"),
            ("maS\u{212a}", "mask"),
        ] {
            assert_eq!(named(name), Err(ScanError::AnotherCase(field)), "{name}");
        }
        for name in ["model", "image[]", "Quality", "Images", "mod el"] {
            assert!(named(name).is_ok(), "{name}");
        }
        // A file of such a name is refused as well.
        let file = "Content-Disposition: form-data; name=\"Image\"; filename=\"a.png\"";
        assert_eq!(scan("b", body(file).as_bytes()), Err(ScanError::AnotherCase("image")));
    }

    #[test]
    fn a_part_has_one_name_and_a_body_one_boundary() {
        for disposition in [
            "Content-Disposition: form-data; name=x; name=model",
            "Content-Disposition: form-data; name=x; NAME=\"model\"",
            "Content-Disposition: form-data; name=x; name*=UTF-8''model",
            "Content-Disposition: form-data; name=x; name*0=model",
            "Content-Disposition: form-data; name=x\r\nContent-Disposition: form-data; name=model",
        ] {
            let error = scan("b", format!("--b\r\n{disposition}\r\n\r\nx\r\n--b--").as_bytes()).unwrap_err();
            assert!(error.to_string().contains("or has two"), "{disposition}: {error}");
        }
        assert!(MultipartScanner::new("multipart/form-data; boundary=a; boundary=b").is_err());
    }

    /// Regression 10.8.
    #[test]
    fn there_is_an_end_to_the_bytes_of_urls() {
        use crate::rewrite::request::MOST_URL_BYTES;
        for (what, name, url) in [
            ("long URLs", "image[]".to_owned(), format!("http://x/{}", "a".repeat(30_000))),
            ("long names", format!("image[{}]", "0".repeat(15_000)), "http://x/a".to_owned()),
        ] {
            let part = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{url}\r\n");
            let scan = |times: usize| {
                let mut scanner = MultipartScanner::new("multipart/form-data; boundary=b").unwrap();
                scanner.push(format!("{}--b--", part.repeat(times)).as_bytes())?;
                scanner.finish()
            };
            let fitting = MOST_URL_BYTES / (2 * name.len() + url.len());
            assert_eq!(scan(fitting).unwrap().references.len(), fitting, "{what}");
            assert_eq!(scan(fitting + 1), Err(ScanError::UrlsTooLong), "{what}");
        }
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let part = |name: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nx\r\n");
        for (body, why) in [
            (String::new(), "closing boundary"),
            ("--b\r\n".into(), "closing boundary"),
            (part("a"), "closing boundary"),
            (format!("{}{}--b--", part("model"), part("model")), "more than once"),
            ("--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--".into(), "no Content-Disposition"),
            (format!("--b\r\n{}\r\n\r\nx\r\n--b--", "a: b\r\n".repeat(5000)), "too long"),
        ] {
            let error = scan("b", body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{error}: {why}");
        }
        for header in ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"\""] {
            assert!(MultipartScanner::new(header).is_err(), "{header}");
        }
        assert!(MultipartScanner::new("multipart/form-data; charset=utf-8; BOUNDARY=\"a b\"").is_ok());
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(
            parts in prop::collection::vec("(--b|\r\n|--|Content-Disposition: form-data; name=|model|x|;|\"| ){0,8}", 0..6),
            size in 1usize..12,
        ) {
            let body = parts.iter().map(|p| format!("--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n{p}\r\n")).collect::<String>() + "--b--";
            prop_assert_eq!(scan_pieces("b", body.as_bytes(), size), scan_pieces("b", body.as_bytes(), body.len()));
        }
    }
}

//! `multipart/form-data` requests (RFC 7578, RFC 2046 section 5.1): where the things stand that the gateway acts on.
//!
//! The body is read once, as it arrives, and never held: a file part may be of any size. What comes out is the same
//! [`Findings`] as for JSON, so that the outgoing body is made the same way and every other byte stays.

use memchr::memmem;

use super::request::{Field, Findings, Reference, ReferenceForm, ScanError, shortened};

/// Longest header block of a part.
const LONGEST_HEADER: usize = 16 * 1024;
/// Longest text field that is read.
const LONGEST_TEXT: usize = 64 * 1024;
/// More parts than any client sends.
const MOST_PARTS: usize = 1000;

/// Reads one multipart body.
#[derive(Debug)]
pub struct MultipartScanner {
    /// CR LF `--` boundary.
    delimiter: Vec<u8>,
    /// What has been read and not judged.
    buffer: Vec<u8>,
    /// Offset of `buffer` in the body; -2 at first, for the CR LF that the first delimiter lacks.
    offset: i64,
    state: State,
    parts: usize,
    seen: Vec<String>,
    found: Findings,
}

#[derive(Debug)]
enum State {
    Preamble,
    /// A delimiter has been read; its dashes are at `start`.
    Header {
        start: i64,
    },
    Body(Part),
    Epilogue,
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
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            buffer: b"\r\n".to_vec(),
            offset: -2,
            state: State::Preamble,
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
        self.buffer.extend_from_slice(piece);
        while self.step()? {}
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

    /// Goes on by one delimiter or header; `false` when more must be read first.
    fn step(&mut self) -> Result<bool, ScanError> {
        match &self.state {
            State::Preamble | State::Body(_) => self.find_delimiter(),
            State::Header { start } => self.read_header(*start),
            State::Epilogue => {
                self.skip(self.buffer.len());
                Ok(false)
            }
        }
    }

    fn find_delimiter(&mut self) -> Result<bool, ScanError> {
        let Some(at) = memmem::find(&self.buffer, &self.delimiter) else {
            let keep = self.delimiter.len() - 1;
            self.take_text(self.buffer.len().saturating_sub(keep))?;
            return Ok(false);
        };
        let behind = self.buffer.get(at + self.delimiter.len()..).unwrap_or_default();
        let padding = behind.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        let closing = match (behind.get(..2), behind.get(padding..padding + 2)) {
            (Some(b"--"), _) => true,
            (_, Some(b"\r\n")) => false,
            (Some(_), Some(_)) => {
                // The start of something longer: data.
                self.take_text(at + 1)?;
                return Ok(true);
            }
            _ if padding > 256 => return Err(ScanError::Multipart("white space without end behind a boundary")),
            _ => {
                self.take_text(at)?;
                return Ok(false);
            }
        };
        let dashes = self.offset + at as i64 + 2;
        let consumed = at + self.delimiter.len() + if closing { 2 } else { padding };
        self.take_text(at)?;
        if let State::Body(part) = std::mem::replace(&mut self.state, State::Preamble) {
            self.end_part(part, dashes)?;
        }
        self.state = if closing { State::Epilogue } else { State::Header { start: dashes } };
        self.skip(consumed - at);
        Ok(true)
    }

    /// Reads a part's header lines. They begin with the line break that ends the delimiter's line.
    fn read_header(&mut self, start: i64) -> Result<bool, ScanError> {
        let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") else {
            if self.buffer.len() > LONGEST_HEADER {
                return Err(ScanError::Multipart("the header of a part is too long"));
            }
            return Ok(false);
        };
        self.parts += 1;
        if end > LONGEST_HEADER {
            return Err(ScanError::Multipart("the header of a part is too long"));
        }
        if self.parts > MOST_PARTS {
            return Err(ScanError::Multipart("the multipart body has too many parts"));
        }
        let (name, is_file) = {
            let header = self.buffer.get(..end).unwrap_or_default();
            disposition(header).ok_or(ScanError::Multipart("a part has no Content-Disposition with a name"))?
        };
        self.found.has_mask |= base_name(&name) == "mask";
        let text = (!is_file && is_ours(&name)).then(Vec::new);
        let body = self.offset + end as i64 + 4;
        self.state = State::Body(Part { start, header: self.offset + 2, body, name, text });
        self.skip(end + 4);
        Ok(true)
    }

    /// Takes `len` bytes of the part's body out of the buffer.
    fn take_text(&mut self, len: usize) -> Result<(), ScanError> {
        if let State::Body(Part { text: Some(text), .. }) = &mut self.state {
            text.extend_from_slice(self.buffer.get(..len).unwrap_or_default());
            if text.len() > LONGEST_TEXT {
                return Err(ScanError::Multipart("a text field is too long"));
            }
        }
        self.skip(len);
        Ok(())
    }

    fn skip(&mut self, len: usize) {
        self.buffer.drain(..len.min(self.buffer.len()));
        self.offset += len as i64;
    }

    /// A part is complete; `next` is where the dashes of the following delimiter are.
    fn end_part(&mut self, part: Part, next: i64) -> Result<(), ScanError> {
        let Some(text) = part.text else { return Ok(()) };
        let Ok(value) = String::from_utf8(text) else {
            return Err(ScanError::Multipart("a text field is not UTF-8"));
        };
        let offset = |at: i64| u64::try_from(at).unwrap_or(0);
        let field = |value: String| Field {
            span: offset(part.body)..offset(next - 2),
            member: offset(part.start)..offset(next),
            value,
        };
        let name = part.name.as_str();
        let once = [("model", "model"), ("n", "n"), ("response_format", "response_format"), ("stream", "stream")];
        if let Some((_, name)) = once.into_iter().find(|(once, _)| *once == name) {
            if self.seen.iter().any(|seen| seen == name) {
                return Err(ScanError::Repeated(name));
            }
            self.seen.push(name.to_owned());
        }
        match name {
            "model" => self.found.model = Some(field(value)),
            "response_format" => self.found.response_format = Some(field(value)),
            "stream" => self.found.stream = value.trim().eq_ignore_ascii_case("true"),
            "prompt" => self.found.prompt = shortened(&value),
            "n" => {}
            _ => {
                let url = value.trim();
                if url.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http")) && url.contains("://") {
                    self.found.keep(Reference {
                        path: part.name.clone(),
                        url: url.to_owned(),
                        span: offset(part.header)..offset(next - 2),
                        form: ReferenceForm::Part { name: part.name },
                        element: None,
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// Text fields that are read.
fn is_ours(name: &str) -> bool {
    matches!(name, "model" | "n" | "response_format" | "stream" | "prompt") || is_picture(name)
}

/// `image`, `image[]`, `image[0]`, `mask`, `mask[]`.
fn is_picture(name: &str) -> bool {
    matches!(base_name(name), "image" | "mask")
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
    let value = header.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let (kind, parameters) = value.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return None;
    }
    let is_file = parameter(parameters, "filename").is_some() || parameter(parameters, "filename*").is_some();
    Some((parameter(parameters, "name")?, is_file))
}

/// The value of `name` in `a=b; c="d"` (RFC 9110, section 5.6.6).
fn parameter(parameters: &str, name: &str) -> Option<String> {
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
            return Some(value);
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

//! Event streams: base64 ↔ URL, event by event.
//!
//! An event whose data need no change leaves byte for byte, and at once. An event is looked at as a whole, so that text
//! held back from earlier ones can go out before the event that ends it; past 64 KiB (a picture in one line) it is
//! rewritten while it arrives.
//!
//! Text may carry a picture over any number of deltas, cut anywhere. What may be the start of a picture is held back and
//! its event leaves with the text it still has. One that has none left and says nothing else that is new is left out, but
//! for one in every 64 KiB, as a sign of life. Held text that turns out to be no picture is released unchanged; deltas may
//! come out coalesced, the joined text is identical.

use memchr::memchr2;

use super::{
    Event, Events,
    document::{Document, Rules, url_slot},
    json::Name,
    outline::{Ends, places},
    shape::{Kind, Shape},
    sse::{Framer, Line},
    texts::Field,
};

/// An event up to this size is looked at as a whole.
const WHOLE: usize = 64 * 1024;
/// Longest event that is used as a pattern for held text.
const LONGEST_PATTERN: usize = 16 * 1024;
/// Of the events whose text is held back one goes out in so many bytes.
const SIGN_OF_LIFE: usize = 64 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Rewrites one event stream.
#[derive(Debug)]
pub struct StreamRewriter {
    framer: Framer,
    current: Current,
    writer: Writer,
    events: Events,
    /// Bytes of a byte-order mark that have come; `None` once the start is over.
    bom: Option<usize>,
}

/// The event being read.
#[derive(Debug, Default)]
struct Current {
    bytes: Vec<u8>,
    lines: Vec<(Tag, usize)>,
    /// It is too long to be looked at as a whole, and is being rewritten.
    flowing: bool,
    /// Something of it has come.
    begun: bool,
}

/// A [`Line`] without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    DataStart,
    Data,
    Other,
    End,
    Blank,
}

/// Writes the pieces of events.
#[derive(Debug)]
struct Writer {
    shape: Shape,
    document: Document,
    kind: Kind,
    /// The event's data have begun.
    in_data: bool,
    /// What stands between two data lines, or behind the last.
    between: Vec<u8>,
    patterns: Vec<Pattern>,
    /// The last event, when nothing but one text was looked into and it ended nothing. Most events differ from the one
    /// before in their text alone: those need not be parsed.
    envelope: Option<Pattern>,
    /// Bytes of events that were left out since one went out.
    left_out: usize,
}

/// An event that was sent, around the text of one field.
#[derive(Clone, Debug)]
struct Pattern {
    field: Field,
    before: Vec<u8>,
    behind: Vec<u8>,
}

impl StreamRewriter {
    pub fn new(rules: Rules) -> Self {
        let mut document = Document::new(rules);
        document.texts().streamed = true;
        let writer = Writer {
            shape: rules.shape,
            document,
            kind: Kind::Event,
            in_data: false,
            between: Vec::new(),
            patterns: Vec::new(),
            envelope: None,
            left_out: 0,
        };
        let events = Events::at_most(rules.pictures);
        Self { framer: Framer::default(), current: Current::default(), writer, events, bom: Some(0) }
    }

    /// Takes the next piece of the stream.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Event> {
        let piece = self.without_bom(piece);
        let Self { framer, current, writer, events, .. } = self;
        framer.push(piece, |line| current.line(line, writer, events));
        self.events.take()
    }

    /// Ends the stream: what is held or unfinished goes out.
    pub fn finish(&mut self) -> Vec<Event> {
        self.events.copy(self.bom.take().and_then(|known| BOM.get(..known)).unwrap_or_default());
        let Self { framer, current, writer, events, .. } = self;
        framer.finish(|line| current.line(line, writer, events));
        if current.can_wait() {
            writer.flush(|_| true, events);
        }
        let separator = current.separator();
        current.flow(writer, events);
        writer.end_data(events);
        if writer.document.texts().is_holding() {
            events.copy(separator);
            writer.flush(|_| true, events);
        }
        self.events.take()
    }

    /// How many pictures stayed as they came because they were one too many.
    pub fn left_out(&self) -> u64 {
        self.events.refused()
    }

    /// Whether what has come out so far ends with an event: a comment may follow.
    pub fn is_between_events(&self) -> bool {
        !self.current.flowing
    }

    /// Drops a byte-order mark at the very start, which may come in pieces.
    fn without_bom<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let Some(known) = self.bom else { return piece };
        let wanted = BOM.get(known..).unwrap_or_default();
        let common = wanted.iter().zip(piece).take_while(|(a, b)| a == b).count();
        if common == piece.len() && common < wanted.len() {
            self.bom = Some(known + common);
            return &[];
        }
        self.bom = None;
        if common == wanted.len() {
            return piece.get(common..).unwrap_or_default();
        }
        // No mark after all. Its first bytes alone are no stream either, but they are not ours to drop.
        self.events.copy(BOM.get(..known).unwrap_or_default());
        piece
    }
}

// === impl Current ===

impl Current {
    fn line(&mut self, line: Line<'_>, writer: &mut Writer, events: &mut Events) {
        let (tag, bytes) = match line {
            Line::DataStart(bytes) => (Tag::DataStart, bytes),
            Line::Data(bytes) => (Tag::Data, bytes),
            Line::Other(bytes) => (Tag::Other, bytes),
            Line::End(bytes) => (Tag::End, bytes),
            Line::Blank(bytes) => (Tag::Blank, bytes),
        };
        if self.flowing {
            writer.piece(tag, bytes, events);
            self.begun = tag != Tag::Blank;
            self.flowing = tag != Tag::Blank;
            return;
        }
        self.begun = tag != Tag::Blank;
        self.bytes.extend_from_slice(bytes);
        match self.lines.last_mut() {
            Some((last, end)) if *last == tag && matches!(tag, Tag::Data | Tag::Other) => *end = self.bytes.len(),
            _ => self.lines.push((tag, self.bytes.len())),
        }
        if tag == Tag::Blank {
            self.whole(writer, events);
        } else if self.bytes.len() > WHOLE {
            self.flow(writer, events);
            self.flowing = true;
        }
    }

    /// The event is complete.
    fn whole(&mut self, writer: &mut Writer, events: &mut Events) {
        if writer.in_envelope(&self.bytes, events) {
            self.bytes.clear();
            self.lines.clear();
            return;
        }
        let data = self.data();
        let holding = writer.document.texts().is_holding();
        let ends = data.map_or_else(Ends::default, |(start, end)| {
            Ends::of(writer.shape, self.bytes.get(start..end).unwrap_or_default())
        });
        if holding {
            writer.flush(|field| ends.comes_before(field), events);
        }
        let places = data.map(|(start, end)| places(writer.shape, self.bytes.get(start..end).unwrap_or_default()));
        let texts = writer.document.texts();
        texts.places = places.unwrap_or_default();
        texts.ending.extend(ends.places.iter().map(|(place, _)| *place));
        texts.last = None;
        texts.looked_into = 0;
        self.flow(writer, events);
        writer.remember(data.map(|(start, _)| start), &self.bytes, ends == Ends::default());
        writer.document.texts().ending.clear();
        writer.document.texts().places.clear();
        self.bytes.clear();
        self.lines.clear();
    }

    /// Whether held text may go out before this event, which the stream's end cut: it has no data that could go on with
    /// the text.
    fn can_wait(&self) -> bool {
        !self.flowing && !self.lines.iter().any(|(tag, _)| *tag == Tag::DataStart)
    }

    /// What stands between this event, which the stream's end cut, and another one. The first LF may become one with a CR
    /// that ended the last line.
    fn separator(&self) -> &'static [u8] {
        if self.begun { b"\n\n" } else { b"" }
    }

    /// Rewrites what is known of the event.
    fn flow(&mut self, writer: &mut Writer, events: &mut Events) {
        let mut start = 0;
        for (tag, end) in self.lines.drain(..) {
            writer.piece(tag, self.bytes.get(start..end).unwrap_or_default(), events);
            start = end;
        }
        if self.bytes.len() > WHOLE {
            // A picture follows, and its memory is spent elsewhere.
            self.bytes = Vec::new();
        }
    }

    /// Where the event's data begin and end, if they stand in one line.
    fn data(&self) -> Option<(usize, usize)> {
        let mut found = None;
        let mut start = 0;
        for (tag, end) in &self.lines {
            if *tag == Tag::Data && found.replace((start, *end)).is_some() {
                return None;
            }
            start = *end;
        }
        found
    }
}

// === impl Writer ===

impl Writer {
    fn piece(&mut self, tag: Tag, bytes: &[u8], events: &mut Events) {
        match tag {
            Tag::DataStart if self.in_data => {
                self.between.extend_from_slice(bytes);
                let between = std::mem::take(&mut self.between);
                self.document.interpose(&between, events);
            }
            Tag::DataStart => {
                events.copy(bytes);
                self.document.begin(self.kind);
                self.in_data = true;
            }
            Tag::Data => self.document.push(bytes, events),
            Tag::Blank => {
                self.end_data(events);
                events.copy(bytes);
                self.kind = Kind::Event;
            }
            Tag::Other | Tag::End if self.in_data => {
                self.between.extend_from_slice(bytes);
                if self.between.len() > WHOLE {
                    let between = std::mem::take(&mut self.between);
                    self.document.interpose(&between, events);
                }
            }
            Tag::Other => {
                if let Some(name) = bytes.strip_prefix(b"event:") {
                    self.kind = Kind::of(name.trim_ascii());
                }
                events.copy(bytes);
            }
            Tag::End => events.copy(bytes),
        }
    }

    fn end_data(&mut self, events: &mut Events) {
        if std::mem::take(&mut self.in_data) {
            self.document.finish(events);
        }
        events.copy(&std::mem::take(&mut self.between));
    }

    /// Sends the text that these fields hold, each in an event of its own.
    fn flush(&mut self, which: impl Fn(Field) -> bool, events: &mut Events) {
        let fields: Vec<Field> = self.document.texts().holding().filter(|field| which(*field)).collect();
        for field in fields {
            let (before, behind) = match self.patterns.iter().find(|pattern| pattern.field == field) {
                Some(pattern) => (pattern.before.clone(), pattern.behind.clone()),
                None => plain_pattern(self.shape, field),
            };
            events.copy(&before);
            self.document.texts().finish(field, events);
            events.copy(&behind);
        }
    }

    /// Rewrites an event that is the one before but for its text. `false`: it is not, or may be not, and nothing was done.
    fn in_envelope(&mut self, event: &[u8], events: &mut Events) -> bool {
        let Some(Pattern { field, before, behind }) = &self.envelope else { return false };
        let rest = event.strip_prefix(before.as_slice());
        let Some(text) = rest.and_then(|rest| rest.strip_suffix(behind.as_slice())) else { return false };
        // With escapes the string might end elsewhere; and a control character is no JSON.
        if memchr2(b'"', b'\\', text).is_some() || text.iter().fold(u8::MAX, |least, byte| least.min(*byte)) < 0x20 {
            return false;
        }
        let said = events.said();
        events.copy(before);
        let texts = self.document.texts();
        texts.go_on(*field, url_slot, text, events);
        let silent = !text.is_empty() && events.said() == said + before.len() as u64 && texts.is_holding();
        if silent && self.left_out < SIGN_OF_LIFE {
            events.take_back(before.len());
            self.left_out += event.len();
        } else {
            events.copy(behind);
            self.left_out = 0;
        }
        let (field, held) = (*field, self.document.texts().is_holding());
        if !held {
            self.patterns.clear();
        } else if !self.patterns.iter().any(|pattern| pattern.field == field) {
            self.patterns.extend(self.envelope.clone());
        }
        true
    }

    /// Keeps the event around its last text: to recognise the next one by, and as long as text of that field is held back.
    fn remember(&mut self, data: Option<usize>, event: &[u8], ends_nothing: bool) {
        let last = self.envelope.take();
        let is_json = !self.document.is_broken();
        let texts = self.document.texts();
        if !texts.is_holding() {
            self.patterns.clear();
        }
        self.patterns.retain(|pattern| texts.holding().any(|field| field == pattern.field));
        let (Some(data), Some((field, start, end))) = (data, texts.last) else { return };
        let at = |offset: u64| data + usize::try_from(offset).unwrap_or(0);
        let (Some(before), Some(behind)) = (event.get(..at(start)), event.get(at(end)..)) else { return };
        let (holds, is_alone) = (texts.holding().any(|held| held == field), texts.looked_into == 1);
        let is_envelope = is_json && ends_nothing && is_alone;
        if before.len() + behind.len() > LONGEST_PATTERN || !(holds || is_envelope) {
            return;
        }
        let mut pattern = last.unwrap_or_else(|| Pattern { field, before: Vec::new(), behind: Vec::new() });
        pattern.set(field, before, behind);
        if holds {
            self.patterns.retain(|pattern| pattern.field != field);
            self.patterns.push(pattern.clone());
        }
        if is_envelope {
            self.envelope = Some(pattern);
        }
    }
}

impl Pattern {
    fn set(&mut self, field: Field, before: &[u8], behind: &[u8]) {
        self.field = field;
        self.before.clear();
        self.before.extend_from_slice(before);
        self.behind.clear();
        self.behind.extend_from_slice(behind);
    }
}

/// An event around a text, when none is at hand to copy.
fn plain_pattern(shape: Shape, field: Field) -> (Vec<u8>, Vec<u8>) {
    let Field { place, name } = field;
    let (before, behind) = match shape {
        Shape::Responses => {
            let (output, content) = (place >> 16, place & 0xffff);
            let kind = "response.output_text.delta";
            let before = format!(
                "event: {kind}\ndata: {{\"type\":\"{kind}\",\"output_index\":{output},\"content_index\":{content},\"delta\":\""
            );
            (before, "\"}\n\n")
        }
        Shape::Chat | Shape::Images => {
            let name = if name == Name::Other { Name::Content } else { name }.as_str();
            let before = format!(
                "data: {{\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":{place},\"delta\":{{\"{name}\":\""
            );
            (before, "\"},\"finish_reason\":null}]}\n\n")
        }
    };
    (before.into_bytes(), behind.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::rewrite::{
        answer::Form,
        testing::{PNG, PNG_BASE64, Renderer},
    };

    fn rules(shape: Shape, form: Form) -> Rules {
        Rules::new(shape, form)
    }

    fn rewrite_pieces<'a>(rules: Rules, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut rewriter = StreamRewriter::new(rules);
        let mut renderer = Renderer::default();
        for piece in pieces {
            renderer.events(rewriter.push(piece));
        }
        renderer.events(rewriter.finish());
        renderer.text()
    }

    /// Rewrites the stream whole, in pieces of several sizes and cut at every place; all must agree.
    #[track_caller]
    fn rewrite(rules: Rules, text: &str) -> String {
        let text = text.as_bytes();
        let whole = rewrite_pieces(rules, [text]);
        for size in [1, 2, 7, 64, 1000] {
            assert_eq!(rewrite_pieces(rules, text.chunks(size)), whole, "in pieces of {size}");
        }
        for cut in (0..=text.len()).step_by(1 + text.len() / 2000) {
            let (a, b) = text.split_at(cut);
            assert_eq!(rewrite_pieces(rules, [a, b]), whole, "cut at {cut}");
        }
        whole
    }

    fn fixture(name: &str) -> String {
        let path = format!("{}/tests/fixtures/wire/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    }

    fn picture(name: &str) -> String {
        let path = format!("{}/tests/fixtures/wire/img/{name}", env!("CARGO_MANIFEST_DIR"));
        Renderer::url(&std::fs::read(path).unwrap())
    }

    /// The JSON of every event.
    fn data(stream: &str) -> Vec<Value> {
        let lines = stream.lines().filter_map(|line| line.strip_prefix("data:"));
        lines.filter_map(|line| serde_json::from_str(line.trim()).ok()).collect()
    }

    /// The text a client puts together, of one choice.
    fn content(stream: &str, choice: u64) -> String {
        let of_choice = |event: &Value| {
            let choices = event["choices"].as_array().cloned().unwrap_or_default();
            let mine = choices.into_iter().find(|c| c["index"] == choice)?;
            Some(mine["delta"]["content"].as_str()?.to_owned())
        };
        data(stream).iter().filter_map(of_choice).collect()
    }

    fn delta(index: u32, text: &str) -> String {
        format!(
            "data: {{\"id\":\"c\",\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
        )
    }

    fn stop(index: u32) -> String {
        format!(
            "data: {{\"id\":\"c\",\"choices\":[{{\"index\":{index},\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n"
        )
    }

    #[test]
    fn markdown_cut_over_many_deltas_becomes_one_url() {
        let stream = fixture("resp.chat.markdown-split.sse");
        let out = rewrite(rules(Shape::Chat, Form::Url), &stream);
        assert_eq!(
            content(&out, 0),
            content(&stream, 0).replace(&data_uri(&content(&stream, 0)), &picture("noise16.png"))
        );
        assert!(out.ends_with(&stream[stream.len() - 20..]));
        assert!(!out.contains("base64"));
        assert_eq!(rewrite(rules(Shape::Chat, Form::AsCame), &stream), stream);
    }

    fn data_uri(text: &str) -> String {
        let start = text.find("data:").unwrap();
        let len = text[start..].find(')').unwrap_or(text.len() - start);
        text[start..start + len].to_owned()
    }

    #[test]
    fn streams_of_every_shape_keep_everything_but_the_pictures() {
        for (name, shape, pictures) in [
            ("resp.chat.delta-images.sse", Shape::Chat, &[("data:image/png;base64,", "px2.png")][..]),
            ("resp.images.stream-generation.sse", Shape::Images, &[("", "px2.png")]),
            ("resp.images.stream-edit.sse", Shape::Images, &[("", "px2.webp")]),
            ("resp.responses.stream.sse", Shape::Responses, &[("", "px2.png")]),
        ] {
            let stream = fixture(name);
            let out = rewrite(rules(shape, Form::Url), &stream);
            for (prefix, file) in pictures {
                let bytes =
                    std::fs::read(format!("{}/tests/fixtures/wire/img/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
                let base64 = format!("{prefix}{}", base64_simd::STANDARD.encode_to_string(&bytes));
                let url = Renderer::url(&bytes);
                let kept: Vec<Value> = data(&out);
                let mut expected = String::new();
                for line in stream.lines() {
                    let partial = line.contains("partial_image");
                    let line = if partial { line.to_owned() } else { line.replace(&base64, &url) };
                    let line = if shape == Shape::Images && !partial { line.replace("b64_json", "url") } else { line };
                    expected.push_str(&line);
                    expected.push('\n');
                }
                assert_eq!(out, expected, "{name}");
                assert!(!kept.is_empty());
            }
            assert_eq!(rewrite(rules(shape, Form::AsCame), &stream), stream, "{name}");
        }
    }

    #[test]
    fn arks_finished_pictures_and_failures_are_told_apart() {
        let stream = fixture("resp.images.ark-stream.sse");
        let out = rewrite(rules(Shape::Images, Form::Url), &stream);
        let (before, after) = (data(&stream), data(&out));
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            if before["type"].as_str().is_some_and(|name| name.ends_with("partial_succeeded")) {
                assert!(after["url"].as_str().unwrap().starts_with("u:"), "{after}");
                assert!(after.get("b64_json").is_none());
            } else {
                assert_eq!(before, after);
            }
        }
    }

    #[test]
    fn choices_are_told_apart_wherever_their_index_stands() {
        let (a, b) =
            (format!("![a](data:image/png;base64,{PNG_BASE64})"), format!("x data:image/png;base64,{PNG_BASE64} y"));
        let mut stream = String::new();
        for at in 0..a.len().max(b.len()).div_ceil(5) {
            for (index, text) in [(0, &a), (1, &b)] {
                if let Some(piece) = text.get(at * 5..(at * 5 + 5).min(text.len())) {
                    stream.push_str(&delta(index, piece));
                }
            }
        }
        stream.push_str(&(stop(0) + &stop(1) + "data: [DONE]\n\n"));
        let out = rewrite(rules(Shape::Chat, Form::Url), &stream);
        assert_eq!(content(&out, 0), format!("![a]({})", Renderer::url(PNG)));
        assert_eq!(content(&out, 1), format!("x {} y", Renderer::url(PNG)));
    }

    /// Regression 17: it went out behind the line that was cut, as a part of it.
    #[test]
    fn held_text_is_an_event_of_its_own_when_the_stream_is_cut() {
        let cut = |text: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}");
        for (tail, joined) in [
            (": a comment".to_owned(), "see data:im"),
            ("event: x\nid: 3".into(), "see data:im"),
            ("data00: x".into(), "see data:im"),
            ("dat".into(), "see data:im"),
            (delta(0, "age").trim_end().to_owned(), "see data:image"),
            (delta(0, "age").trim_end().to_owned() + "\n", "see data:image"),
            (cut("age"), "see data:image"),
        ] {
            let out = rewrite(rules(Shape::Chat, Form::Url), &(delta(0, "see data:im") + &tail));
            let events: Vec<&str> = out.split("\n\n").collect();
            let texts = events.iter().filter(|event| event.trim_start().starts_with("data: {")).count();
            assert!(texts >= 2 && out.matches("data: {").count() == texts, "{tail}: {out}");
            assert!(tail.contains("data: {") || content(&out, 0) == joined, "{tail}: {out}");
        }
    }

    #[test]
    fn held_text_goes_out_before_what_ends_it() {
        let uri = format!("data:image/png;base64,{PNG_BASE64}");
        let url = Renderer::url(PNG);
        let tool = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[]}}]}\n\n".to_owned();
        let last = |text: &str| {
            format!(
                "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":\"length\"}}]}}\n\n"
            )
        };
        for (text, tail, joined) in [
            ("see data:im", stop(0), "see data:im".to_owned()),
            ("see data:im", "data: [DONE]\n\n".into(), "see data:im".into()),
            ("see data:im", String::new(), "see data:im".into()),
            ("see data:im", "data: {\"error\":{\"message\":\"x\"}}\n\n".into(), "see data:im".into()),
            ("see data:im", tool, "see data:im".into()),
            ("see data:im", last("age"), "see data:image".into()),
            (&uri, stop(0), url.clone()),
            (&uri, String::new(), url.clone()),
            (&uri[..60], stop(0), uri[..60].to_owned()),
            (&uri[..40], last(&uri[40..]), url.clone()),
        ] {
            let stream = delta(0, text) + &tail;
            let out = rewrite(rules(Shape::Chat, Form::Url), &stream);
            assert_eq!(content(&out, 0), joined, "{text} then {tail}");
            if !tail.contains("length") {
                assert!(out.ends_with(&tail), "{out}");
            }
        }
    }

    #[test]
    fn framing_leaves_as_it_came() {
        let json = "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}";
        for stream in [
            "".to_owned(),
            ": comment\n\n".into(),
            format!("data: {json}\r\n\r\n: ping\r\n\r\ndata:{json}\r\n\r\n"),
            format!("data: {json}\r\rid: 1\revent: x\rdata: {json}\r\r"),
            format!("retry: 10\nid:\ndata:  {json}  \n\ndata: [DONE] \n\n"),
            "data: {\"choices\":\ndata: [\ndata: ]}\n\n".into(),
            "data: {\"a\":\n  \"b\"}\n\n".into(),
            format!("data: {json}\n\ndata: {{\"choices\":[{{\"delta\":{{\"content\":\"cut"),
            "data\n\nfoo\nevent: \n\n\n\n".into(),
            "data: not json data:image/png;base64,iVBORw0KGgo\n\n".into(),
        ] {
            for form in [Form::Url, Form::AsCame] {
                assert_eq!(rewrite(rules(Shape::Chat, form), &stream), stream);
            }
        }
        let marked = format!("\u{feff}data: {json}\n\n");
        assert_eq!(rewrite(rules(Shape::Chat, Form::Url), &marked), &marked[3..]);
    }

    #[test]
    fn data_over_several_lines_are_one_document() {
        let stream = format!(
            "data: {{\"type\":\"image_generation.completed\",\r\ndata: \"b64_json\":\r\ndata:\"{PNG_BASE64}\"}}\r\n\r\n"
        );
        let expected = stream.replace("b64_json", "url").replace(PNG_BASE64, &Renderer::url(PNG));
        assert_eq!(rewrite(rules(Shape::Images, Form::Url), &stream), expected);
    }

    #[test]
    fn pictures_of_any_length_in_one_line_are_rewritten_while_they_arrive() {
        let noise: Vec<u8> = (0..400_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let bytes = [PNG, &noise].concat();
        let base64 = base64_simd::STANDARD.encode_to_string(&bytes);
        let url = Renderer::url(&bytes);
        let images = format!(
            "event: image_generation.completed\ndata: {{\"type\":\"image_generation.completed\",\"b64_json\":\"{base64}\",\"usage\":{{}}}}\n\n"
        );
        let chat = delta(0, &format!("![x](data:image/png;base64,{base64})")) + &stop(0);
        for (shape, stream, from, to) in [
            (Shape::Images, images, format!("\"b64_json\":\"{base64}\""), format!("\"url\":\"{url}\"")),
            (Shape::Chat, chat, format!("data:image/png;base64,{base64}"), url),
        ] {
            for size in [1 << 20, 65_536, 1000] {
                let out = rewrite_pieces(rules(shape, Form::Url), stream.as_bytes().chunks(size));
                assert!(out == stream.replace(&from, &to), "in pieces of {size}");
            }
        }
    }

    #[test]
    fn responses_text_agrees_in_deltas_and_in_repetitions() {
        let uri = format!("data:image/png;base64,{PNG_BASE64}");
        let mut stream = String::new();
        for piece in uri.as_bytes().chunks(9) {
            let piece = std::str::from_utf8(piece).unwrap();
            stream.push_str(&format!("event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"item_id\":\"m\",\"output_index\":1,\"content_index\":0,\"delta\":\"{piece}\"}}\n\n"));
        }
        let arguments = format!(
            "event: response.function_call_arguments.delta\ndata: {{\"type\":\"response.function_call_arguments.delta\",\"delta\":\"{uri}\"}}\n\n"
        );
        let done = format!(
            "event: response.output_text.done\ndata: {{\"type\":\"response.output_text.done\",\"text\":\"{uri}\"}}\n\n"
        );
        let out = rewrite(rules(Shape::Responses, Form::Url), &(stream + &arguments + &done));
        let joined: String = data(&out)
            .iter()
            .filter(|event| event["type"] == "response.output_text.delta")
            .map(|event| event["delta"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(joined, Renderer::url(PNG));
        assert!(out.contains(&arguments), "arguments are never touched");
        assert!(out.ends_with(&done.replace(&uri, &Renderer::url(PNG))));
    }

    #[test]
    fn events_whose_text_is_held_back_are_left_out_but_for_a_sign_of_life() {
        let bytes = [PNG, &[7; 300_000]].concat();
        let base64 = base64_simd::STANDARD.encode_to_string(&bytes);
        let mut stream = delta(0, "") + &delta(0, "data:image/png;base64,") + &delta(0, "");
        base64.as_bytes().chunks(1000).for_each(|piece| stream.push_str(&delta(0, str::from_utf8(piece).unwrap())));
        stream.push_str(&stop(0));
        let out = rewrite_pieces(rules(Shape::Chat, Form::Url), stream.as_bytes().chunks(777));
        assert_eq!(content(&out, 0), Renderer::url(&bytes));
        // What came empty leaves empty, and so does the event that shows that it is a picture; six signs of life for 440 KB.
        assert_eq!(out.matches("\"content\":\"\"").count(), 2 + 1 + 6, "{out}");
    }

    #[test]
    fn a_delta_that_ends_with_an_escape_is_not_cut_inside_it() {
        let stream: String = ["S\\u00ed", "\\u00da", "\\u4f1d", "ata:image", "\\\\u00d"]
            .map(|text| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"))
            .concat();
        let out = rewrite_pieces(rules(Shape::Chat, Form::Url), [stream.as_bytes()]);
        assert_eq!(content(&out, 0), "S\u{ed}\u{da}\u{4f1d}ata:image\\u00d");
    }

    proptest! {
        /// Events that differ in their text alone take a shorter way; what comes out is the same.
        #[test]
        fn an_event_like_the_one_before_is_rewritten_like_any_other(
            deltas in prop::collection::vec(prop_oneof![
                Just(PNG_BASE64.to_owned()), Just(PNG_BASE64[..50].to_owned()), Just(PNG_BASE64[50..].to_owned()),
                Just("data:image/png;base64,".into()), Just("data:im".into()), Just("age/png;base64,".into()),
                Just(")".into()), Just("\\u00e9".into()), Just("\\".into()), Just("\"".into()), Just("\t".into()),
                Just("\",\"reasoning_content\":\"data:image/png;base64,".into()), "[a-z ]{0,5}"
            ], 0..12),
            size in 1usize..300,
        ) {
            let stream = |mark: fn(usize) -> char| -> String {
                let marked = |(at, text): (usize, &String)| delta(0, text).replacen("\"id\":", &format!("\"mark\":\"{}\",\"id\":", mark(at)), 1);
                deltas.iter().enumerate().map(marked).collect()
            };
            let rules = rules(Shape::Chat, Form::Url);
            let alike = rewrite_pieces(rules, stream(|_| 'x').as_bytes().chunks(size));
            let unlike = rewrite_pieces(rules, [stream(|at| if at % 2 == 0 { 'y' } else { 'z' }).as_bytes()]);
            // Those of the one kind that have no text left are left out.
            let unmarked = unlike.replace("\"mark\":\"y\"", "\"mark\":\"x\"").replace("\"mark\":\"z\"", "\"mark\":\"x\"");
            let with_text = |stream: String| -> Vec<String> {
                stream.split("\n\n").filter(|event| !event.contains("\"content\":\"\"")).map(str::to_owned).collect()
            };
            prop_assert_eq!(with_text(alike), with_text(unmarked));
        }

        #[test]
        fn any_cut_gives_the_same_and_no_text_is_lost(
            deltas in prop::collection::vec(prop_oneof![
                Just(PNG_BASE64.to_owned()), Just(PNG_BASE64[..50].to_owned()), Just(PNG_BASE64[50..].to_owned()),
                Just("data:image/png;base64,".into()), Just("data:im".into()), Just("age/png;base64,".into()),
                Just("![x](".into()), Just(")".into()), Just("\\n".into()), "[a-z ]{0,5}"
            ], 0..12),
            ending in 0usize..4,
            size in 1usize..300,
        ) {
            let mut stream: String = deltas.iter().map(|text| delta(0, text)).collect();
            stream.push_str(&[stop(0), "data: [DONE]\n\n".into(), String::new(), stop(0) + "data: [DONE]\n\n"][ending]);
            let rules = rules(Shape::Chat, Form::Url);
            let whole = rewrite_pieces(rules, [stream.as_bytes()]);
            prop_assert_eq!(&rewrite_pieces(rules, stream.as_bytes().chunks(size)), &whole);
            // The joined text is what a scan of the whole text gives.
            let joined = content(&stream, 0).replace('\n', "\\n");
            let answer = format!("{{\"choices\":[{{\"message\":{{\"content\":\"{joined}\"}}}}]}}");
            let mut reference = crate::rewrite::answer::AnswerRewriter::new(rules);
            let mut renderer = Renderer::default();
            renderer.events(reference.push(answer.as_bytes()));
            renderer.events(reference.finish());
            let expected: Value = serde_json::from_str(&renderer.text()).unwrap();
            prop_assert_eq!(content(&whole, 0), expected["choices"][0]["message"]["content"].as_str().unwrap());
        }

        #[test]
        fn anything_at_all_comes_out_again(text in "(data: |\\{|\\}|\"|:|\n|\r|a|é|\\[DONE\\]|,){0,40}", size in 1usize..9) {
            let rules = rules(Shape::Chat, Form::Url);
            let mut rewriter = StreamRewriter::new(rules);
            let mut renderer = Renderer::default();
            for piece in text.as_bytes().chunks(size) {
                renderer.events(rewriter.push(piece));
            }
            renderer.events(rewriter.finish());
            prop_assert_eq!(renderer.out, text.into_bytes());
        }
    }
}

//! Work that grows with the input and no faster: what is looked at is counted, not timed.
//!
//! The bounds, one for each rewriter, are those of `fuzz/src/linear.rs`, whose fuzz target looks for worse inputs.

use picgate::work;
use proptest::prelude::*;

use crate::corpus::linear::{BOUNDS, Bound};

// Numbers of rules: the family of the answer, and how many pictures are taken out of it. The form is URLs.
const IMAGES: usize = 0;
const CHAT: usize = 1;
const RESPONSES: usize = 2;
const IMAGES_ONE: usize = 12;
const CHAT_ONE: usize = 13;
const CHAT_NONE: usize = 25;
// With other forms: base64, both, as they came.
const IMAGES_BASE64: usize = 3;
const IMAGES_BOTH: usize = 6;
const IMAGES_AS_CAME: usize = 9;

/// A whole picture.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAYAAABytg0kAAAAGklEQVR42mNgZGL+z8LK9p+BnYPzPxc3z38AIAsES4oxhygAAAAASUVORK5CYII=";
/// A JPEG up to its scan, then no end.
const SCAN: &str = "/9j/wAALCAABAAEBAREA/9oACAEBAAA/AAAA";

/// One kind of input.
struct Row {
    what: &'static str,
    rewriter: &'static str,
    rules: usize,
    around: [String; 2],
    /// What is repeated between these.
    unit: String,
}

fn row(rewriter: &'static str, rules: usize, around: [&str; 2], what: &'static str, unit: impl Into<String>) -> Row {
    Row { what, rewriter, rules, around: around.map(str::to_owned), unit: unit.into() }
}

impl Row {
    fn input(&self, len: usize) -> Vec<u8> {
        let [before, behind] = &self.around;
        let unit = len.saturating_sub(before.len() + behind.len()).div_ceil(self.unit.len().max(1));
        [before.as_str(), &self.unit.repeat(unit), behind].concat().into_bytes()
    }
}

/// The answer of a chat around its text.
const TEXT: [&str; 2] = [r#"{"choices":[{"message":{"content":""#, r#""}}]}"#];
/// The answer of an images route around a picture, and around its members.
const VALUE: [&str; 2] = [r#"{"data":[{"b64_json":""#, r#""}]}"#];
const ITEM: [&str; 2] = [r#"{"data":[{"#, r#""x":1}]}"#];
const ITEMS: [&str; 2] = [r#"{"data":["#, r#"{}]}"#];

/// A chat's request around its prompt.
const PROMPT: [&str; 2] = [r#"{"model":"m","messages":[{"role":"user","content":""#, r#""}]}"#];
/// A form around a file, and around a field.
const FILE: [&str; 2] = ["--b\r\nContent-Disposition: form-data; name=\"x\"; filename=\"y\"\r\n\r\n", "\r\n--b--\r\n"];
const FIELD: [&str; 2] = ["--b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n", "\r\n--b--\r\n"];

/// Text in answers that looks like pictures.
fn texts() -> Vec<Row> {
    let lines = |head: &str, line: &str| (format!("{}data:image/jpeg;base64,{head}", TEXT[0]), format!("{line}\\n"));
    let mut rows = Vec::new();
    for rules in [CHAT, CHAT_ONE, CHAT_NONE] {
        let mut text = |what, unit: &str| rows.push(row("answer", rules, TEXT, what, unit));
        text("starts of data URIs", "data:image");
        text("data URIs without data", "data:image/png;base64,");
        text("data URIs of nothing", "data:image/png;base64,AAAA ");
        text("short starts of a PNG", "data:image/png;base64,iVBORw0KGgo... ");
        text("short starts of a JPEG", "data:image/jpeg;base64,/9j/ ");
        text("starts of a JPEG, of 300 characters", &format!("data:image/jpeg;base64,/9j/{} ", "////".repeat(74)));
        text(
            "starts of a JPEG, of 70 000 characters",
            &format!("data:image/jpeg;base64,/9j/{} ", "////".repeat(17_500)),
        );
        text("whole pictures", &format!("![x](data:image/png;base64,{PNG}) "));
        text("cut pictures", &format!("data:image/png;base64,{} ", &PNG[..60]));
        text("whole pictures in lines", &format!("data:image/png;base64,{}\\n{}\\n", &PNG[..44], &PNG[44..]));
        text("line ends that may go on", "data:image/png;base64,iVBORw0KGgoA\\ndat\\ndata");
        text("percent in data URIs", "data:image/png;base64,iVBOR%77%30K ");
        text("letters that begin a data URI", "d");
        text("colons", ":");
        text("backslashes before a data URI", r"\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\data:image");
        text("escapes before a data URI", r"\u0064ata:image");
        text("escapes that hold a data URI's start", r"\u001data:image");
        for (what, head, line) in [
            ("a JPEG of fill bytes in lines of four characters", "/9j/", "////"),
            ("a JPEG of short segments in lines of four characters", "/9j/", "4AAC"),
            ("a JPEG's scan in lines of four characters", SCAN, "AAAA"),
            ("a JPEG's scan of fill bytes in lines of four characters", SCAN, "////"),
            ("a picture in lines of one character", SCAN, "A"),
            ("a picture whose line ends are spelled out", SCAN, r"A\u000a"),
            ("a picture with slashes escaped", SCAN, r"A\/\/A"),
            ("a picture in percent", SCAN, "%41"),
        ] {
            let (before, line) = lines(head, line);
            rows.push(row("answer", rules, [&before, TEXT[1]], what, line));
        }
    }
    rows
}

/// Values and members of answers.
fn values() -> Vec<Row> {
    let mut rows = Vec::new();
    for rules in [IMAGES, IMAGES_ONE, IMAGES_BASE64, IMAGES_BOTH, IMAGES_AS_CAME] {
        rows.extend([
            row("answer", rules, VALUE, "white space in base64", " "),
            row("answer", rules, VALUE, "white space between characters", "A "),
            row("answer", rules, VALUE, "escaped white space", r"\n"),
            row("answer", rules, VALUE, "escaped letters", r"\u0041"),
            row("answer", rules, VALUE, "URL-safe base64", "iVBORw0KGgo-_-_-"),
            row("answer", rules, VALUE, "fill bytes of a JPEG", "/9j/////"),
            row("answer", rules, ITEM, "empty twins", r#""url":"","b64_json":"","#),
            row("answer", rules, ITEM, "links", r#""url":"http://x/a","#),
            row("answer", rules, ITEM, "texts beside an empty twin", r#""url":"","x":"a","#),
            row("answer", rules, [r#"{"data":[{"url":"",""#, r#"":1}]}"#], "a key without end", "x"),
            row("answer", rules, ITEM, "empty keys", r#""":1,"#),
            row("answer", rules, ["{\"data\":[{", "\"x\":1}]}"], "white space", " "),
            row("answer", rules, ITEMS, "empty items", "{},"),
            row("answer", rules, ITEMS, "items with links", r#"{"url":"http://x/a","b64_json":""},"#),
            row("answer", rules, ITEMS, "long links", format!(r#"{{"url":"http://x/{}"}},"#, "a".repeat(17_000))),
            row("answer", rules, ITEMS, "pictures", format!(r#"{{"b64_json":"{PNG}"}},"#)),
            row("answer", rules, ITEMS, "data URIs", format!(r#"{{"url":"data:image/png;base64,{PNG}"}},"#)),
            row("answer", rules, ITEMS, "numbers", "1,"),
            row("answer", rules, ITEMS, "long numbers", format!("{},", "1".repeat(1000))),
            row("answer", rules, [r#"{"x":""#, r#""}"#], "cut escapes", r"\u0041\n"),
            row("answer", rules, ["", ""], "brackets", "["),
            row(
                "answer",
                rules,
                ["", ""],
                "brackets within limits",
                format!("{}1{}", "[".repeat(200), "]".repeat(200)),
            ),
        ]);
    }
    rows
}

/// A delta of a chat.
fn delta(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
}

/// Event streams.
fn streams() -> Vec<Row> {
    let choices = |range: std::ops::Range<usize>, text: &str| {
        let choice = |at| format!("{{\"index\":{at},\"delta\":{{\"content\":\"{text}\"}}}}");
        range.map(choice).collect::<Vec<_>>().join(",")
    };
    let long = "x".repeat(12_000);
    let picture = format!("![x](data:image/jpeg;base64,{SCAN}");
    let mut rows = Vec::new();
    let mut chat = |what, unit: String| {
        for rules in [CHAT, CHAT_ONE] {
            rows.push(row("stream", rules, ["", ""], what, unit.as_str()));
        }
    };
    chat("plain text", delta("some words"));
    chat("text that is held", delta("d"));
    chat("text that is held and let go", delta("d") + &delta("x"));
    chat("escapes", delta(r"\n"));
    chat("texts of many choices", format!("data: {{\"choices\":[{}]}}\n\n", choices(0..600, "x")));
    chat("held texts of many choices", format!("data: {{\"choices\":[{}]}}\n\n", choices(0..64, "d")));
    chat(
        "held texts of many choices, let go",
        format!("data: {{\"choices\":[{}]}}\n\ndata: [DONE]\n\n", choices(0..64, "d")),
    );
    chat(
        "held texts of many choices and a long id, let go",
        format!("data: {{\"id\":\"{long}\",\"choices\":[{}]}}\n\ndata: [DONE]\n\n", choices(0..64, "d")),
    );
    chat(
        "one of many held texts",
        format!("data: {{\"choices\":[{}]}}\n\n{}", choices(1..64, "d"), delta("d").repeat(64)),
    );
    chat("pictures", delta(&format!("data:image/png;base64,{PNG} ")));
    chat("starts of pictures", delta("data:image/png;base64,iVBO ") + &delta("data:ima"));
    chat("lines without data", ":\n".to_owned());
    chat("empty lines", "\n".to_owned());
    chat("carriage returns", "\r".to_owned());
    chat("data in many lines", format!("data: {{\"choices\":[\n{}data: ]}}\n\n", "data: 1,\n".repeat(3000)));
    chat("data of nothing in many lines", "data:\n".to_owned());
    chat("events of every end", delta("a").replace('\n', "\r\n") + &delta("b").replace('\n', "\r") + &delta("c"));
    chat("events of 32 KB", delta(&"x".repeat(32_600)));
    chat("events of 33 KB", delta(&"x".repeat(33_000)));
    chat("events of 33 KB after a held text", delta("d") + &delta(&"x".repeat(33_000)));
    chat("broken data", "data: {\"choices\":[{\"delta\":{\"content\":\"d\n\n".to_owned());
    chat("other data", "data: x\n\n".to_owned());
    chat(
        "parts",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"d\"}]}}]}\n\n"
            .to_owned(),
    );
    chat("white space", format!("data: {{{}}}\n\n", " ".repeat(20_000)));
    for (what, text) in [("a picture by characters", "A"), ("a picture in lines by events", r"AAAA\n")] {
        rows.push(row("stream", CHAT, [&delta(&picture), &delta("")], what, delta(text)));
    }
    let before = format!("{}data:image/jpeg;base64,/9j/", delta("").split_once("\"}").unwrap().0);
    rows.push(row("stream", CHAT, [&before, "\"}}]}\n\n"], "a picture in one event", r"////\n"));
    for (kind, rest) in
        [("response.output_text.delta", r#""delta":"d""#), ("response.output_item.done", r#""item":{"result":"iVBO"}"#)]
    {
        let event = format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"output_index\":0,{rest}}}\n\n");
        rows.push(row("stream", RESPONSES, ["", ""], "events of a response", event));
    }
    let event = "event: image_generation.partial_image\ndata: {\"b64_json\":\"iVBORw0KGgo\"}\n\n";
    rows.push(row("stream", IMAGES, ["", ""], "previews", event));
    rows
}

/// JSON requests.
fn requests() -> Vec<Row> {
    const MESSAGES: [&str; 2] = [r#"{"messages":["#, "1]}"];
    let message = |content: &str| format!(r#"{{"role":"user","content":{content}}},"#);
    let tag = format!("<img {}>", "a='b'".repeat(700));
    let mut rows: Vec<Row> = [
        ("exclamation marks", "!"),
        ("starts of markup", "!["),
        ("markup without a URL", "![]()"),
        ("markup that never ends", "![a](b"),
        ("markup in markup", "![![x]("),
        ("alternative text without end", "![aaaaaaaaaaaaaaaa"),
        ("pictures of ours", "![x](https://g/images/a)"),
        ("tags", "<img src=x>"),
        ("starts of tags", "<img "),
        ("attributes", tag.as_str()),
        ("thoughts", "<think></think>"),
        ("starts of thoughts", "<think>"),
        ("ends of thoughts", "</think>"),
        ("less-than signs", "<"),
        ("escapes", r"\u003c\u0021"),
        ("backslashes", r"\\"),
        ("lone surrogates", r"\ud800"),
        ("cut characters", "\u{1f5bc}"),
    ]
    .map(|(what, unit)| row("request", CHAT, PROMPT, what, unit))
    .into();
    for (what, unit) in [
        ("short texts", message(r#""x""#)),
        ("texts that end in half a character", message(r#""\ud800""#)),
        ("long texts that end in half a character", message(&format!("\"{}\\ud800\"", "x".repeat(16_300)))),
        ("empty contents", message("[]")),
        ("text parts", message(&format!("[{}1]", r#"{"type":"text","text":"x"},"#.repeat(50)))),
        ("pictures", message(r#"[{"type":"image_url","image_url":{"url":"http://x/a"}}]"#)),
        ("inline pictures", message(&format!(r#"[{{"image_url":"data:image/png;base64,{PNG}"}}]"#))),
        ("long URLs", message(&format!(r#"[{{"image_url":"http://x/{}"}}]"#, "a".repeat(17_000)))),
        ("sources", message(r#"[{"type":"image","source":{"type":"url","url":"http://x/a"}}]"#)),
        ("thoughts of the assistant", r#"{"role":"assistant","content":"<think>x</think>y"},"#.to_owned()),
        ("pictures of ours in short texts", message(r#""![x](https://g/images/a)""#)),
    ] {
        rows.push(row("request", CHAT, MESSAGES, what, unit));
    }
    rows.extend([
        row("request", CHAT, ["{", "\"x\":1}"], "repeated fields", r#""n":1,"#),
        row("request", IMAGES, ["{", "\"x\":1}"], "repeated formats", r#""response_format":null,"#),
        row("request", IMAGES, [r#"{"images":["#, "1]}"], "pictures of an edit", r#"{"image_url":"http://x/a"},"#),
        row("request", RESPONSES, [r#"{"input":["#, "1]}"], "outputs", r#"{"output":"![x](https://g/images/a)"},"#),
        row("request", CHAT, ["{\"x\":", "1}"], "white space", " "),
    ]);
    rows
}

/// Forms. Their boundary is `b`, or what their first line says.
fn forms() -> Vec<Row> {
    let long = "b".repeat(70);
    let first = format!("--{long}\r\nContent-Disposition: form-data; name=\"x\"; filename=\"y\"\r\n\r\n");
    let mut rows: Vec<Row> = [
        ("what looks like a delimiter", "\r\n--bX"),
        ("starts of a delimiter", "\r\n--"),
        ("carriage returns", "\r"),
        ("line ends", "\r\n"),
        ("a delimiter with white space", "\r\n--b   x"),
        (
            "a delimiter with much white space",
            "\r\n--b                                                                       \t x",
        ),
        ("a delimiter with one dash", "\r\n--b-"),
        ("a delimiter with a carriage return", "\r\n--b\r"),
        ("zeros", "\0"),
    ]
    .into_iter()
    .flat_map(|(what, unit)| [row("multipart", 0, FILE, what, unit), row("multipart", 0, FIELD, what, unit)])
    .collect();
    for (what, unit) in [
        ("nearly a long delimiter", format!("\r\n--{}", &long[1..])),
        ("a long delimiter and more", format!("\r\n--{long}X")),
    ] {
        rows.push(row("multipart", 0, [&first, "\r\n"], what, unit));
    }
    let header = |line: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"x\"\r\n{}\r\n\r\n\r\n", line.repeat(16_000 / line.len()))
    };
    rows.extend([
        row("multipart", 0, ["--b\r\n\r\n", ""], "no header", "\r\n--b\r\n"),
        row("multipart", 0, ["", "--b--"], "parts", "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n\r\n"),
        row("multipart", 0, ["", "--b--"], "headers of many lines", header("a:b\r\n")),
        row("multipart", 0, ["", "--b--"], "headers of carriage returns", header("\r")),
        row("multipart", 0, ["", "--b--"], "headers without a line end", header("x")),
        row(
            "multipart",
            0,
            ["", "--b--"],
            "many parameters",
            format!("--b\r\nContent-Disposition: form-data; {}name=x\r\n\r\n\r\n", "a=\"\\\\\";".repeat(2000)),
        ),
        row("multipart", 0, ["", ""], "a preamble", "\r\n--x"),
        row("multipart", 0, ["--b--", ""], "an epilogue", "\r\n--b\r\n"),
    ]);
    rows
}

/// What the rewriters are made of.
fn bytes() -> Vec<Row> {
    let mut rows = Vec::new();
    for rules in 0..3 {
        for unit in ["A", "A ", "AAA=", "%41", "-_", "\n", "AAAA*", "AAAA\n", "=", "AA%2"] {
            rows.push(row("base64", rules, ["", ""], "base64", unit));
        }
    }
    for (what, head) in [
        ("a JPEG", "\u{ff}\u{d8}\u{ff}"),
        ("a PNG", "\u{89}PNG\r\n\u{1a}\n"),
        ("a GIF", "GIF89a\0\0\0\0\0\0\0"),
        ("a WebP", "RIFF\0\0\0\u{1}WEBPVP8 "),
        ("boxes", "\0\0\u{2}\0ftyp"),
        ("a bitmap", "BM\u{ff}\u{ff}\u{ff}\u{ff}\0\0\0\0"),
        ("an icon", "\0\0\u{1}\0\u{1}"),
        ("nothing", ""),
    ] {
        for unit in [
            "\u{ff}",
            "\0",
            "\u{ff}\u{e0}\0\u{2}",
            "\u{ff}\u{1}",
            "\0\0\0\u{8}mdat",
            "\0\0\0\0IDAT\0\0\0\0",
            "!\u{1}\u{1}x\0",
            " ",
        ] {
            for rewriter in ["sniff", "ending", "raw"] {
                rows.push(row(rewriter, 0, [head, ""], what, unit));
            }
        }
    }
    rows
}

impl Row {
    /// Letters up to U+00FF stand for bytes where bytes are read.
    fn body(&self, len: usize) -> Vec<u8> {
        let input = self.input(len);
        match self.rewriter {
            "sniff" | "ending" | "raw" => String::from_utf8(input).unwrap().chars().map(|c| c as u8).collect(),
            _ => input,
        }
    }

    /// Bytes looked at per thousand bytes of an input of this length, in pieces of this size.
    fn per_thousand(&self, len: usize, piece: usize) -> Result<u64, String> {
        let (bound, body) = (Bound::of(self.rewriter), self.body(len));
        let work = bound.work(self.rules, &body, body.chunks(piece).collect());
        let most = bound.most(body.len());
        if work == 0 || work > most {
            return Err(format!("{work} bytes are looked at of {}, at most {most}", body.len()));
        }
        Ok(work * 1000 / body.len() as u64)
    }

    /// Whether the bound holds, and twice the length costs no more for each byte.
    fn check(&self, piece: usize) -> Result<u64, String> {
        let len = if piece == 1 { 10_000 } else { 80_000 };
        let (short, long) = (self.per_thousand(len, piece)?, self.per_thousand(4 * len, piece)?);
        if long > short + short / 4 + 1000 {
            return Err(format!("{short} per thousand bytes become {long} when there is more"));
        }
        Ok(long)
    }
}

/// Regression 10.3: base64 in lines of four characters, filler like delimiters, and other bodies made to be looked at again
/// and again cost a worker seconds for each megabyte.
fn check(rows: Vec<Row>) {
    const { assert!(work::IS_COUNTED, "tests are built with debug assertions") };
    let (mut costs, mut faults) = (Vec::new(), Vec::new());
    for row in rows {
        for piece in [1, 1 << 20] {
            let what = format!("{}, rules {}: {}, in pieces of {piece}", row.rewriter, row.rules, row.what);
            match row.check(piece) {
                Ok(cost) => costs.push((cost, what)),
                Err(fault) => faults.push(format!("{what}: {fault}")),
            }
        }
    }
    costs.sort();
    for (per_thousand, what) in costs.iter().rev().take(20) {
        println!("{:>7.1} per byte: {what}", *per_thousand as f64 / 1000.0);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn texts_are_not_looked_at_more_the_longer_they_are() {
    check(texts());
}

#[test]
fn values_are_not_looked_at_more_the_longer_they_are() {
    check(values());
}

#[test]
fn streams_are_not_looked_at_more_the_longer_they_are() {
    check(streams());
}

#[test]
fn requests_are_not_looked_at_more_the_longer_they_are() {
    check(requests());
}

#[test]
fn forms_are_not_looked_at_more_the_longer_they_are() {
    check(forms());
}

#[test]
fn bytes_are_not_looked_at_more_the_longer_they_are() {
    check(bytes());
}

/// What adversarial bodies are made of.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "data:image/png;base64,",
        "data:image/jpeg;base64,/9j/",
        "data:",
        "data:ima",
        "iVBORw0KGgo",
        PNG,
        SCAN,
        "////",
        "AAAA",
        "4AAC",
        "=",
        "%2F",
        r"\/",
        r"\n",
        r"\u000a",
        r"\u0064",
        r"\\",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\r\n--b",
        "--b--",
        "-",
        "b",
        "x",
        "![",
        "](",
        ")",
        "<img src='",
        "/images/",
        "<think>",
        "</think>",
        "\"",
        "\",\"",
        "\":\"",
        "url",
        "b64_json",
        "content",
        "delta",
        "choices",
        "http://x/a",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "1",
        "null",
        "data: ",
        "event: response.output_text.delta\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"d\"}}]}\n\n",
        "\n\n",
    ]);
    prop::collection::vec(fragment, 1..8).prop_map(|fragments| fragments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever is repeated, wherever it stands, and however it is cut.
    #[test]
    fn no_repetition_is_looked_at_more_than_its_bound(
        unit in fragments(),
        more in fragments(),
        turns in 1usize..4,
        rules in 0usize..32,
        around in prop::sample::select(vec![TEXT, VALUE, ITEM, ITEMS, PROMPT, FILE, FIELD, ["", ""]]),
        in_deltas in any::<bool>(),
        sizes in prop::collection::vec(prop_oneof![Just(1usize), 1..20usize, Just(5000)], 1..4),
    ) {
        let unit = unit.repeat(turns) + &more;
        let unit = if in_deltas { delta(&unit) } else { unit };
        let [before, behind] = around;
        let body = [before, &unit.repeat(8000usize.div_ceil(unit.len())), behind].concat().into_bytes();
        let mut pieces = Vec::new();
        let mut rest = &body[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        for bound in BOUNDS {
            let work = bound.work(rules, &body, pieces.clone());
            prop_assert!(work > 0 && work <= bound.most(body.len()), "{}: {} of {}", bound.name, work, body.len());
        }
    }
}

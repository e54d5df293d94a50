//! Every recorded shape of `tests/fixtures/wire`: what becomes of it, byte for byte.

use std::collections::BTreeSet;

use http::StatusCode;
use picgate::{
    picture::PictureId,
    rewrite::{
        answer::{AnswerRewriter, Form, Rules},
        multipart::MultipartScanner,
        request::{Findings, ReferenceForm, RequestScanner, Route},
        shape::Shape,
        stream::StreamRewriter,
    },
};
use serde_json::{Value, json};

use crate::{
    corpus::invariants::{Renderer, render, render::url},
    harness::{Canned, House, encoded, fixture, sha256},
};

// === Answers ===

/// A picture in an answer. `{file}` stands for base64 of a picture, `<file>` for its URL.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// `"b64_json"` of an item, with what may stand before the base64.
    Bytes(&'static str, &'static str),
    /// A link, `url` of an item.
    Link(&'static str),
    /// Base64, or a data URI, whose key stays.
    Value(&'static str),
    /// A link whose key stays.
    LinkedValue(&'static str),
    /// Base64 that stays whatever is wanted.
    Stays(&'static str),
    /// An item with an empty twin in front.
    Twin([&'static str; 4]),
    /// An item with a link and an empty twin.
    LinkedTwin([&'static str; 4]),
}

use Change::{Bytes, Link, LinkedTwin, LinkedValue, Stays, Twin, Value as InPlace};

/// What links lead to.
const LINKED: &str = "px2b.png";

/// Answers that change: file, route, changes, the pictures that are kept in order, the number of links.
type Row = (&'static str, Shape, &'static [Change], &'static [&'static str], usize);

const ANSWERS: &[Row] = &[
    ("resp.images.b64.json", Shape::Images, &[Bytes("", "px2.png")], &["px2.png"], 0),
    ("resp.images.url.json", Shape::Images, &[Link("https://upstream.example/img/1.png?sig=a%2Bb&se=2030")], &[], 1),
    (
        "resp.images.newapi-both-keys.json",
        Shape::Images,
        &[
            Twin([
                "{\n   \"url\": \"\",\n   \"b64_json\": \"{px2.png}\"",
                "{\"url\": \"<px2.png>\"",
                "{\"b64_json\": \"{px2.png}\"",
                "{\"b64_json\": \"{px2.png}\",\"url\":\"<px2.png>\"",
            ]),
            LinkedTwin([
                "\"url\": \"https://upstream.example/img/2.png\",\n   \"b64_json\": \"\"",
                "\"url\": \"<px2b.png>\"",
                "\"b64_json\": \"{px2b.png}\"",
                "\"b64_json\": \"{px2b.png}\",\"url\":\"<px2b.png>\"",
            ]),
        ],
        &["px2.png"],
        1,
    ),
    (
        "resp.images.b64-with-prefix.json",
        Shape::Images,
        &[Bytes("data:image/png;base64,", "px2.png"), Bytes("data:image/png;base64,", "px2.jpg")],
        &["px2.png", "px2.jpg"],
        0,
    ),
    ("resp.images.siliconflow.json", Shape::Images, &[Link("https://upstream.example/sf/1.png?x=1")], &[], 2),
    (
        "resp.images.ark-partial-failure.json",
        Shape::Images,
        &[Link("https://upstream.example/ark/0.jpeg?X-Tos-Expires=86400"), Bytes("", "px2.jpg")],
        &["px2.jpg"],
        1,
    ),
    (
        "resp.images.azure.json",
        Shape::Images,
        &[Link("https://upstream.example/azure/1.png?se=2030-01-01T00%3A00%3A00Z&sig=abc")],
        &[],
        1,
    ),
    (
        "resp.images.together.json",
        Shape::Images,
        &[Bytes("", "px2.jpg"), Link("https://upstream.example/t/1.jpg")],
        &["px2.jpg"],
        1,
    ),
    (
        "resp.dashscope.sync.json",
        Shape::Images,
        &[LinkedValue("https://upstream.example/ds/2.png?Expires=1790086400")],
        &[],
        1,
    ),
    (
        "resp.dashscope.task-succeeded.json",
        Shape::Images,
        &[LinkedValue("https://upstream.example/ds/1.png?Expires=1790086400")],
        &[],
        1,
    ),
    // Their clients decode base64, whatever is wanted.
    ("resp.gemini.inline-data.json", Shape::Images, &[Stays("{px2.png}")], &["px2.png"], 0),
    ("resp.gemini.inline-data.json", Shape::Chat, &[Stays("{px2.png}")], &["px2.png"], 0),
    ("resp.vercel-demo.json", Shape::Images, &[Stays("{px2.png}")], &["px2.png"], 0),
    // The previews in these streams stay: their base64 is another.
    ("resp.images.stream-generation.sse", Shape::Images, &[Bytes("", "px2.png")], &["px2.png"], 0),
    ("resp.images.stream-edit.sse", Shape::Images, &[Bytes("", "px2.webp")], &["px2.webp"], 0),
    (
        "resp.images.ark-stream.sse",
        Shape::Images,
        &[Bytes("", "px2.jpg"), Link("https://upstream.example/ark/2.jpeg?a=1&b=2")],
        &["px2.jpg"],
        1,
    ),
    (
        "resp.chat.message-images.json",
        Shape::Chat,
        &[InPlace("data:image/png;base64,{px2.png}"), InPlace("data:image/jpeg;base64,{px2.jpg}")],
        &["px2.png", "px2.jpg"],
        0,
    ),
    ("resp.chat.delta-images.sse", Shape::Chat, &[InPlace("data:image/png;base64,{px2.png}")], &["px2.png"], 0),
    ("resp.chat.markdown-whole.json", Shape::Chat, &[InPlace("data:image/png;base64,{px2.png}")], &["px2.png"], 0),
    (
        "resp.chat.content-array.json",
        Shape::Chat,
        &[InPlace("data:image/png;base64,{px2.png}"), InPlace("data:image/webp;base64,{px2.webp}")],
        &["px2.png", "px2.webp"],
        0,
    ),
    ("resp.responses.image-call.json", Shape::Responses, &[InPlace("{px2.png}")], &["px2.png"], 0),
    // The last event repeats the picture.
    ("resp.responses.stream.sse", Shape::Responses, &[InPlace("{px2.png}")], &["px2.png", "px2.png"], 0),
];

/// Its text is cut over many deltas, so its bytes move: see `a_picture_cut_over_deltas_…`.
const SPLIT: &str = "resp.chat.markdown-split.sse";

/// What is rewritten on no route.
const PASSING: [&str; 2] = ["resp.error.openai-400.json", "resp.error.detail-422.json"];

const SHAPES: [(Shape, &str); 3] = [
    (Shape::Images, "/v1/images/generations"),
    (Shape::Chat, "/v1/chat/completions"),
    (Shape::Responses, "/v1/responses"),
];
const FORMS: [Form; 4] = [Form::Url, Form::Base64, Form::Both, Form::AsCame];

/// The forms in which a route gives out pictures.
fn forms(shape: Shape) -> &'static [Form] {
    match shape {
        Shape::Images => &FORMS,
        Shape::Chat => &[Form::Url],
        Shape::Responses => &[Form::Url, Form::AsCame],
    }
}

fn picture(file: &str) -> Vec<u8> {
    fixture(&format!("img/{file}"))
}

/// With `{file}` and `<file>` written out.
fn spelled(text: &str, url: &dyn Fn(&[u8]) -> String) -> String {
    ["px2.png", "px2.jpg", "px2.webp", LINKED].iter().fold(text.to_owned(), |text, file| {
        let bytes = picture(file);
        text.replace(&format!("{{{file}}}"), &encoded(&bytes)).replace(&format!("<{file}>"), &url(&bytes))
    })
}

impl Change {
    fn is_link(self) -> bool {
        matches!(self, Link(_) | LinkedTwin(_) | LinkedValue(_))
    }

    /// What stands in the answer, and what becomes of it.
    fn texts(self, form: Form, colon: &str) -> (String, String) {
        let member = |key: &str, value: &str| format!("\"{key}\"{colon}\"{value}\"");
        let both = |base64: &str, url: &str| format!("{},\"url\":\"{url}\"", member("b64_json", base64));
        match (self, form) {
            (Bytes(prefix, file), _) => {
                let base64 = format!("{prefix}{{{file}}}");
                let from = member("b64_json", &base64);
                let to = match form {
                    Form::Url => member("url", &format!("<{file}>")),
                    Form::Base64 | Form::AsCame => from.clone(),
                    Form::Both => both(&base64, &format!("<{file}>")),
                };
                (from, to)
            }
            (Link(link), _) => {
                let (base64, url) = (format!("{{{LINKED}}}"), format!("<{LINKED}>"));
                let to = match form {
                    Form::Url | Form::AsCame => member("url", &url),
                    Form::Base64 => member("b64_json", &base64),
                    Form::Both => both(&base64, &url),
                };
                (member("url", link), to)
            }
            (LinkedValue(link), _) => (link.to_owned(), format!("<{LINKED}>")),
            (Stays(value), _) => (value.to_owned(), value.to_owned()),
            (InPlace(value), Form::AsCame) => (value.to_owned(), value.to_owned()),
            (InPlace(value), _) => {
                let file = value.split(['{', '}']).nth(1).unwrap();
                (value.to_owned(), format!("<{file}>"))
            }
            (Twin([from, url, base64, both]) | LinkedTwin([from, url, base64, both]), _) => {
                let to = match form {
                    Form::Url => url.to_owned(),
                    Form::Base64 => base64.to_owned(),
                    Form::Both => both.to_owned(),
                    Form::AsCame if self.is_link() => {
                        from.replace("https://upstream.example/img/2.png", &format!("<{LINKED}>"))
                    }
                    Form::AsCame => from.to_owned(),
                };
                (from.to_owned(), to)
            }
        }
    }
}

/// The answer as it should come out: the recorded text with the changes made, and no other byte touched.
#[track_caller]
fn expected(name: &str, changes: &[Change], form: Form, links: bool, url: &dyn Fn(&[u8]) -> String) -> String {
    let colon = if name.ends_with(".sse") { ":" } else { ": " };
    let text = String::from_utf8(fixture(name)).unwrap();
    changes.iter().filter(|change| links || !change.is_link()).fold(text, |text, change| {
        let (from, to) = change.texts(form, colon);
        let from = spelled(&from, url);
        assert!(text.contains(&from), "{name} has no {from}");
        text.replace(&from, &spelled(&to, url))
    })
}

fn rewritten(name: &str, rules: Rules, size: usize) -> Renderer {
    let (body, linked) = (fixture(name), picture(LINKED));
    let pieces = body.chunks(size.min(body.len()));
    if name.ends_with(".sse") {
        render(StreamRewriter::new(rules), Some(&linked), pieces)
    } else {
        render(AnswerRewriter::new(rules), Some(&linked), pieces)
    }
}

/// Whole, and in pieces.
const SIZES: [usize; 4] = [usize::MAX, 1, 7, 100];

#[test]
fn answers_change_where_their_pictures_stand_and_nowhere_else() {
    for (name, shape, changes, kept, links) in ANSWERS {
        for form in forms(*shape) {
            for (fetched, size) in
                [(true, SIZES[0]), (false, SIZES[0]), (true, SIZES[1]), (true, SIZES[2]), (true, SIZES[3])]
            {
                let row = format!("{name}, {form:?}, links {fetched}, pieces of {size}");
                let out = rewritten(name, Rules { links: fetched, ..Rules::new(*shape, *form) }, size);
                let expected = expected(name, changes, *form, fetched, &url);
                assert_eq!(String::from_utf8(out.out).unwrap(), expected, "{row}");
                let ids = |pictures: &[Vec<u8>]| pictures.iter().map(|bytes| PictureId::of(bytes)).collect::<Vec<_>>();
                let files: Vec<Vec<u8>> = kept.iter().map(|file| picture(file)).collect();
                assert_eq!(ids(&out.kept), ids(&files), "{row}");
                assert_eq!(out.links.len(), if fetched { *links } else { 0 }, "{row}");
            }
        }
    }
}

#[test]
fn answers_pass_on_routes_that_are_not_theirs() {
    let changing = ANSWERS.iter().map(|row| (row.0, row.1)).chain([(SPLIT, Shape::Chat)]);
    let own: Vec<(&str, Shape)> = changing.collect();
    for name in own.iter().map(|row| row.0).chain(PASSING) {
        for (shape, _) in SHAPES.into_iter().filter(|(shape, _)| !own.contains(&(name, *shape))) {
            for (form, size) in FORMS.into_iter().flat_map(|form| SIZES.map(|size| (form, size))) {
                let out = rewritten(name, Rules::new(shape, form), size);
                assert!(out.out == fixture(name), "{name}, {shape:?}, {form:?}, pieces of {size}");
                assert!(out.kept.is_empty() && out.links.is_empty(), "{name}, {shape:?}, {form:?}");
            }
        }
    }
}

#[test]
fn a_picture_cut_over_deltas_leaves_the_events_around_it_alone() {
    let events = |stream: &[u8]| -> Vec<Value> {
        let stream = std::str::from_utf8(stream).unwrap();
        let data = stream.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| data.into())).collect()
    };
    let split = |mut events: Vec<Value>| {
        let mut joined = String::new();
        for event in &mut events {
            if let Some(content) = event.pointer_mut("/choices/0/delta/content") {
                joined += content.take().as_str().unwrap();
            }
        }
        // One whose text is held back stays away when it says nothing else that is new.
        events.dedup();
        (joined, events)
    };
    let (came, around) = split(events(&fixture(SPLIT)));
    let noise = picture("noise16.png");
    for size in SIZES {
        let out = rewritten(SPLIT, Rules::new(Shape::Chat, Form::Url), size);
        assert_eq!(out.kept, std::slice::from_ref(&noise));
        let (joined, still_around) = split(events(&out.out));
        assert_eq!(joined, came.replace(&format!("data:image/png;base64,{}", encoded(&noise)), &url(&noise)));
        assert_ne!(joined, came);
        assert_eq!(still_around, around);
    }
}

/// What comes out of a gateway whose upstream has this one answer.
async fn through(name: &str, path: &str) -> (House, crate::harness::Answer) {
    let kind = if name.ends_with(".sse") { "text/event-stream" } else { "application/json" };
    let canned = Canned::new(kind, fixture(name)).await;
    let house = House::builder()
        .upstream(&canned.upstream())
        .models("    - { name: canned, targets: [ { upstream: canned } ], images: { responses: url } }")
        .start()
        .await;
    let answer = house.post(path, json!({ "model": "canned", "prompt": "x" })).await;
    assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.text());
    (house, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_pass_a_gateway_although_it_says_200() {
    for name in PASSING {
        for (_, path) in SHAPES {
            let (house, answer) = through(name, path).await;
            assert!(answer.body == fixture(name), "{name} on {path}: {}", answer.text());
            assert_eq!(house.metric("picgate_pictures_stored_total"), 0, "{name} on {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_makes_of_base64_what_the_rewriter_does() {
    // Links lead nowhere from here: the rewriter's table has them.
    for (name, shape, changes, kept, _) in ANSWERS.iter().filter(|row| row.4 == 0) {
        let (_, path) = SHAPES.into_iter().find(|(of, _)| of == shape).unwrap();
        let (house, answer) = through(name, path).await;
        let extension = |bytes: &[u8]| match picgate::picture::sniff(bytes) {
            picgate::picture::Sniff::Picture(format) => format.extension(),
            other => panic!("{other:?}"),
        };
        let url = |bytes: &[u8]| format!("{}/images/{}.{}", house.origin(), PictureId::of(bytes), extension(bytes));
        assert_eq!(answer.text(), expected(name, changes, Form::Url, true, &url), "{name}");
        for file in *kept {
            assert_eq!(sha256(&house.get(&url(&picture(file))).await.body), sha256(&picture(file)), "{name}: {file}");
        }
        assert_eq!(house.metric("picgate_pictures_stored_total"), kept.len() as u64, "{name}");
    }
}

// === Requests ===

/// What is found in a request.
#[derive(Clone, Copy, Debug)]
struct Request {
    file: &'static str,
    /// A route, or the boundary of a form.
    read_as: As,
    model: Option<&'static str>,
    response_format: Option<&'static str>,
    stream: bool,
    prompt: &'static str,
    references: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, Debug)]
enum As {
    Json(Route),
    Form(&'static str),
}

impl Request {
    const fn new(file: &'static str, read_as: As, model: &'static str, prompt: &'static str) -> Self {
        Self { file, read_as, model: Some(model), response_format: None, stream: false, prompt, references: &[] }
    }

    const fn json(file: &'static str, route: Route, model: &'static str, prompt: &'static str) -> Self {
        Self::new(file, As::Json(route), model, prompt)
    }

    const fn asks(self, response_format: &'static str) -> Self {
        Self { response_format: Some(response_format), ..self }
    }

    const fn streams(self) -> Self {
        Self { stream: true, ..self }
    }

    const fn names(self, references: &'static [(&'static str, &'static str)]) -> Self {
        Self { references, ..self }
    }
}

const HTTP: &str = "https://images.example/in/px2.png";
const OURS: &str = "http://gateway.example/i/LOCALID.png";

const REQUESTS: &[Request] = &[
    Request::json("req.images-generations.gpt.json", Route::Images, "gpt-image-2", "a red square"),
    Request::json("req.images-generations.b64-asked.json", Route::Images, "flux-dev", "a red square").asks("b64_json"),
    Request::json("req.images-generations.url-asked.json", Route::Images, "gpt-image-2", "a red square").asks("url"),
    Request::json("req.images-generations.stream.json", Route::Images, "gpt-image-2", "a red square").streams(),
    Request::json("req.images-generations.ark-image-array.json", Route::Images, "doubao-seedream-4-5", "one style")
        .asks("url")
        .names(&[("image[0]", HTTP)]),
    Request::json("req.images-edits.json-refs.json", Route::Images, "gpt-image-2", "merge")
        .names(&[("images[0].image_url", HTTP), ("mask.image_url", "https://images.example/in/mask.png")]),
    Request::json("req.images-edits.xai.json", Route::Images, "grok-imagine-image", "add snow")
        .asks("b64_json")
        .names(&[("image.url", HTTP)]),
    Request::json("req.images.openrouter-references.json", Route::Images, "vendor/model", "same but blue")
        .names(&[("input_references[0].image_url.url", HTTP)]),
    Request::new("req.images-edits.multipart-single.bin", As::Form("bndA1"), "gpt-image-2", "add a hat"),
    Request::new(
        "req.images-edits.multipart-array-mask.bin",
        As::Form("----formdata-bndB2"),
        "gpt-image-2",
        "merge both",
    ),
    Request { model: None, ..Request::new("req.images-variations.multipart.bin", As::Form("bndC3"), "", "") }
        .asks("b64_json"),
    Request::json("req.chat.image-url-http.json", Route::Chat, "gpt-5", "What is it?")
        .streams()
        .names(&[("messages[0].content[1].image_url.url", HTTP)]),
    // A data URI is there already; audio and files are none of the gateway's.
    Request::json("req.chat.image-url-data-uri.json", Route::Chat, "gpt-5", ""),
    Request::json("req.chat.history-local-urls.json", Route::Chat, "gpt-5", "make it blue")
        .names(&[("messages[1].images[0].image_url.url", OURS), ("messages[2].content[1].image_url.url", OURS)]),
    Request::json("req.responses.input-image.json", Route::Responses, "gpt-5", "compare")
        .names(&[("input[0].content[1].image_url", HTTP), ("tools[0].input_image_mask.image_url", HTTP)]),
    Request::json("req.responses.replayed-items.json", Route::Responses, "gpt-5", "").names(&[
        ("input[0].result", OURS),
        ("input[1].output[1].image_url", OURS),
        ("input[2].output.image_url", HTTP),
    ]),
    // Not a shape of any route that is read: nothing but the model is found, whatever it is read as.
    Request::json("req.dashscope.multimodal.json", Route::Images, "qwen-image-edit", ""),
    Request::json("req.dashscope.multimodal.json", Route::Chat, "qwen-image-edit", ""),
    Request::json("req.dashscope.multimodal.json", Route::Responses, "qwen-image-edit", ""),
];

fn scanned(read_as: As, body: &[u8], size: usize) -> Findings {
    let pieces = body.chunks(size.min(body.len()));
    match read_as {
        As::Json(route) => {
            let mut scanner = RequestScanner::new(route);
            pieces.for_each(|piece| scanner.push(piece).unwrap());
            scanner.finish().unwrap()
        }
        As::Form(boundary) => {
            let mut scanner = MultipartScanner::new(&format!("multipart/form-data; boundary={boundary}")).unwrap();
            pieces.for_each(|piece| scanner.push(piece).unwrap());
            scanner.finish().unwrap()
        }
    }
}

#[test]
fn requests_say_what_stands_in_them_and_where() {
    for request in REQUESTS {
        let body = fixture(request.file);
        let found = scanned(request.read_as, &body, usize::MAX);
        for size in SIZES {
            assert_eq!(scanned(request.read_as, &body, size), found, "{}, pieces of {size}", request.file);
        }
        let at = |span: &std::ops::Range<u64>| &body[span.start as usize..span.end as usize];
        let written = |value: &str| match request.read_as {
            As::Json(_) => json!(value).to_string().into_bytes(),
            As::Form(_) => value.as_bytes().to_vec(),
        };
        for (field, value) in [(&found.model, request.model), (&found.response_format, request.response_format)] {
            assert_eq!(field.as_ref().map(|field| field.value.as_str()), value, "{request:?}");
            if let Some(field) = field {
                assert_eq!(at(&field.span), written(&field.value), "{request:?}");
            }
        }
        assert_eq!((found.stream, found.prompt.as_str()), (request.stream, request.prompt), "{request:?}");
        let references: Vec<_> =
            found.references.iter().map(|reference| (reference.path.as_str(), reference.url.as_str())).collect();
        assert_eq!(references, request.references, "{request:?}");
        for reference in &found.references {
            assert_eq!(at(&reference.span), written(&reference.url), "{request:?}");
            let bare = reference.path.ends_with(".result");
            assert_eq!(
                reference.form,
                if bare { ReferenceForm::Base64 } else { ReferenceForm::DataUri },
                "{request:?}"
            );
        }
        if let Some(field) = &found.response_format {
            let without = [&body[..field.member.start as usize], &body[field.member.end as usize..]].concat();
            let expected = Findings { response_format: None, ..scanned(request.read_as, &without, usize::MAX) };
            let paths = |found: &Findings| found.references.iter().map(|r| r.url.clone()).collect::<Vec<_>>();
            assert_eq!((expected.prompt.as_str(), paths(&expected)), (request.prompt, paths(&found)), "{request:?}");
            if let As::Json(_) = request.read_as {
                let mut json: Value = serde_json::from_slice(&body).unwrap();
                json.as_object_mut().unwrap().remove("response_format");
                assert_eq!(serde_json::from_slice::<Value>(&without).unwrap(), json, "{request:?}");
            }
        }
    }
}

// === The folder ===

#[test]
fn every_file_of_the_folder_is_in_a_table_and_in_the_index() {
    let folder = |name: &str| {
        let path = format!("{}/tests/fixtures/wire/{name}", env!("CARGO_MANIFEST_DIR"));
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
        files.map(|entry| entry.file_name().into_string().unwrap()).collect::<BTreeSet<String>>()
    };
    let mut bodies = folder("");
    assert!(bodies.remove("index.md"));
    let answers = ANSWERS.iter().map(|row| row.0).chain(PASSING).chain([SPLIT]);
    let named: BTreeSet<String> =
        answers.chain(REQUESTS.iter().map(|request| request.file)).map(str::to_owned).collect();
    assert_eq!(named, bodies, "the tables of this file, and the folder");

    // `| name | … |`, and what the index says of lengths and hashes.
    let index = String::from_utf8(fixture("index.md")).unwrap();
    let rows = index.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let mut indexed = BTreeSet::new();
    for (name, rest) in rows {
        let is_picture = folder("img").contains(name);
        let bytes = if is_picture { picture(name) } else { fixture(name) };
        let columns: Vec<&str> = rest.split(" | ").collect();
        assert!(columns.contains(&bytes.len().to_string().as_str()), "{name} has {} bytes", bytes.len());
        assert!(!is_picture || rest.contains(&sha256(&bytes)), "{name}");
        indexed.insert(name.to_owned());
    }
    assert_eq!(indexed, &bodies | &folder("img"), "the index, and the folder");
}

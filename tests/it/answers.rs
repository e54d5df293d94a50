//! Base64 in answers becomes URLs that stay.

use bytes::Bytes;
use picgate::picture::PictureId;
use serde_json::{Value, json};

use crate::harness::{Answer, Canned, House, data_uri, decoded, encoded, fixture, sha256};

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_comes_back_as_a_url_that_survives_a_restart() {
    let house = House::new().await;
    let answer = house.generate(json!({ "prompt": "a lighthouse" })).await.ok();
    let url = answer["data"][0]["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{}/images/", house.origin())), "{url}");
    assert!(answer["data"][0].get("b64_json").is_none());
    let picture = house.get(url).await;
    assert_eq!(picture.header("content-type"), "image/png");
    let path = url.strip_prefix(&house.origin()).unwrap();
    let house = house.restart().await;
    assert_eq!(sha256(&house.get(path).await.body), sha256(&picture.body));
}

/// A picture quick to draw.
const SMALL: &str = "size:64x64";

/// The URLs of ours in a text.
fn own_urls(house: &House, text: &str) -> Vec<String> {
    let start = format!("{}/images/", house.origin());
    let ends = |letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, ':' | '/' | '.' | '-'));
    let rest = |at: usize| &text[at..];
    text.match_indices(&start).map(|(at, _)| rest(at).split(ends).next().unwrap().to_owned()).collect()
}

/// The answer without what differs each time.
fn timeless(answer: &Answer) -> Value {
    let mut answer = answer.json();
    answer["id"] = Value::Null;
    answer["created"] = Value::Null;
    answer
}

/// The bytes of every picture of ours that a text names.
async fn pictures(house: &House, text: &str) -> Vec<Bytes> {
    let mut pictures = Vec::new();
    for url in own_urls(house, text) {
        let picture = house.get(&url).await;
        assert_eq!(picture.status, 200, "{url}");
        pictures.push(picture.body);
    }
    pictures
}

/// What a model with this one answer makes of it.
async fn through(kind: &'static str, body: impl Into<Bytes>, path: &str) -> (House, Answer) {
    let canned = Canned::new(kind, body).await;
    let house = House::builder()
        .upstream(&canned.upstream())
        .models("    - { name: canned, targets: [ { upstream: canned } ], images: { responses: url } }")
        .start()
        .await;
    let answer = house.post(path, json!({ "model": "canned", "prompt": "x" })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    (house, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_answer_of_any_shape_carries_a_url_where_its_data_uri_was() {
    let house = House::new().await;
    for shape in ["markdown", "images", "array", "bare"] {
        let messages = json!([{ "role": "user", "content": format!("draw a fox {SMALL} shape:{shape}") }]);
        let body = json!({ "model": "demo-chat", "messages": messages });
        let direct = house.direct("/chat/completions", body).await;
        let answer = house.chat(messages).await;
        answer.ok();
        let urls = own_urls(&house, &answer.text());
        assert_eq!(urls.len(), 1, "{shape}: {}", answer.text());
        let picture = house.get(&urls[0]).await;
        let expected = timeless(&direct).to_string().replace(&data_uri("image/png", &picture.body), &urls[0]);
        assert_eq!(timeless(&answer).to_string(), expected, "{shape}");
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_pictures_of_other_formats_get_urls_of_their_type() {
    let house = House::new().await;
    for (format, extension, kind) in [("jpeg", "jpg", "image/jpeg"), ("webp", "webp", "image/webp")] {
        let content = format!("draw a fox {SMALL} shape:images format:{format}");
        let answer = house.chat(json!([{ "role": "user", "content": content }])).await.ok();
        let url = answer["choices"][0]["message"]["images"][0]["image_url"]["url"].as_str().unwrap();
        assert!(url.ends_with(&format!(".{extension}")), "{url}");
        assert_eq!(house.get(url).await.header("content-type"), kind);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_choices_each_keep_their_picture() {
    let house = House::new().await;
    let messages = json!([{ "role": "user", "content": format!("draw foxes {SMALL} unique:yes") }]);
    let answer =
        house.post("/v1/chat/completions", json!({ "model": "demo-chat", "n": 3, "messages": messages })).await;
    let mut ids: Vec<_> = pictures(&house, &answer.text()).await.iter().map(|bytes| PictureId::of(bytes)).collect();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_a_chat_model_passes_untouched() {
    let house = House::new().await;
    let messages = json!([{ "role": "user", "content": "who are you? ![x](data:image/png;base64,iVBORw0KGgo...)" }]);
    let direct = house.direct("/chat/completions", json!({ "model": "demo-chat", "messages": messages })).await;
    let answer = house.chat(messages).await;
    assert_eq!(timeless(&answer), timeless(&direct));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_the_upstream_names_by_url_becomes_ours() {
    let house = House::new().await;
    let prompt = format!("a heron {SMALL}");
    let drawn = house.drawn(&prompt).await;
    let answer = house.generate(json!({ "prompt": format!("{prompt} asurl") })).await.ok();
    let url = answer["data"][0]["url"].as_str().unwrap();
    assert_eq!(house.get(url).await.body, drawn);
    assert_eq!(house.metric(r#"picgate_fetches_total{for="answer",result="ok"}"#), 1);

    for shape in ["images", "array"] {
        let content = format!("draw {prompt} asurl shape:{shape}");
        let answer = house.chat(json!([{ "role": "user", "content": content }])).await;
        answer.ok();
        assert_eq!(pictures(&house, &answer.text()).await, std::slice::from_ref(&drawn), "{shape}");
        assert!(!answer.text().contains(&house.demo.addr().to_string()), "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_responses_answer_keeps_its_base64_and_its_picture_is_kept() {
    let house = House::new().await;
    let body = json!({
        "model": "demo-chat", "input": format!("a newt {SMALL}"), "tools": [{ "type": "image_generation" }],
    });
    let answer = house.post("/v1/responses", body).await.ok();
    let picture = decoded(&answer["output"][0]["result"]);
    let kept = house.get(&format!("/images/{}", PictureId::of(&picture))).await;
    assert_eq!((kept.status.as_u16(), kept.header("content-type")), (200, "image/png"));
    assert_eq!(kept.body, picture);
    assert_eq!(house.metric("picgate_pictures_stored_total"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_responses_answer_becomes_urls_when_the_operator_wants_it() {
    let house = House::builder().line("images: { responses: url }").start().await;
    let body = json!({
        "model": "demo-chat", "input": format!("a newt {SMALL}"), "tools": [{ "type": "image_generation" }],
    });
    let answer = house.post("/v1/responses", body).await.ok();
    let url = answer["output"][0]["result"].as_str().unwrap();
    assert_eq!(pictures(&house, url).await, [house.drawn(&format!("a newt {SMALL}")).await]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_picture_of_an_answer_gets_its_own_url() {
    let house = House::new().await;
    let answer = house.generate(json!({ "prompt": format!("owls {SMALL} unique:yes"), "n": 5 })).await;
    let direct = house.direct("/images/generations", json!({ "prompt": format!("owls {SMALL}"), "n": 5 })).await;
    let mut urls = own_urls(&house, &answer.text());
    assert_eq!(pictures(&house, &answer.text()).await.len(), 5);
    urls.sort();
    urls.dedup();
    assert_eq!(urls.len(), 5);
    let (answer, direct) = (answer.ok(), direct.json());
    assert_eq!(answer["usage"], direct["usage"]);
    assert_eq!(answer["data"][4]["revised_prompt"], direct["data"][4]["revised_prompt"]);
    assert_eq!(house.metric("picgate_pictures_stored_total"), 5);
    assert_eq!(house.metric("picgate_pictures_deduplicated_total"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_picture_again_is_the_same_url() {
    let house = House::new().await;
    let ask = || house.generate(json!({ "prompt": format!("a toad {SMALL}") }));
    let (first, second) = (ask().await.ok(), ask().await.ok());
    assert_eq!(first["data"][0]["url"], second["data"][0]["url"]);
    assert_eq!(house.metric("picgate_pictures_stored_total"), 2);
    assert_eq!(house.metric("picgate_pictures_deduplicated_total"), 1);
    let len = house.drawn(&format!("a toad {SMALL}")).await.len() as u64;
    assert_eq!(house.metric("picgate_picture_bytes_stored_total"), len);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_is_served_as_what_it_is() {
    let house = House::new().await;
    for (format, extension, kind) in
        [("png", "png", "image/png"), ("jpeg", "jpg", "image/jpeg"), ("webp", "webp", "image/webp")]
    {
        let answer = house.generate(json!({ "prompt": format!("a pike {SMALL} format:{format}") })).await.ok();
        let url = answer["data"][0]["url"].as_str().unwrap();
        assert!(url.ends_with(&format!(".{extension}")), "{url}");
        let picture = house.get(url).await;
        assert_eq!(picture.header("content-type"), kind);
        assert_eq!(picture.header("x-content-type-options"), "nosniff");
        assert_eq!(picture.body, house.drawn(&format!("a pike {SMALL} format:{format}")).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_of_megabytes_is_kept_whole() {
    let house = House::new().await;
    let prompt = format!("a whale {SMALL} bytes:5000000");
    let answer = house.generate(json!({ "prompt": prompt })).await.ok();
    let picture = house.get(answer["data"][0]["url"].as_str().unwrap()).await;
    assert!(picture.body.len() > 4_900_000);
    assert_eq!(sha256(&picture.body), sha256(&house.drawn(&prompt).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_picture_stays_as_it_came() {
    let svg = encoded(&fixture("img/px2.svg"));
    let html = encoded(b"<!doctype html><script>alert(1)</script>");
    let long = encoded(&b"words without end, ".repeat(20_000));
    for text in [&svg, &html, &long, "not base64 at all!", "aGk=", "A"] {
        let body = format!("{{ \"created\":1.50e3,\"data\":[ {{\"b64_json\" : \"{text}\", \"x\":null}} ] }}\n");
        let (house, answer) = through("application/json", body.clone(), "/v1/images/generations").await;
        assert_eq!(answer.text(), body);
        assert_eq!(house.metric("picgate_pictures_stored_total"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_pictures_of_a_foreign_answer_change() {
    let chat = "/v1/chat/completions";
    for (name, path, files) in [
        ("resp.images.b64.json", "/v1/images/generations", &["px2.png"][..]),
        ("resp.chat.markdown-whole.json", chat, &["px2.png"]),
        ("resp.chat.message-images.json", chat, &["px2.png", "px2.jpg"]),
        ("resp.chat.content-array.json", chat, &["px2.png", "px2.webp"]),
        ("resp.responses.image-call.json", "/v1/responses", &["px2.png"]),
    ] {
        let body = fixture(name);
        let mut expected = String::from_utf8(body.clone()).unwrap();
        let (house, answer) = through("application/json", body, path).await;
        let text = answer.text();
        let urls = own_urls(&house, &text);
        assert_eq!(urls.len(), files.len(), "{name}: {text}");
        for (url, file) in urls.iter().zip(files) {
            let picture = house.get(url).await;
            assert!(picture.body == fixture(&format!("img/{file}")), "{name}: {file}");
            let data_uri = data_uri(picture.header("content-type"), &picture.body);
            expected = expected.replace(&data_uri, url).replace(&encoded(&picture.body), url);
        }
        assert_eq!(text.replace("\"url\"", "\"b64_json\""), expected.replace("\"url\"", "\"b64_json\""), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn base64_behind_a_data_prefix_is_a_picture_of_the_type_its_bytes_tell() {
    let body = fixture("resp.images.b64-with-prefix.json");
    let (house, answer) = through("application/json", body, "/v1/images/generations").await;
    let answer = answer.ok();
    for (item, file, kind) in [(0, "px2.png", "image/png"), (1, "px2.jpg", "image/jpeg")] {
        let picture = house.get(answer["data"][item]["url"].as_str().unwrap()).await;
        assert_eq!(picture.header("content-type"), kind);
        assert!(picture.body == fixture(&format!("img/{file}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_empty_twin_of_a_picture_goes() {
    let png = encoded(&fixture("img/px2.png"));
    let body = format!("{{\"data\":[{{\"url\":\"\",\"b64_json\":\"{png}\",\"revised_prompt\":\"\"}}]}}");
    let (house, answer) = through("application/json", body, "/v1/images/generations").await;
    let url = &own_urls(&house, &answer.text())[0];
    assert_eq!(answer.json(), json!({ "data": [{ "url": url, "revised_prompt": "" }] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_json_passes_as_it_came() {
    let house = House::new().await;
    let prompt = "x noise:garbage";
    let direct = house.direct("/images/generations", json!({ "model": "demo-image", "prompt": prompt })).await;
    let answer = house.generate(json!({ "prompt": prompt })).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.text(), direct.text());
    let direct = direct.text();
    let answer = house.chat(json!([{ "role": "user", "content": "hi noise:garbage" }])).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, direct));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_ends_within_a_picture_passes_as_it_came() {
    let png = encoded(&fixture("img/noise16.png"));
    for cut in [12, 60, 400, 900] {
        let body = &format!("{{\"data\":[{{\"b64_json\":\"{png}")[..cut];
        let (_, answer) = through("application/json", body.to_owned(), "/v1/images/generations").await;
        assert_eq!(answer.text(), body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_text_passes_byte_for_byte() {
    let stream = concat!(
        ": processing\r\n\r\n",
        "event: message\nid: 7\ndata: {\"id\" : \"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"h\\u00e9 ![\"}}]}\n\n",
        "data:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"plain (words) \\\"so\\\"\"},\"x\":1.0e+2}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    );
    let (_, answer) = through("text/event-stream", stream, "/v1/chat/completions").await;
    assert_eq!(answer.text(), stream);
    assert!(answer.header("content-type").starts_with("text/event-stream"));
    assert!(answer.header("x-request-id").starts_with("req_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_chat_arrives_as_the_upstream_wrote_it() {
    let house = House::new().await;
    let body = json!({
        "model": "demo-chat", "stream": true, "messages": [{ "role": "user", "content": "hello words:300" }],
    });
    let direct = house.direct("/chat/completions", body.clone()).await;
    let answer = house.post("/v1/chat/completions", body).await;
    let words = |answer: &Answer| {
        let text = answer.text();
        let events =
            text.split("\n\n").filter_map(|event| serde_json::from_str::<Value>(event.strip_prefix("data: ")?).ok());
        events.map(|event| event["choices"].clone()).collect::<Vec<_>>()
    };
    assert!(words(&answer).len() > 300);
    assert_eq!(words(&answer), words(&direct));
    assert!(answer.text().ends_with("data: [DONE]\n\n"));
}

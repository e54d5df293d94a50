//! What goes to an upstream is bounded by `limits.upstream_body`, however short the request is that asks for it.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, House, KEY},
    requests::{received, remote},
};

/// One picture of 300 kB as base64 fits, three do not.
const LIMIT: &str = "limits: { upstream_body: 1MiB }";
const PICTURE: &str = "size:64x64 bytes:300000";

fn part(url: &str) -> Value {
    json!({ "type": "image_url", "image_url": { "url": url } })
}

fn form(name: &str, urls: &[&str]) -> Bytes {
    let field =
        |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let fields: String = urls.iter().map(|url| field(name, url)).collect();
    format!("{}{}{fields}--b--\r\n", field("model", "demo-image"), field("prompt", "x")).into()
}

async fn send(house: &House, path: &str, kind: &str, body: Bytes) -> Answer {
    let key = format!("Bearer {KEY}");
    house.send(Method::POST, path, &[("authorization", key.as_str()), ("content-type", kind)], body).await
}

/// Regression 10.2: one picture named in 4 096 parts, or in 990 form fields, made gigabytes of a short request.
#[tokio::test(flavor = "multi_thread")]
async fn every_insertion_counts_wherever_the_picture_is_named() {
    let house = House::builder().line(LIMIT).start().await;
    let (own, _) = house.picture(&format!("an oak {PICTURE}")).await;
    let (other, _) = house.picture(&format!("an elm {PICTURE}")).await;
    let (third, _) = house.picture(&format!("a fir {PICTURE}")).await;
    let (foreign, _) = remote(&house, &format!("a yew {PICTURE}")).await;
    let chat = |messages: Value| json!({ "model": "demo-chat", "messages": messages });
    let parts = |url: &str, times: usize| json!({ "role": "user", "content": vec![part(url); times] });
    let mention = |urls: &[&str]| {
        let text: String = urls.iter().map(|url| format!("![a]({url}) ")).collect();
        chat(json!([{ "role": "assistant", "content": text }, { "role": "user", "content": "and?" }]))
    };
    let old = |times: usize| chat(json!([parts(&own, times), { "role": "user", "content": "and?" }]));
    let response = |times: usize| {
        let content = vec![json!({ "type": "input_image", "image_url": own }); times];
        json!({ "model": "demo-chat", "input": [{ "role": "user", "content": content }] })
    };
    let source = |times: usize| {
        let content = vec![json!({ "type": "image", "source": { "type": "url", "url": own } }); times];
        chat(json!([{ "role": "user", "content": content }]))
    };
    let images = |url: &str, times: usize| json!({ "model": "demo-image", "prompt": "x", "image": vec![url; times] });
    let bare = |times: usize| json!({ "model": "demo-image", "prompt": "x", "ref_images": vec![own.as_str(); times] });
    let json = |body: Value| ("application/json", Bytes::from(body.to_string()));
    let fields = |urls: &[&str]| ("multipart/form-data; boundary=b", form("image[]", urls));

    let (completions, responses, edits) = ("/v1/chat/completions", "/v1/responses", "/v1/images/edits");
    for (what, path, fits, is_too_much) in [
        ("parts", completions, json(chat(json!([parts(&own, 2)]))), json(chat(json!([parts(&own, 3)])))),
        (
            "thousands of parts",
            completions,
            json(chat(json!([parts(&own, 1)]))),
            json(chat(json!([parts(&own, 4096)]))),
        ),
        (
            "a fetched URL",
            completions,
            json(chat(json!([parts(&foreign, 2)]))),
            json(chat(json!([parts(&foreign, 3)]))),
        ),
        ("an old turn", completions, json(old(2)), json(old(3))),
        ("sources", completions, json(source(2)), json(source(3))),
        ("text", completions, json(mention(&[&own, &other])), json(mention(&[&own, &other, &third]))),
        (
            "text and parts",
            completions,
            json(mention(&[&own, &own, &own])),
            json(chat(json!([
                { "role": "assistant", "content": format!("![a]({own})") }, parts(&other, 1), parts(&third, 1)
            ]))),
        ),
        ("a response", responses, json(response(2)), json(response(3))),
        ("a list of images", edits, json(images(&own, 2)), json(images(&own, 3))),
        ("a list of foreign images", edits, json(images(&foreign, 2)), json(images(&foreign, 3))),
        ("bare base64", "/v1/images/generations", json(bare(2)), json(bare(3))),
        // As they are, not as base64.
        ("form fields", edits, fields(&[own.as_str(); 3]), fields(&[own.as_str(); 4])),
        ("form fields of foreign images", edits, fields(&[foreign.as_str(); 3]), fields(&[foreign.as_str(); 990])),
    ] {
        let answer = send(&house, path, fits.0, fits.1).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        house.demo.clear();
        let message = send(&house, path, is_too_much.0, is_too_much.1).await.error(413, "request_too_large");
        for word in ["limits.upstream_body", "images.history", "1048576"] {
            assert!(message.contains(word), "{what}: no {word} in {message}");
        }
        let asked: Vec<_> =
            house.demo.received().into_iter().filter(|request| request.method == Method::POST).collect();
        assert!(asked.is_empty(), "{what}: the upstream was asked: {asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_is_exact_and_history_keeps_a_chat_below_it() {
    let house = House::new().await;
    let (own, _) = house.picture(&format!("an oak {PICTURE}")).await;
    let path = own.strip_prefix(&house.origin()).unwrap().to_owned();
    let chat = |house: &House| {
        let url = format!("{}{path}", house.origin());
        json!([
            { "role": "user", "content": vec![part(&url); 5] }, { "role": "assistant", "content": "nice" },
            { "role": "user", "content": [part(&url)] },
        ])
    };
    house.chat(chat(&house)).await.ok();
    let length = received(&house, "/v1/chat").content_length.unwrap();

    // The port, and so the length of what is replaced, may differ; what goes out does not.
    let house = house.restart_with(&[&format!("limits: {{ upstream_body: {length} }}")]).await;
    house.chat(chat(&house)).await.ok();
    assert_eq!(received(&house, "/v1/chat").content_length, Some(length));
    let limit = format!("limits: {{ upstream_body: {} }}", length - 1);
    let house = house.restart_with(&[&limit]).await;
    house.chat(chat(&house)).await.error(413, "request_too_large");
    let house = house.restart_with(&[&limit, "images: { history: { images: 2 } }"]).await;
    house.chat(chat(&house)).await.ok();
    assert_eq!(received(&house, "/v1/chat").images.len(), 2);
}

/// A request without any picture is bounded as well.
#[tokio::test(flavor = "multi_thread")]
async fn text_alone_can_be_too_much() {
    let house = House::builder().line("limits: { upstream_body: 1KiB }").start().await;
    house.chat(json!([{ "role": "user", "content": "short" }])).await.ok();
    let long = json!([{ "role": "user", "content": "long ".repeat(300) }]);
    house.chat(long).await.error(413, "request_too_large");
}

//! Pictures named in a request go to the upstream inline, and every other byte as it came.

use bytes::Bytes;
use http::Method;
use picgate::demo::Received;
use serde_json::json;

use crate::harness::{Answer, House, KEY, data_uri, encoded, fixture, sha256};

/// The request of this path that the upstream received last.
#[track_caller]
pub(crate) fn received(house: &House, path: &str) -> Received {
    let all = house.demo.received();
    all.into_iter().rev().find(|request| request.target.starts_with(path)).unwrap_or_else(|| panic!("no {path}"))
}

/// Sends `text` with its `{name}`s replaced by URLs, and asserts that the upstream receives it with them replaced by
/// what they stand for, to the byte.
pub(crate) async fn assert_sent(house: &House, path: &str, text: &str, put: &[(&str, &str, &str)]) -> Answer {
    let (mut sent, mut expected) = (text.to_owned(), text.to_owned());
    for (name, url, inline) in put {
        assert!(sent.contains(name), "{name} in {sent}");
        sent = sent.replace(name, url);
        expected = expected.replace(name, inline);
    }
    let answer = house.post(path, sent.as_str()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let request = received(house, path);
    assert_eq!(String::from_utf8_lossy(request.body.as_ref().unwrap()), expected);
    assert_eq!(request.content_length, Some(expected.len() as u64));
    assert!(!request.chunked);
    answer
}

/// A picture of another host's: its URL and its bytes.
pub(crate) async fn remote(house: &House, prompt: &str) -> (String, Bytes) {
    let url = house.remote_picture(prompt).await;
    let bytes = house.get(&url).await.body;
    house.demo.clear();
    (url, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_pictures_of_every_origin_arrive_inline_and_nothing_else_changes() {
    let house = House::new().await;
    let (own, own_bytes) = house.picture("an oak size:64x64").await;
    let (url, bytes) = remote(&house, "an elm size:64x64 format:webp").await;
    let jpeg = data_uri("image/jpeg", &fixture("img/px2.jpg"));
    let text = r#" { "temperature" : 1.0e0 ,"x":{"seed":123456789012345678901234567890,"f":-0.0, "u":"\u00e9\/\ud83d\ude00" },
	"messages":[ {"role":"user","content":[ {"type":"text","text":"see http:\/\/x.example\/a.png"},
	 {"type":"image_url","image_url":{"detail" : "high","url":"REMOTE" } },
	 {"type":"image_url","image_url":{"url"
	 :   "OWN"}} , {"type":"image_url","image_url":{"url":"DATA"}},
	 {"type":"image_url","image_url":"REMOTE"},{"type":"input_audio","input_audio":{"data":"http://x.example/b"}} ] },
	 {"role":"assistant","content":"was ![i](OWN)", "images":[{"type":"image_url","image_url":{"url":"OWN"}}]},
	 {"role":"user","content":"go on"}], "model"
	:"demo-chat" ,"stream" : false } 
"#;
    // Text is no reference: the URL in the markdown stays.
    let text = text.replace("![i](OWN)", &format!("![i]({own})"));
    let png = data_uri("image/png", &own_bytes);
    let webp = data_uri("image/webp", &bytes);
    let put = [("REMOTE", url.as_str(), webp.as_str()), ("OWN", &own, &png), ("DATA", &jpeg, &jpeg)];
    assert_sent(&house, "/v1/chat/completions", &text, &put).await;

    let images = received(&house, "/v1/chat").images;
    let seen: Vec<_> =
        images.iter().map(|image| (image.media_type.as_deref().unwrap(), image.sha256.as_str())).collect();
    let (own, remote, data) = (sha256(&own_bytes), sha256(&bytes), sha256(&fixture("img/px2.jpg")));
    assert_eq!(
        seen,
        [
            ("image/webp", remote.as_str()),
            ("image/png", &own),
            ("image/jpeg", &data),
            ("image/webp", &remote),
            ("image/png", &own),
        ]
    );
    // The same URL twice is fetched once; ours not at all.
    let fetched = house.demo.received().iter().filter(|request| request.target.starts_with("/pictures")).count();
    assert_eq!(fetched, 1);
    assert_eq!(house.metric(r#"picgate_references_inlined_total{from="fetch"}"#), 1);
    assert_eq!(house.metric(r#"picgate_references_inlined_total{from="store"}"#), 1);
    assert_eq!(house.metric("picgate_pictures_served_total"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_may_be_escaped_as_json_allows() {
    let house = House::new().await;
    let (url, bytes) = remote(&house, "an elm size:64x64").await;
    let escaped = url.replace('/', "\\/").replace('&', "\\u0026").replace('p', "\\u0070");
    let text = r#"{"model":"demo-chat","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"URL"}}]}]}"#;
    assert_sent(&house, "/v1/chat/completions", text, &[("URL", &escaped, &data_uri("image/png", &bytes))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_pictures_passes_byte_for_byte() {
    let house = House::new().await;
    for text in [
        "{\"model\":\"demo-chat\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"n\":1 , \"n2\":1E-7}\r\n",
        "\t{\"messages\":[],\"model\":\"demo-chat\",\"metadata\":{\"a\":[[],{},\"\\u0000\"]}}",
    ] {
        assert_sent(&house, "/v1/chat/completions", text, &[]).await;
    }
    let body =
        "{ \"prompt\":\"a cup size:64x64\", \"model\":\"demo-image\",\"quality\":\"low\",\"extra\":{\"a\":0.10} }";
    assert_sent(&house, "/v1/images/generations", body, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_input_is_made_inline_and_results_become_bare_base64() {
    let house = House::new().await;
    let (own, own_bytes) = house.picture("an oak size:64x64").await;
    let (url, bytes) = remote(&house, "an elm size:64x64").await;
    let text = r#"{"model":"demo-chat", "input":[
      {"role":"user","content":[{"type":"input_text","text":"compare"},
        {"type":"input_image","image_url":"REMOTE","detail":"original"},{"type":"input_image","file_id":"file-1","image_url":null}]},
      {"type":"image_generation_call","id":"ig_1","status":"completed","result":"RESULT"},
      {"type":"function_call_output","call_id":"c1","output":[{"type":"input_image","image_url":"OWN"}]},
      {"type":"function_call_output","call_id":"c2","output":"{\"image_url\":\"http://127.0.0.1:1/no.png\"}"},
      {"type":"computer_call_output","call_id":"c3","output":{"type":"computer_screenshot","image_url":"OWN"}}],
      "previous_response_id":"resp_1"}"#;
    let png = data_uri("image/png", &own_bytes);
    let put = [
        ("REMOTE", url.as_str(), data_uri("image/png", &bytes)),
        ("RESULT", &own, encoded(&own_bytes)),
        ("OWN", &own, png),
    ];
    let put: Vec<_> = put.iter().map(|(name, url, inline)| (*name, *url, inline.as_str())).collect();
    assert_sent(&house, "/v1/responses", text, &put).await;
    let images = received(&house, "/v1/responses").images;
    let seen: Vec<_> = images.iter().map(|image| (image.media_type.is_some(), image.sha256.clone())).collect();
    let (own, remote) = (sha256(&own_bytes), sha256(&bytes));
    assert_eq!(seen, [(true, remote), (false, own.clone()), (true, own.clone()), (true, own)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_url_in_a_result_is_the_upstreams_business() {
    let house = House::new().await;
    let text = r#"{"model":"demo-chat","input":[{"type":"image_generation_call","result":"http://x.example/a.png"},{"role":"user","content":"hi"}]}"#;
    assert_sent(&house, "/v1/responses", text, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_in_json_take_pictures_wherever_servers_want_them() {
    let house = House::new().await;
    let (own, own_bytes) = house.picture("an oak size:64x64").await;
    let (url, bytes) = remote(&house, "an elm size:64x64").await;
    let (png, own_png) = (data_uri("image/png", &bytes), data_uri("image/png", &own_bytes));
    let put = [("REMOTE", url.as_str(), png.as_str()), ("OWN", &own, &own_png)];
    for text in [
        // OpenAI, xAI, Ark, Together, OpenRouter
        r#"{"model":"demo-image","prompt":"a hat size:64x64","images":[{"image_url":"REMOTE"},{"file_id":"file-1"},{"image_url":"OWN"}],"mask":{"image_url":"OWN"}}"#,
        r#"{"model":"demo-image","prompt":"a hat size:64x64","image":{"url":"REMOTE","type":"image_url"},"x":"OWN"}"#
            .replace(",\"x\":\"OWN\"", ",\"image_url\":\"OWN\"")
            .as_str(),
        r#"{"model":"demo-image","prompt":"a hat size:64x64","image":["REMOTE","OWN","data:image/png;base64,AAAA"]}"#,
        r#"{"model":"demo-image","prompt":"a hat size:64x64","image":"REMOTE","reference_images":["OWN"]}"#,
        r#"{"model":"demo-image","prompt":"a hat size:64x64","image":"x","input_references":[{"type":"image_url","image_url":{"url":"REMOTE"}},{"type":"image_url","image_url":{"url":"OWN"}}]}"#,
    ] {
        house.demo.clear();
        assert_sent(&house, "/v1/images/edits", text, &put).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generations_take_pictures_too() {
    let house = House::new().await;
    let (url, bytes) = remote(&house, "an elm size:64x64").await;
    let text = r#"{"model":"demo-image","prompt":"a hat size:64x64","image":"REMOTE"}"#;
    assert_sent(&house, "/v1/images/generations", text, &[("REMOTE", &url, &data_uri("image/png", &bytes))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_of_megabytes_arrives_inline_with_an_exact_length() {
    let house = House::new().await;
    let (own, own_bytes) = house.picture("an oak size:64x64 bytes:4000001").await;
    let (url, bytes) = remote(&house, "an elm size:64x64 bytes:3000002").await;
    let part = |url: &str| json!({ "type": "image_url", "image_url": { "url": url } });
    house.chat(json!([{ "role": "user", "content": [part(&own), part(&url), part(&own)] }])).await.ok();
    let request = received(&house, "/v1/chat");
    let seen: Vec<_> = request.images.iter().map(|image| image.sha256.clone()).collect();
    assert_eq!(seen, [sha256(&own_bytes), sha256(&bytes), sha256(&own_bytes)]);
    assert_eq!((request.content_length, request.chunked), (Some(request.length as u64), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_of_ours_without_a_picture_says_so_and_costs_nothing() {
    let house = House::new().await;
    for name in ["00112233445566778899aabbccddeeff00112233.png", "logo.png", "x/../../state/keys.json"] {
        let url = format!("{}/images/{name}", house.origin());
        let content = json!([{ "type": "text", "text": "?" }, { "type": "image_url", "image_url": { "url": url } }]);
        let answer = house.chat(json!([{ "role": "user", "content": content }])).await;
        if name.contains("..") {
            // It leads out of /images/, so it is an ordinary URL, and none with a picture.
            answer.error(400, "image_fetch_failed");
            continue;
        }
        answer.error(400, "image_expired");
        assert_eq!(answer.json()["error"]["param"], "messages[0].content[1].image_url.url");
    }
    let image = format!("{}/images/gone.png", house.origin());
    let answer =
        house.post("/v1/images/edits", json!({ "model": "demo-image", "prompt": "x", "image": [image] })).await;
    answer.error(400, "image_expired");
    assert_eq!(answer.json()["error"]["param"], "image[0]");
    assert!(house.demo.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_at_a_private_address_is_refused() {
    let house = House::builder().line("fetch: { allow: [] }").start().await;
    for url in [
        house.remote_picture("x").await,
        "http://127.0.0.1/a.png".into(),
        "http://[::ffff:10.0.0.1]/a.png".into(),
        "http://2130706433/a.png".into(),
        "http://169.254.169.254/latest/meta-data".into(),
    ] {
        let content = json!([{ "type": "image_url", "image_url": { "url": url } }]);
        let answer = house.chat(json!([{ "role": "user", "content": content }])).await;
        let message = answer.error(400, "image_fetch_blocked");
        assert!(!message.contains("127.0.0.1"), "{message}");
        assert_eq!(answer.json()["error"]["param"], "messages[0].content[0].image_url.url");
    }
    assert!(house.demo.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_urls_need_no_permission_to_be_fetched() {
    let house = House::builder().line("fetch: { allow: [] }").start().await;
    let (own, bytes) = house.picture("an oak size:64x64").await;
    let content = json!([{ "type": "image_url", "image_url": { "url": own } }]);
    house.chat(json!([{ "role": "user", "content": content }])).await.ok();
    assert_eq!(received(&house, "/v1/chat").images[0].sha256, sha256(&bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_cannot_be_fetched_fails_the_request() {
    let house = House::new().await;
    let origin = format!("http://{}", house.demo.addr());
    for (url, code) in [
        (format!("{origin}/pictures/lost.png"), "image_fetch_failed"),
        ("http://127.0.0.1:9/a.png".into(), "image_fetch_failed"),
        ("http://no-such-host.invalid/a.png".into(), "image_fetch_failed"),
        // Text, not a picture.
        (format!("{origin}/"), "invalid_image_url"),
    ] {
        let content = json!([{ "type": "input_image", "image_url": url }]);
        let answer = house
            .post("/v1/responses", json!({ "model": "demo-chat", "input": [{ "role": "user", "content": content }] }));
        let answer = answer.await;
        answer.error(400, code);
        assert_eq!(answer.json()["error"]["param"], "input[0].content[0].image_url");
    }
    assert!(!house.demo.received().iter().any(|request| request.method == Method::POST));
    assert_eq!(house.metric(r#"picgate_fetches_total{for="request",result="failed"}"#), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_that_only_a_browser_understands_passes_in_chat_and_is_refused_in_edits() {
    let house = House::new().await;
    for url in ["blob:http://localhost:3000/9b2f", "file:///etc/passwd", "attachment:1", "ftp://x.example/a.png"] {
        let text = r#"{"model":"demo-chat","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"URL"}}]}]}"#;
        assert_sent(&house, "/v1/chat/completions", text, &[("URL", url, url)]).await;
        let text =
            r#"{"model":"demo-chat","input":[{"role":"user","content":[{"type":"input_image","image_url":"URL"}]}]}"#;
        assert_sent(&house, "/v1/responses", text, &[("URL", url, url)]).await;
        let body = json!({ "model": "demo-image", "prompt": "x", "images": [{ "image_url": url }] });
        let answer = house.post("/v1/images/edits", body).await;
        answer.error(400, "invalid_image_url");
        assert_eq!(answer.json()["error"]["param"], "images[0].image_url");
    }
    assert!(!house.demo.received().iter().any(|request| request.target.ends_with("/edits")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_under_an_alias_is_ours() {
    let house = House::builder()
        .line("public_aliases: [ \"https://old.example/gate\", \"http://[fd00::1]:8080\" ]")
        .line("fetch: { allow: [] }")
        .start()
        .await;
    let (own, bytes) = house.picture("an oak size:64x64").await;
    let name = own.rsplit('/').next().unwrap();
    for url in [
        format!("https://old.example/gate/images/{name}"),
        format!("https://OLD.example:443/gate/images/{name}?w=200"),
        format!("http://[fd00::1]:8080/images/{name}"),
    ] {
        let content = json!([{ "type": "image_url", "image_url": { "url": url } }]);
        house.chat(json!([{ "role": "user", "content": content }])).await.ok();
        assert_eq!(received(&house, "/v1/chat").images[0].sha256, sha256(&bytes), "{url}");
        house.demo.clear();
    }
    let content = json!([{ "type": "image_url", "image_url": { "url": "https://old.example/gate/images/1.png" } }]);
    house.chat(json!([{ "role": "user", "content": content }])).await.error(400, "image_expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_models_alias_is_replaced_wherever_it_stands() {
    let house = House::new().await;
    for text in [
        r#"{"model":"picture","prompt":"a cup size:64x64"}"#,
        r#"{"prompt":"a cup size:64x64" , "model" : "picture"}"#,
        r#"{"n":1,"model":"picture" ,"prompt":"a cup size:64x64","user":"picture"}"#,
        r#"{"x":{"model":"picture"},"n":1,"prompt":"a cup size:64x64","model":
            "pict\u0075re"}"#,
    ] {
        let answer = house.post("/v1/images/generations", text).await;
        answer.ok();
        let request = received(&house, "/v1/images");
        let expected = text
            .replace("\"model\":\"picture\"", "\"model\":\"demo-image\"")
            .replace("\"model\" : \"picture\"", "\"model\" : \"demo-image\"")
            .replace("\"pict\\u0075re\"", "\"demo-image\"")
            .replace("{\"model\":\"demo-image\"},\"n\"", "{\"model\":\"picture\"},\"n\"");
        assert_eq!(String::from_utf8_lossy(request.body.as_ref().unwrap()), expected);
        assert_eq!(request.content_length, Some(expected.len() as u64));
        assert_eq!(request.model.as_deref(), Some("demo-image"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn response_format_goes_for_a_gpt_image_model_wherever_it_stands() {
    let house = House::new().await;
    for (text, expected) in [
        (
            r#"{"response_format":"url","model":"gpt-image-demo","prompt":"a size:64x64"}"#,
            r#"{"model":"gpt-image-demo","prompt":"a size:64x64"}"#,
        ),
        (
            r#"{"model":"gpt-image-demo", "response_format" : "url" ,"prompt":"a size:64x64"}"#,
            r#"{"model":"gpt-image-demo", "prompt":"a size:64x64"}"#,
        ),
        (
            r#"{"model":"gpt-image-demo","prompt":"a size:64x64","response_format":"url"}"#,
            r#"{"model":"gpt-image-demo","prompt":"a size:64x64"}"#,
        ),
    ] {
        house.post("/v1/images/generations", text).await.ok();
        let request = received(&house, "/v1/images");
        assert_eq!(String::from_utf8_lossy(request.body.as_ref().unwrap()), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_query_and_harmless_headers_go_on_and_the_clients_key_does_not() {
    let house = House::new().await;
    let key = format!("Bearer {KEY}");
    let headers = [
        ("authorization", key.as_str()),
        ("content-type", "application/json"),
        ("x-stainless-lang", "python"),
        ("cookie", "a=b"),
        ("x-forwarded-for", "10.0.0.1"),
    ];
    let body = json!({ "model": "demo-chat", "messages": [{ "role": "user", "content": "hi" }] }).to_string();
    let answer = house.send(Method::POST, "/v1/chat/completions?api-version=1&x=%20y", &headers, body).await;
    let request = received(&house, "/v1/chat");
    assert_eq!(request.target, "/v1/chat/completions?api-version=1&x=%20y");
    assert_eq!(request.header("authorization"), Some("Bearer sk-upstream"));
    assert_eq!(request.header("x-stainless-lang"), Some("python"));
    assert_eq!((request.header("cookie"), request.header("x-forwarded-for")), (None, None));
    assert_eq!(request.header("x-request-id"), Some(answer.header("x-request-id")));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_could_be_read_in_two_ways_are_refused() {
    let house = House::new().await;
    let deep = format!("{{\"model\":\"demo-chat\",\"x\":{}{}}}", "[".repeat(200), "]".repeat(200));
    for (body, code) in [
        (r#"{"model":"demo-chat","model":"demo-chat","messages":[]}"#, "invalid_request"),
        (r#"{"model":"demo-chat","mod\u0065l":"x","messages":[]}"#, "invalid_request"),
        (r#"{"model":"demo-chat","stream":true,"stream":false,"messages":[]}"#, "invalid_request"),
        (r#"{"model":1,"messages":[]}"#, "invalid_request"),
        (r#"{"messages":[]}"#, "invalid_request"),
        ("[]", "invalid_request"),
        (r#"{"model":"demo-chat",}"#, "invalid_json"),
        (r#"{"model":"demo-chat"} x"#, "invalid_json"),
        ("", "invalid_json"),
        (&deep, "invalid_json"),
    ] {
        house.post("/v1/chat/completions", body).await.error(400, code);
    }
    house.post("/v1/chat/completions", json!({ "model": "other" })).await.error(404, "model_not_found");
    assert!(house.demo.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_takes_posts_says_so() {
    let house = House::new().await;
    for path in ["generations", "edits", "variations"] {
        house.get_with_key(&format!("/v1/images/{path}")).await.error(405, "method_not_allowed");
    }
}

//! In which form pictures of the image routes come back: what is asked for, else the key's policy, else the model's.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Canned, House, decoded, encoded};

const PROMPT: &str = "a lantern size:64x64";

/// The form of an answer's picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Url,
    Base64,
    Both,
}

use Form::{Base64, Both, Url};

/// A gateway with a key for every policy, and for every policy forced.
async fn house() -> House {
    let mut builder = House::builder();
    for policy in ["url", "b64_json", "both", "as_asked"] {
        builder = builder
            .key(&format!("{{ name: {policy}, key: key-with-{policy}, images: {policy} }}"))
            .key(&format!("{{ name: f-{policy}, key: key-forced-{policy}, images: {policy}, images_force: true }}"));
    }
    let mut models = String::new();
    for policy in ["url", "b64_json", "both", "as_asked"] {
        models.push_str(&format!(
            "    - {{ name: {policy}-image, targets: [ {{ upstream: demo, model: demo-image }} ], images: {{ response_format: {policy} }} }}\n"
        ));
    }
    models.push_str("    - { name: demo-image, targets: [ { upstream: demo } ] }\n");
    models.push_str("    - { name: gpt-image-demo, targets: [ { upstream: demo } ] }\n");
    builder.models(&models).start().await
}

/// A generation with this key.
async fn generate(house: &House, key: &str, body: Value) -> Answer {
    let key = format!("Bearer {key}");
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    house.send(Method::POST, "/v1/images/generations", &headers, body.to_string()).await
}

/// Asserts the form of the only picture: which keys there are, and that both lead to the picture drawn.
async fn assert_form(house: &House, answer: &Answer, form: Form, case: &str) {
    let body = answer.ok();
    let item = body["data"][0].as_object().unwrap();
    assert_eq!(item.contains_key("url"), form != Base64, "{case}: {}", answer.text());
    assert_eq!(item.contains_key("b64_json"), form != Url, "{case}: {}", answer.text());
    let drawn = house.drawn(PROMPT).await;
    if let Some(url) = item.get("url") {
        let url = url.as_str().unwrap();
        assert!(url.starts_with(&house.origin()), "{case}: {url}");
        assert!(house.get(url).await.body == drawn, "{case}: other bytes behind {url}");
    }
    if let Some(text) = item.get("b64_json") {
        assert!(decoded(text) == drawn, "{case}: other bytes in b64_json");
    }
    assert_eq!(body["data"][0]["revised_prompt"], "a lantern", "{case}");
}

/// Every case of `expected` (what is asked for → form), with an upstream that answers base64 and with one that answers
/// URLs, whatever is asked.
async fn assert_all(house: &House, key: &str, model: &str, expected: [(Option<&str>, Form, Form); 3]) {
    for (asked, from_base64, from_url) in expected {
        for (words, form) in [("", from_base64), (" asurl", from_url)] {
            let case = format!("key {key}, model {model}, asked {asked:?}, words {words:?}");
            let mut body = json!({ "model": model, "prompt": format!("{PROMPT}{words}") });
            if let Some(asked) = asked {
                body["response_format"] = asked.into();
            }
            assert_form(house, &generate(house, key, body).await, form, &case).await;
        }
    }
}

const URL: Option<&str> = Some("url");
const B64: Option<&str> = Some("b64_json");

#[tokio::test(flavor = "multi_thread")]
async fn a_key_decides_unless_the_request_does() {
    let house = house().await;
    let model = "demo-image";
    assert_all(&house, "key-with-url", model, [(None, Url, Url), (URL, Url, Url), (B64, Base64, Base64)]).await;
    assert_all(&house, "key-with-b64_json", model, [(None, Base64, Base64), (URL, Url, Url), (B64, Base64, Base64)])
        .await;
    assert_all(&house, "key-with-both", model, [(None, Both, Both), (URL, Url, Url), (B64, Base64, Base64)]).await;
    assert_all(&house, "key-with-as_asked", model, [(None, Base64, Url), (URL, Url, Url), (B64, Base64, Base64)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_key_decides_whatever_is_asked() {
    let house = house().await;
    let model = "demo-image";
    assert_all(&house, "key-forced-url", model, [(None, Url, Url), (URL, Url, Url), (B64, Url, Url)]).await;
    let base64 = [(None, Base64, Base64), (URL, Base64, Base64), (B64, Base64, Base64)];
    assert_all(&house, "key-forced-b64_json", model, base64).await;
    assert_all(&house, "key-forced-both", model, [(None, Both, Both), (URL, Both, Both), (B64, Both, Both)]).await;
    let as_asked = [(None, Base64, Url), (URL, Url, Url), (B64, Base64, Base64)];
    assert_all(&house, "key-forced-as_asked", model, as_asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_policy_is_for_keys_without_one() {
    let house = house().await;
    let key = crate::harness::KEY;
    assert_all(&house, key, "url-image", [(None, Url, Url), (URL, Url, Url), (B64, Base64, Base64)]).await;
    assert_all(&house, key, "b64_json-image", [(None, Base64, Base64), (URL, Url, Url), (B64, Base64, Base64)]).await;
    assert_all(&house, key, "both-image", [(None, Both, Both), (URL, Url, Url), (B64, Base64, Base64)]).await;
    assert_all(&house, key, "as_asked-image", [(None, Base64, Url), (URL, Url, Url), (B64, Base64, Base64)]).await;

    assert_all(&house, "key-with-url", "both-image", [(None, Url, Url), (URL, Url, Url), (B64, Base64, Base64)]).await;
    assert_all(&house, "key-forced-both", "url-image", [(None, Both, Both), (URL, Both, Both), (B64, Both, Both)])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpt_image_model_never_sees_response_format() {
    let house = house().await;
    let prompt = PROMPT;
    for (asked, form) in [(None, Url), (URL, Url), (B64, Base64)] {
        let mut body = json!({ "model": "gpt-image-demo", "prompt": prompt });
        if let Some(asked) = asked {
            body["response_format"] = asked.into();
        }
        let answer = generate(&house, crate::harness::KEY, body).await;
        let received = house.demo.received();
        let sent = received.iter().find(|request| request.target.ends_with("/generations")).unwrap().json().unwrap();
        assert_eq!(sent, json!({ "model": "gpt-image-demo", "prompt": prompt }), "{asked:?}");
        let item = answer.ok()["data"][0].clone();
        assert_eq!((item.get("url").is_some(), item.get("b64_json").is_some()), (form != Base64, form != Url));
        house.demo.clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn response_format_reaches_a_model_that_takes_it() {
    let house = house().await;
    generate(
        &house,
        "key-forced-b64_json",
        json!({ "model": "demo-image", "prompt": PROMPT, "response_format": "url" }),
    )
    .await
    .ok();
    assert_eq!(house.demo.received()[0].json().unwrap()["response_format"], "url");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_cannot_be_fetched_stays_where_it_is() {
    let house = house().await;
    let mut failed = 0;
    for key in ["key-with-url", "key-with-b64_json", "key-with-both", "key-with-as_asked"] {
        let body = json!({ "model": "demo-image", "prompt": format!("{PROMPT} asurl lost:yes") });
        let direct = house.direct("/images/generations", body.clone()).await.json();
        let answer = generate(&house, key, body).await.ok();
        assert_eq!(answer["data"], direct["data"], "{key}");
        failed += 1;
        assert_eq!(house.metric(r#"picgate_fetches_total{for="answer",result="failed"}"#), failed);
    }
    assert_eq!(house.metric("picgate_pictures_stored_total"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_at_an_address_that_may_not_be_fetched_stays_where_it_is() {
    let house = House::builder().line("fetch: { allow: [] }").start().await;
    let body = json!({ "model": "demo-image", "prompt": format!("{PROMPT} asurl") });
    let direct = house.direct("/images/generations", body.clone()).await.json();
    assert_eq!(house.generate(body).await.ok()["data"], direct["data"]);
    assert_eq!(house.metric(r#"picgate_fetches_total{for="answer",result="failed"}"#), 1);
    assert!(!house.demo.received().iter().any(|request| request.target.starts_with("/pictures")));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_both_a_large_picture_and_its_url_are_the_same() {
    let house = house().await;
    let prompt = "a lantern size:64x64 bytes:3000000";
    let answer = generate(&house, "key-with-both", json!({ "model": "demo-image", "prompt": prompt, "n": 2 })).await;
    let answer = answer.ok();
    for item in [&answer["data"][0], &answer["data"][1]] {
        let keys: Vec<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["b64_json", "revised_prompt", "url"]);
        let picture = house.get(item["url"].as_str().unwrap()).await.body;
        assert!(picture.len() > 2_900_000);
        assert!(decoded(&item["b64_json"]) == picture);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_policy_does_not_govern_chat() {
    let house = House::builder()
        .key("{ name: b64, key: key-forced-b64, images: b64_json, images_force: true }")
        .models("    - { name: demo-chat, targets: [ { upstream: demo } ] }\n    - { name: raw-chat, targets: [ { upstream: demo } ], images: { chat: as_upstream } }")
        .start()
        .await;
    for (model, expected) in [("demo-chat", "http://"), ("raw-chat", "data:image/png;base64,")] {
        let messages = json!([{ "role": "user", "content": "draw a cup size:64x64 shape:bare" }]);
        let headers = [("authorization", "Bearer key-forced-b64"), ("content-type", "application/json")];
        let body = json!({ "model": model, "messages": messages }).to_string();
        let answer = house.send(Method::POST, "/v1/chat/completions", &headers, body).await.ok();
        let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(content.starts_with(expected), "{model}: {content}");
    }
}

/// Some gateways write every key, with an empty text or null where there is nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_twin_is_never_answered() {
    let elsewhere = House::new().await;
    let picture = elsewhere.drawn(PROMPT).await;
    let (url, base64) = (json!(elsewhere.remote_picture(PROMPT).await), json!(encoded(&picture)));
    for none in [r#""""#, "null"] {
        for (b64_json, url) in [(base64.to_string(), none.to_owned()), (none.to_owned(), url.to_string())] {
            for item in [
                format!(r#"{{"url":{url},"b64_json":{b64_json},"revised_prompt":""}}"#),
                format!(r#"{{ "revised_prompt" : "" , "b64_json" : {b64_json} , "url" : {url} }}"#),
                format!(r#"{{"b64_json":{b64_json},"revised_prompt":"","url":{url}}}"#),
            ] {
                let canned = Canned::new("application/json", format!("{{\"data\":[{item},{item}]}}")).await;
                let house = House::builder()
                    .upstream(&canned.upstream())
                    .models("    - { name: canned, targets: [ { upstream: canned } ] }")
                    .key("{ name: both, key: key-with-both, images: both }")
                    .key("{ name: b64, key: key-with-b64_json, images: b64_json }")
                    .start()
                    .await;
                for (key, keys) in [
                    (crate::harness::KEY, &["revised_prompt", "url"][..]),
                    ("key-with-b64_json", &["b64_json", "revised_prompt"]),
                    ("key-with-both", &["b64_json", "revised_prompt", "url"]),
                ] {
                    let answer = generate(&house, key, json!({ "model": "canned", "prompt": "x" })).await.ok();
                    for item in answer["data"].as_array().unwrap() {
                        let found: Vec<_> = item.as_object().unwrap().keys().collect();
                        assert_eq!(found, keys, "{key}: {item}");
                        if let Some(url) = item.get("url") {
                            assert!(house.get(url.as_str().unwrap()).await.body == picture, "{key}: {item}");
                        }
                        if let Some(text) = item.get("b64_json") {
                            assert!(decoded(text) == picture, "{key}");
                        }
                    }
                }
            }
        }
    }
}

/// Shapes of other APIs: under a key that promises no base64, bare base64 becomes a URL for who asked for URLs.
#[tokio::test(flavor = "multi_thread")]
async fn bare_base64_becomes_a_url_only_where_the_client_asked_for_one() {
    let picture = crate::harness::fixture("img/px2.png");
    let body = format!(r#"{{"images":["{0}"],"artifacts":[{{"base64":"{0}"}}]}}"#, encoded(&picture));
    let canned = Canned::new("application/json", body.clone()).await;
    let house = House::builder()
        .upstream(&canned.upstream())
        .models("    - { name: canned, targets: [ { upstream: canned } ] }")
        .key("{ name: urls, key: key-with-url, images: url }")
        .start()
        .await;
    let plain = json!({ "model": "canned", "prompt": "x" });
    let asks = json!({ "model": "canned", "prompt": "x", "response_format": "url" });
    for (key, request, changes) in
        [(crate::harness::KEY, &plain, false), (crate::harness::KEY, &asks, true), ("key-with-url", &plain, true)]
    {
        let answer = generate(&house, key, request.clone()).await;
        let json = answer.ok();
        assert_eq!(decoded(&json["artifacts"][0]["base64"]), picture, "its name says base64");
        if changes {
            assert!(house.get(json["images"][0].as_str().unwrap()).await.body == picture);
        } else {
            assert_eq!(answer.text(), body);
        }
    }
    assert_eq!(house.metric("picgate_pictures_stored_total"), 6, "kept in any case");
}

//! `images.access: signed`: pictures for those who have a URL of ours.

use http::Method;
use serde_json::json;

use crate::harness::{House, KEY};

const SIGNED: &str = "images: { access: signed, signing_keys: [ the-first-key-of-this-test-is-long ] }";
const ROTATED: &str = "images: { access: signed, signing_keys: [ the-second-key-of-this-test-is-too, the-first-key-of-this-test-is-long ] }";

async fn signed() -> House {
    House::builder().line(SIGNED).start().await
}

/// The path of a URL, and its query.
fn parts(url: &str) -> (&str, &str) {
    url.split_once('?').unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_in_answers_are_signed_and_open_their_picture() {
    let house = signed().await;
    let (url, bytes) = house.picture("a lighthouse").await;
    let (path, query) = parts(&url);
    assert!(query.starts_with("exp=") && query.contains("&sig="), "{url}");
    let answer = house.get(&url).await;
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &bytes));
    let cache = answer.header("cache-control");
    let age: u64 = cache
        .strip_prefix("private, max-age=")
        .and_then(|rest| rest.strip_suffix(", immutable"))
        .unwrap_or_else(|| panic!("{cache}"))
        .parse()
        .unwrap();
    assert!((6 * 86_400..=8 * 86_400).contains(&age), "{age}");

    // The extension is not signed, other parameters are not looked at.
    assert_eq!(house.get(&format!("{}?v=1&{query}", path.replace(".png", ".jpg"))).await.status, 200);
    let send = async |method: Method, headers: &[(&str, &str)]| house.send(method, &url, headers, "").await;
    assert_eq!(send(Method::HEAD, &[]).await.header("content-length"), bytes.len().to_string());
    assert_eq!(send(Method::GET, &[("range", "bytes=0-9")]).await.body, bytes[..10]);
    let etag = answer.header("etag");
    assert_eq!(send(Method::GET, &[("if-none-match", etag)]).await.status, 304);
    assert_eq!(send(Method::OPTIONS, &[]).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_opens_it() {
    let house = signed().await;
    let (url, _) = house.picture("a lighthouse").await;
    let (other, _) = house.picture("another lighthouse").await;
    let (path, query) = parts(&url);
    let later = query.replacen("exp=1", "exp=2", 1);
    let missing = "/images/00112233445566778899aabbccddeeff00112233.png";
    for (path, query) in [
        (path, ""),
        (path, "v=1"),
        (path, "exp=9999999999"),
        (path, "exp=9999999999&sig=AAAAAAAAAAAAAAAAAAAAAA"),
        (path, parts(&other).1),
        (path, &later),
        (path, &format!("{query}&w=33")),
        // Who may not read it does not learn whether it is there.
        (missing, ""),
        (missing, query),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let key = format!("Bearer {KEY}");
            let headers = [("range", "bytes=0-9"), ("if-none-match", "*"), ("authorization", key.as_str())];
            let answer = house.send(method.clone(), &format!("{path}?{query}"), &headers, "").await;
            assert_eq!(answer.status, 403, "{method} {path}?{query}");
            assert_eq!(answer.header("cache-control"), "no-store");
            if method == Method::GET {
                answer.error(403, "invalid_signature");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_url_is_told_as_such_but_still_stands_for_its_picture_in_a_request() {
    // Ends at most two seconds after it was made.
    let line = SIGNED.replace(" }", ", url_ttl: 1s }");
    let house = House::builder().line(&line).start().await;
    let answer = house.generate(json!({ "prompt": "a lighthouse" })).await.ok();
    let url = answer["data"][0]["url"].as_str().unwrap();
    let expired = async {
        loop {
            let answer = house.get(url).await;
            if answer.status != 200 {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let expired = tokio::time::timeout(crate::harness::PATIENCE, expired).await.unwrap();
    expired.error(403, "image_url_expired");

    let ask = |url: &str| {
        house.chat(json!([{ "role": "user", "content": [
            { "type": "text", "text": "what is this?" }, { "type": "image_url", "image_url": { "url": url } },
        ] }]))
    };
    house.demo.clear();
    ask(url).await.ok();
    assert_eq!(house.demo.received()[0].images.len(), 1);
    // As it was before URLs were signed, or under a key that is gone.
    for old in [parts(url).0.to_owned(), url.replace("exp=1", "exp=2")] {
        house.demo.clear();
        ask(&old).await.ok();
        assert_eq!(house.demo.received()[0].images.len(), 1, "{old}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_changed_without_breaking_urls() {
    let house = signed().await;
    let (old, bytes) = house.picture("a lighthouse").await;
    let (_, query) = parts(&old);
    let path = parts(&old).0.strip_prefix(&house.origin()).unwrap();
    let old = format!("{path}?{query}");
    let house = house.restart_with(&[ROTATED]).await;
    assert_eq!(house.get(&old).await.body, bytes);
    let (new, _) = house.picture("another lighthouse").await;
    assert_eq!(house.get(&new).await.status, 200);
    // Without the old key its URLs are forgeries.
    let alone = ROTATED.replace(", the-first-key-of-this-test-is-long", "");
    let house = house.restart_with(&[&alone]).await;
    house.get(&old).await.error(403, "invalid_signature");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_made_lasts_and_is_nobody_elses() {
    use std::os::unix::fs::PermissionsExt as _;
    let line = "images: { access: signed }";
    let house = House::builder().line(line).start().await;
    let (url, bytes) = house.picture("a lighthouse").await;
    let path = url.strip_prefix(&house.origin()).unwrap().to_owned();
    let file = house.data_dir().join("state/signing_keys.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let house = house.restart_with(&[line]).await;
    assert_eq!(house.get(&path).await.body, bytes);
    assert!(!House::new().await.data_dir().join("state/signing_keys.json").exists(), "in public mode none is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_markdown_carry_signed_urls_as_well() {
    let house = signed().await;
    let answer = house
        .post(
            "/v1/chat/completions",
            json!({ "model": "demo-chat", "stream": true, "messages": [{ "role": "user", "content": "draw a cat" }] }),
        )
        .await;
    let text: String = answer
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str::<serde_json::Value>(data).unwrap())
        .filter_map(|event| Some(event["choices"].get(0)?["delta"]["content"].as_str()?.to_owned()))
        .collect();
    let url = text.split("](").nth(1).and_then(|rest| rest.split(')').next()).unwrap_or_else(|| panic!("{text}"));
    assert!(url.contains("?exp=") && url.contains("&sig="), "{url}");
    assert_eq!(house.get(url).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_variant_may_have_any_size() {
    for line in [SIGNED, "images: { signing_keys: [ the-first-key-of-this-test-is-long ] }"] {
        let house = House::builder().line(line).start().await;
        let (url, _) = house.picture("a lighthouse size:640x480").await;
        let id = url.split("/images/").nth(1).unwrap()[..40].parse().unwrap();
        let asked = picgate::images::Asked::parse("w=77&format=webp").unwrap().unwrap();
        let settings = house.gateway.core().settings();
        let url = settings.links.variant_url(&id, picgate::picture::Format::Webp, &asked);
        let answer = house.get(&url).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "image/webp"));
        assert_eq!(image::load_from_memory(&answer.body).unwrap().width(), 77);
        assert!(answer.header("cache-control").starts_with("private, max-age="));
        house.get(&url.replace("w=77", "w=78")).await.error(403, "invalid_signature");
    }
}

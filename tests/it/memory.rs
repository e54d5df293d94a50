//! Memory does not grow with the pictures that a request names.

use serde_json::{Value, json};

use crate::{
    binary::{KEY, Site},
    process::client,
};

/// Bytes of each picture, and what the process may grow by from one of them to four.
const PICTURE: usize = 10_000_000;
const GROWTH: u64 = 8 << 20;

async fn post(url: String, key: &str, body: Value) -> Value {
    let request = client().post(url).bearer_auth(key).header("content-type", "application/json").body(body.to_string());
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn four_pictures_of_ten_megabytes_take_no_more_memory_than_one() {
    let site = Site::new(&format!(
        "  keys: [ {{ name: test, key: {KEY} }} ]\n  fetch: {{ allow: [ 127.0.0.0/8 ] }}\n  images: {{ history: {{ bytes: 1GiB }} }}\n"
    ))
    .await;
    let base = site.demo.base_url();
    let mut urls = Vec::new();
    for tree in ["oak", "elm", "fir", "yew"] {
        let prompt = format!("{tree} size:64x64 bytes:{PICTURE}");
        let body = json!({ "model": "demo-image", "prompt": prompt, "response_format": "url" });
        let made = post(format!("{base}/images/generations"), "sk-upstream", body).await;
        urls.push(made["data"][0]["url"].as_str().unwrap().to_owned());
    }
    let process = site.run().await;
    let chat = |urls: &[String]| {
        let parts: Vec<_> =
            urls.iter().map(|url| json!({ "type": "image_url", "image_url": { "url": url } })).collect();
        json!({ "model": "demo-chat", "messages": [{ "role": "user", "content": parts }, { "role": "user", "content": "?" }] })
    };
    let url = site.url("/v1/chat/completions");
    // With one, threads are started and buffers are made.
    post(url.clone(), KEY, chat(&urls[3..])).await;
    let before = process.peak_memory();
    post(url, KEY, chat(&urls)).await;
    let grown = process.peak_memory() - before;

    let received = site.demo.received().into_iter().rev().find(|request| request.target.contains("chat")).unwrap();
    assert_eq!(received.images.iter().map(|image| image.length).collect::<Vec<_>>(), [PICTURE; 4]);
    assert!(grown < GROWTH, "it grew by {} KiB", grown >> 10);
}

//! Pictures of ours that the text of a conversation shows are sent along as parts; the text stays.

use serde_json::{Value, json};

use crate::{
    harness::{Answer, House, data_uri, sha256},
    requests::received,
};

/// Sends a chat or a response of these turns, and answers what the upstream received of them.
async fn sent(house: &House, route: &str, turns: Value) -> Value {
    let (path, key) = if route == "chat" { ("chat/completions", "messages") } else { ("responses", "input") };
    house.demo.clear();
    let body = json!({ "model": "demo-chat", key: turns });
    house.post(&format!("/v1/{path}"), body).await.ok();
    let body = received(house, &format!("/v1/{path}")).body.unwrap();
    serde_json::from_slice::<Value>(&body).unwrap()[key].clone()
}

/// The parts that bring a picture to the model.
fn parts(route: &str, url: &str, uri: &str) -> [Value; 2] {
    if route == "chat" {
        [
            json!({ "type": "text", "text": format!("Image {url}:") }),
            json!({ "type": "image_url", "image_url": { "url": uri } }),
        ]
    } else {
        [
            json!({ "type": "input_text", "text": format!("Image {url}:") }),
            json!({ "type": "input_image", "image_url": uri }),
        ]
    }
}

/// A text part as a user writes it.
fn said(route: &str, text: &str) -> Value {
    json!({ "type": if route == "chat" { "text" } else { "input_text" }, "text": text })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_in_the_assistants_text_goes_to_the_users_next_turn() {
    let house = House::new().await;
    let (url, bytes) = house.picture("an oak size:64x64").await;
    let uri = data_uri("image/png", &bytes);
    for route in ["chat", "responses"] {
        let [label, picture] = parts(route, &url, &uri);
        for text in [
            format!("Here: ![an oak]({url})"),
            format!("![]({url} \"a title\")"),
            format!("![a](<{url}>)"),
            format!("[![a]({url})](https://x.example)"),
            format!("<p><img width=3 src='{url}'></p>"),
        ] {
            let turns = json!([
                { "role": "user", "content": "draw" },
                { "role": "assistant", "content": text },
                { "role": "user", "content": "make it \"blue\"\n" },
                { "role": "assistant", "content": "no" },
                { "role": "user", "content": "please" },
            ]);
            let mut expected = turns.clone();
            expected[2]["content"] = json!([said(route, "make it \"blue\"\n"), label, picture]);
            assert_eq!(sent(&house, route, turns).await, expected, "{text}");
        }
    }
    let seen = &received(&house, "/v1/responses").images;
    assert_eq!(seen.iter().map(|image| image.sha256.clone()).collect::<Vec<_>>(), [sha256(&bytes)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_goes_to_the_turn_that_shows_it_or_the_next_one_or_the_last() {
    let house = House::new().await;
    let (url, bytes) = house.picture("an oak size:64x64").await;
    let (other, other_bytes) = house.picture("an elm size:64x64").await;
    let shows = format!("look: ![a]({url})");
    for route in ["chat", "responses"] {
        let first = parts(route, &url, &data_uri("image/png", &bytes));
        let second = parts(route, &other, &data_uri("image/png", &other_bytes));
        let list = |texts: &[&str], added: &[&[Value; 2]]| {
            let mut list: Vec<Value> = texts.iter().map(|text| said(route, text)).collect();
            list.extend(added.iter().flat_map(|added| added.iter().cloned()));
            Value::from(list)
        };
        let user = |content: Value| json!({ "role": "user", "content": content });
        let assistant = |content: &str| json!({ "role": "assistant", "content": content });
        let tool = |content: &str| match route {
            "chat" => json!({ "role": "tool", "tool_call_id": "c", "content": content }),
            _ => json!({ "type": "function_call_output", "call_id": "c", "output": content }),
        };
        let rows = [
            ("the user's own text", json!([user(json!(shows))]), 0, list(&[&shows], &[&first])),
            ("the user's own list", json!([user(list(&[&shows, "b"], &[]))]), 0, list(&[&shows, "b"], &[&first])),
            ("an empty list", json!([assistant(&shows), user(json!([]))]), 1, list(&[], &[&first])),
            (
                "a system's text",
                json!([{ "role": "system", "content": shows }, user(json!("b"))]),
                1,
                list(&["b"], &[&first]),
            ),
            (
                "after the last user's turn",
                json!([user(json!("a")), user(json!("b")), assistant(&shows)]),
                1,
                list(&["b"], &[&first]),
            ),
            ("a tool's text", json!([user(json!("a")), tool(&shows)]), 0, list(&["a"], &[&first])),
            (
                "two, each once, in order",
                json!([user(json!("a")), assistant(&format!("{shows} ![b]({other}) ![c]({other})")), user(json!("b"))]),
                2,
                list(&["b"], &[&first, &second]),
            ),
            (
                "a turn that can take no part is passed over",
                json!([user(json!("a")), assistant(&shows), user(json!(null))]),
                0,
                list(&["a"], &[&first]),
            ),
            (
                "shown again: with the last",
                json!([assistant(&shows), user(json!("a")), assistant(&shows), user(json!("b"))]),
                3,
                list(&["b"], &[&first]),
            ),
        ];
        for (name, turns, at, content) in rows {
            let mut expected = turns.clone();
            expected[at]["content"] = content;
            assert_eq!(sent(&house, route, turns).await, expected, "{route}: {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_byte_stays() {
    let house = House::new().await;
    let (url, bytes) = house.picture("an oak size:64x64").await;
    let uri = data_uri("image/png", &bytes);
    let escaped = url.replace('/', "\\/").replace("images", "\\u0069mages");
    let text = format!(
        "{{ \"messages\" :[{{\"content\":\"\\u0021[\\u00e9]({escaped})\",\"role\":\"assistant\" }} ,\n {{\"content\"\t: \"go\\ud83d\\ude00 on\" , \"role\":\"user\",\"x\":1.0e0}}],\"model\":\"demo-chat\"}}"
    );
    house.post("/v1/chat/completions", text.as_str()).await.ok();
    let put = format!(
        r#"[{{"type":"text","text":"go\ud83d\ude00 on"}},{{"type":"text","text":"Image {url}:"}},{{"type":"image_url","image_url":{{"url":"{uri}"}}}}]"#
    );
    let expected = text.replace(r#""go\ud83d\ude00 on""#, &put);
    let request = received(&house, "/v1/chat");
    assert_eq!(String::from_utf8_lossy(request.body.as_ref().unwrap()), expected);
    assert_eq!((request.content_length, request.chunked), (Some(expected.len() as u64), false));

    let text = format!("{{\"input\":\"a ![b]({url})\" ,\"model\":\"demo-chat\"}}");
    house.post("/v1/responses", text.as_str()).await.ok();
    let put = format!(
        r#"[{{"type":"message","role":"user","content":[{{"type":"input_text","text":"a ![b]({url})"}},{{"type":"input_text","text":"Image {url}:"}},{{"type":"input_image","image_url":"{uri}"}}]}}]"#
    );
    let expected = text.replace(&format!("\"a ![b]({url})\""), &put);
    assert_eq!(String::from_utf8_lossy(&received(&house, "/v1/responses").body.unwrap()), expected);
}

/// Sends this chat and asserts that it arrives as it was sent.
async fn assert_unchanged(house: &House, messages: Value) -> Answer {
    let body = json!({ "model": "demo-chat", "messages": messages }).to_string();
    house.demo.clear();
    let answer = house.post("/v1/chat/completions", body.as_str()).await;
    answer.ok();
    assert_eq!(String::from_utf8_lossy(&received(house, "/v1/chat").body.unwrap()), body);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mention_that_cannot_or_need_not_be_attached_is_text() {
    let house = House::new().await;
    let (url, _) = house.picture("an oak size:64x64").await;
    let remote = house.remote_picture("an elm size:64x64").await;
    let gone = format!("{}/images/00112233445566778899aabbccddeeff00112233.png", house.origin());
    let logo = format!("{}/images/logo.png", house.origin());
    for text in [
        format!("![gone]({gone}) ![logo]({logo})"),
        format!("![another's]({remote})"),
        format!("{url} <{url}> [a]({url}) `{url}`"),
        "![a](data:image/png;base64,iVBORw0KGgo=)".into(),
    ] {
        assert_unchanged(
            &house,
            json!([{ "role": "assistant", "content": text }, { "role": "user", "content": "hi" }]),
        )
        .await;
    }
    // No user has said anything.
    assert_unchanged(&house, json!([{ "role": "assistant", "content": format!("![a]({url})") }])).await;
    assert_eq!(house.metric(r#"picgate_references_inlined_total{from="store"}"#), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_a_part_already_is_not_sent_twice() {
    let house = House::new().await;
    let (url, bytes) = house.picture("an oak size:64x64").await;
    let uri = data_uri("image/png", &bytes);
    let turns = |url: &str, named: &str| {
        json!([
            { "role": "assistant", "content": format!("![a]({url})") },
            { "role": "user", "content": [{ "type": "image_url", "image_url": { "url": named } }] },
        ])
    };
    assert_eq!(sent(&house, "chat", turns(&url, &url)).await, turns(&url, &uri));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_setting_keeps_text_text_for_all_or_for_a_model() {
    let models = "    - { name: demo-chat, targets: [ { upstream: demo } ], images: { markdown: keep } }
    - { name: eyes, targets: [ { upstream: demo, model: demo-chat } ] }
    - { name: demo-image, targets: [ { upstream: demo } ] }";
    let house = House::builder().models(models).start().await;
    let (url, bytes) = house.picture("an oak size:64x64").await;
    let messages = json!([{ "role": "user", "content": format!("![a]({url})") }]);
    assert_unchanged(&house, messages.clone()).await;
    house.post("/v1/chat/completions", json!({ "model": "eyes", "messages": messages })).await.ok();
    assert_eq!(received(&house, "/v1/chat").images[0].sha256, sha256(&bytes));

    let house = House::builder().line("images: { markdown: keep }").start().await;
    let (url, _) = house.picture("an oak size:64x64").await;
    assert_unchanged(&house, json!([{ "role": "user", "content": format!("![a]({url})") }])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_are_attached_as_far_as_a_request_may_be_long() {
    let house = House::builder().line("limits: { request_body: 20KiB }").start().await;
    let mut urls = Vec::new();
    for tree in ["an oak", "an elm", "a fir"] {
        urls.push(house.picture(&format!("{tree} size:16x16 bytes:8000")).await);
    }
    let text: String = urls.iter().map(|(url, _)| format!("![a]({url})")).collect();
    let turns = json!([{ "role": "user", "content": text }]);
    let mut content = vec![said("chat", &text)];
    content.extend(urls[1..].iter().flat_map(|(url, bytes)| parts("chat", url, &data_uri("image/png", bytes))));
    assert_eq!(sent(&house, "chat", turns).await, json!([{ "role": "user", "content": content }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_attached_is_a_parent_of_what_comes_back() {
    let house = House::new().await;
    let (url, _) = house.picture("an oak size:64x64").await;
    let answer =
        house.chat(json!([{ "role": "user", "content": format!("image of this: ![a]({url}) size:64x64") }])).await.ok();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    let made = text.split("/images/").nth(1).unwrap_or_else(|| panic!("{text}")).split('.').next().unwrap();
    let record = house.data_dir().join(format!("images/{}/{made}.json", &made[..2]));
    let record: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    let parent = url.rsplit('/').next().unwrap().split('.').next().unwrap();
    assert!(record.to_string().contains(parent), "{record}");
}

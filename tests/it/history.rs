//! `images.history`: of the old pictures of a conversation only the newest are sent.

use serde_json::{Value, json};

use crate::{
    harness::{House, data_uri, fixture},
    requests::{received, remote},
};

/// Nobody listens here: a request that fetches it fails.
const DEAD: &str = "http://127.0.0.1:9/a.png";

async fn house(limits: &str) -> House {
    House::builder().line(&format!("images: {{ history: {limits} }}")).start().await
}

fn part(url: &str) -> Value {
    json!({ "type": "image_url", "image_url": { "url": url } })
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn user(parts: &[Value]) -> Value {
    json!({ "role": "user", "content": parts })
}

/// Asserts that a chat of these messages arrives as those.
async fn assert_chat(house: &House, sent: Value, arrives: Value) {
    house.demo.clear();
    house.chat(sent).await.ok();
    let body: Value = serde_json::from_slice(&received(house, "/v1/chat").body.unwrap()).unwrap();
    assert_eq!(body["messages"], arrives);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_pictures_become_a_note_and_are_not_fetched() {
    let house = house("{ images: 3 }").await;
    let (own, bytes) = house.picture("an oak size:64x64").await;
    let own_uri = data_uri("image/png", &bytes);
    let jpeg = data_uri("image/jpeg", &fixture("img/px2.jpg"));
    let note = text("[image omitted]");
    let sent = json!([
        user(&[part(DEAD), text("first"), part(&jpeg)]),
        { "role": "assistant", "content": "ok", "images": [part(DEAD), part(&own)] },
        { "role": "tool", "tool_call_id": "c", "content": [part(&jpeg), text("x")] },
        user(&[text("second"), part(&own)]),
        { "role": "assistant", "content": "done" },
    ]);
    let arrives = json!([
        user(&[note.clone(), text("first"), note.clone()]),
        { "role": "assistant", "content": "ok", "images": [part(&own_uri)] },
        { "role": "tool", "tool_call_id": "c", "content": [part(&jpeg), text("x")] },
        user(&[text("second"), part(&own_uri)]),
        { "role": "assistant", "content": "done" },
    ]);
    assert_chat(&house, sent, arrives).await;
    assert_eq!(house.metric("picgate_pictures_omitted_total"), 3);
    assert_eq!(house.metric(r#"picgate_fetches_total{for="request",result="failed"}"#), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_user_asks_about_now_always_goes() {
    let house = house("{ images: 1, bytes: 1 }").await;
    let (own, bytes) = house.picture("an oak size:64x64").await;
    let uri = data_uri("image/png", &bytes);
    let shown = format!("![a]({own})");
    let sent = json!([
        { "role": "assistant", "content": shown, "images": [part(DEAD), part(DEAD)] },
        user(&[part(&own), part(&own), text("which?")]),
        { "role": "tool", "tool_call_id": "c", "content": [part(DEAD)] },
    ]);
    let arrives = json!([
        { "role": "assistant", "content": shown, "images": [] },
        user(&[part(&uri), part(&uri), text("which?")]),
        { "role": "tool", "tool_call_id": "c", "content": [text("[image omitted]")] },
    ]);
    assert_chat(&house, sent, arrives).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_counted_wherever_they_come_from() {
    let inline = fixture("img/noise16.png");
    let plain = House::new().await;
    let all =
        inline.len() + plain.drawn("an oak size:64x64").await.len() + plain.drawn("an elm size:64x64").await.len();
    for (limit, room) in [(all, 3), (all - 1, 2)] {
        let house = house(&format!("{{ bytes: {limit} }}")).await;
        let (own, own_bytes) = house.picture("an oak size:64x64").await;
        let (remote, remote_bytes) = remote(&house, "an elm size:64x64").await;
        assert_eq!(inline.len() + own_bytes.len() + remote_bytes.len(), all);
        let sent = [DEAD, &data_uri("image/png", &inline), &own, &remote];
        let arrives = [
            text("[image omitted]"),
            if room == 3 { part(sent[1]) } else { text("[image omitted]") },
            part(&data_uri("image/png", &own_bytes)),
            part(&data_uri("image/png", &remote_bytes)),
        ];
        let question = json!({ "role": "user", "content": "?" });
        let sent: Vec<_> = sent.into_iter().map(part).collect();
        assert_chat(&house, json!([user(&sent), question]), json!([user(&arrives), question])).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_in_text_count_and_are_not_attached_beyond_the_limit() {
    let house = house("{ images: 2 }").await;
    let mut urls = Vec::new();
    for tree in ["an oak", "an elm", "a fir"] {
        urls.push(house.picture(&format!("{tree} size:64x64")).await);
    }
    let turn = |at: usize| json!({ "role": "assistant", "content": format!("![{at}]({})", urls[at].0) });
    let question = json!({ "role": "user", "content": "?" });
    let mut asked = vec![text("?")];
    for (url, bytes) in &urls[1..] {
        asked.extend([text(&format!("Image {url}:")), part(&data_uri("image/png", bytes))]);
    }
    assert_chat(&house, json!([turn(0), turn(1), turn(2), question]), json!([turn(0), turn(1), turn(2), user(&asked)]))
        .await;
    assert_eq!(house.metric(r#"picgate_references_inlined_total{from="store"}"#), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_the_question_shows_is_sent_although_its_part_is_too_old() {
    let house = house("{ images: 1 }").await;
    let (own, bytes) = house.picture("an oak size:64x64").await;
    let question = format!("what is ![this]({own})?");
    let sent = json!([user(&[part(&own)]), { "role": "user", "content": question }]);
    let attached = [text(&question), text(&format!("Image {own}:")), part(&data_uri("image/png", &bytes))];
    assert_chat(&house, sent, json!([user(&[text("[image omitted]")]), user(&attached)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_gets_notes_of_its_own_kind_and_keeps_what_is_no_part() {
    let models = "    - { name: demo-chat, targets: [ { upstream: demo } ], images: { history: { images: 1 } } }
    - { name: demo-image, targets: [ { upstream: demo } ] }";
    let house = House::builder().models(models).start().await;
    let (own, bytes) = house.picture("an oak size:64x64").await;
    let uri = data_uri("image/png", &bytes);
    let image = |url: &str| json!({ "type": "input_image", "image_url": url });
    let note = json!({ "type": "input_text", "text": "[image omitted]" });
    let items = |old: &Value, screen: &str| {
        json!([
            { "role": "user", "content": [old, { "type": "input_text", "text": "a" }] },
            { "type": "function_call_output", "call_id": "c", "output": [old] },
            { "type": "computer_call_output", "call_id": "d", "output": { "type": "computer_screenshot", "image_url": screen } },
            { "role": "user", "content": [image(screen)] },
        ])
    };
    house.post("/v1/responses", json!({ "model": "demo-chat", "input": items(&image(DEAD), &own) })).await.ok();
    let body: Value = serde_json::from_slice(&received(&house, "/v1/responses").body.unwrap()).unwrap();
    assert_eq!(body["input"], items(&note, &uri));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_limits_everything_goes() {
    let house = house("{ images: 0, bytes: 0 }").await;
    let jpeg = data_uri("image/jpeg", &fixture("img/px2.jpg"));
    let messages = json!([user(&vec![part(&jpeg); 200]), { "role": "user", "content": "?" }]);
    assert_chat(&house, messages.clone(), messages).await;
}

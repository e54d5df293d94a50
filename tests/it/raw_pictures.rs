//! Upstreams that answer a generation with the picture itself.

use serde_json::json;

use crate::harness::{Canned, House, decoded, fixture};

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_picture_becomes_an_images_answer() {
    let picture = fixture("img/px2.webp");
    let canned = Canned::new("image/png", picture.clone()).await;
    let models = "    - { name: \"*\", targets: [ { upstream: canned } ] }";
    let house = House::builder().upstream(&canned.upstream()).models(models).start().await;

    let answer = house.generate(json!({ "prompt": "x" })).await.ok();
    assert!(answer["created"].as_u64().unwrap() > 1_700_000_000);
    let kept = house.get(answer["data"][0]["url"].as_str().unwrap()).await;
    assert_eq!((kept.header("content-type"), &kept.body[..]), ("image/webp", &picture[..]));

    let answer = house.generate(json!({ "prompt": "x", "response_format": "b64_json" })).await.ok();
    assert_eq!(decoded(&answer["data"][0]["b64_json"]), picture);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_labelled_a_picture_and_is_none_passes() {
    let canned = Canned::new("image/svg+xml", fixture("img/px2.svg")).await;
    let models = "    - { name: \"*\", targets: [ { upstream: canned } ] }";
    let house = House::builder().upstream(&canned.upstream()).models(models).start().await;
    let answer = house.generate(json!({ "prompt": "x" })).await;
    assert_eq!((answer.header("content-type"), &answer.body[..]), ("image/svg+xml", &fixture("img/px2.svg")[..]));
}

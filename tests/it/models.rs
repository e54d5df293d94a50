//! `/v1/models`: our names and the upstreams', as one list.

use serde_json::Value;

use crate::{
    harness::{Answer, House},
    scripted::{Reply, Scripted, json_answer},
};

fn ids(answer: &Answer) -> Vec<String> {
    let list = answer.ok();
    assert_eq!(list["object"], "list");
    let models: &Vec<Value> = list["data"].as_array().unwrap();
    for model in models {
        assert_eq!(model["object"], "model", "{model}");
        assert!(model["created"].is_i64() && model["owned_by"].is_string(), "{model}");
    }
    models.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_star_only_the_configured_names_are_listed() {
    let house = House::new().await;
    let answer = house.get_with_key("/v1/models").await;
    assert_eq!(ids(&answer), ["demo-image", "demo-chat", "gpt-image-demo", "picture"]);
    assert_eq!(answer.json()["data"][3]["owned_by"], "demo", "an alias has its target's details");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_star_the_upstreams_models_follow_the_aliases_and_no_name_stands_twice() {
    let theirs = r#"{"object":"list","data":[
        {"id":"org/other","object":"model","created":7,"owned_by":"them","extra":{"a":1}},
        {"id":"demo-chat","object":"model","created":8,"owned_by":"them"}, {"no":"id"}, 5]}"#;
    let other = Scripted::answering(200, theirs).await;
    let models = r#"    - { name: picture, targets: [ { upstream: demo, model: demo-image } ] }
    - { name: "*", targets: [ { upstream: demo }, { upstream: other } ] }"#;
    let house = House::builder().upstream(&other.upstream("other")).models(models).start().await;
    let answer = house.get_with_key("/v1/models").await;
    assert_eq!(ids(&answer), ["picture", "demo-image", "demo-chat", "gpt-image-demo", "org/other"]);
    assert_eq!(answer.json()["data"][4]["extra"]["a"], 1, "unknown fields stay");
    assert_eq!(other.heard()[0].header("authorization"), "Bearer sk-upstream");
    assert!(other.heard()[0].head.starts_with("GET /v1/models HTTP/1.1\r\n"));

    for path in ["/v1/models/org/other", "/v1/models/org%2Fother"] {
        assert_eq!(house.get_with_key(path).await.ok()["owned_by"], "them", "{path}");
    }
    assert_eq!(house.get_with_key("/v1/models/picture").await.ok()["id"], "picture");
    house.get_with_key("/v1/models/nope").await.error(404, "model_not_found");
    house.get("/v1/models").await.error(401, "invalid_api_key");
    house.get("/v1/models/picture").await.error(401, "invalid_api_key");
    assert_eq!(other.heard().len(), 1, "the list is kept for a while");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_star_lets_any_name_go_on_unchanged() {
    let house = House::builder().models(r#"    - { name: "*", targets: [ { upstream: demo } ] }"#).start().await;
    house.generate(serde_json::json!({ "model": "some-image-model", "prompt": "a fox" })).await.ok();
    assert_eq!(house.demo.received()[0].model.as_deref(), Some("some-image-model"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_cannot_list_costs_nothing_but_its_own_models() {
    let broken = Scripted::new(|head| match head.contains("/broken/") {
        true => Reply::Bytes(json_answer(200, "{\"data\": 5}")),
        false => Reply::Bytes(json_answer(500, "no")),
    });
    let broken = broken.await;
    let base = broken.base_url();
    let models = r#"    - { name: "*", targets: [ { upstream: broken }, { upstream: failing }, { upstream: demo } ] }"#;
    let house = House::builder()
        .upstream(&format!("{{ name: broken, kind: openai, base_url: \"{base}/broken\", api_key: k }}"))
        .upstream(&format!("{{ name: failing, kind: openai, base_url: \"{base}\", api_key: k }}"))
        .models(models);
    let house = house.start().await;
    let answer = house.get_with_key("/v1/models").await;
    assert_eq!(ids(&answer), ["demo-image", "demo-chat", "gpt-image-demo"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_upstream_is_waited_for_once() {
    let silent = Scripted::silent().await;
    let models = r#"    - { name: picture, targets: [ { upstream: silent } ] }
    - { name: "*", targets: [ { upstream: demo }, { upstream: silent } ] }"#;
    let house = House::builder().upstream(&silent.upstream("silent")).models(models).start().await;
    let all = ["picture", "demo-image", "demo-chat", "gpt-image-demo"];
    // Clients that come at the same time wait for the same question.
    let (one, two) = tokio::join!(house.get_with_key("/v1/models"), house.get_with_key("/v1/models"));
    assert_eq!(ids(&one), all);
    assert_eq!(ids(&two), all);
    for _ in 0..3 {
        assert_eq!(ids(&house.get_with_key("/v1/models").await), all);
    }
    assert_eq!(silent.heard().len(), 1, "asked again while nothing new can be known");
    assert_eq!(house.demo.received().len(), 1);
}

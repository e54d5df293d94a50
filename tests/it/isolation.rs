//! Slow work does not touch serving.

use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    harness::{House, KEY, fixture},
    scripted::{Reply, Scripted, json_answer},
};

const SLOW: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn forty_unanswered_generations_hold_up_nothing_else() {
    let picture = String::from_utf8(fixture("resp.images.b64.json")).unwrap();
    let slow = Scripted::new(move |head| match head.starts_with("POST") {
        true => Reply::Gated(json_answer(200, &picture)),
        false => Reply::Silence,
    });
    let slow = slow.await;
    let models = "    - { name: demo-image, targets: [ { upstream: demo } ] }
    - { name: slow-image, targets: [ { upstream: slow } ] }";
    let house = House::builder().upstream(&slow.upstream("slow")).models(models).start().await;
    let (url, bytes) = house.picture("made before").await;
    house.get_with_key("/v1/models").await.ok();

    house.gateway.in_flight().none().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut generations = JoinSet::new();
    for turn in 0..SLOW {
        let body = json!({ "model": "slow-image", "prompt": format!("number {turn}") }).to_string();
        let request = client.post(format!("{}/v1/images/generations", house.origin())).bearer_auth(KEY).body(body);
        generations.spawn(async move { request.send().await.unwrap().text().await.unwrap() });
    }
    slow.heard_at_least(SLOW).await;
    assert_eq!(house.metric("picgate_requests_in_flight"), SLOW as u64);

    for _ in 0..5 {
        assert_eq!(house.get(&url).await.body, bytes);
        house.get_with_key("/v1/models").await.ok();
        assert_eq!(house.get("/healthz").await.text(), "ok\n");
        assert_eq!(house.get("/readyz").await.text(), "ready\n");
        assert_eq!(house.get("/admin/").await.status, 200);
        house.generate(json!({ "prompt": "a quick one" })).await.ok();
    }
    assert!(generations.try_join_next().is_none(), "one was answered: nothing is proved");

    slow.open_gate();
    for text in generations.join_all().await {
        assert!(text.contains(&format!("{}/images/", house.origin())), "{text}");
    }
    house.gateway.in_flight().none().await;
}

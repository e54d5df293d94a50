//! Base64 in answers becomes URLs that stay.

use serde_json::json;

use crate::harness::{House, sha256};

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_comes_back_as_a_url_that_survives_a_restart() {
    let house = House::new().await;
    let answer = house.generate(json!({ "prompt": "a lighthouse" })).await.ok();
    let url = answer["data"][0]["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{}/images/", house.origin())), "{url}");
    assert!(answer["data"][0].get("b64_json").is_none());
    let picture = house.get(url).await;
    assert_eq!(picture.header("content-type"), "image/png");
    let path = url.strip_prefix(&house.origin()).unwrap();
    let house = house.restart().await;
    assert_eq!(sha256(&house.get(path).await.body), sha256(&picture.body));
}

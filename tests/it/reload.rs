//! HUP: the configuration is read again, whole or not at all.

use serde_json::json;

use crate::{
    binary::{KEY, Site},
    process::{Process, client},
};

impl Site {
    pub fn change(&self, from: &str, to: &str) {
        let path = self.path("picgate.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }
}

async fn status(site: &Site, key: &str, model: &str) -> u16 {
    let body = json!({ "model": model, "prompt": "a cat", "size": "64x64" }).to_string();
    let request = client().post(site.url("/v1/images/generations")).bearer_auth(key);
    request.header("content-type", "application/json").body(body).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_in_force_after_hup_and_a_broken_one_is_not() {
    let site = Site::with_key().await;
    let process: Process = site.run().await;
    assert_eq!(status(&site, KEY, "demo-image").await, 200);

    site.change(KEY, "another-key-0123456789");
    site.change(
        "  store:",
        "  models: [ { name: drawn, targets: [ { upstream: demo, model: demo-image } ] } ]\n  store:",
    );
    process.signal("HUP");
    process.logs("is in force");
    assert_eq!(status(&site, KEY, "drawn").await, 401);
    assert_eq!(status(&site, "another-key-0123456789", "drawn").await, 200);
    assert_eq!(status(&site, "another-key-0123456789", "demo-image").await, 404);

    site.change("name: drawn", "nam: drawn");
    process.signal("HUP");
    let log = process.logs("the old configuration stays in force");
    assert!(log.contains("picgate.models[0].nam"), "{log}");
    assert_eq!(status(&site, "another-key-0123456789", "drawn").await, 200);
}

/// Regression 10.11: the key that the first start makes stayed valid, silently, once `keys` were configured.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_key_beside_configured_ones_is_told_of_at_each_start_until_its_file_is_gone() {
    let site = Site::new("").await;
    let process: Process = site.run().await;
    let said = process.says("pg-");
    let first = said.split_whitespace().find(|word| word.starts_with("pg-")).unwrap().to_owned();
    assert!(!process.stderr().contains("valid beside"), "{}", process.stderr());
    assert_eq!(status(&site, &first, "demo-image").await, 200);

    site.change("  upstreams:", &format!("  keys: [ {{ name: test, key: {KEY} }} ]\n  upstreams:"));
    process.signal("HUP");
    process.logs("valid beside");
    drop(process);
    for _ in 0..2 {
        let process = site.run().await;
        let log = process.logs("valid beside");
        let line = log.lines().find(|line| line.contains("valid beside")).unwrap();
        assert!(line.contains("WARN") && line.contains(&site.path("data/state/keys.json")), "{line}");
        assert!(line.contains("HUP") && !log.contains(&first), "{log}");
        assert_eq!(status(&site, &first, "demo-image").await, 200);
    }

    let process = site.run().await;
    std::fs::remove_file(site.path("data/state/keys.json")).unwrap();
    process.signal("HUP");
    process.logs("is in force");
    assert_eq!(status(&site, &first, "demo-image").await, 401);
    assert_eq!(status(&site, KEY, "demo-image").await, 200);
    assert_eq!(process.stderr().matches("valid beside").count(), 1, "{}", process.stderr());
    drop(process);
    let process = site.run().await;
    assert!(!process.stderr().contains("valid beside"), "{}", process.stderr());
    assert_eq!(status(&site, &first, "demo-image").await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_key_that_was_made_a_configured_one_is_no_matter() {
    let site = Site::new("").await;
    let process: Process = site.run().await;
    let said = process.says("pg-");
    let first = said.split_whitespace().find(|word| word.starts_with("pg-")).unwrap().to_owned();
    drop(process);
    site.change("  upstreams:", &format!("  keys: [ {{ name: test, key: {first} }} ]\n  upstreams:"));
    let process = site.run().await;
    assert!(!process.stderr().contains("valid beside"), "{}", process.stderr());
    assert_eq!(status(&site, &first, "demo-image").await, 200);
}

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

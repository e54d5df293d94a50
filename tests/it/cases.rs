//! Keys and fields that differ from one that decides only by their case.

use crate::harness::House;

/// Regression 10.11: `"Model"` and `"Image_url"` passed unseen to upstreams that match without case.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_decides_in_another_case_is_refused_before_it_goes_up() {
    let house = House::new().await;
    let rows = [
        ("/v1/images/generations", r#"{"model":"demo-image","Model":"secret-model","prompt":"x"}"#, "model"),
        ("/v1/images/generations", r#"{"MODEL":"demo-image","prompt":"x"}"#, "model"),
        ("/v1/images/generations", r#"{"model":"demo-image","prompt":"x","N":9}"#, "n"),
        ("/v1/images/generations", r#"{"model":"demo-image","prompt":"x","Response_Format":"url"}"#, "response_format"),
        (
            "/v1/images/generations",
            "{\"model\":\"demo-image\",\"prompt\":\"x\",\"re\u{17f}ponse_format\":\"url\"}",
            "response_format",
        ),
        ("/v1/images/edits", r#"{"model":"demo-image","prompt":"x","Image":"http://127.0.0.1/a.png"}"#, "image"),
        (
            "/v1/chat/completions",
            r#"{"model":"demo-chat","messages":[{"role":"user","content":[{"type":"image_url","Image_url":{"url":"http://127.0.0.1/a.png"}}]}]}"#,
            "image_url",
        ),
        ("/v1/chat/completions", r#"{"model":"demo-chat","messages":[],"\u0053tream":true}"#, "stream"),
        ("/v1/responses", r#"{"model":"demo-chat","Input":"x"}"#, "input"),
    ];
    for (path, body, key) in rows {
        let answer = house.post(path, body).await;
        answer.error(400, "invalid_request");
        let error = answer.json()["error"].clone();
        assert_eq!(error["param"], key, "{body}");
        assert!(error["message"].as_str().unwrap().contains(&format!("write it as '{key}'")), "{body}: {error}");
    }
    let form = |name: &str| {
        let field = |name: &str, value: &str| {
            format!("--edge\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        (
            "multipart/form-data; boundary=edge",
            format!("{}{}--edge--\r\n", field("model", "demo-image"), field(name, "x")),
        )
    };
    for (name, key) in [("Model", "model"), ("Image[]", "image"), ("MASK", "mask"), ("STREAM", "stream")] {
        let (kind, body) = form(name);
        let answer = house.post("/v1/images/edits", (kind, body.into_bytes())).await;
        answer.error(400, "invalid_request");
        assert_eq!(answer.json()["error"]["param"], key, "{name}");
    }
    assert!(house.demo.received().is_empty());
}

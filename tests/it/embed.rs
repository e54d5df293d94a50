//! `examples/embed.rs`: the gateway inside somebody else's proxy.

use std::{path::PathBuf, process::Command};

use picgate::demo::Demo;
use serde_json::{Value, json};

use crate::{
    process::{Process, client, free_port, run},
    scripted::{Reply, Scripted, answer},
};

const KEY: &str = "my-own-key-0123456789";

/// The example, built now: `cargo test --test it` alone does not.
async fn example() -> PathBuf {
    // target/debug/deps/it-… → target/debug
    let profile = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--example", "embed", "--target-dir"]).arg(profile.parent().unwrap());
    cargo.args(profile.ends_with("release").then_some("--release")).current_dir(env!("CARGO_MANIFEST_DIR"));
    let (code, _, stderr) = run(cargo).await;
    assert_eq!(code, Some(0), "{stderr}");
    profile.join("examples/embed")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_proxy_serves_its_own_routes_and_ours() {
    let demo = Demo::builder().api_key("sk-api").local().await.unwrap();
    let reply = Reply::Bytes(answer(200, "content-type: text/plain", "from a server of theirs"));
    let theirs = Scripted::new(move |_| reply.clone()).await;
    let (port, data) = (free_port(), tempfile::tempdir().unwrap());
    let origin = format!("http://127.0.0.1:{port}");
    let mut command = Command::new(example().await);
    command.arg(format!("127.0.0.1:{port}")).arg(theirs.addr().to_string()).arg(demo.addr().to_string());
    let mut process = Process::start(command.arg(data.path()));
    process.answers(&format!("{origin}/healthz")).await;
    let client = client();
    let post = |path: &str, key: &str, body: Value| {
        let request =
            client.post(format!("{origin}{path}")).bearer_auth(key).header("content-type", "application/json");
        let request = request.body(body.to_string()).send();
        async move {
            let answer = request.await.unwrap();
            let (status, id) = (answer.status().as_u16(), answer.headers().get("x-request-id").cloned());
            assert!(id.is_some_and(|id| id.to_str().unwrap().starts_with("req_")));
            (status, serde_json::from_slice::<Value>(&answer.bytes().await.unwrap()).unwrap())
        }
    };

    // An intercepted route, and the picture it made.
    let draw = json!({ "model": "demo-image", "prompt": "a fox", "size": "64x64" });
    let (status, answer) = post("/v1/images/generations", KEY, draw.clone()).await;
    assert_eq!(status, 200, "{answer}");
    let url = answer["data"][0]["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{origin}/images/")), "{url}");
    assert!(client.get(url).send().await.unwrap().bytes().await.unwrap().starts_with(b"\x89PNG"));

    // A route that passes: our key goes up, not the client's.
    let (status, answer) = post("/v1/embeddings", KEY, json!({ "model": "any", "input": ["a"] })).await;
    assert_eq!((status, &answer["object"]), (200, &json!("list")), "{answer}");
    assert_eq!(demo.received().pop().unwrap().header("authorization"), Some("Bearer sk-api"));

    // Refusals.
    assert_eq!(post("/v1/images/generations", "wrong", draw).await.0, 401);
    assert_eq!(post("/v1/embeddings", "wrong", json!({})).await.0, 401);

    // A route of theirs, which needs no key of ours.
    let answer = client.get(format!("{origin}/shop?item=1")).bearer_auth("theirs").send().await.unwrap();
    assert_eq!(answer.headers()["x-served-by"], "mine");
    assert!(!answer.headers().contains_key("x-request-id"));
    assert_eq!(answer.text().await.unwrap(), "from a server of theirs");
    let heard = theirs.heard();
    assert_eq!(heard.len(), 1);
    assert!(heard[0].head.starts_with("GET /shop?item=1 HTTP/1.1\r\n"));
    assert_eq!(heard[0].header("authorization"), "Bearer theirs");

    // When the API is gone, what passes fails as the rest does.
    demo.stop().await;
    let (status, answer) = post("/v1/embeddings", KEY, json!({ "input": "a" })).await;
    assert_eq!((status, &answer["error"]["code"]), (502, &json!("upstream_unreachable")), "{answer}");

    process.signal("TERM");
    assert_eq!(process.exit().await, Some(0), "{}", process.stderr());
}

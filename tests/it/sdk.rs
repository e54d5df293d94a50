//! OpenAI's own SDKs and Vercel's, with nothing changed but their base URL.

use std::{path::Path, process::Command};

use crate::harness::{House, KEY};

async fn run(program: &str, script: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bytes = "test-key-for-bytes-0123";
    let house = House::builder().key(&format!("{{ name: bytes, key: {bytes}, images: b64_json }}")).start().await;
    let mut command = Command::new(if program.contains('/') { root.join(program) } else { program.into() });
    command
        .args((program != "node").then_some(["-B", "-W", "ignore::DeprecationWarning"]).into_iter().flatten())
        .arg(root.join(script))
        .env("PICGATE_BASE_URL", format!("{}/v1", house.origin()))
        .env("PICGATE_KEY", KEY)
        .env("PICGATE_BYTES_KEY", bytes)
        .env("PICGATE_DEMO_URL", format!("http://{}", house.demo.addr()))
        .env("PICGATE_IMAGE_URL", house.remote_picture("a picture on another host").await);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name);
    }
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}. Run scripts/bootstrap test first."));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.matches("ok ").count() > 3, "the script did nothing: {said}");
}

async fn python(script: &str) {
    is_installed(".venv/.picgate-stamp");
    run(".venv/bin/python", &format!("tests/sdk/python/{script}.py")).await;
}

async fn node(script: &str) {
    is_installed("tests/sdk/node/node_modules/.picgate-stamp");
    run("node", &format!("tests/sdk/node/{script}.mjs")).await;
}

/// Asserts that what `scripts/bootstrap test` installs is there.
#[track_caller]
fn is_installed(path: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    assert!(path.exists(), "{} is missing: run scripts/bootstrap test first", path.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_draws_and_edits() {
    python("images").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_sees_errors_of_the_right_class() {
    python("errors").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_chats() {
    python("chat").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_draws_and_edits() {
    node("images").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_sees_errors_of_the_right_class() {
    node("errors").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_chats() {
    node("chat").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vercels_sdk_draws_and_chats() {
    node("ai").await;
}

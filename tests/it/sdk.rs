//! OpenAI's own SDKs and Vercel's, with nothing changed but their base URL.

use std::{path::Path, process::Command};

use crate::harness::{Builder, Halting, House, KEY};

const BYTES_KEY: &str = "test-key-for-bytes-0123";

fn house() -> Builder {
    House::builder().key(&format!("{{ name: bytes, key: {BYTES_KEY}, images: b64_json }}"))
}

async fn run(program: &str, script: &str) {
    run_with(program, script, &house().start().await, &[]).await;
}

async fn run_with(program: &str, script: &str, house: &House, environment: &[(&str, String)]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(if program.contains('/') { root.join(program) } else { program.into() });
    command
        .args((program != "node").then_some(["-B", "-W", "ignore::DeprecationWarning"]).into_iter().flatten())
        .arg(root.join(script))
        .env("PICGATE_BASE_URL", format!("{}/v1", house.origin()))
        .env("PICGATE_KEY", KEY)
        .env("PICGATE_BYTES_KEY", BYTES_KEY)
        .env("PICGATE_DEMO_URL", format!("http://{}", house.demo.addr()))
        .env("PICGATE_IMAGE_URL", house.remote_picture("a picture on another host").await);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
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

/// Runs a script over streams that fall silent for longer than a heartbeat takes.
async fn with_heartbeats(program: &str, script: &str, environment: &[(&str, String)]) {
    let upstream = Halting::new().await;
    let house = house()
        .upstream(&upstream.upstream())
        .models("    - { name: \"*\", targets: [ { upstream: halting } ] }")
        .line("images: { heartbeat: { sse: 50ms } }")
        .start()
        .await;
    let environment: Vec<_> =
        [("PICGATE_UPSTREAM_URL", upstream.base_url())].into_iter().chain(environment.iter().cloned()).collect();
    // So that the comparison is one with heartbeats.
    let body = serde_json::json!({ "model": "text-lf", "stream": true, "messages": [] });
    let answer = house.post("/v1/chat/completions", body).await;
    assert!(answer.text().contains(": keep-alive\n"), "{}", answer.text());
    run_with(program, script, &house, &environment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_sees_no_heartbeat() {
    is_installed(".venv/.picgate-stamp");
    with_heartbeats(".venv/bin/python", "tests/sdk/python/heartbeats.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_of_the_second_version_sees_no_heartbeat() {
    is_installed(".venv/openai-2/openai");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/openai-2");
    let path = [("PYTHONPATH", path.to_string_lossy().into_owned())];
    with_heartbeats(".venv/bin/python", "tests/sdk/python/heartbeats.py", &path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdks_see_no_heartbeat() {
    is_installed("tests/sdk/node/node_modules/.picgate-stamp");
    with_heartbeats("node", "tests/sdk/node/heartbeats.mjs", &[]).await;
}

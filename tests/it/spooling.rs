//! Uploads on their way take a bounded part of the disk, and nobody else pays for them.

use std::{path::Path, time::Duration};

use http::Method;
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinHandle};

use crate::{
    binary::{KEY, Site},
    harness::{House, until, wire::post_head},
    process::{Process, client},
    room::Room,
};

const OTHER: &str = "other-key-0123456789";

fn chat_of(bytes: usize) -> String {
    json!({ "model": "demo-chat", "messages": [{ "role": "user", "content": "x".repeat(bytes) }] }).to_string()
}

/// The head of a chat that says it is `len` long.
fn head(key: &str, len: usize) -> String {
    let more = format!("Content-Length: {len}\r\n");
    post_head("/v1/chat/completions", &more).replace(crate::harness::KEY, key)
}

/// Bytes that a stalled upload still owes.
const OWED: usize = 10_000;

/// An upload that has sent so much of itself and goes on by a byte now and then, until this is dropped.
struct Stalled(JoinHandle<()>);

impl Stalled {
    async fn new(address: &str, key: &str, bytes: usize) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let body = chat_of(bytes);
        // One that is refused is reset at the end of its answer.
        let _ = socket.write_all((head(key, body.len() + OWED) + &body).as_bytes()).await;
        Self(tokio::spawn(async move {
            // A body may pause for 30 s.
            while socket.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        }))
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn chat(house: &House, key: &str, bytes: usize) -> crate::harness::Answer {
    let key = format!("Bearer {key}");
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    house.send(Method::POST, "/v1/chat/completions", &headers, chat_of(bytes)).await
}

/// Bytes that nameless files of this process have under the folder.
fn on_disk(folder: &Path) -> u64 {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let is_there = |path: &Path| std::fs::read_link(path).is_ok_and(|target| target.starts_with(folder.join("tmp")));
    let files = files.map(|entry| entry.path()).filter(|path| is_there(path));
    files.filter_map(|path| std::fs::metadata(path).ok()).map(|meta| meta.len()).sum()
}

/// Regression 10.7: uploads that stall took the whole disk.
#[tokio::test(flavor = "multi_thread")]
async fn stalled_uploads_stay_within_the_budget_of_their_key_and_of_all() {
    const MIB: usize = 1 << 20;
    let house = House::builder()
        .key(&format!("{{ name: other, key: {OTHER} }}"))
        .line("limits: { spool: 24MiB, spool_per_key: 16MiB }")
        .start()
        .await;
    let address = house.addr().to_string();
    let mut mine = Vec::new();
    for _ in 0..2 {
        mine.push(Stalled::new(&address, crate::harness::KEY, 7 * MIB).await);
    }
    until("both are on the disk", || on_disk(house.data_dir()) > 13 << 20).await;
    for (key, bytes, setting) in
        [(crate::harness::KEY, 7 * MIB, "limits.spool_per_key"), (OTHER, 12 * MIB, "limits.spool")]
    {
        let answer = chat(&house, key, bytes).await;
        let message = answer.error(503, "unavailable");
        assert!(message.contains(setting), "{message}");
        assert_eq!(answer.header("retry-after"), "5");
    }
    // Others go on, and so does whoever sends little.
    chat(&house, OTHER, 4 * MIB).await.ok();
    chat(&house, crate::harness::KEY, 1000).await.ok();
    drop(mine);
    until("they are gone", || on_disk(house.data_dir()) == 0).await;
    chat(&house, crate::harness::KEY, 12 * MIB).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn fetched_pictures_count_and_answers_do_not_fail_for_it() {
    let house = House::builder().line("limits: { spool: 4MiB, spool_per_key: 4MiB }").start().await;
    let small = house.remote_picture("a yew bytes:3000000").await;
    let large = house.remote_picture("an oak bytes:6000000").await;
    let ask =
        |url: &str| json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": url } }] }]);
    house.chat(ask(&small)).await.ok();
    house.chat(ask(&large)).await.error(503, "unavailable");
    house.generate(json!({ "prompt": "a fir bytes:6000000" })).await.ok();
    house.generate(json!({ "prompt": "an elm bytes:6000000", "response_format": "b64_json" })).await.ok();
}

/// Regression 10.7: five uploads of one key that stall took all of a small disk, and nobody could keep a picture.
#[tokio::test(flavor = "multi_thread")]
async fn stalled_uploads_leave_a_small_disk_to_others() {
    const UPLOAD: usize = 20 << 20;
    let keys = format!("  keys: [ {{ name: test, key: {KEY} }}, {{ name: other, key: {OTHER} }} ]\n");
    let site = Site::new(&format!("{keys}  store: {{ min_free: 12MiB }}\n")).await;
    let Some(room) = Room::new(Path::new(&site.path("data")), "96m") else { return };
    let mut process = Process::start(&mut room.inside(&site.command("run")));
    process.answers(&site.url("/healthz")).await;
    let address = site.url("").strip_prefix("http://").unwrap().to_owned();
    let mut stalled = Vec::new();
    for _ in 0..5 {
        stalled.push(Stalled::new(&address, KEY, UPLOAD).await);
    }
    process.logs_times("StorageFull", 4);
    let generate = json!({ "model": "demo-image", "prompt": "a fox bytes:2000000" }).to_string();
    for (path, key, body, status) in [
        ("/v1/images/generations", OTHER, generate.clone(), 200),
        ("/v1/images/generations", KEY, generate, 200),
        ("/v1/chat/completions", OTHER, chat_of(15 << 20), 200),
        ("/v1/chat/completions", KEY, chat_of(15 << 20), 507),
    ] {
        let request = client().post(site.url(path)).bearer_auth(key).header("content-type", "application/json");
        let answer = request.body(body).send().await.unwrap();
        let (told, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(told, status, "{path} with {key}: {text}");
    }
    drop(stalled);
}

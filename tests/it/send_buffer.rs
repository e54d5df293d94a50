//! What the kernel holds for a client that takes nothing.

use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};

use crate::{
    binary::{KEY, Site},
    harness::until,
    process::{Process, client, free_port},
};

/// A client that takes nothing of its answer.
async fn idle(port: u16, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    stream
}

/// Bytes in the kernel that the server has written to this client and the client has not taken.
fn held(port: u16, client: &TcpStream) -> u64 {
    let wanted = [format!(":{port:04X}"), format!(":{:04X}", client.local_addr().unwrap().port())];
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|fields| {
        let ends = fields.get(1).zip(fields.get(2));
        ends.is_some_and(|(local, remote)| local.ends_with(&wanted[0]) && remote.ends_with(&wanted[1]))
    });
    line.map_or(0, |fields| u64::from_str_radix(fields[4].split(':').next().unwrap(), 16).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_holds_little_for_a_client_on_this_machine() {
    let (near, far) = (free_port(), free_port());
    let lines = format!(
        "  keys: [ {{ name: test, key: {KEY} }} ]
  listen: [ {{ addr: \"127.0.0.1:{near}\" }}, {{ addr: \"127.0.0.1:{far}\", send_buffer: 0 }} ]\n"
    );
    let site = Site::new(&lines).await;
    let mut process = Process::start(&mut site.command("run"));
    let origin = format!("http://127.0.0.1:{near}");
    process.answers(&format!("{origin}/readyz")).await;

    let ask = json!({ "model": "demo-image", "prompt": "a large one bytes:8000000" }).to_string();
    let request = client().post(format!("{origin}/v1/images/generations")).bearer_auth(KEY);
    let answer = request.header("content-type", "application/json").body(ask).send().await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let url: url::Url = answer["data"][0]["url"].as_str().unwrap().parse().unwrap();

    let (by_near, by_far) = (idle(near, url.path()).await, idle(far, url.path()).await);
    until("much in the kernel", || held(far, &by_far) > 400 << 10).await;
    until("something in the kernel", || held(near, &by_near) > 64 << 10).await;
    assert!(held(near, &by_near) <= 256 << 10, "{} bytes", held(near, &by_near));
    process.signal("TERM");
}

//! A connection of HTTP/2 has a hundred streams, and each costs its client a few bytes. What they make the gateway hold is
//! bounded, before anybody has shown a key and after.

use std::net::SocketAddr;

use serde_json::json;

use crate::{
    binary::{KEY, Site},
    harness::{
        House, PATIENCE,
        frames::{self, End, Frames, HEADER_LIST, STREAMS},
    },
    process::{Process, client, free_port, get},
};

/// `REFUSED_STREAM`.
const REFUSED: u32 = 7;
const BOMB: usize = 1800;

/// Runs what blocks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn is_refused(came: &frames::Came) -> bool {
    // Without a body: with its window shut the stream would wait to send one.
    came.status == Some(431) && came.bytes == 0 && came.end.is_some()
}

/// Regression 10.8: 1 800 fields of one byte each made a stream hold 160 KB, for as long as its client liked.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_fields_are_refused_at_once_and_without_a_body() {
    let house = House::new().await;
    let address = house.addr();
    for path in ["/v1/models", "/v1/chat/completions", "/images/x", "/healthz", "/admin/", "/nothing", "/v1/files"] {
        // The `:authority` is no field, but becomes one.
        for (fields, refused) in [(100, false), (129, true), (470, true), (BOMB, true)] {
            let came = blocking(move || {
                let mut frames = Frames::new(frames::plain(address), 0);
                let stream = frames.open(&frames::get(path, None, fields), None);
                frames.until("an answer", |frames| frames.streams[&stream].status.is_some());
                if frames.streams[&stream].status == Some(431) {
                    frames.until("its end", |frames| frames.streams[&stream].end.is_some());
                }
                frames.streams[&stream]
            })
            .await;
            assert_eq!(is_refused(&came), refused, "{path} with {fields} fields: {came:?}");
        }
    }
    // Those of one connection all at once; and then it is as good as new.
    blocking(move || {
        let mut frames = Frames::new(frames::plain(address), 0);
        for _ in 0..100 {
            frames.open(&frames::get("/v1/models", None, BOMB), None);
        }
        frames.until("all refused", |frames| frames.count(is_refused) == 100);
        let last = frames.open(&frames::get("/v1/models", None, 0), None);
        frames.until("an answer", |frames| frames.streams[&last].status == Some(401));
    })
    .await;
}

/// HTTP/1 has the same bound on fields. It can answer with a body, and its connection ends or goes on as its body says.
#[tokio::test(flavor = "multi_thread")]
async fn http1_headers_are_bounded_as_well() {
    let house = House::new().await;
    for (count, len, refused) in [(20, 1000, false), (100, 10, false), (130, 10, true), (20, 4000, true)] {
        let value = "v".repeat(len);
        let names: Vec<_> = (0..count).map(|number| format!("x-{number}")).collect();
        let headers: Vec<_> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
        for (path, status) in [("/v1/models", 401), ("/nothing", 404), ("/healthz", 200)] {
            let answer = house.send(http::Method::GET, path, &headers, "").await;
            match refused {
                true => drop(answer.error(431, "request_header_too_large")),
                false => assert_eq!(answer.status, status, "{path}, {count} of {len}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_streams_are_promised_and_no_more_are_taken() {
    let house = House::new().await;
    let address = house.addr();
    blocking(move || {
        let mut frames = Frames::new(frames::plain(address), 0);
        frames.until("settings", |frames| !frames.settings.is_empty());
        assert_eq!((frames.settings[&STREAMS], frames.settings[&HEADER_LIST]), (100, 16 << 10));
        for _ in 0..150 {
            frames.open(&frames::get("/v1/models", None, 0), None);
        }
        let is_reset = |came: &frames::Came| came.end == Some(End::Reset(REFUSED));
        frames.until("answers", |frames| frames.count(|came| came.status == Some(401) || is_reset(came)) == 150);
        assert_eq!(frames.count(is_reset), 50);
    })
    .await;
}

/// Regression 10.8: an answer to a path that is none of ours waited for its client without an end.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_client_takes_nothing_is_let_go() {
    let house = House::builder().line("limits: { send_timeout: 500ms }").start().await;
    let (url, _) = house.picture("an oak size:64x64 bytes:300000").await;
    let picture = url.strip_prefix(&house.origin()).unwrap().to_owned();
    let address = house.addr();
    let gets = ["/nothing", "/v1/models", "/v1/files", "/healthz", "/readyz", "/admin/", "/images/x", &picture];
    let mut requests: Vec<(String, Vec<u8>, Option<String>)> =
        gets.iter().map(|path| ((*path).to_owned(), frames::get(path, None, 0), None)).collect();
    requests.push(("the models".into(), frames::get("/v1/models", Some(crate::harness::KEY), 0), None));
    let base64 = json!({ "model": "demo-image", "prompt": "a fir bytes:300000", "response_format": "b64_json" });
    let stream = |prompt: &str| json!({ "model": "demo-chat", "stream": true, "messages": [{ "role": "user", "content": prompt }] });
    for (path, body) in [
        ("/v1/images/generations", base64),
        ("/v1/images/generations", json!({ "model": "demo-image", "prompt": "a yew" })),
        ("/v1/chat/completions", stream("tell me")),
        ("/v1/embeddings", json!({ "model": "demo-chat", "input": "x" })),
    ] {
        requests.push((format!("{path} {body}"), frames::post(path, crate::harness::KEY), Some(body.to_string())));
    }
    // A window that takes a part, and then nothing more.
    for window in [0, 10] {
        for (what, block, body) in requests.clone() {
            let came = blocking(move || {
                let mut frames = Frames::new(frames::plain(address), window);
                let stream = frames.open(&block, body.as_deref().map(str::as_bytes));
                frames.until("its end", |frames| frames.streams[&stream].end.is_some());
                frames.streams[&stream]
            })
            .await;
            // What was cut off does not look whole. (Short answers fit into ten bytes.)
            let is_short = window == 10 && came.bytes < 10;
            assert!(is_short || matches!(came.end, Some(End::Reset(_))), "{what} with a window of {window}: {came:?}");
        }
    }
    house.chat(json!([{ "role": "user", "content": "hello" }])).await.ok();
}

const CONNECTIONS: usize = 8;

/// Regression 10.8: what a hundred streams of one connection make the process hold. The bounds are generous: a stream has a
/// task, buffers for its answer, and a connection to the upstream if it came so far.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_take_nothing_hold_little_memory() {
    let (plain, tls) = (free_port(), free_port());
    let site = Site::new(&format!(
        "  keys: [ {{ name: test, key: {KEY} }} ]
  listen:
    - {{ addr: \"127.0.0.1:{plain}\" }}
    - {{ addr: \"127.0.0.1:{tls}\", tls: {{ cert: cert.pem, key: key.pem }} }}
"
    ))
    .await;
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(site.path("cert.pem"), certified.cert.pem()).unwrap();
    std::fs::write(site.path("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    let certificate = certified.cert.der().clone();
    let origin = format!("http://127.0.0.1:{plain}");
    let run = async || {
        let mut process = Process::start(&mut site.command("run"));
        process.answers(&format!("{origin}/readyz")).await;
        process
    };
    let mut process = run().await;

    let ask = json!({ "model": "demo-image", "prompt": "an oak bytes:1000000" }).to_string();
    let request = client().post(format!("{origin}/v1/images/generations")).bearer_auth(KEY);
    let answer = request.header("content-type", "application/json").body(ask).send().await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let picture = answer["data"][0]["url"].as_str().unwrap().parse::<url::Url>().unwrap().path().to_owned();

    let base64 = json!({ "model": "demo-image", "prompt": "an oak bytes:1000000", "response_format": "b64_json" });
    let stream = json!({ "model": "demo-chat", "stream": true, "messages": [{ "role": "user", "content": "x" }] });
    let address = SocketAddr::from(([127, 0, 0, 1], tls));
    for (what, connections, block, body, most) in [
        ("refused", 1, frames::get("/v1/models", None, 0), None, 64),
        ("fields", CONNECTIONS, frames::get("/v1/models", None, BOMB), None, 16),
        ("fewer fields", CONNECTIONS, frames::get("/v1/models", None, 470), None, 16),
        ("fields that are taken", CONNECTIONS, frames::get("/v1/models", None, 100), None, 64),
        ("a picture", CONNECTIONS, frames::get(&picture, None, 0), None, 64),
        ("a chat", 1, frames::post("/v1/chat/completions", KEY), Some(stream.to_string()), 256),
        ("base64", 1, frames::post("/v1/images/generations", KEY), Some(base64.to_string()), 1024),
    ] {
        // Memory that another case has left would hide what this one takes.
        process.signal("KILL");
        process.exit().await;
        process = run().await;
        let before = process.peak_memory();
        let certificate = certificate.clone();
        let held = blocking(move || {
            let open = |_| {
                let mut frames = Frames::new(frames::tls(address, &certificate), 0);
                for _ in 0..100 {
                    frames.open(&block, body.as_deref().map(str::as_bytes));
                }
                frames.until("headers", |frames| frames.count(|came| came.status.is_some()) == 100);
                frames
            };
            (0..connections).map(open).collect::<Vec<_>>()
        })
        .await;
        let streams = held.len() as u64 * 100;
        let each = process.peak_memory().saturating_sub(before) / streams;
        println!("{what}: {each} bytes for each of {streams} streams");
        assert!(each <= most << 10, "{what}: {each} bytes for each of {streams} streams");
    }

    // The windows are open, but the socket is not read.
    process.signal("KILL");
    process.exit().await;
    process = run().await;
    let before = process.peak_memory();
    let block = frames::get(&picture, None, 0);
    let held = blocking(move || {
        let mut frames = Frames::new(frames::tls(address, &certificate), i32::MAX as u32);
        frames.widen(1 << 30);
        for _ in 0..100 {
            frames.open(&block, None);
        }
        frames
    })
    .await;
    let all_served = async {
        loop {
            let text = get(site.metrics_url()).await.text().await.unwrap();
            let served = text.lines().filter_map(|line| line.strip_prefix("picgate_pictures_served_total{"));
            if served.map(|rest| rest.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>() == 100 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_served).await.expect("all in time");
    process.memory_settles().await;
    let each = process.peak_memory().saturating_sub(before) / 100;
    println!("not read: {each} bytes for each of 100 streams");
    assert!(each <= 192 << 10, "{each} bytes for each of 100 streams");
    drop(held);
}

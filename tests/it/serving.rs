//! `/images/*`: pictures as browsers and caches read them.

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::{
    harness::{Answer, House, PATIENCE, until},
    scripted::{raw, read_head},
};

/// A gateway with one picture: the path of its URL, and its bytes.
async fn with_picture() -> (House, String, Bytes) {
    let house = House::new().await;
    let (url, bytes) = house.picture("a lighthouse size:64x64 bytes:300000").await;
    let path = url.strip_prefix(&house.origin()).unwrap().to_owned();
    (house, path, bytes)
}

fn tag(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap();
    format!("\"{}\"", name.split('.').next().unwrap())
}

async fn get(house: &House, path: &str, headers: &[(&str, &str)]) -> Answer {
    house.send(Method::GET, path, headers, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_may_be_kept_for_ever_and_shown_anywhere() {
    let (house, path, bytes) = with_picture().await;
    let answer = house.get(&path).await;
    assert_eq!(answer.body, bytes);
    assert_eq!(answer.header("content-length"), bytes.len().to_string());
    assert_eq!(answer.header("content-type"), "image/png");
    assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(answer.header("etag"), tag(&path));
    assert_eq!(answer.header("accept-ranges"), "bytes");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("cross-origin-resource-policy"), "cross-origin");
    assert!(answer.header("content-disposition").starts_with("inline; filename="));
    assert!(answer.header("x-request-id").starts_with("req_"));
    assert!(httpdate::parse_http_date(answer.header("last-modified")).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn head_tells_what_get_would() {
    let (house, path, bytes) = with_picture().await;
    let head = house.send(Method::HEAD, &path, &[("range", "bytes=0-9")], "").await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-length"), bytes.len().to_string());
    assert_eq!(head.header("etag"), tag(&path));
    assert!(head.body.is_empty());
    let missing = house.send(Method::HEAD, "/images/none.png", &[], "").await;
    assert_eq!((missing.status.as_u16(), missing.body.len()), (404, 0));
    // The connection is good for another request after both: no body follows.
    let mut socket = TcpStream::connect(house.addr()).await.unwrap();
    for (line, status) in [(format!("HEAD {path}"), 200), ("HEAD /images/x".into(), 404), ("GET /healthz".into(), 200)]
    {
        socket.write_all(format!("{line} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let (head, _) = read_head(&mut socket).await.unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_the_picture_gets_a_304() {
    let (house, path, _) = with_picture().await;
    let etag = tag(&path);
    let modified = house.get(&path).await.header("last-modified").to_owned();
    for (name, value) in [
        ("if-none-match", etag.clone()),
        ("if-none-match", format!("\"other\", W/{etag}")),
        ("if-none-match", "*".to_owned()),
        ("if-modified-since", modified),
    ] {
        let answer = get(&house, &path, &[(name, &value)]).await;
        assert_eq!(answer.status, 304, "{name}: {value}");
        assert_eq!(answer.header("etag"), etag);
        assert!(answer.body.is_empty());
    }
    assert_eq!(get(&house, &path, &[("if-none-match", "\"other\"")]).await.status, 200);
    assert_eq!(get(&house, &path, &[("if-match", "\"other\"")]).await.status, 412);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_picture_can_be_had() {
    let (house, path, bytes) = with_picture().await;
    let len = bytes.len();
    for (range, part) in [
        ("bytes=0-0", 0..1),
        ("bytes=10-19", 10..20),
        ("bytes=-5", len - 5..len),
        ("bytes=299990-", 299_990..len),
        ("bytes=0-999999999", 0..len),
    ] {
        let answer = get(&house, &path, &[("range", range)]).await;
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.body, bytes[part.clone()], "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {}-{}/{len}", part.start, part.end - 1));
        assert_eq!(answer.header("content-length"), part.len().to_string());
    }
    for range in ["bytes=999999999-", "bytes=-0"] {
        let answer = get(&house, &path, &[("range", range)]).await;
        assert_eq!(answer.status, 416, "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes */{len}"));
        assert!(answer.body.is_empty());
    }
    for range in ["bytes=0-1,5-6", "lines=0-1", "bytes=5-1", "bytes=x"] {
        let answer = get(&house, &path, &[("range", range)]).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, len), "{range}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_another_picture_is_not_mixed_in() {
    let (house, path, bytes) = with_picture().await;
    let etag = tag(&path);
    let part = get(&house, &path, &[("range", "bytes=0-9"), ("if-range", &etag)]).await;
    assert_eq!((part.status.as_u16(), part.body.len()), (206, 10));
    for condition in ["\"other\"", &format!("W/{etag}"), "Thu, 01 Jan 1970 00:00:00 GMT"] {
        let whole = get(&house, &path, &[("range", "bytes=0-9"), ("if-range", condition)]).await;
        assert_eq!((whole.status.as_u16(), whole.body.len()), (200, bytes.len()), "{condition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_extension_does_not_matter_and_a_key_is_not_looked_at() {
    let (house, path, bytes) = with_picture().await;
    let bare = path.strip_suffix(".png").unwrap();
    for path in [bare.to_owned(), format!("{bare}.jpg"), format!("{bare}.webp"), format!("{path}?v=1")] {
        let answer = house.get(&path).await;
        assert_eq!(answer.body, bytes, "{path}");
        assert_eq!(answer.header("content-type"), "image/png", "{path}");
    }
    for key in ["Bearer nobody", "Basic !!!"] {
        assert_eq!(get(&house, &path, &[("authorization", key)]).await.body, bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_have_get_head_and_options_only() {
    let (house, path, bytes) = with_picture().await;
    for method in [Method::POST, Method::PUT, Method::PATCH] {
        let answer = house.send(method.clone(), &path, &[], "").await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), "GET, HEAD, DELETE, OPTIONS");
    }
    let preflight = [("origin", "http://a.example"), ("access-control-request-method", "GET")];
    let answer = house.send(Method::OPTIONS, &path, &preflight, "").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("access-control-allow-methods"), "GET, HEAD, OPTIONS");
    assert_eq!(house.get(&path).await.body, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_not_there_is_a_404_in_json_that_nobody_keeps() {
    let house = House::new().await;
    for path in ["/images/", "/images/none", "/images/00112233445566778899aabbccddeeff00112233.png"] {
        let answer = house.get(path).await;
        answer.error(404, "not_found");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_leads_out_of_the_store() {
    let (house, path, _) = with_picture().await;
    let record = path.replace(".png", ".json");
    for path in [
        "/images/../state/keys.json",
        "/images/%2e%2e/state/keys.json",
        "/images/..%2fstate%2fkeys.json",
        "/images/....//state/keys.json",
        "/images//etc/passwd",
        "/images/%00",
        "/images/aa/bb.png",
        "/images/\\..\\state",
    ] {
        let answer = raw(house.addr(), format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 404 ") || answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
        assert!(!answer.contains("hash"), "{path}: {answer}");
    }
    // The record beside a picture tells the prompt; its name is only another spelling of the picture's.
    let answer = house.get(&record).await;
    assert_eq!(answer.header("content-type"), "image/png");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_often_comes_from_memory() {
    let (house, path, bytes) = with_picture().await;
    let from = |place: &str| house.metric(&format!("picgate_pictures_served_total{{from=\"{place}\"}}"));
    assert_eq!((from("disk"), from("memory")), (1, 0), "the first read");
    house.get(&path).await;
    assert_eq!(from("memory"), 0, "the second read puts it there");
    for turn in 1..=3 {
        assert_eq!(house.get(&path).await.body, bytes);
        assert_eq!((from("disk"), from("memory")), (2, turn));
    }
    assert_eq!(get(&house, &path, &[("range", "bytes=5-9")]).await.body, bytes[5..10]);
    assert_eq!(house.metric("picgate_picture_bytes_served_total"), 5 * bytes.len() as u64 + 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_of_one_picture_each_get_all_of_it() {
    let house = House::builder().line("store: { durability: process, min_free: 0, memory_cache: 32MiB }").start().await;
    let (small, small_bytes) = house.picture("a small one bytes:200000").await;
    // Over a sixteenth of the cache: always read from its file.
    let (large, large_bytes) = house.picture("a large one bytes:5000000").await;
    let reads = (0..48).map(|turn| house.get(if turn % 3 == 0 { &large } else { &small }));
    for (turn, answer) in join_all(reads).await.into_iter().enumerate() {
        let bytes = if turn % 3 == 0 { &large_bytes } else { &small_bytes };
        assert!(answer.body == *bytes, "reader {turn}: {} bytes", answer.body.len());
    }
}

/// A connection that takes in little before it is read from.
async fn narrow(house: &House, request: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(house.addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_dropped() {
    let house = House::builder()
        .line("limits: { send_timeout: 2s }")
        .line("store: { durability: process, min_free: 0, memory_cache: 512MiB }")
        .start()
        .await;
    // More than all socket buffers hold.
    let (url, bytes) = house.picture("a large one bytes:20000000").await;
    let path = url.strip_prefix(&house.origin()).unwrap();
    // From the disk, then from memory.
    for from in ["disk", "memory"] {
        let label = format!("picgate_pictures_served_total{{from=\"{from}\"}}");
        let before = house.metric(&label);
        let mut idle = narrow(&house, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        until("the picture is asked for", || house.metric(&label) > before).await;
        tokio::time::timeout(PATIENCE, house.gateway.in_flight().none()).await.expect("the reader is dropped");
        let mut got = Vec::new();
        let _ = idle.read_to_end(&mut got).await;
        assert!(got.len() < bytes.len(), "{from}: {} bytes", got.len());
        house.get(path).await;
    }
}

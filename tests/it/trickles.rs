//! Those who never fall silent and never come to an end: every wait has a limit in all.

use std::time::Duration;

use bytes::Bytes;
use picgate::archive::{ArchiveError, Bucket, Limits, Source};
use picgate::picture::{Format, PictureId};
use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    harness::{
        House, KEY, PATIENCE,
        faults::{Fault, Faults},
        seaweed::{Seaweed, archive_at},
        until,
        wire::{Wire, post},
    },
    scripted::read_head,
};

/// Between two pieces: far below every limit on silence in these tests.
const BEAT: Duration = Duration::from_millis(50);

/// An upstream that answers with one text, and then with another again and again.
struct Endless {
    addr: std::net::SocketAddr,
    accepting: JoinHandle<()>,
}

impl Endless {
    async fn new(first: &str, again: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (first, again) = (Bytes::from(first.to_owned()), Bytes::from(again.to_owned()));
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(Self::serve(socket, first.clone(), again.clone()));
            }
        });
        Self { addr, accepting }
    }

    async fn serve(mut socket: TcpStream, first: Bytes, again: Bytes) -> Option<()> {
        socket.set_nodelay(true).ok()?;
        read_head(&mut socket).await?;
        socket.write_all(&first).await.ok()?;
        loop {
            socket.write_all(&again).await.ok()?;
            sleep(BEAT).await;
        }
    }

    /// A gateway in front of it that waits half a second for an upstream.
    async fn house(&self) -> House {
        let upstream = format!("{{ name: endless, base_url: \"http://{}/v1\" }}", self.addr);
        let models = r#"    - { name: "*", targets: [ { upstream: endless } ] }"#;
        let limits = "limits: { upstream_timeout: 500ms }";
        House::builder().upstream(&upstream).models(models).line(limits).start().await
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Regression 10.11: each interim answer, and each byte of a header, began a new silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_never_ends_is_a_timeout() {
    for (what, first, again) in [
        ("interim answers", "", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
        ("interim answers of another kind", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 102 Processing\r\n\r\n"),
        ("a header byte by byte", "HTTP/1.1 200 OK\r\nx-long: ", "x"),
        ("header lines", "HTTP/1.1 200 OK\r\n", "x-a: b\r\n"),
    ] {
        let endless = Endless::new(first, again).await;
        let house = endless.house().await;
        for (path, body) in [
            ("/v1/images/generations", json!({ "model": "m", "prompt": "a fox" })),
            ("/v1/chat/completions", json!({ "model": "m", "messages": [], "stream": true })),
        ] {
            let answer = timeout(PATIENCE, house.post(path, body)).await;
            let answer = answer.unwrap_or_else(|_| panic!("{path} waits for ever for {what}"));
            answer.error(504, "upstream_timeout");
        }
    }
}

/// Regression 10.11: the same on the way that Pingora goes.
#[tokio::test(flavor = "multi_thread")]
async fn interim_answers_end_where_requests_pass() {
    let endless = Endless::new("", "HTTP/1.1 103 Early Hints\r\nset-cookie: a=b\r\n\r\n").await;
    let house = endless.house().await;
    let mut wire = Wire::to(&house).await;
    let request = format!("GET /v1/files HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {KEY}\r\n\r\n");
    assert!(wire.send(request).await);
    let last = timeout(PATIENCE, async {
        loop {
            let answer = wire.answer().await;
            assert!(!answer.headers.contains_key("set-cookie"));
            if !answer.status.is_informational() {
                return answer;
            }
        }
    });
    last.await.expect("waits for ever").error(504, "upstream_timeout");
}

/// The model list has a deadline of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_model_list_does_not_wait_for_one_that_trickles() {
    for first in ["", "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"] {
        let endless = Endless::new(first, " ").await;
        let house = endless.house().await;
        let listed = timeout(PATIENCE, house.get_with_key("/v1/models")).await.expect("waits for ever");
        assert_eq!(listed.status, 200);
    }
}

/// A picture of another host has one too.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_trickles_a_picture_is_given_up() {
    let endless = Endless::new("HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n\u{89}PNG\r\n", "x").await;
    let fetch = "fetch: { allow: [ 127.0.0.0/8 ], timeout: 1s }";
    let house = House::builder().line(fetch).start().await;
    let body = json!({ "model": "demo-image", "prompt": "x", "image": format!("http://{}/a.png", endless.addr) });
    let answer = timeout(PATIENCE, house.post("/v1/images/edits", body)).await.expect("waits for ever");
    assert_eq!(answer.status, 400, "{}", answer.text());
}

/// Regression 10.11: without its client, an exchange with an upstream that is never silent went on for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_does_not_outlive_its_client_for_long() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let endless = Endless::new(head, "data: {\"choices\":[{\"delta\":{\"content\":\"a \"}}]}\n\n").await;
    let house = endless.house().await;
    let mut wire = Wire::to(&house).await;
    wire.send(post("/v1/chat/completions", r#"{"model":"m","messages":[],"stream":true}"#)).await;
    wire.up_to("data: {").await;
    assert_eq!(house.metric("picgate_requests_in_flight"), 1);
    drop(wire);
    until("the end of the exchange", || house.metric("picgate_requests_in_flight") == 0).await;
}

/// Regression 10.11: a bucket that sends a byte now and then held a place for as long as it liked.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_trickles_is_a_timeout() {
    let faults = Faults::before(Seaweed::shared().await.addr()).await;
    let archive = archive_at(faults.addr(), "trickles/");
    let limits = Limits { idle: Duration::from_millis(1500), pace: 1 << 20, ..Limits::default() };
    let bucket = Bucket::with_limits(&archive, limits).unwrap();
    let patient = Bucket::new(&archive).unwrap();
    let bytes = vec![7; 20_000];
    let id = PictureId::of(&bytes);
    let meta = picgate::archive::Meta { created: std::time::UNIX_EPOCH, model: None };
    patient.put_picture(id, Format::Png, &Source::bytes(bytes.clone()), &meta).await.unwrap();
    patient.put_record(id, vec![b' '; 10_000]).await.unwrap();

    let ends = |what: &'static str, error: Option<ArchiveError>| {
        assert!(matches!(error, Some(ArchiveError::Timeout(_))), "{what}: {error:?}");
    };
    faults.inject("GET", Fault::Slow(1, BEAT));
    let mut download = bucket.open(id, Format::Png, None).await.unwrap();
    let read = async {
        loop {
            match download.piece().await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => return Some(error),
            }
        }
    };
    ends("a picture", timeout(PATIENCE, read).await.expect("waits for ever"));
    ends("a record", timeout(PATIENCE, bucket.get_record(id)).await.expect("waits for ever").err());
    faults.heal();

    faults.inject("PUT", Fault::SlowUpload(1, BEAT));
    let long = Source::bytes(vec![1; 2_000_000]);
    let put = bucket.put_picture(PictureId::of(b"x"), Format::Png, &long, &meta);
    ends("an upload", timeout(PATIENCE, put).await.expect("waits for ever").err());
    faults.heal();
    // What is merely slow is none: the same picture at its own pace.
    faults.inject("GET", Fault::Slow(4096, Duration::from_millis(1)));
    let whole = patient.open(id, Format::Png, None).await.unwrap();
    let pieces: Vec<Bytes> = futures_util::TryStreamExt::try_collect(whole.into_stream()).await.unwrap();
    assert_eq!(pieces.concat(), bytes);
}

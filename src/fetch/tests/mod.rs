//! The fetcher against real sockets on loopback.

mod server;

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use rustls::RootCertStore;
use tokio::net::TcpListener;

use self::server::{Script, Server, at_once, fixture, ok, redirect};
use super::{FetchError, Fetcher};
use crate::{Code, Error, config, picture::Format};

const MAX: u64 = 200_000;

fn config(allow: &[&str]) -> config::Fetch {
    config::Fetch {
        allow: allow.iter().map(|net| net.parse().unwrap()).collect(),
        ports: vec![80, 443],
        max_bytes: MAX,
        timeout: Duration::from_secs(10),
    }
}

/// A fetcher that may reach 127.0.0.0/8.
fn fetcher() -> Fetcher {
    Fetcher::new(&config(&["127.0.0.0/8"])).unwrap()
}

/// The same with little patience.
fn hasty() -> Fetcher {
    let timeout = Duration::from_millis(400);
    Fetcher::new(&config::Fetch { timeout, ..config(&["127.0.0.0/8"]) }).unwrap()
}

async fn start(answer: impl Fn(&str) -> Script + Send + Sync + 'static) -> Server {
    Server::start("127.0.0.1", answer).await
}

async fn fetch(fetcher: &Fetcher, url: &str) -> Result<(Format, Vec<u8>), FetchError> {
    let mut picture = fetcher.open(url).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = picture.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!(picture.chunk().await, Ok(None), "an end stays an end");
    Ok((picture.format(), bytes))
}

/// What fetching `answer` comes to.
async fn fetched(answer: Script) -> Result<(Format, Vec<u8>), FetchError> {
    let server = start(move |_| answer.clone()).await;
    fetch(&fetcher(), &server.url("/")).await
}

/// A PNG of `len` bytes.
fn big_png(len: usize) -> Vec<u8> {
    let mut png = fixture("px2.png");
    png.resize(len, 0x5a);
    png
}

#[tokio::test]
async fn every_picture_comes_byte_for_byte_under_any_label() {
    let server = start(|path| ok("Content-Type: text/html\r\n", &fixture(&path[1..]))).await;
    for (name, format) in [
        ("px2.png", Format::Png),
        ("px2.jpg", Format::Jpeg),
        ("px2.webp", Format::Webp),
        ("px2.gif", Format::Gif),
        ("px2.avif", Format::Avif),
        ("px2.bmp", Format::Bmp),
    ] {
        let url = server.url(&format!("/{name}"));
        assert_eq!(fetch(&fetcher(), &url).await, Ok((format, fixture(name))), "{name}");
        assert_eq!(fetcher().open(&url).await.unwrap().declared_len(), Some(fixture(name).len() as u64));
    }
}

#[tokio::test]
async fn a_request_says_who_asks_for_what_and_nothing_else() {
    let server = start(|_| ok("Set-Cookie: a=b\r\n", &fixture("px2.png"))).await;
    let fetcher = fetcher();
    for _ in 0..2 {
        fetch(&fetcher, &server.url("/a%20b?c=d#e")).await.unwrap();
    }
    for request in server.requests() {
        let mut lines: Vec<_> = request.trim_end().split("\r\n").map(str::to_owned).collect();
        lines[1..].sort();
        assert_eq!(
            lines,
            [
                "GET /a%20b?c=d HTTP/1.1".to_owned(),
                "accept-encoding: identity".to_owned(),
                "accept: image/*".to_owned(),
                format!("host: {}", server.addr),
                concat!("user-agent: picgate/", env!("CARGO_PKG_VERSION")).to_owned(),
            ]
        );
    }
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn chunked_and_unframed_bodies_are_fetched_whole() {
    let png = big_png(150_000);
    let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for piece in png.chunks(999) {
        chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(fetched(at_once(chunked)).await, Ok((Format::Png, png.clone())));

    let unframed = [b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\n\r\n".to_vec(), png.clone()].concat();
    assert_eq!(fetched(at_once(unframed)).await, Ok((Format::Png, png)));
}

#[tokio::test]
async fn a_picture_in_tiny_pieces_is_a_picture() {
    let jpg = fixture("px2.jpg");
    let mut script = at_once(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", jpg.len()));
    script.extend(jpg.iter().map(|byte| (Duration::from_micros(100), vec![*byte])));
    assert_eq!(fetched(script).await, Ok((Format::Jpeg, jpg)));
}

#[tokio::test]
async fn a_jpeg_may_keep_its_size_behind_a_long_profile() {
    let plain = fixture("px2.jpg");
    let mut jpg = plain[..2].to_vec();
    for _ in 0..2 {
        jpg.extend_from_slice(b"\xff\xe2\xff\xff");
        jpg.resize(jpg.len() + 0xfffd, 0x20);
    }
    jpg.extend_from_slice(&plain[2..]);
    assert_eq!(fetched(ok("", &jpg)).await, Ok((Format::Jpeg, jpg)));
}

#[tokio::test]
async fn three_redirects_are_followed_and_a_fourth_is_not() {
    let last = start(|_| ok("", &fixture("px2.png"))).await;
    let elsewhere = last.url("/px2.png");
    let server = start(move |path| match path {
        "/a" => redirect(308, "b"),
        "/b" => redirect(301, "/c"),
        "/c" => redirect(302, "?d"),
        "/c?d" => redirect(307, &elsewhere[5..]),
        _ => redirect(303, path),
    })
    .await;
    assert_eq!(fetch(&fetcher(), &server.url("/b")).await, Ok((Format::Png, fixture("px2.png"))));
    assert_eq!(fetch(&fetcher(), &server.url("/a")).await, Err(FetchError::Failed));
    assert_eq!(last.requests().len(), 1);
    assert_eq!(fetch(&fetcher(), &server.url("/loop")).await, Err(FetchError::Failed));
}

#[tokio::test]
async fn redirects_obey_the_same_rules() {
    let private = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = private.local_addr().unwrap().port();
    let fetcher = Fetcher::new(&config(&["127.0.0.1/32"])).unwrap();
    for to in [
        format!("http://127.0.0.2:{port}/"),
        format!("http://[::ffff:127.0.0.2]:{port}/"),
        format!("http://0x7f.2:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[::1]/".to_owned(),
        "http://8.8.8.8:22/".to_owned(),
        "http://user:secret@8.8.8.8/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "data:image/png;base64,iVBORw0KGgo=".to_owned(),
        "ftp://8.8.8.8/a.png".to_owned(),
    ] {
        let there = to.clone();
        let server = start(move |_| redirect(302, &there)).await;
        assert_eq!(fetch(&fetcher, &server.url("/")).await, Err(FetchError::Blocked), "{to}");
    }
    let reached = tokio::time::timeout(Duration::from_millis(50), private.accept()).await;
    assert!(reached.is_err(), "a refused address was connected to");
    assert_eq!(fetched(at_once("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n")).await, Err(FetchError::Failed));
    assert_eq!(fetched(redirect(302, "http://[bad/")).await, Err(FetchError::Failed));
}

#[tokio::test]
async fn too_large_by_its_own_word_is_refused_before_the_body() {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MAX + 1);
    assert_eq!(fetched(at_once(answer)).await, Err(FetchError::TooLarge { limit: MAX }));
}

#[tokio::test]
async fn too_large_is_noticed_on_the_way() {
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let whole = big_png(MAX as usize);
    assert_eq!(fetched(at_once([head.clone(), whole.clone()].concat())).await, Ok((Format::Png, whole)));

    let answer = [head, big_png(MAX as usize + 1)].concat();
    let server = start(move |_| at_once(answer.clone())).await;
    let mut picture = fetcher().open(&server.url("/")).await.unwrap();
    assert_eq!(picture.declared_len(), None);
    let mut len = 0;
    let error = loop {
        match picture.chunk().await {
            Ok(Some(chunk)) => len += chunk.len() as u64,
            Ok(None) => panic!("the end of an endless picture"),
            Err(error) => break error,
        }
    };
    assert_eq!(error, FetchError::TooLarge { limit: MAX });
    assert!(len <= MAX);
    assert_eq!(picture.chunk().await, Err(error), "an error stays an error");
}

#[tokio::test]
async fn a_slow_drip_meets_the_deadline() {
    let server = start(|path| {
        let mut script = at_once("HTTP/1.1 200 OK\r\n");
        if path == "/body" {
            script.extend(at_once("\r\n"));
            script.extend(at_once(fixture("px2.png")));
        }
        script.extend((0..1000).map(|_| (Duration::from_millis(20), b"a: b\r\n".to_vec())));
        script
    })
    .await;
    for path in ["/head", "/body"] {
        // Something comes every 20 ms, and what comes ends after 20 s: without a deadline for all of it, this is another
        // error.
        assert_eq!(fetch(&hasty(), &server.url(path)).await, Err(FetchError::TimedOut), "{path}");
    }
}

#[tokio::test]
async fn redirects_share_one_deadline() {
    let server = start(|_| vec![(Duration::from_millis(250), redirect(302, "/")[0].1.clone())]).await;
    // With a deadline each they would be too many.
    assert_eq!(fetch(&hasty(), &server.url("/")).await, Err(FetchError::TimedOut));
}

#[tokio::test]
async fn what_is_no_picture_is_refused_under_any_label() {
    for body in [
        &b"<!doctype html><title>hello</title>"[..],
        b"{\"error\":\"no such picture\"}",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe2\x00",
        b"",
        &fixture("px2.svg"),
    ] {
        assert_eq!(fetched(ok("Content-Type: image/png\r\n", body)).await, Err(FetchError::NotAPicture));
    }
}

#[tokio::test]
async fn encoded_answers_are_refused() {
    for header in ["Content-Encoding: gzip\r\n", "Content-Encoding: identity\r\nContent-Encoding: br\r\n"] {
        assert_eq!(fetched(ok(header, &fixture("px2.png"))).await, Err(FetchError::Failed), "{header}");
    }
}

#[tokio::test]
async fn broken_answers_and_errors_are_failures() {
    let png = fixture("px2.png");
    let cut = [b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n".to_vec(), png.clone()].concat();
    let cut_chunk = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n".to_vec(), png.clone()].concat();
    for answer in [cut, cut_chunk] {
        assert_eq!(fetched(at_once(answer)).await, Err(FetchError::Failed));
    }
    for status in ["404 Not Found", "500 Oops", "204 No Content", "206 Partial Content", "304 Not Modified"] {
        let answer = [format!("HTTP/1.1 {status}\r\nContent-Length: 77\r\n\r\n").into_bytes(), png.clone()].concat();
        assert_eq!(fetched(at_once(answer)).await, Err(FetchError::Failed), "{status}");
    }
}

#[tokio::test]
async fn loopback_is_refused_unless_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Even as a usual port.
    let strict = Fetcher::new(&config::Fetch { ports: vec![port], ..config(&[]) }).unwrap();
    for host in [
        "127.0.0.1",
        "localhost",
        "localhost.",
        "a.localhost",
        "0x7f.1",
        "2130706433",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
    ] {
        let url = format!("http://{host}:{port}/");
        assert_eq!(fetch(&strict, &url).await, Err(FetchError::Blocked), "{url}");
    }
    let reached = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(reached.is_err(), "a refused address was connected to");

    let server = start(|_| ok("", &fixture("px2.gif"))).await;
    let port = server.addr.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "0x7f.1",
        "2130706433",
        "１２７.0.0.1",
        "[::ffff:127.0.0.1]",
    ] {
        let url = format!("http://{host}:{port}/");
        assert_eq!(fetch(&fetcher(), &url).await, Ok((Format::Gif, fixture("px2.gif"))), "{url}");
    }
}

#[tokio::test]
async fn a_name_is_connected_to_at_its_listed_addresses_only() {
    // `localhost` is 127.0.0.1 and, on most systems, ::1; only one of them is listed, and the server is on the other.
    let server = start(|_| ok("", &fixture("px2.png"))).await;
    let fetcher = Fetcher::new(&config(&["::1/128"])).unwrap();
    let result = fetch(&fetcher, &format!("http://localhost:{}/", server.addr.port())).await;
    assert!(matches!(result, Err(FetchError::Failed | FetchError::Blocked)), "{result:?}");
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn ports_schemes_and_user_info_are_refused() {
    let strict = Fetcher::new(&config(&[])).unwrap();
    for url in [
        "http://8.8.8.8:22/",
        "http://example.test:8080/",
        "https://8.8.8.8:0/",
        "http://[2606:4700::1]:6379/",
        "http://user@8.8.8.8/",
        "http://:secret@8.8.8.8/",
        "http://8.8.8.8:80@127.0.0.1/",
        "ftp://8.8.8.8/a.png",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "data:image/png;base64,iVBORw0KGgo=",
    ] {
        assert_eq!(fetch(&strict, url).await, Err(FetchError::Blocked), "{url}");
    }
    let long = format!("http://8.8.8.8/{}", "a".repeat(20_000));
    for url in ["", "cat.png", "/images/cat.png", "http://", "http://[::1", "http://a b/", "http://1.2.3.4.5/", &long] {
        assert_eq!(fetch(&strict, url).await, Err(FetchError::InvalidUrl), "{url}");
    }
}

#[tokio::test]
async fn closed_ports_garbage_and_unknown_names_look_alike() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let ssh = server::greeter("SSH-2.0-OpenSSH_9.7\r\n").await;
    let redis = start(|_| at_once("-ERR wrong number of arguments for 'get' command\r\n")).await;
    let silent = start(|_| Vec::new()).await;
    let mut answers = Vec::new();
    for url in [
        format!("http://{closed}/"),
        format!("https://{closed}/"),
        format!("http://{ssh}/"),
        format!("https://{ssh}/"),
        redis.url("/"),
        silent.url("/"),
        "http://no-such-host.invalid/".to_owned(),
    ] {
        let error = fetch(&fetcher(), &url).await.unwrap_err();
        let error = Error::from(error);
        assert_eq!(error.code(), Code::ImageFetchFailed, "{url}");
        answers.push(error.body());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn errors_have_their_codes() {
    for (error, code) in [
        (FetchError::InvalidUrl, Code::InvalidImageUrl),
        (FetchError::NotAPicture, Code::InvalidImageUrl),
        (FetchError::Blocked, Code::ImageFetchBlocked),
        (FetchError::Failed, Code::ImageFetchFailed),
        (FetchError::TimedOut, Code::ImageFetchFailed),
        (FetchError::TooLarge { limit: 1 }, Code::ImageTooLarge),
    ] {
        assert_eq!(Error::from(error).code(), code);
    }
}

/// A thread that sends `answer` over TLS as `localhost`. Returns its address and its authority.
fn tls_server(answer: Script) -> (SocketAddr, RootCertStore) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(signed.cert.der().clone()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let tls = Arc::new(tls);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(Arc::clone(&tls)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            let mut head = [0; 4096];
            if stream.read(&mut head).is_ok() {
                let _ = stream.write_all(&answer[0].1);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    (addr, roots)
}

#[tokio::test]
async fn https_is_checked_against_the_authorities_and_the_name() {
    let (addr, roots) = tls_server(ok("", &fixture("px2.png")));
    let url = format!("https://localhost:{}/", addr.port());
    let config = config(&["127.0.0.0/8"]);
    let trusting = Fetcher::with_roots(&config, roots).unwrap();
    assert_eq!(fetch(&trusting, &url).await, Ok((Format::Png, fixture("px2.png"))));
    assert_eq!(fetch(&trusting, &format!("https://{addr}/")).await, Err(FetchError::Failed), "another name");
    let wary = Fetcher::with_roots(&config, RootCertStore::empty()).unwrap();
    assert_eq!(fetch(&wary, &url).await, Err(FetchError::Failed), "unknown authority");
}

#[tokio::test]
async fn a_redirect_may_lead_from_https_to_http() {
    let plain = start(|_| ok("", &fixture("px2.png"))).await;
    let (addr, roots) = tls_server(redirect(302, &plain.url("/")));
    let fetcher = Fetcher::with_roots(&config(&["127.0.0.0/8"]), roots).unwrap();
    let url = format!("https://localhost:{}/", addr.port());
    assert_eq!(fetch(&fetcher, &url).await, Ok((Format::Png, fixture("px2.png"))));
    assert!(!plain.requests()[0].to_lowercase().contains("referer"));
}

//! What we do not know under `/v1` passes as it is.

use http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    harness::{Builder, House, KEY, sha256},
    scripted::{Reply, Scripted, answer, dead, form, raw, read_head},
};

/// What nobody knows goes to `other`.
fn behind(other: &str) -> Builder {
    House::builder().upstream(other).models(r#"    - { name: "*", targets: [ { upstream: other } ] }"#)
}

fn bearer() -> String {
    format!("Bearer {KEY}")
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_pass_with_our_key_in_place_of_the_clients() {
    let house = House::new().await;
    let body = json!({ "model": "any", "input": ["a", "b"] });
    let answer = house.post("/v1/embeddings", body.clone()).await;
    assert_eq!(answer.ok()["data"].as_array().unwrap().len(), 2);
    assert!(answer.header("x-upstream-request-id").starts_with("req_demo_"));
    let received = &house.demo.received()[0];
    assert_eq!(received.header("authorization"), Some("Bearer sk-upstream"));
    assert_eq!(received.json(), Some(body));
    assert_eq!(received.header("host"), Some(house.demo.addr().to_string().as_str()));
    assert_eq!(received.header("x-request-id"), Some(answer.header("x-request-id")));
    house.gateway.in_flight().none().await;
    assert_eq!(house.metric(r#"picgate_requests_total{route="pass",status="200",upstream="demo"}"#), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_and_no_trace_of_the_client_goes_up() {
    let house = House::new().await;
    let bearer = bearer();
    for (name, value) in [("authorization", bearer.as_str()), ("api-key", KEY), ("x-api-key", KEY)] {
        let headers = [
            (name, value),
            ("cookie", "session=secret"),
            ("x-forwarded-for", "10.1.2.3"),
            ("content-type", "application/json"),
            ("openai-organization", "org-of-the-client"),
            ("cf-connecting-ip", "10.1.2.3"),
            ("true-client-ip", "10.1.2.3"),
            ("x-forwarded-user", "secret-user"),
            ("x-auth-request-email", "secret@example.com"),
            ("x-auth-token", "secret-token"),
            ("referer", "https://chat.example.com/?key=secret"),
            ("origin", "https://secret.example.com"),
            ("x-http-method-override", "DELETE"),
            ("x-original-url", "/secret"),
            ("x-rewrite-url", "/secret"),
            ("user-agent", "OpenAI/Python 3.57.0"),
            ("x-stainless-lang", "python"),
            ("openai-beta", "assistants=v2"),
            ("http-referer", "https://app.example.com"),
        ];
        for path in ["/v1/embeddings", "/v1/images/generations"] {
            let body = r#"{"model":"demo-image","prompt":"a fox","input":"a"}"#;
            assert_eq!(house.send(Method::POST, path, &headers, body).await.status, 200);
            let received = house.demo.received().pop().unwrap();
            assert_eq!(received.header("authorization"), Some("Bearer sk-upstream"), "{path}");
            let passing = ["user-agent", "x-stainless-lang", "openai-beta", "http-referer", "content-type"];
            for (name, value) in headers.iter().filter(|(name, _)| passing.contains(name)) {
                assert_eq!(received.header(name), Some(*value), "{path}");
            }
            for name in ["openai-organization", "origin", "referer", "x-http-method-override"] {
                assert_eq!(received.header(name), None, "{path}");
            }
            for (name, value) in &received.headers {
                let value = String::from_utf8_lossy(value.as_bytes());
                assert!(!value.contains(KEY) && !value.contains("secret") && !value.contains("10.1.2.3"), "{name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_sounds_pass_byte_for_byte() {
    let house = House::new().await;
    let file = house.get_with_key("/v1/files/file-7/content?demo=bytes:3000000").await;
    assert_eq!((file.status.as_u16(), file.body.len()), (200, 3_000_000));
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"demo.bin\"");
    let again = house.get_with_key("/v1/files/file-7/content?demo=bytes:3000000").await;
    assert_eq!(sha256(&file.body), sha256(&again.body));

    let speech = house.post("/v1/audio/speech", json!({ "model": "any", "input": "hello" })).await;
    assert_eq!(speech.header("content-type"), "audio/wav");
    assert_eq!(&speech.body[..4], b"RIFF");

    house.demo.clear();
    let (kind, body) = form(&[("purpose", "vision")], &[("file", "image/png", file.body.clone())]);
    let answer = house.post("/v1/files", (kind, body.clone())).await.ok();
    assert_eq!((&answer["bytes"], &answer["purpose"]), (&json!(3_000_000), &json!("vision")));
    assert_eq!(house.demo.received()[0].sha256, sha256(&body));
}

#[tokio::test(flavor = "multi_thread")]
async fn path_query_and_method_stay() {
    let other = Scripted::answering(200, r#"{"ok":true}"#).await;
    let house = behind(&other.upstream("other")).start().await;
    for (method, target) in [
        (Method::GET, "/v1/files?limit=2&after=a%20b&x=%2F"),
        (Method::DELETE, "/v1/files/file-7"),
        (Method::DELETE, "/v1/models/mine"),
        (Method::GET, "/v1/chat/completions?metadata[a]=b"),
        (Method::GET, "/v1/responses/resp_1"),
        (Method::PATCH, "/v1/things%2Fthat/nobody?knows"),
    ] {
        let answer = house.send(method.clone(), target, &[("authorization", &bearer())], "").await;
        assert_eq!(answer.ok(), json!({ "ok": true }), "{method} {target}");
        let heard = other.heard().pop().unwrap();
        assert_eq!(heard.head.lines().next().unwrap(), format!("{method} {target} HTTP/1.1"));
        assert_eq!(heard.header("authorization"), "Bearer sk-upstream");
    }
}

/// Regression 10.1: slashes in disguise led out of the upstream's base path, with the operator's key.
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_leads_out_of_the_base_path_or_past_interception() {
    let other = Scripted::answering(200, "{}").await;
    let house = behind(&other.upstream("other")).start().await;
    let request = |method: &str, target: &str| {
        format!(
            "{method} {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        )
    };
    for target in [
        "/v1/..%2F..%2Fadmin/keys",
        "/v1/files%2f..%2f..%2fadmin",
        "/v1/..;/..;/admin",
        "/v1/..;x=y/admin",
        "/v1/%2e%2e/admin",
        "/v1/.%252e%252fadmin",
        "/v1/..\\admin",
        "/v1/..%5cadmin",
        "/v1/x%00",
        "/v1//admin",
        "/v1/images%2Fgenerations",
        "/v1/images%252Fgenerations",
        "/v1/images/generations;a",
        "/v1/Images/Generations",
        "/v1/chat%2Fcompletions",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = raw(house.addr(), request(method, target)).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{method} {target}: {answer}");
            assert!(other.heard().is_empty(), "{method} {target}: {:?}", other.heard());
        }
    }
    // A slash in a name is none of ours.
    let answer = raw(house.addr(), request("GET", "/v1/things%2Fthat/content")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(other.heard()[0].head.starts_with("GET /v1/things%2Fthat/content HTTP/1.1\r\n"));
}

/// Regression 10.6: a header that was on no block list passed.
#[tokio::test(flavor = "multi_thread")]
async fn answers_pass_without_what_would_act_on_our_origin() {
    let theirs = "content-type: text/plain\r\nx-accel-redirect: /secret\r\nx-sendfile: /etc/passwd\r\nrefresh: 0\r\n\
                  link: </x>; rel=preload\r\nservice-worker-allowed: /\r\naccess-control-allow-origin: *\r\n\
                  etag: \"1\"\r\nlast-modified: Tue, 01 Dec 2026 00:00:00 GMT\r\naccept-ranges: bytes\r\n\
                  vary: accept\r\nlocation: /v1/files/1\r\nx-team: a";
    let reply = Reply::Bytes(answer(200, theirs, "hello"));
    let other = Scripted::new(move |_| reply.clone()).await;
    let entry = other
        .upstream("other")
        .replace("api_key", "pass_headers: [ x-team ], headers: { OpenAI-Organization: org-1 }, api_key");
    let house = behind(&entry).start().await;
    for route in ["/v1/files/file-1/content", "/v1/images/generations"] {
        let passes = route.starts_with("/v1/files");
        let method = if passes { Method::GET } else { Method::POST };
        let headers =
            [("authorization", bearer()), ("content-type", "application/json".into()), ("x-team", "b".into())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = house.send(method, route, &headers, r#"{"model":"x","prompt":"a"}"#).await;
        for name in [
            "x-accel-redirect",
            "x-sendfile",
            "refresh",
            "link",
            "service-worker-allowed",
            "access-control-allow-origin",
        ] {
            assert_eq!(answer.header(name), "", "{route}: {name}");
        }
        assert_eq!(
            (answer.header("vary"), answer.header("location"), answer.header("x-team")),
            ("accept", "/v1/files/1", "a")
        );
        let of_the_body = ["etag", "last-modified", "accept-ranges"].map(|name| !answer.header(name).is_empty());
        assert_eq!(of_the_body, [passes; 3], "{route}");
        let heard = other.heard().pop().unwrap();
        assert_eq!((heard.header("openai-organization"), heard.header("x-team")), ("org-1", "b"), "{route}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_content_types_are_refused() {
    let other = Scripted::answering(200, "{}").await;
    let house = behind(&other.upstream("other")).start().await;
    for path in ["/v1/embeddings", "/v1/images/edits", "/v1/chat/completions"] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-type: multipart/form-data; boundary=x\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        let answer = raw(house.addr(), request).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("content-type header"), "{path}: {answer}");
    }
    assert!(other.heard().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_path_is_the_upstreams_to_refuse_and_needs_a_key() {
    let house = House::new().await;
    house.get_with_key("/v1/nothing/here").await.error(404, "unknown_url");
    house.demo.clear();
    house.get("/v1/nothing/here").await.error(401, "invalid_api_key");
    assert!(house.demo.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstreams_answer_does_not_act_on_our_origin() {
    let theirs = "content-type: application/json\r\nset-cookie: a=b\r\nset-cookie: c=d\r\n\
                  strict-transport-security: max-age=1\r\nalt-svc: h3\r\nx-request-id: up_1\r\nx-ratelimit-limit: 5";
    let reply = Reply::Bytes(answer(200, theirs, "{}"));
    let other = Scripted::new(move |_| reply.clone()).await;
    let house = behind(&other.upstream("other")).start().await;
    for answer in [house.post("/v1/embeddings", json!({})).await, house.generate(json!({ "prompt": "a fox" })).await] {
        answer.ok();
        for name in ["set-cookie", "strict-transport-security", "alt-svc"] {
            assert_eq!(answer.header(name), "", "{name}");
        }
        assert_eq!(answer.header("x-upstream-request-id"), "up_1");
        assert_eq!(answer.header("x-ratelimit-limit"), "5");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_on_the_way_look_like_everywhere_else() {
    let refusing = Scripted::answering(401, r#"{"error":{"message":"bad key sk-upstream"}}"#).await;
    let house = behind(&refusing.upstream("other")).start().await;
    let answer = house.post("/v1/embeddings", json!({ "input": "a" })).await;
    answer.error(502, "upstream_auth_failed");
    assert_eq!(answer.header("x-should-retry"), "false");
    assert!(!answer.text().contains("sk-upstream"));

    let (_port, base) = dead();
    let upstream = format!("{{ name: other, kind: openai, base_url: \"{base}\", api_key: k }}");
    let house = behind(&upstream).start().await;
    house.post("/v1/embeddings", json!({ "input": "a" })).await.error(502, "upstream_unreachable");
    house.get_with_key("/v1/files").await.error(502, "upstream_unreachable");

    let silent = Scripted::silent().await;
    let house = behind(&silent.upstream("other")).line("limits: { upstream_timeout: 300ms }").start().await;
    let answer = house.post("/v1/embeddings", json!({ "input": "a" })).await;
    answer.error(504, "upstream_timeout");
    assert_eq!(answer.header("x-should-retry"), "false");
    assert_eq!(silent.heard().len(), 1, "a request must not be sent twice");

    let broken = Scripted::new(|_| Reply::Bytes(Vec::new())).await;
    let house = behind(&broken.upstream("other")).start().await;
    house.post("/v1/embeddings", json!({ "input": "a" })).await.error(502, "upstream_failed");
    assert_eq!(broken.heard().len(), 1, "a request must not be sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_goes_through_both_ways() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: realtime\r\n\r\n";
    let other = Scripted::new(move |_| Reply::Echo(switch.into())).await;
    let house = behind(&other.upstream("other")).start().await;
    let mut socket = TcpStream::connect(house.addr()).await.unwrap();
    let request = format!(
        "GET /v1/realtime?model=any HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\
         sec-websocket-protocol: realtime, openai-insecure-api-key.{KEY}, openai-beta.realtime-v1\r\n\
         x-forwarded-user: somebody\r\norigin: https://chat.example.com\r\nauthorization: Bearer {KEY}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let (head, rest) = read_head(&mut socket).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.to_ascii_lowercase().contains("sec-websocket-accept: s3pp"), "{head}");
    assert!(head.to_ascii_lowercase().contains("sec-websocket-protocol: realtime\r\n"), "{head}");
    assert!(rest.is_empty());
    for frame in [&b"\x81\x85\x01\x02\x03\x04iglhn"[..], &[0x82; 70_000], b"bye"] {
        socket.write_all(frame).await.unwrap();
        let mut back = vec![0; frame.len()];
        socket.read_exact(&mut back).await.unwrap();
        assert!(back == frame);
    }
    let heard = &other.heard()[0];
    assert!(heard.head.starts_with("GET /v1/realtime?model=any HTTP/1.1\r\n"), "{}", heard.head);
    assert_eq!(heard.header("upgrade"), "websocket");
    assert_eq!(heard.header("sec-websocket-key"), "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(heard.header("authorization"), "Bearer sk-upstream");
    assert_eq!(heard.header("sec-websocket-protocol"), "realtime, openai-beta.realtime-v1");
    assert!(!heard.head.contains(KEY) && !heard.head.contains("somebody"), "{}", heard.head);
    assert_eq!(heard.header("origin"), "");
}

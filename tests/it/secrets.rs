//! Nothing secret in the log, the metrics and the errors, whatever `RUST_LOG` says: the real command over every route.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use http::Method;
use picgate::demo::Demo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    harness::{
        House, KEY,
        seaweed::{ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed},
    },
    process::{Process, client, free_port, get, picgate, run},
    scripted::read_head,
};

const CLIENT_KEY: &str = "canary-client-key-0123456789";
const OTHER_KEY: &str = "canary-other-client-key-0123456789";
const WRONG_KEY: &str = "canary-wrong-key-0123456789";
const DEMO_KEY: &str = "canary-demo-upstream-key";
const ECHO_KEY: &str = "canary-echo-upstream-key";
const SIGNING_KEY: &str = "canary-signing-key-which-is-long-enough";
const QUERY: &str = "canary-query-secret";
const PROMPT: &str = "canary-prompt a lighthouse";
const COOKIE: &str = "canary-cookie-of-a-client";
const UPSTREAM_COOKIE: &str = "canary-cookie-of-an-upstream";
const IN_A_BAD_FILE: &str = "canary-secret-in-a-file-with-mistakes";

/// What neither the log nor the metrics may hold.
const NEVER_LOGGED: [&str; 13] = [
    CLIENT_KEY,
    OTHER_KEY,
    WRONG_KEY,
    DEMO_KEY,
    ECHO_KEY,
    SIGNING_KEY,
    QUERY,
    "canary-prompt",
    COOKIE,
    UPSTREAM_COOKIE,
    IN_A_BAD_FILE,
    ACCESS_KEY,
    SECRET_KEY,
];
/// What no client may see, beside its own words.
const NEVER_ANSWERED: [&str; 9] = [
    OTHER_KEY,
    DEMO_KEY,
    ECHO_KEY,
    SIGNING_KEY,
    COOKIE,
    UPSTREAM_COOKIE,
    IN_A_BAD_FILE,
    SECRET_KEY,
    // Its own key comes back in nothing either.
    CLIENT_KEY,
];

/// An upstream that quotes the key it is sent, in every way.
struct Echo {
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Echo {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(Self::serve(socket));
            }
        });
        Self { addr, accepting }
    }

    async fn serve(mut socket: TcpStream) -> Option<()> {
        socket.set_nodelay(true).ok()?;
        let (head, _) = read_head(&mut socket).await?;
        let key = head
            .lines()
            .find_map(|line| line.strip_prefix("authorization: ").or(line.strip_prefix("Authorization: ")))?;
        let how = head.split("how=").nth(1).map_or("", |rest| rest.split([' ', '&']).next().unwrap_or_default());
        let status: u16 = how.parse().unwrap_or(400);
        let lines = format!("set-cookie: {UPSTREAM_COOKIE}\r\nx-echo: {key}\r\nlocation: http://x/?key={key}");
        match how {
            "malformed" => socket
                .write_all(format!("HTTP/1.1 200 OK\r\n{lines}\r\nno header\x01\r\n\r\n").as_bytes())
                .await
                .ok()?,
            "cut" => socket.write_all(format!("HTTP/1.1 200 OK\r\n{lines}\r\n").as_bytes()).await.ok()?,
            "length" => {
                let head = format!("HTTP/1.1 400 Bad\r\n{lines}\r\ncontent-length: {key}\r\n\r\n");
                socket.write_all(head.as_bytes()).await.ok()?;
            }
            _ => {
                let body = json!({ "error": { "message": format!("no such thing for {key} and {key}") } }).to_string();
                let kind = "content-type: application/json";
                let head =
                    format!("HTTP/1.1 {status} Echo\r\n{lines}\r\n{kind}\r\ncontent-length: {}\r\n\r\n", body.len());
                socket.write_all(head.as_bytes()).await.ok()?;
                // The key stands in two pieces.
                for piece in body.as_bytes().chunks(body.len() / 2) {
                    socket.write_all(piece).await.ok()?;
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            }
        }
        socket.shutdown().await.ok()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Everything that clients were answered: what was asked, headers and body.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<BTreeMap<String, String>>>);

impl Answers {
    fn note(&self, what: &str, answer: String) {
        let mut answers = self.0.lock().unwrap();
        let number = answers.len();
        answers.insert(format!("{number} {what}"), answer);
    }
}

/// A gateway in a process of its own that logs all it can.
struct Gateway {
    port: u16,
    tls: u16,
    metrics: u16,
    folder: TempDir,
    process: Process,
    answers: Answers,
}

impl Gateway {
    async fn start(demo: &Demo, echo: &Echo, seaweed: &Seaweed, redirect: &str) -> Self {
        let (port, tls, metrics, folder) = (free_port(), free_port(), free_port(), tempfile::tempdir().unwrap());
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), certified.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
        std::fs::write(folder.path().join("signing"), SIGNING_KEY).unwrap();
        let text = format!(
            "version: 1
pid_file: {data}/picgate.pid
upgrade_sock: {data}/upgrade.sock
picgate:
  listen:
    - {{ addr: \"127.0.0.1:{port}\" }}
    - {{ addr: \"127.0.0.1:{tls}\", tls: {{ cert: cert.pem, key: key.pem }} }}
  metrics: {{ addr: \"127.0.0.1:{metrics}\" }}
  public_base_url: http://127.0.0.1:{port}
  data_dir: {data}
  keys:
    - {{ name: test, key: \"${{CLIENT}}\", may_delete: true }}
    - {{ name: other, key: {OTHER_KEY} }}
  upstreams:
    - {{ name: demo, kind: openai, base_url: \"{demo}\", api_key: {DEMO_KEY} }}
    - {{ name: echo, kind: openai, base_url: \"http://{echo}/v1\", api_key: {ECHO_KEY} }}
  models:
    - {{ name: demo-image, targets: [ {{ upstream: demo }} ] }}
    - {{ name: demo-chat, targets: [ {{ upstream: demo }} ] }}
    - {{ name: \"*\", targets: [ {{ upstream: echo }} ] }}
  images: {{ access: signed, signing_keys: [ \"file:signing\" ] }}
  fetch: {{ allow: [ 127.0.0.0/8 ] }}
  store: {{ min_free: 0 }}
  archive: {{ endpoint: \"http://{bucket}\", bucket: {BUCKET}, prefix: canaries/, access_key_id: {ACCESS_KEY},
    secret_access_key: {SECRET_KEY}, redirect: {redirect} }}
",
            data = folder.path().join("data").display(),
            demo = demo.base_url(),
            echo = echo.addr,
            bucket = seaweed.addr(),
        );
        let file = folder.path().join("picgate.yaml");
        std::fs::write(&file, text).unwrap();
        let mut process = Process::start(command("run", &file).env("RUST_LOG", "trace"));
        process.answers(&format!("http://127.0.0.1:{port}/readyz")).await;
        Self { port, tls, metrics, folder, process, answers: Answers::default() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("picgate.yaml")
    }

    fn url(&self, path: &str) -> String {
        if path.starts_with("http") { path.to_owned() } else { format!("http://127.0.0.1:{}{path}", self.port) }
    }

    /// A request with a key; its answer.
    async fn send(&self, method: Method, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> String {
        self.send_as(CLIENT_KEY, method, path, kind, body).await
    }

    async fn send_as(
        &self,
        key: &str,
        method: Method,
        path: &str,
        kind: &str,
        body: impl Into<reqwest::Body>,
    ) -> String {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let request = client.request(method.clone(), self.url(path)).bearer_auth(key).header("content-type", kind);
        let request =
            request.header("cookie", COOKIE).header("x-api-key", key).header("referer", format!("http://x/?{QUERY}"));
        let answer = match request.body(body).send().await {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: {error}"),
        };
        let head = format!("{} {:?}", answer.status(), answer.headers());
        let body =
            answer.bytes().await.map_or_else(|_| String::new(), |body| String::from_utf8_lossy(&body).into_owned());
        self.answers.note(&format!("{method} {path}"), format!("{head}\n{body}"));
        format!("{head}\n{body}")
    }

    async fn post(&self, path: &str, body: Value) -> String {
        self.send(Method::POST, path, "application/json", body.to_string()).await
    }

    /// Bytes of our choosing on a connection to this port.
    async fn raw(&self, port: u16, bytes: &str) {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        socket.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), socket.read_to_end(&mut answer)).await;
        self.answers.note(&format!("raw {:.40}", bytes), String::from_utf8_lossy(&answer).into_owned());
    }

    async fn metrics(&self) -> String {
        get(format!("http://127.0.0.1:{}/metrics", self.metrics)).await.text().await.unwrap()
    }

    /// Reads the file again, with these changes.
    async fn reload(&self, text: &str, said: &str, times: usize) {
        std::fs::write(self.file(), text).unwrap();
        self.process.signal("HUP");
        self.process.logs_times(said, times);
    }
}

fn command(name: &str, file: &Path) -> Command {
    let mut command = picgate(&[name, "-c", file.to_str().unwrap()]);
    command.env("CLIENT", CLIENT_KEY);
    command
}

#[track_caller]
fn holds_none(what: &str, text: &str, canaries: &[&str]) {
    for canary in canaries {
        if let Some(at) = text.find(canary) {
            let start = text[..at].rfind('\n').map_or(0, |start| start + 1);
            let line: String = text[start..].lines().next().unwrap_or_default().chars().take(600).collect();
            panic!("{what} holds {canary}: {line}");
        }
    }
}

/// Regression 10.5: at `debug` the secret of the bucket stood in the log, at `trace` everything.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_logged_on_any_route_at_trace() {
    let demo = Demo::builder().api_key(DEMO_KEY).local().await.unwrap();
    let (echo, seaweed) = (Echo::new().await, Seaweed::shared().await);
    let gateway = Gateway::start(&demo, &echo, seaweed, "off").await;
    let mut hidden: Vec<String> = Vec::new();

    // Pictures, by every route; with a query of the client's.
    let secret = format!("?key={QUERY}");
    let made = gateway
        .post(&format!("/v1/images/generations{secret}"), json!({ "model": "demo-image", "prompt": PROMPT }))
        .await;
    let url =
        made.split("\"url\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_else(|| panic!("{made}"));
    let url = url.to_owned();
    hidden.push(url.split("sig=").nth(1).unwrap().to_owned());
    let remote = demo_picture(&demo).await;
    let remote = format!("{remote}{}X-Amz-Signature={QUERY}", if remote.contains('?') { '&' } else { '?' });
    for image in [&url, &remote] {
        let made =
            gateway.post("/v1/images/edits", json!({ "model": "demo-image", "prompt": PROMPT, "image": image })).await;
        assert!(made.starts_with("200"), "{image}: {made}\n{}", gateway.process.stderr());
    }
    let nowhere = format!("http://127.0.0.1:1/a.png?X-Amz-Signature={QUERY}");
    gateway.post("/v1/images/edits", json!({ "model": "demo-image", "prompt": PROMPT, "image": nowhere })).await;
    let form = format!(
        "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\ndemo-image\r\n--b\r\ncontent-disposition: form-data; name=\"prompt\"\r\n\r\n{PROMPT}\r\n--b\r\ncontent-disposition: form-data; name=\"image\"\r\n\r\n{remote}\r\n--b--\r\n"
    );
    gateway.send(Method::POST, "/v1/images/edits", "multipart/form-data; boundary=b", form).await;
    gateway.send(Method::POST, "/v1/images/variations", "multipart/form-data; boundary=b", "--b\r\n".to_owned()).await;
    for stream in [false, true] {
        let parts = json!([{ "type": "text", "text": format!("{PROMPT} ![x]({url})") }, { "type": "image_url", "image_url": { "url": remote } }]);
        let messages = json!([{ "role": "user", "content": parts }]);
        let chat = json!({ "model": "demo-chat", "stream": stream, "messages": messages });
        assert!(gateway.post("/v1/chat/completions", chat).await.starts_with("200"));
        let input = json!({ "model": "demo-chat", "stream": stream, "input": PROMPT });
        gateway.post("/v1/responses", input).await;
    }
    for path in
        ["/v1/models", "/v1/models/demo-image", "/admin/", "/healthz", "/readyz", "/nothing", "/v1/images/generations"]
    {
        gateway.send(Method::GET, &format!("{path}{secret}"), "text/plain", "").await;
    }

    // What passes, and upstreams that quote the key: an error, whole and cut, and nonsense.
    for how in ["302", "400", "401", "404", "429", "500", "503", "malformed", "cut", "length"] {
        gateway.send(Method::GET, &format!("/v1/files?key={QUERY}&how={how}"), "text/plain", "").await;
        let body = json!({ "model": "any", "prompt": PROMPT });
        gateway.post(&format!("/v1/images/generations?key={QUERY}&how={how}"), body).await;
    }
    gateway.post(&format!("/v1/embeddings{secret}&how=400"), json!({ "model": "any", "input": PROMPT })).await;
    let upgrade = format!(
        "GET /v1/realtime?key={QUERY} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CLIENT_KEY}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: openai-insecure-api-key.{CLIENT_KEY}\r\n\r\n"
    );
    gateway.raw(gateway.port, &upgrade).await;

    // Keys that are none, bodies that are none, headers that are none; on the listener for metrics too.
    gateway.send_as(WRONG_KEY, Method::POST, "/v1/chat/completions", "application/json", "{}").await;
    gateway.send(Method::POST, "/v1/chat/completions", "application/json", format!("{{\"model\": \"{PROMPT}")).await;
    gateway.send(Method::POST, "/v1/chat/completions", "application/xml", PROMPT).await;
    let lines = format!("Authorization: Bearer {CLIENT_KEY}\r\nCookie: {COOKIE}\r\n");
    for port in [gateway.port, gateway.metrics] {
        for request in [
            format!("GET /v1/models?{QUERY} HTTP/1.1\r\n{lines}no header\x01\r\n\r\n"),
            format!("GET /v1/models?{QUERY} HTTP/1.1\r\n{lines}Content-Length: {CLIENT_KEY}\r\n\r\n"),
            format!("{CLIENT_KEY}\r\n\r\n"),
            format!("GET /metrics?{QUERY} HTTP/1.1\r\nHost: x\r\n{lines}Connection: close\r\n\r\n"),
            format!("CONNECT {CLIENT_KEY}:443 HTTP/1.1\r\nHost: x\r\n{lines}\r\n"),
        ] {
            gateway.raw(port, &request).await;
        }
        // Half a header, then gone.
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        socket.write_all(format!("GET / HTTP/1.1\r\n{lines}").as_bytes()).await.unwrap();
    }
    // HTTP/2 over TLS.
    for path in [format!("/v1/models{secret}"), format!("/v1/files{secret}&how=400")] {
        let mut curl = Command::new("curl");
        curl.args(["-sSk", "--http2", "--noproxy", "*", "-i", "-H", &format!("Authorization: Bearer {CLIENT_KEY}")]);
        curl.args(["-H", &format!("Cookie: {COOKIE}"), &format!("https://127.0.0.1:{}{path}", gateway.tls)]);
        let (code, stdout, stderr) = run(curl).await;
        assert_eq!(code, Some(0), "{stderr}");
        gateway.answers.note(&path, stdout);
    }

    // Signed pictures, good and bad, and their variants.
    let (path, query) = url.split_once('?').unwrap();
    for picture in [
        url.clone(),
        format!("{url}&w=256"),
        path.to_owned(),
        format!("{path}?exp=1&sig={QUERY}"),
        format!("{path}?{query}x"),
    ] {
        gateway.send(Method::GET, &picture, "text/plain", "").await;
        gateway.send(Method::HEAD, &picture, "text/plain", "").await;
    }

    // The archive: there, then on another machine, by a redirect and through it.
    while !gateway.metrics().await.contains("picgate_archived_total 3") {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let redirecting = Gateway::start(&demo, &echo, seaweed, "presigned").await;
    let id = path.rsplit('/').next().unwrap();
    let there = format!("/images/{id}?{query}");
    let redirect = redirecting.send(Method::GET, &there, "text/plain", "").await;
    let location = redirect.split("\"location\": \"").nth(1).and_then(|rest| rest.split('"').next());
    let location = location.unwrap_or_else(|| panic!("{redirect}"));
    let signature = location.split("X-Amz-Signature=").nth(1).unwrap();
    hidden.push(signature.split('&').next().unwrap().to_owned());
    assert!(client().get(location).send().await.unwrap().status().is_success());
    let own = redirecting.url(&format!("/images/{id}"));
    let edit = json!({ "model": "demo-image", "prompt": PROMPT, "image": own });
    assert!(redirecting.post("/v1/images/edits", edit).await.starts_with("200"));
    redirecting.send(Method::GET, &there, "text/plain", "").await;
    let unknown = format!("{}/images/{}.png", redirecting.url(""), "0".repeat(40));
    redirecting.post("/v1/images/edits", json!({ "model": "demo-image", "prompt": PROMPT, "image": unknown })).await;
    gateway.send(Method::DELETE, &format!("/images/{id}"), "text/plain", "").await;
    gateway.process.logs("DELETE /images/");

    // The file is read again: good, wrong, worse.
    let good = std::fs::read_to_string(gateway.file()).unwrap();
    gateway.reload(&good, "is in force", 1).await;
    let bad = [
        good.replace("kind: openai", &format!("kynd: {IN_A_BAD_FILE}")),
        good.replace(&format!("key: {OTHER_KEY}"), &format!("key: [ {IN_A_BAD_FILE} ]")),
        good.replace(&format!("api_key: {ECHO_KEY}"), &format!("api_key: \" {IN_A_BAD_FILE}\"")),
        good.replace("signing_keys: [", &format!("signing_keys: [ short, {IN_A_BAD_FILE}, {IN_A_BAD_FILE},")),
        good.replace("http://127.0.0.1:", &format!("http://me:{IN_A_BAD_FILE}@127.0.0.1:")),
        format!("{good}\n  api_key: {IN_A_BAD_FILE}\n: ["),
    ];
    for (times, text) in bad.iter().enumerate() {
        gateway.reload(text, "stays in force", times + 1).await;
    }
    let mut said = String::new();
    for name in ["check", "run"] {
        for text in &bad {
            std::fs::write(gateway.file(), text).unwrap();
            let mut command = command(name, &gateway.file());
            command.env("RUST_LOG", "trace");
            let (code, stdout, stderr) = run(command).await;
            assert_ne!(code, Some(0), "{text}");
            said += &format!("{stdout}{stderr}");
        }
    }
    std::fs::write(gateway.file(), good.replace(SECRET_KEY, "canary-wrong-secret")).unwrap();
    let mut probe = picgate(&["archive", "check", "-c", gateway.file().to_str().unwrap()]);
    probe.env("CLIENT", CLIENT_KEY).env("RUST_LOG", "trace");
    let (_, stdout, stderr) = run(probe).await;
    said += &format!("{stdout}{stderr}");
    holds_none("a command", &said, &NEVER_LOGGED);
    holds_none("a command", &said, &["canary-wrong-secret"]);

    // Everything that was said.
    hidden.extend(NEVER_LOGGED.map(str::to_owned));
    let hidden: Vec<&str> = hidden.iter().map(String::as_str).collect();
    for mut gateway in [gateway, redirecting] {
        holds_none("/metrics", &gateway.metrics().await, &hidden);
        gateway.process.signal("TERM");
        gateway.process.exit().await;
        let log = gateway.process.stderr();
        assert!(log.contains("TRACE picgate::"), "our own trace is missing");
        holds_none("the log", &log, &hidden);
        holds_none("stdout", &gateway.process.stdout(), &hidden);
        for (what, answer) in gateway.answers.0.lock().unwrap().iter() {
            holds_none(&format!("the answer to {what}"), answer, &NEVER_ANSWERED);
        }
    }
}

/// A URL of the demo upstream's at which a picture can be fetched.
async fn demo_picture(demo: &Demo) -> String {
    let body = json!({ "model": "demo-image", "prompt": "a pier", "response_format": "url" }).to_string();
    let request = client().post(format!("{}/images/generations", demo.base_url())).bearer_auth(DEMO_KEY);
    let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    answer["data"][0]["url"].as_str().unwrap().to_owned()
}

/// Regression 10.5: derived `Debug` showed headers, URLs, bodies and keys. What derives it must not hold any; `opaque!` is
/// for what does.
#[test]
fn no_type_shows_what_it_holds() {
    /// Types that show what clients and upstreams say.
    const TELLING: [&str; 11] = [
        "HeaderMap",
        "HeaderValue",
        "RequestHeader",
        "ResponseHeader",
        "Response",
        "Url",
        "Uri",
        "Bytes",
        "BytesMut",
        "Vec<u8>",
        "Value",
    ];
    /// Where it is right, and why.
    const EXCEPTIONS: [(&str, &str); 6] = [
        // It never logs; its users (`exchange/`) do not show it.
        ("src/rewrite/", ""),
        // Base URLs and endpoints: a user, a password and a query are refused there.
        ("src/config/", ""),
        // The demo's own pictures and answers; it marks the headers it keeps as sensitive.
        ("src/demo/", ""),
        // A picture's last bytes, looked at by walkers.
        ("src/picture/ending.rs", "Ending"),
        // What an upstream lists for everybody.
        ("src/upstream/catalogue.rs", ""),
        ("src/upstream/decode.rs", "Step"),
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for file in files(&root.join("src")) {
        let name = file.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for item in text.split("#[derive(").skip(1) {
            let (derives, rest) = item.split_once(")]").unwrap();
            if !derives.split(',').any(|name| name.trim() == "Debug") {
                continue;
            }
            let Some(at) = rest.find("struct ").into_iter().chain(rest.find("enum ")).min() else { continue };
            let declared = &rest[at..];
            let end = match declared.find(['{', ';']) {
                Some(open) if declared.as_bytes()[open] == b'{' => declared.find("\n}").unwrap_or(declared.len()),
                Some(end) => end,
                None => continue,
            };
            let declared = &declared[..end];
            let kind = declared.split(|c: char| !c.is_alphanumeric() && c != '_').nth(1).unwrap_or_default();
            let fields =
                declared.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            // A word of its own: `Url` is no part of `UrlKind`, and a variant of that name holds nothing.
            let tells = TELLING.iter().find(|telling| {
                fields.match_indices(*telling).any(|(at, telling)| {
                    let word = |c: char| c.is_alphanumeric() || c == '_';
                    let before = fields[..at].chars().next_back();
                    let after = fields[at + telling.len()..].chars().next();
                    let starts = before.is_some_and(|c| "(<& :".contains(c))
                        && !fields[..at].trim_end_matches(' ').ends_with(['\n', ',', '{']);
                    starts && !after.is_some_and(word)
                })
            });
            let excepted =
                EXCEPTIONS.iter().any(|(place, of)| name.starts_with(place) && (of.is_empty() || *of == kind));
            if let Some(tells) = tells
                && !excepted
            {
                found.push(format!("{name}: {kind} shows a {tells}"));
            }
        }
    }
    assert!(found.is_empty(), "use opaque! (src/opaque.rs):\n{}", found.join("\n"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false if path.extension().is_some_and(|extension| extension == "rs") => vec![path],
            false => Vec::new(),
        })
        .collect()
}

/// The same of a gateway at work: everything it holds, shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_gateway_shows_no_secret() {
    let signed = format!("images: {{ access: signed, signing_keys: [ {SIGNING_KEY} ] }}");
    let archive = format!(
        "archive: {{ endpoint: \"http://127.0.0.1:1\", bucket: b, access_key_id: {ACCESS_KEY}, secret_access_key: {SECRET_KEY} }}"
    );
    let house = House::builder().line(&signed).line(&archive).start().await;
    let (url, _) = house.picture(PROMPT).await;
    house.chat(json!([ { "role": "user", "content": format!("{PROMPT} ![x]({url})") } ])).await;
    for shown in [format!("{:?}", house.gateway), format!("{:#?}", house.gateway)] {
        assert!(shown.contains("signing_keys") && shown.contains("access_key_id"), "{shown}");
        holds_none("the gateway", &shown, &[KEY, "sk-upstream", SIGNING_KEY, ACCESS_KEY, SECRET_KEY, "canary-prompt"]);
    }
}

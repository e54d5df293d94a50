//! The command itself: configuration files, signals, TLS, the demo.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use picgate::demo::Demo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinHandle};

use crate::process::{Process, client, free_port, get, picgate, run};

pub const KEY: &str = "test-key-0123456789";

/// A folder with a configuration file, and the upstream it names.
pub struct Site {
    pub demo: Demo,
    port: u16,
    metrics: u16,
    folder: TempDir,
}

impl Site {
    /// `more`: further lines under `picgate:`.
    pub async fn new(more: &str) -> Self {
        let demo = Demo::builder().api_key("sk-upstream").local().await.unwrap();
        let (port, metrics, folder) = (free_port(), free_port(), tempfile::tempdir().unwrap());
        let listen = match more.contains("listen:") {
            true => String::new(),
            false => format!("  listen: [ {{ addr: \"127.0.0.1:{port}\" }} ]\n"),
        };
        let store = if more.contains("store:") { "" } else { "  store: { min_free: 0 }\n" };
        let text = format!(
            "version: 1
grace_period_seconds: 300
picgate:
  metrics: {{ addr: \"127.0.0.1:{metrics}\" }}
  public_base_url: http://127.0.0.1:{port}
  data_dir: {data}
  upstreams: [ {{ name: demo, kind: openai, base_url: \"{base}\", api_key: \"${{UPSTREAM_KEY}}\" }} ]
{store}{listen}{more}",
            data = folder.path().join("data").display(),
            base = demo.base_url(),
        );
        let site = Self { demo, port, metrics, folder };
        std::fs::write(site.path("picgate.yaml"), text).unwrap();
        site
    }

    pub async fn with_key() -> Self {
        Self::new(&format!("  keys: [ {{ name: test, key: {KEY} }} ]\n")).await
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn metrics_url(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.metrics)
    }

    pub fn demo(&self) -> &Demo {
        &self.demo
    }

    pub fn command(&self, name: &str) -> Command {
        let mut command = picgate(&[name, "-c", &self.path("picgate.yaml")]);
        command.env("UPSTREAM_KEY", "sk-upstream");
        command
    }

    /// Runs the gateway; returns when it is ready.
    pub async fn run(&self) -> Process {
        let mut process = Process::start(&mut self.command("run"));
        process.answers(&self.url("/readyz")).await;
        process
    }

    /// A generation that the upstream has received.
    pub async fn generation(&self, prompt: &str) -> JoinHandle<reqwest::Result<(u16, Value)>> {
        let running = tokio::spawn(generate(self.url(""), KEY.to_owned(), prompt.to_owned()));
        // The model list is asked for as well.
        let mut count = 1;
        while !self.demo.received_at_least(count).await.iter().any(|received| received.method == http::Method::POST) {
            count += 1;
        }
        running
    }
}

pub async fn generate(origin: String, key: String, prompt: String) -> reqwest::Result<(u16, Value)> {
    let body = json!({ "model": "demo-image", "prompt": prompt, "size": "64x64" }).to_string();
    let request = client().post(format!("{origin}/v1/images/generations")).bearer_auth(key);
    let answer = request.header("content-type", "application/json").body(body).send().await?;
    let status = answer.status().as_u16();
    Ok((status, serde_json::from_str(&answer.text().await?).unwrap()))
}

/// A folder's or file's permission bits.
pub fn mode(path: impl AsRef<Path>) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

pub fn set_mode(path: impl AsRef<Path>, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub async fn refuses_connections(port: u16) {
    while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

// === check ===

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_every_mistake_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    let text = "version: 1
picgate:
  lissen: []
  public_base_url: nonsense
  keys: [ { name: a, key: \"${NOT_SET_ANYWHERE}\" } ]
  upstreams: [ { name: x, kind: openai, base_url: \"http://me:hunter2@x/v1\", api_key: k } ]
  models: [ { name: m, targets: [ { upstream: nobody } ] } ]
  store: { ttl: 5 parsecs }
";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    for command in ["check", "run"] {
        let (code, stdout, stderr) = run(picgate(&[command, "-c", file])).await;
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        for wrong in [
            "picgate.lissen: unknown key; did you mean `listen`?",
            "picgate.public_base_url: ",
            "picgate.keys[0].key: ",
            "NOT_SET_ANYWHERE",
            "picgate.upstreams[0].base_url: ",
            "picgate.models[0].targets[0].upstream: ",
            "picgate.store.ttl: ",
        ] {
            assert!(stderr.contains(wrong), "no {wrong} in:\n{stderr}");
        }
        assert!(stderr.contains(&format!("{file}:3:3: ")), "{stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
    let (code, _, stderr) = run(picgate(&["check", "-c", "/nowhere/picgate.yaml"])).await;
    assert_eq!(code, Some(2));
    assert!(stderr.contains("/nowhere/picgate.yaml: cannot be read"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_passes_a_good_file_and_touches_nothing() {
    let site = Site::with_key().await;
    let (code, stdout, stderr) = run(site.command("check")).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains(": ok (upstreams: 1, models: 1, keys: 1)"), "{stdout}");
    assert!(!Path::new(&site.path("data")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_explains_itself() {
    for (arguments, words) in [
        (&["--help"][..], &["run", "check", "demo"][..]),
        (&["run", "--help"], &["--config", "--upgrade", "TERM"]),
        (&["upgrade", "--help"], &["--config", "goes on as before", "pid_file"]),
        (&["check", "--help"], &["--config", "exit code 2"]),
        (&["demo", "--help"], &["--port", "--data", "--key", "5643"]),
    ] {
        let (code, stdout, _) = run(picgate(arguments)).await;
        assert_eq!(code, Some(0));
        for word in words {
            assert!(stdout.contains(word), "no {word} in {stdout}");
        }
    }
    let (code, stdout, _) = run(picgate(&["--version"])).await;
    assert_eq!((code, stdout), (Some(0), format!("picgate {}\n", env!("CARGO_PKG_VERSION"))));
    assert_eq!(run(picgate(&["fly"])).await.0, Some(2));
}

// === run ===

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_one_is_made_and_shown_once() {
    let site = Site::new("").await;
    let mut process = site.run().await;
    let said = process.says("pg-");
    let key: String = said.split_whitespace().find(|word| word.starts_with("pg-")).unwrap().to_owned();
    assert_eq!(said.matches(&key).count(), 1);
    let (status, answer) = generate(site.url(""), key.clone(), "a fox".into()).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(generate(site.url(""), "pg-wrong".into(), "a fox".into()).await.unwrap().0, 401);
    process.signal("TERM");
    assert_eq!(process.exit().await, Some(0));
    assert!(!process.stderr().contains(&key), "the key is in the log");

    let mut process = site.run().await;
    assert_eq!(generate(site.url(""), key.clone(), "a fox".into()).await.unwrap().0, 200);
    process.signal("INT");
    process.exit().await;
    assert!(!process.stdout().contains("pg-"), "{}", process.stdout());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let site = Site::with_key().await;
    for port in [site.port, site.metrics] {
        let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        let (code, _, stderr) = run(site.command("run")).await;
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(&format!("cannot listen on 127.0.0.1:{port}: ")), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn term_answers_what_is_in_flight_takes_nothing_new_and_ends() {
    let site = Site::with_key().await;
    let mut process = site.run().await;
    assert!(Path::new(&site.path("data/run/picgate.pid")).exists());
    // A connection that is kept open must not hold the end up.
    let _idle = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    let running = site.generation("a fox delay:2s").await;
    process.signal("TERM");
    refuses_connections(site.port).await;
    assert!(!running.is_finished(), "answered before the port was closed: nothing is proved");
    let (status, answer) = running.await.unwrap().unwrap();
    assert_eq!(status, 200, "{answer}");
    // Well before the 300 s of grace.
    assert_eq!(process.exit().await, Some(0), "{}", process.stderr());
    assert!(!Path::new(&site.path("data/run/picgate.pid")).exists());
    let url = answer["data"][0]["url"].as_str().unwrap();
    let _again = site.run().await;
    assert_eq!(get(url).await.headers()["content-type"], "image/png");
}

#[tokio::test(flavor = "multi_thread")]
async fn quit_hands_the_sockets_over_without_a_refused_connection() {
    let site = Site::with_key().await;
    let mut old = site.run().await;
    let running = site.generation("a fox delay:2s").await;
    let new = Process::start(site.command("run").arg("--upgrade"));
    new.logs("waiting for the running gateway");
    old.signal("QUIT");
    let mut reads = 0;
    let code = loop {
        assert_eq!(get(site.url("/readyz")).await.status(), 200);
        reads += 1;
        if old.has_ended() {
            break old.exit().await;
        }
    };
    assert_eq!((code, running.await.unwrap().unwrap().0), (Some(0), 200), "{reads} reads, {}", old.stderr());
    assert_eq!(generate(site.url(""), KEY.into(), "a fox".into()).await.unwrap().0, 200, "{}", new.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn int_ends_at_once() {
    let site = Site::with_key().await;
    let mut process = site.run().await;
    let running = site.generation("a fox delay:60s").await;
    process.signal("INT");
    process.exit().await;
    // Where there was time for it, a word of regret.
    assert!(running.await.unwrap().map_or(true, |(status, _)| status >= 500));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_a_listener_of_their_own() {
    let site = Site::with_key().await;
    let mut process = site.run().await;
    assert_eq!(generate(site.url(""), KEY.into(), "a fox".into()).await.unwrap().0, 200);
    let metrics = format!("http://127.0.0.1:{}", site.metrics);
    process.answers(&format!("{metrics}/metrics")).await;
    // A request is counted when its answer has gone out.
    let counted = "picgate_requests_total{route=\"generations\",status=\"200\",upstream=\"demo\"} 1";
    let text = loop {
        let text = get(format!("{metrics}/metrics")).await.text().await.unwrap();
        if text.contains(counted) {
            break text;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(!text.contains(KEY) && !text.contains("sk-upstream"), "{text}");
    assert_eq!(get(format!("{metrics}/v1/models")).await.status(), 404);
    assert_eq!(get(site.url("/metrics")).await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_1_2_and_1_3_with_http2_by_alpn() {
    let (plain, tls, no_h2) = (free_port(), free_port(), free_port());
    let mut site = Site::new(&format!(
        "  keys: [ {{ name: test, key: {KEY} }} ]
  listen:
    - {{ addr: \"127.0.0.1:{plain}\" }}
    - {{ addr: \"127.0.0.1:{tls}\", tls: {{ cert: cert.pem, key: key.pem }} }}
    - {{ addr: \"127.0.0.1:{no_h2}\", tls: {{ cert: cert.pem, key: key.pem, h2: false }} }}
"
    ))
    .await;
    site.port = plain;
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = site.path("cert.pem");
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(site.path("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    let _process = site.run().await;

    for (port, versions, http) in [
        (tls, &["--tlsv1.2", "--tls-max", "1.2"][..], "2"),
        (tls, &["--tlsv1.3"], "2"),
        (tls, &["--http1.1"], "1.1"),
        (no_h2, &["--tlsv1.2"], "1.1"),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--noproxy", "*", "--cacert", &cert, "-w", "\n%{http_version}"]).args(versions);
        curl.args(["-H", &format!("Authorization: Bearer {KEY}"), "-H", "Content-Type: application/json"]);
        curl.args(["-d", r#"{"model":"demo-image","prompt":"a fox","size":"64x64"}"#]);
        curl.args(["--resolve", &format!("localhost:{port}:127.0.0.1")]);
        curl.arg(format!("https://localhost:{port}/v1/images/generations"));
        let (code, stdout, stderr) = run(curl).await;
        assert_eq!(code, Some(0), "{versions:?}: {stderr}");
        let (body, version) = stdout.rsplit_once('\n').unwrap();
        assert_eq!(version, http, "{versions:?}");
        let answer: Value = serde_json::from_str(body).unwrap();
        assert!(answer["data"][0]["url"].as_str().unwrap().contains("/images/"), "{body}");
    }
}

// === demo ===

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_does_what_it_prints_also_after_a_restart() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let data = folder.path().join("with a space");
    let start = || {
        let mut command = picgate(&["demo", "--port", &port.to_string(), "--key", "it's a \"key\""]);
        Process::start(command.arg("--data").arg(&data))
    };
    // A key that needs no quoting in a shell, as the printed curl has it.
    let plain = || {
        let mut command = picgate(&["demo", "--port", &port.to_string(), "--key", KEY]);
        Process::start(command.arg("--data").arg(&data))
    };
    drop(start());

    let mut process = plain();
    let guide = process.says("Stop it with Ctrl-C");
    process.answers(&format!("http://127.0.0.1:{port}/readyz")).await;
    assert!(guide.contains(&format!("http://localhost:{port}/v1\n")) && guide.contains(KEY), "{guide}");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(printed_curl(&guide)).env("no_proxy", "*");
    let (code, stdout, stderr) = run(shell).await;
    assert_eq!(code, Some(0), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    let url = answer["data"][0]["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with(&format!("http://localhost:{port}/images/")), "{url}");
    let picture = get(&url).await.bytes().await.unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
    assert_eq!(get(format!("http://localhost:{port}/admin/")).await.status(), 200);
    process.signal("INT");
    process.exit().await;

    let mut process = plain();
    process.answers(&format!("http://127.0.0.1:{port}/readyz")).await;
    assert_eq!(get(&url).await.bytes().await.unwrap(), picture);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_makes_a_key_and_remembers_it() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let mut keys = Vec::new();
    for _ in 0..2 {
        let mut command = picgate(&["demo", "--port", &port.to_string()]);
        let mut process = Process::start(command.arg("--data").arg(folder.path()));
        let guide = process.says("Stop it with Ctrl-C");
        let key = guide.split_whitespace().find(|word| word.starts_with("pg-")).unwrap().to_owned();
        process.answers(&format!("http://127.0.0.1:{port}/readyz")).await;
        let origin = format!("http://127.0.0.1:{port}");
        assert_eq!(generate(origin, key.clone(), "a fox".into()).await.unwrap().0, 200);
        keys.push(key);
        process.signal("TERM");
        assert_eq!(process.exit().await, Some(0));
    }
    assert_eq!(keys[0], keys[1]);
}

/// The command between the line that names curl and the next empty line.
fn printed_curl(guide: &str) -> String {
    let lines =
        guide.lines().skip_while(|line| !line.trim_start().starts_with("curl ")).take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

//! The gateway with everything around it.

use std::path::Path;

use http::Method;
use picgate::{app::App, config::Config, demo::Demo, gateway::Gateway};
use prometheus::Registry;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{Answer, IntoBody, server::Server};

/// The client key of every test gateway.
pub const KEY: &str = "test-key-0123456789";
/// The gateway's key at the demo upstream.
pub(super) const UPSTREAM_KEY: &str = "sk-upstream";

const MODELS: &str = r#"
    - { name: demo-image, targets: [ { upstream: demo } ] }
    - { name: demo-chat, targets: [ { upstream: demo } ] }
    - { name: gpt-image-demo, targets: [ { upstream: demo } ] }
    - { name: picture, targets: [ { upstream: demo, model: demo-image } ] }
"#;

/// A running gateway, its upstream and its data directory. Everything goes when it is dropped.
#[derive(Debug)]
pub struct House {
    pub demo: Demo,
    pub gateway: Gateway,
    pub registry: Registry,
    server: Server,
    client: reqwest::Client,
    data: TempDir,
}

/// Describes a gateway that differs from the usual one. Each part is YAML as in a configuration file.
#[must_use]
#[derive(Debug, Default)]
pub struct Builder {
    models: Option<String>,
    upstreams: String,
    keys: String,
    lines: Vec<String>,
    data: Option<TempDir>,
}

impl House {
    /// The usual gateway: models `demo-image`, `demo-chat`, `gpt-image-demo` and `picture` (an alias of the first), no
    /// others; pictures may be fetched from 127.0.0.0/8.
    pub async fn new() -> Self {
        Self::builder().start().await
    }

    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.server.addr)
    }

    pub fn addr(&self) -> std::net::SocketAddr {
        self.server.addr
    }

    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// A URL of the demo upstream at which a picture of this prompt can be fetched.
    pub async fn remote_picture(&self, prompt: &str) -> String {
        let request = serde_json::json!({ "model": "demo-image", "prompt": prompt, "response_format": "url" });
        let answer = self
            .client
            .post(format!("{}/images/generations", self.demo.base_url()))
            .bearer_auth(UPSTREAM_KEY)
            .body(request.to_string())
            .header("content-type", "application/json")
            .send();
        let answer = answer.await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        self.demo.clear();
        answer["data"][0]["url"].as_str().unwrap().to_owned()
    }

    /// A request with the client's key.
    pub async fn post(&self, path: &str, body: impl IntoBody) -> Answer {
        let (kind, body) = body.into_body();
        self.send(Method::POST, path, &[("authorization", &format!("Bearer {KEY}")), ("content-type", kind)], body)
            .await
    }

    /// `POST /v1/images/generations` with `model: demo-image` unless the body names one.
    pub async fn generate(&self, mut body: Value) -> Answer {
        body.as_object_mut().unwrap().entry("model").or_insert("demo-image".into());
        self.post("/v1/images/generations", body).await
    }

    /// `POST /v1/chat/completions` of `demo-chat` with these messages.
    pub async fn chat(&self, messages: Value) -> Answer {
        let body = serde_json::json!({ "model": "demo-chat", "messages": messages });
        self.post("/v1/chat/completions", body).await
    }

    /// The URL of a picture that was generated just now, and its bytes.
    pub async fn picture(&self, prompt: &str) -> (String, bytes::Bytes) {
        let answer = self.generate(serde_json::json!({ "prompt": prompt })).await.ok();
        let url = answer["data"][0]["url"].as_str().unwrap().to_owned();
        let picture = self.get(&url).await;
        assert_eq!(picture.status, 200, "{url}");
        self.demo.clear();
        (url, picture.body)
    }

    /// GETs a path, or a whole URL, without a key.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    /// GETs a path with the client's key.
    pub async fn get_with_key(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[("authorization", &format!("Bearer {KEY}"))], "").await
    }

    /// Any request.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.origin()) };
        let mut request = self.client.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, body: response.bytes().await.unwrap() }
    }

    /// The value of a metric, with its labels as Prometheus writes them; 0 when it was never counted.
    pub fn metric(&self, name: &str) -> u64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Stops the gateway and starts another with the same data directory, on another port.
    pub async fn restart(self) -> Self {
        let House { demo, gateway, server, data, .. } = self;
        drop((server, gateway, demo));
        Builder { data: Some(data), ..Builder::default() }.start().await
    }

    /// [`restart`](Self::restart) with these lines under `picgate:`.
    pub async fn restart_with(self, lines: &[&str]) -> Self {
        let House { demo, gateway, server, data, .. } = self;
        drop((server, gateway, demo));
        let lines = lines.iter().map(ToString::to_string).collect();
        Builder { data: Some(data), lines, ..Builder::default() }.start().await
    }
}

// === impl Builder ===

impl Builder {
    /// The list under `models:`.
    pub fn models(mut self, yaml: &str) -> Self {
        self.models = Some(yaml.to_owned());
        self
    }

    /// An entry of `upstreams:` behind the demo's.
    pub fn upstream(mut self, yaml: &str) -> Self {
        self.upstreams.push_str(&format!("    - {yaml}\n"));
        self
    }

    /// An entry of `keys:` behind the usual one.
    pub fn key(mut self, yaml: &str) -> Self {
        self.keys.push_str(&format!("    - {yaml}\n"));
        self
    }

    /// A line under `picgate:`, such as `limits: { request_body: 1KiB }`.
    pub fn line(mut self, yaml: &str) -> Self {
        self.lines.push(yaml.to_owned());
        self
    }

    pub async fn start(self) -> House {
        let demo = Demo::builder().api_key(UPSTREAM_KEY).local().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let data = self.data.unwrap_or_else(|| tempfile::tempdir().unwrap());
        let port = listener.local_addr().unwrap().port();
        let lines = |prefix: &str| self.lines.iter().any(|line| line.starts_with(prefix));
        let mut text = format!(
            "picgate:
  listen: [ {{ addr: 127.0.0.1:{port} }} ]
  metrics: off
  public_base_url: http://127.0.0.1:{port}
  data_dir: {data}
  keys:
    - {{ name: test, key: {KEY} }}
{keys}  upstreams:
    - {{ name: demo, kind: openai, base_url: {base}, api_key: {UPSTREAM_KEY} }}
{upstreams}  models:
{models}
",
            data = data.path().display(),
            keys = self.keys,
            base = demo.base_url(),
            upstreams = self.upstreams,
            models = self.models.as_deref().unwrap_or(MODELS),
        );
        if !lines("fetch:") {
            text.push_str("  fetch: { allow: [ 127.0.0.0/8 ] }\n");
        }
        if !lines("store:") {
            text.push_str("  store: { durability: process, min_free: 0 }\n");
        }
        for line in &self.lines {
            text.push_str(&format!("  {line}\n"));
        }
        let config = Config::parse(&text, Path::new("."), &|_| None)
            .unwrap_or_else(|problems| panic!("{problems}\n{text}"))
            .config;
        let registry = Registry::new();
        let gateway = App::build(config, &registry).unwrap().gateway;
        let server = Server::start(listener, gateway.clone()).await;
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        House { demo, gateway, registry, server, client: client.build().unwrap(), data }
    }
}

//! Good files and what they resolve to.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use super::{super::*, config, env, folder, warnings, with};
use crate::picture::Format;

const EVERYTHING: &str = r#"
version: 1
threads: 2
picgate:
  listen:
    - addr: 0.0.0.0:5643
    - { addr: "[::1]:8443", tls: { cert: tls/cert.pem, key: tls/key.pem } }
    - { addr: "127.0.0.1:${PORT}", tls: { cert: tls/cert.pem, key: tls/key.pem, h2: false }, send_buffer: 1MiB }
  metrics: { addr: 127.0.0.1:9000 }
  public_base_url: https://pictures.example.org/pics/
  public_aliases: [ "http://localhost:5643", "http://old.example.org/" ]
  data_dir: /var/lib/picgate
  admin: { enabled: false }
  keys:
    - { name: open-webui, key: "${PICGATE_KEY}", images: b64_json, images_force: true, may_delete: true }
    - { name: other, key: "file:secrets/open-webui" }
  upstreams:
    - name: openai
      kind: openai
      base_url: "https://api.openai.com/v1/"
      api_key: "file:secrets/openai"
      headers: { OpenAI-Organization: org-1 }
      pass_headers: [ Helicone-*, x-team ]
    - { name: local, base_url: "http://192.168.1.20:8080/v1" }
  models:
    - name: picgate
      targets: [ { upstream: local, model: flux }, { upstream: openai, model: gpt-image-2 } ]
      images: { response_format: both, heartbeat: { json: 5s } }
      chat: { strip_think: false }
      accepts_response_format: false
    - { name: "*", targets: [ { upstream: openai } ] }
  images:
    response_format: as_asked
    chat: as_upstream
    responses: url
    heartbeat: { sse: 500ms, json: 20s }
    on_disconnect: abort
    history: { images: 4, bytes: 8MiB }
    markdown: keep
    max_input_pixels: 4000000
    variants: { sizes: [ 64, 2048 ], formats: [ webp, png ], qualities: [ 70, 95 ], max_disk: 0 }
    negotiate: true
    access: signed
    signing_keys: [ "file:secrets/signing", "an-older-key-of-at-least-32-characters" ]
    url_ttl: 1h
  chat: { strip_think: true }
  fetch: { allow: [ 192.168.0.0/16, "fd00::/8", 10.1.2.3 ], ports: [ 443, 8443 ], max_bytes: 1MiB, timeout: 3s }
  store: { memory_cache: 0, durability: process, ttl: 30d, max_bytes: 1TiB, retention: 30d, min_free: 0 }
  archive: { kind: s3, endpoint: "https://ACCOUNT.r2.cloudflarestorage.com", bucket: pics, region: eu,
             access_key_id: "${R2_ACCESS_KEY_ID}", secret_access_key: "${R2_SECRET_ACCESS_KEY}", prefix: a/b }
  limits: { request_body: 1KiB, upstream_body: 2KiB, spool: 3GiB, spool_per_key: 1GiB, response_body: 4096,
            images_per_answer: 9, header_timeout: 1s, upstream_timeout: 1h, send_timeout: 5s, pixel_threads: 3 }
"#;

fn url(text: &str) -> url::Url {
    text.parse().unwrap()
}

#[test]
fn every_setting_arrives() {
    let folder = folder();
    let config = Config::parse(EVERYTHING, folder.path(), &env).unwrap().config;
    let tls = |h2| Some(Tls { cert: folder.path().join("tls/cert.pem"), key: folder.path().join("tls/key.pem"), h2 });
    let images = Images {
        response_format: ResponseForm::AsAsked,
        chat: AnswerPolicy::AsUpstream,
        responses: AnswerPolicy::Url,
        heartbeat: Heartbeat { sse: Some(Duration::from_millis(500)), json: Some(Duration::from_secs(20)) },
        on_disconnect: OnDisconnect::Abort,
        history: History { images: 4, bytes: 8 << 20 },
        markdown: Markdown::Keep,
        max_input_pixels: 4_000_000,
    };
    let of_picgate = Images {
        response_format: ResponseForm::Both,
        heartbeat: Heartbeat { sse: images.heartbeat.sse, json: Some(Duration::from_secs(5)) },
        ..images.clone()
    };
    let expected = Config {
        listen: vec![
            Listen { addr: "0.0.0.0:5643".parse().unwrap(), tls: None, send_buffer: None },
            Listen { addr: "[::1]:8443".parse().unwrap(), tls: tls(true), send_buffer: Some(128 << 10) },
            Listen { addr: "127.0.0.1:7000".parse().unwrap(), tls: tls(false), send_buffer: Some(1 << 20) },
        ],
        metrics: Some("127.0.0.1:9000".parse().unwrap()),
        public: PublicUrls {
            base: url("https://pictures.example.org/pics"),
            aliases: vec![url("http://localhost:5643"), url("http://old.example.org")],
        },
        data_dir: PathBuf::from("/var/lib/picgate"),
        admin: Admin { enabled: false },
        keys: vec![
            Key {
                name: "open-webui".into(),
                key: Secret::new("client-key-0123456789"),
                images: Some(ResponseForm::B64Json),
                images_force: true,
                may_delete: true,
            },
            Key {
                name: "other".into(),
                key: Secret::new("key-from-a-file-1234"),
                images: None,
                images_force: false,
                may_delete: false,
            },
        ],
        upstreams: vec![
            Upstream {
                name: "openai".into(),
                kind: UpstreamKind::OpenAi,
                base_url: url("https://api.openai.com/v1"),
                api_key: Some(Secret::new("sk-from-a-file")),
                headers: vec![("openai-organization".parse().unwrap(), Secret::new("org-1"))],
                pass_headers: vec![HeaderPattern::new("helicone-*"), HeaderPattern::new("x-team")],
            },
            Upstream::new("local", url("http://192.168.1.20:8080/v1")),
        ],
        models: vec![
            Model {
                name: "picgate".into(),
                targets: vec![
                    Target { upstream: 1, model: Some("flux".into()) },
                    Target { upstream: 0, model: Some("gpt-image-2".into()) },
                ],
                images: of_picgate,
                chat: Chat { strip_think: false },
                accepts_response_format: Some(false),
            },
            Model {
                name: "*".into(),
                targets: vec![Target { upstream: 0, model: None }],
                images: images.clone(),
                chat: Chat { strip_think: true },
                accepts_response_format: None,
            },
        ],
        images,
        chat: Chat { strip_think: true },
        serving: Serving {
            variants: Variants {
                sizes: vec![64, 2048],
                formats: vec![Format::Webp, Format::Png],
                qualities: vec![70, 95],
                max_disk: 0,
            },
            negotiate: true,
            access: Access::Signed,
            signing_keys: vec![
                Secret::new("signing-key-0123456789abcdef0123456789"),
                Secret::new("an-older-key-of-at-least-32-characters"),
            ],
            url_ttl: Duration::from_secs(3600),
        },
        fetch: Fetch {
            allow: ["192.168.0.0/16", "fd00::/8", "10.1.2.3/32"].map(|net| net.parse().unwrap()).to_vec(),
            ports: vec![443, 8443],
            max_bytes: 1 << 20,
            timeout: Duration::from_secs(3),
        },
        store: Store {
            memory_cache: 0,
            durability: Durability::Process,
            ttl: Some(Duration::from_secs(30 * 86_400)),
            max_bytes: Some(1 << 40),
            retention: Some(Duration::from_secs(30 * 86_400)),
            min_free: 0,
        },
        archive: Some(Archive {
            endpoint: url("https://account.r2.cloudflarestorage.com"),
            bucket: "pics".into(),
            region: "eu".into(),
            access_key_id: Secret::new("r2-id-0123456789"),
            secret_access_key: Secret::new("r2-secret-0123456789"),
            prefix: "a/b".into(),
            redirect: Redirect::Off,
        }),
        limits: Limits {
            request_body: 1024,
            upstream_body: 2048,
            spool: 3 << 30,
            spool_per_key: 1 << 30,
            response_body: 4096,
            images_per_answer: 9,
            header_timeout: Duration::from_secs(1),
            upstream_timeout: Duration::from_secs(3600),
            send_timeout: Duration::from_secs(5),
            pixel_threads: NonZeroUsize::new(3),
        },
    };
    assert_eq!(config, expected);
    assert_eq!(config.public.base_str(), "https://pictures.example.org/pics");
    assert_eq!(without_slash(&config.public.aliases[0]), "http://localhost:5643");
    assert_eq!(config.upstreams[0].base_str(), "https://api.openai.com/v1");
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", config(EVERYTHING));
    for secret in ["client-key-", "key-from-a-file", "sk-from-a-file", "r2-id", "r2-secret"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn what_is_absent_has_its_default() {
    let config = config(&with(""));
    assert_eq!(config.listen, [Listen { addr: "0.0.0.0:5643".parse().unwrap(), tls: None, send_buffer: None }]);
    assert_eq!(config.metrics, Some("127.0.0.1:9643".parse().unwrap()));
    assert_eq!(config.public.aliases, []);
    assert_eq!(config.data_dir, PathBuf::from("./data"));
    assert_eq!(config.admin, Admin::default());
    assert_eq!(config.keys, []);
    assert_eq!(config.upstreams[0].api_key, None);
    assert_eq!(config.models[0].name, "*");
    assert_eq!(config.models[0].targets, [Target { upstream: 0, model: None }]);
    assert_eq!(config.models[0].images, Images::default());
    assert_eq!(config.images, Images::default());
    assert_eq!(config.fetch, Fetch::default());
    assert_eq!(config.store, Store::default());
    assert_eq!(config.archive, None);
    assert_eq!(config.limits, Limits::default());
    assert_eq!(warnings(&with("")), [""; 0]);
}

#[test]
fn a_key_without_a_value_is_absent() {
    let lines = "store:\nkeys:\nmodels:\narchive: ~\nimages: { chat: , heartbeat: null }\npublic_aliases:\n";
    assert_eq!(config(&with(lines)), config(&with("")));
}

#[test]
fn several_ways_to_write_the_same() {
    for (one, other) in [
        ("metrics: { addr: 127.0.0.1:9643 }", "metrics:"),
        ("store: { max_bytes: 10GiB }", "store: { max_bytes: 10737418240 }"),
        ("store: { max_bytes: \"0\" }", "store: { max_bytes: 0 }"),
        ("admin: { enabled: \"${NO:-false}\" }", "admin: { enabled: false }"),
        ("fetch: { ports: [ \"${PORT}\" ] }", "fetch: { ports: [ 7000 ] }"),
        ("data_dir: \"$${x}\"", "data_dir: '$${x}'"),
        (
            "images: &x { chat: as_upstream }\nmodels: [ { name: a, targets: [ { upstream: openai } ], images: *x } ]",
            "images: { chat: as_upstream }\nmodels: [ { name: a, targets: [ { upstream: openai } ] } ]",
        ),
    ] {
        assert_eq!(config(&with(one)), config(&with(other)), "{one}");
    }
    assert_eq!(config(&with("metrics: off")).metrics, None);
    let store = config(&with("store: { ttl: never, max_bytes: 0, retention: never }")).store;
    assert_eq!((store.ttl, store.max_bytes, store.retention), (None, None, None));
    assert_eq!(config(&with("images: { heartbeat: { sse: off } }")).images.heartbeat.sse, None);
    assert_eq!(config(&with("data_dir: $${x}")).data_dir, PathBuf::from("${x}"));
}

#[test]
fn the_public_url_is_guessed_from_the_first_listener() {
    let file = |listen: &str| {
        format!(
            "picgate:\n  upstreams: [ {{ name: a, base_url: \"http://127.0.0.1:1/v1\" }} ]\n  listen: [ {listen} ]\n"
        )
    };
    for (listen, base, warned) in [
        ("{ addr: 127.0.0.1:80 }", "http://localhost", false),
        ("{ addr: \"[::1]:7000\" }", "http://localhost:7000", false),
        ("{ addr: 0.0.0.0:7000 }", "http://localhost:7000", true),
        ("{ addr: 10.0.0.1:443, tls: { cert: tls/cert.pem, key: tls/key.pem } }", "https://localhost", true),
    ] {
        assert_eq!(config(&file(listen)).public.base_str(), base);
        let warnings = warnings(&file(listen));
        assert_eq!(!warnings.is_empty(), warned, "{listen}: {warnings:?}");
        assert!(warnings.iter().all(|w| w.starts_with("2:3: picgate.public_base_url: is not written")), "{warnings:?}");
    }
}

#[test]
fn warnings_are_given_where_something_has_no_effect() {
    const NO_ARCHIVE: &str = "cannot act without an `archive`: nothing deletes the only copy of a picture";
    const NOT_YET: &str = "is accepted but does not act yet";
    for (lines, expected) in [
        (
            "keys: [ { name: a, key: short } ]",
            vec!["5:27: picgate.keys[0].key: is short: fewer than 16 characters can be guessed".into()],
        ),
        ("store: { ttl: 72h }", vec![format!("5:17: picgate.store.ttl: {NO_ARCHIVE}")]),
        ("store: { max_bytes: 10GiB }", vec![format!("5:23: picgate.store.max_bytes: {NO_ARCHIVE}")]),
        (
            "store: { ttl: 1h, max_bytes: 1GiB }",
            vec![
                format!("5:17: picgate.store.ttl: {NO_ARCHIVE}"),
                format!("5:32: picgate.store.max_bytes: {NO_ARCHIVE}"),
            ],
        ),
        ("store: { ttl: never, max_bytes: 0, retention: never, min_free: 5GiB }", vec![]),
        ("store: { retention: 30d }", vec![]),
        (
            "images: { heartbeat: { sse: off, json: off }, history: { images: 0, bytes: 0 }, max_input_pixels: 0 }",
            vec![],
        ),
        ("images: { heartbeat: { sse: 15s } }", vec![]),
        ("images: { heartbeat: { sse: 5s, json: 5s } }", vec![]),
        (
            "models: [ { name: a, targets: [ { upstream: openai } ], images: { max_input_pixels: 9, markdown: keep } } ]",
            vec![],
        ),
        ("limits: { header_timeout: 9s }", vec![format!("5:29: picgate.limits.header_timeout: {NOT_YET}")]),
        (
            "store: { ttl: 72h, max_bytes: 1GiB, retention: 30d }\narchive: { endpoint: \"http://s3\", bucket: b, access_key_id: a, secret_access_key: b }",
            vec!["5:50: picgate.store.retention: cannot act beside an `archive`, which keeps every picture".into()],
        ),
    ] {
        assert_eq!(warnings(&with(lines)), expected, "{lines}");
    }
}

#[test]
fn pingoras_keys_are_known_and_others_pointed_out() {
    for (line, expected) in [
        ("grace_period_seconds: 5", vec![]),
        ("daemon: false", vec![]),
        ("thread: 4", vec!["1:1: thread: unknown key, ignored by Pingora; did you mean `threads`?"]),
        (
            "listen: []",
            vec!["1:1: listen: unknown key, ignored by Pingora; it belongs under `picgate:` (is it indented?)"],
        ),
        ("x-note: hello", vec!["1:1: x-note: unknown key, ignored by Pingora"]),
        (
            "pid_file: ${RUN}/pid",
            vec![
                "1:11: pid_file: is read by Pingora, which takes ${…} literally: variables work under `picgate:` only",
            ],
        ),
    ] {
        assert_eq!(warnings(&format!("{line}\n{}", with(""))), expected, "{line}");
    }
}

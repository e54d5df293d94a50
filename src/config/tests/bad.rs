//! Bad files and what is said of them.

use super::{problems, with};

#[test]
fn every_mistake_has_its_sentence() {
    let mut differing = Vec::new();
    for (lines, expected) in [
        // Keys.
        ("lissen: []", "5:3: picgate.lissen: unknown key; did you mean `listen`?"),
        ("store: { TTL: 1h }", "5:12: picgate.store.TTL: unknown key; did you mean `ttl`?"),
        ("admin: { colour: red }", "5:12: picgate.admin.colour: unknown key; known here: enabled"),
        ("admin: { 1: red }", "5:12: picgate.admin: every key of a map must be text"),
        ("data_dir: a\ndata_dir: b", "6:3: picgate.data_dir: is written twice"),
        ("store: { ttl: 1h, min_free: 0, ttl: 2h }", "5:34: picgate.store.ttl: is written twice"),
        ("public_base_url: http://other", "5:3: picgate.public_base_url: is written twice"),
        // Kinds.
        ("store: []", "5:10: picgate.store: must be a map, not a list"),
        ("store: 5", "5:10: picgate.store: must be a map, not a number"),
        ("keys: { name: a }", "5:9: picgate.keys: must be a list, not a map"),
        ("keys: [ sk-abc ]", "5:11: picgate.keys[0]: must be a map, not text"),
        ("data_dir: 5", "5:13: picgate.data_dir: must be text: put it in quotes"),
        ("data_dir: []", "5:13: picgate.data_dir: must be text, not a list"),
        ("data_dir: \"\"", "5:13: picgate.data_dir: is empty"),
        ("data_dir: \"a\\nb\"", "5:13: picgate.data_dir: \"a\\nb\" holds a line break or another control character"),
        ("data_dir: !here x", "5:13: picgate.data_dir: must be text, not a value with a !tag"),
        ("store: { ttl: [] }", "5:17: picgate.store.ttl: must be a duration, not a list"),
        // Addresses.
        ("listen: []", "5:11: picgate.listen: is empty: leave it out for 0.0.0.0:5643"),
        ("listen: [ {} ]", "5:13: picgate.listen[0].addr: is missing"),
        (
            "listen: [ { addr: localhost:80 } ]",
            "5:21: picgate.listen[0].addr: \"localhost:80\" is no address: write IP:PORT, such as 127.0.0.1:5643, 0.0.0.0:5643 or [::]:5643",
        ),
        (
            "listen: [ { addr: 5643 } ]",
            "5:21: picgate.listen[0].addr: 5643 is no address: write IP:PORT, such as 127.0.0.1:5643, 0.0.0.0:5643 or [::]:5643",
        ),
        (
            "listen: [ { addr: 1.1.1.1:80 }, { addr: 1.1.1.1:80 } ]",
            "5:43: picgate.listen[1].addr: \"1.1.1.1:80\" clashes with 1.1.1.1:80, which is listened on already",
        ),
        (
            "listen: [ { addr: 1.1.1.1:80 }, { addr: 0.0.0.0:80 } ]",
            "5:43: picgate.listen[1].addr: \"0.0.0.0:80\" clashes with 1.1.1.1:80, which is listened on already",
        ),
        (
            "listen: [ { addr: 1.1.1.1:80, send_buffer: 8KiB } ]",
            "5:46: picgate.listen[0].send_buffer: \"8KiB\" must be from 16KiB to 64MiB, or 0 to leave it to the kernel",
        ),
        (
            "metrics: { addr: 127.0.0.1:5643 }",
            "5:20: picgate.metrics.addr: \"127.0.0.1:5643\" clashes with 0.0.0.0:5643, which is listened on already",
        ),
        (
            "listen: [ { addr: 1.1.1.1:80, tls: { cert: tls/cert.pem } } ]",
            "5:38: picgate.listen[0].tls.key: is missing",
        ),
        (
            "listen: [ { addr: 1.1.1.1:80, tls: { cert: tls, key: tls/key.pem } } ]",
            "5:46: picgate.listen[0].tls.cert: \"tls\" is not a file",
        ),
        (
            "listen: [ { addr: 1.1.1.1:80, tls: { cert: tls/cert.pem, key: no.pem } } ]",
            "5:65: picgate.listen[0].tls.key: \"no.pem\" cannot be read: No such file or directory (os error 2)",
        ),
        // URLs.
        (
            "public_aliases: [ ftp://x ]",
            "5:21: picgate.public_aliases[0]: \"ftp://x\" is no http or https URL: write http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]",
        ),
        (
            "public_aliases: [ \"http://x/?a\" ]",
            "5:21: picgate.public_aliases[0]: \"http://x/?a\" holds a query (`?…`), and paths are put behind it",
        ),
        (
            "public_aliases: [ \"http://me:hunter2@x\" ]",
            "5:21: picgate.public_aliases[0]: the value holds a user name or password, which does not belong in a URL",
        ),
        // Secrets.
        ("keys: [ { name: a } ]", "5:11: picgate.keys[0].key: is missing"),
        ("keys: [ { name: a, key: \"\" } ]", "5:27: picgate.keys[0].key: is empty"),
        ("keys: [ { name: a, key: \"${EMPTY}\" } ]", "5:27: picgate.keys[0].key: is empty: its variable holds nothing"),
        (
            "keys: [ { name: a, key: \"file:secrets/empty\" } ]",
            "5:27: picgate.keys[0].key: is empty: its file holds nothing",
        ),
        (
            "keys: [ { name: a, key: \"file:none\" } ]",
            "5:27: picgate.keys[0].key: the file \"none\" cannot be read: No such file or directory (os error 2)",
        ),
        (
            "keys: [ { name: a, key: \"${UNSET}\" } ]",
            "5:27: picgate.keys[0].key: the environment variable UNSET is not set",
        ),
        (
            "keys: [ { name: a, key: \"${PICGATE_KEY\" } ]",
            "5:27: picgate.keys[0].key: has a `${` without its `}` (write `$${` for the two characters themselves)",
        ),
        (
            "keys: [ { name: a, key: 12345678901234567890 } ]",
            "5:27: picgate.keys[0].key: must be text: put it in quotes",
        ),
        (
            "keys: [ { name: a, key: \" sk-0123456789abcdef\" } ]",
            "5:27: picgate.keys[0].key: begins or ends with a space, or holds a line break: no header can carry it",
        ),
        (
            "keys: [ { name: a, key: 0123456789abcdefg }, { name: b, key: 0123456789abcdefg } ]",
            "5:64: picgate.keys[1].key: is the same as the key of \"a\"",
        ),
        (
            "keys: [ { name: a, key: 0123456789abcdefg }, { name: a, key: x123456789abcdefg } ]",
            "5:56: picgate.keys[1].name: \"a\" is taken by an earlier entry",
        ),
        (
            "keys: [ { name: a, key: 0123456789abcdefg, images: png } ]",
            "5:54: picgate.keys[0].images: \"png\" is not one of url, b64_json, both, as_asked",
        ),
        (
            "keys: [ { name: a, key: 0123456789abcdefg, images_force: true } ]",
            "5:60: picgate.keys[0].images_force: forces a form, but `images` names none",
        ),
        // Models.
        ("models: []", "5:11: picgate.models: is empty: leave it out to send every model to the first upstream"),
        ("models: [ { name: a } ]", "5:13: picgate.models[0].targets: is missing"),
        ("models: [ { name: a, targets: [] } ]", "5:33: picgate.models[0].targets: is empty: at least one is needed"),
        (
            "models: [ { name: a, targets: [ { model: b } ] } ]",
            "5:35: picgate.models[0].targets[0].upstream: is missing",
        ),
        (
            "models: [ { name: a, targets: [ { upstream: opnai } ] } ]",
            "5:47: picgate.models[0].targets[0].upstream: \"opnai\" is no upstream; did you mean \"openai\"?",
        ),
        (
            "models: [ { name: a, targets: [ { upstream: x } ] } ]",
            "5:47: picgate.models[0].targets[0].upstream: \"x\" is no upstream; there are: openai",
        ),
        (
            "models: [ { name: \"gpt-*\", targets: [ { upstream: openai } ] } ]",
            "5:21: picgate.models[0].name: \"gpt-*\" is no pattern: only \"*\" alone stands for every other name",
        ),
        (
            "models: [ { name: a, targets: [ { upstream: openai } ], accepts_response_format: yes } ]",
            "5:84: picgate.models[0].accepts_response_format: \"yes\" is neither true nor false",
        ),
        (
            "models: [ { name: a, targets: [ { upstream: openai } ], images: { chat: b64_json } } ]",
            "5:75: picgate.models[0].images.chat: \"b64_json\" is not one of url, as_upstream",
        ),
        (
            "models: [ { name: a, targets: [ { upstream: openai } ], image: { chat: url } } ]",
            "5:59: picgate.models[0].image: unknown key; did you mean `images`?",
        ),
        // Values.
        (
            "images: { responses: as_upstream }",
            "5:24: picgate.images.responses: \"as_upstream\" is not one of b64_json, url",
        ),
        (
            "images: { on_disconnect: Finish }",
            "5:28: picgate.images.on_disconnect: \"Finish\" is not one of finish, abort",
        ),
        ("images: { heartbeat: 15s }", "5:24: picgate.images.heartbeat: must be a map, not text"),
        (
            "images: { heartbeat: { sse: 15 } }",
            "5:31: picgate.images.heartbeat.sse: 15 has no unit: write 15s, 10m, 72h or 30d, or off",
        ),
        ("images: { history: { images: -1 } }", "5:32: picgate.images.history.images: -1 is no whole number from 0"),
        (
            "images: { max_input_pixels: 4MP }",
            "5:31: picgate.images.max_input_pixels: \"4MP\" is no whole number from 0",
        ),
        (
            "fetch: { allow: [ 10.0.0.0/99 ] }",
            "5:21: picgate.fetch.allow[0]: \"10.0.0.0/99\" is no network: write it as 10.0.0.0/8, fd00::/8 or 192.168.1.20",
        ),
        ("fetch: { ports: [ 0 ] }", "5:21: picgate.fetch.ports[0]: 0 is no port: write a number from 1 to 65535"),
        (
            "fetch: { ports: [ 65536 ] }",
            "5:21: picgate.fetch.ports[0]: 65536 is no port: write a number from 1 to 65535",
        ),
        ("fetch: { max_bytes: 20MB }", "5:23: picgate.fetch.max_bytes: \"20MB\" is no size: write 20MiB"),
        ("fetch: { timeout: off }", "5:21: picgate.fetch.timeout: \"off\" is no duration: write 15s, 10m, 72h or 30d"),
        ("store: { durability: disk }", "5:24: picgate.store.durability: \"disk\" is not one of power, process"),
        (
            "store: { memory_cache: 1.5GiB }",
            "5:26: picgate.store.memory_cache: \"1.5GiB\" is no size: write 0, plain bytes, or a number with KiB, MiB or GiB",
        ),
        (
            "store: { min_free: -5 }",
            "5:22: picgate.store.min_free: -5 is no size: write 0, plain bytes, or a number with KiB, MiB or GiB",
        ),
        (
            "store: { retention: forever }",
            "5:23: picgate.store.retention: \"forever\" is no duration: write 15s, 10m, 72h or 30d, or never",
        ),
        (
            "archive: { kind: gcs, endpoint: \"http://s3\", bucket: b, access_key_id: a, secret_access_key: b }",
            "5:20: picgate.archive.kind: \"gcs\" is not one of s3",
        ),
        (
            "images: { variants: { sizes: [ 256, 0 ] } }",
            "5:39: picgate.images.variants.sizes[1]: 0 is not from 1 to 16384",
        ),
        (
            "images: { variants: { formats: [ gif ] } }",
            "5:36: picgate.images.variants.formats[0]: \"gif\" is not one of jpeg, png, webp, avif",
        ),
        (
            "images: { variants: { qualities: [] } }",
            "5:36: picgate.images.variants.qualities: is empty: name at least one quality",
        ),
        (
            "images: { signing_keys: [ short ] }",
            "5:29: picgate.images.signing_keys[0]: is short: fewer than 32 characters can be guessed",
        ),
        (
            "models: [ { name: a, targets: [ { upstream: openai } ], images: { access: signed } } ]",
            "5:69: picgate.models[0].images.access: unknown key; known here: response_format, chat, responses, heartbeat, \
             on_disconnect, history, markdown, max_input_pixels",
        ),
        (
            "limits: { pixel_threads: 1000 }",
            "5:28: picgate.limits.pixel_threads: 1000 is more than 256, which is more than any machine can use",
        ),
        (
            "archive: { prefix: /a, endpoint: \"http://s3\", bucket: b, access_key_id: a, secret_access_key: b }",
            "5:22: picgate.archive.prefix: \"/a\" holds an empty folder name: write a/b/ without a slash at the start or two in a row",
        ),
        (
            "limits: { request_body: 0 }",
            "5:27: picgate.limits.request_body: 0 would let nothing through, and there is no unlimited: write a size",
        ),
        ("limits: { images_per_answer: 0 }", "5:32: picgate.limits.images_per_answer: 0 is no whole number from 1"),
        (
            "limits: { header_timeout: 0s }",
            "5:29: picgate.limits.header_timeout: \"0s\" is no time at all: write 15s, 10m, 72h or 30d",
        ),
        // What a variable held is never shown.
        (
            "store: { ttl: \"${BAD}\" }",
            "5:17: picgate.store.ttl: \"${BAD}\" is no duration: write 15s, 10m, 72h or 30d, or never",
        ),
        (
            "public_aliases: [ \"${BAD}\" ]",
            "5:21: picgate.public_aliases[0]: \"${BAD}\" is no URL (relative URL without a base): write http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]",
        ),
    ] {
        let found = problems(&with(lines));
        if found != [expected] {
            differing.push(format!("{lines}\n  {}\n  {expected}", found.join("\n  ")));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn what_is_needed_is_missed() {
    for (text, expected) in [
        ("version: 1\n", vec!["1:1: picgate: is missing"]),
        ("- a\n", vec!["1:1: must be a map, not a list"]),
        ("picgate: yes\n", vec!["1:10: picgate: must be a map, not text"]),
        ("picgate:\n  admin:\n", vec!["2:3: picgate.upstreams: is missing: at least one is needed"]),
        ("picgate:\n  upstreams: []\n", vec!["2:14: picgate.upstreams: is empty: at least one is needed"]),
        (
            "picgate:\n  upstreams: [ {} ]\n",
            vec!["2:16: picgate.upstreams[0].name: is missing", "2:16: picgate.upstreams[0].base_url: is missing"],
        ),
        (
            "picgate:\n  upstreams: [ { name: a, kind: azure, base_url: x, api_key: \"sk-é\" } ]\n",
            vec![
                "2:33: picgate.upstreams[0].kind: \"azure\" is not one of openai",
                "2:50: picgate.upstreams[0].base_url: \"x\" is no URL (relative URL without a base): write http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]",
                "2:62: picgate.upstreams[0].api_key: holds a character that no header can carry",
            ],
        ),
        (
            "picgate:\n  upstreams:\n    - name: a\n      base_url: http://a/v1\n      headers: { Host: x, Authorization: x, \"a b\": x }\n      pass_headers: [ cookie, x-*, \"x y\" ]\n",
            vec![
                "5:24: picgate.upstreams[0].headers.Host: is set by the gateway itself",
                "5:42: picgate.upstreams[0].headers.Authorization: is set by `api_key`",
                "5:52: picgate.upstreams[0].headers.a b: is no header's name",
                "6:23: picgate.upstreams[0].pass_headers[0]: \"cookie\" means `cookie`, which never passes",
                "6:31: picgate.upstreams[0].pass_headers[1]: \"x-*\" means `x-request-id`, which never passes",
                "6:36: picgate.upstreams[0].pass_headers[2]: \"x y\" is no header's name, with or without a `*` at its end",
            ],
        ),
        (
            "daemon: true\npicgate: { upstreams: [ { name: a, base_url: \"http://a/v1\" } ] }\n",
            vec![
                "1:9: daemon: picgate cannot go to the background by itself, because it starts threads and opens its index before Pingora forks: use a service manager",
            ],
        ),
        (&with("metrics: on"), vec!["5:12: picgate.metrics: must be a map or off, not text"]),
        (
            &with("archive: {}"),
            vec![
                "5:12: picgate.archive.endpoint: is missing",
                "5:12: picgate.archive.bucket: is missing",
                "5:12: picgate.archive.access_key_id: is missing",
                "5:12: picgate.archive.secret_access_key: is missing",
            ],
        ),
        ("picgate: [\n", vec!["2:1: is not valid YAML: while parsing a node, did not find expected node content"]),
    ] {
        assert_eq!(problems(text), expected, "{text}");
    }
}

/// One mistake in each of its lines that begins with `!`.
const FIFTEEN: &str = r#"
  version: 1
! daemon: true
  picgate:
!   listne: []
!   metrics: { addr: localhost }
!   public_base_url: pictures.example.org
    keys:
!     - { name: a, key: "${UNSET_KEY}" }
!     - { name: a, key: "0123456789abcdef" }
!     - { name: b, key: "0123456789abcdef" }
    upstreams:
!     - { name: openai, kind: openapi, base_url: "https://api.openai.com/v1" }
      - { name: local, base_url: "http://127.0.0.1:1/v1" }
    models:
!     - { name: x, targets: [ { upstream: locale } ] }
!   images: { response_format: base64 }
!   fetch: { max_bytes: 20MB }
    store:
!     ttl: 72x
      min_free: 1GiB
!     min_free: 2GiB
!   limits: { upstream_timeout: 600 }
!   images: { chat: url }
"#;

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_their_lines() {
    let marked: Vec<usize> =
        FIFTEEN.lines().enumerate().filter(|(_, line)| line.starts_with('!')).map(|(i, _)| i + 1).collect();
    assert_eq!(marked.len(), 15);
    let text: String = FIFTEEN.lines().map(|line| format!("{}\n", line.get(2..).unwrap_or_default())).collect();
    let found = problems(&text);
    let lines: Vec<usize> = found.iter().map(|line| line.split(':').next().unwrap().parse().unwrap()).collect();
    assert_eq!(lines, marked, "{found:#?}");
    assert!(!found.join("\n").contains("0123456789abcdef"));
}

#[test]
fn no_damage_to_a_file_goes_without_a_sentence_or_panics() {
    let text = include_str!("../../../conf/picgate.yaml");
    let text: Vec<char> =
        text.lines().filter(|line| !line.trim().starts_with('#')).flat_map(|l| l.chars().chain(['\n'])).collect();
    let folder = super::folder();
    // A stride that is prime meets every kind of place and keeps the test short.
    for at in (0..text.len()).step_by(13) {
        let (before, after) = text.split_at(at);
        let cut: String = before.iter().collect();
        let without: String = before.iter().chain(&after[1..]).collect();
        let with = |c: char| -> String { before.iter().chain([&c]).chain(after).collect() };
        for damaged in [cut, without, with('"'), with('\n'), with('{'), with('*'), with('\u{e000}')] {
            if let Err(problems) = super::Config::parse(&damaged, folder.path(), &super::env) {
                assert!(!problems.problems.is_empty(), "{damaged}");
                assert!(!problems.to_string().contains("0123456789"), "{problems}");
            }
        }
    }
}

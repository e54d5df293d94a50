//! The configuration as a whole: what a good file resolves to, and what is said of every bad one.

mod bad;
mod documentation;
mod good;

use super::{Config, Loaded, Problems};

/// A folder as configuration files are found in: `tls/cert.pem`, `tls/key.pem`, `secrets/openai` …
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("tls/cert.pem", "-----BEGIN CERTIFICATE-----"),
        ("tls/key.pem", "-----BEGIN PRIVATE KEY-----"),
        ("secrets/openai", "sk-from-a-file\r\n"),
        ("secrets/open-webui", "key-from-a-file-1234\n"),
        ("secrets/signing", "signing-key-0123456789abcdef0123456789\n"),
        ("secrets/empty", "\n"),
    ] {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// Variables that are set in every test.
fn env(name: &str) -> Option<String> {
    let value = match name {
        "PICGATE_KEY" => "client-key-0123456789",
        "OPENAI_API_KEY" => "sk-upstream-0123456789",
        "R2_ACCESS_KEY_ID" => "r2-id-0123456789",
        "R2_SECRET_ACCESS_KEY" => "r2-secret-0123456789",
        "S3_ACCESS_KEY_ID" => "s3-id-0123456789",
        "S3_SECRET_ACCESS_KEY" => "s3-secret-0123456789",
        "PORT" => "7000",
        "EMPTY" => "",
        "BAD" => "hunter2-not-to-be-shown",
        _ => return None,
    };
    Some(value.to_owned())
}

fn parse(text: &str) -> Result<Loaded, Problems> {
    let folder = folder();
    Config::parse(text, folder.path(), &env)
}

/// A file with these lines under `picgate:`, after an upstream and a public URL (lines 2 to 4).
fn with(lines: &str) -> String {
    let mut text = String::from(
        "picgate:\n  public_base_url: http://localhost:5643\n  upstreams:\n    - { name: openai, base_url: \"https://api.openai.com/v1\" }\n",
    );
    for line in lines.lines() {
        text.push_str("  ");
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[track_caller]
fn config(text: &str) -> Config {
    match parse(text) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{problems}\n---\n{text}"),
    }
}

#[track_caller]
fn problems(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => panic!("nothing wrong with\n{text}"),
        Err(problems) => problems.problems.iter().map(ToString::to_string).collect(),
    }
}

#[track_caller]
fn warnings(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
        Err(problems) => panic!("{problems}\n---\n{text}"),
    }
}

#[test]
fn a_file_is_named_in_its_problems() {
    let folder = folder();
    let path = folder.path().join("picgate.yaml");
    std::fs::write(&path, with("store: { ttl: 72x }")).unwrap();
    let problems = Config::load(&path).unwrap_err().to_string();
    let line = "5:17: picgate.store.ttl: \"72x\" is no duration: write 15s, 10m, 72h or 30d, or never";
    assert_eq!(problems, format!("{}:{line}", path.display()));

    std::fs::write(&path, with("keys: [ { name: me, key: \"file:secrets/open-webui\" } ]\nstore: { ttl: 72h }"))
        .unwrap();
    let loaded = Config::load(&path).unwrap();
    assert_eq!(loaded.config.keys[0].key.expose(), "key-from-a-file-1234");
    assert!(loaded.warnings[0].to_string().starts_with(&format!("{}:6:17: picgate.store.ttl: ", path.display())));

    let none = folder.path().join("none.yaml");
    let problems = Config::load(&none).unwrap_err().to_string();
    assert!(problems.starts_with(&format!("{}: cannot be read: ", none.display())), "{problems}");
}

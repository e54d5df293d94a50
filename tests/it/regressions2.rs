//! Faults that were there once. Each test names what went wrong.

use crate::process::{picgate, run};

/// 1: of a mistake in Pingora's own settings only the file was told, not what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn regression_1_a_mistake_in_pingoras_settings_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("picgate.yaml");
    let text = "version: 1
threads: many
picgate:
  public_base_url: http://127.0.0.1:5643
  keys: [ { name: a, key: a-secret-0123456789 } ]
  upstreams: [ { name: x, kind: openai, base_url: \"http://127.0.0.1:1/v1\" } ]
";
    std::fs::write(&file, text).unwrap();
    let (code, _, stderr) = run(picgate(&["check", "-c", file.to_str().unwrap()])).await;
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("threads: invalid type: string \"many\""), "{stderr}");
    assert!(!stderr.contains("a-secret"), "{stderr}");
}

//! `picgate store verify` and `picgate store rebuild`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{
    binary::{KEY, Site},
    process::{client, picgate, run},
};

async fn store(site: &Site, arguments: &[&str]) -> (Option<i32>, String, String) {
    let file = site.path("picgate.yaml");
    let mut command = picgate(&[&["store"], arguments, &["-c", &file]].concat());
    command.env("UPSTREAM_KEY", "sk-upstream");
    run(command).await
}

async fn generate(site: &Site, prompt: &str) -> PathBuf {
    let body = json!({ "model": "demo-image", "prompt": prompt, "size": "64x64" }).to_string();
    let request = client().post(site.url("/v1/images/generations")).bearer_auth(KEY);
    let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let name = answer["data"][0]["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    Path::new("images").join(&name[..2]).join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_beside_a_running_gateway_finds_and_mends() {
    let site = Site::with_key().await;
    let _process = site.run().await;
    let path = generate(&site, "a cat").await;
    generate(&site, "a dog").await;
    let (code, stdout, stderr) = store(&site, &["verify"]).await;
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.starts_with("2 pictures ("), "{stdout}");

    let data = PathBuf::from(site.path("data"));
    let mut bytes = std::fs::read(data.join(&path)).unwrap();
    bytes[100] ^= 1;
    std::fs::write(data.join(&path), bytes).unwrap();
    let (code, stdout, stderr) = store(&site, &["verify"]).await;
    assert_eq!(code, Some(1));
    let finding = format!("damaged: {}: its bytes are not those of its name", path.display());
    assert!(stdout.contains(&finding), "{stdout}");
    assert!(stderr.contains("1 findings; --repair mends what can be mended"), "{stderr}");

    let (code, stdout, stderr) = store(&site, &["verify", "--repair"]).await;
    assert_eq!(code, Some(1));
    assert!(stdout.contains(&format!("{finding}; now in damaged/")), "{stdout}");
    assert!(stderr.contains("1 findings, 1 of them mended"), "{stderr}");
    assert!(data.join("damaged").join(path.file_name().unwrap()).exists());

    // There is no other copy here; but the demo draws the same again.
    let (code, stdout, _) = store(&site, &["verify"]).await;
    assert_eq!(code, Some(1));
    assert!(stdout.contains("lost: "), "{stdout}");
    assert_eq!(generate(&site, "a cat").await, path);
    assert_eq!(store(&site, &["verify"]).await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuild_wants_the_gateway_stopped() {
    let site = Site::with_key().await;
    let mut process = site.run().await;
    generate(&site, "a cat").await;
    let (code, stdout, stderr) = store(&site, &["rebuild"]).await;
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("a running gateway has the index: stop it first"), "{stderr}");

    process.signal("TERM");
    process.exit().await;
    let (code, stdout, stderr) = store(&site, &["rebuild"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("1 pictures, 1 of them here"), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_was_ever_kept_both_say_so() {
    let site = Site::with_key().await;
    for command in ["verify", "rebuild"] {
        let (code, stdout, stderr) = store(&site, &[command]).await;
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{command}");
        assert!(stderr.contains("opening images/ under data_dir: No such file"), "{stderr}");
        assert!(!Path::new(&site.path("data")).exists());
    }
}

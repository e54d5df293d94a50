//! Other users of the machine are kept out of the gateway's files.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, chown},
    path::Path,
    process::Command,
};

use crate::{
    binary::{KEY, Site, generate, mode, set_mode},
    process::{Process, run},
    starting::is_root,
};

/// Everything under a folder, with its mode.
fn modes(folder: &Path, all: &mut Vec<(String, u32)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        all.push((path.display().to_string(), mode(&path)));
        if path.is_dir() {
            modes(&path, all);
        }
    }
}

/// Regression 10.4: whatever the umask, and whatever an earlier version has made.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_makes_is_for_its_own_user() {
    let site = Site::new("  images: { access: signed }\n").await;
    let run_with = |umask: &str| {
        let mut shell = Command::new("sh");
        let command =
            format!("umask {umask}; exec {} run -c {}", env!("CARGO_BIN_EXE_picgate"), site.path("picgate.yaml"));
        shell.args(["-c", &command]).env("UPSTREAM_KEY", "sk-upstream").env_remove("RUST_LOG");
        shell
    };
    let mut key = String::new();
    for before in [None, Some(0o755), Some(0o2777)] {
        if let Some(before) = before {
            set_mode(site.path("data"), before);
            set_mode(site.path("data/run"), 0o755);
            set_mode(site.path("data/index"), 0o755);
            set_mode(site.path("data/index/db"), 0o644);
            set_mode(site.path("data/state/keys.json"), 0o644);
        }
        let mut process = Process::start(&mut run_with("000"));
        process.answers(&site.url("/readyz")).await;
        if before.is_none() {
            key = process.says("pg-").split_whitespace().find(|word| word.starts_with("pg-")).unwrap().to_owned();
        }
        assert_eq!(generate(site.url(""), key.clone(), "a fox".into()).await.unwrap().0, 200);
        let data = site.path("data");
        assert_eq!(mode(&data), 0o700);
        let mut all = Vec::new();
        modes(Path::new(&data), &mut all);
        for name in ["state/keys.json", "state/signing_keys.json", "index/db", "run/picgate.pid"] {
            assert!(all.iter().any(|(path, _)| path.ends_with(name)), "no {name} in {all:?}");
        }
        for (path, mode) in &all {
            // A process id is no secret, and its folder is shut.
            let shut = mode & 0o077 == 0 || path.ends_with("picgate.pid");
            assert!(shut, "{path} has mode {mode:o}");
        }
        process.signal("TERM");
        assert_eq!(process.exit().await, Some(0), "{}", process.stderr());
        assert!(!process.stderr().contains("may be used by other users"), "{}", process.stderr());
    }
}

/// Regression 10.4: a socket or pid file where others could be first refuses the start, and says how to mend it.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_folder_for_the_processes_own_files_is_refused() {
    for (key, folder_mode, is_refused) in [
        ("upgrade_sock", 0o1777, true),
        ("upgrade_sock", 0o755, true),
        ("upgrade_sock", 0o711, true),
        ("upgrade_sock", 0o770, true),
        ("upgrade_sock", 0o700, false),
        ("pid_file", 0o1777, true),
        ("pid_file", 0o775, true),
        ("pid_file", 0o755, false),
        ("pid_file", 0o700, false),
    ] {
        let site = Site::with_key().await;
        let folder = site.path("shared");
        fs::create_dir(&folder).unwrap();
        set_mode(&folder, folder_mode);
        site.change("version: 1", &format!("version: 1\n{key}: {folder}/file"));
        if !is_refused {
            assert_eq!(run(site.command("check")).await.0, Some(0));
            let mut process = site.run().await;
            process.signal("TERM");
            assert_eq!(process.exit().await, Some(0));
            continue;
        }
        for command in ["check", "run"] {
            let (code, stdout, stderr) = run(site.command(command)).await;
            assert_eq!((code, stdout.as_str()), (Some(2), ""), "{key} {folder_mode:o}: {stderr}");
            for word in [&format!("{key}: {folder}/file is refused"), "data_dir/run", "mode 0700"] {
                assert!(stderr.contains(word), "no {word} in {stderr}");
            }
        }
    }
}

/// Regression 10.4: a volume that an orchestrator has made belongs to another user. It is left, with a warning.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_dir_of_another_user_is_left_with_a_warning() {
    if !is_root() {
        return println!("skipped: only root can give folders away");
    }
    let site = Site::with_key().await;
    let data = site.path("data");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(65534), Some(65534)).unwrap();
    set_mode(&data, 0o2775);
    let mut process = site.run().await;
    process.logs(
        "may be used by other users of this machine (mode 2775) and is left so, since it belongs to another user",
    );
    assert_eq!(mode(&data), 0o2775);
    let folder = fs::metadata(site.path("data/run")).unwrap();
    assert_eq!((folder.uid(), folder.mode() & 0o777), (0, 0o700));
    assert_eq!(generate(site.url(""), KEY.into(), "a fox".into()).await.unwrap().0, 200);
    process.signal("TERM");
    assert_eq!(process.exit().await, Some(0));

    // `run` of another user is no place for the socket.
    chown(site.path("data/run"), Some(65534), None).unwrap();
    let (code, _, stderr) = run(site.command("run")).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("upgrade_sock: ") && stderr.contains("belongs to another user (uid 65534)"), "{stderr}");
}

/// Regression 10.4: the socket of a hand-over can be reached by its own user only, also while it waits.
#[tokio::test(flavor = "multi_thread")]
async fn the_socket_of_a_hand_over_is_out_of_reach() {
    let site = Site::with_key().await;
    let _old = site.run().await;
    let new = Process::start(site.command("run").arg("--upgrade"));
    new.logs("waiting for the running gateway");
    let socket = fs::metadata(site.path("data/run/upgrade.sock")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.mode() & 0o077, 0, "{:o}", socket.mode());
    assert_eq!(mode(site.path("data/run")), 0o700);
    assert_eq!(mode(site.path("data")), 0o700);
}

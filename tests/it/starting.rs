//! What makes a start impossible is told by `check`, and by `run` before anybody can connect.

use std::process::Command;

use picgate::{
    gateway::{
        server::{self, ServerSettings},
        sockets::Sockets,
    },
    vital,
};

use crate::{
    binary::{KEY, Site},
    process::{Process, free_port, picgate, run},
};

/// Regression 10.13: a certificate pair that cannot work left a live process that served nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_cannot_work_refuses_the_start() {
    let make = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (one, other) = (make(), make());
    let (cert, key) = (one.cert.pem(), one.signing_key.serialize_pem());
    for (cert, key, word) in [
        (cert.as_str(), other.signing_key.serialize_pem(), "listen[1].tls.key: "),
        ("garbage", key.clone(), "listen[1].tls.cert: "),
        (&cert, key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), "is encrypted"),
        (&cert, String::new(), "holds no private key"),
    ] {
        let (plain, tls) = (free_port(), free_port());
        let site = Site::new(&format!(
            "  keys: [ {{ name: test, key: {KEY} }} ]
  listen:
    - {{ addr: \"127.0.0.1:{plain}\" }}
    - {{ addr: \"127.0.0.1:{tls}\", tls: {{ cert: cert.pem, key: key.pem }} }}
"
        ))
        .await;
        std::fs::write(site.path("cert.pem"), cert).unwrap();
        std::fs::write(site.path("key.pem"), key).unwrap();
        for command in ["check", "run"] {
            let (code, stdout, stderr) = run(site.command(command)).await;
            assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
            assert!(stderr.contains(word) && stderr.contains(&site.path("picgate.yaml")), "no {word} in {stderr}");
            assert!(!stderr.contains("panicked") && !stderr.contains(" listens"), "{stderr}");
        }
        assert!(!std::path::Path::new(&site.path("data")).exists(), "nothing is touched before all of it is tried");
    }
}

/// Regression 10.13: Pingora would panic over these, most of them in a service.
#[tokio::test(flavor = "multi_thread")]
async fn settings_of_pingoras_that_cannot_work_refuse_the_start() {
    for (line, word) in [
        ("threads: 0", "threads: must be 1 or more"),
        ("listener_tasks_per_fd: 0", "listener_tasks_per_fd: must be 1 or more"),
        ("client_bind_to_ipv4: [ here ]", "client_bind_to_ipv4: \"here\" is no IP address"),
        ("ca_file: /nowhere/ca.pem", "ca_file: /nowhere/ca.pem: cannot be read"),
        ("max_blocking_threads: 0", "max_blocking_threads must be greater than zero"),
    ] {
        let site = Site::with_key().await;
        site.change("version: 1", &format!("version: 1\n{line}"));
        for command in ["check", "run"] {
            let (code, _, stderr) = run(site.command(command)).await;
            assert_eq!(code, Some(2), "{line}: {stderr}");
            assert!(stderr.contains(word) && !stderr.contains("panicked"), "{line}: {stderr}");
        }
    }
}

/// A first key is shown only once, so it is made only when nothing else can fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_makes_no_key() {
    let site = Site::new("").await;
    let port: u16 = site.url("").rsplit(':').next().unwrap().parse().unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert_eq!(run(site.command("run")).await.0, Some(1));
    drop(taken);
    site.run().await.says("pg-");
}

/// `check` is run beside a gateway, and by whoever deploys: neither ports nor other users' folders are its business.
#[tokio::test(flavor = "multi_thread")]
async fn check_passes_beside_a_running_gateway_and_for_another_user() {
    let site = Site::with_key().await;
    let _gateway = site.run().await;
    assert_eq!(run(site.command("check")).await.0, Some(0));
    if !is_root() {
        return println!("skipped: only root can be another user");
    }
    use std::os::unix::process::CommandExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("picgate.yaml");
    std::fs::copy(site.path("picgate.yaml"), &file).unwrap();
    crate::binary::set_mode(folder.path(), 0o755);
    crate::binary::set_mode(&file, 0o644);
    let binary = folder.path().join("picgate");
    // By another process: one that another test starts just now would have our file open for writing, and then it cannot
    // be run.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_picgate")).arg(&binary).status().unwrap().success());
    let mut command = Command::new(binary);
    command.args(["check", "-c", file.to_str().unwrap()]).env("UPSTREAM_KEY", "sk-upstream").uid(65534).gid(65534);
    let (code, _, stderr) = run(command).await;
    assert_eq!(code, Some(0), "{stderr}");
    let (code, ..) = run(picgate(&["check", "-c", file.to_str().unwrap()])).await;
    assert_eq!(code, Some(2), "without UPSTREAM_KEY: references are errors");
}

/// The exit code of a process in which a part has died.
const DIED: i32 = 17;

/// What dies in [`a_process_whose_part_dies`].
const PART: &str = "PICGATE_TEST_PART";

/// Regression 10.13: a process that has lost a part ends with an error, instead of looking alive.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_dies_ends_the_process_with_an_error() {
    for (part, word) in [
        ("panics", "the service BG part has panicked"),
        ("ends", "the service BG part has ended"),
        ("thread", "the thread part has panicked"),
        ("listener", "the service metrics has panicked"),
    ] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "starting::a_process_whose_part_dies", "--ignored", "--nocapture"]).env(PART, part);
        let mut process = Process::start(&mut command);
        let code = process.exit().await;
        process.says(word);
        assert_eq!(code, Some(DIED), "{part}: {}{}", process.stdout(), process.stderr());
    }
}

#[test]
#[ignore = "a process of its own, for the test above"]
fn a_process_whose_part_dies() {
    let Ok(part) = std::env::var(PART) else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = "grace_period_seconds: 0\ngraceful_shutdown_timeout_seconds: 0";
    let settings = ServerSettings::read(settings, folder.path()).unwrap();
    // It would be bound by Pingora, but is in use: a listener that cannot be built.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets = Sockets::bind_free([taken.local_addr().unwrap()]);
    let closed = std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    sockets.inherit(vec![(taken.local_addr().unwrap().to_string(), closed)]).unwrap();
    let mut process = server::Process::new(settings, sockets);
    process.add(server::task("well", |mut shutdown| async move { shutdown.requested().await }));
    if part == "listener" {
        process.add(server::metrics(prometheus::Registry::new(), taken.local_addr().unwrap()));
    } else {
        process.add(server::task("part", move |mut shutdown| {
            let part = part.clone();
            async move {
                match part.as_str() {
                    "panics" => panic!("a test's panic"),
                    "ends" => return,
                    _ => drop(vital::thread("part", || panic!("a test's panic")).unwrap()),
                }
                shutdown.requested().await;
            }
        }));
    }
    if let Err(why) = process.run(std::future::pending()) {
        println!("{why}");
        std::process::exit(DIED);
    }
}

pub fn is_root() -> bool {
    Command::new("id").arg("-u").output().unwrap().stdout == b"0\n"
}

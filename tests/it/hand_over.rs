//! Hand-overs: another process takes the place of the running one, or nothing changes.

use std::{process::Command, sync::Arc};

use crate::{
    binary::{KEY, Site, generate},
    load::{Dice, Kind, Load, Outcome, Seen, all_there},
    process::{Process, free_port, get, run},
};

const KINDS: &[Kind] = &[Kind::Small, Kind::Picture, Kind::Models, Kind::Stream];

/// A process that is no child of ours. It is killed when dropped.
struct Stranger(u32);

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "KILL", &self.0.to_string()]).status();
    }
}

/// The process that the pid file names.
fn named(site: &Site) -> u32 {
    std::fs::read_to_string(site.path("data/run/picgate.pid")).unwrap().parse().unwrap()
}

async fn serves(site: &Site) {
    assert_eq!(generate(site.url(""), KEY.into(), "a fox".into()).await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_does_it_all_and_reports() {
    let site = Site::with_key().await;
    let mut old = site.run().await;
    assert_eq!(named(&site), old.id());
    let running = site.generation("a fox delay:2s").await;
    let (code, stdout, stderr) = run(site.command("upgrade")).await;
    assert_eq!(code, Some(0), "{stderr}");
    let new = Stranger(named(&site));
    let report = format!("process {} serves now; process {} answers what it has and ends\n", new.0, old.id());
    assert_eq!(stdout, report, "{stderr}");
    assert_eq!(running.await.unwrap().unwrap().0, 200);
    assert_eq!(old.exit().await, Some(0), "{}", old.stderr());
    serves(&site).await;
    // It logs to where the process before did.
    old.logs("the index can be used again");

    // Once more, from a process that nobody has started but `upgrade`.
    let (code, stdout, stderr) = run(site.command("upgrade")).await;
    assert_eq!(code, Some(0), "{stderr}");
    let newest = Stranger(named(&site));
    assert!(stdout.contains(&format!("process {} serves now; process {} ", newest.0, new.0)), "{stdout}");
    old.logs_times("the index can be used again", 2);
    serves(&site).await;
}

/// Regression 10.14: whatever is wrong, the running gateway goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_cannot_be_done_changes_nothing() {
    let site = Site::with_key().await;
    let mut old = site.run().await;
    let file = site.path("picgate.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("{{ addr: \"{}\" }}, ", taken.local_addr().unwrap());
    std::fs::write(site.path("cert.pem"), "garbage").unwrap();
    std::fs::write(site.path("key.pem"), "garbage").unwrap();
    let tls = format!("{{ addr: \"127.0.0.1:{}\", tls: {{ cert: cert.pem, key: key.pem }} }}, ", free_port());
    let shared = format!("upgrade_sock: /tmp/{}.sock\n", free_port());
    for (text, code, word) in [
        ("picgate: { nonsense".to_owned(), 2, "is not valid YAML"),
        (good.replace("keys:", "kees:"), 2, "did you mean `keys`?"),
        (good.replace("listen: [ ", &format!("listen: [ {tls}")), 2, "picgate.listen[0].tls.cert: "),
        (good.replace("listen: [ ", &format!("listen: [ {taken}")), 1, "cannot listen on"),
        (format!("{shared}{good}"), 2, "upgrade_sock: "),
        (good.replace("/data\n", "/other\n"), 1, "no gateway runs with this configuration"),
    ] {
        std::fs::write(&file, &text).unwrap();
        let (ended, stdout, stderr) = run(site.command("upgrade")).await;
        assert_eq!((ended, stdout.as_str()), (Some(code), ""), "{text}: {stderr}");
        assert!(stderr.contains(word), "no {word} in {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        serves(&site).await;
    }
    // By hand, with a file that is broken: the new process ends, and QUIT finds nobody.
    std::fs::write(&file, "picgate: { nonsense").unwrap();
    let mut new = Process::start(site.command("run").arg("--upgrade"));
    assert_eq!(new.exit().await, Some(2));
    old.signal("QUIT");
    old.logs("no hand-over, this process goes on: no process waits at");
    serves(&site).await;
    assert!(!old.has_ended());
    assert_eq!(named(&site), old.id());

    std::fs::write(&file, &good).unwrap();
    assert_eq!(run(site.command("upgrade")).await.0, Some(0));
    let _new = Stranger(named(&site));
    assert_eq!(old.exit().await, Some(0));
    serves(&site).await;
}

/// Regression 10.14: a successor that dies at any step leaves the running gateway as it was, and no request fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_dies_under_load_fails_nobody() {
    let site = Site::with_key().await;
    let mut old = site.run().await;
    let load = Load::start(&site.url(""), 4, KINDS, Dice::told().below(u64::MAX), Arc::new(Seen::default()));
    let more = async || load.seen.until(load.seen.times(Outcome::is_good) + 20, "good answers", Outcome::is_good).await;

    // Nobody is there.
    old.signal("QUIT");
    old.logs_times("no hand-over, this process goes on: no process waits at", 1);
    more().await;

    // It was killed while it waited.
    let mut new = Process::start(site.command("run").arg("--upgrade"));
    new.logs("waiting for the running gateway");
    new.signal("KILL");
    new.exit().await;
    old.signal("QUIT");
    old.logs_times("no hand-over, this process goes on: no process waits at", 2);
    more().await;

    // It has the sockets, and is killed before it serves.
    let mut new = Process::start(site.command("run").arg("--upgrade"));
    new.logs("waiting for the running gateway");
    new.signal("STOP");
    old.signal("QUIT");
    old.logs_times("QUIT: handing the listening sockets over", 3);
    more().await;
    new.signal("KILL");
    new.exit().await;
    old.logs_times("no hand-over, this process goes on: process", 1);
    more().await;

    let mut new = Process::start(site.command("run").arg("--upgrade"));
    new.logs("waiting for the running gateway");
    old.signal("QUIT");
    assert_eq!(old.exit().await, Some(0), "{}", old.stderr());
    more().await;
    let seen = load.stop().await;
    assert_eq!(seen.times(|outcome| !outcome.is_good()), 0, "{:?}\n{}", seen.outcomes(), old.stderr());
    all_there(seen.urls()).await;
    assert_eq!(named(&site), new.id());
    new.signal("TERM");
    assert_eq!(new.exit().await, Some(0));
}

/// Regression 10.14: a port that is taken after it was tried, too, leaves the running gateway as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_in_between_takes_no_sockets_along() {
    let site = Site::with_key().await;
    let mut old = site.run().await;
    let port = free_port();
    site.change("listen: [ ", &format!("listen: [ {{ addr: \"127.0.0.1:{port}\" }}, "));
    let mut new = Process::start(site.command("run").arg("--upgrade"));
    new.logs("waiting for the running gateway");
    // It is bound there, but listens only once it has the other sockets.
    let _listens = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    old.signal("QUIT");
    assert_eq!(new.exit().await, Some(1), "{}", new.stderr());
    let why = format!("cannot listen on 127.0.0.1:{port}: ");
    new.logs(&why);
    old.logs(&format!("no hand-over, this process goes on: process {} has given up: {why}", new.id()));
    assert!(!new.stderr().contains("panicked"), "{}", new.stderr());
    assert_eq!(get(site.url("/readyz")).await.status(), 200);
    serves(&site).await;
    assert!(!old.has_ended());
    assert_eq!(named(&site), old.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_adds_and_drops_listeners() {
    let site = Site::with_key().await;
    let (second, third) = (free_port(), free_port());
    site.change("listen: [ ", &format!("listen: [ {{ addr: \"127.0.0.1:{second}\" }}, "));
    let mut old = site.run().await;
    let readyz = |port: u16| format!("http://127.0.0.1:{port}/readyz");
    assert_eq!(get(readyz(second)).await.status(), 200);
    site.change(&second.to_string(), &third.to_string());
    let (code, _, stderr) = run(site.command("upgrade")).await;
    assert_eq!(code, Some(0), "{stderr}");
    let _new = Stranger(named(&site));
    assert_eq!(old.exit().await, Some(0));
    assert_eq!(get(readyz(third)).await.status(), 200);
    crate::binary::refuses_connections(second).await;
    serves(&site).await;
    assert_eq!(get(site.metrics_url()).await.status(), 200);
}

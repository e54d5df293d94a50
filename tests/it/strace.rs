//! What reaches the disk, in which order, as the kernel sees it.

use std::{collections::HashMap, path::Path, process::Command};

use crate::{
    binary::Site,
    load::{Dice, Kind, Seen, ask},
    process::{Process, client},
};

/// A call, and the lines of the trace on which it began and ended.
#[derive(Debug)]
struct Call {
    text: String,
    began: usize,
    ended: usize,
}

/// The calls in a trace of several threads, in the order of their ends.
fn calls(trace: &str) -> Vec<Call> {
    let mut open: HashMap<&str, (String, usize)> = HashMap::new();
    let mut calls = Vec::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((thread, text)) = text.split_once(char::is_whitespace) else { continue };
        let text = text.trim_start();
        if let Some(start) = text.strip_suffix("<unfinished ...>") {
            open.insert(thread, (start.to_owned(), line));
        } else if text.starts_with("<... ") {
            if let Some((text, began)) = open.remove(thread) {
                calls.push(Call { text, began, ended: line });
            }
        } else {
            calls.push(Call { text: text.to_owned(), began: line, ended: line });
        }
    }
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_leaves_when_its_picture_would_survive_a_power_cut() {
    let site = Site::with_key().await;
    let trace = site.path("trace");
    let traced = "trace=openat,rename,fdatasync,fsync,mkdir,sendto";
    let run = site.command("run");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "64", "-e", traced, "-o", &trace]).arg(run.get_program()).args(run.get_args());
    for (name, value) in run.get_envs() {
        value.map(|value| strace.env(name, value));
    }
    let Some(mut process) = Process::try_start(&mut strace) else { return println!("skipped: there is no strace") };
    let (seen, mut dice) = (Seen::default(), Dice::new(1));
    while !ask(&client(), &site.url(""), Kind::Large, &seen, &mut dice).await.is_good() {
        if process.has_ended() {
            return println!("skipped: strace may not trace here: {}", process.stderr());
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let url = seen.urls().pop_first().unwrap();
    let name = url.rsplit('/').next().unwrap().split('.').next().unwrap().to_owned();
    // strace passes no signals on; what it runs ends by the signal of its own name.
    let id = std::fs::read_to_string(site.path("data/run/picgate.pid")).unwrap();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    process.exit().await;

    let calls = calls(&std::fs::read_to_string(Path::new(&trace)).unwrap());
    let find = |what: &str, is: &dyn Fn(&str) -> bool| {
        calls.iter().find(|call| is(&call.text)).unwrap_or_else(|| panic!("no {what} in {calls:#?}"))
    };
    let renamed =
        |ext: &str| find("rename", &|text| text.starts_with("rename(") && text.contains(&format!("{name}.{ext}")));
    let (picture, record) = (renamed("png"), renamed("json"));
    let synced = |rename: &Call| {
        let from = rename.text.split('"').nth(1).unwrap().to_owned();
        find("fdatasync", &move |text| text.starts_with("fdatasync(") && text.contains(&from))
    };
    let is_sync_of = |text: &str, folder: &str| text.starts_with("fsync(") && text.contains(&format!("{folder}>"));
    let folder =
        calls.iter().rfind(|call| is_sync_of(&call.text, &format!("images/{}", &name[..2]))).expect("a folder");
    let parent = find("fsync of images/", &|text| is_sync_of(text, "data/images"));
    let answer =
        calls.iter().find(|call| call.began > picture.began && call.text.contains("HTTP/1.1 200")).expect("an answer");
    let order = [
        ("the picture is synced", synced(picture)),
        ("then its record", synced(record)),
        ("the shard's own name", parent),
        ("the picture gets its name", picture),
        ("then its record", record),
        ("the folder is synced", folder),
        ("and only then the answer leaves", answer),
    ];
    for pair in order.windows(2) {
        let [(first, before), (then, after)] = pair else { unreachable!() };
        assert!(before.ended < after.began, "{first}, {then}: {order:#?}");
    }
}

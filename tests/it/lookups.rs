//! Strangers' questions to the bucket: few, side by side, and no longer than they are waited for.

use futures_util::future::join_all;
use picgate::picture::PictureId;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    archiving::Place,
    harness::{
        PATIENCE,
        faults::Fault,
        until,
        wire::{Wire, post},
    },
};

/// Names that nobody has. What they have in common is `of` for a fault.
fn nobodys(of: &str, number: usize) -> String {
    let id = PictureId::of(&number.to_le_bytes()).to_string();
    format!("{of}{}", &id[of.len()..])
}

fn chat(origin: &str, ids: impl Iterator<Item = String>) -> Value {
    let text: String = ids.map(|id| format!("![a picture]({origin}/images/{id}.png)\n")).collect();
    json!({ "model": "demo-chat", "messages": [ { "role": "user", "content": text } ] })
}

/// Regression 10.9: a chat with 2000 URLs of ours asked the bucket 2000 times, one after another.
#[tokio::test(flavor = "multi_thread")]
async fn one_request_asks_the_bucket_a_few_times() {
    let place = Place::new("few/").await;
    let body = chat(&place.house.origin(), (0..2000).map(|number| nobodys("", number)));
    let answer = place.house.post("/v1/chat/completions", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(place.faults.count("GET", ".json"), 32);
    // Pictures in parts must be there: the first that is not ends the request.
    let parts: Vec<Value> = (5000..5100)
        .map(|number| format!("{}/images/{}.png", place.house.origin(), nobodys("", number)))
        .map(|url| json!({ "type": "image_url", "image_url": { "url": url } }))
        .collect();
    place.house.chat(json!([ { "role": "user", "content": parts } ])).await.error(400, "image_expired");
    assert!(place.faults.count("GET", ".json") <= 32 + 8, "{}", place.faults.count("GET", ".json"));
}

/// Pictures that are known here cost no question, wherever they stand among the unknown.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_are_here_are_attached_all_the_same() {
    let place = Place::new("among/").await;
    let (_, oldest, _) = place.picture("an owl").await;
    let (_, evicted, _) = place.evicted("a fox").await;
    let ids = [oldest.to_string()].into_iter().chain((0..500).map(|number| nobodys("", number)));
    let ids = ids.chain([evicted.to_string()]).chain((500..1000).map(|number| nobodys("", number)));
    let body = chat(&place.house.origin(), ids);
    place.house.demo.clear();
    assert_eq!(place.house.post("/v1/chat/completions", body).await.status, 200);
    let images = place.house.demo.received().pop().unwrap().images;
    assert_eq!(images.len(), 2, "{images:?}");
    assert_eq!(place.faults.count("GET", ".json"), 32);
}

/// Regression 10.9: the questions of a request went on after its client had left. It has cost nothing yet, so it ends.
#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_takes_the_questions_along() {
    let place = Place::new("left/").await;
    place.faults.inject_for("aaaaaaaa", "GET", Fault::Hang);
    place.house.demo.clear();
    let body = chat(&place.house.origin(), (0..2000).map(|number| nobodys("aaaaaaaa", number)));
    let mut wire = Wire::to(&place.house).await;
    assert!(wire.send(post("/v1/chat/completions", &body.to_string())).await);
    until("questions side by side", || place.faults.count("GET", ".json") == 8).await;
    drop(wire);
    // The questions that hang would last ten seconds.
    let ended = until("the end of the request", || place.house.metric("picgate_requests_in_flight") == 0);
    timeout(PATIENCE, ended).await.expect("the request went on");
    assert_eq!(place.faults.count("GET", ".json"), 8);
    let sent: Vec<_> = place.house.demo.received().into_iter().filter(|request| request.method == "POST").collect();
    assert!(sent.is_empty(), "{sent:?}");
}

/// Regression 10.9: readers of random names took all places, and requests with a key waited behind them.
#[tokio::test(flavor = "multi_thread")]
async fn readers_of_random_names_hold_nobody_else_up() {
    let place = Place::new("flood/").await;
    let (path, _, bytes) = place.evicted("a bridge").await;
    let (stays, _, known) = place.evicted("a mill").await;
    let other = place.other().await;
    place.faults.inject_for("bbbbbbbb", "GET", Fault::Hang);
    let mut flood = Vec::new();
    for number in 0..200 {
        let mut wire = Wire::to(&other.house).await;
        let id = nobodys("bbbbbbbb", number);
        assert!(wire.send(format!("GET /images/{id}.png HTTP/1.1\r\nHost: gateway\r\n\r\n")).await);
        flood.push(wire);
    }
    let hung = || place.faults.count("GET", ".json");
    until("all places", || hung() == 16).await;
    until("all readers", || other.house.metric("picgate_requests_in_flight") == 200).await;

    // A request with a key has places of its own.
    let url = format!("{}{path}", other.house.origin());
    let body = json!({ "model": "demo-image", "prompt": "at night", "image": url });
    let edit = timeout(PATIENCE, other.house.post("/v1/images/edits", body)).await.expect("it waited");
    edit.ok();
    let sent = format!("{:?}", other.house.demo.received().pop().unwrap().images);
    assert!(sent.contains(&crate::harness::sha256(&bytes)), "{sent}");
    assert_eq!(hung(), 17);
    // What is known here needs none.
    let here = timeout(PATIENCE, place.house.get(&stays)).await.expect("it waited");
    assert_eq!(here.body, known);

    // When they leave, their places are free at once, and those behind them ask no more.
    drop(flood);
    let ended = until("the end of the readers", || other.house.metric("picgate_requests_in_flight") == 0);
    timeout(PATIENCE, ended).await.expect("they were waited for");
    assert_eq!(hung(), 17);
    let reader = timeout(PATIENCE, other.house.get(&stays)).await.expect("it waited");
    assert_eq!((reader.status.as_u16(), reader.body), (200, known));
}

/// Names that the bucket does not have are remembered, for readers and for requests.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_remembered_for_both() {
    let place = Place::new("remembered/").await;
    let asked = || place.faults.count("GET", ".json");
    let paths: Vec<_> = (0..20).map(|number| format!("/images/{}", nobodys("", number))).collect();
    for _ in 0..3 {
        let answers = join_all(paths.iter().map(|path| place.house.get(path))).await;
        assert!(answers.iter().all(|answer| answer.status == 404));
    }
    assert_eq!(asked(), 20);
    let body = chat(&place.house.origin(), (0..30).map(|number| nobodys("", number)));
    assert_eq!(place.house.post("/v1/chat/completions", body).await.status, 200);
    assert_eq!(asked(), 30);
}

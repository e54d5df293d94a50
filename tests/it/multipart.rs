//! Forms: read past, changed only where they must be.

use bytes::Bytes;
use http::Method;
use picgate::demo::Received;

use crate::harness::{Answer, House, KEY, fixture, sha256};

const BOUNDARY: &str = "----bnd 7'x";

/// A form in the making.
#[derive(Clone, Debug, Default)]
struct Form(Vec<u8>);

impl Form {
    fn text(mut self, name: &str, value: &str) -> Self {
        self.0.extend(
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
        );
        self
    }

    fn file(self, name: &str, bytes: &[u8]) -> Self {
        let head = format!(
            "Content-Disposition: form-data; name=\"{name}\"; filename=\"a.png\"\r\nContent-Type: application/octet-stream"
        );
        self.part(&head, bytes)
    }

    /// A part with these header lines.
    fn part(mut self, head: &str, bytes: &[u8]) -> Self {
        self.0.extend(format!("--{BOUNDARY}\r\n{head}\r\n\r\n").bytes());
        self.0.extend_from_slice(bytes);
        self.0.extend(b"\r\n");
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend(format!("--{BOUNDARY}--\r\n").bytes());
        self.0
    }
}

async fn send(house: &House, path: &str, boundary: &str, body: impl Into<Bytes>) -> Answer {
    let (key, kind) = (format!("Bearer {KEY}"), format!("multipart/form-data; boundary=\"{boundary}\""));
    let headers = [("authorization", key.as_str()), ("content-type", kind.as_str())];
    house.send(Method::POST, path, &headers, body.into()).await
}

async fn edit(house: &House, form: Form) -> Answer {
    send(house, "/v1/images/edits", BOUNDARY, form.end()).await
}

#[track_caller]
fn received(house: &House) -> Received {
    house.demo.received().into_iter().rev().find(|request| request.target.starts_with("/v1/")).expect("a request")
}

/// Asserts that the upstream received exactly these bytes, and was told how many.
#[track_caller]
fn assert_received(house: &House, expected: &[u8]) {
    let request = received(house);
    assert_eq!(
        String::from_utf8_lossy(request.body.as_ref().unwrap()),
        String::from_utf8_lossy(expected),
        "as text they differ"
    );
    assert_eq!(request.sha256, sha256(expected));
    assert_eq!((request.content_length, request.chunked), (Some(expected.len() as u64), false));
}

/// A gateway that takes any model's name.
async fn open_house() -> House {
    House::builder().models("    - { name: \"*\", targets: [ { upstream: demo } ] }").start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_real_clients_pass_byte_for_byte() {
    let house = House::builder()
        .models("    - { name: gpt-image-2, targets: [ { upstream: demo } ] }\n    - { name: \"*\", targets: [ { upstream: demo } ] }")
        .start()
        .await;
    for (name, path, boundary) in [
        ("req.images-edits.multipart-single.bin", "/v1/images/edits", "bndA1"),
        ("req.images-edits.multipart-array-mask.bin", "/v1/images/edits", "----formdata-bndB2"),
        ("req.images-variations.multipart.bin", "/v1/images/variations", "bndC3"),
    ] {
        let body = fixture(name);
        let answer = send(&house, path, boundary, body.clone()).await.ok();
        assert!(answer["data"][0].is_object(), "{name}: {answer}");
        assert_received(&house, &body);
        assert_eq!(received(&house).target, path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variations_answer_in_the_form_asked_for() {
    let house = open_house().await;
    let body = fixture("req.images-variations.multipart.bin");
    let answer = send(&house, "/v1/images/variations", "bndC3", body.clone()).await.ok();
    assert_eq!(answer["data"].as_array().unwrap().len(), 2);
    assert!(answer["data"][1]["b64_json"].is_string() && answer["data"][1].get("url").is_none());
    let at = memchr::memmem::find(&body, b"b64_json").unwrap();
    let body = [&body[..at], b"url", &body[at + 8..]].concat();
    let answer = send(&house, "/v1/images/variations", "bndC3", body).await.ok();
    let url = answer["data"][1]["url"].as_str().unwrap();
    assert_eq!(house.get(url).await.header("content-type"), "image/png");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_comes_back_as_a_url() {
    let house = House::new().await;
    let form = Form::default()
        .file("image", &fixture("img/px2.png"))
        .text("prompt", "a hat size:64x64")
        .text("model", "demo-image");
    let answer = edit(&house, form).await.ok();
    let url = answer["data"][0]["url"].as_str().unwrap();
    assert_eq!(house.get(url).await.header("content-type"), "image/png");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_many_megabytes_pass_unchanged() {
    let house = House::new().await;
    let mut file = fixture("img/px2.png");
    file.extend((0..20_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()));
    // What looks like a boundary is data unless all of it is there.
    file.extend_from_slice(b"\r\n------bnd 7'\r\n-----bnd 7'x\r\n--");
    let form = Form::default()
        .file("image[]", &file)
        .text("model", "picture")
        .file("image[]", &file[1 << 20..])
        .text("prompt", "a hat size:64x64");
    let expected = Form::default()
        .file("image[]", &file)
        .text("model", "demo-image")
        .file("image[]", &file[1 << 20..])
        .text("prompt", "a hat size:64x64")
        .end();
    edit(&house, form).await.ok();
    let request = received(&house);
    assert_eq!((request.length, request.content_length), (expected.len(), Some(expected.len() as u64)));
    assert_eq!(request.sha256, sha256(&expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_replaced_wherever_its_part_stands() {
    let house = House::new().await;
    let png = fixture("img/px2.png");
    let form = |place: usize, model: &str| {
        let mut form = Form::default();
        for turn in 0..3 {
            form = match turn {
                _ if turn == place => form.text("model", model),
                0 => form.text("prompt", "model picture size:64x64"),
                _ => form.text("user", "picture"),
            };
            if turn == 1 {
                form = form.file("image", &png);
            }
        }
        if place == 0 { form.text("prompt", "a size:64x64") } else { form }
    };
    for place in 0..3 {
        edit(&house, form(place, "picture")).await.ok();
        assert_received(&house, &form(place, "demo-image").end());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn response_format_goes_for_a_gpt_image_model_wherever_its_part_stands() {
    let house = House::new().await;
    let png = fixture("img/px2.png");
    for place in 0..4 {
        let form = |with: bool| {
            let mut form = Form::default();
            for turn in 0..4 {
                if with && turn == place {
                    form = form.text("response_format", "url");
                }
                form = match turn {
                    0 => form.text("model", "gpt-image-demo"),
                    1 => form.file("image", &png),
                    2 => form.text("prompt", "a hat size:64x64"),
                    _ => form,
                };
            }
            form
        };
        let answer = edit(&house, form(true)).await.ok();
        assert!(answer["data"][0]["url"].is_string() && answer["data"][0].get("b64_json").is_none(), "{answer}");
        assert_received(&house, &form(false).end());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_but_legal_forms_pass_as_they_came() {
    let house = House::new().await;
    let png = fixture("img/px2.png");
    let mut body = b"This is a preamble.\r\n--not it\r\n".to_vec();
    body.extend(
        Form::default()
            .part("content-type: text/plain; charset=utf-8\r\nCONTENT-DISPOSITION: form-data; name=model", b"demo-image")
            .part("Content-Disposition: form-data; filename*=UTF-8''%e2%82%ac.png; name=\"image\"; filename=\"a;\\\"b.png\"", &png)
            .text("prompt", "two\r\nlines size:64x64")
            .text("x", "")
            .end(),
    );
    body.extend_from_slice(b"an epilogue");
    send(&house, "/v1/images/edits", BOUNDARY, body.clone()).await;
    assert_received(&house, &body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_of_ours_in_a_text_part_becomes_a_file() {
    let house = House::new().await;
    let (own, own_bytes) = house.picture("an oak size:64x64").await;
    let remote = house.remote_picture("an elm size:64x64 format:webp").await;
    let remote_bytes = house.get(&remote).await.body;
    let form = Form::default()
        .text("model", "picture")
        .text("image[]", &own)
        .file("image[]", &fixture("img/px2.jpg"))
        .text("image[]", &format!("\t{remote} "))
        .text("mask", &own)
        .text("prompt", "a hat size:64x64")
        .text("note", &own);
    let file = |name: &str, extension: &str, kind: &str| {
        format!(
            "Content-Disposition: form-data; name=\"{name}\"; filename=\"image.{extension}\"\r\nContent-Type: {kind}"
        )
    };
    let expected = Form::default()
        .text("model", "demo-image")
        .part(&file("image[]", "png", "image/png"), &own_bytes)
        .file("image[]", &fixture("img/px2.jpg"))
        .part(&file("image[]", "webp", "image/webp"), &remote_bytes)
        .part(&file("mask", "png", "image/png"), &own_bytes)
        .text("prompt", "a hat size:64x64")
        .text("note", &own)
        .end();
    edit(&house, form).await.ok();
    assert_received(&house, &expected);
    let kinds: Vec<_> = received(&house).images.iter().map(|image| image.place.clone()).collect();
    assert_eq!(kinds, ["image[]", "image[]", "image[]", "mask"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_of_ours_without_a_picture_names_its_part() {
    let house = House::new().await;
    let form = Form::default()
        .text("model", "demo-image")
        .text("image[]", &format!("{}/images/gone.png", house.origin()))
        .text("prompt", "x");
    let answer = edit(&house, form).await;
    answer.error(400, "image_expired");
    assert_eq!(answer.json()["error"]["param"], "image[]");
    assert!(house.demo.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_forms_are_refused_before_anybody_pays() {
    let house = House::new().await;
    let good = Form::default().text("model", "demo-image").file("image", b"x").text("prompt", "x").end();
    let mut cases = vec![
        Vec::new(),
        b"no form".to_vec(),
        good[..good.len() - 6].to_vec(),
        good[..60].to_vec(),
        format!("--{BOUNDARY}\r\nContent-Type: x/y\r\n\r\nx\r\n--{BOUNDARY}--\r\n").into_bytes(),
    ];
    cases.push(
        Form::default().text("model", "\u{fffd}").end().iter().map(|b| if *b == 0xef { 0xff } else { *b }).collect(),
    );
    for body in cases {
        let text = String::from_utf8_lossy(&body).into_owned();
        let answer = send(&house, "/v1/images/edits", BOUNDARY, body).await;
        assert_eq!(answer.status, 400, "{text:?}");
        answer.error(400, "invalid_multipart");
    }
    let key = format!("Bearer {KEY}");
    for kind in ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"\""] {
        let headers = [("authorization", key.as_str()), ("content-type", kind)];
        let answer = house.send(Method::POST, "/v1/images/edits", &headers, good.clone()).await;
        answer.error(400, "invalid_multipart");
    }
    let twice = Form::default().text("model", "demo-image").text("model", "picture").text("prompt", "x");
    edit(&house, twice).await.error(400, "invalid_request");
    edit(&house, Form::default().text("prompt", "x")).await.error(400, "invalid_request");
    edit(&house, Form::default().text("model", "other")).await.error(404, "model_not_found");
    assert!(house.demo.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_takes_no_form() {
    let house = House::new().await;
    let form = Form::default().text("model", "demo-image").text("prompt", "x").end();
    send(&house, "/v1/images/generations", BOUNDARY, form).await.error(415, "unsupported_media_type");
}

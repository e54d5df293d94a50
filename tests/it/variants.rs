//! `/images/…?w=…`: pictures in other sizes and formats.

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use image::GenericImageView as _;
use picgate::picture::{Format, Sniff, sniff};

use crate::harness::{Answer, House};

/// A picture of 640 by 480, as the demo draws it.
const PROMPT: &str = "a lighthouse size:640x480";

async fn with_picture() -> (House, String) {
    with_picture_and("limits: { pixel_threads: 2 }").await
}

async fn with_picture_and(line: &str) -> (House, String) {
    let house = House::builder().line(line).start().await;
    let (url, _) = house.picture(PROMPT).await;
    let path = url.strip_prefix(&house.origin()).unwrap().to_owned();
    (house, path)
}

fn size(answer: &Answer) -> (u32, u32) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    image::load_from_memory(&answer.body).unwrap().dimensions()
}

fn id(path: &str) -> &str {
    path.rsplit('/').next().unwrap().split('.').next().unwrap()
}

/// The variants on the disk.
pub fn kept(house: &House) -> usize {
    fn count(dir: &std::path::Path) -> usize {
        let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
        entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
    }
    count(&house.data_dir().join("variants"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_can_be_had_smaller() {
    let (house, path) = with_picture().await;
    for (query, wanted, kind) in [
        ("w=256", (256, 192), "image/png"),
        ("h=256", (341, 256), "image/png"),
        ("w=256&h=256", (256, 192), "image/png"),
        ("w=256&h=256&fit=cover", (256, 256), "image/png"),
        ("w=512&format=jpeg", (512, 384), "image/jpeg"),
        ("w=512&format=jpeg&q=80", (512, 384), "image/jpeg"),
        ("w=512&format=webp&v=12", (512, 384), "image/webp"),
        ("format=webp", (640, 480), "image/webp"),
        ("w=1024", (640, 480), "image/png"),
    ] {
        let answer = house.get(&format!("{path}?{query}")).await;
        assert_eq!(size(&answer), wanted, "{query}");
        assert_eq!(answer.header("content-type"), kind, "{query}");
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(answer.header("etag").starts_with(&format!("\"{}-", id(&path))), "{}", answer.header("etag"));
        assert!(answer.header("content-disposition").starts_with(&format!("inline; filename=\"{}-", id(&path))));
        assert!(!answer.headers.contains_key("vary"));
    }
    assert_eq!(kept(&house), 8, "one query is another's equal");
    // Words that ask for nothing.
    for query in ["v=1", "q=12", "fit=cover", "format=png", "width=12"] {
        let answer = house.get(&format!("{path}?{query}")).await;
        assert_eq!(answer.header("etag"), format!("\"{}\"", id(&path)), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_made_once_and_read_like_any_picture() {
    let (house, path) = with_picture().await;
    let path = format!("{path}?w=256&format=jpeg");
    let answers = join_all((0..12).map(|_| house.get(&path))).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    assert_eq!(house.metric("picgate_pixel_jobs_total{result=\"ok\"}"), 1);
    assert_eq!(house.metric("picgate_pictures_served_total{from=\"variant\"}"), 12);

    let (etag, modified) = (answers[0].header("etag"), answers[0].header("last-modified"));
    let send = async |headers: &[(&str, &str)]| house.send(Method::GET, &path, headers, "").await;
    assert_eq!(send(&[("if-none-match", etag)]).await.status, 304);
    assert_eq!(send(&[("if-modified-since", modified)]).await.status, 304);
    assert_eq!(send(&[("if-match", "\"other\"")]).await.status, 412);
    let part = send(&[("range", "bytes=10-19"), ("if-range", etag)]).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &answers[0].body[10..20]));
    assert_eq!(send(&[("range", "bytes=99999999-")]).await.status, 416);
    let head = house.send(Method::HEAD, &path, &[], "").await;
    assert_eq!(head.header("content-length"), answers[0].body.len().to_string());
    assert!(head.body.is_empty());
    assert_eq!(house.metric("picgate_pixel_jobs_total{result=\"ok\"}"), 1);

    let original = house.get(path.split('?').next().unwrap()).await;
    let other_tag = send(&[("if-none-match", original.header("etag"))]).await;
    assert_eq!(other_tag.status, 200, "the picture's tag is not the variant's");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_listed_can_be_had_without_a_signature() {
    let (house, path) =
        with_picture_and("images: { variants: { sizes: [ 100 ], formats: [ jpeg ], qualities: [ 50, 60 ] } }").await;
    let jpeg = house.get(&format!("{path}?w=100")).await;
    assert_eq!((size(&jpeg), jpeg.header("content-type")), ((100, 75), "image/jpeg"), "the list has no PNG");
    assert_ne!(jpeg.body, house.get(&format!("{path}?w=100&q=60")).await.body);
    for (query, param) in [
        ("w=256", "w"),
        ("w=100&h=99", "h"),
        ("w=100&q=80", "q"),
        ("format=webp", "format"),
        ("w=abc", "w"),
        ("w=100&w=100", "w"),
        ("w=100&fit=fill", "fit"),
        ("format=avif", "format"),
    ] {
        let answer = house.get(&format!("{path}?{query}")).await;
        answer.error(400, "invalid_request");
        assert_eq!(answer.json()["error"]["param"], param, "{query}");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
    house.get("/images/00112233445566778899aabbccddeeff00112233?w=100").await.error(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn avif_can_be_had_where_it_is_listed() {
    let (house, path) =
        with_picture_and("images: { variants: { sizes: [ 64 ], formats: [ jpeg, avif ], qualities: [ 60, 95 ] } }")
            .await;
    let get = async |query: &str| house.get(&format!("{path}?w=64&format={query}")).await;
    let (jpeg, avif, better) = (get("jpeg").await, get("avif").await, get("avif&q=95").await);
    assert_eq!((avif.status.as_u16(), avif.header("content-type")), (200, "image/avif"));
    assert_eq!(sniff(&avif.body), Sniff::Picture(Format::Avif));
    assert!(avif.body.len() < jpeg.body.len() && avif.body.len() < better.body.len());
    assert!(avif.header("content-disposition").ends_with("w64-q60.avif\""), "{}", avif.header("content-disposition"));

    let (large, _) = house.picture("a lighthouse size:1280x1024").await;
    let answer = house.get(&format!("{large}?format=avif")).await;
    answer.error(400, "invalid_request");
    assert_eq!(answer.json()["error"]["param"], "format");
    assert_eq!(house.get(&format!("{large}?format=avif&w=64")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_webp_gets_it_if_so_configured() {
    let (house, path) = with_picture_and("images: { negotiate: true }").await;
    let accept = [("accept", "image/avif,image/webp,*/*;q=0.8")];
    for (query, headers, kind, varies) in [
        ("w=256", &accept[..], "image/webp", true),
        ("w=256", &[("accept", "*/*")], "image/png", true),
        ("w=256", &[], "image/png", true),
        ("w=256&format=png", &accept, "image/png", false),
        ("v=1", &accept, "image/png", false),
    ] {
        let answer = house.send(Method::GET, &format!("{path}?{query}"), headers, "").await;
        assert_eq!(answer.header("content-type"), kind, "{query} {headers:?}");
        assert_eq!(answer.headers.contains_key("vary"), varies, "{query} {headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decoded_is_served_as_it_is_only() {
    let house = House::new().await;
    let avif = include_bytes!("../fixtures/wire/img/px2.avif");
    let id = keep(&house, avif).await;
    assert_eq!(house.get(&format!("/images/{id}")).await.body, &avif[..]);
    let answer = house.get(&format!("/images/{id}?w=256")).await;
    answer.error(415, "image_not_decodable");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_keeps_no_variant_but_answers_it() {
    let (house, path) = with_picture().await;
    let path = format!("{path}?w=256");
    // The picture is there; from now on there is no room.
    let house = house.restart_with(&["store: { durability: process, min_free: 1000000TiB }"]).await;
    for _ in 0..2 {
        assert_eq!(size(&house.get(&path).await), (256, 192));
    }
    assert_eq!(kept(&house), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_outlive_a_restart_and_a_budget_of_nothing_keeps_none() {
    let (house, path) = with_picture().await;
    let path = format!("{path}?w=256");
    let body = house.get(&path).await.body;
    let house = house.restart_with(&["images: { variants: { max_disk: 0 } }"]).await;
    assert_eq!(house.get(&path).await.body, body);
    assert_eq!(house.metric("picgate_pixel_jobs_total{result=\"ok\"}"), 0, "it was still there");
    house.get(&path.replace("256", "512")).await;
    assert_eq!(kept(&house), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_picture_leaves_no_variant() {
    let (house, path) = with_picture().await;
    house.get(&format!("{path}?w=256")).await;
    assert_eq!(kept(&house), 1);
    house.gateway.core().store.delete(id(&path).parse().unwrap()).await.unwrap();
    assert_eq!(kept(&house), 0);
    house.get(&format!("{path}?w=256")).await.error(404, "not_found");
}

/// Puts a picture into the store.
async fn keep(house: &House, bytes: &'static [u8]) -> picgate::picture::PictureId {
    let mut writer = house.gateway.core().store.writer();
    writer.write(&Bytes::from_static(bytes)).await.unwrap();
    writer.finish().await.unwrap().commit(Default::default()).await.unwrap().facts.id
}

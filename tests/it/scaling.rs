//! `images.max_input_pixels`: large pictures are made smaller before they go inline.

use picgate::picture::Format;
use serde_json::{Value, json};

use crate::{
    harness::{Canned, House, fixture, sha256},
    requests::received,
};

const SMALL: &str = "images: { max_input_pixels: 5000 }";

fn chat(urls: &[&str]) -> Value {
    let parts: Vec<_> = urls.iter().map(|url| json!({ "type": "image_url", "image_url": { "url": url } })).collect();
    json!([{ "role": "user", "content": parts }])
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_keep_their_shape_and_their_kind() {
    let house = House::builder().line(SMALL).start().await;
    let (own, _) = house.picture("an oak size:200x100").await;
    let jpeg = house.remote_picture("an elm size:100x200 format:jpeg").await;
    let webp = house.remote_picture("a fir size:100x200 format:webp").await;
    let (small, small_bytes) = house.picture("a yew size:64x48").await;
    house.demo.clear();
    house.chat(chat(&[&own, &jpeg, &webp, &small])).await.ok();
    let images = received(&house, "/v1/chat").images;
    let seen: Vec<_> = images.iter().map(|image| (image.format.unwrap(), image.size.unwrap())).collect();
    let [png, photo, web, as_is] = seen[..] else { panic!("{seen:?}") };
    assert_eq!((png, photo), ((Format::Png, (100, 50)), (Format::Jpeg, (50, 100))));
    assert!(matches!(web, (Format::Webp | Format::Jpeg, (50, 100))), "{web:?}");
    assert_eq!((as_is.1, images[3].sha256.as_str()), ((64, 48), sha256(&small_bytes).as_str()));
    for image in images {
        assert_eq!(image.media_type.as_deref(), Some(image.format.unwrap().media_type()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_in_text_is_scaled_too() {
    let house = House::builder().line(SMALL).start().await;
    let (own, _) = house.picture("an oak size:200x100").await;
    house.chat(json!([{ "role": "user", "content": format!("![a]({own})") }])).await.ok();
    assert_eq!(received(&house, "/v1/chat").images[0].size, Some((100, 50)));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_scaled_beside_a_mask() {
    let house = House::builder().line(SMALL).start().await;
    let (own, bytes) = house.picture("an oak size:200x100").await;
    for (mask, is_scaled) in [(json!({ "image_url": own }), false), (json!(null), true)] {
        let body =
            json!({ "model": "demo-image", "prompt": "x size:64x64", "images": [{ "image_url": own }], "mask": mask });
        house.post("/v1/images/edits", body).await.ok();
        assert_eq!(received(&house, "/v1/images/edits").images[0].sha256 != sha256(&bytes), is_scaled, "{mask}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_scaled_goes_as_it_is() {
    let house = House::builder().line("images: { max_input_pixels: 1 }").start().await;
    for (name, kind) in [("img/px2.bmp", "image/bmp"), ("img/px2.avif", "image/avif")] {
        let bytes = fixture(name);
        let host = Canned::new(kind, bytes.clone()).await;
        house.chat(chat(&[&host.url()])).await.ok();
        assert_eq!(received(&house, "/v1/chat").images[0].sha256, sha256(&bytes), "{name}");
    }
}

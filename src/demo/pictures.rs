//! `GET /pictures/{name}?prompt=…`: the picture a `url` answer pointed to. Nothing is kept: the query tells all.

use http::{HeaderValue, StatusCode, header};
use url::form_urlencoded;

use super::{
    answer::Answer,
    call::Call,
    control,
    draw::{MAX_BYTES, Order},
    received::sha256,
    server::House,
};

/// The URL at which [`answer`] draws this order.
pub(super) fn url(house: &House, order: &Order, number: Option<u64>, lost: bool) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("prompt", &order.prompt);
    query.append_pair("size", &format!("{}x{}", order.width, order.height));
    let numbers = [
        ("index", Some(order.index).filter(|index| *index > 0)),
        ("bytes", order.bytes.map(|bytes| bytes as u64)),
        ("unique", number),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            query.append_pair(name, &value.to_string());
        }
    }
    let name = if lost { "lost".to_owned() } else { sha256(order.prompt.as_bytes()).chars().take(16).collect() };
    format!("{}/pictures/{name}.{}?{}", house.origin, order.format.extension(), query.finish())
}

pub(super) async fn answer(house: &House, name: &str, call: &Call) -> Result<Answer, Answer> {
    let missing = || Answer::error(StatusCode::NOT_FOUND, "not_found", "No such picture.");
    let (stem, extension) = name.rsplit_once('.').ok_or_else(missing)?;
    let format = control::format(extension).filter(|_| stem != "lost").ok_or_else(missing)?;
    let field = |wanted: &str| {
        form_urlencoded::parse(call.query.as_bytes())
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
    };
    let number = |wanted: &str| field(wanted).and_then(|value| value.parse::<u64>().ok());
    let (width, height) = field("size").and_then(|size| control::size(&size)).ok_or_else(missing)?;
    let order = Order {
        prompt: field("prompt").ok_or_else(missing)?,
        index: number("index").unwrap_or(0),
        width,
        height,
        format,
        bytes: number("bytes").map(|bytes| bytes.min(MAX_BYTES as u64) as usize),
    };
    let print = house.studio.print(order, number("unique")).await;
    Ok(Answer::whole(format.media_type(), print.file)
        .header(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")))
}

//! `/v1/images/*`.

use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    answer::{Answer, event, hole},
    call::{Call, Content},
    control, pictures,
    server::House,
};
use crate::picture::Format;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Generation,
    Edit,
    Variation,
}

/// A checked request.
#[derive(Debug)]
struct Ask {
    n: u64,
    size: (u32, u32),
    format: Format,
    as_url: bool,
    partials: u64,
    /// Differs with the pictures sent along.
    index: u64,
    prompt: String,
    /// Whether the model tells how it understood the prompt.
    revised: bool,
}

pub(super) async fn answer(house: &House, call: &Call, kind: Kind) -> Result<Answer, Answer> {
    let ask = Ask::check(call, kind)?;
    if call.streams() {
        return Ok(stream(house, call, kind, &ask).await);
    }
    let mut data = Vec::new();
    let mut fillings = Vec::new();
    for turn in 0..ask.n {
        let (mut item, filling) = picture(house, call, &ask, turn, fillings.len()).await;
        fillings.extend(filling);
        if ask.revised
            && let Some(item) = item.as_object_mut()
        {
            item.insert("revised_prompt".into(), json!(ask.prompt));
        }
        data.push(item);
    }
    let mut body = ask.head(call);
    if let Some(body) = body.as_object_mut() {
        body.insert("created".into(), json!(now()));
        body.insert("data".into(), Value::Array(data));
        body.insert("usage".into(), ask.usage());
    }
    Ok(Answer::woven(&body, &fillings))
}

async fn stream(house: &House, call: &Call, kind: Kind, ask: &Ask) -> Answer {
    let name = if kind == Kind::Generation { "image_generation" } else { "image_edit" };
    let mut events = Vec::new();
    for turn in 0..ask.n {
        for partial in 0..ask.partials {
            let (width, height) = call.controls.size.unwrap_or(ask.size);
            let mut order = call.order(&ask.prompt, ask.index + turn, ask.size, ask.format);
            // A coarser drawing of the same picture stands for one that is not finished.
            let coarse = 2 << (ask.partials - partial);
            (order.width, order.height, order.bytes) = ((width / coarse).max(1), (height / coarse).max(1), None);
            let print = house.studio.print(order, None).await;
            let kind = format!("{name}.partial_image");
            let mut value = ask.head(call);
            extend(&mut value, json!({ "type": kind, "partial_image_index": partial, "created_at": now() }));
            extend(&mut value, json!({ "b64_json": hole(0) }));
            events.push(event(Some(&kind), &value, &[print.base64]));
        }
        let kind = format!("{name}.completed");
        let (item, filling) = picture(house, call, ask, turn, 0).await;
        let mut value = ask.head(call);
        extend(&mut value, json!({ "type": kind, "created_at": now(), "usage": ask.usage() }));
        extend(&mut value, item);
        events.push(event(Some(&kind), &value, &filling.into_iter().collect::<Vec<_>>()));
    }
    Answer::events(events)
}

/// `{"b64_json":…}` or `{"url":…}`; the base64 text is the filling of the hole named.
async fn picture(house: &House, call: &Call, ask: &Ask, turn: u64, at: usize) -> (Value, Option<Vec<bytes::Bytes>>) {
    let order = call.order(&ask.prompt, ask.index + turn, ask.size, ask.format);
    let number = call.controls.unique.then(|| house.studio.number());
    if ask.as_url || call.controls.as_url {
        return (json!({ "url": pictures::url(house, &order, number, call.controls.lost) }), None);
    }
    let print = house.studio.print(order, number).await;
    (json!({ "b64_json": hole(at) }), Some(print.base64))
}

impl Ask {
    fn check(call: &Call, kind: Kind) -> Result<Self, Answer> {
        let refuse = |code: &str, param: &str, message: &str| {
            Answer::error_about(StatusCode::BAD_REQUEST, code, message, Some(param))
        };
        let invalid = |param: &str| refuse("invalid_value", param, &format!("Invalid value: '{param}'."));
        match (&call.body, kind) {
            (Content::Form(_), Kind::Edit | Kind::Variation) => {}
            _ => drop(call.json()?),
        }
        let model = call.model().unwrap_or_else(|| "demo-image".to_owned());
        let gpt = model.starts_with("gpt-image") || model.starts_with("chatgpt-image");
        let as_url = match call.field("response_format").as_deref() {
            Some(_) if gpt => {
                return Err(refuse("unknown_parameter", "response_format", "Unknown parameter: 'response_format'."));
            }
            Some("url") => true,
            Some("b64_json") | None => false,
            Some(_) => return Err(invalid("response_format")),
        };
        if kind != Kind::Variation && call.field("prompt").is_none_or(|prompt| prompt.trim().is_empty()) {
            return Err(refuse("missing_required_parameter", "prompt", "Missing required parameter: 'prompt'."));
        }
        if kind != Kind::Generation && !has_picture(call) {
            return Err(refuse("missing_required_parameter", "image", "Missing required parameter: 'image'."));
        }
        let number = |name: &str, default: u64, most: u64| match call.field(name) {
            None => Ok(default),
            Some(text) => text.parse().ok().filter(|n| (default..=most).contains(n)).ok_or_else(|| invalid(name)),
        };
        let size = match call.field("size").as_deref() {
            None | Some("auto" | "") => (1024, 1024),
            Some(text) => control::size(text).ok_or_else(|| invalid("size"))?,
        };
        let format = match call.field("output_format") {
            None => Format::Png,
            Some(text) => control::format(&text).ok_or_else(|| invalid("output_format"))?,
        };
        let prompt = if kind == Kind::Variation { "a variation".to_owned() } else { call.prompt.clone() };
        Ok(Self {
            n: number("n", 1, 10)?,
            size,
            format,
            as_url,
            partials: number("partial_images", 0, 3)?,
            index: inputs(call),
            prompt,
            revised: !gpt,
        })
    }

    /// What answers and events say about the picture.
    fn head(&self, call: &Call) -> Value {
        let (width, height) = call.controls.size.unwrap_or(self.size);
        let format = match call.controls.format.unwrap_or(self.format) {
            Format::Jpeg => "jpeg",
            other => other.extension(),
        };
        json!({
            "background": "opaque",
            "output_format": format,
            "quality": "low",
            "size": format!("{width}x{height}"),
        })
    }

    fn usage(&self) -> Value {
        let (input, output) = (self.prompt.len() as u64 / 4 + 1, 200 * self.n);
        json!({
            "input_tokens": input,
            "input_tokens_details": { "image_tokens": 0, "text_tokens": input },
            "output_tokens": output,
            "total_tokens": input + output,
        })
    }
}

/// Whether an edit has something to edit.
fn has_picture(call: &Call) -> bool {
    match &call.body {
        Content::Form(parts) => {
            parts.iter().any(|part| part.file_name.is_some() && part.name.starts_with("image") && !part.body.is_empty())
        }
        Content::Json(body) => ["images", "image"].iter().any(|name| match body.get(name) {
            Some(Value::Array(items)) => !items.is_empty(),
            Some(value) => !value.is_null(),
            None => false,
        }),
        Content::None(_) => false,
    }
}

/// A number that follows from the pictures sent along; 0 without any.
fn inputs(call: &Call) -> u64 {
    call.images.iter().fold(0, |sum: u64, image| {
        let digits = image.sha256.get(..12).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        sum.wrapping_mul(31).wrapping_add(digits.unwrap_or(1)) >> 8
    })
}

fn extend(value: &mut Value, more: Value) {
    if let (Value::Object(value), Value::Object(more)) = (value, more) {
        value.extend(more);
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

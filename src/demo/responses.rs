//! `POST /v1/responses`.

use std::slice;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{
    answer::{Answer, event, hole},
    call::Call,
    control,
    draw::Print,
    images::now,
    server::House,
    talk,
};
use crate::picture::Format;

pub(super) async fn answer(house: &House, call: &Call) -> Result<Answer, Answer> {
    let body = call.json()?;
    let number = house.studio.number();
    let model = call.model().unwrap_or_else(|| "demo-chat".to_owned());
    let tool = body.get("tools").and_then(Value::as_array).and_then(|tools| {
        tools.iter().find(|tool| tool.get("type").and_then(Value::as_str) == Some("image_generation"))
    });
    let reply =
        Reply { id: format!("resp_demo_{number}"), created: now(), model, input_tokens: call.prompt.len() / 4 + 1 };
    let Some(subject) = talk::subject(call, &reply.model, tool.is_some()) else {
        return Ok(text(call, &reply));
    };

    let named = |name: &str| tool.and_then(|tool| tool.get(name)).and_then(Value::as_str);
    let size = named("size").and_then(control::size).unwrap_or((1024, 1024));
    let format = named("output_format").and_then(control::format).unwrap_or(Format::Png);
    let partials = tool.and_then(|tool| tool.get("partial_images")).and_then(Value::as_u64).unwrap_or(0).min(3);
    let order = call.order(&subject, 0, size, format);
    let picture = Picture {
        id: format!("ig_demo_{number}"),
        size: format!("{}x{}", order.width, order.height),
        format: if order.format == Format::Jpeg { "jpeg" } else { order.format.extension() },
        subject,
        print: house.studio.print(order.clone(), call.controls.unique.then_some(number)).await,
    };
    if !call.streams() {
        let body = reply.body("completed", vec![picture.item("completed", Some(hole(0))), message("Done.")]);
        return Ok(Answer::woven(&body, slice::from_ref(&picture.print.base64)));
    }
    let mut drafts = Vec::new();
    for partial in 0..partials {
        // A coarser drawing of the same picture stands for one that is not finished.
        let coarse = 2 << (partials - partial);
        let mut draft = order.clone();
        (draft.width, draft.height, draft.bytes) =
            ((order.width / coarse).max(1), (order.height / coarse).max(1), None);
        drafts.push(house.studio.print(draft, None).await);
    }
    Ok(picture_events(&reply, &picture, &drafts))
}

/// What all bodies of one answer have in common.
#[derive(Debug)]
struct Reply {
    id: String,
    created: u64,
    model: String,
    input_tokens: usize,
}

#[derive(Debug)]
struct Picture {
    id: String,
    subject: String,
    size: String,
    format: &'static str,
    print: Print,
}

/// Numbers the events of a stream.
#[derive(Debug, Default)]
struct Script {
    events: Vec<Bytes>,
}

impl Reply {
    fn body(&self, status: &str, output: Vec<Value>) -> Value {
        let usage = (status == "completed").then(|| {
            json!({ "input_tokens": self.input_tokens, "output_tokens": 200, "total_tokens": self.input_tokens + 200 })
        });
        json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": null,
            "model": self.model,
            "output": output,
            "parallel_tool_calls": true,
            "tool_choice": "auto",
            "tools": [],
            "usage": usage,
        })
    }
}

impl Picture {
    fn item(&self, status: &str, result: Option<String>) -> Value {
        json!({
            "id": self.id,
            "type": "image_generation_call",
            "status": status,
            "result": result,
            "output_format": self.format,
            "quality": "low",
            "size": self.size,
            "background": "opaque",
            "revised_prompt": self.subject,
        })
    }
}

impl Script {
    fn add(&mut self, kind: &str, fields: Value, fillings: &[Vec<Bytes>]) {
        let mut value = match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        value.insert("type".into(), kind.into());
        value.insert("sequence_number".into(), self.events.len().into());
        self.events.push(event(Some(kind), &Value::Object(value), fillings));
    }
}

fn message(text: &str) -> Value {
    json!({
        "id": "msg_demo",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{ "type": "output_text", "text": text, "annotations": [] }],
    })
}

fn picture_events(reply: &Reply, picture: &Picture, drafts: &[Print]) -> Answer {
    let place = json!({ "output_index": 0, "item_id": picture.id });
    let fillings = slice::from_ref(&picture.print.base64);
    let mut script = Script::default();
    script.add("response.created", json!({ "response": reply.body("in_progress", Vec::new()) }), &[]);
    script.add("response.in_progress", json!({ "response": reply.body("in_progress", Vec::new()) }), &[]);
    let started = picture.item("in_progress", None);
    script.add("response.output_item.added", json!({ "output_index": 0, "item": started }), &[]);
    script.add("response.image_generation_call.in_progress", place.clone(), &[]);
    script.add("response.image_generation_call.generating", place.clone(), &[]);
    for (index, draft) in drafts.iter().enumerate() {
        let fields = json!({
            "output_index": 0,
            "item_id": picture.id,
            "partial_image_index": index,
            "partial_image_b64": hole(0),
            "output_format": picture.format,
        });
        script.add("response.image_generation_call.partial_image", fields, slice::from_ref(&draft.base64));
    }
    script.add("response.image_generation_call.completed", place, &[]);
    let done = picture.item("completed", Some(hole(0)));
    script.add("response.output_item.done", json!({ "output_index": 0, "item": done }), fillings);
    script.add("response.completed", json!({ "response": reply.body("completed", vec![done]) }), fillings);
    Answer::events(script.events)
}

fn text(call: &Call, reply: &Reply) -> Answer {
    let words = talk::words(call);
    let whole = words.concat();
    if !call.streams() {
        return Answer::json(&reply.body("completed", vec![message(&whole)]));
    }
    let mut script = Script::default();
    script.add("response.created", json!({ "response": reply.body("in_progress", Vec::new()) }), &[]);
    script.add("response.in_progress", json!({ "response": reply.body("in_progress", Vec::new()) }), &[]);
    let item =
        json!({ "id": "msg_demo", "type": "message", "role": "assistant", "status": "in_progress", "content": [] });
    script.add("response.output_item.added", json!({ "output_index": 0, "item": item }), &[]);
    let at = |more: Value| {
        let mut fields = json!({ "output_index": 0, "content_index": 0, "item_id": "msg_demo" });
        if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
            fields.extend(more);
        }
        fields
    };
    let part = |text: &str| json!({ "type": "output_text", "text": text, "annotations": [] });
    script.add("response.content_part.added", at(json!({ "part": part("") })), &[]);
    for word in &words {
        script.add("response.output_text.delta", at(json!({ "delta": word })), &[]);
    }
    script.add("response.output_text.done", at(json!({ "text": whole })), &[]);
    script.add("response.content_part.done", at(json!({ "part": part(&whole) })), &[]);
    script.add("response.output_item.done", json!({ "output_index": 0, "item": message(&whole) }), &[]);
    script.add("response.completed", json!({ "response": reply.body("completed", vec![message(&whole)]) }), &[]);
    Answer::events(script.events)
}

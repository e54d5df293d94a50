//! `/v1/models`.

use http::StatusCode;
use serde_json::{Value, json};

use super::answer::Answer;

/// The models listed. Others are taken too: a name with `image` in it draws, any other talks.
const MODELS: [&str; 3] = ["demo-image", "demo-chat", "gpt-image-demo"];

fn model(id: &str) -> Value {
    json!({ "id": id, "object": "model", "created": 1_790_000_000, "owned_by": "demo" })
}

pub(super) fn list() -> Answer {
    Answer::json(&json!({ "object": "list", "data": MODELS.map(model) }))
}

pub(super) fn one(id: &str) -> Result<Answer, Answer> {
    if MODELS.contains(&id) {
        return Ok(Answer::json(&model(id)));
    }
    let message = format!("The model '{id}' does not exist");
    Err(Answer::error_about(StatusCode::NOT_FOUND, "model_not_found", &message, Some("model")))
}

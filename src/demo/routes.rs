//! Path → answer.

use std::sync::Arc;

use axum::{
    extract::{ConnectInfo, Request, State},
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{
    answer::Answer,
    call::Call,
    chat,
    control::Controls,
    guide,
    images::{self, Kind},
    line::Line,
    models, other, pictures, responses,
    server::House,
};

/// Answers every request.
pub(super) async fn serve(
    State(house): State<Arc<House>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let read = method == Method::GET || method == Method::HEAD;
    let plain = match path.as_str() {
        "/" if read => Some(guide::page(&house)),
        "/demo/received" if read => Some(Answer::json(&house.log.report())),
        "/demo/received" if method == Method::DELETE => {
            house.log.clear();
            Some(Answer::json(&serde_json::json!({ "object": "list", "deleted": true })))
        }
        _ => None,
    };
    if let Some(answer) = plain {
        return answer.send(&Controls::default(), None, &line);
    }

    let (answer, controls) = match Call::take(&house, request, &line).await {
        Ok(call) => {
            let controls = call.controls.clone();
            if let Some(delay) = controls.delay {
                line.pause(delay).await;
            }
            let answer = match controls.status {
                Some(status) => Answer::failure(status),
                None => route(&house, &method, &path, &call).await.unwrap_or_else(|refusal| refusal),
            };
            (if controls.garbage { answer.garbage() } else { answer }, controls)
        }
        Err(refused) => refused,
    };
    if controls.reset {
        line.cut();
    }
    let id = HeaderValue::try_from(format!("req_demo_{}", house.studio.number()));
    let answer = match id {
        Ok(id) => answer.header(HeaderName::from_static("x-request-id"), id),
        Err(_) => answer,
    };
    answer.send(&controls, house.typing, &line)
}

async fn route(house: &House, method: &Method, path: &str, call: &Call) -> Result<Answer, Answer> {
    if let Some(name) = path.strip_prefix("/pictures/") {
        return pictures::answer(house, name, call).await;
    }
    authorise(house, &call.headers)?;
    let read = method == Method::GET || method == Method::HEAD;
    match path.strip_prefix("/v1/").unwrap_or_default() {
        "models" if read => Ok(models::list()),
        "images/generations" if method == Method::POST => images::answer(house, call, Kind::Generation).await,
        "images/edits" if method == Method::POST => images::answer(house, call, Kind::Edit).await,
        "images/variations" if method == Method::POST => images::answer(house, call, Kind::Variation).await,
        "chat/completions" if method == Method::POST => chat::answer(house, call).await,
        "responses" if method == Method::POST => responses::answer(house, call).await,
        "embeddings" if method == Method::POST => other::embeddings(call),
        "audio/speech" if method == Method::POST => Ok(other::speech()),
        "files" if method == Method::POST => other::upload(call),
        rest if read && rest.starts_with("models/") => models::one(rest.trim_start_matches("models/")),
        rest if read && rest.starts_with("files/") && rest.ends_with("/content") => Ok(other::file(call)),
        _ => {
            let message = format!("Invalid URL ({method} {path})");
            Err(Answer::error(StatusCode::NOT_FOUND, "unknown_url", &message))
        }
    }
}

fn authorise(house: &House, headers: &HeaderMap) -> Result<(), Answer> {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .filter(|token| !token.is_empty());
    let right = match (&house.api_key, token) {
        (Some(key), Some(token)) => key.expose() == token,
        (None, token) => token.is_some(),
        (Some(_), None) => false,
    };
    let refusal = || {
        let message = "Incorrect API key provided. The demo takes `Authorization: Bearer …`.";
        Answer::error(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
    };
    if right { Ok(()) } else { Err(refusal()) }
}

//! The demo upstream over real sockets.

use std::time::{Duration, Instant};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::Method;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use super::{Demo, received::sha256};
use crate::picture::Format;

struct Bench {
    demo: Demo,
    client: Client,
}

impl Bench {
    async fn new() -> Self {
        Self::with(Demo::local().await.unwrap())
    }

    fn with(demo: Demo) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { demo, client: Client::builder().no_proxy().build().unwrap() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.demo.addr())).bearer_auth("any")
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        request.body(body.to_string()).send().await.unwrap()
    }

    async fn json(&self, path: &str, body: Value) -> Value {
        let answer = self.post(path, body).await;
        assert_eq!(answer.headers()["content-type"], "application/json");
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// The events of a stream: their names and data, `[DONE]` as a string.
    async fn events(&self, path: &str, body: Value) -> Vec<(String, Value)> {
        let answer = self.post(path, body).await;
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let text = answer.text().await.unwrap();
        let events = text.split_terminator("\n\n").map(|event| {
            let name = event.lines().find_map(|line| line.strip_prefix("event: ")).unwrap_or_default();
            let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            (name.to_owned(), serde_json::from_str(data).unwrap_or(Value::from(data)))
        });
        events.collect()
    }

    async fn chat(&self, prompt: &str) -> Value {
        let message = json!({ "role": "user", "content": prompt });
        let body = json!({ "model": "demo-chat", "messages": [message] });
        self.json("/v1/chat/completions", body).await["choices"][0]["message"].take()
    }

    /// The deltas of a streamed chat answer.
    async fn chat_deltas(&self, prompt: &str) -> Vec<Value> {
        let message = json!({ "role": "user", "content": [{ "type": "text", "text": prompt }] });
        let options = json!({ "include_usage": true });
        let body = json!({ "model": "demo-chat", "messages": [message], "stream": true, "stream_options": options });
        let mut events = self.events("/v1/chat/completions", body).await;
        assert_eq!(events.pop().unwrap().1, "[DONE]");
        let usage = events.pop().unwrap().1;
        assert_eq!((&usage["choices"], usage["usage"].is_object()), (&json!([]), true));
        assert_eq!(events.last().unwrap().1["choices"][0]["finish_reason"], "stop");
        events.into_iter().map(|(_, mut event)| event["choices"][0]["delta"].take()).collect()
    }
}

#[track_caller]
fn picture(bytes: &[u8], format: Format, size: (u32, u32)) {
    assert_eq!(crate::picture::sniff(bytes), crate::picture::Sniff::Picture(format));
    let seen = image::load_from_memory(bytes).unwrap();
    assert_eq!((seen.width(), seen.height()), size);
}

fn decode(base64: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(base64.as_str().unwrap()).unwrap()
}

/// The bytes of a data URI.
fn data(uri: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap()
}

#[tokio::test]
async fn generations_answer_pictures_of_the_asked_size_and_format() {
    let bench = Bench::new().await;
    let ask = json!({ "prompt": "a fox", "n": 2, "size": "96x64", "output_format": "jpeg" });
    let answer = bench.json("/v1/images/generations", ask.clone()).await;
    for item in answer["data"].as_array().unwrap() {
        picture(&decode(&item["b64_json"]), Format::Jpeg, (96, 64));
        assert_eq!(item["revised_prompt"], "a fox");
        assert!(item.get("url").is_none());
    }
    assert_ne!(answer["data"][0], answer["data"][1]);
    assert_eq!((&answer["size"], &answer["output_format"]), (&json!("96x64"), &json!("jpeg")));
    assert!(answer["usage"]["total_tokens"].is_u64() && answer["created"].is_u64());
    assert_eq!(bench.json("/v1/images/generations", ask).await["data"], answer["data"]);

    let big = json!({ "prompt": "a fox bytes:400000 format:webp size:64x64", "size": "auto" });
    let file = decode(&bench.json("/v1/images/generations", big).await["data"][0]["b64_json"]);
    picture(&file, Format::Webp, (64, 64));
    assert!(file.len().abs_diff(400_000) < 100);
}

#[tokio::test]
async fn urls_lead_to_the_same_picture() {
    let bench = Bench::new().await;
    let size = "64x64";
    let b64 = json!({ "prompt": "tea & cake", "size": size, "response_format": "b64_json" });
    let inline = decode(&bench.json("/v1/images/generations", b64).await["data"][0]["b64_json"]);
    for (prompt, form) in [("tea & cake", "url"), ("tea & cake asurl", "b64_json")] {
        let ask = json!({ "prompt": prompt, "size": size, "response_format": form });
        let answer = bench.json("/v1/images/generations", ask).await;
        assert!(answer["data"][0].get("b64_json").is_none());
        let url = answer["data"][0]["url"].as_str().unwrap();
        let fetched = reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap();
        assert_eq!(fetched.headers()["content-type"], "image/png");
        assert_eq!(fetched.bytes().await.unwrap(), inline);
    }
    let lost = json!({ "prompt": "x asurl lost:yes" });
    let answer = bench.json("/v1/images/generations", lost).await;
    let url = answer["data"][0]["url"].as_str().unwrap();
    assert_eq!(bench.client.get(url).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn unique_pictures_never_repeat() {
    let bench = Bench::new().await;
    let ask = json!({ "prompt": "x unique:yes", "size": "32x32" });
    let one = bench.json("/v1/images/generations", ask.clone()).await;
    let two = bench.json("/v1/images/generations", ask).await;
    assert_ne!(one["data"], two["data"]);
    picture(&decode(&two["data"][0]["b64_json"]), Format::Png, (32, 32));
}

#[tokio::test]
async fn gpt_image_models_refuse_response_format_as_openai_does() {
    let bench = Bench::new().await;
    let ask = json!({ "model": "gpt-image-demo", "prompt": "x", "response_format": "url" });
    let answer = bench.post("/v1/images/generations", ask).await;
    assert_eq!(answer.status(), 400);
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let message = "Unknown parameter: 'response_format'.";
    let error = json!({
        "message": message, "type": "invalid_request_error", "param": "response_format", "code": "unknown_parameter"
    });
    assert_eq!(body, json!({ "error": error }));
    for (field, value) in [("n", json!(11)), ("size", json!("9000x1")), ("output_format", json!("svg"))] {
        let answer = bench.json("/v1/images/generations", json!({ "prompt": "x", field: value })).await;
        assert_eq!(answer["error"]["param"], field);
    }
}

#[tokio::test]
async fn streams_show_drafts_before_the_picture() {
    let bench = Bench::new().await;
    let ask = json!({ "prompt": "x", "size": "64x32", "stream": true, "partial_images": 2 });
    let events = bench.events("/v1/images/generations", ask).await;
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    let partial = "image_generation.partial_image";
    assert_eq!(names, [partial, partial, "image_generation.completed"]);
    for (name, event) in &events {
        assert_eq!(event["type"], name.as_str());
        assert!(image::load_from_memory(&decode(&event["b64_json"])).is_ok());
    }
    assert_eq!(events[1].1["partial_image_index"], 1);
    picture(&decode(&events[2].1["b64_json"]), Format::Png, (64, 32));
}

#[tokio::test]
async fn edits_take_forms_and_json_and_tell_what_they_received() {
    let bench = Bench::new().await;
    let source = decode(
        &bench.json("/v1/images/generations", json!({ "prompt": "s", "size": "20x10" })).await["data"][0]["b64_json"],
    );
    let uri = format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(&source));
    bench.demo.clear();

    let mut form = b"--b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nadd a hat\r\n\
        --b\r\nContent-Disposition: form-data; name=\"size\"\r\n\r\n32x32\r\n--b\r\nContent-Disposition: form-data; \
        name=\"image[]\"; filename=\"a.png\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        .to_vec();
    form.extend_from_slice(&source);
    form.extend_from_slice(b"\r\n--b--\r\n");
    let length = form.len();
    let request = bench.request(Method::POST, "/v1/images/edits");
    let request = request.header("content-type", "multipart/form-data; boundary=b").body(form);
    let answer: Value = serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap();
    picture(&decode(&answer["data"][0]["b64_json"]), Format::Png, (32, 32));

    let ask = json!({ "model": "m", "prompt": "add a hat", "images": [{ "image_url": uri }], "size": "32x32" });
    let json_answer = bench.json("/v1/images/edits", ask.clone()).await;
    assert_eq!(json_answer["data"], answer["data"], "the same inputs draw the same picture");
    assert_eq!(bench.post("/v1/images/edits", json!({ "prompt": "x" })).await.status(), 400);

    let received = bench.demo.received_at_least(3).await;
    assert_eq!(received.len(), 3);
    assert_eq!(received[0].field("prompt"), Some("add a hat"));
    assert_eq!((received[0].length, received[0].content_length), (length, Some(length as u64)));
    let (image, by_json) = (&received[0].images[0], &received[1].images[0]);
    assert_eq!((image.place.as_str(), image.media_type.as_deref()), ("image[]", Some("application/octet-stream")));
    assert_eq!((by_json.place.as_str(), by_json.media_type.as_deref()), ("images[0].image_url", Some("image/jpeg")));
    for image in [image, by_json] {
        assert_eq!((image.format, image.size), (Some(Format::Png), Some((20, 10))));
        assert_eq!((image.length, image.sha256.as_str()), (source.len(), sha256(&source).as_str()));
    }
    assert_eq!(received[1].model.as_deref(), Some("m"));
    assert_eq!(received[1].json().unwrap(), ask);
    assert!(!format!("{received:?}").contains("Bearer any"));

    let report = bench.request(Method::GET, "/demo/received").send().await.unwrap().text().await.unwrap();
    assert!(!report.contains("Bearer any") && report.contains("[\"authorization\",\"sha256:"), "{report}");
    bench.request(Method::DELETE, "/demo/received").send().await.unwrap();
    assert!(bench.demo.received().is_empty());
}

#[tokio::test]
async fn chat_carries_a_picture_in_every_shape() {
    let bench = Bench::new().await;
    let markdown = bench.chat("draw a cat size:40x40").await["content"].as_str().unwrap().to_owned();
    let uri = markdown.strip_prefix("![a cat](").unwrap().strip_suffix(')').unwrap().to_owned();
    picture(&data(&uri), Format::Png, (40, 40));

    let message = bench.chat("draw a cat size:40x40 shape:images").await;
    assert_eq!(message["images"][0]["image_url"]["url"], uri);
    assert_eq!(message["images"][0]["type"], "image_url");
    let message = bench.chat("draw a cat size:40x40 shape:array").await;
    assert_eq!(message["content"][1]["image_url"]["url"], uri);
    assert_eq!(bench.chat("a cat size:40x40 shape:bare").await["content"], uri);
    let message = bench.chat("draw a cat asurl").await;
    assert!(message["content"].as_str().unwrap().starts_with("![a cat](http://127.0.0.1:"));

    for size in [1000, 7] {
        let deltas = bench.chat_deltas(&format!("draw a cat size:40x40 delta:{size}")).await;
        let pieces: Vec<&str> = deltas.iter().filter_map(|delta| delta["content"].as_str()).collect();
        assert_eq!(pieces.concat(), markdown);
        assert!(pieces.iter().all(|piece| piece.len() <= size));
        assert!(pieces.len() > markdown.len() / size);
    }
    let deltas = bench.chat_deltas("draw a cat size:40x40 shape:images").await;
    assert_eq!(deltas[1]["images"][0]["image_url"]["url"], uri);
    let deltas = bench.chat_deltas("draw a cat size:40x40 shape:array").await;
    assert_eq!(deltas[1]["content"][1]["image_url"]["url"], uri);
    let deltas = bench.chat_deltas("draw a cat size:40x40 shape:bare").await;
    assert_eq!(deltas.iter().filter_map(|delta| delta["content"].as_str()).collect::<String>(), uri);
}

#[tokio::test]
async fn chat_talks_about_what_it_received() {
    let bench = Bench::new().await;
    let uri = bench.chat("a dot size:12x8 shape:bare").await["content"].take();
    let parts =
        json!([{ "type": "text", "text": "what is this" }, { "type": "image_url", "image_url": { "url": uri } }]);
    let body = json!({ "model": "demo-chat", "messages": [{ "role": "user", "content": parts }] });
    let answer = bench.json("/v1/chat/completions", body).await;
    let said = answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(said.contains("what is this") && said.contains("1 picture: 12x8 (image/png"), "{said}");

    let deltas = bench.chat_deltas("hello words:30").await;
    assert_eq!(deltas.iter().filter(|delta| delta["content"] != "").count(), 31); // and the end
    let deltas = bench.chat_deltas("stamp:yes words:2").await;
    assert!(deltas[1]["content"].as_str().unwrap().trim().parse::<u64>().unwrap() > 1_700_000_000_000_000_000);

    let message = json!({ "role": "user", "content": "draw x size:16x16" });
    let body = json!({ "model": "m", "n": 2, "messages": [message] });
    let answer = bench.json("/v1/chat/completions", body).await;
    assert_ne!(answer["choices"][0]["message"], answer["choices"][1]["message"]);
}

#[tokio::test]
async fn responses_answer_items_and_events() {
    let bench = Bench::new().await;
    let draw = json!({ "model": "m", "input": "a cat size:40x40", "tools": [{ "type": "image_generation" }] });
    let answer = bench.json("/v1/responses", draw).await;
    let result = answer["output"][0]["result"].clone();
    assert_eq!(answer["output"][0]["type"], "image_generation_call");
    picture(&decode(&result), Format::Png, (40, 40));

    let input = json!([{ "role": "user", "content": [{ "type": "input_text", "text": "draw a cat size:40x40" }] }]);
    let tools = json!([{ "type": "image_generation", "partial_images": 1 }]);
    let stream = json!({ "model": "m", "input": input, "tools": tools, "stream": true });
    let events = bench.events("/v1/responses", stream).await;
    for (number, (name, event)) in events.iter().enumerate() {
        assert_eq!((&event["type"], &event["sequence_number"]), (&json!(name), &json!(number)));
    }
    let named = |wanted: &str| &events.iter().find(|(name, _)| name == wanted).unwrap().1;
    assert!(named("response.output_item.added")["item"]["result"].is_null());
    let partial = named("response.image_generation_call.partial_image");
    assert!(image::load_from_memory(&decode(&partial["partial_image_b64"])).is_ok());
    assert_eq!(named("response.output_item.done")["item"]["result"], result);
    assert_eq!(named("response.completed")["response"]["output"][0]["result"], result);

    let events = bench.events("/v1/responses", json!({ "model": "m", "input": "hello", "stream": true })).await;
    let deltas: String = events.iter().filter_map(|(_, event)| event["delta"].as_str()).collect();
    let done = events.iter().find(|(name, _)| name == "response.output_text.done").unwrap();
    assert_eq!(done.1["text"], deltas);
    assert!(deltas.contains("hello"));
}

#[tokio::test]
async fn statuses_look_like_openais() {
    let bench = Bench::new().await;
    for (status, code) in [(400, "moderation_blocked"), (429, "rate_limit_exceeded"), (503, "server_error")] {
        let prompt = format!("x status:{status}");
        let answer = bench.post("/v1/images/generations", json!({ "prompt": prompt, "stream": true })).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers().get("retry-after").is_some(), status == 429);
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(body["error"]["code"], code);
    }
    let answer = bench.request(Method::GET, "/v1/models").header("x-demo", "status:500").send().await.unwrap();
    assert_eq!(answer.status(), 500);
    let answer = bench.request(Method::GET, "/v1/models?demo=status:404").send().await.unwrap();
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn delays_pauses_and_garbage() {
    let bench = Bench::new().await;
    let start = Instant::now();
    bench.chat("hello delay:150ms").await;
    assert!(start.elapsed() >= Duration::from_millis(150));

    let start = Instant::now();
    bench.post("/v1/images/generations", json!({ "prompt": "x size:8x8" })).await.bytes().await.unwrap();
    let ask = json!({ "prompt": "x size:8x8 bytes:50000 slow:20ms" });
    let body = bench.post("/v1/images/generations", ask).await.bytes().await.unwrap();
    assert!(body.len() > 66_000 && start.elapsed() >= Duration::from_millis(4 * 20));

    let answer = bench.post("/v1/images/generations", json!({ "prompt": "x noise:garbage" })).await;
    assert_eq!(answer.status(), 200);
    assert!(serde_json::from_slice::<Value>(&answer.bytes().await.unwrap()).is_err());
}

#[tokio::test]
async fn connections_break_when_asked_to() {
    let bench = Bench::new().await;
    let body = json!({ "prompt": "x reset" }).to_string();
    let sent = bench.request(Method::POST, "/v1/images/generations").body(body).send().await;
    assert!(sent.is_err(), "{sent:?}");

    for prompt in ["x size:64x64 bytes:900000 truncate:50%", "x size:16x16 truncate:50%"] {
        let mut answer = bench.post("/v1/images/generations", json!({ "prompt": prompt })).await;
        let promised = answer.content_length().unwrap();
        let mut came = 0;
        let end = loop {
            match answer.chunk().await {
                Ok(Some(piece)) => came += piece.len() as u64,
                other => break other,
            }
        };
        assert!(end.is_err());
        assert_eq!(came, promised / 2);
    }
    let answer = bench.post("/v1/images/generations", json!({ "prompt": "x truncate:50%", "stream": true })).await;
    assert!(answer.bytes().await.is_err());
}

#[tokio::test]
async fn early_answers_come_before_the_body_is_read() {
    let bench = Bench::new().await;
    let (mut pieces, body) = futures_channel(4);
    pieces.push("{\"prompt\":\"x early:413\",\"image\":\"");
    let request = bench.request(Method::POST, "/v1/images/edits").header("content-type", "application/json");
    let answer = request.body(reqwest::Body::wrap_stream(body)).send().await.unwrap();
    assert_eq!(answer.status(), 413);
    assert_eq!(answer.headers()["connection"], "close");
    let received = bench.demo.received_at_least(1).await;
    assert!(received[0].chunked && received[0].content_length.is_none());
    drop(pieces);
}

/// A body that stays open until its handle is dropped.
fn futures_channel(size: usize) -> (Pieces, impl futures_util::Stream<Item = Result<String, std::io::Error>>) {
    let (sender, receiver) = tokio::sync::mpsc::channel::<String>(size);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece| (Ok(piece), receiver))
    });
    (Pieces(sender), stream)
}

struct Pieces(tokio::sync::mpsc::Sender<String>);

impl Pieces {
    fn push(&mut self, piece: &str) {
        self.0.try_send(piece.to_owned()).unwrap();
    }
}

#[tokio::test]
async fn keys_are_asked_for() {
    let bench = Bench::with(Demo::builder().api_key("right").local().await.unwrap());
    let answer = bench.request(Method::GET, "/v1/models").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert!(answer.text().await.unwrap().contains("invalid_api_key"));
    let url = format!("{}/models", bench.demo.base_url());
    assert_eq!(bench.client.get(&url).bearer_auth("right").send().await.unwrap().status(), 200);
    let open = Bench::new().await;
    let url = format!("{}/models", open.demo.base_url());
    assert_eq!(open.client.get(&url).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn the_other_routes_answer() {
    let bench = Bench::new().await;
    let get = async |path: &str| bench.request(Method::GET, path).send().await.unwrap();
    let models: Value = serde_json::from_slice(&get("/v1/models").await.bytes().await.unwrap()).unwrap();
    assert_eq!(models["data"].as_array().unwrap().len(), 3);
    assert_eq!(get("/v1/models/demo-chat").await.status(), 200);
    assert_eq!(get("/v1/models/nobody").await.status(), 404);
    assert_eq!(get("/v1/nothing").await.status(), 404);
    assert_eq!(get("/v1/files/f1/content").await.bytes().await.unwrap().len(), 65_536);
    assert_eq!(get("/v1/files/f1/content?demo=bytes:1000").await.bytes().await.unwrap().len(), 1000);
    assert!(get("/").await.text().await.unwrap().contains("truncate:50%"));
    let head = bench.request(Method::HEAD, "/v1/files/f1/content").send().await.unwrap();
    assert_eq!(head.headers()["content-length"], "65536");
    let embeddings = bench.json("/v1/embeddings", json!({ "model": "e", "input": ["a", "b"] })).await;
    assert_eq!(embeddings["data"][1]["embedding"].as_array().unwrap().len(), 8);
    assert_eq!(bench.post("/v1/audio/speech", json!({ "input": "x" })).await.headers()["content-type"], "audio/wav");
    assert_eq!(bench.post("/v1/chat/completions", json!([])).await.status(), 400);
}

#[tokio::test]
async fn a_stopped_server_is_gone_and_its_port_can_be_taken_again() {
    let bench = Bench::new().await;
    let addr = bench.demo.addr();
    bench.chat("hello").await;
    let message = json!({ "role": "user", "content": "hello delay:60s" });
    let waiting = tokio::spawn(
        bench.request(Method::POST, "/v1/chat/completions").body(json!({ "messages": [message] }).to_string()).send(),
    );
    bench.demo.received_at_least(2).await;
    bench.demo.stop().await;
    assert!(waiting.await.unwrap().is_err(), "it was cut, not waited for");
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    let listener = tokio::net::TcpListener::bind(addr).await.unwrap();
    assert_eq!(Demo::start(listener).unwrap().addr(), addr);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    assert_eq!(Demo::builder().start_std(listener).unwrap().addr(), addr);
}

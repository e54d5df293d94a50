//! Every place of a request where a picture may be named, and what goes upstream from there.
//!
//! In a row, `{own uri}` is sent as a URL of ours and must arrive as a data URI, `{remote b64}` as a URL of another host
//! and arrive as bare base64, and so on. Everything around it must arrive as it was sent.

use crate::{
    harness::{Canned, House, KEY, data_uri, encoded, fixture},
    requests::{received, remote},
};

/// Sends each row and compares what arrives, to the byte.
async fn assert_rows(path: &str, before: &str, after: &str, rows: &[(&str, &str)]) {
    let house = House::new().await;
    let (own, own_bytes) = house.picture("an oak size:64x64").await;
    let (url, bytes) = remote(&house, "an elm size:64x64 format:webp").await;
    let sides = [("own", own, own_bytes, "image/png"), ("remote", url, bytes, "image/webp")];
    let mut names = std::collections::HashSet::new();
    for (name, row) in rows {
        assert!(names.insert(name), "{name} twice");
        let mut put = Vec::new();
        for (side, url, bytes, media_type) in &sides {
            let source = (
                format!(r#"{{"type":"url","url":"{url}"}}"#),
                format!(r#"{{"type":"base64","media_type":"{media_type}","data":"{}"}}"#, encoded(bytes)),
            );
            for (form, sent, arrives) in [
                ("uri", url.clone(), data_uri(media_type, bytes)),
                ("b64", url.clone(), encoded(bytes)),
                ("source", source.0, source.1),
                ("stays", url.clone(), url.clone()),
            ] {
                put.push((format!("{{{side} {form}}}"), sent, arrives));
            }
        }
        let (mut sent, mut expected) = (format!("{before}{row}{after}"), format!("{before}{row}{after}"));
        for (mark, url, arrives) in put {
            sent = sent.replace(&mark, &url);
            expected = expected.replace(&mark, &arrives);
        }
        assert!(!sent.contains("{own") && !sent.contains("{remote"), "{name}: {sent}");
        let answer = house.post(path, sent.as_str()).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let request = received(&house, path);
        assert_eq!(String::from_utf8_lossy(request.body.as_ref().unwrap()), expected, "{name}");
        assert_eq!((request.content_length, request.chunked), (Some(expected.len() as u64), false), "{name}");
        house.demo.clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn image_routes() {
    let ark: Vec<&str> = (0..14).map(|n| if n % 2 == 0 { r#""{own uri}""# } else { r#""{remote uri}""# }).collect();
    let ark = format!(r#","image":[{}]"#, ark.join(","));
    let rows = [
        ("OpenAI: images[].image_url", r#","images":[{"image_url":"{own uri}"},{"image_url":"{remote uri}"}]"#),
        ("OpenAI: mask.image_url", r#","mask":{"image_url":"{own uri}"}"#),
        ("OpenAI: file ids", r#","images":[{"file_id":"file-1"}],"mask":{"file_id":"file-2"}"#),
        ("data URIs", r#","images":[{"image_url":"data:image/png;base64,iVBORw0KGgo="}]"#),
        ("xAI: image.url", r#","image":{"url":"{own uri}","type":"image_url"}"#),
        ("xAI: images[].url", r#","images":[{"type":"image_url","url":"{remote uri}"}]"#),
        ("Ark: image as text", r#","image":"{remote uri}""#),
        ("Ark: image as a list of 14", &ark),
        (
            "Azure: image as bare base64",
            r#","image":"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mM4IScHAAK2AQUKW6YGAAAAAElFTkSuQmCC""#,
        ),
        ("SiliconFlow: image, image2, image3", r#","image":"{own uri}","image2":"{remote uri}","image3":"{own uri}""#),
        ("Together: image_url", r#","image_url":"{remote uri}""#),
        ("Together: reference_images", r#","reference_images":["{own uri}","{remote uri}"]"#),
        (
            "OpenRouter: input_references",
            r#","input_references":[{"type":"image_url","image_url":{"url":"{own uri}"}}]"#,
        ),
        ("Fireworks: input_image", r#","input_image":"{own uri}""#),
        ("A1111: init_images", r#","init_images":["{own uri}","iVBORw0KGgo="]"#),
        ("LocalAI: ref_images", r#","ref_images":["{own b64}","{remote b64}","iVBORw0KGgo="]"#),
        ("LocalAI: files", r#","files":["{remote b64}"]"#),
        ("null and empty", r#","image":null,"mask":"","images":[],"image_url":"""#),
        ("text is no place", r#","user":"{own stays}","metadata":{"image":"{remote stays}","images":["{own stays}"]}"#),
        ("nor is what lies deeper", r#","image":{"x":{"url":"{own stays}"}},"extra_body":{"image":"{own stays}"}"#),
    ];
    let before = r#"{"model":"demo-image","prompt":"a hat ![i](http://x.example/images/a.png) size:64x64""#;
    assert_rows("/v1/images/generations", before, " }\n", &rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_parts() {
    let before = r#"{"model":"demo-chat","messages":[{"role":"user","content":[{"type":"text","text":"hi"}, "#;
    assert_rows("/v1/chat/completions", before, "] }]}", &[
        ("OpenAI: image_url.url", r#"{"type":"image_url","image_url":{"url":"{own uri}","detail":"high"},"prompt_cache_breakpoint":{"a":1}}"#),
        ("several", r#"{"type":"image_url","image_url":{"url":"{remote uri}"}},{"type":"image_url","image_url":{"url":"{own uri}"}}"#),
        ("image_url as text", r#"{"type":"image_url","image_url":"{remote uri}"}"#),
        ("Responses: input_image", r#"{"type":"input_image","image_url":"{own uri}"}"#),
        ("AI SDK: image as text", r#"{"type":"image","image":"{own uri}"}"#),
        ("image.url", r#"{"type":"image","image":{"url":"{remote uri}"}}"#),
        ("Anthropic: source.url, ours", r#"{"type":"image","source":{own source},"cache_control":{"type":"ephemeral"}}"#),
        ("Anthropic: source.url, another's", r#"{"type":"image","source":{remote source}}"#),
        ("Anthropic: source.data", r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}}"#),
        ("data URI", r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}"#),
        ("null", r#"{"type":"image_url","image_url":null}"#),
        ("input_audio.data", r#"{"type":"input_audio","input_audio":{"data":"{own stays}","format":"wav"}}"#),
        ("file.file_data", r#"{"type":"file","file":{"file_data":"data:application/pdf;base64,iVBORw0KGgoAAAANSUhEUg==","filename":"{remote stays}"}}"#),
        ("a link in text", r#"{"type":"text","text":"see {own stays} or [this]({own stays})"}"#),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_messages() {
    let before = r#"{"model":"demo-chat","messages":[{"role":"user","content":"hi"}, "#;
    assert_rows("/v1/chat/completions", before, r#", {"role":"user","content":"go on"}]}"#, &[
        ("OpenRouter: images[].image_url.url", r#"{"role":"assistant","content":"","images":[{"type":"image_url","image_url":{"url":"{own uri}"},"index":0}]}"#),
        ("images[] as text", r#"{"role":"assistant","content":"","images":["{own uri}","iVBORw0KGgo="]}"#),
        ("images[].url", r#"{"role":"assistant","content":null,"images":[{"url":"{remote uri}"}]}"#),
        ("a tool's answer", r#"{"role":"tool","tool_call_id":"c","content":[{"type":"text","text":"done"},{"type":"image_url","image_url":{"url":"{own uri}"}}]}"#),
        ("a system's", r#"{"role":"system","content":[{"type":"image_url","image_url":{"url":"{remote uri}"}}]}"#),
        ("reasoning_details", r#"{"role":"assistant","content":"","reasoning_details":[{"type":"reasoning.encrypted","data":"{own stays}","image_url":"{own stays}"}]}"#),
        ("encrypted_content", r#"{"role":"assistant","content":"","encrypted_content":"iVBORw0KGgo= ![a]({own stays})"}"#),
        ("thought_signature", r#"{"role":"assistant","content":[{"type":"text","text":"x","extra_content":{"google":{"thought_signature":"{own stays}"}},"thought_signature":"{own stays}"}]}"#),
        ("tool_calls[].function.arguments", r#"{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"image_url\":\"{own stays}\",\"x\":\"![a]({own stays})\"}"}}]}"#),
        ("audio.data", r#"{"role":"assistant","audio":{"id":"a","data":"{own stays}"}}"#),
        ("reasoning_content", r#"{"role":"assistant","content":"","reasoning_content":"<think>![a]({own stays})</think>"}"#),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses() {
    let before = r#"{"model":"demo-chat","input":[{"role":"user","content":"hi"}, "#;
    assert_rows("/v1/responses", before, r#"],"instructions":"![a](http://x.example/images/a.png)"}"#, &[
        ("content[].image_url", r#"{"role":"user","content":[{"type":"input_image","image_url":"{remote uri}","detail":"original"},{"type":"input_image","image_url":"{own uri}"}]}"#),
        ("content[] with a file id", r#"{"role":"user","content":[{"type":"input_image","file_id":"file-1","image_url":null}]}"#),
        ("function_call_output.output[]", r#"{"type":"function_call_output","call_id":"c","output":[{"type":"input_image","image_url":"{own uri}"}]}"#),
        ("custom_tool_call_output.output[]", r#"{"type":"custom_tool_call_output","call_id":"c","output":[{"type":"input_image","image_url":"{remote uri}"}]}"#),
        ("function_call_output.output as text", r#"{"type":"function_call_output","call_id":"c","output":"{\"image_url\":\"{own stays}\"}"}"#),
        ("computer_call_output.output", r#"{"type":"computer_call_output","call_id":"c","output":{"type":"computer_screenshot","image_url":"{own uri}"}}"#),
        ("image_generation_call.result, ours", r#"{"type":"image_generation_call","id":"i","status":"completed","result":"{own b64}"}"#),
        ("image_generation_call.result, another's", r#"{"type":"image_generation_call","id":"i","result":"{remote stays}"}"#),
        ("input_file", r#"{"role":"user","content":[{"type":"input_file","file_data":"{own stays}","file_url":"{own stays}"}]}"#),
        ("function_call.arguments", r#"{"type":"function_call","call_id":"c","name":"f","arguments":"{\"image_url\":\"{own stays}\"}"}"#),
        ("reasoning.encrypted_content", r#"{"type":"reasoning","id":"r","encrypted_content":"{own stays}","summary":[{"type":"summary_text","text":"![a]({own stays})"}]}"#),
    ])
    .await;
    let before = r#"{"model":"demo-chat","input":"hi""#;
    assert_rows("/v1/responses", before, "}", &[
        ("tools[].input_image_mask", r#","tools":[{"type":"image_generation","input_image_mask":{"image_url":"{own uri}"}}]"#),
        ("prompt.variables", r#","prompt":{"id":"p","variables":{"logo":{"type":"input_image","image_url":"{remote uri}"},"x":"{own stays}"}}"#),
        ("instructions", r#","instructions":"![a]({own stays})""#),
    ])
    .await;
}

/// OpenRouter's path for generations, LocalAI's for edits: what goes up has bytes, what comes down a URL.
#[tokio::test(flavor = "multi_thread")]
async fn paths_of_other_servers() {
    let answer = format!("{{\"created\":1,\"data\":[{{\"b64_json\":\"{}\"}}]}}", encoded(&fixture("img/noise16.png")));
    let upstream = Canned::new("application/json", answer).await;
    let house = House::builder()
        .upstream(&upstream.upstream())
        .models("    - { name: other, targets: [ { upstream: canned } ] }")
        .start()
        .await;
    let form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nother\r\n--b--\r\n";
    let key = format!("Bearer {KEY}");
    for (path, kind, body) in [
        ("/v1/images", "application/json", r#"{"model":"other","prompt":"x"}"#),
        ("/v1/images/inpainting", "multipart/form-data; boundary=b", form),
    ] {
        let headers = [("authorization", key.as_str()), ("content-type", kind)];
        let answer = house.send(http::Method::POST, path, &headers, body).await.ok();
        let url = answer["data"][0]["url"].as_str().unwrap_or_else(|| panic!("{path}: {answer}"));
        assert!(house.get(url).await.body == fixture("img/noise16.png"), "{path}");
    }
}

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::rewrite::{
    answer::Form,
    shape::Shape,
    testing::{PNG, PNG_BASE64, Renderer},
};

fn rules(shape: Shape, form: Form) -> Rules {
    Rules::new(shape, form)
}

fn rewrite_pieces<'a>(rules: Rules, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut rewriter = StreamRewriter::new(rules);
    let mut renderer = Renderer::default();
    for piece in pieces {
        renderer.events(rewriter.push(piece));
    }
    renderer.events(rewriter.finish());
    renderer.text()
}

/// Rewrites the stream whole, in pieces of several sizes and cut at every place; all must agree.
#[track_caller]
fn rewrite(rules: Rules, text: &str) -> String {
    let text = text.as_bytes();
    let whole = rewrite_pieces(rules, [text]);
    for size in [1, 2, 7, 64, 1000] {
        assert_eq!(rewrite_pieces(rules, text.chunks(size)), whole, "in pieces of {size}");
    }
    for cut in (0..=text.len()).step_by(1 + text.len() / 2000) {
        let (a, b) = text.split_at(cut);
        assert_eq!(rewrite_pieces(rules, [a, b]), whole, "cut at {cut}");
    }
    whole
}

fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/wire/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn picture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/wire/img/{name}", env!("CARGO_MANIFEST_DIR"));
    Renderer::url(&std::fs::read(path).unwrap())
}

/// The JSON of every event.
fn data(stream: &str) -> Vec<Value> {
    let lines = stream.lines().filter_map(|line| line.strip_prefix("data:"));
    lines.filter_map(|line| serde_json::from_str(line.trim()).ok()).collect()
}

/// The text a client puts together, of one choice.
fn content(stream: &str, choice: u64) -> String {
    let of_choice = |event: &Value| {
        let choices = event["choices"].as_array().cloned().unwrap_or_default();
        let mine = choices.into_iter().find(|c| c["index"] == choice)?;
        Some(mine["delta"]["content"].as_str()?.to_owned())
    };
    data(stream).iter().filter_map(of_choice).collect()
}

fn delta(index: u32, text: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
    )
}

fn stop(index: u32) -> String {
    format!("data: {{\"id\":\"c\",\"choices\":[{{\"index\":{index},\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n")
}

#[test]
fn markdown_cut_over_many_deltas_becomes_one_url() {
    let stream = fixture("resp.chat.markdown-split.sse");
    let out = rewrite(rules(Shape::Chat, Form::Url), &stream);
    assert_eq!(content(&out, 0), content(&stream, 0).replace(&data_uri(&content(&stream, 0)), &picture("noise16.png")));
    assert!(out.ends_with(&stream[stream.len() - 20..]));
    assert!(!out.contains("base64"));
    assert_eq!(rewrite(rules(Shape::Chat, Form::AsCame), &stream), stream);
}

fn data_uri(text: &str) -> String {
    let start = text.find("data:").unwrap();
    let len = text[start..].find(')').unwrap_or(text.len() - start);
    text[start..start + len].to_owned()
}

#[test]
fn streams_of_every_shape_keep_everything_but_the_pictures() {
    for (name, shape, pictures) in [
        ("resp.chat.delta-images.sse", Shape::Chat, &[("data:image/png;base64,", "px2.png")][..]),
        ("resp.images.stream-generation.sse", Shape::Images, &[("", "px2.png")]),
        ("resp.images.stream-edit.sse", Shape::Images, &[("", "px2.webp")]),
        ("resp.responses.stream.sse", Shape::Responses, &[("", "px2.png")]),
    ] {
        let stream = fixture(name);
        let out = rewrite(rules(shape, Form::Url), &stream);
        for (prefix, file) in pictures {
            let bytes =
                std::fs::read(format!("{}/tests/fixtures/wire/img/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
            let base64 = format!("{prefix}{}", base64_simd::STANDARD.encode_to_string(&bytes));
            let url = Renderer::url(&bytes);
            let kept: Vec<Value> = data(&out);
            let mut expected = String::new();
            for line in stream.lines() {
                let partial = line.contains("partial_image");
                let line = if partial { line.to_owned() } else { line.replace(&base64, &url) };
                let line = if shape == Shape::Images && !partial { line.replace("b64_json", "url") } else { line };
                expected.push_str(&line);
                expected.push('\n');
            }
            assert_eq!(out, expected, "{name}");
            assert!(!kept.is_empty());
        }
        assert_eq!(rewrite(rules(shape, Form::AsCame), &stream), stream, "{name}");
    }
}

#[test]
fn arks_finished_pictures_and_failures_are_told_apart() {
    let stream = fixture("resp.images.ark-stream.sse");
    let out = rewrite(rules(Shape::Images, Form::Url), &stream);
    let (before, after) = (data(&stream), data(&out));
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        if before["type"].as_str().is_some_and(|name| name.ends_with("partial_succeeded")) {
            assert!(after["url"].as_str().unwrap().starts_with("u:"), "{after}");
            assert!(after.get("b64_json").is_none());
        } else {
            assert_eq!(before, after);
        }
    }
}

#[test]
fn choices_are_told_apart_wherever_their_index_stands() {
    let (a, b) =
        (format!("![a](data:image/png;base64,{PNG_BASE64})"), format!("x data:image/png;base64,{PNG_BASE64} y"));
    let mut stream = String::new();
    for at in 0..a.len().max(b.len()).div_ceil(5) {
        for (index, text) in [(0, &a), (1, &b)] {
            if let Some(piece) = text.get(at * 5..(at * 5 + 5).min(text.len())) {
                stream.push_str(&delta(index, piece));
            }
        }
    }
    stream.push_str(&(stop(0) + &stop(1) + "data: [DONE]\n\n"));
    let out = rewrite(rules(Shape::Chat, Form::Url), &stream);
    assert_eq!(content(&out, 0), format!("![a]({})", Renderer::url(PNG)));
    assert_eq!(content(&out, 1), format!("x {} y", Renderer::url(PNG)));
}

/// Deltas whose text may be a picture for so long that they do not wait any more: a JPEG whose size header is far away.
fn undecided() -> (String, String) {
    let start = "data:image/jpeg;base64,/9j/4f//";
    let deltas: String = (0..800).map(|_| delta(0, "AAAA")).collect();
    (delta(0, &format!("see {start}")) + &deltas, format!("see {start}{}", "AAAA".repeat(800)))
}

/// Regression 17: it went out behind the line that was cut, as a part of it.
#[test]
fn held_text_is_an_event_of_its_own_when_the_stream_is_cut() {
    let cut = |text: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}");
    let (deltas, text) = undecided();
    for (tail, end) in [
        (": a comment".to_owned(), ""),
        ("event: x\nid: 3".into(), ""),
        ("data00: x".into(), ""),
        ("dat".into(), ""),
        (delta(0, "!").trim_end().to_owned(), "!"),
        (delta(0, "!").trim_end().to_owned() + "\n", "!"),
        (cut("!"), ""),
    ] {
        // Events that wait leave as they came.
        let waiting = delta(0, "see data:im") + &tail;
        assert_eq!(rewrite(rules(Shape::Chat, Form::Url), &waiting), waiting);
        // The text of others is moved.
        let stream = deltas.clone() + &tail;
        let out = rewrite_pieces(rules(Shape::Chat, Form::Url), stream.as_bytes().chunks(1000));
        let events: Vec<&str> = out.split("\n\n").collect();
        let texts = events.iter().filter(|event| event.trim_start().starts_with("data: {")).count();
        assert!((2..10).contains(&texts) && out.matches("data: {").count() == texts, "{tail}: {out}");
        assert!(tail == cut("!") || content(&out, 0) == text.clone() + end, "{tail}: {out}");
    }
}

#[test]
fn text_that_is_moved_is_whole_whatever_comes_behind_it() {
    let (deltas, text) = undecided();
    let call = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\n";
    for tail in [stop(0), "data: [DONE]\n\n".into(), call.into(), delta(0, " end") + &delta(0, " x d") + &stop(0)] {
        let stream = deltas.clone() + &tail;
        let out = rewrite_pieces(rules(Shape::Chat, Form::Url), stream.as_bytes().chunks(1000));
        assert_eq!(content(&out, 0), text.clone() + &content(&tail, 0));
        assert!(out.ends_with(&tail[tail.len() - stop(0).len().min(tail.len())..]), "{out}");
    }
}

/// Regression 19: equal fragments of sound beside held text were left out with it, and one was said again when it was released.
#[test]
fn what_clients_append_stays_beside_text_that_is_held_back() {
    let sound = |text: &str| delta(0, text).replace("},\"finish", ",\"audio\":{\"data\":\"zzzz\"}},\"finish");
    let mut stream = sound("data:image/png;base64,");
    PNG_BASE64.as_bytes().chunks(9).for_each(|piece| stream += &sound(str::from_utf8(piece).unwrap()));
    let out = rewrite(rules(Shape::Chat, Form::Url), &(stream.clone() + &stop(0)));
    assert_eq!(out.matches("zzzz").count(), stream.matches("zzzz").count(), "{out}");
    assert_eq!(content(&out, 0), Renderer::url(PNG));
}

/// Regression 18: an LF whose CR came in another piece counted as the start of the next event.
#[test]
fn line_ends_may_be_cut_in_the_middle() {
    let url = Renderer::url(PNG);
    let pieces = ["see ", "data:image/", "png;base64,", &PNG_BASE64[..40], &PNG_BASE64[40..], " and data:im"];
    for end in ["\n", "\r", "\r\n"] {
        let stream: String = pieces.iter().map(|text| delta(0, text)).collect::<String>() + &stop(0);
        let out = rewrite(rules(Shape::Chat, Form::Url), &stream.replace('\n', end));
        assert_eq!(content(&out.replace(end, "\n"), 0), format!("see {url} and data:im"));
        assert!(end == "\n" || !out.replace(end, "").contains('\n'), "{out:?}");
    }
}

#[test]
fn held_text_goes_out_before_what_ends_it() {
    let uri = format!("data:image/png;base64,{PNG_BASE64}");
    let url = Renderer::url(PNG);
    let tool = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{}]}}]}\n\n".to_owned();
    let last = |text: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":\"length\"}}]}}\n\n"
        )
    };
    for (text, tail, joined) in [
        ("see data:im", stop(0), "see data:im".to_owned()),
        ("see data:im", "data: [DONE]\n\n".into(), "see data:im".into()),
        ("see data:im", String::new(), "see data:im".into()),
        ("see data:im", "data: {\"error\":{\"message\":\"x\"}}\n\n".into(), "see data:im".into()),
        ("see data:im", tool, "see data:im".into()),
        ("see data:im", last("age"), "see data:image".into()),
        (&uri, stop(0), url.clone()),
        (&uri, String::new(), url.clone()),
        (&uri[..60], stop(0), uri[..60].to_owned()),
        (&uri[..40], last(&uri[40..]), url.clone()),
    ] {
        let stream = delta(0, text) + &tail;
        let out = rewrite(rules(Shape::Chat, Form::Url), &stream);
        assert_eq!(content(&out, 0), joined, "{text} then {tail}");
        if !tail.contains("length") {
            assert!(out.ends_with(&tail), "{out}");
        }
    }
}

/// Regression 20: a picture whose deltas stopped in the middle got a URL of what had come, and what followed was text.
#[test]
fn a_picture_that_is_cut_is_no_picture() {
    let uri = format!("![x](data:image/png;base64,{PNG_BASE64})");
    let (head, tail) = uri.split_at(90);
    let error = "data: {\"error\":{\"message\":\"x\"}}\n\n".to_owned();
    for end in [stop(0), error, "data: [DONE]\n\n".into(), String::new()] {
        let out = rewrite(rules(Shape::Chat, Form::Url), &(delta(0, head) + &end));
        assert_eq!(content(&out, 0), head, "{end}");
        assert!(out.ends_with(&end), "{out}");
    }
    // What comes between belongs to somebody else.
    let call = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\n";
    for between in [call.to_owned(), delta(1, "x"), delta(0, ""), ": ping\n\n".into()] {
        let out = rewrite(rules(Shape::Chat, Form::Url), &(delta(0, head) + &between + &delta(0, tail) + &stop(0)));
        assert_eq!(content(&out, 0), format!("![x]({})", Renderer::url(PNG)), "{between}");
        assert_eq!(out.matches(&between).count(), 1, "{out}");
    }
}

/// Regression 21: text held back from an event longer than 32 KiB went out behind what followed it, the finish included.
#[test]
fn long_events_let_go_of_their_text() {
    let noise: Vec<u8> = (0..60_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let split = PNG.len() - 12;
    let data = [&(noise.len() as u32).to_be_bytes()[..], b"noIs", &noise, &[0; 4]].concat();
    let bytes = [&PNG[..split], &data, &PNG[split..]].concat();
    let uri = format!("data:image/png;base64,{}", base64_simd::STANDARD.encode_to_string(&bytes));
    let last = |text: &str| delta(0, text).replace("null}]", "\"stop\"}]");
    let long = "x".repeat(40_000);
    let call = format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{{\"function\":{{\"arguments\":\"{long}\"}}}}]}}}}]}}\n\n"
    );
    let rewrite = |stream: &str| rewrite_pieces(rules(Shape::Chat, Form::Url), stream.as_bytes().chunks(5000));
    assert_eq!(rewrite(&last(&uri)), last(&Renderer::url(&bytes)));
    assert_eq!(rewrite(&last(&format!("{long} the d"))), last(&format!("{long} the d")));
    assert_eq!(rewrite(&(delta(0, "the d") + &call)), delta(0, "the d") + &call);
    let (head, tail) = uri.split_at(50_000);
    let out = rewrite(&(delta(0, &uri[..3]) + &delta(0, &head[3..]) + &delta(0, tail) + &stop(0)));
    assert_eq!(content(&out, 0), Renderer::url(&bytes));
}

/// Regression 22: text that an event of a response repeats was taken for one that goes on, and the event was sent twice.
#[test]
fn what_a_response_repeats_ends_with_its_event() {
    let uri = format!("data:image/png;base64,{PNG_BASE64}");
    for text in ["red", "Dad and data", "data:image", &format!("see {uri}"), &uri[..60]] {
        let delta = format!(
            "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"output_index\":0,\"content_index\":0,\"delta\":\"{text}\"}}\n\n"
        );
        let parts = format!("[{{\"type\":\"output_text\",\"text\":\"{text}\"}},{{\"text\":\"{text}\"}}]");
        let closing = format!(
            "event: response.output_text.done\ndata: {{\"type\":\"response.output_text.done\",\"text\":\"{text}\"}}\n\n\
             event: response.content_part.done\ndata: {{\"part\":{{\"text\":\"{text}\"}},\"type\":\"response.content_part.done\"}}\n\n\
             event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{{\"output\":[{{\"content\":{parts}}}]}}}}\n\n"
        );
        let out = rewrite(rules(Shape::Responses, Form::Url), &(delta + &closing));
        let url = Renderer::url(PNG);
        assert!(out.ends_with(&closing.replace(&uri, &url)), "{out}");
        let deltas = data(&out).into_iter().filter(|event| event["type"] == "response.output_text.delta");
        let joined: String = deltas.map(|event| event["delta"].as_str().unwrap().to_owned()).collect();
        assert_eq!(joined, text.replace(&uri, &url));
    }
}

/// Regression 23: an event whose `type` stands last, and in no line of its own, was not known for what it is.
#[test]
fn a_type_behind_what_it_names_counts() {
    let preview = format!(
        "data: {{\"b64_json\":\"{PNG_BASE64}\",\"partial_image_index\":0,\"type\":\"image_generation.partial_image\"}}\n\n"
    );
    assert_eq!(rewrite(rules(Shape::Images, Form::Url), &preview), preview);
    let uri = format!("data:image/png;base64,{PNG_BASE64}");
    let text = |text: &str| {
        format!("data: {{\"delta\":\"{text}\",\"output_index\":0,\"type\":\"response.output_text.delta\"}}\n\n")
    };
    let out = rewrite(rules(Shape::Responses, Form::Url), &(text(&uri[..40]) + &text(&uri[40..]) + &text(" x")));
    let joined: String = data(&out).iter().map(|event| event["delta"].as_str().unwrap().to_owned()).collect();
    assert_eq!(joined, Renderer::url(PNG) + " x");
}

/// Regression 30: pictures of some formats were never seen to end, or too soon.
#[test]
fn pictures_of_every_format_go_on_over_lines_and_calls_up_to_their_end() {
    let call = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\n";
    for (name, more) in [
        ("noise16.png", &[][..]),
        ("px2.jpg", &[0; 40]),
        ("px2.jpg", &[]),
        ("px2.gif", &[0]),
        ("px2.webp", &[]),
        ("px2.avif", &[]),
        ("px2.bmp", &[]),
        ("px2.tiff", &[]),
        ("px2.ico", &[]),
    ] {
        let path = format!("{}/tests/fixtures/wire/img/{name}", env!("CARGO_MANIFEST_DIR"));
        let bytes = [&std::fs::read(path).unwrap(), more].concat();
        let (base64, url) = (base64_simd::STANDARD.encode_to_string(&bytes), Renderer::url(&bytes));
        let uri = format!("data:image/x;base64,{base64}");
        // In the middle: what comes behind its end is cut off when a call comes first.
        let (head, tail) = uri.split_at(uri.len() * 3 / 4);
        let streams = [
            delta(0, &uri) + &stop(0),
            delta(0, &format!("![x]({uri}) y")) + &stop(0),
            delta(0, head) + call + &delta(0, tail) + &delta(0, " y") + &stop(0),
        ];
        for stream in streams {
            let out = rewrite(rules(Shape::Chat, Form::Url), &stream);
            assert_eq!(content(&out, 0), content(&stream, 0).replace(&uri, &url), "{name}");
        }
        if more.is_empty() && !name.ends_with("tiff") && !name.ends_with("ico") {
            let lines: Vec<&str> = base64.as_bytes().chunks(60).map(|line| str::from_utf8(line).unwrap()).collect();
            let stream = delta(0, &format!("data:image/x;base64,{}\\nand more", lines.join("\\n"))) + &stop(0);
            let out = rewrite(rules(Shape::Chat, Form::Url), &stream);
            assert_eq!(content(&out, 0), format!("{url}\nand more"), "{name}");
        }
    }
}

#[test]
fn a_picture_right_behind_one_that_was_cut_is_seen() {
    let uri = format!("data:image/png;base64,{PNG_BASE64}");
    for between in ["\\n", "\\n\\n", "\\r\\n", " ", "...\\n"] {
        let stream = delta(0, &format!("{}{between}{uri} z", &uri[..90])) + &stop(0);
        let out = rewrite(rules(Shape::Chat, Form::Url), &stream);
        assert_eq!(content(&out, 0), content(&stream, 0).replace(&uri, &Renderer::url(PNG)), "{between}");
    }
}

#[test]
fn text_that_is_let_go_has_the_identity_of_its_stream() {
    for more in ["", "id: 3\n", "retry: 5\n", ": c\n"] {
        let stream = format!("{more}{}{more}{}", delta(0, "the d"), stop(0));
        let out = rewrite(rules(Shape::Chat, Form::Url), &stream);
        assert!(data(&out).iter().all(|event| event["id"] == "c"), "{out}");
        assert_eq!(out.matches("id: 3").count(), stream.matches("id: 3").count());
        assert_eq!(content(&out, 0), "the d");
    }
}

#[test]
fn texts_of_a_response_are_told_apart() {
    let text = |kind: &str, places: &str, text: &str| {
        format!("data: {{\"delta\":\"{text}\",{places},\"type\":\"response.{kind}.delta\"}}\n\n")
    };
    let said = |out: &str, kind: &str, output: u64| -> String {
        let of = |event: &&Value| event["type"] == format!("response.{kind}.delta") && event["output_index"] == output;
        data(out).iter().filter(of).map(|event| event["delta"].as_str().unwrap().to_owned()).collect()
    };
    let at = |output: u32| format!("\"output_index\":{output},\"content_index\":0");
    let uri = format!("data:image/png;base64,{PNG_BASE64}");
    let stream = text("reasoning_text", &at(0), "the d")
        + &text("output_text", &at(0), "og")
        + &text("output_text", &at(2), &uri[..90])
        + &text("output_text", &at(1), "the d")
        + "data: {\"type\":\"response.output_item.done\",\"output_index\":1}\n\n"
        + &text("output_text", &at(2), &uri[90..])
        + "data: {\"type\":\"response.completed\"}\n\n";
    let out = rewrite(rules(Shape::Responses, Form::Url), &stream);
    assert_eq!(said(&out, "reasoning_text", 0), "the d");
    assert_eq!(said(&out, "output_text", 0), "og");
    assert_eq!(said(&out, "output_text", 1), "the d");
    assert_eq!(said(&out, "output_text", 2), Renderer::url(PNG));
    assert!(out.find("the ").unwrap() < out.find("\"og\"").unwrap());
}

#[test]
fn framing_leaves_as_it_came() {
    let json = "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}";
    for stream in [
        "".to_owned(),
        ": comment\n\n".into(),
        format!("data: {json}\r\n\r\n: ping\r\n\r\ndata:{json}\r\n\r\n"),
        format!("data: {json}\r\rid: 1\revent: x\rdata: {json}\r\r"),
        format!("retry: 10\nid:\ndata:  {json}  \n\ndata: [DONE] \n\n"),
        "data: {\"choices\":\ndata: [\ndata: ]}\n\n".into(),
        "data: {\"a\":\n  \"b\"}\n\n".into(),
        format!("data: {json}\n\ndata: {{\"choices\":[{{\"delta\":{{\"content\":\"cut"),
        "data\n\nfoo\nevent: \n\n\n\n".into(),
        "data: not json data:image/png;base64,iVBORw0KGgo\n\n".into(),
    ] {
        for form in [Form::Url, Form::AsCame] {
            assert_eq!(rewrite(rules(Shape::Chat, form), &stream), stream);
        }
    }
    let marked = format!("\u{feff}data: {json}\n\n");
    assert_eq!(rewrite(rules(Shape::Chat, Form::Url), &marked), &marked[3..]);
}

#[test]
fn data_over_several_lines_are_one_document() {
    let stream = format!(
        "data: {{\"type\":\"image_generation.completed\",\r\ndata: \"b64_json\":\r\ndata:\"{PNG_BASE64}\"}}\r\n\r\n"
    );
    let expected = stream.replace("b64_json", "url").replace(PNG_BASE64, &Renderer::url(PNG));
    assert_eq!(rewrite(rules(Shape::Images, Form::Url), &stream), expected);
}

#[test]
fn pictures_of_any_length_in_one_line_are_rewritten_while_they_arrive() {
    let noise: Vec<u8> = (0..400_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let bytes = [PNG, &noise].concat();
    let base64 = base64_simd::STANDARD.encode_to_string(&bytes);
    let url = Renderer::url(&bytes);
    let images = format!(
        "event: image_generation.completed\ndata: {{\"type\":\"image_generation.completed\",\"b64_json\":\"{base64}\",\"usage\":{{}}}}\n\n"
    );
    let chat = delta(0, &format!("![x](data:image/png;base64,{base64})")) + &stop(0);
    for (shape, stream, from, to) in [
        (Shape::Images, images, format!("\"b64_json\":\"{base64}\""), format!("\"url\":\"{url}\"")),
        (Shape::Chat, chat, format!("data:image/png;base64,{base64}"), url),
    ] {
        for size in [1 << 20, 65_536, 1000] {
            let out = rewrite_pieces(rules(shape, Form::Url), stream.as_bytes().chunks(size));
            assert!(out == stream.replace(&from, &to), "in pieces of {size}");
        }
    }
}

#[test]
fn responses_text_agrees_in_deltas_and_in_repetitions() {
    let uri = format!("data:image/png;base64,{PNG_BASE64}");
    let mut stream = String::new();
    for piece in uri.as_bytes().chunks(9) {
        let piece = std::str::from_utf8(piece).unwrap();
        stream.push_str(&format!("event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"item_id\":\"m\",\"output_index\":1,\"content_index\":0,\"delta\":\"{piece}\"}}\n\n"));
    }
    let arguments = format!(
        "event: response.function_call_arguments.delta\ndata: {{\"type\":\"response.function_call_arguments.delta\",\"delta\":\"{uri}\"}}\n\n"
    );
    let done = format!(
        "event: response.output_text.done\ndata: {{\"type\":\"response.output_text.done\",\"text\":\"{uri}\"}}\n\n"
    );
    let out = rewrite(rules(Shape::Responses, Form::Url), &(stream + &arguments + &done));
    let joined: String = data(&out)
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta")
        .map(|event| event["delta"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(joined, Renderer::url(PNG));
    assert!(out.contains(&arguments), "arguments are never touched");
    assert!(out.ends_with(&done.replace(&uri, &Renderer::url(PNG))));
}

#[test]
fn events_whose_text_is_held_back_are_left_out_but_for_a_sign_of_life() {
    let bytes = [PNG, &[7; 1_500_000]].concat();
    let base64 = base64_simd::STANDARD.encode_to_string(&bytes);
    let mut stream = delta(0, "") + &delta(0, "data:image/png;base64,") + &delta(0, "");
    base64.as_bytes().chunks(1000).for_each(|piece| stream.push_str(&delta(0, str::from_utf8(piece).unwrap())));
    stream.push_str(&stop(0));
    let out = rewrite_pieces(rules(Shape::Chat, Form::Url), stream.as_bytes().chunks(777));
    assert_eq!(content(&out, 0), Renderer::url(&bytes));
    // What came empty leaves empty, and so do the event that shows that it is a picture and the first of the row by which
    // the others are recognised; four signs of life for 2.2 MB.
    assert_eq!(out.matches("\"content\":\"\"").count(), 2 + 2 + 4, "{out}");
}

#[test]
fn a_delta_that_ends_with_an_escape_is_not_cut_inside_it() {
    let stream: String = ["S\\u00ed", "\\u00da", "\\u4f1d", "ata:image", "\\\\u00d"]
        .map(|text| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"))
        .concat();
    let out = rewrite_pieces(rules(Shape::Chat, Form::Url), [stream.as_bytes()]);
    assert_eq!(content(&out, 0), "S\u{ed}\u{da}\u{4f1d}ata:image\\u00d");
}

proptest! {
    /// Events that differ in their text alone take a shorter way; what comes out is the same.
    #[test]
    fn an_event_like_the_one_before_is_rewritten_like_any_other(
        deltas in prop::collection::vec(prop_oneof![
            Just(PNG_BASE64.to_owned()), Just(PNG_BASE64[..50].to_owned()), Just(PNG_BASE64[50..].to_owned()),
            Just("data:image/png;base64,".into()), Just("data:im".into()), Just("age/png;base64,".into()),
            Just(")".into()), Just("\\u00e9".into()), Just("\\".into()), Just("\"".into()), Just("\t".into()),
            Just("\",\"reasoning_content\":\"data:image/png;base64,".into()), "[a-z ]{0,5}"
        ], 0..12),
        size in 1usize..300,
    ) {
        let stream = |mark: fn(usize) -> char| -> String {
            let marked = |(at, text): (usize, &String)| delta(0, text).replacen("\"id\":", &format!("\"mark\":\"{}\",\"id\":", mark(at)), 1);
            deltas.iter().enumerate().map(marked).collect()
        };
        let rules = rules(Shape::Chat, Form::Url);
        let alike = rewrite_pieces(rules, stream(|_| 'x').as_bytes().chunks(size));
        let unlike = rewrite_pieces(rules, [stream(|at| if at % 2 == 0 { 'y' } else { 'z' }).as_bytes()]);
        // Those of the one kind that have no text left are left out.
        let unmarked = unlike.replace("\"mark\":\"y\"", "\"mark\":\"x\"").replace("\"mark\":\"z\"", "\"mark\":\"x\"");
        let with_text = |stream: String| -> Vec<String> {
            stream.split("\n\n").filter(|event| !event.contains("\"content\":\"\"")).map(str::to_owned).collect()
        };
        prop_assert_eq!(with_text(alike), with_text(unmarked));
    }

    #[test]
    fn any_cut_gives_the_same_and_no_text_is_lost(
        deltas in prop::collection::vec(prop_oneof![
            Just(PNG_BASE64.to_owned()), Just(PNG_BASE64[..50].to_owned()), Just(PNG_BASE64[50..].to_owned()),
            Just("data:image/png;base64,".into()), Just("data:im".into()), Just("age/png;base64,".into()),
            Just("![x](".into()), Just(")".into()), Just("\\n".into()), "[a-z ]{0,5}"
        ], 0..12),
        ending in 0usize..4,
        size in 1usize..300,
    ) {
        let mut stream: String = deltas.iter().map(|text| delta(0, text)).collect();
        stream.push_str(&[stop(0), "data: [DONE]\n\n".into(), String::new(), stop(0) + "data: [DONE]\n\n"][ending]);
        let rules = rules(Shape::Chat, Form::Url);
        let whole = rewrite_pieces(rules, [stream.as_bytes()]);
        prop_assert_eq!(&rewrite_pieces(rules, stream.as_bytes().chunks(size)), &whole);
        // The joined text is what a scan of the whole text gives.
        let joined = content(&stream, 0).replace('\n', "\\n");
        let answer = format!("{{\"choices\":[{{\"message\":{{\"content\":\"{joined}\"}}}}]}}");
        let mut reference = crate::rewrite::answer::AnswerRewriter::new(rules);
        let mut renderer = Renderer::default();
        renderer.events(reference.push(answer.as_bytes()));
        renderer.events(reference.finish());
        let expected: Value = serde_json::from_str(&renderer.text()).unwrap();
        prop_assert_eq!(content(&whole, 0), expected["choices"][0]["message"]["content"].as_str().unwrap());
    }

    #[test]
    fn anything_at_all_comes_out_again(text in "(data: |\\{|\\}|\"|:|\n|\r|a|é|\\[DONE\\]|,){0,40}", size in 1usize..9) {
        let rules = rules(Shape::Chat, Form::Url);
        let mut rewriter = StreamRewriter::new(rules);
        let mut renderer = Renderer::default();
        for piece in text.as_bytes().chunks(size) {
            renderer.events(rewriter.push(piece));
        }
        renderer.events(rewriter.finish());
        prop_assert_eq!(renderer.out, text.into_bytes());
    }
}

use proptest::prelude::*;

use super::*;
use crate::rewrite::conversation::Piece;

fn scan(route: Route, text: &str) -> Result<Findings, ScanError> {
    let scan = |size: usize| {
        let mut scanner = RequestScanner::new(route);
        for piece in text.as_bytes().chunks(size) {
            scanner.push(piece)?;
        }
        scanner.finish()
    };
    let whole = scan(text.len().max(1));
    for size in [1, 2, 3, 7] {
        assert_eq!(scan(size).is_ok(), whole.is_ok());
        if let (Ok(a), Ok(b)) = (scan(size), &whole) {
            assert_eq!(&a, b, "in pieces of {size}");
        }
    }
    whole
}

fn at(text: &str, span: &Range<u64>) -> String {
    text[span.start as usize..span.end as usize].to_owned()
}

fn without(text: &str, span: &Range<u64>) -> String {
    text[..span.start as usize].to_owned() + &text[span.end as usize..]
}

#[test]
fn fields_are_found_with_the_text_to_take_out() {
    for (text, rest) in [
        (r#"{"model":"m","response_format":"url","n":1}"#, r#"{"model":"m","n":1}"#),
        (r#"{"response_format" : "url" , "model":"m"}"#, r#"{ "model":"m"}"#),
        (r#"{"model":"m" , "response_format":"url" }"#, r#"{"model":"m"  }"#),
        (r#"{"response_format":"url"}"#, r#"{}"#),
        (
            r#"{"a":{"response_format":"no","b":[1,2]},"response_format":"url"}"#,
            r#"{"a":{"response_format":"no","b":[1,2]}}"#,
        ),
    ] {
        let field = scan(Route::Images, text).unwrap().response_format.unwrap();
        assert_eq!(field.value, "url");
        assert_eq!(at(text, &field.span), "\"url\"");
        assert_eq!(without(text, &field.member), rest);
    }
    let text = r#"{"model":"g\u0070t-4","stream":true,"prompt":"a cat","metadata":{"model":"x"}}"#;
    let found = scan(Route::Images, text).unwrap();
    let model = found.model.unwrap();
    assert_eq!((model.value.as_str(), at(text, &model.span).as_str()), ("gpt-4", r#""g\u0070t-4""#));
    assert!(found.stream);
    assert_eq!(found.prompt, "a cat");
}

#[test]
fn the_prompt_is_the_users_last_text() {
    let long = "画".repeat(6000);
    for (route, text, prompt) in [
        (Route::Images, format!(r#"{{"prompt":"{long}"}}"#), "画".repeat(8192 / 3)),
        (Route::Images, format!(r#"{{"prompt":"{}"}}"#, "\\u753b".repeat(6000)), "画".repeat(8190 / 3)),
        (
            Route::Chat,
            r#"{"messages":[{"role":"user","content":"a cat"},{"content":"sure","role":"assistant"}]}"#.into(),
            "a cat".into(),
        ),
        (
            Route::Chat,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url"}]}]}"#.into(),
            "x".into(),
        ),
        (Route::Responses, r#"{"input":"a dog"}"#.into(), "a dog".into()),
        (
            Route::Responses,
            r#"{"input":[{"role":"user","content":[{"text":"a"}]},{"type":"reasoning"}]}"#.into(),
            "a".into(),
        ),
    ] {
        assert_eq!(scan(route, &text).unwrap().prompt, prompt);
    }
}

#[test]
fn a_null_response_format_can_be_taken_out() {
    let text = r#"{"model":"m","response_format": null ,"n":1}"#;
    let field = scan(Route::Images, text).unwrap().response_format.unwrap();
    assert_eq!(field.value, "");
    assert_eq!(without(text, &field.member), r#"{"model":"m","n":1}"#);
}

#[test]
fn references_are_found_where_routes_have_them_and_nowhere_else() {
    let u = "https://x.example/a.png";
    let rows: &[(Route, &str, &[&str])] = &[
        (
            Route::Chat,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"$"},{"type":"image_url","image_url":{"url":"$"}},{"type":"image_url","image_url":"$"},{"type":"input_audio","input_audio":{"data":"$"}},{"type":"file","file":{"file_data":"$"}}]},{"images":[{"image_url":{"url":"$"}}],"tool_calls":[{"function":{"arguments":"$"}}]}]}"#,
            &[
                "messages[0].content[1].image_url.url",
                "messages[0].content[2].image_url",
                "messages[1].images[0].image_url.url",
            ],
        ),
        (
            Route::Responses,
            r#"{"input":[{"content":[{"type":"input_image","image_url":"$"},{"type":"input_file","file_url":"$"}]},{"type":"function_call_output","output":[{"image_url":"$"}]},{"type":"computer_call_output","output":{"image_url":"$"}},{"type":"image_generation_call","result":"$"}],"tools":[{"input_image_mask":{"image_url":"$"}}],"prompt":{"variables":{"v":{"image_url":"$"}}}}"#,
            &[
                "input[0].content[0].image_url",
                "input[1].output[0].image_url",
                "input[2].output.image_url",
                "input[3].result",
                "tools[0].input_image_mask.image_url",
                "prompt.variables.….image_url",
            ],
        ),
        (
            Route::Images,
            r#"{"prompt":"$","image":"$","images":["$",{"image_url":"$"},{"file_id":"$"}],"mask":{"image_url":"$"},"user":"$"}"#,
            &["image", "images[0]", "images[1].image_url", "mask.image_url"],
        ),
        (
            Route::Images,
            r#"{"image":{"url":"$","type":"image_url"},"input_references":[{"type":"image_url","image_url":{"url":"$"}}]}"#,
            &["image.url", "input_references[0].image_url.url"],
        ),
        (
            Route::Images,
            r#"{"image":["$","data:image/png;base64,AAAA","iVBORw0KGgo="],"reference_images":["$"]}"#,
            &["image[0]", "reference_images[0]"],
        ),
    ];
    for (route, text, paths) in rows {
        let text = text.replace('$', u);
        let found = scan(*route, &text).unwrap().references;
        assert_eq!(found.iter().map(|r| r.path.as_str()).collect::<Vec<_>>(), *paths);
        for reference in found {
            assert_eq!(reference.url, u);
            assert_eq!(at(&text, &reference.span), format!("\"{u}\""));
        }
    }
}

#[test]
fn a_mask_is_noticed_and_null_is_none() {
    for (route, text, has_mask) in [
        (Route::Images, r#"{"mask":{"file_id":"f"}}"#, true),
        (Route::Images, r#"{"mask":"x"}"#, true),
        (Route::Images, r#"{"mask":null,"x":{"mask":1}}"#, false),
        (Route::Responses, r#"{"tools":[{"input_image_mask":{}}]}"#, true),
        (Route::Chat, r#"{"mask":"x"}"#, false),
    ] {
        assert_eq!(scan(route, text).unwrap().has_mask, has_mask, "{text}");
    }
}

#[test]
fn pictures_in_lists_are_counted_with_the_bytes_that_stand_there() {
    let base64 = "A".repeat(400);
    let text = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"$"},
        {"type":"image_url","image_url":{"url":"data:image/png;base64,$"}},{"type":"image_url","image_url":{"url":"http://x/a"}},
        {"type":"image","source":{"type":"base64","data":"$"}},{"type":"image_url","image_url":{"url":"short"}},
        {"type":"input_audio","input_audio":{"data":"$"}}]},{"role":"assistant","images":["$"],"tool_calls":["$"]}]}"#;
    let found = scan(Route::Chat, &text.replace('$', &base64)).unwrap().conversation;
    let seen: Vec<_> = found.elements.iter().map(|element| (element.turn, element.inline)).collect();
    assert_eq!(seen, [(0, 300), (0, 0), (0, 300), (1, 300)]);
    assert_eq!(found.last_user, Some(0));
}

#[test]
fn there_is_an_end_to_pictures_and_turns_cost_nothing() {
    let part = r#"{"image_url":"http://x/a"},"#.repeat(MOST_PICTURES);
    let chat = |parts: &str| format!(r#"{{"messages":[{{"content":[{parts}1]}}]}}"#);
    let scan = |text: &str| {
        let mut scanner = RequestScanner::new(Route::Chat);
        scanner.push(text.as_bytes())?;
        scanner.finish()
    };
    assert_eq!(scan(&chat(&part)).unwrap().references.len(), MOST_PICTURES);
    assert_eq!(scan(&chat(&format!("{part}{{\"image\":\"a:\"}},"))), Err(ScanError::TooManyPictures));
    let mention = "![a](http://x/images/a)".repeat(MOST_PICTURES + 1);
    let turns = r#"{"role":"user","content":"a"},"#.repeat(1000);
    let text = format!(r#"{{"messages":[{turns}{{"role":"assistant","content":"{mention}"}},{turns}1]}}"#);
    let found = scan(&text).unwrap().conversation;
    assert_eq!(found.mentions.len(), MOST_PICTURES);
    assert_eq!(found.last_user, Some(2000));
}

/// Regression 10.8: 4 096 URLs of 16 KB each stayed in memory for as long as the upstream took.
#[test]
fn there_is_an_end_to_the_bytes_of_urls() {
    let scan = |route, text: String| {
        let mut scanner = RequestScanner::new(route);
        scanner.push(text.as_bytes())?;
        scanner.finish()
    };
    let url = format!("http://x/{}", "a".repeat(LONGEST_VALUE - 100));
    for (what, route, start, each, end) in [
        ("parts", Route::Chat, r#"{"messages":[{"content":["#, r#"{"image_url":{"url":"URL"}}"#, "]}]}"),
        ("images of an answer", Route::Chat, r#"{"messages":[{"images":["#, r#"{"image_url":"URL"}"#, "]}]}"),
        ("sources", Route::Chat, r#"{"messages":[{"content":["#, r#"{"source":{"url":"URL"}}"#, "]}]}"),
        ("turns", Route::Chat, r#"{"messages":["#, r#"{"content":[{"image":"URL"}]}"#, "]}"),
        ("a response", Route::Responses, r#"{"input":[{"content":["#, r#"{"image_url":"URL"}"#, "]}]}"),
        ("results", Route::Responses, r#"{"input":["#, r#"{"result":"URL"}"#, "]}"),
        ("variables", Route::Responses, r#"{"prompt":{"variables":{"a":1,"#, r#""v":{"image_url":"URL"}"#, "}}}"),
        ("images", Route::Images, r#"{"images":["#, r#"{"image_url":"URL"}"#, "]}"),
        ("bare base64", Route::Images, r#"{"ref_images":["#, r#""URL""#, "]}"),
    ] {
        let text = |times: usize| format!("{start}{}{end}", vec![each.replace("URL", &url); times].join(","));
        let fitting = MOST_URL_BYTES / (url.len() + 100);
        let found = scan(route, text(fitting)).unwrap();
        assert_eq!(found.references.len(), fitting, "{what}");
        let held: usize = found.references.iter().map(|reference| reference.url.len() + reference.path.len()).sum();
        assert!(held <= MOST_URL_BYTES && held == found.reference_bytes, "{what}");
        assert_eq!(scan(route, text(4000)), Err(ScanError::UrlsTooLong), "{what}");
    }
}

/// A text is held to the same while it comes: it can be as long as the whole request.
#[test]
fn there_is_an_end_to_what_one_text_mentions() {
    use crate::rewrite::{
        conversation::{MOST_MENTION_BYTES, MOST_THOUGHTS},
        prose::ProseReader,
    };
    let long = format!("![a](http://x/images/{})", "a".repeat(2000));
    for (what, text, mentions, thoughts) in [
        ("short mentions", "![a](http://x/images/a)".repeat(3 * MOST_PICTURES), MOST_PICTURES, 0),
        ("long mentions", long.repeat(3 * MOST_PICTURES), MOST_MENTION_BYTES / (long.len() - 6), 0),
        ("thoughts", "<think></think>x".repeat(3 * MOST_THOUGHTS), 0, MOST_THOUGHTS),
        ("thoughts side by side", "<think></think>".repeat(3 * MOST_THOUGHTS), 0, 1),
    ] {
        let mut reader = ProseReader::default();
        reader.push(text.as_bytes(), 0);
        let prose = reader.finish();
        assert_eq!((prose.mentions.len(), prose.thoughts.len()), (mentions, thoughts), "{what}");
        let turn = format!(
            r#"{{"messages":[{{"role":"assistant","content":"{text}"}},{{"role":"assistant","content":"{text}"}}]}}"#
        );
        let mut scanner = RequestScanner::new(Route::Chat);
        scanner.push(turn.as_bytes()).unwrap();
        let found = scanner.finish().unwrap().conversation;
        let bytes: usize = found.mentions.iter().map(|mention| mention.url.len()).sum();
        assert!(bytes <= MOST_MENTION_BYTES && found.mentions.len() <= MOST_PICTURES, "{what}");
        assert!(found.thoughts.len() <= MOST_THOUGHTS, "{what}");
    }
}

#[test]
fn what_cannot_be_used_says_why() {
    use ScanError::*;
    for (text, error) in [
        ("[]", NotAnObject),
        ("\"x\"", NotAnObject),
        (r#"{"model":"a","model":"b"}"#, Repeated("model")),
        (r#"{"n":1,"\u006e":2}"#, Repeated("n")),
        (r#"{"stream":true,"stream":false}"#, Repeated("stream")),
        (r#"{"model":1}"#, WrongType { field: "model", expected: "a string" }),
        (r#"{"model":"m\ud800"}"#, WrongType { field: "model", expected: "text without lone surrogates" }),
        (r#"{"model":{"a":1}}"#, WrongType { field: "model", expected: "a string" }),
        (r#"{"response_format":{}}"#, WrongType { field: "response_format", expected: "a string" }),
        (r#"{"stream":"yes"}"#, WrongType { field: "stream", expected: "true or false" }),
    ] {
        assert_eq!(scan(Route::Images, text), Err(error), "{text}");
    }
    for text in ["", "{", "nope", r#"{"a":1,}"#, &("{\"a\":".repeat(200))] {
        assert!(matches!(scan(Route::Chat, text), Err(Invalid(_))), "{text}");
    }
    assert!(scan(Route::Chat, r#"{"messages":[{"n":1,"n":2}],"tools":[{"model":1}]}"#).is_ok());
}

/// A conversation in either dialect, with what matters in it, in any order.
fn conversations() -> impl Strategy<Value = (Route, String)> {
    let url = "http://g/images/a.png";
    let text = prop::sample::select(vec![
        "hi".to_owned(),
        format!("![a]({url})"),
        format!("<think>![b](<{url}>)</think>\\n\\nyes"),
        format!("\\u0021[\\u00e9]({url}) \\u003cthink>\\ud83d\\ude00<\\/think>"),
    ]);
    let part = prop_oneof![
        text.clone().prop_map(|text| format!(r#"{{"type":"text","text":"{text}"}}"#)),
        Just(format!(r#"{{"image_url":{{"url":"{url}"}}}}"#)),
        Just(format!(r#"{{"image_url":"{url}","text":"<think></think>"}}"#)),
        Just(format!(r#"{{"source":{{"url":"{url}","type":"url"}}}}"#)),
        Just(format!(r#""data:image/png;base64,{}""#, "AAAA".repeat(12))),
        Just(" null ".to_owned()),
    ];
    let list = prop::collection::vec(part, 0..4).prop_map(|parts| format!("[{}]", parts.join(" ,")));
    let content = prop_oneof![text.prop_map(|text| format!("\"{text}\"")), list.clone(), Just("null".to_owned())];
    let role = prop::sample::select(vec!["user", "assistant", "tool"]);
    let turn = (role, content, list, any::<bool>()).prop_map(|(role, content, list, first)| match first {
        true => format!(r#"{{"role":"{role}","content":{content},"images":{list}}}"#),
        false => format!(r#"{{"output":{list},"content":{content} ,"role":"{role}"}}"#),
    });
    let turns = prop::collection::vec(turn, 0..5).prop_map(|turns| turns.join(","));
    (any::<bool>(), turns).prop_map(|(chat, turns)| match chat {
        true => (Route::Chat, format!(r#"{{"messages":[{turns}]}}"#)),
        false => (Route::Responses, format!(r#"{{"input":[{turns}]}}"#)),
    })
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_and_edits_leave_json(
        (route, text) in conversations(), left_out in any::<u32>(),
    ) {
        // Cuts it in several sizes and compares.
        let found = scan(route, &text).unwrap();
        let conversation = found.conversation;
        let omitted: Vec<usize> = (0..conversation.elements.len()).filter(|at| left_out >> (at % 32) & 1 == 1).collect();
        let mut edits = conversation.omit(&omitted);
        edits.extend(conversation.strip(&omitted));
        edits.extend(conversation.attach(conversation.mentions.iter().zip(0..)));
        edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
        let (mut out, mut known) = (String::new(), 0);
        for edit in edits {
            prop_assert!(edit.span.start >= known, "edits overlap in {}", text);
            out += &at(&text, &(known..edit.span.start));
            for piece in edit.with {
                out += match &piece {
                    Piece::Text(text) => text,
                    Piece::Picture(_) => "data:,",
                };
            }
            known = edit.span.end;
        }
        out += &at(&text, &(known..text.len() as u64));
        let again = scan(route, &out);
        prop_assert!(again.is_ok(), "{}\n{}", text, out);
        let again = again.unwrap().conversation;
        prop_assert_eq!(again.thoughts.len(), 0);
        // What is attached here is too short to count as a picture.
        prop_assert_eq!(again.elements.len() + omitted.len(), conversation.elements.len());
        prop_assert_eq!(again.last_user, conversation.last_user);
    }
}

#[test]
fn a_text_that_was_cut_is_read_up_to_its_last_whole_character() {
    for (raw, text) in [
        (&b"plain"[..], Some("plain")),
        (b"", Some("")),
        ("caf\u{e9}".as_bytes(), Some("caf\u{e9}")),
        (b"caf\xc3", Some("caf")),
        (b"x\xf0\x9f\x96", Some("x")),
        (br"a\n", Some("a\n")),
        (br"a\", Some("a")),
        (br"a\u00e", Some("a")),
        (br"a\u00e9\\", Some("a\u{e9}\\")),
        (br"a\ud83d\uddbc", Some("a\u{1f5bc}")),
        (br"a\ud83d\uddb", Some("a")),
        (br"a\ud83d", Some("a")),
        (br"a\ud83dxx", Some("a")),
        (br"a\uddbc", Some("a")),
        // Not cut, but wrong.
        (br"a\ud83dxxxxxxxxxxxxxxx", None),
        (b"a\xffxxxxxxxxxxxxxxx", None),
    ] {
        assert_eq!(unescape_start(raw).as_deref(), text, "{}", String::from_utf8_lossy(raw));
    }
}
/// Regression 10.11: a key in another case passed unseen, and servers that match without case took it.
#[test]
fn keys_that_decide_are_refused_in_another_case() {
    let images = [
        r#"{"model":"m"}"#,
        r#"{"n":1}"#,
        r#"{"stream":false}"#,
        r#"{"response_format":"url"}"#,
        r#"{"prompt":"x"}"#,
        r#"{"image":"x"}"#,
        r#"{"images":[{"image_url":"http://x/"}]}"#,
        r#"{"image":{"image_url":{"url":"http://x/"}}}"#,
        r#"{"mask":{"image_url":"http://x/"}}"#,
        r#"{"image2":"x","image3":"x","input_image":"x"}"#,
        r#"{"reference_images":["http://x/"],"input_references":["http://x/"]}"#,
        r#"{"init_images":["x"],"ref_images":["x"],"files":["x"]}"#,
    ];
    let chat = [
        r#"{"model":"m","n":1,"stream":true}"#,
        r#"{"messages":[{"role":"user","content":"x"}]}"#,
        r#"{"messages":[{"content":[{"text":"x"},{"image_url":{"url":"http://x/"}},{"image":"http://x/"}]}]}"#,
        r#"{"messages":[{"content":[{"source":{"url":"http://x/"}},{"source":{"data":"x"}}]}]}"#,
        r#"{"messages":[{"images":[{"image_url":{"url":"http://x/"}},{"url":"http://x/"}]}]}"#,
    ];
    let responses = [
        r#"{"model":"m","stream":true,"input":"x"}"#,
        r#"{"input":[{"role":"user","content":[{"text":"x"},{"image_url":"http://x/"}]}]}"#,
        r#"{"input":[{"output":[{"text":"x"}]},{"output":{"image_url":"http://x/"}},{"result":"x"}]}"#,
        r#"{"tools":[{"input_image_mask":{"image_url":"http://x/"}}]}"#,
        r#"{"prompt":{"variables":{"Image":{"image_url":"http://x/"}}}}"#,
    ];
    let all = [(Route::Images, &images[..]), (Route::Chat, &chat), (Route::Responses, &responses)];
    for (route, text) in all.into_iter().flat_map(|(route, texts)| texts.iter().map(move |text| (route, *text))) {
        assert!(scan(route, text).is_ok(), "{text}");
        for (start, _) in text.match_indices('"') {
            let Some((key, behind)) = text[start + 1..].split_once('"') else { continue };
            // A variable's name is the client's own.
            if !behind.starts_with(':') || key == "Image" {
                continue;
            }
            let first = key.chars().next().unwrap();
            let escaped = format!("\\u00{:02x}{}", first.to_ascii_uppercase() as u32, &key[1..]);
            let mut others = vec![key.to_uppercase(), escaped];
            others.push(format!("{}{}", first.to_ascii_uppercase(), &key[1..]));
            others.extend(key.contains('s').then(|| key.replace('s', "\u{17f}")));
            others.extend(key.contains('k').then(|| key.replace('k', "\u{212a}")));
            for other in others {
                let changed = format!("{}{other}{}", &text[..start + 1], &text[start + 1 + key.len()..]);
                let error = scan(route, &changed).unwrap_err();
                assert!(matches!(error, ScanError::AnotherCase(name) if name == key), "{changed}: {error}");
            }
        }
    }
}

#[test]
fn keys_that_decide_nothing_may_have_any_case() {
    for (route, text) in [
        (Route::Images, r#"{"Quality":"x","metadata":{"Model":"x","Image":"x"},"MODEL_ID":"x"}"#),
        (Route::Chat, r#"{"tools":[{"function":{"parameters":{"properties":{"URL":{},"Image_url":{},"Role":{}}}}}]}"#),
        (Route::Chat, r#"{"Prompt":"x","messages":[{"tool_calls":[{"Model":"x"}],"content":[{"Type":"text"}]}]}"#),
        (Route::Responses, r#"{"prompt":{"variables":{"Model":"x","URL":"x"}},"input":[{"Arguments":"x"}]}"#),
    ] {
        assert!(scan(route, text).is_ok(), "{text}");
    }
}

/// Regression 10.11: a key with every letter escaped was too long to be known.
#[test]
fn a_key_may_be_escaped_whole() {
    let key: String = "response_format".bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let found = scan(Route::Images, &format!(r#"{{"{key}":"url"}}"#)).unwrap();
    assert_eq!(found.response_format.unwrap().value, "url");
}

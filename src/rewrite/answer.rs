//! Whole JSON answers.

pub use super::document::{Form, Rules};
use super::{Event, Events, document::Document};

/// Rewrites one JSON answer.
#[derive(Debug)]
pub struct AnswerRewriter {
    document: Document,
    events: Events,
    begun: bool,
}

/// What some servers begin a text with. It is none of the JSON (RFC 8259, section 8.1).
const BOM: &[u8] = b"\xef\xbb\xbf";

impl AnswerRewriter {
    pub fn new(rules: Rules) -> Self {
        Self { document: Document::new(rules), events: Events::at_most(rules.pictures), begun: false }
    }

    /// Takes the next piece of the answer. A byte-order mark is not to be cut.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Event> {
        let bom = usize::from(!std::mem::replace(&mut self.begun, true) && piece.starts_with(BOM)) * BOM.len();
        let (bom, piece) = piece.split_at(bom);
        self.events.copy(bom);
        self.document.push(piece, &mut self.events);
        self.events.take()
    }

    /// Ends the answer.
    pub fn finish(&mut self) -> Vec<Event> {
        self.document.finish(&mut self.events);
        self.events.take()
    }

    /// Whether the answer began as JSON and is not complete. To be asked before it is ended.
    pub fn is_incomplete(&self) -> bool {
        self.document.is_incomplete()
    }

    /// How many pictures stayed as they came because they were one too many.
    pub fn left_out(&self) -> u64 {
        self.events.refused()
    }

    /// Whether the answer turned out not to be valid JSON.
    pub fn is_broken(&self) -> bool {
        self.document.is_broken()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rewrite::{
        shape::Shape,
        testing::{PNG, PNG_BASE64, Renderer},
    };

    fn rewrite_pieces<'a>(rules: Rules, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut rewriter = AnswerRewriter::new(rules);
        let mut renderer = Renderer::default();
        for piece in pieces {
            renderer.events(rewriter.push(piece));
        }
        renderer.events(rewriter.finish());
        renderer.text()
    }

    fn rules(shape: Shape, form: Form) -> Rules {
        Rules::new(shape, form)
    }

    /// Rewrites the text whole, cut once at every place, and byte by byte; all must agree.
    #[track_caller]
    fn rewrite(rules: Rules, text: &str) -> String {
        let text = text.as_bytes();
        let whole = rewrite_pieces(rules, [text]);
        for cut in 0..=text.len() {
            let (a, b) = text.split_at(cut);
            assert_eq!(rewrite_pieces(rules, [a, b]), whole, "cut at {cut}");
        }
        assert_eq!(rewrite_pieces(rules, text.chunks(1)), whole, "byte by byte");
        whole
    }

    #[test]
    fn items_leave_in_the_form_that_is_wanted() {
        let p = PNG_BASE64;
        let u = &Renderer::url(PNG);
        let forms = [Form::Url, Form::Base64, Form::Both, Form::AsCame];
        // One row: the answer's item, then what becomes of it as url, b64_json, both, as it came.
        let rows = [
            [
                format!(r#"{{"b64_json":"{p}"}}"#),
                format!(r#"{{"url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{p}"}}"#),
                format!(r#"{{"b64_json":"{p}","url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{p}"}}"#),
            ],
            [
                format!(r#"{{ "revised_prompt" : "x" , "b64_json" : "{p}" , "seed":1.0e5 }}"#),
                format!(r#"{{ "revised_prompt" : "x" , "url" : "{u}" , "seed":1.0e5 }}"#),
                format!(r#"{{ "revised_prompt" : "x" , "b64_json" : "{p}" , "seed":1.0e5 }}"#),
                format!(r#"{{ "revised_prompt" : "x" , "b64_json" : "{p}","url":"{u}" , "seed":1.0e5 }}"#),
                format!(r#"{{ "revised_prompt" : "x" , "b64_json" : "{p}" , "seed":1.0e5 }}"#),
            ],
            [
                r#"{"url":"http://up/a.png?x=1&y=2"}"#.into(),
                format!(r#"{{"url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{p}"}}"#),
                format!(r#"{{"b64_json":"{p}","url":"{u}"}}"#),
                format!(r#"{{"url":"{u}"}}"#),
            ],
            // Empty twins, before and behind, first and last.
            [
                format!(r#"{{"url":"","b64_json":"{p}","revised_prompt":""}}"#),
                format!(r#"{{"url":"{u}","revised_prompt":""}}"#),
                format!(r#"{{"b64_json":"{p}","revised_prompt":""}}"#),
                format!(r#"{{"b64_json":"{p}","url":"{u}","revised_prompt":""}}"#),
                format!(r#"{{"url":"","b64_json":"{p}","revised_prompt":""}}"#),
            ],
            [
                format!(r#"{{"a":1, "url":null ,"b64_json":"{p}"}}"#),
                format!(r#"{{"a":1 ,"url":"{u}"}}"#),
                format!(r#"{{"a":1 ,"b64_json":"{p}"}}"#),
                format!(r#"{{"a":1 ,"b64_json":"{p}","url":"{u}"}}"#),
                format!(r#"{{"a":1, "url":null ,"b64_json":"{p}"}}"#),
            ],
            [
                r#"{"url":"https://up/a.png","b64_json":""}"#.into(),
                format!(r#"{{"url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{p}"}}"#),
                format!(r#"{{"b64_json":"{p}","url":"{u}"}}"#),
                format!(r#"{{"url":"{u}","b64_json":""}}"#),
            ],
            [
                format!(r#"{{"b64_json":"{p}","url":""}}"#),
                format!(r#"{{"url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{p}"}}"#),
                format!(r#"{{"b64_json":"{p}","url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{p}","url":""}}"#),
            ],
            // Both are there: the bytes win over the link.
            [
                format!(r#"{{"url":"http://gone/x","size":"1x1","b64_json":"{p}"}}"#),
                format!(r#"{{"size":"1x1","url":"{u}"}}"#),
                format!(r#"{{"size":"1x1","b64_json":"{p}"}}"#),
                format!(r#"{{"size":"1x1","b64_json":"{p}","url":"{u}"}}"#),
                format!(r#"{{"url":"http://gone/x","size":"1x1","b64_json":"{p}"}}"#),
            ],
            [
                format!(r#"{{"url":"data:image/png;base64,{p}"}}"#),
                format!(r#"{{"url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{p}"}}"#),
                format!(r#"{{"b64_json":"{p}","url":"{u}"}}"#),
                format!(r#"{{"url":"data:image/png;base64,{p}"}}"#),
            ],
        ];
        let svg = "PHN2Zy8+";
        let more = [
            // An empty twin before a link.
            [
                r#"{"b64_json":null,"revised_prompt":null,"url":"http://up/a.png"}"#.into(),
                format!(r#"{{"revised_prompt":null,"url":"{u}"}}"#),
                format!(r#"{{"revised_prompt":null,"b64_json":"{p}"}}"#),
                format!(r#"{{"revised_prompt":null,"b64_json":"{p}","url":"{u}"}}"#),
                format!(r#"{{"b64_json":null,"revised_prompt":null,"url":"{u}"}}"#),
            ],
            // No picture in `b64_json`: the link beside it is all there is.
            [
                format!(r#"{{"b64_json":"{svg}","url":"https://up/a.png"}}"#),
                format!(r#"{{"b64_json":"{svg}","url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{svg}","url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{svg}","url":"{u}"}}"#),
                format!(r#"{{"b64_json":"{svg}","url":"{u}"}}"#),
            ],
            [
                format!(r#"{{"url":"https://up/a.png","b64_json":"{svg}"}}"#),
                format!(r#"{{"url":"https://up/a.png","b64_json":"{svg}"}}"#),
                format!(r#"{{"url":"https://up/a.png","b64_json":"{svg}"}}"#),
                format!(r#"{{"url":"https://up/a.png","b64_json":"{svg}"}}"#),
                format!(r#"{{"url":"{u}","b64_json":"{svg}"}}"#),
            ],
        ];
        for [item, expected @ ..] in rows.into_iter().chain(more) {
            for (form, expected) in forms.into_iter().zip(expected) {
                let text = format!(r#"{{"created":1, "data":[{item}],"usage":{{}}}}"#);
                let expected = format!(r#"{{"created":1, "data":[{expected}],"usage":{{}}}}"#);
                assert_eq!(rewrite(rules(Shape::Images, form), &text), expected, "{form:?} of {item}");
            }
        }
    }

    #[test]
    fn every_spelling_of_base64_is_a_picture() {
        let u = &Renderer::url(PNG);
        let p = PNG_BASE64;
        let url_safe = p.replace('+', "-").replace('/', "_");
        for spelled in [
            p.to_owned(),
            format!("data:image/png;base64,{p}"),
            format!("DATA:IMAGE/PNG;charset=utf-8;BASE64,{p}"),
            format!("data:application/octet-stream;base64,{p}"),
            p.replace('/', "\\/"),
            p.replace('/', "\\u002F"),
            format!("\\u0069{}", &p[1..]),
            format!("{}\\n{}\\r\\n", &p[..40], &p[40..]),
            url_safe.clone(),
            p.trim_end_matches('=').to_owned(),
            format!("data:image\\/png;base64,{}", p.replace('+', "%2B").replace('/', "%2f")),
        ] {
            let text = format!(r#"{{"data":[{{"b64_json":"{spelled}"}}]}}"#);
            let expected = format!(r#"{{"data":[{{"url":"{u}"}}]}}"#);
            assert_eq!(rewrite(rules(Shape::Images, Form::Url), &text), expected, "{spelled}");
        }
    }

    #[test]
    fn what_is_no_picture_leaves_as_it_came() {
        let p = PNG_BASE64;
        let half = &p[..60];
        for value in [
            "".to_owned(),
            "hello".into(),
            "dat".into(),
            "data:".into(),
            "iVBORw0KGgo...".into(),
            "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciLz4=".into(),
            "data:image/svg+xml;base64,PHN2Zy8+".into(),
            "data:image/png,notbase64".into(),
            format!("{half}***{half}"),
            format!("{p}=="),
            format!("{p}x"),
            format!("{}xx", p.trim_end_matches('=')),
            format!("{half}\\n{half}!"),
            format!("{}-_", p.trim_end_matches('=').replace('/', "\\/")),
            format!("iVBORw0KGgoé{p}"),
        ] {
            for form in [Form::Url, Form::Base64, Form::Both, Form::AsCame] {
                let text = format!(r#"{{"data":[{{"b64_json":"{value}","x":[1,2]}}]}}"#);
                assert_eq!(rewrite(rules(Shape::Images, form), &text), text, "{form:?}");
            }
        }
    }

    #[test]
    fn broken_and_odd_answers_pass() {
        let p = PNG_BASE64;
        for text in [
            "",
            "not json",
            "<html>502</html>",
            r#"{"data":[{"url":"","b64_json"#,
            r#"{"data":[{"url":"", "x" :"#,
            r#"{"data":[{"url":"http://up/x"#,
            r#"{"data":[{"b64_json":"abc\u00"#,
            r#"{"data":[{"b64_json":"abc\q"}]}"#,
            r#"{"data":null,"images":{}}"#,
            r#"{"data":[{"b64_json":12,"url":{"a":[]}}]}"#,
            r#"{"data":[{"url":"","b64_json":""}]}"#,
            r#"{"data":[{"url":null,"b64_json":null}]}"#,
            r#"{"data":[{"error":{"code":"x","message":"y"}},"s",[{"b64_json":""}]]}"#,
            r#"{"data":[{"url":"/generated-images/x.png"},{"url":"ftp://x/y"}]}"#,
            r#"{"data":[{"url":"http://gone/x.png?a=1\u0026b=2"}]}"#,
            &format!(r#"{{"data":[{{"b64_json":"{}"#, &p[..80]),
            &format!(r#"{{"error":{{"message":"{p}"}}}}"#),
            &"[".repeat(400),
        ] {
            for form in [Form::Url, Form::Base64, Form::Both, Form::AsCame] {
                assert_eq!(rewrite(rules(Shape::Images, form), text), text, "{form:?}");
            }
        }
    }

    #[test]
    fn chat_text_keeps_everything_but_the_uri() {
        let p = PNG_BASE64;
        let u = &Renderer::url(PNG);
        let z = "z".repeat(32);
        for (content, expected) in [
            (format!("![image](data:image/png;base64,{p})"), format!("![image]({u})")),
            (format!(r#"a ![](data:image\/png;base64,{p} \"t\") b"#), format!(r#"a ![]({u} \"t\") b"#)),
            (format!(r#"<img src=\"data:image/png;base64,{p}\">"#), format!(r#"<img src=\"{u}\">"#)),
            (format!("data:image/png;base64,{p}"), u.clone()),
            (format!("data:image/png;base64,{p}\\ndata:image/png;base64,{p} é"), format!("{u}\\n{u} é")),
            ("a data:image/png;base64,iVBORw0KGgo... b".into(), "a data:image/png;base64,iVBORw0KGgo... b".into()),
            (
                "dada data:imag data:image/ data:image/png;x".into(),
                "dada data:imag data:image/ data:image/png;x".into(),
            ),
            // A scheme does not begin in the middle of a word.
            (format!("data:imagedata:image/png;base64,{p}"), format!("data:imagedata:image/png;base64,{p}")),
            (format!("x.data:image/png;base64,{p}"), format!("x.data:image/png;base64,{p}")),
            (format!("x:data:image/png;base64,{p}"), format!("x:{u}")),
            (format!("图data:image/png;base64,{p}"), format!("图{u}")),
            (format!("data:image/png|data:image/png;base64,{p}"), format!("data:image/png|{u}")),
            // A payload that is no picture may end with the start of another URI, wherever it is cut.
            (
                format!("data:image/png;base64,{z}/data:image/png;base64,{p}) data:image/png;base64,{p}"),
                format!("data:image/png;base64,{z}/{u}) {u}"),
            ),
            (format!("data:image/png;base64,data:image/png;base64,{p}"), format!("data:image/png;base64,{u}")),
            (format!("data:image/png;base64,{z}dat"), format!("data:image/png;base64,{z}dat")),
            // The `d` of an escape begins nothing; one behind an escape may.
            (format!("\\u001data:image/png;base64,{p}"), format!("\\u001data:image/png;base64,{p}")),
            (format!("\\u001fdata:image/png;base64,{p}"), format!("\\u001f{u}")),
            (format!("\\u0041data:image/png;base64,{p}"), format!("\\u0041data:image/png;base64,{p}")),
        ] {
            let text = format!(r#"{{"choices":[{{"message":{{"content":"{content}","refusal":null}}}}]}}"#);
            let expected = format!(r#"{{"choices":[{{"message":{{"content":"{expected}","refusal":null}}}}]}}"#);
            assert_eq!(rewrite(rules(Shape::Chat, Form::Url), &text), expected, "{content}");
            assert_eq!(rewrite(rules(Shape::Chat, Form::AsCame), &text), text, "{content}");
        }
    }

    #[test]
    fn chat_parts_are_found_in_every_spelling() {
        let u = &Renderer::url(PNG);
        for part in [
            r#"{"type":"image_url","image_url":{"url":"$"},"index":0}"#,
            r#"{"type":"image_url","image_url":"$"}"#,
            r#"{"type":"output_image","image_url":"$"}"#,
            r#"{"type":"image","image":{"url":"$"}}"#,
            r#"{"type":"image","image":"$"}"#,
        ] {
            for (field, uri) in [("content", "data:image/png;base64,"), ("images", "data:image/png;base64,")] {
                let text = format!(r#"{{"choices":[{{"message":{{"{field}":[{part}]}}}}]}}"#);
                let from = text.replace('$', &format!("{uri}{PNG_BASE64}"));
                assert_eq!(rewrite(rules(Shape::Chat, Form::Url), &from), text.replace('$', u));
                let link = text.replace('$', "https://up/x.png");
                assert_eq!(rewrite(rules(Shape::Chat, Form::Url), &link), text.replace('$', u));
                let left = Rules { links: false, ..rules(Shape::Chat, Form::AsCame) };
                assert_eq!(rewrite(left, &from), from);
                assert_eq!(rewrite(left, &link), link);
            }
        }
    }

    #[test]
    fn a_late_stray_character_gives_the_whole_value_back() {
        let noise: Vec<u8> = (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut text = base64_simd::STANDARD.encode_to_string([PNG, &noise].concat());
        text.insert(text.len() - 3, '*');
        for text in [text.clone(), text.replace('/', "\\/"), format!("{}\\n{}", &text[..90_000], &text[90_000..])] {
            let text = format!(r#"{{"data":[{{"b64_json":"{text}"}}]}}"#);
            for size in [1 << 20, 65_536, 1000, 77] {
                let out = rewrite_pieces(rules(Shape::Images, Form::Url), text.as_bytes().chunks(size));
                assert!(out == text, "in pieces of {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(
            parts in prop::collection::vec(prop_oneof![
                Just(PNG_BASE64.to_owned()), Just("data:image/png;base64,".to_owned()), Just("data:image\\/".into()),
                Just("\\n".into()), Just("=".into()), Just("http://up/".into()), Just("".into()), "[a-zA-Z+/(é]{0,9}"
            ], 0..6),
            sizes in prop::collection::vec(1usize..40, 1..8),
            form in prop_oneof![Just(Form::Url), Just(Form::Base64), Just(Form::Both), Just(Form::AsCame)],
        ) {
            let value = parts.concat();
            let images = format!(r#"{{"data":[{{"url":"{value}","x":"","b64_json":"{value}"}},{{"b64_json":"{value}","url":""}}]}}"#);
            let chat = format!(r#"{{"choices":[{{"message":{{"content":"{value}"}},"delta":{{"content":[{{"text":"{value}"}}]}}}}]}}"#);
            for (shape, text) in [(Shape::Images, images), (Shape::Chat, chat)] {
                let whole = rewrite_pieces(rules(shape, form), [text.as_bytes()]);
                let mut rest = text.as_bytes();
                let mut pieces = Vec::new();
                for size in sizes.iter().cycle() {
                    if rest.is_empty() { break; }
                    let (piece, tail) = rest.split_at((*size).min(rest.len()));
                    pieces.push(piece);
                    rest = tail;
                }
                prop_assert_eq!(rewrite_pieces(rules(shape, form), pieces), whole);
            }
        }

        #[test]
        fn anything_at_all_comes_out_again(bytes: Vec<u8>, size in 1usize..9) {
            let mut rewriter = AnswerRewriter::new(rules(Shape::Images, Form::Url));
            let mut renderer = Renderer::default();
            for piece in bytes.chunks(size) {
                renderer.events(rewriter.push(piece));
            }
            renderer.events(rewriter.finish());
            prop_assert_eq!(renderer.out, bytes);
        }
    }
}

//! The whole list of what answers look like out there, one row each: what comes, and what the client gets.
//!
//! A row is a promise about bytes: what it does not change is identical, in every form and however the answer is cut. Where
//! a quirk needs a connection to show, its test is elsewhere: framings of HTTP in `framings.rs`, codings in `encodings.rs`,
//! bare pictures in `raw_pictures.rs`, labels in `streams.rs`, forms per key in `policies.rs`.

use picgate::rewrite::{
    answer::{AnswerRewriter, Form, Rules},
    shape::Shape::{self, Chat, Images, Responses},
    stream::StreamRewriter,
};

use crate::{
    corpus::invariants::{Renderer, render, render::url},
    harness::{encoded, fixture},
};

/// What links lead to.
const LINKED: &str = "px2b.png";

/// The quirk; whose route it comes by; what comes; what leaves when URLs are wanted. `{px2.png}` is base64 of that picture,
/// `<px2.png>` its URL; every http(s) URL leads to `px2b.png`; `=` as what leaves: the same.
type Row = (&'static str, Shape, &'static str, &'static str);

/// Leaves as it came.
const SAME: &str = "=";

// === Whole answers ===

const IMAGES: &[Row] = &[
    (
        "what stands beside a picture stays, and the order of keys",
        Images,
        r#"{"created":1790000000,"background":"opaque","output_format":"png","data":[{"b64_json":"{px2.png}"}],"usage":{"input_tokens":10,"output_tokens":2e2}}"#,
        r#"{"created":1790000000,"background":"opaque","output_format":"png","data":[{"url":"<px2.png>"}],"usage":{"input_tokens":10,"output_tokens":2e2}}"#,
    ),
    ("`data` is null", Images, r#"{"created":1,"data":null}"#, SAME),
    ("`data` is empty", Images, r#"{"created":1,"data":[]}"#, SAME),
    ("`data` is absent (LocalAI)", Images, r#"{"created":1,"id":"x"}"#, SAME),
    (
        "no `created`, the item says which key it has (Together)",
        Images,
        r#"{"id":"x","object":"list","data":[{"index":0,"type":"b64_json","b64_json":"{px2.jpg}"},{"index":1,"type":"url","url":"https://up.example/1.jpg"}]}"#,
        r#"{"id":"x","object":"list","data":[{"index":0,"type":"b64_json","url":"<px2.jpg>"},{"index":1,"type":"url","url":"<px2b.png>"}]}"#,
    ),
    (
        "a picture failed inside `data` (Ark)",
        Images,
        r#"{"data":[{"error":{"code":"x","message":"no"}},{"b64_json":"{px2.jpg}","size":"1x1"}],"usage":{"generated_images":1}}"#,
        r#"{"data":[{"error":{"code":"x","message":"no"}},{"url":"<px2.jpg>","size":"1x1"}],"usage":{"generated_images":1}}"#,
    ),
    (
        "a signed URL with escaped ampersands (Ark)",
        Images,
        r#"{"data":[{"url":"https:\/\/up.example\/1.jpeg?X-Tos-Expires=86400\u0026x=1"}]}"#,
        r#"{"data":[{"url":"<px2b.png>"}]}"#,
    ),
    (
        "layers with numbers and boxes (Ark)",
        Images,
        r#"{"data":[{"z_index":1,"bounding_box":[0,0,1.50,2],"name":"a","url":"https://up.example/1"}]}"#,
        r#"{"data":[{"z_index":1,"bounding_box":[0,0,1.50,2],"name":"a","url":"<px2b.png>"}]}"#,
    ),
    (
        "filters' results stay (Azure)",
        Images,
        r#"{"data":[{"url":"https://up.example/1","content_filter_results":{"hate":{"filtered":false}},"prompt_filter_results":{}}]}"#,
        r#"{"data":[{"url":"<px2b.png>","content_filter_results":{"hate":{"filtered":false}},"prompt_filter_results":{}}]}"#,
    ),
    (
        "`images[]` beside a mirror in `data[]` (SiliconFlow)",
        Images,
        r#"{"images":[{"url":"https://up.example/1"}],"timings":{"inference":0.10},"data":[{"url":"https://up.example/1"}],"seed":18446744073709551615}"#,
        r#"{"images":[{"url":"<px2b.png>"}],"timings":{"inference":0.10},"data":[{"url":"<px2b.png>"}],"seed":18446744073709551615}"#,
    ),
    (
        "a cost too large for a double stays (xAI)",
        Images,
        r#"{"data":[{"b64_json":"{px2.jpg}","mime_type":"image/jpeg","respect_moderation":true}],"usage":{"cost_in_usd_ticks":90071992547409931}}"#,
        r#"{"data":[{"url":"<px2.jpg>","mime_type":"image/jpeg","respect_moderation":true}],"usage":{"cost_in_usd_ticks":90071992547409931}}"#,
    ),
    (
        "the item names its type (OpenRouter)",
        Images,
        r#"{"created":1,"data":[{"media_type":"image/webp","b64_json":"{px2.webp}"}]}"#,
        r#"{"created":1,"data":[{"media_type":"image/webp","url":"<px2.webp>"}]}"#,
    ),
    (
        "an embedding of nothing (LocalAI)",
        Images,
        r#"{"data":[{"embedding":null,"index":0,"b64_json":"{px2.png}"}],"usage":{"total_tokens":0}}"#,
        r#"{"data":[{"embedding":null,"index":0,"url":"<px2.png>"}],"usage":{"total_tokens":0}}"#,
    ),
    (
        "fields of a provider's own (LiteLLM)",
        Images,
        r#"{"data":[{"b64_json":"{px2.png}","provider_specific_fields":{"b64":"{px2.jpg}"}}]}"#,
        r#"{"data":[{"url":"<px2.png>","provider_specific_fields":{"b64":"{px2.jpg}"}}]}"#,
    ),
    (
        "a data URI in `b64_json` (one-api)",
        Images,
        r#"{"data":[{"b64_json":"data:image/png;base64,{px2.png}"}]}"#,
        r#"{"data":[{"url":"<px2.png>"}]}"#,
    ),
    (
        "both keys are filled (one-api): the bytes win",
        Images,
        r#"{"data":[{"url":"https://up.example/1","b64_json":"{px2.png}"}]}"#,
        r#"{"data":[{"url":"<px2.png>"}]}"#,
    ),
    (
        "all keys are always there (new-api): the empty one goes",
        Images,
        r#"{"data":[{"url":"","b64_json":"{px2.png}","revised_prompt":""},{"url":"https://up.example/1","b64_json":"","revised_prompt":""}]}"#,
        r#"{"data":[{"url":"<px2.png>","revised_prompt":""},{"url":"<px2b.png>","revised_prompt":""}]}"#,
    ),
    (
        "a raw copy of the upstream's answer in `metadata` (new-api) stays",
        Images,
        r#"{"data":[{"url":"https://up.example/1"}],"metadata":{"output":{"results":[{"url":"https://up.example/1"}]}}}"#,
        r#"{"data":[{"url":"<px2b.png>"}],"metadata":{"output":{"results":[{"url":"https://up.example/1"}]}}}"#,
    ),
    (
        "a URL that is a data URI",
        Images,
        r#"{"data":[{"url":"data:image/gif;base64,{px2.gif}"}]}"#,
        r#"{"data":[{"url":"<px2.gif>"}]}"#,
    ),
    (
        "one picture as an object (fal)",
        Images,
        r#"{"image":{"url":"https://up.example/1","content_type":"image/png"},"seed":1}"#,
        r#"{"image":{"url":"<px2b.png>","content_type":"image/png"},"seed":1}"#,
    ),
    (
        "URLs as a list of texts (Replicate)",
        Images,
        r#"{"id":"x","output":["https://up.example/1","https://up.example/2"]}"#,
        r#"{"id":"x","output":["<px2b.png>","<px2b.png>"]}"#,
    ),
    (
        "a URL as a text (Replicate)",
        Images,
        r#"{"output":"https://up.example/1","urls":{"get":"https://up.example/p/1"}}"#,
        r#"{"output":"<px2b.png>","urls":{"get":"https://up.example/p/1"}}"#,
    ),
    (
        "a data URI as a text (Replicate)",
        Images,
        r#"{"output":"data:image/png;base64,{px2.png}"}"#,
        r#"{"output":"<px2.png>"}"#,
    ),
    ("text as the output (Replicate)", Images, r#"{"output":["a","poem"]}"#, SAME),
    (
        "URLs under another name (MiniMax)",
        Images,
        r#"{"data":{"image_urls":["https://up.example/1"]},"base_resp":{"status_code":0}}"#,
        r#"{"data":{"image_urls":["<px2b.png>"]},"base_resp":{"status_code":0}}"#,
    ),
    (
        "results of a job, one failed (DashScope)",
        Images,
        r#"{"output":{"task_status":"SUCCEEDED","results":[{"url":"https://up.example/1"},{"code":"x","message":"y"}]}}"#,
        r#"{"output":{"task_status":"SUCCEEDED","results":[{"url":"<px2b.png>"},{"code":"x","message":"y"}]}}"#,
    ),
    (
        "a message of pictures (DashScope)",
        Images,
        r#"{"output":{"choices":[{"message":{"role":"assistant","content":[{"image":"https://up.example/1"},{"text":"x"}]}}]}}"#,
        r#"{"output":{"choices":[{"message":{"role":"assistant","content":[{"image":"<px2b.png>"},{"text":"x"}]}}]}}"#,
    ),
    ("a job that was not done", Images, r#"{"output":{"task_id":"t","task_status":"PENDING"},"request_id":"r"}"#, SAME),
    (
        "a job that is ready (Fireworks)",
        Images,
        r#"{"status":"Ready","result":{"sample":"https://up.example/1"}}"#,
        r#"{"status":"Ready","result":{"sample":"<px2b.png>"}}"#,
    ),
];

/// Base64 under a key that promises it, or that its clients decode: nothing changes, in any form, and it is kept.
const KEPT: &[(&str, Shape, &str)] = &[
    ("Imagen", Images, r#"{"predictions":[{"mimeType":"image/png","bytesBase64Encoded":"{px2.png}"}]}"#),
    (
        "Gemini",
        Images,
        r#"{"candidates":[{"content":{"parts":[{"text":"x"},{"inlineData":{"mimeType":"image/png","data":"{px2.png}"},"thoughtSignature":"AAAA"}]}}]}"#,
    ),
    (
        "Gemini by its other name",
        Chat,
        r#"{"candidates":[{"content":{"parts":[{"inline_data":{"mime_type":"image/png","data":"{px2.png}"}}]}}]}"#,
    ),
    (
        "Gemini as an array",
        Chat,
        r#"[{"candidates":[{"content":{"parts":[{"inlineData":{"data":"{px2.png}"}}]}}]},{"usageMetadata":{}}]"#,
    ),
    ("Vercel's gateway", Images, r#"{"images":["{px2.png}"],"warnings":[]}"#),
    ("Vercel's image generator", Images, r#"{"provider":"openai","image":"{px2.png}"}"#),
    ("A1111", Images, r#"{"images":["{px2.png}"],"parameters":{},"info":"{\"seed\": 1}"}"#),
    ("A1111 from PHP", Images, r#"{"images":["\/9j\/4AAQ","{px2.png}"]}"#),
    ("Stability", Images, r#"{"artifacts":[{"base64":"{px2.png}","seed":1,"finishReason":"SUCCESS"}]}"#),
    ("Fireworks", Images, r#"{"base64":["{px2.png}"],"finishReason":"SUCCESS"}"#),
    ("Fireworks, one", Images, r#"{"base64":"{px2.png}"}"#),
    ("MiniMax", Images, r#"{"data":{"image_base64":["{px2.png}"]}}"#),
    ("DashScope", Images, r#"{"output":{"results":[{"b64_image":"{px2.png}"}]}}"#),
    (
        "Anthropic's parts",
        Chat,
        r#"{"choices":[{"message":{"content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"{px2.png}"}}]}}]}"#,
    ),
    ("bare base64 in a message's pictures", Chat, r#"{"choices":[{"message":{"content":"","images":["{px2.png}"]}}]}"#),
];

const CHAT: &[Row] = &[
    (
        "pictures beside the text (OpenRouter), without a type, with an index",
        Chat,
        r#"{"choices":[{"message":{"content":"Here.","images":[{"image_url":{"url":"data:image/png;base64,{px2.png}","detail":"auto"},"index":0}]}}]}"#,
        r#"{"choices":[{"message":{"content":"Here.","images":[{"image_url":{"url":"<px2.png>","detail":"auto"},"index":0}]}}]}"#,
    ),
    (
        "pictures as texts",
        Chat,
        r#"{"choices":[{"message":{"images":["data:image/png;base64,{px2.png}","https://up.example/1"]}}]}"#,
        r#"{"choices":[{"message":{"images":["<px2.png>","<px2b.png>"]}}]}"#,
    ),
    (
        "pictures as base64 of an item",
        Chat,
        r#"{"choices":[{"message":{"images":[{"type":"image","b64_json":"{px2.png}"}]}}]}"#,
        r#"{"choices":[{"message":{"images":[{"type":"image","url":"<px2.png>"}]}}]}"#,
    ),
    (
        "content as parts, every spelling",
        Chat,
        r#"{"choices":[{"message":{"content":[{"type":"text","text":"see ![x](data:image/png;base64,{px2.png})"},{"type":"image_url","image_url":"data:image/png;base64,{px2.png}"},{"type":"image","imageUrl":{"url":"https://up.example/1"}},{"type":"image","image":{"url":"data:image/png;base64,{px2.png}"}},{"type":"output_image","b64_json":"{px2.png}"},{"type":"image","url":"https://up.example/1"},{"type":"image","source":{"type":"url","url":"https://up.example/1"}}]}}]}"#,
        r#"{"choices":[{"message":{"content":[{"type":"text","text":"see ![x](<px2.png>)"},{"type":"image_url","image_url":"<px2.png>"},{"type":"image","imageUrl":{"url":"<px2b.png>"}},{"type":"image","image":{"url":"<px2.png>"}},{"type":"output_image","url":"<px2.png>"},{"type":"image","url":"<px2b.png>"},{"type":"image","source":{"type":"url","url":"<px2b.png>"}}]}}]}"#,
    ),
    ("content is null", Chat, r#"{"choices":[{"message":{"content":null,"images":null,"refusal":null}}]}"#, SAME),
    ("no choices", Chat, r#"{"choices":[],"usage":{"total_tokens":1}}"#, SAME),
    (
        "markdown",
        Chat,
        r#"{"choices":[{"message":{"content":"![image](data:image/png;base64,{px2.png})"}}]}"#,
        r#"{"choices":[{"message":{"content":"![image](<px2.png>)"}}]}"#,
    ),
    (
        "markdown without alt",
        Chat,
        r#"{"choices":[{"message":{"content":"![](data:image/png;base64,{px2.png})"}}]}"#,
        r#"{"choices":[{"message":{"content":"![](<px2.png>)"}}]}"#,
    ),
    (
        "markdown with a title",
        Chat,
        r#"{"choices":[{"message":{"content":"![a](data:image/png;base64,{px2.png} \"t\")"}}]}"#,
        r#"{"choices":[{"message":{"content":"![a](<px2.png> \"t\")"}}]}"#,
    ),
    (
        "markdown with angle brackets",
        Chat,
        r#"{"choices":[{"message":{"content":"![a](<data:image/png;base64,{px2.png}>)"}}]}"#,
        r#"{"choices":[{"message":{"content":"![a](<<px2.png>>)"}}]}"#,
    ),
    (
        "markdown in a link",
        Chat,
        r#"{"choices":[{"message":{"content":"[![a](data:image/png;base64,{px2.png})](https://up.example/1)"}}]}"#,
        r#"{"choices":[{"message":{"content":"[![a](<px2.png>)](https://up.example/1)"}}]}"#,
    ),
    (
        "markdown by reference",
        Chat,
        r#"{"choices":[{"message":{"content":"![a][1]\n\n[1]: data:image/png;base64,{px2.png}\n"}}]}"#,
        r#"{"choices":[{"message":{"content":"![a][1]\n\n[1]: <px2.png>\n"}}]}"#,
    ),
    (
        "markdown that names another host's picture stays",
        Chat,
        r#"{"choices":[{"message":{"content":"![a](https://up.example/1.png)"}}]}"#,
        SAME,
    ),
    (
        "HTML",
        Chat,
        r#"{"choices":[{"message":{"content":"<img src=\"data:image/png;base64,{px2.png}\"> <img src='data:image/gif;base64,{px2.gif}'>"}}]}"#,
        r#"{"choices":[{"message":{"content":"<img src=\"<px2.png>\"> <img src='<px2.gif>'>"}}]}"#,
    ),
    (
        "HTML from .NET",
        Chat,
        r#"{"choices":[{"message":{"content":"\u003Cimg src=\u0022data:image/png;base64,{px2.png}\u0022\u003E"}}]}"#,
        r#"{"choices":[{"message":{"content":"\u003Cimg src=\u0022<px2.png>\u0022\u003E"}}]}"#,
    ),
    (
        "the whole text is a data URI",
        Chat,
        r#"{"choices":[{"message":{"content":"data:image/webp;base64,{px2.webp}"}}]}"#,
        r#"{"choices":[{"message":{"content":"<px2.webp>"}}]}"#,
    ),
    (
        "a picture in a code block",
        Chat,
        r#"{"choices":[{"message":{"content":"```\ndata:image/png;base64,{px2.png}\n```"}}]}"#,
        r#"{"choices":[{"message":{"content":"```\n<px2.png>\n```"}}]}"#,
    ),
    (
        "a picture in the reasoning",
        Chat,
        r#"{"choices":[{"message":{"reasoning_content":"a data:image/png;base64,{px2.png}","reasoning":"b data:image/png;base64,{px2.png}"}}]}"#,
        r#"{"choices":[{"message":{"reasoning_content":"a <px2.png>","reasoning":"b <px2.png>"}}]}"#,
    ),
];

const RESPONSES: &[Row] = &[
    (
        "bare base64 in `result`",
        Responses,
        r#"{"output":[{"type":"image_generation_call","status":"completed","result":"{px2.png}","output_format":"png"}]}"#,
        r#"{"output":[{"type":"image_generation_call","status":"completed","result":"<px2.png>","output_format":"png"}]}"#,
    ),
    (
        "no `result` yet, or none at all",
        Responses,
        r#"{"output":[{"type":"image_generation_call","result":null},{"type":"image_generation_call","status":"failed","error":{"code":"x"}}]}"#,
        SAME,
    ),
    (
        "what a code interpreter drew",
        Responses,
        r#"{"output":[{"type":"code_interpreter_call","outputs":[{"type":"image","url":"data:image/png;base64,{px2.png}"}]}]}"#,
        r#"{"output":[{"type":"code_interpreter_call","outputs":[{"type":"image","url":"<px2.png>"}]}]}"#,
    ),
    (
        "markdown in the text",
        Responses,
        r#"{"output":[{"type":"message","content":[{"type":"output_text","text":"![x](data:image/png;base64,{px2.png})"}]}]}"#,
        r#"{"output":[{"type":"message","content":[{"type":"output_text","text":"![x](<px2.png>)"}]}]}"#,
    ),
    (
        "a picture as a part",
        Responses,
        r#"{"output":[{"type":"message","content":[{"type":"output_image","image_url":"data:image/png;base64,{px2.png}"}]}]}"#,
        r#"{"output":[{"type":"message","content":[{"type":"output_image","image_url":"<px2.png>"}]}]}"#,
    ),
];

// === Streams ===

const STREAMS: &[Row] = &[
    (
        "previews stay, the picture is a URL; no [DONE] is added",
        Images,
        "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"{px1.png}\",\"partial_image_index\":0}\n\nevent: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"{px2.png}\",\"usage\":{}}\n\n",
        "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"{px1.png}\",\"partial_image_index\":0}\n\nevent: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"url\":\"<px2.png>\",\"usage\":{}}\n\n",
    ),
    (
        "the picture comes before its last preview, and the type stands in the data only, behind the picture",
        Images,
        "data: {\"b64_json\":\"{px2.png}\",\"type\":\"image_edit.completed\"}\n\ndata: {\"type\":\"image_edit.partial_image\",\"b64_json\":\"{px1.png}\"}\n\n",
        "data: {\"url\":\"<px2.png>\",\"type\":\"image_edit.completed\"}\n\ndata: {\"type\":\"image_edit.partial_image\",\"b64_json\":\"{px1.png}\"}\n\n",
    ),
    (
        "several finished pictures and a failure (Ark)",
        Images,
        "data: {\"type\":\"image_generation.partial_succeeded\",\"image_index\":0,\"b64_json\":\"{px2.png}\"}\n\ndata: {\"type\":\"image_generation.partial_failed\",\"image_index\":1,\"error\":{\"code\":\"x\"}}\n\ndata: {\"type\":\"image_generation.partial_succeeded\",\"image_index\":2,\"url\":\"https://up.example/1\"}\n\ndata: {\"type\":\"image_generation.completed\",\"usage\":{\"generated_images\":2}}\n\ndata: [DONE]\n\n",
        "data: {\"type\":\"image_generation.partial_succeeded\",\"image_index\":0,\"url\":\"<px2.png>\"}\n\ndata: {\"type\":\"image_generation.partial_failed\",\"image_index\":1,\"error\":{\"code\":\"x\"}}\n\ndata: {\"type\":\"image_generation.partial_succeeded\",\"image_index\":2,\"url\":\"<px2b.png>\"}\n\ndata: {\"type\":\"image_generation.completed\",\"usage\":{\"generated_images\":2}}\n\ndata: [DONE]\n\n",
    ),
    (
        "a whole answer as one event",
        Images,
        "data: {\"created\":1,\"data\":[{\"url\":\"\",\"b64_json\":\"{px2.png}\"},{\"b64_json\":\"{px2.jpg}\"}]}\n\n",
        "data: {\"created\":1,\"data\":[{\"url\":\"<px2.png>\"},{\"url\":\"<px2.jpg>\"}]}\n\n",
    ),
    (
        "Gemini's events: kept, unchanged",
        Images,
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"inlineData\":{\"data\":\"{px2.png}\"}}]}}]}\r\n\r\n",
        SAME,
    ),
    (
        "an SVG in an event of its own (OpenRouter)",
        Images,
        "data: {\"type\":\"image_generation.completed\",\"media_type\":\"image/svg+xml\",\"b64_json\":\"{px2.svg}\"}\n\n",
        SAME,
    ),
    (
        "pictures beside a delta's text",
        Chat,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"images\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,{px2.png}\"},\"index\":0}]}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"images\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"<px2.png>\"},\"index\":0}]}}]}\n\n",
    ),
    (
        "a delta's content as parts",
        Chat,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":[{\"type\":\"image\",\"image\":\"data:image/png;base64,{px2.png}\"}]}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":[{\"type\":\"image\",\"image\":\"<px2.png>\"}]}}]}\n\n",
    ),
    (
        "the whole picture in one delta, the usage in an event without choices",
        Chat,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"![x](data:image/png;base64,{px2.png})\"}}]}\n\ndata: {\"choices\":[],\"usage\":{\"total_tokens\":1}}\n\ndata: [DONE]\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"![x](<px2.png>)\"}}]}\n\ndata: {\"choices\":[],\"usage\":{\"total_tokens\":1}}\n\ndata: [DONE]\n\n",
    ),
    (
        "text and the reason for its end in one delta",
        Chat,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"data:image/png;base64,{px2.png}\"},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"<px2.png>\"},\"finish_reason\":\"stop\"}]}\n\n",
    ),
    (
        "an error in a 200, its code a number (OpenRouter)",
        Chat,
        ": OPENROUTER PROCESSING\n\ndata: {\"error\":{\"code\":429,\"message\":\"x\"},\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]}\n\n",
        SAME,
    ),
    (
        "an item, and the same picture in the whole response",
        Responses,
        "event: response.image_generation_call.partial_image\ndata: {\"type\":\"response.image_generation_call.partial_image\",\"partial_image_b64\":\"{px1.png}\"}\n\nevent: response.output_item.done\ndata: {\"type\":\"response.output_item.done\",\"item\":{\"result\":\"{px2.png}\"}}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"result\":\"{px2.png}\"}]}}\n\n",
        "event: response.image_generation_call.partial_image\ndata: {\"type\":\"response.image_generation_call.partial_image\",\"partial_image_b64\":\"{px1.png}\"}\n\nevent: response.output_item.done\ndata: {\"type\":\"response.output_item.done\",\"item\":{\"result\":\"<px2.png>\"}}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"result\":\"<px2.png>\"}]}}\n\n",
    ),
    (
        "a part that is done",
        Responses,
        "data: {\"type\":\"response.content_part.done\",\"part\":{\"type\":\"output_text\",\"text\":\"![x](data:image/png;base64,{px2.png})\"}}\n\n",
        "data: {\"type\":\"response.content_part.done\",\"part\":{\"type\":\"output_text\",\"text\":\"![x](<px2.png>)\"}}\n\n",
    ),
    (
        "an item that only begins",
        Responses,
        "data: {\"type\":\"response.output_item.added\",\"item\":{\"result\":null}}\n\n",
        SAME,
    ),
];

/// How events are framed. `$` is an event's JSON with a picture, `%` the same where it is no event's data: there it stays.
const FRAMINGS: &[(&str, &str)] = &[
    ("lines end with LF", "data: $\n\n"),
    ("lines end with CR LF", "data: $\r\n\r\n"),
    ("lines end with CR", "data: $\r\r"),
    ("lines end with anything", "event: x\r\ndata: $\n\r\n: c\r\rdata: $\n\n"),
    ("no space behind the colon", "data:$\n\n"),
    ("two spaces behind the colon", "data:  $\n\n"),
    ("spaces behind the JSON", "data: $  \n\n"),
    ("comments, ids, times, names", ": OPENROUTER PROCESSING\n\nid: 1\nretry: 10\nevent: message\ndata: $\n: mid\n\n"),
    ("empty fields and fields nobody knows", "id:\nfoo\nfoo: bar\nevent\ndata: $\n\n"),
    ("an event without data", "event: ping\n\ndata: $\n\n"),
    ("more blank lines than needed", "\n\n\ndata: $\n\n\n\n"),
    ("[DONE] in every spelling", "data: $\n\ndata:[DONE]\n\ndata: [DONE]  \n\n"),
    ("the last event is not ended", "data: $\n\ndata: $"),
    ("the last line is not ended", "data: $\n\ndata: $\n"),
    ("an event cut in its JSON", "data: $\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"cut"),
    ("data that are no JSON", "data: hello\n\ndata: $\n\n"),
    ("a field whose name only begins like data", "database: %\n\ndata: $\n\n"),
];

// === What is never touched ===

/// What looks like a picture and is none of ours: leaves byte for byte, and nothing is kept.
const NEVER: &[(&str, Shape, &str)] = &[
    (
        "arguments of a tool call",
        Chat,
        r#"{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":"{\"image\":\"data:image/png;base64,{px2.png}\",\"u\":\"https://up.example/1\"}"}}]}}]}"#,
    ),
    (
        "arguments of an old function call",
        Chat,
        r#"{"choices":[{"message":{"function_call":{"arguments":"data:image/png;base64,{px2.png}"}}}]}"#,
    ),
    (
        "audio",
        Chat,
        r#"{"choices":[{"message":{"audio":{"id":"a","data":"{px2.png}","transcript":"data:image/png;base64,{px2.png}"}}}]}"#,
    ),
    (
        "audio of Gemini",
        Chat,
        r#"{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"audio/wav","data":"UklGRiQAAABXQVZF"}}]}}]}"#,
    ),
    (
        "file data",
        Chat,
        r#"{"choices":[{"message":{"content":[{"type":"file","file":{"file_data":"data:application/pdf;base64,JVBERi0xLjQK"}}]}}]}"#,
    ),
    (
        "a document as a part",
        Chat,
        r#"{"choices":[{"message":{"content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0xLjQK"}}]}}]}"#,
    ),
    (
        "encrypted reasoning that begins like a picture",
        Chat,
        r#"{"choices":[{"message":{"reasoning_details":[{"type":"reasoning.encrypted","data":"{px2.png}"}],"encrypted_content":"{px2.png}"}}]}"#,
    ),
    (
        "signatures",
        Chat,
        r#"{"choices":[{"message":{"content":"x","thought_signature":"{px2.png}","extra_content":{"google":{"thought_signature":"{px2.png}"}}}}]}"#,
    ),
    (
        "a signature of Gemini",
        Images,
        r#"{"candidates":[{"content":{"parts":[{"text":"x","thoughtSignature":"{px2.png}"}]}}]}"#,
    ),
    ("embeddings as base64", Images, r#"{"data":[{"object":"embedding","embedding":"{px2.png}","index":0}]}"#),
    ("an error's body", Images, r#"{"error":{"message":"bad image data:image/png;base64,{px2.png}","code":400}}"#),
    ("an error's body in a chat", Chat, r#"{"error":{"message":"data:image/png;base64,{px2.png}"}}"#),
    (
        "a mention without a payload",
        Chat,
        r#"{"choices":[{"message":{"content":"write data:image/png;base64,... or data:image/png;base64, or data:image/"}}]}"#,
    ),
    (
        "a signature without a size",
        Chat,
        r#"{"choices":[{"message":{"content":"![x](data:image/png;base64,iVBORw0KGgo...)"}}]}"#,
    ),
    ("bare base64 in text", Chat, r#"{"choices":[{"message":{"content":"{px2.png}"}}]}"#),
    (
        "a data URI of another type in text",
        Chat,
        r#"{"choices":[{"message":{"content":"data:application/octet-stream;base64,{px2.png}"}}]}"#,
    ),
    ("a refusal", Chat, r#"{"choices":[{"message":{"refusal":"data:image/png;base64,{px2.png}"}}]}"#),
    ("logprobs", Chat, r#"{"choices":[{"logprobs":{"content":[{"token":"data:image/png;base64,{px2.png}"}]}}]}"#),
    (
        "names of files",
        Images,
        r#"{"data":[{"url":"/generated-images/x.png"},{"url":"blob:https://a/b"},{"url":"file-abc"},{"url":"gs://b/x.png"},{"url":"oss://b/x"}]}"#,
    ),
    (
        "keys that only contain ours",
        Images,
        r#"{"data":[{"b64_json2":"{px2.png}","B64_JSON":"{px2.png}"}],"Data":[{"b64_json":"{px2.png}"}]}"#,
    ),
    (
        "our keys in another place",
        Images,
        r#"{"usage":{"data":[{"b64_json":"{px2.png}"}]},"meta":{"images":[{"url":"https://up.example/1"}]}}"#,
    ),
    (
        "arguments of a function",
        Responses,
        r#"{"output":[{"type":"function_call","arguments":"{\"a\":\"data:image/png;base64,{px2.png}\"}"}]}"#,
    ),
    (
        "reasoning",
        Responses,
        r#"{"output":[{"type":"reasoning","encrypted_content":"{px2.png}","summary":[{"text":"data:image/png;base64,{px2.png}"}]}]}"#,
    ),
    (
        "what the request said",
        Responses,
        r#"{"instructions":"data:image/png;base64,{px2.png}","input":[{"content":[{"image_url":"data:image/png;base64,{px2.png}"}]}]}"#,
    ),
    (
        "an SVG",
        Images,
        r#"{"data":[{"b64_json":"{px2.svg}"},{"url":"data:image/svg+xml;base64,{px2.svg}"},{"url":"data:image/svg+xml,%3Csvg/%3E"}]}"#,
    ),
    (
        "HTML, PDF, ZIP, text",
        Images,
        r#"{"data":[{"b64_json":"PGh0bWw+PC9odG1sPg=="},{"b64_json":"JVBERi0xLjQK"},{"b64_json":"UEsDBBQAAAAIAA=="},{"b64_json":"aGVsbG8gd29ybGQ="}]}"#,
    ),
    ("text beyond ASCII", Images, r#"{"data":[{"b64_json":"iVBORw0KGgoé","revised_prompt":"\ud83d\ude00 é \u0000"}]}"#),
    ("JSON that breaks off", Images, r#"{"data":[{"b64_json":"iVBORw0KGgo"#),
    ("no JSON", Images, "<html><img src=\"data:image/png;base64,{px2.png}\"></html>"),
    ("two documents", Images, r#"{"a":1}{"data":[{"b64_json":"{px2.png}"}]}"#),
];

/// The same in events.
const NEVER_IN_EVENTS: &[(&str, Shape, &str)] = &[
    (
        "arguments of a tool call, cut",
        Chat,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"data:image/png;base64,\"}}]}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{px2.png}\"}}]}}]}\n\n",
    ),
    ("audio", Chat, "data: {\"choices\":[{\"index\":0,\"delta\":{\"audio\":{\"data\":\"{px2.png}\"}}}]}\n\n"),
    (
        "encrypted reasoning",
        Chat,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_details\":[{\"data\":\"{px2.png}\"}]}}]}\n\n",
    ),
    (
        "an error",
        Images,
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"data:image/png;base64,{px2.png}\"}}\n\n",
    ),
    (
        "arguments of a function",
        Responses,
        "event: response.function_call_arguments.delta\ndata: {\"type\":\"response.function_call_arguments.delta\",\"delta\":\"data:image/png;base64,{px2.png}\"}\n\n",
    ),
    (
        "code of an interpreter",
        Responses,
        "data: {\"type\":\"response.code_interpreter_call_code.delta\",\"delta\":\"data:image/png;base64,{px2.png}\"}\n\n",
    ),
    (
        "previews",
        Responses,
        "data: {\"type\":\"response.image_generation_call.partial_image\",\"partial_image_b64\":\"{px2.png}\"}\n\n",
    ),
    (
        "JSON that goes on without `data:` (Ark's documentation)",
        Images,
        "data: {\"type\":\"image_generation.partial_succeeded\",\n\"b64_json\":\"{px2.png}\"}\n\n",
    ),
];

// === Bytes ===

/// Every format that is kept.
const FORMATS: [&str; 9] =
    ["px2.png", "px2.jpg", "px2.gif", "px2.webp", "px2.avif", "px2.bmp", "px2.tiff", "px2.ico", "noise16.png"];

/// Spellings of `b64_json`; `$` is standard base64, `-` URL-safe, `_` without padding, `/` with escaped slashes.
const SPELLINGS: &[(&str, &str)] = &[
    ("standard, padded", "$"),
    ("URL-safe", "-"),
    ("without padding", "_"),
    ("slashes escaped (PHP)", "/"),
    ("a data URI", "data:image/png;base64,$"),
    ("a data URI, its slash escaped", "data:image\\/png;base64,$"),
    ("a data URI of the wrong type", "data:image/jpg;base64,$"),
    ("a data URI of an old name", "data:image/x-png;base64,$"),
    ("a data URI of no type in particular", "data:application/octet-stream;base64,$"),
    ("a data URI without a type", "data:;base64,$"),
    ("a data URI in capitals", "DATA:IMAGE/PNG;BASE64,$"),
    ("a data URI with attributes", "data:image/png;charset=utf-8;name=a.png;base64,$"),
    ("a line break at the end", "$\\n"),
    ("white space around", " \\t$\\r\\n "),
];

// === The tables, run ===

/// With `{file}` and `<file>` written out.
fn spelled(text: &str) -> String {
    let files = FORMATS.iter().chain(&["px1.png", "px2b.png", "px2.svg"]);
    files.fold(text.to_owned(), |text, file| {
        let bytes = picture(file);
        text.replace(&format!("{{{file}}}"), &encoded(&bytes)).replace(&format!("<{file}>"), &url(&bytes))
    })
}

fn picture(file: &str) -> Vec<u8> {
    fixture(&format!("img/{file}"))
}

fn rewritten(text: &str, rules: Rules, is_stream: bool, size: usize) -> Renderer {
    let linked = picture(LINKED);
    let pieces = text.as_bytes().chunks(size.min(text.len()).max(1));
    if is_stream {
        render(StreamRewriter::new(rules), Some(&linked), pieces)
    } else {
        render(AnswerRewriter::new(rules), Some(&linked), pieces)
    }
}

const FORMS: [Form; 4] = [Form::Url, Form::Base64, Form::Both, Form::AsCame];
/// Whole, and in pieces.
const SIZES: [usize; 5] = [usize::MAX, 1, 2, 7, 100];

fn out(renderer: &Renderer) -> String {
    String::from_utf8_lossy(&renderer.out).into_owned()
}

/// Runs rows: what leaves as URLs is what the row says; left as it came, only links change, and the same is kept.
#[track_caller]
fn run(rows: &[Row], is_stream: bool) {
    for (quirk, shape, came, leaves) in rows {
        let came = spelled(came);
        let leaves = if *leaves == SAME { came.clone() } else { spelled(leaves) };
        let mut kept = None;
        for size in SIZES {
            let got = rewritten(&came, Rules::new(*shape, Form::Url), is_stream, size);
            assert_eq!(out(&got), leaves, "{quirk}, pieces of {size}");
            let left = Rules { links: false, ..Rules::new(*shape, Form::AsCame) };
            let left = rewritten(&came, left, is_stream, size);
            assert_eq!(out(&left), came, "{quirk}, as it came, pieces of {size}");
            // Text is not looked at where it stays, and a link that is not followed is not counted.
            assert!(left.kept.len() <= got.kept.len(), "{quirk}");
            assert_eq!(*kept.get_or_insert(got.kept.len()), got.kept.len(), "{quirk}");
        }
    }
}

#[test]
fn answers_of_the_images_routes() {
    run(IMAGES, false);
}

#[test]
fn answers_of_chats() {
    run(CHAT, false);
}

#[test]
fn answers_of_responses() {
    run(RESPONSES, false);
}

#[test]
fn streams() {
    run(STREAMS, true);
}

#[test]
fn base64_that_its_clients_decode_stays_and_is_kept() {
    for (quirk, shape, came) in KEPT {
        let came = spelled(came);
        for (form, size) in FORMS.into_iter().flat_map(|form| SIZES.map(|size| (form, size))) {
            let got = rewritten(&came, Rules::new(*shape, form), false, size);
            assert_eq!(out(&got), came, "{quirk}, {form:?}, pieces of {size}");
            assert!(got.kept == [picture("px2.png")], "{quirk}, {form:?}: kept {}", got.kept.len());
        }
    }
}

#[test]
fn bare_base64_becomes_a_url_for_a_client_that_asked_for_urls() {
    for (came, leaves) in [
        (r#"{"images":["{px2.png}","{px2.jpg}"],"info":"{}"}"#, r#"{"images":["<px2.png>","<px2.jpg>"],"info":"{}"}"#),
        (r#"{"provider":"openai","image":"{px2.png}"}"#, r#"{"provider":"openai","image":"<px2.png>"}"#),
        (r#"{"output":["{px2.png}"]}"#, r#"{"output":["<px2.png>"]}"#),
        (r#"{"data":["{px2.png}"]}"#, r#"{"data":["<px2.png>"]}"#),
    ] {
        for form in FORMS {
            let rules = Rules { named: true, ..Rules::new(Images, form) };
            let leaves = if form == Form::Url { leaves } else { came };
            assert_eq!(out(&rewritten(&spelled(came), rules, false, 7)), spelled(leaves), "{came}, {form:?}");
        }
    }
}

#[test]
fn framings_of_streams() {
    let event = |picture: &str| {
        format!(r#"{{"choices":[{{"index":0,"delta":{{"images":["{picture}"],"content":"é\u00e9"}}}}]}}"#)
    };
    let (came, leaves) = (event("data:image/png;base64,{px2.png}"), event("<px2.png>"));
    for (quirk, framing) in FRAMINGS {
        let framed = |picture: &str| spelled(&framing.replace('$', picture).replace('%', &came));
        for size in SIZES {
            let got = rewritten(&framed(&came), Rules::new(Chat, Form::Url), true, size);
            assert_eq!(out(&got), framed(&leaves), "{quirk}, pieces of {size}");
        }
    }
}

#[test]
fn a_byte_order_mark_goes_and_nothing_else() {
    for came in ["\u{feff}data: [DONE]\n\n", "\u{feff}: hi\n\n", "\u{feff}"] {
        for size in SIZES {
            let got = rewritten(came, Rules::new(Chat, Form::Url), true, size);
            assert_eq!(out(&got), came.strip_prefix('\u{feff}').unwrap(), "pieces of {size}");
        }
    }
}

#[test]
fn one_document_over_several_lines_of_data() {
    for end in ["\n", "\r\n", "\r"] {
        let came = [
            "data: {\"type\":\"image_generation.completed\",",
            "data:  \"b64_json\":",
            "data: \"{px2.png}\"",
            "data: }",
            "",
            "",
        ]
        .join(end);
        let leaves = came.replace("b64_json", "url").replace("{px2.png}", "<px2.png>");
        for size in SIZES {
            let got = rewritten(&spelled(&came), Rules::new(Images, Form::Url), true, size);
            assert_eq!(out(&got), spelled(&leaves), "{end:?}, pieces of {size}");
        }
    }
}

#[test]
fn what_is_never_touched() {
    let rows = NEVER.iter().map(|row| (row, false)).chain(NEVER_IN_EVENTS.iter().map(|row| (row, true)));
    for ((what, shape, came), is_stream) in rows {
        let came = spelled(came);
        for form in FORMS {
            for size in SIZES {
                let rules = Rules { named: true, ..Rules::new(*shape, form) };
                let got = rewritten(&came, rules, is_stream, size);
                assert_eq!(out(&got), came, "{what}, {form:?}, pieces of {size}");
                assert!(got.found_nothing(), "{what}, {form:?}");
            }
        }
    }
}

#[test]
fn every_format_is_kept_in_every_spelling() {
    for file in FORMATS {
        let standard = encoded(&picture(file));
        for (spelling, text) in SPELLINGS {
            let value = match *text {
                "-" => standard.replace('+', "-").replace('/', "_"),
                "_" => standard.trim_end_matches('=').to_owned(),
                "/" => standard.replace('/', "\\/"),
                text => text.replace('$', &standard),
            };
            let came = format!(r#"{{"data":[{{"b64_json":"{value}"}}]}}"#);
            for size in [usize::MAX, 5] {
                let got = rewritten(&came, Rules::new(Images, Form::Url), false, size);
                assert_eq!(out(&got), spelled(&format!(r#"{{"data":[{{"url":"<{file}>"}}]}}"#)), "{file}, {spelling}");
                let left = rewritten(&came, Rules::new(Images, Form::AsCame), false, size);
                assert_eq!((out(&left), &left.kept), (came.clone(), &got.kept), "{file}, {spelling}");
            }
        }
    }
}

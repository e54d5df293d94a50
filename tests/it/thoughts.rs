//! `chat.strip_think`: what a model thought is not sent to it again.

use crate::{harness::House, requests::assert_sent};

const CHAT: &str = r#"{"model":"demo-chat","messages":[{"role":"user","content":"<think>mine</think>a"},
 {"role":"assistant","content":"<think>\nlong \u003c/b>\n</think>\n\nHi ![a](x) <think>b</think> there"},
 {"content":[{"type":"text","text":"\u003cthink\u003esecret<\/think>\r\n  yes"},{"type":"text","text":"<think>cut off"}],"role":"assistant"},
 {"role":"tool","content":"<think>c</think>"},{"role":"user","content":"go on"}]}"#;
const STRIPPED: &str = r#"{"model":"demo-chat","messages":[{"role":"user","content":"<think>mine</think>a"},
 {"role":"assistant","content":"Hi ![a](x)  there"},
 {"content":[{"type":"text","text":"  yes"},{"type":"text","text":"<think>cut off"}],"role":"assistant"},
 {"role":"tool","content":"<think>c</think>"},{"role":"user","content":"go on"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn thoughts_stay_unless_they_are_to_go() {
    let house = House::new().await;
    assert_sent(&house, "/v1/chat/completions", CHAT, &[]).await;
    let house = House::builder().line("chat: { strip_think: true }").start().await;
    assert_sent(&house, "/v1/chat/completions", "CHAT", &[("CHAT", CHAT, STRIPPED)]).await;

    let responses = r#"{"model":"demo-chat","input":[{"role":"assistant","content":[{"type":"output_text","text":"THOUGHTb"}]},{"role":"user","content":"THOUGHTSTAYS"}]}"#;
    let put = [("THOUGHTSTAYS", "<think>a</think>", "<think>a</think>"), ("THOUGHT", "<think>a</think>\\n", "")];
    assert_sent(&house, "/v1/responses", responses, &put).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_may_have_its_own_rule() {
    let models = "    - { name: demo-chat, targets: [ { upstream: demo } ], chat: { strip_think: true } }
    - { name: other, targets: [ { upstream: demo } ] }
    - { name: demo-image, targets: [ { upstream: demo } ] }";
    let house = House::builder().models(models).start().await;
    assert_sent(&house, "/v1/chat/completions", "CHAT", &[("CHAT", CHAT, STRIPPED)]).await;
    assert_sent(&house, "/v1/chat/completions", &CHAT.replace("demo-chat", "other"), &[]).await;
    // A picture in a thought that goes is not sent either.
    let (url, _) = house.picture("an oak size:64x64").await;
    let text =
        r#"{"model":"demo-chat","messages":[{"role":"assistant","content":"THOUGHTb"},{"role":"user","content":"c"}]}"#;
    let thought = format!("<think>![a]({url})</think>");
    assert_sent(&house, "/v1/chat/completions", text, &[("THOUGHT", &thought, "")]).await;
}

"""Chat, responses and embeddings, as the Python SDK uses them."""

import re

from common import IMAGE_URL, client, fetch, is_our_png, run, same, upstream_received

sdk = client()


def text(value):
    return {"type": "text", "text": value}


def image(url):
    return {"type": "image_url", "image_url": {"url": url}}


def chat_answers_text():
    answer = sdk.chat.completions.create(model="demo-chat", messages=[{"role": "user", "content": "hello"}])
    assert answer.choices[0].message.content, "an empty answer"
    same(answer.choices[0].finish_reason, "stop", "finish_reason")


def chat_streams_text():
    stream = sdk.chat.completions.create(model="demo-chat", messages=[{"role": "user", "content": "hello"}], stream=True)
    content, finish = "", None
    for chunk in stream:
        for choice in chunk.choices:
            content += choice.delta.content or ""
            finish = choice.finish_reason or finish
    assert content, "an empty stream"
    same(finish, "stop", "finish_reason")


def chat_inlines_image_urls():
    """A URL the gateway handed out and one of somebody else's: the upstream gets both as bytes."""
    ours = sdk.images.generate(model="demo-image", prompt="something to look at", size="512x512").data[0].url
    content = [text("Compare these two."), image(ours), image(IMAGE_URL)]
    answer = sdk.chat.completions.create(model="demo-chat", messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content, "an empty answer"
    received = upstream_received("/chat/completions", fetch(ours)[1], fetch(IMAGE_URL)[1])
    same(received[0]["media_type"], "image/png", "media type of the data URI")


def chat_that_draws_answers_a_url():
    answer = sdk.chat.completions.create(model="demo-chat", messages=[{"role": "user", "content": "draw a red fox"}])
    links_one_picture(answer.choices[0].message.content)


def chat_that_draws_streams_a_url():
    message = {"role": "user", "content": "draw a red fox"}
    stream = sdk.chat.completions.create(model="demo-chat", messages=[message], stream=True)
    deltas = [choice.delta.content or "" for chunk in stream for choice in chunk.choices]
    links_one_picture("".join(deltas))


def links_one_picture(content):
    assert "base64," not in content, f"base64 in the answer: {content[:200]}"
    urls = re.findall(r"!\[[^\]]*\]\((\S+?)\)", content)
    same(len(urls), 1, f"markdown pictures in {content!r}")
    is_our_png(urls[0])


def responses_answer_text():
    answer = sdk.responses.create(model="demo-chat", input="hello")
    assert answer.output_text, f"no text in {answer.output}"


def responses_inline_image_urls():
    ours = sdk.images.generate(model="demo-image", prompt="something else to look at", size="512x512").data[0].url
    content = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": ours, "detail": "auto"}]
    answer = sdk.responses.create(model="demo-chat", input=[{"role": "user", "content": content}])
    assert answer.output_text, f"no text in {answer.output}"
    upstream_received("/responses", fetch(ours)[1])


def responses_stream_text_once():
    with sdk.responses.stream(model="demo-chat", input="hello") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        same("".join(deltas), stream.get_final_response().output_text, "deltas and the final text")


def embeddings_pass_through():
    answer = sdk.embeddings.create(model="demo-chat", input="a red fox")
    assert answer.data[0].embedding, "an empty embedding"


run(
    chat_answers_text,
    chat_streams_text,
    chat_inlines_image_urls,
    chat_that_draws_answers_a_url,
    chat_that_draws_streams_a_url,
    responses_answer_text,
    responses_inline_image_urls,
    responses_stream_text_once,
    embeddings_pass_through,
)

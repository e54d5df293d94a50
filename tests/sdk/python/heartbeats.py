"""Streams that fall silent, with ids and every line end: what the SDK sees through a gateway that sends heartbeats is what it
sees without one. PICGATE_UPSTREAM_URL is the same upstream without the gateway, with /v1.

The upstream is slow, so all streams are read at once.
"""

import concurrent.futures
import os
import re

import openai

from common import BASE_URL, png, run, same

UPSTREAM_URL = os.environ["PICGATE_UPSTREAM_URL"]
BYTES_KEY = os.environ["PICGATE_BYTES_KEY"]


def sdk(base_url):
    return openai.OpenAI(base_url=base_url, api_key=BYTES_KEY, max_retries=0, timeout=60)


def chat(client, model):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}], stream=True)


def generation(client, model):
    return client.images.generate(model=model, prompt="a red fox", stream=True)


def edit(client, model):
    return client.images.edit(model=model, image=("a.png", png(), "image/png"), prompt="a red fox", stream=True)


def response(client, model):
    return client.responses.create(model=model, input="hello", stream=True)


def seen(events):
    """Events as plain values; a picture is a picture, inline or by URL."""
    picture = re.compile(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+|http://[^/]+/images/[^\s\")]+")
    return [picture.sub("PICTURE", event.model_dump_json(exclude_unset=True)) for event in events]


SHAPES = {
    "text": chat,
    "pictures": chat,
    "logprobs": chat,
    "generation": generation,
    "edit": edit,
    "response": response,
}


def streams_are_the_same_with_heartbeats():
    cases = [(shape, f"{shape}-{line_end}") for shape in SHAPES for line_end in ("lf", "crlf", "cr")]
    read = lambda base_url, shape, model: seen(SHAPES[shape](sdk(base_url), model))
    with concurrent.futures.ThreadPoolExecutor(2 * len(cases)) as pool:
        reads = [[pool.submit(read, url, *case) for url in (UPSTREAM_URL, BASE_URL)] for case in cases]
        for (_, model), (direct, through) in zip(cases, reads):
            assert len(direct.result()) > 1, f"{model}: the stream is empty"
            same(through.result(), direct.result(), model)
            print(f"ok {model}", flush=True)


run(streams_are_the_same_with_heartbeats)

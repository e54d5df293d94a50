"""Errors keep their class, code and headers on the way through the gateway."""

import openai

from common import client, run, same

sdk = client()


def refused(kind, call, code=None):
    """`call` fails as `kind`, with a message, a request id and `code`."""
    try:
        call()
    except openai.APIStatusError as error:
        same(type(error).__name__, kind.__name__, "class of the error")
        assert error.message, "an error without a message"
        assert error.request_id, "an error without a request id"
        if code:
            same(error.code, code, f"code of {error.body}")
        return error
    raise AssertionError(f"no {kind.__name__}: the call succeeded")


def draw(prompt, model="demo-image"):
    return lambda: sdk.images.generate(model=model, prompt=prompt)


def say(prompt, model="demo-chat"):
    return lambda: sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}])


def wrong_key():
    stranger = client(key="sk-nobody-has-this-key")
    refused(openai.AuthenticationError, lambda: stranger.models.list(), code="invalid_api_key")
    refused(openai.AuthenticationError, lambda: stranger.images.generate(model="demo-image", prompt="a fox"))


def unknown_model():
    refused(openai.NotFoundError, draw("a fox", model="nope-model"), code="model_not_found")
    refused(openai.NotFoundError, say("hello", model="nope-model"), code="model_not_found")


def rate_limit():
    error = refused(openai.RateLimitError, draw("status:429"))
    assert error.response.headers.get("retry-after"), "retry-after was lost"
    refused(openai.RateLimitError, say("status:429"))


def moderation():
    refused(openai.BadRequestError, draw("status:400"), code="moderation_blocked")


def server_error():
    refused(openai.InternalServerError, draw("status:500"))
    refused(openai.InternalServerError, say("status:500"))


run(wrong_key, unknown_model, rate_limit, moderation, server_error)

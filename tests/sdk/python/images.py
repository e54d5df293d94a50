"""The image routes and the model list, as the Python SDK uses them."""

import base64
import io

from common import client, is_our_png, is_png, png, run, same, upstream_received

sdk = client()


def models_are_listed():
    names = {model.id for model in sdk.models.list()}
    missing = {"demo-image", "demo-chat", "gpt-image-demo", "picture"} - names
    assert not missing, f"models that are missing from the list: {missing}"


def generation_answers_a_url():
    answer = sdk.images.generate(model="demo-image", prompt="a red fox")
    assert answer.created, "no `created`"
    same(len(answer.data), 1, "number of pictures")
    is_our_png(answer.data[0].url, side=1024)
    same(answer.data[0].b64_json, None, "`b64_json` beside the URL")


def generation_by_alias():
    answer = sdk.images.generate(model="picture", prompt="a red fox by its other name", size="512x512")
    is_our_png(answer.data[0].url, side=512)


def generation_asked_for_url():
    answer = sdk.images.generate(model="demo-image", prompt="a blue whale", response_format="url")
    is_our_png(answer.data[0].url, side=1024)


def generation_asked_for_base64():
    answer = sdk.images.generate(model="demo-image", prompt="a grey heron", response_format="b64_json")
    is_png(base64.b64decode(answer.data[0].b64_json, validate=True), side=1024)
    same(answer.data[0].url, None, "`url` beside the base64")


def two_at_once():
    answer = sdk.images.generate(model="demo-image", prompt="two green frogs", n=2)
    same(len(answer.data), 2, "number of pictures")
    for image in answer.data:
        is_our_png(image.url)


def gpt_image_answers_a_url():
    answer = sdk.images.generate(model="gpt-image-demo", prompt="a yellow bird")
    is_our_png(answer.data[0].url)
    same(answer.data[0].b64_json, None, "`b64_json` beside the URL")


def gpt_image_never_sees_response_format():
    """The upstream refuses the parameter, so an answer means that the gateway kept it to itself."""
    answer = sdk.images.generate(model="gpt-image-demo", prompt="a black cat", response_format="url")
    is_our_png(answer.data[0].url)
    answer = sdk.images.generate(model="gpt-image-demo", prompt="a white cat", response_format="b64_json")
    is_png(base64.b64decode(answer.data[0].b64_json, validate=True))


def edit_of_one_file():
    picture = png()
    answer = sdk.images.edit(model="demo-image", prompt="add a hat", image=("one.png", picture, "image/png"))
    is_our_png(answer.data[0].url)
    upstream_received("/images/edits", picture)


def edit_of_a_file_object():
    picture = png()
    file = io.BytesIO(picture)
    file.name = "object.png"
    answer = sdk.images.edit(model="demo-image", prompt="add a scarf", image=file)
    is_our_png(answer.data[0].url)
    upstream_received("/images/edits", picture)


def edit_of_two_files_with_mask():
    first, second, mask = png(), png(24), png()
    answer = sdk.images.edit(
        model="demo-image",
        prompt="put one on the other",
        image=[("first.png", first, "image/png"), ("second.png", second, "image/png")],
        mask=("mask.png", mask, "image/png"),
    )
    is_our_png(answer.data[0].url)
    *_, last = upstream_received("/images/edits", first, second, mask)
    assert "mask" in last["place"], f"the mask came as {last['place']}"


def variation():
    picture = png()
    answer = sdk.images.create_variation(model="demo-image", image=("one.png", picture, "image/png"))
    is_our_png(answer.data[0].url)
    upstream_received("/images/variations", picture)


def generation_streams_previews_and_a_url():
    stream = sdk.images.generate(model="gpt-image-demo", prompt="a red kite", stream=True, partial_images=2)
    events = list(stream)
    *previews, last = events
    for preview in previews:
        same(preview.type, "image_generation.partial_image", "type of a preview")
        is_png(base64.b64decode(preview.b64_json, validate=True))
    assert previews, "no previews"
    same(last.type, "image_generation.completed", "type of the last event")
    is_our_png(last.url)
    assert not getattr(last, "b64_json", None), "`b64_json` beside the URL"


def base64_streams_when_asked_for():
    asked = {"response_format": "b64_json"}
    stream = sdk.images.generate(model="demo-image", prompt="a black kite", stream=True, extra_body=asked)
    *_, last = stream
    is_png(base64.b64decode(last.b64_json, validate=True))


run(
    models_are_listed,
    generation_streams_previews_and_a_url,
    base64_streams_when_asked_for,
    generation_answers_a_url,
    generation_by_alias,
    generation_asked_for_url,
    generation_asked_for_base64,
    two_at_once,
    gpt_image_answers_a_url,
    gpt_image_never_sees_response_format,
    edit_of_one_file,
    edit_of_a_file_object,
    edit_of_two_files_with_mask,
    variation,
)

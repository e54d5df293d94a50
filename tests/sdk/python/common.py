"""What every case needs: the client, pictures to send, and a look at what the upstream received.

The environment says where things are; the Rust test that runs these scripts sets it:

PICGATE_BASE_URL   the gateway, with /v1        PICGATE_KEY        a client's key, form `url`
PICGATE_DEMO_URL   the demo upstream's origin   PICGATE_IMAGE_URL  a picture the gateway may fetch
"""

import hashlib
import json
import os
import re
import struct
import sys
import urllib.request
import zlib

import openai

BASE_URL = os.environ["PICGATE_BASE_URL"]
KEY = os.environ["PICGATE_KEY"]
DEMO_URL = os.environ["PICGATE_DEMO_URL"].rstrip("/")
IMAGE_URL = os.environ["PICGATE_IMAGE_URL"]


def client(key=KEY):
    """The real SDK. It must never have to try twice, and every answer must be traceable."""

    def has_request_id(response):
        assert response.headers.get("x-request-id"), f"no x-request-id on {response.request.url}"

    http = openai.DefaultHttpxClient(event_hooks={"response": [has_request_id]})
    return openai.OpenAI(base_url=BASE_URL, api_key=key, max_retries=0, timeout=60, http_client=http)


def same(got, want, what):
    assert got == want, f"{what}: expected {want!r}, got {got!r}"


def fetch(url):
    """GETs a picture as a browser does: without a key. Returns its type and bytes."""
    with urllib.request.urlopen(url, timeout=30) as response:
        return response.headers.get_content_type(), response.read()


def is_png(data, side=None):
    same(data[:8], b"\x89PNG\r\n\x1a\n", "PNG signature")
    width, height = struct.unpack(">II", data[16:24])
    assert width and height, "a picture without size"
    if side:
        same((width, height), (side, side), "size of the picture")


def is_our_png(url, side=None):
    """`url` is one of the gateway's own, and a picture stands there. Returns its bytes."""
    assert re.fullmatch(r"https?://[^/]+/images/[0-9A-Za-z_-]+(\.png)?", url), f"not a URL of the gateway: {url}"
    media_type, data = fetch(url)
    same(media_type, "image/png", f"type of {url}")
    is_png(data, side)
    return data


def png(side=16):
    """A picture that nobody has seen before, so that what the upstream received can only be from this call."""
    row = lambda: b"\0" + os.urandom(side * 4)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    pixels = zlib.compress(b"".join(row() for _ in range(side)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def upstream_received(path, *pictures):
    """A request for `path` came to the upstream with exactly `pictures`, in this order; a mask stands where it likes.

    Requests of others may have come since, so ours is told by its first picture.
    """
    with urllib.request.urlopen(f"{DEMO_URL}/demo/received", timeout=30) as response:
        received = json.load(response)["data"]
    targets = [request["target"] for request in received]
    on_path = [request for request, target in zip(received, targets) if target.endswith(path)]
    assert on_path, f"the upstream received nothing for {path}, only {targets}"
    wanted = [sha256(data) for data in pictures]
    ours = [request for request in on_path if wanted[0] in [image.get("sha256") for image in request["images"]]]
    assert ours, f"the first picture {wanted[0]} never came to the upstream's {path}; newest: {on_path[-1]}"
    images = sorted(ours[-1]["images"], key=lambda image: "mask" in image["place"])
    same([image["sha256"] for image in images], wanted, f"pictures at the upstream ({images})")
    return images


def run(*cases):
    """Runs the cases in order; the first failure ends the script."""
    for case in cases:
        name = case.__name__
        try:
            case()
        except Exception as error:
            # The SDK wraps what a hook of ours says into an error of its own.
            because = f" ({error.__cause__})" if error.__cause__ else ""
            sys.exit(f"FAILED {name}: {type(error).__name__}: {error}{because}")
        print(f"ok {name}", flush=True)

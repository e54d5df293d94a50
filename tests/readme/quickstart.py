from openai import OpenAI
from openai.types import ImagesResponse

with open("data/demo/demo-key") as file:  # the key that `make demo` printed
    client = OpenAI(base_url="http://localhost:5643/v1", api_key=file.read().strip())

# Generate. The upstream answers base64, we get a URL.
drawn = client.images.generate(model="picgate-image", prompt="a lighthouse at dawn").data[0].url
print(drawn)

# Edit that picture by its URL. `client.images.edit` takes files only; the same endpoint takes JSON too.
body = {"model": "picgate-image", "prompt": "the same at night", "images": [{"image_url": drawn}]}
edited = client.post("/images/edits", body=body, cast_to=ImagesResponse).data[0].url
print(edited)

# Chat about both. The upstream never sees a URL: it gets the bytes, as data URIs.
question = [
    {"type": "text", "text": "What is the difference?"},
    {"type": "image_url", "image_url": {"url": drawn}},
    {"type": "image_url", "image_url": {"url": edited}},
]
answer = client.chat.completions.create(model="demo-chat", messages=[{"role": "user", "content": question}])
print(answer.choices[0].message.content)

# A picture in a chat answer is a URL as well.
answer = client.chat.completions.create(model="demo-chat", messages=[{"role": "user", "content": "draw a red fox"}])
print(answer.choices[0].message.content)

// The image routes and the model list, as the Node SDK uses them.

import assert from 'node:assert/strict';

import { toFile } from 'openai';

import { client, isOurPng, isPng, png, run, upstreamReceived } from './common.mjs';

const sdk = client();
const file = (name, bytes) => toFile(bytes, name, { type: 'image/png' });

async function drawsOne(request, side) {
  const { data } = await sdk.images.generate(request);
  assert.equal(data.length, 1, 'number of pictures');
  assert.equal(data[0].b64_json, undefined, '`b64_json` beside the URL');
  await isOurPng(data[0].url, side);
}

async function drawsBase64(request, side) {
  const { data } = await sdk.images.generate({ ...request, response_format: 'b64_json' });
  assert.equal(data[0].url, undefined, '`url` beside the base64');
  isPng(Buffer.from(data[0].b64_json, 'base64'), side);
}

await run({
  async models_are_listed() {
    const names = [];
    for await (const model of sdk.models.list()) names.push(model.id);
    for (const name of ['demo-image', 'demo-chat', 'gpt-image-demo', 'picture']) {
      assert.ok(names.includes(name), `${name} is missing from ${names}`);
    }
  },

  generation_answers_a_url: () => drawsOne({ model: 'demo-image', prompt: 'a red fox' }, 1024),

  generation_by_alias: () => drawsOne({ model: 'picture', prompt: 'a red fox by its other name', size: '512x512' }, 512),

  generation_asked_for_url: () => drawsOne({ model: 'demo-image', prompt: 'a blue whale', response_format: 'url' }, 1024),

  generation_asked_for_base64: () => drawsBase64({ model: 'demo-image', prompt: 'a grey heron' }, 1024),

  async two_at_once() {
    const { data } = await sdk.images.generate({ model: 'demo-image', prompt: 'two green frogs', n: 2 });
    assert.equal(data.length, 2, 'number of pictures');
    for (const { url } of data) await isOurPng(url);
  },

  gpt_image_answers_a_url: () => drawsOne({ model: 'gpt-image-demo', prompt: 'a yellow bird' }),

  // The upstream refuses the parameter, so an answer means that the gateway kept it to itself.
  async gpt_image_never_sees_response_format() {
    await drawsOne({ model: 'gpt-image-demo', prompt: 'a black cat', response_format: 'url' });
    await drawsBase64({ model: 'gpt-image-demo', prompt: 'a white cat' });
  },

  async generation_streams_previews_and_a_url() {
    const stream = await sdk.images.generate({ model: 'gpt-image-demo', prompt: 'a red kite', stream: true, partial_images: 2 });
    const events = [];
    for await (const event of stream) events.push(event);
    const last = events.pop();
    assert.ok(events.length > 0, 'no previews');
    for (const { type, b64_json } of events) {
      assert.equal(type, 'image_generation.partial_image');
      isPng(Buffer.from(b64_json, 'base64'));
    }
    assert.equal(last.type, 'image_generation.completed');
    assert.equal(last.b64_json, undefined, '`b64_json` beside the URL');
    await isOurPng(last.url);
  },

  async edit_of_one_file() {
    const picture = png();
    const { data } = await sdk.images.edit({ model: 'demo-image', prompt: 'add a hat', image: await file('one.png', picture) });
    await isOurPng(data[0].url);
    await upstreamReceived('/images/edits', picture);
  },

  // The SDK then sends application/octet-stream: what it is, only the bytes tell.
  async edit_of_an_untyped_file() {
    const picture = png();
    const { data } = await sdk.images.edit({ model: 'demo-image', prompt: 'add a scarf', image: await toFile(picture, 'one.png') });
    await isOurPng(data[0].url);
    await upstreamReceived('/images/edits', picture);
  },

  async edit_of_two_files_with_mask() {
    const [first, second, mask] = [png(), png(24), png()];
    const { data } = await sdk.images.edit({
      model: 'demo-image',
      prompt: 'put one on the other',
      image: [await file('first.png', first), await file('second.png', second)],
      mask: await file('mask.png', mask),
    });
    await isOurPng(data[0].url);
    const images = await upstreamReceived('/images/edits', first, second, mask);
    assert.ok(images.at(-1).place.includes('mask'), `the mask came as ${images.at(-1).place}`);
  },

  async variation() {
    const picture = png();
    const { data } = await sdk.images.createVariation({ model: 'demo-image', image: await file('one.png', picture) });
    await isOurPng(data[0].url);
    await upstreamReceived('/images/variations', picture);
  },
});

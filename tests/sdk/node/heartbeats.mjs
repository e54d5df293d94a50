// Streams that fall silent, with ids and every line end: what the SDKs see through a gateway that sends heartbeats is what they
// see without one. PICGATE_UPSTREAM_URL is the same upstream without the gateway, with /v1.
//
// The upstream is slow, so all streams are read at once.

import assert from 'node:assert/strict';

import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { streamText } from 'ai';
import OpenAI, { toFile } from 'openai';

import { baseURL, bytesKey as apiKey, png, run } from './common.mjs';

const upstreamURL = process.env.PICGATE_UPSTREAM_URL ?? assert.fail('PICGATE_UPSTREAM_URL is not set');
const messages = [{ role: 'user', content: 'hello' }];
const picture = png();

const openai = (url) => new OpenAI({ baseURL: url, apiKey, maxRetries: 0, timeout: 60_000 });
const chat = (url, model) => openai(url).chat.completions.create({ model, messages, stream: true });
const shapes = {
  text: chat,
  pictures: chat,
  logprobs: chat,
  generation: (url, model) => openai(url).images.generate({ model, prompt: 'a red fox', stream: true }),
  edit: async (url, model) => {
    const image = await toFile(picture, 'a.png', { type: 'image/png' });
    return openai(url).images.edit({ model, image, prompt: 'a red fox', stream: true });
  },
  response: (url, model) => openai(url).responses.create({ model, input: 'hello', stream: true }),
};

const parts = (model) => streamText({ model, messages, maxRetries: 0, includeRawChunks: true }).fullStream;
const vercel = {
  text: (url, model) => parts(createOpenAICompatible({ name: 'x', baseURL: url, apiKey })(model)),
  pictures: (url, model) => parts(createOpenAICompatible({ name: 'x', baseURL: url, apiKey })(model)),
  response: (url, model) => parts(createOpenAI({ baseURL: url, apiKey }).responses(model)),
};

/** Events as text; a picture is a picture, inline or by URL. Leaves out what differs from call to call. */
async function seen(stream) {
  const events = [];
  for await (const event of await stream) {
    if (event.type === 'start-step' || event.type === 'finish-step') continue;
    const text = JSON.stringify(event, (name, value) => (name === 'headers' ? undefined : value));
    events.push(text.replace(/data:image\/[a-z]+;base64,[A-Za-z0-9+\/=]+|http:\/\/[^\/]+\/images\/[^\s")]+/g, 'PICTURE'));
  }
  return events;
}

async function same(kinds) {
  const cases = Object.entries(kinds).flatMap(([shape, read]) => ['lf', 'crlf', 'cr'].map((end) => [`${shape}-${end}`, read]));
  await Promise.all(
    cases.map(async ([model, read]) => {
      const [direct, through] = await Promise.all([upstreamURL, baseURL].map((url) => seen(read(url, model))));
      assert.ok(direct.length > 1, `${model}: the stream is empty`);
      assert.deepEqual(through, direct, model);
      console.log(`ok ${model}`);
    }),
  );
}

await run({
  openai_sees_the_same_with_heartbeats: () => same(shapes),
  vercel_sees_the_same_with_heartbeats: () => same(vercel),
});

// Vercel's AI SDK over a gateway: its providers check the shape of every answer.

import assert from 'node:assert/strict';

import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, generateImage, generateText, streamText } from 'ai';

import { baseURL, bytesKey, isOurPng, isPng, key, run } from './common.mjs';

const compatible = createOpenAICompatible({ name: 'picgate', baseURL, apiKey: key });
const urls = createOpenAI({ baseURL, apiKey: key });
const bytes = createOpenAI({ baseURL, apiKey: bytesKey });
const draw = (model, more) => generateImage({ model, prompt: 'a red fox size:64x64', maxRetries: 0, ...more });
const say = (content, more) => ({ model: compatible('demo-chat'), messages: [{ role: 'user', content }], maxRetries: 0, ...more });

/** A text in which the gateway put one URL of its own in the place of a picture. */
async function linksOnePicture(text) {
  assert.ok(!text.includes('base64,'), `base64 in the text: ${text.slice(0, 200)}`);
  const found = [...text.matchAll(/!\[[^\]]*\]\((\S+?)\)/g)].map(([, url]) => url);
  assert.equal(found.length, 1, `markdown pictures in ${text}`);
  await isOurPng(found[0]);
}

await run({
  // It always asks for `b64_json`: the client's word wins over its key's `url`.
  async openai_compatible_draws() {
    const { image } = await draw(compatible.imageModel('demo-image'));
    isPng(Buffer.from(image.uint8Array), 64);
    assert.equal(image.mediaType, 'image/png');
  },

  async openai_compatible_draws_several() {
    const { images } = await draw(compatible.imageModel('demo-image'), { n: 3 });
    assert.equal(images.length, 3);
    for (const { uint8Array } of images) isPng(Buffer.from(uint8Array), 64);
  },

  // For GPT image models it asks for nothing and takes nothing but `b64_json`: the key has to say so.
  async openai_draws_with_a_key_for_bytes() {
    const { image } = await draw(bytes.image('gpt-image-demo'));
    isPng(Buffer.from(image.uint8Array), 64);
  },

  async openai_cannot_read_urls() {
    await assert.rejects(draw(urls.image('gpt-image-demo')), (error) => {
      assert.ok(APICallError.isInstance(error), `${error}`);
      return error.statusCode === 200;
    });
  },

  async chat_text_has_urls() {
    const { text } = await generateText(say('draw a red fox'));
    await linksOnePicture(text);
  },

  async chat_stream_has_urls_where_markdown_was_cut() {
    for (const words of ['delta:7', 'delta:100', '']) {
      const { textStream, finishReason } = streamText(say(`draw a red fox size:64x64 ${words}`));
      let text = '';
      for await (const piece of textStream) text += piece;
      await linksOnePicture(text);
      assert.equal(await finishReason, 'stop');
    }
  },

  // The provider has no notion of `delta.images`; the raw chunks show what came.
  async chat_stream_has_urls_beside_the_text() {
    const { fullStream } = streamText(say('draw a red fox size:64x64 shape:images', { includeRawChunks: true }));
    const images = [];
    let text = '';
    for await (const part of fullStream) {
      assert.notEqual(part.type, 'error', `${part.error}`);
      if (part.type === 'text-delta') text += part.text;
      if (part.type === 'raw') images.push(...(part.rawValue.choices?.[0]?.delta?.images ?? []));
    }
    assert.equal(images.length, 1, 'pictures beside the text');
    await isOurPng(images[0].image_url.url);
    assert.ok(!text.includes('base64,'));
  },

  async responses_stream_text() {
    const { textStream } = streamText({ ...say('hello'), model: urls.responses('demo-chat') });
    let text = '';
    for await (const piece of textStream) text += piece;
    assert.ok(text, 'an empty stream');
  },

  async an_error_says_what_the_gateway_said() {
    await assert.rejects(draw(compatible.imageModel('nobody')), (error) => {
      assert.equal(error.statusCode, 404);
      assert.match(error.message, /'nobody' does not exist/);
      return true;
    });
  },
});

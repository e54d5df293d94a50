// Chat, responses and embeddings, as the Node SDK uses them.

import assert from 'node:assert/strict';

import { client, get, imageUrl, isOurPng, run, upstreamReceived } from './common.mjs';

const sdk = client();
const say = (content, more) => sdk.chat.completions.create({ model: 'demo-chat', messages: [{ role: 'user', content }], ...more });
const image = (url) => ({ type: 'image_url', image_url: { url } });

/** A picture of the gateway's to show to a model. */
async function drawn(prompt) {
  const { data } = await sdk.images.generate({ model: 'demo-image', prompt, size: '512x512' });
  return data[0].url;
}

/** A stream's joined text and its finish reason. */
async function joined(stream) {
  let content = '';
  let finish = null;
  for await (const { choices } of stream) {
    for (const choice of choices) {
      content += choice.delta.content ?? '';
      finish = choice.finish_reason ?? finish;
    }
  }
  return { content, finish };
}

async function linksOnePicture(content) {
  assert.ok(!content.includes('base64,'), `base64 in the answer: ${content.slice(0, 200)}`);
  const urls = [...content.matchAll(/!\[[^\]]*\]\((\S+?)\)/g)].map(([, url]) => url);
  assert.equal(urls.length, 1, `markdown pictures in ${content}`);
  await isOurPng(urls[0]);
}

await run({
  async chat_answers_text() {
    const { choices } = await say('hello');
    assert.ok(choices[0].message.content, 'an empty answer');
    assert.equal(choices[0].finish_reason, 'stop', 'finish_reason');
  },

  async chat_streams_text() {
    const { content, finish } = await joined(await say('hello', { stream: true }));
    assert.ok(content, 'an empty stream');
    assert.equal(finish, 'stop', 'finish_reason');
  },

  // A URL the gateway handed out and one of somebody else's: the upstream gets both as bytes.
  async chat_inlines_image_urls() {
    const ours = await drawn('something to look at');
    const { choices } = await say([{ type: 'text', text: 'Compare these two.' }, image(ours), image(imageUrl)]);
    assert.ok(choices[0].message.content, 'an empty answer');
    const received = await upstreamReceived('/chat/completions', (await get(ours)).bytes, (await get(imageUrl)).bytes);
    assert.equal(received[0].media_type, 'image/png', 'media type of the data URI');
  },

  async chat_that_draws_answers_a_url() {
    const { choices } = await say('draw a red fox');
    await linksOnePicture(choices[0].message.content);
  },

  async chat_that_draws_streams_a_url() {
    const { content } = await joined(await say('draw a red fox', { stream: true }));
    await linksOnePicture(content);
  },

  async responses_answer_text() {
    const answer = await sdk.responses.create({ model: 'demo-chat', input: 'hello' });
    assert.ok(answer.output_text, `no text in ${JSON.stringify(answer.output)}`);
  },

  async responses_inline_image_urls() {
    const ours = await drawn('something else to look at');
    const content = [{ type: 'input_text', text: 'What is this?' }, { type: 'input_image', image_url: ours, detail: 'auto' }];
    const answer = await sdk.responses.create({ model: 'demo-chat', input: [{ role: 'user', content }] });
    assert.ok(answer.output_text, `no text in ${JSON.stringify(answer.output)}`);
    await upstreamReceived('/responses', (await get(ours)).bytes);
  },

  async embeddings_pass_through() {
    const { data } = await sdk.embeddings.create({ model: 'demo-chat', input: 'a red fox' });
    assert.ok(data[0].embedding.length, 'an empty embedding');
  },
});

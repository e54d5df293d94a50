// Errors keep their class, code and headers on the way through the gateway.

import assert from 'node:assert/strict';

import OpenAI from 'openai';

import { client, run } from './common.mjs';

const sdk = client();
const draw = (prompt, model = 'demo-image') => sdk.images.generate({ model, prompt });
const say = (content, model = 'demo-chat') => sdk.chat.completions.create({ model, messages: [{ role: 'user', content }] });

/** `call` fails as `kind`, with a message, a request id and `code`. */
async function refused(kind, call, code) {
  const error = await call.then(
    () => assert.fail(`no ${kind.name}: the call succeeded`),
    (error) => error,
  );
  assert.equal(error.constructor.name, kind.name, `class of the error: ${error.message}`);
  assert.ok(error.error?.message, 'an error without a message');
  assert.ok(error.requestID, 'an error without a request id');
  if (code) assert.equal(error.code, code, `code of ${JSON.stringify(error.error)}`);
  return error;
}

await run({
  async wrong_key() {
    const stranger = client('sk-nobody-has-this-key');
    await refused(OpenAI.AuthenticationError, stranger.models.list(), 'invalid_api_key');
    await refused(OpenAI.AuthenticationError, stranger.images.generate({ model: 'demo-image', prompt: 'a fox' }));
  },

  async unknown_model() {
    await refused(OpenAI.NotFoundError, draw('a fox', 'nope-model'), 'model_not_found');
    await refused(OpenAI.NotFoundError, say('hello', 'nope-model'), 'model_not_found');
  },

  async rate_limit() {
    const error = await refused(OpenAI.RateLimitError, draw('status:429'));
    assert.ok(error.headers.get('retry-after'), 'retry-after was lost');
    await refused(OpenAI.RateLimitError, say('status:429'));
  },

  async moderation() {
    await refused(OpenAI.BadRequestError, draw('status:400'), 'moderation_blocked');
  },

  async server_error() {
    await refused(OpenAI.InternalServerError, draw('status:500'));
    await refused(OpenAI.InternalServerError, say('status:500'));
  },
});

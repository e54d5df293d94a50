// What every case needs: the client, pictures to send, and a look at what the upstream received.
//
// The environment says where things are; the Rust test that runs these scripts sets it:
//
// PICGATE_BASE_URL   the gateway, with /v1        PICGATE_KEY        a client's key, form `url`
// PICGATE_BYTES_KEY  one with form `b64_json`
// PICGATE_DEMO_URL   the demo upstream's origin   PICGATE_IMAGE_URL  a picture the gateway may fetch

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { deflateSync } from 'node:zlib';

import OpenAI from 'openai';

const need = (name) => process.env[name] ?? assert.fail(`${name} is not set`);
export const baseURL = need('PICGATE_BASE_URL');
export const key = need('PICGATE_KEY');
export const bytesKey = need('PICGATE_BYTES_KEY');
const demo = need('PICGATE_DEMO_URL').replace(/\/$/, '');
export const imageUrl = need('PICGATE_IMAGE_URL');

/** The real SDK. It must never have to try twice, and every answer must be traceable. */
export function client(apiKey = key) {
  const traced = async (url, init) => {
    const response = await fetch(url, init);
    assert.ok(response.headers.get('x-request-id'), `no x-request-id on ${url}`);
    return response;
  };
  return new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000, fetch: traced });
}

/** GETs a picture as a browser does: without a key. Returns its type and bytes. */
export async function get(url) {
  const response = await fetch(url);
  assert.equal(response.status, 200, `status of ${url}`);
  return { type: response.headers.get('content-type'), bytes: Buffer.from(await response.arrayBuffer()) };
}

export function isPng(bytes, side) {
  assert.equal(bytes.subarray(0, 8).toString('latin1'), '\x89PNG\r\n\x1a\n', 'PNG signature');
  const [width, height] = [bytes.readUInt32BE(16), bytes.readUInt32BE(20)];
  assert.ok(width && height, 'a picture without size');
  if (side) assert.deepEqual([width, height], [side, side], 'size of the picture');
}

/** `url` is one of the gateway's own, and a picture stands there. Returns its bytes. */
export async function isOurPng(url, side) {
  assert.match(url ?? '', /^https?:\/\/[^/]+\/images\/[0-9A-Za-z_-]+(\.png)?$/, 'not a URL of the gateway');
  const { type, bytes } = await get(url);
  assert.equal(type, 'image/png', `type of ${url}`);
  isPng(bytes, side);
  return bytes;
}

/** A picture that nobody has seen before, so that what the upstream received can only be from this call. */
export function png(side = 16) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(side, 0);
  header.writeUInt32BE(side, 4);
  header.set([8, 6, 0, 0, 0], 8);
  const rows = Array.from({ length: side }, () => Buffer.concat([Buffer.from([0]), randomBytes(side * 4)]));
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', deflateSync(Buffer.concat(rows))), chunk('IEND', Buffer.alloc(0))]);
}

function chunk(kind, data) {
  const named = Buffer.concat([Buffer.from(kind, 'latin1'), data]);
  const framed = Buffer.alloc(named.length + 8);
  framed.writeUInt32BE(data.length, 0);
  named.copy(framed, 4);
  framed.writeUInt32BE(crc32(named), named.length + 4);
  return framed;
}

// node:zlib has one only since Node 20.15.
function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/**
 * A request for `path` came to the upstream with exactly `pictures`, in this order; a mask stands where it likes.
 * Requests of others may have come since, so ours is told by its first picture.
 */
export async function upstreamReceived(path, ...pictures) {
  const { data: received } = await (await fetch(`${demo}/demo/received`)).json();
  const onPath = received.filter((request) => request.target.endsWith(path));
  assert.ok(onPath.length, `the upstream received nothing for ${path}, only ${received.map((request) => request.target)}`);
  const wanted = pictures.map(sha256);
  const ours = onPath.filter((request) => request.images.some((image) => image.sha256 === wanted[0])).at(-1);
  assert.ok(ours, `the first picture ${wanted[0]} never came to the upstream's ${path}; newest: ${JSON.stringify(onPath.at(-1))}`);
  const isMask = (image) => Number(image.place.includes('mask'));
  const images = [...ours.images].sort((a, b) => isMask(a) - isMask(b));
  assert.deepEqual(images.map((image) => image.sha256), wanted, `pictures at the upstream: ${JSON.stringify(images)}`);
  return images;
}

/** Runs the cases in order; the first failure ends the script. */
export async function run(cases) {
  for (const [name, test] of Object.entries(cases)) {
    try {
      await test();
    } catch (error) {
      console.error(`FAILED ${name}: ${error.name}: ${error.message}${error.cause ? ` (${error.cause.message})` : ''}`);
      process.exit(1);
    }
    console.log(`ok ${name}`);
  }
}

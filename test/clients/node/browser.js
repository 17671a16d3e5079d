'use strict';

// Two tabs of a real browser chat through a broadcast server:
//
//   node browser.js CHROMIUM ws://127.0.0.1:PORT/ [permessage-deflate]
//
// The last argument is the extension that the pages must have negotiated. The first
// failure ends the script with exit code 1.
const assert = require('node:assert/strict');
const http = require('node:http');
const { once } = require('node:events');
const { chromium } = require('playwright-core');

// connect runs in the page. It keeps what comes, as text or as an array of bytes.
function connect(url) {
  const socket = new WebSocket(url);
  socket.binaryType = 'arraybuffer';
  window.got = [];
  window.socket = socket;
  window.ended = new Promise((resolve) => {
    socket.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean });
  });
  socket.onmessage = ({ data }) => window.got.push(typeof data === 'string' ? data : Array.from(new Uint8Array(data)));
  return new Promise((resolve, reject) => {
    socket.onopen = () => resolve(socket.extensions);
    socket.onerror = () => reject(new Error('no connection'));
  });
}

// listen runs in the page. It keeps the events that come.
function listen(url) {
  const source = new EventSource(url);
  window.source = source;
  window.events = [];
  for (const type of ['message', 'greeting', 'binary', 'gap', 'close']) {
    source.addEventListener(type, ({ data, lastEventId }) => window.events.push({ type, data, id: lastEventId }));
  }
  return new Promise((resolve) => { source.onopen = () => resolve(); });
}

// nextEvent waits in the page for the oldest event.
async function nextEvent(page) {
  await page.waitForFunction(() => window.events.length > 0, null, { timeout: 20000 });
  return page.evaluate(() => window.events.shift());
}

// next waits in the page for the oldest message.
async function next(page) {
  await page.waitForFunction(() => window.got.length > 0, null, { timeout: 20000 });
  return page.evaluate(() => window.got.shift());
}

async function main() {
  const [executablePath, url, extension = ''] = process.argv.slice(2);
  // A page with an origin of its own, as a site has it.
  const site = http.createServer((_, answer) => answer.end('<!doctype html><title>chat</title>'));
  site.listen(0, '127.0.0.1');
  await once(site, 'listening');
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
  try {
    const tabs = [];
    for (let i = 0; i < 2; i++) {
      const page = await browser.newPage();
      await page.goto(`http://127.0.0.1:${site.address().port}/`);
      const extensions = await page.evaluate(connect, url);
      assert.ok(extension === '' ? extensions === '' : extensions.startsWith(extension), `extensions: ${extensions}`);
      assert.equal(await next(page), 'connection established');
      tabs.push(page);
    }
    const both = async (want, what) => {
      for (const page of tabs) assert.deepEqual(await next(page), want, what);
    };
    for (const [i, page] of tabs.entries()) {
      const text = `안녕하세요 from tab ${i}`;
      await page.evaluate((s) => window.socket.send(s), text);
      await both(text, 'text');
    }
    await tabs[0].evaluate(() => window.socket.send(''));
    await both('', 'empty text');
    const bytes = Array.from({ length: 256 }, (_, i) => i);
    await tabs[1].evaluate((b) => window.socket.send(new Uint8Array(b)), bytes);
    await both(bytes, 'binary');
    const large = 'x0123456789abcdef'.repeat(1 << 16).slice(0, 1 << 20);
    await tabs[0].evaluate((s) => window.socket.send(s), large);
    await both(large, '1 MiB');
    console.log(`chat: text, empty text, binary, 1 MiB; extensions "${extension}"`);

    // A third one gets the same as server-sent events, from another site.
    const listener = await browser.newPage();
    await listener.goto(`http://127.0.0.1:${site.address().port}/`);
    await listener.evaluate(listen, url.replace(/^ws/, 'http'));
    const { type, data } = await nextEvent(listener);
    assert.deepEqual({ type, data }, { type: 'greeting', data: 'connection established' });
    await tabs[0].evaluate(() => window.socket.send('two\nlines'));
    await both('two\nlines', 'text beside events');
    const text = await nextEvent(listener);
    assert.equal(text.type + ' ' + text.data, 'message two\nlines');
    await tabs[0].evaluate((b) => window.socket.send(new Uint8Array(b)), bytes);
    await both(bytes, 'binary beside events');
    const binary = await nextEvent(listener);
    assert.equal(binary.data, Buffer.from(bytes).toString('base64'));
    const count = (id) => Number(id.split('-')[1]);
    assert.equal(count(binary.id), count(text.id) + 1, `ids ${text.id}, ${binary.id}`);
    console.log(`events: greeting, lines, binary; ids ${text.id}, ${binary.id}`);

    // Closing as the page sees it.
    await tabs[1].evaluate(() => window.socket.close(4001, 'mine'));
    assert.deepEqual(await tabs[1].evaluate(() => window.ended), { code: 4001, reason: 'mine', wasClean: true });
    await tabs[0].evaluate((s) => window.socket.send(`${s}!`), large);
    const { code, wasClean } = await tabs[0].evaluate(() => window.ended);
    assert.deepEqual({ code, wasClean }, { code: 1009, wasClean: true });
    console.log('close: 4001 "mine" comes back, one byte too many is 1009');
  } finally {
    await browser.close();
    site.close();
  }
}

main().catch((err) => {
  console.error(`FAIL: ${err.stack}`);
  process.exit(1);
});

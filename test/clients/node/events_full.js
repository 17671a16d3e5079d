'use strict';

// An EventSource of a page of another site is refused by a server that is full, and comes back:
//
//   node events_full.js CHROMIUM ws://127.0.0.1:PORT/
//
// The server must be one with --max-conns 1. The first failure ends the script with exit code 1.
const assert = require('node:assert/strict');
const http = require('node:http');
const { once } = require('node:events');
const { chromium } = require('playwright-core');
const WebSocket = require('ws');

// listen runs in the page. It keeps what happens to an EventSource.
function listen(url) {
  window.happened = [];
  const source = new EventSource(url);
  window.source = source;
  for (const type of ['message', 'greeting', 'error']) {
    source.addEventListener(type, () => window.happened.push([type, source.readyState]));
  }
}

// awaitEvent waits in the page for one, and returns the state of its source then.
async function awaitEvent(page, type) {
  await page.waitForFunction((type) => window.happened.some(([got]) => got === type), type, { timeout: 60000 });
  return page.evaluate((type) => window.happened.find(([got]) => got === type)[1], type);
}

async function main() {
  const [executablePath, url] = process.argv.slice(2);
  const occupant = new WebSocket(url);
  await once(occupant, 'open');
  const site = http.createServer((_, answer) => answer.end('<!doctype html><title>events</title>'));
  site.listen(0, '127.0.0.1');
  await once(site, 'listening');
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${site.address().port}/`);
    await page.evaluate(listen, `${url.replace(/^ws/, 'http')}?a=b;c=d&rate=100%`);
    assert.equal(await awaitEvent(page, 'error'), 0, 'the EventSource is closed for good');
    occupant.close();
    await once(occupant, 'close');
    assert.equal(await awaitEvent(page, 'greeting'), 1);
    console.log('refused for now, and connected later');
  } finally {
    await browser.close();
    site.close();
  }
}

main().catch((err) => { console.error(err); process.exit(1); });

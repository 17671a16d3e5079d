'use strict';

// The live page of --admin, of snapshots that are made up here: what no server under test says in
// a minute.
//
//   node live_page.js CHROMIUM CRIER ADMIN-HOST:PORT
//
// CRIER serves the page once; then it comes from here, with its own policy. A line is written for each
// check; the first failure ends the script with exit code 1.
const assert = require('node:assert/strict');
const http = require('node:http');
const { once } = require('node:events');
const { spawn } = require('node:child_process');
const { chromium } = require('playwright-core');
const { recording, checkAll } = require('./live_figures.js');

const timeout = 60_000;
const [executablePath, bin, admin] = process.argv.slice(2);

// fetchPage has a crier say what the page is.
async function fetchPage() {
  const child = spawn(bin, ['--listen', '127.0.0.1:0', '--admin', admin, '--log-level', 'warn'], { stdio: ['ignore', 'ignore', 'inherit'] });
  try {
    for (const end = Date.now() + timeout; ;) {
      const answer = await fetch(`http://${admin}/`).catch(() => null);
      if (answer) return { html: await answer.text(), policy: answer.headers.get('Content-Security-Policy') };
      assert.ok(Date.now() < end && child.exitCode === null, 'crier does not answer');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  } finally {
    const closed = once(child, 'close');
    child.kill('SIGKILL');
    await closed;
  }
}

// Stub is a server that says what it is told to.
class Stub {
  streams = new Set();
  began = []; // The query and the token of each request for snapshots.
  cut = []; // The requests to cut somebody off.
  refusal = 0; // The status of answers to who wants snapshots, or 0.
  answer = [204, '']; // To who cuts off.
  id = 0;

  constructor(page) {
    this.http = http.createServer((request, response) => {
      const url = new URL(request.url, 'http://stub');
      if (request.method === 'DELETE') {
        this.cut.push(url);
        return response.writeHead(this.answer[0]).end(this.answer[1]);
      }
      if (url.pathname === '/') return response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': page.policy }).end(page.html);
      if (url.pathname !== '/v1/live') return response.writeHead(404).end();
      this.began.push({ query: url.searchParams, token: request.headers.authorization });
      if (this.refusal) return response.writeHead(this.refusal).end();
      response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write(`id: x-${this.id}\n\n`);
      this.streams.add(response);
      response.on('close', () => this.streams.delete(response));
      if (this.newest) this.send(response, this.newest);
    });
  }

  async listen() {
    await once(this.http.listen(0, '127.0.0.1'), 'listening');
    this.url = `http://127.0.0.1:${this.http.address().port}/`;
  }

  send(response, s) { return response.write(`id: x-${this.id}\ndata: ${JSON.stringify(s)}\n\n`); }

  // say is a snapshot for all, who have the newest one as soon as they come.
  say(s) {
    this.newest = s;
    this.id += 1;
    return [...this.streams].map((response) => this.send(response, s)).every(Boolean);
  }

  hangUp() { for (const response of this.streams) response.destroy(); }
}

const EMPTY = {
  time: 1_700_000_000_000, started: 1_700_000_000_000, version: 'v1', draining: false,
  open: 0, open_by_kind: { websocket: 0, 'crier.v1': 0, events: 0 }, max_connections: 0, handshakes: 0, held: 0, queued: 0, busy: 0, workers: 2, log_bytes: 0,
  messages: 0, deliveries: 0, bytes_in: 0, bytes_out: 0, holds: 0, rate_holds: 0, skips: 0, disconnects: {},
  p50: null, p99: null, slowest_bytes: 0, slowest: [], channels: 0, largest: [], fds: 9, max_fds: 0, resident: 1 << 20, memory: 0,
};
const GREAT = {
  open: 10_000_000, open_by_kind: { websocket: 9_999_998, 'crier.v1': 1, events: 1 }, max_connections: 100_000_000, handshakes: 1_234_567, held: 1_234_567,
  queued: 1_234_567, busy: 1024, workers: 1024, log_bytes: 2 ** 50, messages: 9e14, deliveries: 9e15, bytes_in: 2 ** 52, bytes_out: 2 ** 52,
  holds: 1e12, rate_holds: 1e12, skips: 1e12, disconnects: { 'peer closed': 9e15, lapped: 9e15 }, p50: 12.345, p99: 50, slowest_bytes: 2 ** 50,
  slowest: Array.from({ length: 10 }, (_, i) => ({ id: `${i}-x`, remote: `[2001:db8:ffff:ffff:ffff:ffff:ffff:fff${i}]:65535`, channel: 'x'.repeat(255), lag: 2 ** 50 - i })),
  channels: 1_000_000, largest: Array.from({ length: 20 }, (_, i) => ({ name: `${i}${'ü'.repeat(126)}`, connections: 10_000_000 - i, rate: 123_456_789.12 })),
  fds: 10_000_100, max_fds: 1_073_741_816, resident: 2 ** 44, memory: 2 ** 45,
};

const MARKUP = ['<img src=x onerror=alert(1)>', '</script><script>alert(1)</script>', '</td><b>bold', '{{7*7}}', '"><svg onload=alert(1)>', '\u202Egnp.exe', '__proto__', ''];
const HOSTILE = {
  version: MARKUP[0], open: 2, open_by_kind: { [MARKUP[0]]: 1, [MARKUP[1]]: 1 }, slowest_bytes: 9,
  slowest: MARKUP.map((channel, i) => ({ id: `${i}-${channel}`, remote: i % 2 ? '' : channel, channel, lag: 9 })),
  channels: MARKUP.length, largest: MARKUP.map((name) => ({ name, connections: 1, rate: 0.5 })), disconnects: { [MARKUP[0]]: 1, [MARKUP[1]]: 2, [MARKUP[2]]: 3 },
};

const problems = [];
let stub;
let browser;

async function open({ record = true, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, ...options });
  if (record) await recording(context);
  const page = await context.newPage();
  page.on('dialog', () => problems.push('markup was run'));
  page.on('pageerror', (err) => problems.push(err.stack));
  page.on('console', (m) => {
    if (m.type() === 'error' && !/^Failed to load resource/.test(m.text())) problems.push(m.text());
  });
  await page.goto(stub.url);
  return page;
}

const until = (page, happened, arg) => page.waitForFunction(happened, arg, { timeout });
const says = (page, id, want) => until(page, ([id, want]) => document.getElementById(id).textContent === want, [id, want]);
const text = (page, id) => page.evaluate((id) => document.getElementById(id).textContent, id);

// tell says a snapshot, and waits until a page has shown it.
async function tell(page, s) {
  const n = await page.evaluate(() => window.snapshots.length);
  stub.say(s);
  await until(page, (n) => window.shown.at(-1)?.at >= n, n);
}

// after is a snapshot so many seconds later.
const after = (s, seconds, more = {}) => ({ ...s, time: s.time + 1000 * seconds, ...more });

const fits = async (page, what) => {
  const widths = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert.ok(widths[0] <= widths[1], `${what}: ${widths[0]} pixels in ${widths[1]}`);
};

const checks = {
  'markup, long names and great numbers are text, and fit': async function markup() {
    const page = await open();
    let s = EMPTY;
    for (const more of [{}, HOSTILE, GREAT, { ...GREAT, draining: true }, { rate_holds: 1, slowest_bytes: 1, p50: 9.94e-6, p99: 0.0009996, messages: 9e14 + 1, resident: 2 ** 20 - 1 }]) {
      await tell(page, s = after(s, 1, more));
      for (const width of [320, 390, 700, 1200]) {
        await page.setViewportSize({ width, height: 800 });
        await fits(page, `${JSON.stringify(more).slice(0, 60)} at ${width}`);
      }
    }
    await checkAll(page);
    assert.equal(await page.evaluate(() => document.querySelectorAll('img, b, main script, svg[onload]').length), 0);
    assert.equal(await text(page, 'state'), 'shutting down');
  },

  'a clock that is set back, counters from 0 and another process do no harm': async function clock() {
    const page = await open();
    const two = { ...EMPTY, messages: 100, deliveries: 1000, disconnects: { peer: 5 } };
    await tell(page, two);
    await tell(page, after(two, 1, { messages: 110 }));
    await tell(page, after(two, -3600, { messages: 120 })); // The clock was set back.
    assert.equal(await text(page, 'messages-total'), '120', 'after the clock was set back');
    await tell(page, after(two, -3599, { messages: 130 }));
    assert.equal(await text(page, 'messages'), '10');
    await tell(page, after(two, -3598, { messages: 3, deliveries: 0 })); // Another server in the same process.
    await tell(page, after(two, -3597, { messages: 4, deliveries: 7, disconnects: {} }));
    assert.equal(await text(page, 'messages'), '1.0');
    await tell(page, after(two, 9000, { started: two.started + 1 }));
    assert.equal(await text(page, 'messages'), '–', 'the first of another process');
    for (let i = 1; i < 8; i++) await tell(page, after(two, 9000 + 20 * i, { started: two.started + 1, messages: 100 + 7 * i, p50: i % 3 ? 0.001 * i : null, p99: i % 3 ? 0.002 * i : null, disconnects: { peer: 5 + i } }));
    await checkAll(page);
  },

  'a server that goes away and comes back': async function back() {
    const page = await open();
    const long = () => until(page, () => document.body.className === 'gone');
    const live = () => until(page, () => document.body.className === 'live');
    let s = EMPTY;
    await tell(page, s);
    const { id } = stub;
    stub.hangUp();
    await long();
    assert.match(await text(page, 'state'), /^no answer since \d\d:\d\d:\d\d$/);
    await live();
    assert.equal(stub.began.at(-1).query.get('since'), `x-${id}`, 'it goes on behind the last one');
    stub.refusal = 503; // There are too many, or it is another thing yet.
    stub.hangUp();
    await until(page, () => /: HTTP 503$/.test(document.getElementById('state').textContent));
    stub.refusal = 0;
    await live();
    await long(); // It says nothing any more.
    await tell(page, s = after(s, 60));
    await live();
    await checkAll(page);
    stub.refusal = 404;
    stub.hangUp();
    await until(page, () => /: HTTP 404; reload to try again$/.test(document.getElementById('state').textContent));
    stub.refusal = 0;
  },

  'a night long it grows no more': async function night() {
    const page = await open({ record: false });
    const cdp = await page.context().newCDPSession(page);
    let s = { ...EMPTY, ...HOSTILE };
    let n = 0;
    const say = async (count) => {
      for (const end = n + count; n < end; n++) {
        const reasons = Object.fromEntries(['peer', 'lapped', 'rate'].map((reason, i) => [reason, n * i]));
        const there = stub.say(s = after(s, 1, { open: n, messages: 13 * n, deliveries: 17 * n, p99: 0.001, disconnects: reasons,
          slowest: [{ id: `${n}-x`, remote: `127.0.0.1:${n % 60_000}`, channel: `of ${n}`, lag: n + 1 }], largest: [{ name: `called ${n}`, connections: n, rate: n }] }));
        if (n % 100 === 99 || !there) await says(page, 'open', n.toLocaleString('en'));
      }
      await cdp.send('HeapProfiler.collectGarbage');
      const { usedSize } = await cdp.send('Runtime.getHeapUsage');
      const { nodes } = await cdp.send('Memory.getDOMCounters');
      return { usedSize, nodes, points: await page.evaluate(() => document.querySelector('#graph-open .line').getAttribute('d').split('L').length) };
    };
    const early = await say(1000);
    const late = await say(43_200); // In 12 hours.
    assert.equal(early.points, 301);
    assert.equal(late.points, 301);
    assert.ok(late.usedSize < early.usedSize + (2 << 20), `${late.usedSize} bytes after ${early.usedSize}`);
    assert.ok(late.nodes < early.nodes + 200, `${late.nodes} nodes after ${early.nodes}`);
  },

  'nobody is cut off but on purpose': async function cut() {
    const page = await open();
    const conn = (i) => ({ id: `${i}-x`, remote: `192.0.2.${i}:1`, channel: 'news', lag: 10 - i });
    let s = { ...EMPTY, slowest: [conn(1), conn(2), conn(3)], slowest_bytes: 9 };
    await tell(page, s);
    const focused = () => page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.id);
    const closed = () => page.evaluate(() => !document.getElementById('cut').open);
    await page.focus('#slowest tr:nth-child(2) button');
    await page.keyboard.down('Enter');
    for (let i = 0; i < 5; i++) await page.keyboard.down('Enter'); // It is held: it repeats.
    assert.equal(await closed(), false, 'it asks yet');
    assert.deepEqual(stub.cut, [], 'a key that is held cuts nobody off');
    await page.keyboard.up('Enter');
    assert.equal(await text(page, 'cut-who'), '192.0.2.2:1');
    await tell(page, s = after(s, 1, { slowest: [conn(3), conn(2), conn(1)] })); // Others are where it was.
    await page.fill('#cut-reason', 'enough & more?');
    await page.keyboard.press('Enter');
    await says(page, 'said', '192.0.2.2:1 is cut off.');
    assert.deepEqual(stub.cut.map((url) => [url.pathname, url.searchParams.get('reason')]), [['/v1/connections/2-x', 'enough & more?']]);
    assert.equal(await focused(), 'Cut off 192.0.2.2:1', 'the focus is back');
    await tell(page, s = after(s, 1, { slowest: [conn(3), conn(1)] }));
    assert.equal(await focused(), 'slowest-title', 'the focus is near what has gone');
    for (const [answer, want] of [[[404, '{"error":"there is no such"}'], 'there is no such'], [[502, '<html>'], 'HTTP 502'], [[403, ''], 'HTTP 403']]) {
      stub.answer = answer;
      await page.click('#slowest button');
      await page.click('#cut-yes');
      await says(page, 'said', `192.0.2.3:1 was not cut off: ${want}`);
    }
    const before = stub.cut.length;
    await page.click('#slowest button');
    await page.click('#cut-no');
    await page.click('#slowest button');
    stub.refusal = 503;
    stub.hangUp();
    await until(page, () => document.getElementById('cut-yes').disabled);
    await page.press('#cut-reason', 'Enter');
    assert.equal(await closed(), false, 'while the server is gone nobody is cut off');
    assert.equal(stub.cut.length, before);
    stub.refusal = 0;
    await checkAll(page);
  },

  'what is no token is not sent': async function login() {
    stub.refusal = 401;
    const page = await open();
    await says(page, 'state', 'this server wants a token');
    for (const word of ['пароль', 'two words', 'x\u0080']) {
      const asked = stub.began.length;
      await page.fill('#token', word);
      await page.press('#token', 'Enter');
      await says(page, 'state', 'this is not the token');
      assert.equal(await page.evaluate(() => document.getElementById('login').hidden), false);
      assert.equal(stub.began.length, asked, `${word} was sent`);
    }
    stub.refusal = 0;
    await page.fill('#token', ' s3cret ');
    await page.press('#token', 'Enter');
    await tell(page, EMPTY);
    assert.equal(stub.began.at(-1).token, 'Bearer s3cret');
    assert.equal(page.url(), stub.url);
    assert.deepEqual(await page.evaluate(() => [document.cookie, localStorage.length, sessionStorage.length]), ['', 0, 1]);
  },

  'it can be read: contrast, names, no motion': async function read() {
    for (const colorScheme of ['light', 'dark']) {
      const page = await open({ colorScheme, reducedMotion: 'reduce', viewport: { width: 390, height: 844 } });
      await tell(page, { ...EMPTY, ...GREAT });
      assert.deepEqual(await page.evaluate(contrasts), [], `${colorScheme}, live`);
      await page.click('#slowest button');
      assert.deepEqual(await page.evaluate(contrasts), [], `${colorScheme}, asking`);
      await page.click('#cut-no');
      assert.deepEqual(await page.evaluate(nameless), [], 'what has no name');
      assert.equal(await page.evaluate(() => document.getAnimations().length
        + [...document.querySelectorAll('*')].filter((e) => getComputedStyle(e).transitionDuration !== '0s' || getComputedStyle(e).animationName !== 'none').length), 0, 'motion');
      const small = await page.evaluate(() => [...document.querySelectorAll('button')].map((b) => b.getBoundingClientRect()).filter((r) => r.width && (r.width < 24 || r.height < 24)).length);
      assert.equal(small, 0, 'buttons too small to be hit');
      stub.refusal = 401;
      stub.hangUp();
      await says(page, 'state', 'this server wants a token');
      assert.deepEqual(await page.evaluate(contrasts), [], `${colorScheme}, login`);
      stub.refusal = 503;
      await page.fill('#token', 'x');
      await page.press('#token', 'Enter');
      await until(page, () => document.body.className === 'gone');
      assert.deepEqual(await page.evaluate(contrasts), [], `${colorScheme}, gone`);
      stub.refusal = 0;
      await page.context().close();
    }
  },
};

// contrasts, in the page, are those below what WCAG 2.2 wants: 4.5 for text (1.4.3), 3 for the edges of
// what can be filled in or pressed, and for the line of a graph (1.4.11).
function contrasts() {
  const parse = (s) => {
    const [r, g, b, a = 1] = s.match(/[\d.]+/g).map(Number);
    return s.startsWith('color(') ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((c, i) => a * c + (1 - a) * under[i]);
  const ground = (e) => {
    if (!e) return [255, 255, 255];
    const style = getComputedStyle(e);
    const below = over(parse(style.backgroundColor), ground(e.parentElement));
    const gradient = style.backgroundImage.match(/(rgba?|color)\([^)]*\)/);
    return gradient ? over(parse(gradient[0]), below) : below;
  };
  const opacity = (e) => (e ? getComputedStyle(e).opacity * opacity(e.parentElement) : 1);
  const light = (c) => {
    const [r, g, b] = c.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (e, color, under) => {
    const [r, g, b, a] = parse(color);
    const [high, low] = [light(over([r, g, b, a * opacity(e)], under)), light(under)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const poor = [];
  for (const e of document.querySelectorAll('body *')) {
    if (!e.checkVisibility() || e.closest('script, style, .hidden') || e.disabled) continue;
    const style = getComputedStyle(e);
    const name = `${e.tagName} ${e.id || e.className || e.textContent.slice(0, 20)}`;
    const text = [...e.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    const want = (min, color, under, what) => {
      const got = ratio(e, color, under);
      if (got < min) poor.push(`${name}: ${what} ${got.toFixed(2)}`);
    };
    if (text || e.tagName === 'INPUT') want(4.5, style.color, ground(e), 'text');
    if (/^(INPUT|BUTTON)$/.test(e.tagName)) want(3, style.borderTopColor, ground(e.parentElement), 'edge');
    if (e.classList.contains('line')) want(3, style.stroke, ground(e.parentElement), 'line');
  }
  return [...new Set(poor)];
}

// nameless, in the page, is what a screen reader has no name for.
function nameless() {
  const wrong = [];
  for (const e of document.querySelectorAll('button, input, section, dialog, table')) {
    const by = e.getAttribute('aria-labelledby');
    const name = e.getAttribute('aria-label') ?? (by ? document.getElementById(by).textContent : e.labels?.[0]?.textContent ?? e.textContent);
    if (!name.trim()) wrong.push(e.outerHTML.slice(0, 80));
  }
  for (const th of document.querySelectorAll('th')) if (th.scope !== 'col' || !th.textContent) wrong.push(th.outerHTML);
  for (const svg of document.querySelectorAll('svg:not([aria-hidden=true])')) wrong.push(svg.id);
  if (!document.documentElement.lang) wrong.push('lang');
  return wrong;
}

async function main() {
  const page = await fetchPage();
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
  try {
    for (const [name, check] of Object.entries(checks)) {
      stub = new Stub(page);
      await stub.listen();
      try {
        await check();
        assert.deepEqual(problems, []);
      } catch (err) {
        err.message = `${name}: ${err.message}`;
        if (!process.env.KEEP_GOING) throw err;
        console.error(`FAIL ${err.stack}`);
      }
      for (const context of browser.contexts()) await context.close();
      stub.http.closeAllConnections();
      stub.http.close();
      console.log(`live page: ${name}`);
    }
  } finally {
    await browser.close();
  }
}

main().then(() => process.exit(0), (err) => {
  console.error(`FAIL: ${err.stack}\n${problems.join('\n')}`);
  process.exit(1);
});

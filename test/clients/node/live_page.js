'use strict';

// The live page of --admin, of snapshots that are made up here: what no server under test says in
// a minute.
//
//   node live_page.js CHROMIUM CRIER ADMIN-HOST:PORT
//
// CRIER serves the page once; then it comes from here, with its own policy. A line is written for each
// check; the first failure ends the script with exit code 1.
const assert = require('node:assert/strict');
const { chromium } = require('playwright-core');
const { recording, checkAll } = require('./live_figures.js');
const { EMPTY, GREAT, Stub, fetchPage } = require('./live_stub.js');
const { contrasts, nameless, holes, broken } = require('./live_readable.js');

const timeout = 60_000;
const [executablePath, bin, admin] = process.argv.slice(2);

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
    for (const more of [{}, HOSTILE, { cluster: { ...GREAT.cluster, mode: 'fast', name: MARKUP[0], nats: '', problem: MARKUP[1] } }, GREAT, { ...GREAT, draining: true }, { rate_holds: 1, slowest_bytes: 1, p50: 9.94e-6, p99: 0.0009996, messages: 9e14 + 1, resident: 2 ** 20 - 1 }]) {
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
    assert.equal(early.points, 302); // Five minutes, and one that is older.
    assert.equal(late.points, 302);
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
      await says(page, 'said', `Did not cut off 192.0.2.3:1: ${want}`);
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

  'the graphs begin before the page was opened, and have no hole where the connection was lost': async function history() {
    const at = (seconds, more) => ({ time: EMPTY.time + 1000 * seconds, open: 5, messages: 10 * seconds, deliveries: 50 * seconds, p99: null, slowest_bytes: 0, disconnects: { reset: seconds }, ...more });
    const samples = Array.from({ length: 120 }, (_, i) => at(i, i === 60 ? { open: 777, messages: 600 } : {}));
    stub.history = { started: EMPTY.started, samples };
    const page = await open();
    const newest = (seconds) => ({ ...EMPTY, ...at(seconds), started: EMPTY.started });
    await tell(page, newest(120));
    await says(page, 'peak-open', 'peak 777 in 2 min');
    assert.equal(await text(page, 'messages'), '10', 'the first snapshot has a rate');
    await tell(page, newest(121));
    await says(page, 'lately', 'Last 2 min 1 s');
    await checkAll(page);
    // While the connection is lost there is a peak, which only the server's history has.
    stub.history = { started: EMPTY.started, samples: [...samples, ...Array.from({ length: 30 }, (_, i) => at(120 + i, { open: i === 15 ? 999 : 5 }))] };
    stub.newest = null;
    stub.hangUp();
    await until(page, () => document.body.className === 'gone');
    while (!stub.streams.size) await new Promise((resolve) => setTimeout(resolve, 20)); // The script ends with the page's patience.
    await tell(page, newest(150));
    await says(page, 'peak-open', 'peak 999 in 2 min 30 s');
    // Another process' history is of no use.
    stub.history = { ...stub.history, started: 1 };
    await tell(page, { ...newest(200), started: EMPTY.started + 5 });
    assert.equal(await text(page, 'peak-open'), 'peak 5');
    await checkAll(page);
  },

  'nothing is claimed before signing in': async function silent() {
    stub.refusal = 401;
    const page = await open();
    await says(page, 'state', 'this server needs a token');
    const claims = () => page.evaluate(() => document.body.innerText.replace(/\s+/g, ' ').trim());
    assert.equal(await claims(), 'crier this server needs a token Token of --admin-token-file Show');
    stub.refusal = 0;
    await page.fill('#token', 's3cret');
    await page.press('#token', 'Enter');
    await tell(page, EMPTY);
    assert.match(await claims(), /No connection is behind\./);
    stub.refusal = 401; // The server has another token now.
    stub.hangUp();
    await says(page, 'state', 'wrong token');
    assert.equal(await page.evaluate(() => document.getElementById('main').checkVisibility()), false);
  },

  'a channel shows its connections, each of which can be cut off': async function members() {
    stub.members = [{ id: '7-x', remote: '192.0.2.7:1', channel: 'news' }, { id: '8-x', remote: '', channel: 'news' }, { id: '9-x', remote: MARKUP[0], channel: 'news' }];
    const page = await open();
    await tell(page, { ...EMPTY, channels: 2, largest: [{ name: 'a&b/c', connections: 3, rate: 1 }, { name: '', connections: 0, rate: 0 }] });
    const listed = () => page.evaluate(() => [...document.querySelectorAll('#members tbody tr')].map((row) => row.cells[0].textContent));
    await page.click('#channels tr:nth-child(1) .link');
    await says(page, 'members-state', '3 now');
    assert.deepEqual(stub.asked, ['a&b/c']);
    assert.deepEqual(await listed(), ['192.0.2.7:1', '8-x', MARKUP[0]]);
    assert.equal(await page.evaluate(() => document.querySelectorAll('img').length), 0);
    assert.deepEqual(await page.evaluate(contrasts), []);
    await page.click('#members tr:nth-child(2) button');
    assert.equal(await text(page, 'cut-who'), '8-x');
    stub.members.splice(1, 1);
    await page.click('#cut-yes');
    await says(page, 'members-state', '2 now');
    assert.deepEqual(stub.cut.map((url) => url.pathname), ['/v1/connections/8-x']);
    await says(page, 'members-said', '8-x is cut off.');

    // All of them, but not before they were asked about.
    stub.cut = [];
    await page.click('#members-all');
    assert.equal(await text(page, 'cut-who'), 'all connections of a&b/c');
    await page.click('#cut-no');
    await page.focus('#members-all');
    await page.keyboard.down('Enter');
    for (let i = 0; i < 5; i++) await page.keyboard.down('Enter');
    await page.keyboard.up('Enter');
    assert.deepEqual(stub.cut, []);
    await page.fill('#cut-reason', 'closing time');
    stub.answer = [503, '{"error":"the server is busy"}'];
    await page.click('#cut-yes');
    await says(page, 'members-said', 'Did not cut off all connections of a&b/c: the server is busy');
    stub.answer = [200, '{"closed":1234}'];
    stub.members = [];
    await page.click('#members-all');
    await page.click('#cut-yes');
    await says(page, 'members-said', '1,234 connections cut off.');
    await says(page, 'members-state', '0 now');
    assert.deepEqual(stub.cut.map(({ pathname, searchParams }) => [pathname, searchParams.get('channel'), searchParams.get('reason')]),
      Array(2).fill(['/v1/connections', 'a&b/c', 'closing time']));
    stub.answer = [204, ''];
    assert.deepEqual(await page.evaluate(contrasts), []);
    await page.keyboard.press('Escape');
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Connections of a&b/c', 'the focus is back');
    stub.members = Array.from({ length: 100 }, (_, i) => ({ id: `${i}-x`, remote: '', channel: '' }));
    await page.click('#channels tr:nth-child(2) .link');
    await says(page, 'members-state', 'the first 100');
    assert.equal(await text(page, 'members-channel'), '(no name)');
    await checkAll(page);
  },

  'a layout without holes, and figures in one line': async function layout() {
    const usual = { ...EMPTY, open: 18_994, open_by_kind: { websocket: 18_994 }, max_connections: 19_794, messages: 1e6, deliveries: 1e10, p50: 0.0005, p99: 0.0123,
      fds: 19_020, max_fds: 20_000, resident: 53.9 * 2 ** 20, memory: 2 ** 31, log_bytes: 33 * 2 ** 20, slowest_bytes: 32.4 * 2 ** 20, disconnects: { reset: 1220 },
      largest: [{ name: 'n'.repeat(255), connections: 18_994, rate: 66 }], slowest: [{ id: '1-x', remote: '[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535', channel: 'c'.repeat(255), lag: 2 ** 25 }] };
    const cluster = { mode: 'ordered', name: 'CRIER', nats: '10.0.0.1:4222', problem: '', servers: 3, connections: 57_000, waiting: 0, pending: 0, dropped: 0 };
    const page = await open();
    let s = usual;
    for (const more of [{ cluster: null }, { cluster }]) {
      await tell(page, s = after({ ...s, ...more }, 1));
      for (const width of [390, 800, 1280]) {
        await page.setViewportSize({ width, height: 800 });
        const what = `${width} pixels, ${more.cluster ? 'in a cluster' : 'alone'}`;
        await fits(page, what);
        assert.deepEqual(await page.evaluate(holes), [], what);
        assert.deepEqual(await page.evaluate(broken), [], what);
        assert.ok(await page.evaluate(() => document.getElementById('main').getBoundingClientRect().bottom >= window.innerHeight - 20), `${what}: the lower part is empty`);
      }
    }
  },

  'what is no token is not sent': async function login() {
    stub.refusal = 401;
    const page = await open();
    await says(page, 'state', 'this server needs a token');
    for (const word of ['пароль', 'two words', 'x\u0080']) {
      const asked = stub.began.length;
      await page.fill('#token', word);
      await page.press('#token', 'Enter');
      await says(page, 'state', 'wrong token');
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
      await says(page, 'state', 'this server needs a token');
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

async function main() {
  const page = await fetchPage(bin, admin);
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

'use strict';

// The live page of --admin, on a desk and on a phone, while the server is under load: each of its
// figures is that of /metrics, or of /v1 of --admin, and what the load tool counted.
//
//   node live.js CHROMIUM CRIER HOST:PORT ADMIN-HOST:PORT TOKEN-FILE DESK.png TABLET.png PHONE.png [long]
//
// With long the pictures are of some minutes of load.
//
// The first failure ends the script with exit code 1.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const net = require('node:net');
const { once } = require('node:events');
const { spawn } = require('node:child_process');
const { chromium } = require('playwright-core');
const WebSocket = require('ws');
const { recording, taken, checkAll, checkRates, rounded } = require('./live_figures.js');

const timeout = 120_000;
const [executablePath, bin, addr, admin, tokenFile, deskPicture, tabletPicture, phonePicture, long] = process.argv.slice(2);
const site = `http://${admin}/`;
const token = '0123456789abcdef0123456789abcdef';
const headers = {}; // Of requests to the admin address: the token, once there is one.
const children = new Set();

function run(args, stdout) {
  const child = spawn(bin, args, { stdio: ['ignore', stdout, 'inherit'] });
  children.add(child);
  child.on('close', () => children.delete(child));
  return child;
}

async function until(what, happened) {
  for (const end = Date.now() + timeout; !await happened();) {
    assert.ok(Date.now() < end, `gave up waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function serve(...flags) {
  const child = run(['--listen', addr, '--admin', admin, '--channels', '--retain', '64MiB', '--drain', '0', '--ping-interval', '0', '--handshake-timeout', '1h', '--log-level', 'warn', ...flags], 'ignore');
  await until('crier', async () => {
    assert.equal(child.exitCode, null, 'crier has ended');
    return fetch(`${site}livez`).then((answer) => answer.ok, () => false);
  });
  return child;
}

// load runs the load tool to its end, and returns what it counted.
async function load(...flags) {
  const child = run(['load', '--json', '--grace', '60s', ...flags, `ws://${addr}/prices`], 'pipe');
  let out = '';
  child.stdout.on('data', (chunk) => { out += chunk; });
  const [code] = await once(child, 'close');
  assert.equal(code, 0, `the load tool says ${out}`);
  const { conns, sent, delivered, size } = JSON.parse(out);
  assert.ok(sent > 0 && delivered > sent);
  return { conns, sent, delivered, payload: sent * size, written: delivered * framed(size) };
}

// framed is how long the frame of a message is: RFC 6455, section 5.2.
const framed = (size) => size + (size < 126 ? 2 : size < 65_536 ? 4 : 10);

const call = async (path, init) => (await fetch(site + path, { headers, ...init })).json();

// scrape is /metrics: values by names with labels.
async function scrape() {
  const text = await (await fetch(`${site}metrics`, { headers })).text();
  return new Map(text.split('\n').filter((line) => line && !line.startsWith('#')).map((line) => {
    const at = line.lastIndexOf(' ');
    return [line.slice(0, at), Number(line.slice(at + 1))];
  }));
}

const labelled = (all, name) => [...all].flatMap(([key, value]) => {
  const match = key.match(`^${name}\\{.*="(.*)"\\}$`);
  return match ? [[match[1], value]] : [];
});

// metrics are the figures of /metrics by the names that snapshots have for them.
async function metrics() {
  const all = await scrape();
  const one = (name) => all.get(`crier_${name}`);
  const kinds = Object.fromEntries(labelled(all, 'crier_connections'));
  return {
    version: labelled(all, 'crier_build_info')[0][0], draining: one('draining') === 1,
    open: Object.values(kinds).reduce((sum, n) => sum + n, 0), open_by_kind: kinds, max_connections: one('connections_max'),
    handshakes: one('handshakes_in_progress'), held: one('connections_held'), queued: one('worker_queue_length'),
    busy: one('workers_busy'), workers: one('workers'), log_bytes: one('log_bytes'), channels: one('channels'),
    messages: one('messages_total'), deliveries: one('deliveries_total'), bytes_in: one('message_bytes_total'), bytes_out: one('written_bytes_total'),
    holds: one('holds_total'), rate_holds: one('rate_holds_total'), skips: one('skips_total'), slowest_bytes: one('slowest_connection_bytes'),
    disconnects: Object.fromEntries(labelled(all, 'crier_disconnects_total').filter(([, n]) => n)),
    memory: one('memory_contract_bytes') ?? 0, fds: all.get('process_open_fds'), max_fds: all.get('process_max_fds'),
  };
}

// Of a snapshot, what /metrics does not have.
const BESIDE = ['time', 'started', 'node', 'cluster', 'p50', 'p99', 'slowest', 'largest', 'resident'];

// newest is what a page shows, and the snapshot that it is of.
const newest = (page) => page.evaluate(() => {
  const shown = window.shown.at(-1);
  return { at: shown?.at ?? -1, text: shown?.text, snapshot: window.snapshots[shown?.at] };
});

// agree waits until pages say what /metrics does, and returns that, and how many snapshots there were: with
// nothing going on all is exact. That the pages show what the snapshots say checkAll sees to. For memory see
// memoryAgrees.
async function agree(...pages) {
  let want;
  const at = new Map();
  for (const page of pages) {
    let got;
    const compare = () => assert.deepEqual(got.snapshot, { ...want, ...Object.fromEntries(BESIDE.map((name) => [name, got.snapshot[name]])) });
    const same = async () => {
      [got, want] = [await newest(page), await metrics()];
      if (!got.snapshot) return false;
      try { compare(); } catch { return false; }
      return true;
    };
    await until('the page and /metrics to agree', same).catch((err) => { compare(); throw err; });
    at.set(page, got.at);
  }
  return { ...want, at };
}

const problems = [];

async function open(browser, options) {
  const context = await browser.newContext(options);
  await recording(context);
  const page = await context.newPage();
  page.on('dialog', () => problems.push('markup was run'));
  page.on('pageerror', (err) => problems.push(err.stack));
  page.on('console', (m) => {
    if (m.type() === 'error' && !/^Failed to load resource/.test(m.text())) problems.push(m.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(site) && !request.url().startsWith('data:')) problems.push(`a request to ${request.url()}`);
  });
  await page.goto(site);
  return page;
}

const says = (page, id, want) => page.waitForFunction(
  ([id, want]) => new RegExp(want).test(document.getElementById(id).textContent), [id, want], { timeout });

const behind = (page) => page.evaluate(() => [...document.querySelectorAll('#slowest tbody tr')].map((row) => row.cells[1].firstChild.textContent));

async function fits(page) {
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), true, 'it fits the phone');
}

// luminance is of the page's background, from 0 to 255.
const luminance = (page) => page.evaluate(() => {
  const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number);
  return 0.3 * r + 0.6 * g + 0.1 * b;
});

// connect opens a TCP connection.
async function connect() {
  const socket = net.connect({ host: addr.split(':')[0], port: addr.split(':')[1] });
  socket.on('error', () => { /* It will be reset. */ });
  await once(socket, 'connect');
  return socket;
}

// stall opens a connection that does not read.
async function stall(path) {
  const socket = await connect();
  socket.pause();
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n`
    + 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
  return socket;
}

const CROWD = { 'news/sport': 40, 'news/weather': 25, 'chat/harbour': 12 };
if (!long) CROWD['<img src=x onerror=alert(1)>'] = 3; // It is not for pictures.

const keep = []; // What is not to be collected.

// crowd connects some to several channels, of all kinds, and publishes to one of them. It returns what is to
// be counted.
async function crowd() {
  const sockets = [];
  for (const [channel, n] of Object.entries(CROWD)) {
    for (let i = 0; i < n; i++) {
      const socket = new WebSocket(`ws://${addr}/${encodeURIComponent(channel)}`, i % 2 ? ['crier.v1'] : []);
      sockets.push(once(socket, 'open').then(() => socket));
    }
  }
  keep.push(...await Promise.all(sockets));
  keep.push(await fetch(`http://${addr}/chat/harbour`, { headers: { Accept: 'text/event-stream' } }));
  const messages = 7;
  for (let i = 0; i < messages; i++) await call('v1/publish/news/sport', { method: 'POST', body: `goal ${i}` });
  return { conns: keep.length, sent: messages, delivered: messages * CROWD['news/sport'], payload: messages * 'goal 0'.length };
}

// add adds up what was counted.
const add = (a, b) => Object.fromEntries(Object.entries(a).map(([name, n]) => [name, n + b[name]]));

// loads: some who do not read are behind by what is sent here, which fits into --retain and no socket.
async function loads(pictures) {
  const step = (conns, rate, size, duration) => load('--conns', conns, '--rate', rate, '--size', size, '--duration', duration);
  let all = { conns: 0, sent: 0, delivered: 0, payload: 0, written: 0, frames: 0 };
  const count = (one) => { all = add(all, { ...one, frames: one.written * one.sent / one.delivered }); };
  if (long) for (const [conns, rate] of [[150, 20], [250, 60], [120, 90], [400, 40], [300, 70]]) count(await step(conns, rate, '4KiB', '30s'));
  const last = step(80, 40, '32KiB', '8s');
  await pictures();
  count(await last);
  return all;
}

// counted: from one time of quiet to another, /metrics has what the load tool counted, and so have the rates
// on the pages, added up.
async function counted(before, after, load, pages) {
  const since = (name) => after[name] - before[name];
  assert.deepEqual({ sent: since('messages'), delivered: since('deliveries'), payload: since('bytes_in') },
    { sent: load.sent, delivered: load.delivered, payload: load.payload });
  for (const page of pages) {
    const all = await checkAll(page);
    checkRates(all, before.at.get(page), after.at.get(page), 'messages', load.sent);
    checkRates(all, before.at.get(page), after.at.get(page), 'deliveries', load.delivered);
  }
}

const total = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);

// underLoad: what is sent is counted, by all three alike; then some do not read.
async function underLoad(desk, phone) {
  const silent = [await connect(), await connect()]; // They say nothing, so their handshakes go on and on.
  const nothing = await agree(desk, phone);
  assert.deepEqual([nothing.messages, nothing.handshakes, nothing.memory], [0, 2, 2 ** 31]);
  for (const page of [desk, phone]) await memoryAgrees(page);
  const first = await crowd();
  const before = await agree(desk, phone);
  await counted(nothing, before, first, [desk, phone]);
  assert.equal(before.open, first.conns);
  assert.deepEqual(Object.keys(before.open_by_kind).filter((kind) => !before.open_by_kind[kind]), [], 'kinds without connections');

  const second = await load('--conns', '300', '--rate', '100', '--duration', '5s', '--senders', '3');
  const after = await agree(desk, phone);
  await counted(before, after, second, [desk, phone]);
  assert.equal(after.bytes_out - before.bytes_out, second.written, 'bytes written');
  assert.equal(total(after.disconnects) - total(before.disconnects), second.conns, 'those of the load tool have gone');
  assert.equal(after.open, first.conns, 'and the others have not');
  for (const page of [desk, phone]) {
    assert.equal(Math.max(...(await taken(page)).snapshots.map((s) => s.open)), first.conns + second.conns, 'the most at a time');
  }
  await channelsAgree(desk);
  await latencyAgrees(desk, phone);

  const quiet = await agree(desk, phone);
  const slow = [];
  for (let i = 0; i < 3; i++) slow.push(await stall('/prices'));
  const third = await loads(async () => {
    await desk.waitForFunction((least) => document.querySelectorAll('#slowest tbody tr').length === 3
      && Number(document.getElementById('messages').textContent) >= least, long ? 30 : 0, { timeout });
    await desk.screenshot({ path: deskPicture });
    await desk.emulateMedia({ colorScheme: 'dark' });
    await desk.setViewportSize({ width: 800, height: 900 });
    await desk.screenshot({ path: tabletPicture });
    await desk.emulateMedia({ colorScheme: 'light' });
    await desk.setViewportSize({ width: 1280, height: 800 });
    await phone.screenshot({ path: phonePicture });
  });
  await fits(phone);
  const end = await agree(desk, phone);
  if (!long) await counted(quiet, end, { ...third, delivered: end.deliveries - quiet.deliveries }, [desk, phone]);
  assert.ok(end.deliveries - quiet.deliveries >= third.delivered);
  await slowestAgree(desk, slow, end, end.bytes_out - quiet.bytes_out - third.written, third.frames);
  for (const socket of silent) socket.destroy();
  assert.equal((await agree(desk, phone)).handshakes, 0);
  return slow;
}

// slowestAgree: those who do not read are on the page, and together as far behind as what was written to them
// is less than what was published for each of them.
async function slowestAgree(page, slow, { slowest_bytes: most }, written, published) {
  const { slowest } = (await newest(page)).snapshot;
  assert.equal(slowest[0].lag, most, 'the slowest one');
  assert.equal(slowest.reduce((sum, c) => sum + c.lag, 0), slow.length * published - written, 'how far they are behind');
  const { connections } = await call('v1/connections?channel=prices');
  const named = (list) => list.map(({ id, channel, remote }) => `${id} ${channel} ${remote}`).sort();
  assert.deepEqual(named(slowest), named(connections));
  assert.deepEqual(slowest.map((c) => c.remote).sort(), slow.map((s) => `127.0.0.1:${s.localPort}`).sort());
}

// memoryAgrees: of a server that does nothing yet the memory stays what it is for a while, as exactly as
// it is shown.
async function memoryAgrees(page) {
  await until('the page and /metrics to agree on memory', async () => {
    const { text } = await newest(page);
    try { rounded(text.memory.split(' of ')[0], (await scrape()).get('process_resident_memory_bytes'), 'memory'); } catch { return false; }
    return true;
  });
}

// channelsAgree: the channels are those of /v1/channels. With nothing going on their rates fall all the time,
// so what was found between two answers lies between them.
async function channelsAgree(page) {
  const list = async () => (await call('v1/channels')).channels.sort((a, b) => b.connections - a.connections || (a.channel < b.channel ? -1 : 1));
  const sizes = (all) => all.map(({ name, channel, connections }) => [name ?? channel, connections]);
  const found = async () => (await newest(page)).snapshot.largest;
  const above = await list();
  for (let i = 0; i < 2; i++) { // The next may have been found before.
    const was = JSON.stringify(await found());
    await until('other rates', async () => JSON.stringify(await found()) !== was);
  }
  const got = await found();
  const below = await list();
  assert.deepEqual(sizes(got), sizes(above));
  assert.deepEqual(sizes(got), sizes(below));
  got.forEach(({ rate }, i) => assert.ok(above[i].rate >= rate && rate >= below[i].rate && (rate > 0 || above[i].rate === 0), `${rate} is not from ${above[i].rate} to ${below[i].rate}`));
  for (const channel of Object.keys(CROWD)) assert.ok(got.some(({ name }) => name === channel), `the channel ${channel}`);
  assert.ok(got.some(({ rate }) => rate > 0), 'some have a rate');
}

// quantile is histogram_quantile of Prometheus, of buckets that are added up.
function quantile(q, buckets) {
  const rank = q * buckets.at(-1)[1];
  const i = buckets.findIndex(([, n]) => n >= rank);
  if (i === buckets.length - 1) return buckets[i - 1][0];
  const [from, below] = i ? buckets[i - 1] : [0, 0];
  return from + (buckets[i][0] - from) * (rank - below) / (buckets[i][1] - below);
}

// latencyAgrees: what is published at once is in one snapshot, mostly; then its quantiles are those of what
// /metrics has more than before.
async function latencyAgrees(...pages) {
  const buckets = async () => labelled(await scrape(), 'crier_delivery_latency_seconds_bucket').map(([le, n]) => [le === '+Inf' ? Infinity : Number(le), n]);
  const batch = Array.from({ length: 200 }, (_, i) => JSON.stringify({ channel: Object.keys(CROWD)[i % Object.keys(CROWD).length], data: 'x'.repeat(i) })).join('\n');
  for (let tries = 0, good = 0; good < 3; tries++) {
    assert.ok(tries < 30, 'there is never but one snapshot');
    const { at } = await agree(...pages);
    const before = await buckets();
    await (await fetch(`${site}v1/publish`, { method: 'POST', body: batch, headers })).text();
    const after = await agree(...pages);
    for (const page of pages) { // Until it has been quiet.
      await until('a later one', async () => (await newest(page)).at > after.at.get(page) + 1);
    }
    const since = (await buckets()).map(([le, n], i) => [le, n - before[i][1]]);
    assert.ok(since.at(-1)[1] > 0);
    const found = [];
    for (const page of pages) found.push(...(await taken(page)).snapshots.slice(at.get(page) + 1).filter((s) => s.p99 !== null));
    if (found.length !== pages.length) continue;
    good += 1;
    for (const s of found) for (const [q, got] of [[0.5, s.p50], [0.99, s.p99]]) {
      assert.ok(Math.abs(got - quantile(q, since)) <= 1e-9, `${q}: ${got} of ${JSON.stringify(since)}`);
    }
  }
}

// cutOff closes the slowest connection, with the keyboard alone.
async function cutOff(page, slow) {
  const names = await behind(page);
  assert.deepEqual([...names].sort(), slow.map((s) => `127.0.0.1:${s.localPort}`).sort());
  await page.evaluate(() => document.activeElement.blur());
  const focused = () => page.evaluate(() => document.activeElement.getAttribute('aria-label'));
  await until('the button', async () => {
    await page.keyboard.press('Tab');
    return /^Cut off /.test(await focused());
  });
  const name = (await focused()).slice('Cut off '.length);
  await page.keyboard.press('Enter');
  await page.waitForSelector('#cut[open]', { timeout });
  await page.keyboard.press('Escape');
  await page.waitForSelector('#cut:not([open])', { state: 'attached', timeout });
  assert.equal((await behind(page)).length, 3, 'nobody is cut off yet');
  assert.equal(await focused(), `Cut off ${name}`, 'the focus is back');

  await page.keyboard.press('Enter');
  await says(page, 'cut-who', name);
  await page.keyboard.press('Control+A');
  await page.keyboard.type('does not read & holds all up');
  await page.keyboard.press('Enter');
  await says(page, 'said', `^${name} is cut off\\.$`);
  await page.waitForFunction(() => document.querySelectorAll('#slowest tbody tr').length === 2, null, { timeout });
  assert.ok(!(await behind(page)).includes(name));
  const socket = slow.find((s) => name.endsWith(`:${s.localPort}`));
  const closed = once(socket, 'close');
  socket.resume();
  await closed;
  await until('the reason', async () => (await agree(page)).disconnects.disconnected === 1);
}

// goneAndBack kills the server and starts it again, with a token now.
async function goneAndBack(server, desk, phone) {
  const main = (page) => page.evaluate(() => document.querySelector('main').innerText);
  server.kill('SIGKILL');
  await once(server, 'close');
  for (const page of [desk, phone]) {
    const before = await main(page);
    await says(page, 'state', '^no answer since \\d\\d:\\d\\d:\\d\\d');
    assert.equal(await main(page), before, 'the last figures stay');
    assert.equal(await page.evaluate(() => [...document.querySelectorAll('#slowest button')].every((b) => b.disabled)), true);
  }
  await fits(phone);
  await serve();
  for (const page of [desk, phone]) await says(page, 'state', '^live$');
  const fresh = await agree(desk, phone);
  assert.deepEqual([fresh.messages, fresh.memory], [0, 0]);
  for (const page of [desk, phone]) await checkAll(page);
}

async function withToken(desk, phone) {
  fs.writeFileSync(tokenFile, `${token}\n`);
  await serve('--admin-token-file', tokenFile);
  await says(desk, 'state', '^this server needs a token$');
  await desk.waitForTimeout(2000);
  await says(desk, 'state', '^this server needs a token$'); // It still does.
  await desk.fill('#token', 'not this one, which is long enough');
  await desk.press('#token', 'Enter');
  await says(desk, 'state', '^wrong token$');
  for (const page of [desk, phone]) {
    await page.waitForSelector('#token', { timeout });
    await page.fill('#token', token);
    await page.press('#token', 'Enter');
    await says(page, 'state', '^live$');
  }
  await fits(phone);
  headers.Authorization = `Bearer ${token}`;
  await agree(desk, phone);
  await desk.reload();
  await says(desk, 'state', '^live$'); // The tab remembers it.
}

async function main() {
  let server = await serve('--memory', '2GiB');
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
  try {
    const desk = await open(browser, { viewport: { width: 1280, height: 800 }, colorScheme: 'light' });
    const phone = await open(browser, {
      viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: 'dark',
    });
    for (const page of [desk, phone]) await says(page, 'state', '^live$');
    assert.ok(await luminance(desk) > 200 && await luminance(phone) < 60, 'one is light, the other dark');
    const slow = await underLoad(desk, phone);
    await cutOff(desk, slow);
    await goneAndBack(server, desk, phone);
    [server] = children;
    server.kill('SIGTERM');
    assert.deepEqual(await once(server, 'close'), [0, null], 'the exit code');
    await withToken(desk, phone);
    assert.deepEqual(problems, []);
    console.log('live: the page, /metrics and the load tool agree; cut off, gone and back, with a token');
  } finally {
    for (const child of children) child.kill('SIGKILL');
    await browser.close();
  }
}

main().then(() => process.exit(0), (err) => { // Those who stall would keep it.
  console.error(`FAIL: ${err.stack}\n${problems.join('\n')}`);
  process.exit(1);
});

'use strict';

// The live page of --admin, on a desk and on a phone, while the server is under load: its figures
// are those of /metrics and of the load tool.
//
//   node live.js CHROMIUM CRIER HOST:PORT ADMIN-HOST:PORT TOKEN-FILE DESK.png PHONE.png [long]
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

const timeout = 120_000;
const [executablePath, bin, addr, admin, tokenFile, deskPicture, phonePicture, long] = process.argv.slice(2);
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
  const child = run(['--listen', addr, '--admin', admin, '--channels', '--retain', '64MiB', '--drain', '0', '--ping-interval', '0', '--log-level', 'warn', ...flags], 'ignore');
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
  const { sent, delivered } = JSON.parse(out);
  assert.ok(sent > 0 && delivered > sent);
  return { sent, delivered };
}

// metrics are the figures of /metrics by their names with labels.
async function metrics() {
  const text = await (await fetch(`${site}metrics`, { headers })).text();
  const all = new Map(text.split('\n').filter((line) => line.startsWith('crier_')).map((line) => {
    const at = line.lastIndexOf(' ');
    return [line.slice(0, at), Number(line.slice(at + 1))];
  }));
  const labelled = (name) => [...all].flatMap(([key, value]) => {
    const match = key.match(`^crier_${name}\\{.*="(.*)"\\}$`);
    return match && value ? [[match[1], value]] : [];
  });
  return {
    open: labelled('connections').reduce((sum, [, n]) => sum + n, 0),
    kinds: Object.fromEntries(labelled('connections')),
    messages: all.get('crier_messages_total'),
    deliveries: all.get('crier_deliveries_total'),
    channels: all.get('crier_channels'),
    lag: all.get('crier_slowest_connection_bytes'),
    ended: Object.fromEntries(labelled('disconnects_total')),
  };
}

// figures are the same, as the page has them.
const figures = (page) => page.evaluate(() => {
  const text = (id) => document.getElementById(id).textContent;
  const number = (s) => Number(s.replace(/[, ]|bytes/g, ''));
  const kinds = text('kinds').split(' · ').map((part) => part.split(' ')).filter(([first]) => first !== 'max');
  return {
    open: number(text('open')),
    kinds: Object.fromEntries(kinds.map(([n, kind]) => [kind, number(n)])),
    messages: number(text('messages-total')),
    deliveries: number(text('deliveries-total')),
    channels: number(text('channels-total')),
    lag: number(document.getElementById('lag').title),
    ended: Object.fromEntries([...document.querySelectorAll('#ended tbody tr')].map((row) => [row.cells[0].textContent, number(row.cells[2].textContent)])),
  };
});

// agree waits until pages say what /metrics does, and returns it: with nothing going on all is exact.
async function agree(...pages) {
  let want;
  for (const page of pages) {
    let got;
    const same = async () => {
      [got, want] = [await figures(page), await metrics()];
      try { assert.deepEqual(got, want); } catch { return false; }
      return true;
    };
    await until('the page and /metrics to agree', same).catch(() => assert.deepEqual(got, want));
  }
  return want;
}

const problems = [];

async function open(browser, options) {
  const context = await browser.newContext(options);
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

// stall opens a connection that does not read.
async function stall(path) {
  const socket = net.connect({ host: addr.split(':')[0], port: addr.split(':')[1] });
  socket.on('error', () => { /* It will be reset. */ });
  await once(socket, 'connect');
  socket.pause();
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n`
    + 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
  return socket;
}

const CROWD = { 'news/sport': 40, 'news/weather': 25, 'chat/harbour': 12 };
if (!long) CROWD['<img src=x onerror=alert(1)>'] = 3; // It is not for pictures.

// crowd connects some to several channels, and publishes to one of them.
async function crowd() {
  const sockets = [];
  for (const [channel, n] of Object.entries(CROWD)) {
    for (let i = 0; i < n; i++) {
      const socket = new WebSocket(`ws://${addr}/${encodeURIComponent(channel)}`, i % 2 ? ['crier.v1'] : []);
      sockets.push(once(socket, 'open'));
    }
  }
  await Promise.all(sockets);
  const messages = 7;
  for (let i = 0; i < messages; i++) {
    const answer = await fetch(`${site}v1/publish/news/sport`, { method: 'POST', body: `goal ${i}` });
    assert.equal(answer.status, 200);
  }
  return { sent: messages, delivered: messages * CROWD['news/sport'] };
}

// loads: some who do not read are behind by what is sent here, which fits into --retain and no socket.
async function loads(pictures) {
  const step = async (conns, rate, size, duration) => (await load('--conns', conns, '--rate', rate, '--size', size, '--duration', duration)).sent;
  let sent = 0;
  if (long) for (const [conns, rate] of [[150, 20], [250, 60], [120, 90], [400, 40], [300, 70]]) sent += await step(conns, rate, '4KiB', '30s');
  const last = step(80, 40, '32KiB', '8s');
  await pictures();
  return sent + await last;
}

// underLoad: what is sent is counted, by all three alike; then some do not read.
async function underLoad(desk, phone) {
  const first = await crowd();
  const before = await agree(desk, phone);
  assert.equal(before.messages, first.sent);
  assert.equal(before.deliveries, first.delivered);
  const second = await load('--conns', '300', '--rate', '100', '--duration', '5s', '--senders', '3');
  const after = await agree(desk, phone);
  assert.equal(after.messages, first.sent + second.sent, 'messages of the load tool');
  assert.equal(after.deliveries, first.delivered + second.delivered, 'deliveries of the load tool');
  assert.equal(after.open, Object.values(CROWD).reduce((a, b) => a + b), 'connections');
  const channels = await desk.evaluate(() => [...document.querySelectorAll('#channels tbody tr')].map((row) => row.cells[1].textContent));
  for (const channel of Object.keys(CROWD)) assert.ok(channels.includes(channel), `the channel ${channel} in ${channels}`);

  const slow = [];
  for (let i = 0; i < 3; i++) slow.push(await stall('/prices'));
  const sent = await loads(async () => {
    await desk.waitForFunction((least) => document.querySelectorAll('#slowest tbody tr').length === 3
      && Number(document.getElementById('messages').textContent) >= least, long ? 30 : 0, { timeout });
    await desk.screenshot({ path: deskPicture });
    await phone.screenshot({ path: phonePicture });
  });
  await fits(phone);
  const end = await agree(desk, phone);
  assert.equal(end.messages, first.sent + second.sent + sent, 'messages in all');
  assert.ok(end.lag > 0, 'somebody is behind');
  return slow;
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
  await until('the reason', async () => (await agree(page)).ended.disconnected === 1);
}

// goneAndBack kills the server and starts it again, with a token now.
async function goneAndBack(server, desk, phone) {
  const before = await figures(desk);
  server.kill('SIGKILL');
  await once(server, 'close');
  for (const page of [desk, phone]) {
    await says(page, 'state', '^no answer since \\d\\d:\\d\\d:\\d\\d');
    assert.deepEqual(await figures(page), before, 'the last figures stay');
    assert.equal(await page.evaluate(() => [...document.querySelectorAll('#slowest button')].every((b) => b.disabled)), true);
  }
  await fits(phone);
  await serve();
  for (const page of [desk, phone]) await says(page, 'state', '^live$');
  const fresh = await agree(desk, phone);
  assert.equal(fresh.messages, 0);
}

async function withToken(desk, phone) {
  fs.writeFileSync(tokenFile, `${token}\n`);
  await serve('--admin-token-file', tokenFile);
  await says(desk, 'state', '^this server wants a token$');
  await desk.waitForTimeout(2000);
  await says(desk, 'state', '^this server wants a token$'); // It still does.
  await desk.fill('#token', 'not this one, which is long enough');
  await desk.press('#token', 'Enter');
  await says(desk, 'state', '^this is not the token$');
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
  let server = await serve();
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
  try {
    const desk = await open(browser, { viewport: { width: 1200, height: 500 }, colorScheme: 'light' });
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

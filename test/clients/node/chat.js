'use strict';

// The chat of examples/chat: a phone, a desk, and the one in C#, in one room.
//
//   node chat.js CHROMIUM http://PAGE ws://SERVER ws://WITHOUT-CHANNELS Chat.exe PICTURE.png
//
// The first failure ends the script with exit code 1.
const assert = require('node:assert/strict');
const path = require('node:path');
const readline = require('node:readline');
const { spawn } = require('node:child_process');
const { chromium } = require('playwright-core');

const timeout = 30000;

// texts are what the page shows, without the times.
const texts = (page) => page.evaluate(() => [...document.querySelectorAll('#messages li')].map((item) => {
  const copy = item.cloneNode(true);
  copy.querySelector('time')?.remove();
  const name = copy.querySelector('b');
  name?.append(' ');
  return copy.textContent;
}));

async function shows(page, want) {
  try {
    await page.waitForFunction((n) => document.querySelectorAll('#messages li').length >= n, want.length, { timeout });
  } catch { /* The comparison says more. */ }
  assert.deepEqual(await texts(page), want);
}

async function open(browser, options, url, name) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on('dialog', () => { throw new Error('markup was run'); });
  page.on('pageerror', (err) => { throw err; });
  page.on('response', (answer) => { if (answer.status() >= 400) throw new Error(`${answer.url()}: ${answer.status()}`); });
  await page.goto(url);
  await page.fill('#name', name);
  await connected(page);
  return page;
}

const connected = (page) => page.waitForFunction(() => document.getElementById('state').textContent === 'connected', null, { timeout });

async function say(page, text) {
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
}

// Terminal is the chat in C#.
class Terminal {
  constructor(exe, server, room, name) {
    this.lines = [];
    this.child = spawn('mono', [exe, server, room, name], { stdio: ['pipe', 'pipe', 'inherit'] });
    readline.createInterface({ input: this.child.stdout }).on('line', (line) => this.lines.push(line));
  }

  say(text) { this.child.stdin.write(`${text}\n`); }

  async shows(line) {
    for (const end = Date.now() + timeout; !this.lines.includes(line);) {
      assert.ok(Date.now() < end, `no ${line} in ${JSON.stringify(this.lines)}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

async function main() {
  const [executablePath, site, server, plain, exe, picture] = process.argv.slice(2);
  const at = (address) => `${site}/?server=${encodeURIComponent(address)}#harbour`;
  const url = at(server);
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
  const ada = new Terminal(exe, server, 'harbour', 'Ada');
  try {
    const phone = await open(browser, { viewport: { width: 390, height: 650 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }, url, 'Grace');
    await ada.shows('* connected');
    assert.equal(await phone.isVisible('#empty'), true, 'the room is empty');
    const said = [];
    const bySay = async (who, name, text) => {
      if (who === ada) ada.say(text); else await say(who, text);
      said.push(`${name} ${text}`);
      await shows(phone, said);
      await ada.shows(`${name}: ${text}`);
    };
    await bySay(phone, 'Grace', 'Ships are safe in harbours.');
    await bySay(ada, 'Ada', 'That is not what ships are for.');
    await bySay(phone, 'Grace', 'Then where are you off to?');
    await bySay(ada, 'Ada', 'Nowhere: I sit at a terminal, in C#.');

    // Who comes late has the history, and what is said now.
    const desk = await open(browser, { viewport: { width: 1000, height: 700 } }, url, 'Edsger');
    await shows(desk, said);
    await bySay(desk, 'Edsger', 'And I came late, and can read all of it.');
    await shows(desk, said);
    await bySay(phone, 'Grace', 'Welcome!');

    // Another room is another one; who comes back has the history.
    await desk.fill('#room', 'attic');
    await desk.press('#room', 'Enter');
    await connected(desk);
    await say(desk, '안녕하세요 <img src=x onerror=alert(1)>');
    await shows(desk, ['Edsger 안녕하세요 <img src=x onerror=alert(1)>']);
    await desk.fill('#room', 'harbour');
    await desk.press('#room', 'Enter');
    await connected(desk);
    await shows(desk, said);
    await shows(phone, said);

    assert.equal(await phone.isVisible('#empty'), false, 'the room is not empty');
    assert.equal(await phone.isVisible('#warning'), false, 'the server has channels');

    // A server without channels, where all rooms are one.
    const lost = await open(browser, { viewport: { width: 1000, height: 700 } }, at(plain), 'Alan');
    await say(lost, 'Who hears this?');
    await lost.waitForSelector('#warning', { state: 'visible', timeout });
    const late = await open(browser, { viewport: { width: 390, height: 650 } }, at(plain), 'Kurt');
    await late.waitForSelector('#warning', { state: 'visible', timeout });

    // Nothing is wider than the phone.
    assert.equal(await late.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), true, 'the warning fits the phone');
    await late.screenshot({ path: path.join(path.dirname(path.resolve(picture)), 'chat-warning.png') });
    assert.equal(await phone.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), true, 'it fits the phone');
    await phone.evaluate(() => document.activeElement.blur());
    await phone.screenshot({ path: path.resolve(picture) });
    ada.child.stdin.end();
    console.log(`chat: ${said.length} messages between a phone, a desk and a terminal, two rooms, history`);
  } finally {
    ada.child.kill();
    await browser.close();
  }
}

main().catch((err) => {
  console.error(`FAIL: ${err.stack}`);
  process.exit(1);
});

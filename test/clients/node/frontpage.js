'use strict';

// The page that crier shows to browsers, when it was started from a terminal:
//
//   node frontpage.js CHROMIUM CRIER PORT DESK.png PHONE.png
//
// The pictures are of it on a desk, and on a phone in the dark. The first failure ends the script with exit code 1.
const assert = require('node:assert/strict');
const { chromium } = require('playwright-core');
const { Terminal, timeout } = require('./terminal.js');

const desk = { viewport: { width: 1280, height: 800 } };
const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

// serve starts crier in a terminal.
async function serve(crier, port, ...flags) {
  const t = new Terminal([crier, '--drain=0', `--listen=:${port}`, ...flags].join(' '));
  await t.prints(/msg=serving/);
  return t;
}

// open opens the page in a tab, which must not report any fault.
async function open(context, url) {
  const tab = await context.newPage();
  tab.faults = [];
  tab.on('pageerror', (err) => tab.faults.push(String(err)));
  tab.on('console', (message) => { if (message.type() === 'error') tab.faults.push(message.text()); });
  tab.on('dialog', () => tab.faults.push('markup was run'));
  await tab.goto(url);
  await connected(tab);
  return tab;
}

const has = (tab, selector, text) => tab.waitForFunction(
  ([s, t]) => document.querySelector(s)?.textContent.includes(t), [selector, text], { timeout });

const connected = (tab) => tab.waitForFunction(() => document.getElementById('state').textContent === 'connected', null, { timeout });

const texts = (tab) => tab.evaluate(() => [...document.querySelectorAll('#messages li span')].map((item) => item.textContent));

async function say(tab, text) {
  await tab.fill('#text', text);
  await tab.press('#text', 'Enter');
}

// heard waits until tabs show texts, and nothing else.
async function heard(tabs, ...want) {
  for (const tab of tabs) {
    await tab.waitForFunction((n) => document.querySelectorAll('#messages li').length >= n, want.length, { timeout });
    assert.deepEqual(await texts(tab), want);
  }
}

// fits checks that nothing is wider than the window, and that what one taps is large enough.
async function fits(tab) {
  const wide = await tab.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(wide <= 0, `it is ${wide} pixels too wide`);
  const small = await tab.evaluate(() => [...document.querySelectorAll('button, input')]
    .filter((e) => e.offsetParent && e.getBoundingClientRect().height < 24).map((e) => e.outerHTML));
  assert.deepEqual(small, []);
}

// readable checks the contrast of all visible text, WCAG 2.2, section 1.4.3.
const readable = (tab) => tab.evaluate(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => (rgb(getComputedStyle(e).backgroundColor)[3] === 255 ? getComputedStyle(e).backgroundColor : behind(e.parentElement));
  return [...document.querySelectorAll('body *')].filter((e) => e.offsetParent && !e.disabled && !e.closest('.hidden')
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())).flatMap((e) => {
    const [a, b] = [luminance(rgb(getComputedStyle(e).color)), luminance(rgb(behind(e)))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    return ratio < 4.5 ? [`${e.tagName} ${e.id}: ${ratio.toFixed(2)}`] : [];
  });
});

// chat is what a newcomer does, and what may go wrong meanwhile.
async function chat(browser, crier, port) {
  let terminal = await serve(crier, port);
  try {
    assert.match(terminal.printed, new RegExp(`page=http://localhost:${port}/`));
    const context = await browser.newContext({ ...desk, permissions: ['clipboard-read', 'clipboard-write'] });
    const url = `http://localhost:${port}/`;
    const tabs = [await open(context, url), await open(context, `http://[::1]:${port}/`), await open(context, `http://127.0.0.1:${port}/any`)];
    assert.equal(await tabs[0].evaluate(() => document.activeElement.id), 'text', 'one can type at once');
    assert.equal(await tabs[0].textContent('#address'), `ws://localhost:${port}/`);
    assert.equal(await tabs[1].textContent('#address'), `ws://[::1]:${port}/`);
    await say(tabs[0], 'Is anybody there?');
    await heard(tabs, 'Is anybody there?');
    const markup = '안녕하세요 <img src=x onerror=alert(1)>';
    await say(tabs[1], markup);
    await heard(tabs, 'Is anybody there?', markup);

    // The code to copy is right.
    await tabs[0].click('[data-copies=js]');
    await has(tabs[0], '#copied', 'Copied');
    const code = await tabs[0].evaluate(() => navigator.clipboard.readText());
    assert.match(code, new RegExp(`new WebSocket\\("ws://localhost:${port}/"\\)`));
    await tabs[0].evaluate(`{ ${code}; window.ran = ws; }`);
    await heard(tabs, 'Is anybody there?', markup, 'hello');
    await tabs[0].evaluate(() => window.ran.send(new Uint8Array([0, 255, 10])));
    await heard(tabs, 'Is anybody there?', markup, 'hello', 'binary message, 3 bytes');
    for (const tab of tabs) assert.deepEqual(tab.faults, []);

    // The server goes away: the page says so, and sends nothing until it is back.
    await terminal.stop();
    for (const tab of tabs) await has(tab, '#trouble', 'The server does not answer. Trying again.');
    assert.equal(await tabs[0].textContent('#state'), 'not connected');
    assert.equal(await tabs[0].isDisabled('#send'), true);
    await say(tabs[0], 'lost?');
    terminal = await serve(crier, port);
    for (const tab of tabs) await connected(tab);
    assert.equal(await tabs[0].isVisible('#trouble'), false);
    assert.equal(await tabs[0].inputValue('#text'), 'lost?', 'what was not sent is still there');
    await tabs[0].press('#text', 'Enter');
    for (const tab of tabs) await has(tab, '#messages li:last-child', 'lost?');
    assert.match((await texts(tabs[0])).at(-2), /^Messages may be missing here/);
    await context.close();
  } finally {
    await terminal.stop();
  }
}

// channels is chat with --channels: the path is the channel.
async function channels(browser, crier, port) {
  const terminal = await serve(crier, port, '--channels');
  try {
    const context = await browser.newContext(desk);
    const url = (channel) => `http://localhost:${port}/${channel}`;
    const news = [await open(context, url('news')), await open(context, url('news?last=5'))];
    const other = await open(context, url('a%20b/%3Cb%3E\'x'));
    assert.match(await news[0].textContent('#about'), /This is the channel news:/);
    assert.match(await other.textContent('#about'), /This is the channel a b\/<b>'x:/);
    await say(news[1], 'goal');
    await heard(news, 'goal');
    await say(other, 'elsewhere');
    await heard([other], 'elsewhere');
    await heard(news, 'goal');
    await heard([await open(context, url('news?last=5'))], 'goal');
    for (const tab of [...news, other]) assert.deepEqual(tab.faults, []);

    // A channel that cannot be: what the server says of it.
    const wrong = await context.newPage();
    await wrong.goto(url('news?last=x'));
    await has(wrong, '#trouble', 'The server refuses the connection: 400, ');
    await context.close();
  } finally {
    await terminal.stop();
  }
}

// full is --max-conns 1: who does not get in is told why.
async function full(browser, crier, port) {
  const terminal = await serve(crier, port, '--max-conns=1');
  try {
    const first = await open(browser, `http://localhost:${port}/`);
    const second = await browser.newPage();
    await second.goto(`http://localhost:${port}/`);
    await has(second, '#trouble', 'The server refuses the connection for now: 503 ');
    await first.close();
    await connected(second);
    await second.close();
  } finally {
    await terminal.stop();
  }
}

// silent is --publish none, where nobody can say anything.
async function silent(browser, crier, port) {
  const terminal = await serve(crier, port, '--publish=none');
  try {
    const tab = await open(browser, `http://localhost:${port}/`);
    assert.equal(await tab.isVisible('#form'), false);
    assert.match(await tab.textContent('#hint'), /takes no messages from clients/);
    await tab.close();
  } finally {
    await terminal.stop();
  }
}

// pictures looks at the page in light and in dark, and takes pictures of some: file names by device and colours.
async function pictures(browser, crier, port, files) {
  const terminal = await serve(crier, port);
  try {
    for (const [name, device] of Object.entries({ desk, phone })) {
      for (const colorScheme of ['light', 'dark']) {
        const context = await browser.newContext({ ...device, colorScheme, reducedMotion: 'reduce' });
        const tab = await open(context, `http://localhost:${port}/`);
        const other = await open(context, `http://localhost:${port}/`);
        assert.deepEqual(await readable(tab), []);
        const said = [];
        for (const text of ['Is anybody there?', 'Yes, in the other tab.', 'Then it works.']) {
          await say(text.startsWith('Y') ? other : tab, text);
          said.push(text);
          await heard([tab, other], ...said);
        }
        await fits(tab);
        assert.deepEqual(await readable(tab), []);
        await tab.evaluate(() => document.activeElement.blur());
        const file = files[`${name} ${colorScheme}`];
        if (file) await tab.screenshot({ path: file });
        await say(other, `${'long'.repeat(200)}\n${'words and '.repeat(60)}`);
        await tab.waitForFunction(() => document.querySelectorAll('#messages li').length === 4, null, { timeout });
        await fits(tab);
        await context.close();
      }
    }
    const context = await browser.newContext({ ...phone, colorScheme: 'dark' });
    const tab = await open(context, `http://localhost:${port}/`);
    await terminal.stop();
    await has(tab, '#trouble', 'The server does not answer.');
    assert.deepEqual(await readable(tab), []);
    await context.close();
  } finally {
    if (!terminal.ended) await terminal.stop();
  }
}

async function main() {
  const [executablePath, crier, port, deskFile, phoneFile] = process.argv.slice(2);
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
  try {
    await chat(browser, crier, port);
    await channels(browser, crier, port);
    await full(browser, crier, port);
    await silent(browser, crier, port);
    await pictures(browser, crier, port, { 'desk light': deskFile, 'phone dark': phoneFile });
    console.log('the page: tabs hear each other by all names of this host, in channels, across a restart; on a desk and a phone, light and dark');
  } finally {
    await browser.close();
  }
}

main().then(() => process.exit(0), (err) => {
  console.error(`FAIL: ${err.stack}`);
  process.exit(1);
});

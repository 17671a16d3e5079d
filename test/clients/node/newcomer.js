'use strict';

// What a newcomer does: types the commands of README in terminals of their own, each when the one
// before says that it serves, opens the page in two tabs, and says something in one.
//
//   node newcomer.js CHROMIUM DIRECTORY http://PAGE COMMAND...
//
// The first failure ends the script with exit code 1.
const { chromium } = require('playwright-core');
const { Terminal, pause, timeout } = require('./terminal.js');

async function open(context, url) {
  const page = await context.newPage();
  page.on('pageerror', (err) => { throw err; });
  for (const end = Date.now() + timeout; ;) {
    try {
      await page.goto(url);
      break;
    } catch (err) {
      if (Date.now() > end) throw err; // What says that it will serve may not serve yet.
      await pause(50);
    }
  }
  await page.waitForFunction(() => !document.getElementById('send').disabled, null, { timeout });
  return page;
}

// heard waits until a page shows what was said.
const heard = (page, text) => page.waitForFunction((s) => [...document.querySelectorAll('#messages li')].some((item) => item.textContent.includes(s)), text, { timeout });

async function main() {
  const [executablePath, cwd, url, ...commands] = process.argv.slice(2);
  const start = Date.now();
  const terminals = [];
  let browser;
  try {
    for (const command of commands) {
      const t = new Terminal(command, cwd);
      terminals.push(t);
      await t.prints(/^(?!go: ).+\n/m, 4 * timeout); // More than what go does, which compiles first.
    }
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
    const context = await browser.newContext();
    const tabs = [await open(context, url), await open(context, url)];
    for (const [i, text] of ['Is anybody there?', 'In the other tab.'].entries()) {
      await tabs[i].fill('#text', text);
      await tabs[i].press('#text', 'Enter');
      for (const tab of tabs) await heard(tab, text);
    }
    console.log(`newcomer: two tabs hear each other ${((Date.now() - start) / 1000).toFixed(1)} s after the first command`);
  } catch (err) {
    for (const t of terminals) console.error(`$ ${t.command}\n${t.printed}`);
    throw err;
  } finally {
    for (const t of terminals) await t.stop();
    await browser?.close();
  }
}

main().then(() => process.exit(0), (err) => {
  console.error(`FAIL: ${err.stack}`);
  process.exit(1);
});

// A fleet in a page of a real browser: node fleet_page.mjs CHROMIUM. As fleet_node.mjs.
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const files = {
  '/': '<!doctype html><title>fleet</title>',
  '/crier.js': await readFile(new URL('../../../clients/js/crier.js', import.meta.url)),
  '/fleet.mjs': await readFile(new URL('./fleet.mjs', import.meta.url)),
};

// A page with an origin of its own, as a site has it.
const site = createServer(({ url }, answer) => {
  answer.writeHead(files[url] ? 200 : 404, {
    'Content-Type': url === '/' ? 'text/html' : 'text/javascript',
    'Access-Control-Allow-Origin': '*',
  });
  answer.end(files[url]);
});
site.listen(0, '127.0.0.1');
await once(site, 'listening');
const elsewhere = `http://127.0.0.1:${site.address().port}`;

const browser = await chromium.launch({ executablePath: process.argv[2], args: ['--no-sandbox', '--disable-gpu'] });
const report = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

// load loads a page of an origin with a fleet. What crier says to a browser is page enough.
async function load(origin) {
  const page = await browser.newPage();
  page.on('pageerror', (err) => report({ client: '', type: 'error', reason: err.stack }));
  await page.exposeFunction('report', report);
  await page.goto(`${origin}/`);
  await page.evaluate(async (from) => {
    const [{ Crier }, { fleet }] = await Promise.all([import(`${from}/crier.js`), import(`${from}/fleet.mjs`)]);
    window.command = fleet(Crier, window.report);
  }, elsewhere);
  return page;
}

try {
  const pages = new Map([[elsewhere, load(elsewhere)]]);
  await pages.get(elsewhere);
  report({ client: '', type: 'ready' });
  for await (const line of createInterface({ input: process.stdin })) {
    const { site: origin = elsewhere, ...command } = JSON.parse(line);
    if (!pages.has(origin)) pages.set(origin, load(origin));
    const page = await pages.get(origin);
    // What it does may take long: others go on meanwhile.
    await page.evaluate((it) => { window.command(it); }, command);
  }
} finally {
  await browser.close();
  site.close();
}

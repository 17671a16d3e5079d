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
  answer.writeHead(files[url] ? 200 : 404, { 'Content-Type': url === '/' ? 'text/html' : 'text/javascript' });
  answer.end(files[url]);
});
site.listen(0, '127.0.0.1');
await once(site, 'listening');

const browser = await chromium.launch({ executablePath: process.argv[2], args: ['--no-sandbox', '--disable-gpu'] });
try {
  const page = await browser.newPage();
  const report = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
  page.on('pageerror', (err) => report({ client: '', type: 'error', reason: err.stack }));
  await page.exposeFunction('report', report);
  await page.goto(`http://127.0.0.1:${site.address().port}/`);
  await page.evaluate(async () => {
    const [{ Crier }, { fleet }] = await Promise.all([import('/crier.js'), import('/fleet.mjs')]);
    window.command = fleet(Crier, window.report);
  });
  report({ client: '', type: 'ready' });
  for await (const line of createInterface({ input: process.stdin })) {
    // What it does may take long: others go on meanwhile.
    await page.evaluate((command) => { window.command(command); }, JSON.parse(line));
  }
} finally {
  await browser.close();
  site.close();
}

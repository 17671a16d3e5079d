// clients/js reconnects or gives up, as the tables of docs/protocol.md say.
//
//   node final.mjs
//
// The first failure ends the script with exit code 1.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Crier } from '../../../clients/js/crier.js';

const page = readFileSync(new URL('../../../docs/protocol.md', import.meta.url), 'utf8');

// verdicts are the numbers of a table with whether the client reconnects.
function verdicts(heading) {
  const [, after] = page.split(`| ${heading} |\n`);
  const rows = after.split('\n\n', 1)[0].split('\n').map((row) => row.split('|'));
  return rows.filter(([, code]) => !code.includes('none'))
    .flatMap(([, code, , then]) => (code.match(/\d+/g) ?? []).map((n) => [Number(n), then.includes('reconnects')]));
}

// Fake is a WebSocket that ends with a code, or does not open if there is none.
const fake = (code) => class {
  constructor() {
    setTimeout(() => {
      if (!code) return this.onerror();
      this.readyState = 1;
      this.protocol = 'crier.v1';
      this.onopen();
      this.onmessage({ data: 'at: e-1\n' });
      return this.onclose({ code, reason: '' });
    });
  }

  close() {}
};

// reconnects makes a client, and reports what it does when its connection has ended.
async function reconnects(options) {
  const crier = new Crier('ws://localhost/', options);
  const { type } = await new Promise((resolve) => {
    for (const name of ['disconnect', 'close']) crier.addEventListener(name, resolve);
  });
  crier.close();
  return type === 'disconnect';
}

const codes = verdicts('code | when | the client');
const statuses = verdicts('status | why | the client');
assert.ok(codes.length >= 9 && statuses.length >= 9, 'the tables are there');
for (const [code, want] of codes) {
  assert.equal(await reconnects({ WebSocket: fake(code), token: () => 'another' }), want, `close code ${code}`);
}
assert.equal(await reconnects({ WebSocket: fake(4401), token: 'the same' }), false, '4401 without another token');
for (const [status, want] of statuses) {
  // The client sees the answer to a request for events, for which 426 means that there are only WebSockets.
  if (status === 426) continue;
  const fetch = async () => new Response('', { status });
  assert.equal(await reconnects({ WebSocket: fake(), fetch }), want, `status ${status}`);
}
console.log(`final: ${codes.length} codes, ${statuses.length} statuses`);

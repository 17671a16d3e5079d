'use strict';

// Messages of many sizes and kinds through a broadcaster that compresses:
//
//   node compress.js ws://127.0.0.1:PORT/
//
// Prints one line for each way to negotiate. The first failure ends the script with
// exit code 1. zlib checks that the server keeps to the window it was asked for.
const assert = require('node:assert/strict');
const { randomBytes } = require('node:crypto');
const { Peer } = require('./peer.js');

const SIZES = [0, 1, 16, 64, 256, 511, 512, 1024, 4096, 65535, 65536, 131072, 500000];
const KINDS = [
  (n) => Buffer.from('{"id":1,"text":"hello world"},'.repeat(n / 30 + 1).slice(0, n)),
  (n) => randomBytes(n),
  (n) => Buffer.from(randomBytes(n).toString('base64').slice(0, n)),
];

const WAYS = { none: false, default: true, 'no context takeover': { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 0 } };
for (let bits = 9; bits <= 15; bits++) {
  WAYS[`${bits} bits`] = { serverMaxWindowBits: bits, clientMaxWindowBits: bits };
}

async function main() {
  const url = process.argv[2];
  const receivers = {}; // One of each way hears all that the others send.
  for (const [way, perMessageDeflate] of Object.entries(WAYS)) {
    receivers[way] = await Peer.connect(url, [], { perMessageDeflate });
    const want = perMessageDeflate === false ? '' : 'permessage-deflate';
    assert.equal(receivers[way].socket.extensions, want, `extensions of ${way}`);
  }
  for (const [way, sender] of Object.entries(receivers)) {
    for (const size of SIZES) {
      for (const make of KINDS) {
        const bytes = make(size);
        sender.socket.send(bytes, { binary: true });
        for (const [other, receiver] of Object.entries(receivers)) {
          const { data, isBinary } = await receiver.next(`${size} bytes from ${way} at ${other}`);
          assert.ok(isBinary && data.equals(bytes), `${size} bytes from ${way} at ${other}`);
        }
      }
    }
    console.log(`${way}: ${SIZES.length * KINDS.length} messages to ${Object.keys(receivers).length} receivers`);
  }
  for (const receiver of Object.values(receivers)) {
    const { code } = await receiver.close(1000);
    assert.equal(code, 1000);
  }
}

main().catch((err) => {
  console.error(`FAIL: ${err.stack}`);
  process.exit(1);
});

'use strict';

// Stays connected until the server closes: node await_close.js ws://127.0.0.1:PORT/ CODE
// Prints "ready" once greeted; the exit code is 0 if the server closed with CODE.
const { Peer } = require('./peer.js');

async function main() {
  const [url, want] = process.argv.slice(2);
  const peer = await Peer.connect(url);
  console.log('ready');
  const { code } = await peer.closed;
  console.log(`closed ${code}`);
  if (code !== Number(want)) throw new Error(`closed with ${code}, want ${want}`);
}

main().catch((err) => {
  console.error(`FAIL: ${err.stack}`);
  process.exit(1);
});

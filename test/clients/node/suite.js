'use strict';

// Assertions of a real ws client against a broadcast server:
//
//   node suite.js [--binary kept|text] [--pings] [--limit BYTES] ws://127.0.0.1:PORT/
//
// Each check prints one line of what it observed to stdout, without times or
// ports, so that the lines of two servers can be compared. The first failure ends
// the script with exit code 1.
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { parseArgs } = require('node:util');
const { setTimeout: sleep } = require('node:timers/promises');
const WebSocket = require('ws');
const { Peer, within, WAIT_MS } = require('./peer.js');

const KOREAN = '안녕하세요 세계';
const IDLE_MS = 4000;
const AT_ONCE_MS = 3000;

const { values: flags, positionals: [url] } = parseArgs({
  allowPositionals: true,
  options: {
    binary: { type: 'string', default: 'kept' }, // kept: stays binary; text: comes as text
    pings: { type: 'boolean', default: false }, // the server pings at least every second
    proxy: { type: 'boolean', default: false }, // there is a proxy in front of the server
    limit: { type: 'string', default: '0' }, // longest message the server takes; 0: none
  },
});

// connectPair opens two peers: one sends, both receive.
const connectPair = async () => [await Peer.connect(url), await Peer.connect(url)];

async function expectAtBoth(peers, want) {
  for (const [i, peer] of peers.entries()) {
    assert.equal(await peer.text(`the message at peer ${i}`), want, `the message at peer ${i}`);
  }
}

async function closeAll(peers) {
  for (const peer of peers) {
    const { code } = await peer.close(1000);
    assert.equal(code, 1000, 'the echoed status');
  }
}

async function greeting() {
  const peer = new Peer(url);
  const first = await peer.next('the greeting');
  await closeAll([peer]);
  return `${first.isBinary ? 'binary' : 'text'} ${JSON.stringify(first.data.toString())}`;
}

async function broadcast() {
  const [a, b] = await connectPair();
  for (const [from, text] of [[a, 'from a'], [b, 'from b'], [a, '']]) {
    from.socket.send(text);
    await expectAtBoth([a, b], text);
  }
  await closeAll([a, b]);
  return 'sender and other receive text, an empty one too';
}

async function fragments() {
  const [a, b] = await connectPair();
  a.socket.send('first part, ', { fin: false });
  a.socket.send('second part, ', { fin: false });
  a.socket.send('last part', { fin: true });
  await expectAtBoth([a, b], 'first part, second part, last part');
  await closeAll([a, b]);
  return 'three frames arrive as one message';
}

async function large() {
  const [a, b] = await connectPair();
  const text = '0123456789'.repeat(2000);
  a.socket.send(text);
  await expectAtBoth([a, b], text);
  await closeAll([a, b]);
  return `${text.length} bytes`;
}

async function korean() {
  const [a, b] = await connectPair();
  a.socket.send(KOREAN);
  await expectAtBoth([a, b], KOREAN);
  await closeAll([a, b]);
  return KOREAN;
}

async function binary() {
  const [a, b] = await connectPair();
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  a.socket.send(bytes);
  const kept = flags.binary === 'kept';
  for (const peer of [a, b]) {
    const { data, isBinary } = await peer.next('the binary message');
    assert.equal(isBinary, kept, 'whether it came as binary');
    assert.deepEqual(data, kept ? bytes : Buffer.from(bytes.toString()), 'the bytes');
  }
  await closeAll([a, b]);
  return kept ? 'stays binary' : 'comes as text';
}

// order sends from two peers at once: everyone must see the same sequence, and in
// it the messages of one sender in the order in which they were sent.
async function order() {
  const peers = [...await connectPair(), await Peer.connect(url)];
  const each = 50;
  for (let i = 0; i < each; i += 1) {
    peers[0].socket.send(`a${i}`);
    peers[1].socket.send(`b${i}`);
  }
  const seen = peers.map(() => []);
  for (const [p, peer] of peers.entries()) {
    for (let i = 0; i < 2 * each; i += 1) seen[p].push(await peer.text(`message ${i}`));
    assert.deepEqual(seen[p], seen[0], `the sequence of peer ${p} against that of peer 0`);
  }
  for (const sender of ['a', 'b']) {
    assert.deepEqual(seen[0].filter((text) => text[0] === sender),
      Array.from({ length: each }, (_, i) => sender + i), `the messages of ${sender}`);
  }
  await closeAll(peers);
  return 'three peers see one order';
}

async function keepAlive() {
  const [a, b] = await connectPair();
  await sleep(IDLE_MS);
  for (const peer of [a, b]) {
    assert.equal(peer.socket.readyState, WebSocket.OPEN, 'the state of an idle connection');
    if (flags.pings) assert.ok(peer.pings >= 2, `${peer.pings} pings in ${IDLE_MS} ms`);
  }
  b.socket.send('still here');
  await expectAtBoth([a, b], 'still here');
  await closeAll([a, b]);
  return 'an idle connection stays open';
}

async function close() {
  const seen = [];
  for (const [code, reason] of [[1000, 'done'], [4001, 'mine'], [undefined, undefined]]) {
    const peer = await Peer.connect(url);
    const got = await peer.close(code, reason);
    assert.equal(got.code, code ?? 1005, 'the echoed status');
    seen.push(`${code ?? 'none'} -> ${got.code} ${JSON.stringify(got.reason)}`);
  }
  return seen.join(', ');
}

async function subprotocol() {
  const two = await Peer.connect(url, ['chat.v2', 'chat.v1']);
  const none = await Peer.connect(url);
  assert.equal(two.socket.protocol, 'chat.v2', 'the subprotocol of two offered');
  assert.equal(none.socket.protocol, '', 'the subprotocol of none offered');
  await closeAll([two, none]);
  return 'the first of two; none for none';
}

async function paths() {
  const deep = await Peer.connect(new URL('/some/where?room=1', url).href);
  const root = await Peer.connect(url);
  deep.socket.send('any path');
  await expectAtBoth([deep, root], 'any path');
  await closeAll([deep, root]);
  return 'any path is the same channel';
}

// tls dials wss on the plain port: it has to fail at once, not by the client's timeout.
async function tls() {
  const start = performance.now();
  const socket = new WebSocket(url.replace(/^ws:/, 'wss:'), {
    handshakeTimeout: WAIT_MS, rejectUnauthorized: false,
  });
  const opened = once(socket, 'open').then(() => { throw new Error('wss opened'); });
  const err = await within(opened.catch((cause) => cause), 'wss to fail');
  const took = Math.round(performance.now() - start);
  console.error(`tls: ${took} ms: ${err.code ?? ''} ${err.message}`);
  assert.doesNotMatch(err.message, /opened|waited|timed out/, 'the error of wss');
  assert.ok(took < AT_ONCE_MS, `failed after ${took} ms, want under ${AT_ONCE_MS}`);
  return 'fails at once';
}

async function limit() {
  const max = Number(flags.limit);
  let [a, b] = await connectPair();
  a.socket.send('x'.repeat(max));
  await expectAtBoth([a, b], 'x'.repeat(max));
  a.socket.send('x'.repeat(max + 1));
  let { code } = await within(a.closed, 'the close after a message over the limit');
  // A proxy that closes with unread bytes of the client resets the connection, now and then before the client has read
  // the close frame.
  for (let tries = 0; flags.proxy && code === 1006 && tries < 5; tries++) {
    a = await Peer.connect(url);
    a.socket.send('x'.repeat(max + 1));
    ({ code } = await within(a.closed, 'the close after a message over the limit'));
  }
  assert.equal(code, 1009, 'the status after a message over the limit');
  b.socket.send('others go on');
  await expectAtBoth([b], 'others go on');
  await closeAll([b]);
  return 'a message of the limit passes, one byte more is 1009';
}

async function main() {
  const checks = [greeting, broadcast, fragments, large, korean, binary, order,
    close, subprotocol, paths, tls, keepAlive];
  if (Number(flags.limit) > 0) checks.push(limit);
  for (const check of checks) {
    try {
      console.log(`${check.name}: ${await check()}`);
    } catch (err) {
      console.error(`FAIL ${check.name}: ${err.stack}`);
      process.exit(1);
    }
  }
}

main();

// clients/js and messages for one connection alone, which examples/embed/send sends.
//
//   node [--experimental-websocket] direct.mjs ws://HOST:PORT
//
// The first failure ends the script with exit code 1.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Crier } from '../../../clients/js/crier.js';

const url = process.argv[2];

// listen makes a client, and a function that returns the data of its next direct message.
function listen(options, at = url) {
  const crier = new Crier(at, options);
  const came = [];
  const waiting = [];
  crier.addEventListener('direct', ({ data }) => (waiting.shift() ?? ((one) => came.push(one)))(data));
  const next = async () => came.shift() ?? new Promise((resolve) => { waiting.push(resolve); });
  return { crier, next, came };
}

// A server sends them over both kinds of connections.
const socket = listen({ transport: 'websocket' });
const events = listen({ transport: 'events' });
for (const { next } of [socket, events]) assert.match(await next(), /^welcome: /);

// They are no messages: they have no id, change no place, and iterators do not get them.
const items = socket.crier[Symbol.asyncIterator]();
const before = socket.crier.id;
socket.crier.send('time');
assert.match(await socket.next(), /^\d{4}-\d\d-\d\dT/);
assert.equal(socket.crier.id, before);
const published = once(events.crier, 'message');
socket.crier.send('to all');
const { value } = await items.next();
assert.deepEqual([value.type, value.data], ['message', 'to all']);
assert.equal((await published)[0].data, 'to all');
assert.deepEqual([socket.came, events.came], [[], []], 'nobody else gets the answer');
for (const { crier } of [socket, events]) crier.close();

// As events they can be bytes, or a text in base64.
const stream = 'retry: 1000\nid: e-7\n\nevent: binary\ndata: AP8=\n\nevent: text\ndata: DQo=\n\ndata: a\ndata: b\n\n';
const canned = listen({
  transport: 'events',
  fetch: async () => new Response(stream, { headers: { 'Content-Type': 'text/event-stream' } }),
}, 'http://localhost/');
assert.deepEqual([...await canned.next()], [0, 255]);
assert.equal(await canned.next(), '\r\n');
assert.equal(await canned.next(), 'a\nb');
assert.equal(canned.crier.id, 'e-7');
canned.crier.close();
console.log('direct: over a WebSocket and as events; text, bytes and base64');

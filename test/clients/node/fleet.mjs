// Clients of clients/js that do what they are told, in Node and in a page: fleet returns a
// function that takes commands, and calls report with all that happens, as JSON can have it.
//
//   {op: 'open', client, url, options, tokens, iterate}
//   {op: 'send', client, data}
//   {op: 'read', client, n}    takes so many from its iterator
//   {op: 'close', client}
//   {op: 'online'}             the page is told that there is a network
//   {op: 'sleep'}              the clock goes on, and nothing else does
//
// fleet_page.mjs takes out site, the origin whose page does it, if not one of its own.

const base64 = (bytes) => btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(''));

// flat is an event as JSON can have it.
function flat({ type, id, data, from, to, transport, code, reason, status, retryIn }) {
  const binary = data instanceof Uint8Array;
  return {
    type, id, from, to, transport, code, reason, status, binary,
    data: binary ? base64(data) : data,
    retryIn: retryIn === Infinity ? -1 : retryIn,
  };
}

export function fleet(Crier, report, defaults = {}) {
  const clients = new Map();

  function open({ client: name, url, options = {}, tokens, iterate = false }) {
    const token = tokens && (async () => (tokens.length > 1 ? tokens.shift() : tokens[0]));
    const crier = new Crier(url, { ...defaults, ...(token && { token }), ...options });
    const events = ['open', 'disconnect', 'close', ...(iterate ? [] : ['message', 'gap'])];
    for (const type of events) {
      crier.addEventListener(type, (event) => report({ client: name, ...flat(event) }));
    }
    clients.set(name, { crier, iterator: iterate && crier[Symbol.asyncIterator]() });
  }

  async function read(name, n) {
    const { iterator } = clients.get(name);
    for (let i = 0; i < n; i += 1) {
      const { value, done } = await iterator.next();
      report(done ? { client: name, type: 'done' } : { client: name, ...flat(value) });
    }
  }

  return async (command) => {
    const { op, client: name, data, n } = command;
    try {
      if (op === 'open') open(command);
      if (op === 'send') clients.get(name).crier.send(data);
      if (op === 'close') clients.get(name).crier.close();
      if (op === 'read') await read(name, n);
      if (op === 'online') window.dispatchEvent(new Event('online'));
      if (op === 'sleep') {
        const { now } = Date;
        Date.now = () => now() + 200_000;
      }
    } catch (err) {
      report({ client: name, type: 'error', reason: err.message, data }); // What was not sent.
    }
  };
}

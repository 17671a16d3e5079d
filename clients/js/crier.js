/**
 * A client of a crier server. It resumes after the last message that it got, over a WebSocket with
 * the subprotocol crier.v1 or, where WebSockets are blocked, over server-sent events.
 * docs/protocol.md specifies the protocol; README.md says how to use the client.
 *
 * @module
 */

const PROTOCOL = 'crier.v1';

const DEFAULTS = { backoff: 500, maxBackoff: 30_000, timeout: 15_000, buffer: 1 << 20, transport: 'auto' };

// How long nothing may arrive, in ms. Events have visible heartbeats, every 30 s by default. The
// pings of a WebSocket are invisible, and a check costs a connection.
const SILENCE = { events: 90_000, websocket: 300_000 };

// If a timer is this late, in ms, the machine slept.
const ASLEEP = 120_000;

// After these codes another try would end in the same way (RFC 6455, section 7.4.1), or somebody
// closed the connection on purpose (4000 and above).
const isFinal = (code) => [1002, 1003, 1007, 1009, 1010].includes(code) || code >= 4000;

// Statuses from 400 to 499 that are not final: temporary ones, and 426, which a server without
// server-sent events answers.
const PASSING = [408, 425, 426, 429];

/** Returns a Retry-After in ms, or 0 for none: RFC 9110, section 10.2.3. */
const retryAfter = (value) => Math.max(0, value * 1000 || Date.parse(value) - Date.now()) || 0;

const bytesOf = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

/** Keeps a byte order mark: it is a part of the message. */
const decoder = () => new TextDecoder('utf-8', { ignoreBOM: true });

const weight = ({ data = '' }) => data.length + 100;

/** Wakes all that wait for a queue. */
const wake = ({ waiting }) => { for (const resolve of waiting.splice(0)) resolve(); };

/** Ends a link. Whatever arrives on it afterwards is ignored. */
function shut(link) {
  if (!link || link.gone) return;
  link.gone = true;
  clearTimeout(link.timer);
  link.drop();
}

/**
 * A subscription to a channel. Events: open, message, direct, gap, disconnect, close; see crier.d.ts.
 *
 * A link is a connection of either kind. There are at most two: the one that messages arrive on, and
 * one that is being opened. To check a silent link, the client opens a second one after the newest
 * ID. If the second one opens first, it replaces the silent one; if anything arrives on the silent
 * one first, the second one is closed. Either way, no message is lost or arrives twice.
 */
export class Crier extends EventTarget {
  #set; // The options.
  #url; // Without since and last.
  #id; // Of the newest message: where to begin.
  #last; // How many messages back to begin, while there is no id.
  #link; // The link that is open.
  #next; // The link that is being opened.
  #opened = false; // Some link has been open.
  #blocked = 0; // WebSockets in a row that did not open.
  #tries = 0; // Waits since the last message.
  #timer; // For the next connection.
  #hasty; // The wait may be cut short.
  #ticker;
  #ticked = Date.now();
  #queues = new Set(); // One for each iterator.
  #paused = false; // One of them is full.
  #closed = null;
  #page = new AbortController(); // Ends the listeners on the page.

  /**
   * @param {string | URL} url of the channel: ws, wss, http or https
   * @param {import('./crier.js').CrierOptions} [options]
   */
  constructor(url, options) {
    super();
    this.#set = { ...DEFAULTS, WebSocket: globalThis.WebSocket, fetch: globalThis.fetch };
    for (const name in options) if (options[name] !== undefined) this.#set[name] = options[name];
    this.#need();
    this.#url = new URL(url, globalThis.location?.href);
    if (!/^(ws|http)s?:$/.test(this.#url.protocol)) throw new TypeError(`crier: not the address of a channel: ${url}`);
    this.#url.hash = '';
    const query = this.#url.searchParams;
    this.#id = this.#set.since ?? query.get('since') ?? undefined;
    this.#last = this.#set.last ?? query.get('last') ?? undefined;
    // Only if needed: delete rewrites the whole query.
    for (const name of ['since', 'last']) if (query.has(name)) query.delete(name);
    this.#watch();
    this.#connect();
  }

  // need throws at once if the platform lacks what the transport needs.
  #need() {
    const { transport, WebSocket, fetch } = this.#set;
    if (transport === 'events' ? !fetch : !WebSocket) {
      throw new TypeError(transport === 'events' ? 'crier: there is no fetch here: pass one as the option fetch'
        : 'crier: there is no WebSocket here: use Node 22, start Node 20 with --experimental-websocket, '
          + "pass that of the package ws as the option WebSocket, or only receive, with the option transport: 'events'");
    }
  }

  /** The newest ID. The next connection begins after it. */
  get id() { return this.#id; }

  /** The contents of the close event, or null before it. */
  get closed() { return this.#closed; }

  /** Publishes. Throws if there is no connection: nothing is queued. */
  send(data) {
    const ws = this.#link?.ws;
    if (ws?.readyState !== 1) {
      throw new Error(this.#link?.events ? 'crier: server-sent events cannot publish' : 'crier: not connected');
    }
    ws.send(data);
  }

  /** Closes the connection for good. */
  close() { this.#finish({ code: 1000 }); }

  /** Yields all further messages and gaps, in order, until the client is closed. */
  [Symbol.asyncIterator]() {
    const queue = { items: [], size: 0, waiting: [], ended: false };
    this.#queues.add(queue);
    return {
      next: async () => {
        while (!queue.items.length && !this.#closed && !queue.ended) {
          await new Promise((resolve) => { queue.waiting.push(resolve); });
        }
        const value = queue.items.shift();
        if (!value) return { value, done: true };
        queue.size -= weight(value);
        this.#resume();
        return { value, done: false };
      },
      return: async (value) => {
        queue.ended = true;
        queue.items = [];
        this.#queues.delete(queue);
        wake(queue);
        this.#resume();
        return { value, done: true };
      },
      [Symbol.asyncIterator]() { return this; },
    };
  }

  // resume reconnects after a pause, when all iterators have read enough of their buffers.
  #resume() {
    if (!this.#paused || this.#closed || [...this.#queues].some(({ size }) => size > this.#set.buffer / 2)) return;
    this.#paused = false;
    this.#later(Math.random() * this.#set.backoff);
  }

  #emit(type, detail) {
    const event = Object.assign(new Event(type), detail);
    this.dispatchEvent(event);
    return event;
  }

  // watch checks links for silence, and listens to the page for changes of the network.
  #watch() {
    const { silence } = this.#set;
    const every = Math.min(15_000, (silence ?? Infinity) / 4);
    const tick = () => {
      const now = Date.now();
      const asleep = now - this.#ticked > every + ASLEEP;
      this.#ticked = now;
      if (asleep || now - this.#link?.seen > this.#link?.patience) this.#check();
    };
    const hurry = () => {
      if (this.#hasty) this.#later(Math.random() * this.#set.backoff);
    };
    if (every) this.#ticker = setInterval(tick, every);
    const { signal } = this.#page;
    globalThis.addEventListener?.('online', () => { this.#check(); hurry(); }, { signal });
    globalThis.document?.addEventListener('visibilitychange', () => {
      if (!document.hidden) { tick(); hurry(); }
    }, { signal });
  }

  // check opens a second link, to replace the one that is open.
  #check() {
    if (this.#link && !this.#next) this.#start(this.#link.events);
  }

  #later(wait, hasty = false) {
    clearTimeout(this.#timer);
    this.#hasty = hasty;
    this.#timer = setTimeout(() => this.#connect(), Math.min(wait, 2 ** 31 - 1));
  }

  #connect() {
    this.#hasty = false;
    this.#start(this.#set.transport === 'events');
  }

  // start opens a link. A probe, which is how a WebSocket ended that did not open, asks for events
  // only to learn the status: no platform shows the status of a refused WebSocket.
  async #start(events, probe) {
    const { token, timeout } = this.#set;
    const link = { events, probe, drop() {} };
    this.#next = link;
    link.timer = setTimeout(() => this.#ended(link, { code: 1006, reason: 'timeout' }), timeout);
    let fatal = false;
    try {
      const word = await (typeof token === 'function' ? token() : token);
      if (link.gone) return;
      fatal = !events; // The page may not open this WebSocket, or the token is malformed.
      await (events ? this.#readEvents(link, word) : this.#readSocket(link, word));
    } catch (err) {
      this.#ended(link, { code: 1006, reason: String(err), fatal });
    }
  }

  #address(scheme) {
    const url = new URL(this.#url.href.replace(/^(ws|http)/, scheme));
    const begin = this.#id === undefined ? ['last', this.#last] : ['since', this.#id];
    if (begin[1] !== undefined) url.search += `${url.search && '&'}${begin[0]}=${encodeURIComponent(begin[1])}`;
    return url.href;
  }

  #readSocket(link, token) {
    const protocols = token ? [PROTOCOL, `bearer.${token}`] : [PROTOCOL];
    const ws = new this.#set.WebSocket(this.#address('ws'), protocols);
    link.ws = ws;
    link.drop = () => ws.close();
    ws.binaryType = 'arraybuffer';
    ws.onopen = () => {
      if (ws.protocol === PROTOCOL) return;
      this.#ended(link, { code: 1002, reason: `the server does not speak ${PROTOCOL}` });
    };
    ws.onmessage = ({ data }) => this.#frame(link, data);
    // Node 20 has no other event for a failed connection.
    ws.onerror = () => this.#ended(link, { code: 1006 });
    ws.onclose = ({ code, reason }) => this.#ended(link, { code, reason });
  }

  // frame splits a message into its line of ASCII and what was published.
  #frame(link, data) {
    const text = typeof data === 'string';
    const all = text ? data : new Uint8Array(data);
    const end = all.indexOf(text ? '\n' : 10);
    const first = all.slice(0, Math.max(0, end));
    const [word, id, to] = (text ? first : decoder().decode(first)).split(/:? /);
    this.#take(link, word, id, to, all.slice(end + 1));
  }

  async #readEvents(link, token) {
    const { fetch } = this.#set;
    const stop = new AbortController();
    link.drop = () => stop.abort();
    const headers = { Accept: 'text/event-stream', ...(token && { Authorization: `Bearer ${token}` }) };
    const answer = await fetch(this.#address('http'), { headers, cache: 'no-store', signal: stop.signal });
    const { status } = answer;
    if (status !== 200 || !/^text\/event-stream/i.test(answer.headers.get('Content-Type'))) {
      return this.#refused(link, status, retryAfter(answer.headers.get('Retry-After')));
    }
    const reader = answer.body.getReader();
    const text = decoder();
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      this.#take(link); // Heartbeats count, too.
      const more = text.decode(value, { stream: true });
      rest += more;
      if (!more.includes('\n')) continue; // Splits a long line once, when it is complete.
      const lines = rest.split('\n');
      rest = lines.pop();
      for (const line of lines) this.#line(link, line);
    }
    this.#ended(link, { code: 1006, reason: 'the answer ended', ...link.refused });
  }

  // refused handles a status other than 200. Once a link has been open, statuses prove nothing about
  // WebSockets, except that a fixed token is refused.
  #refused(link, status, after) {
    const { token, transport } = this.#set;
    const fatal = status === 401 && token ? typeof token === 'string'
      : status >= 400 && status < 500 && !PASSING.includes(status) && (transport === 'events' || !this.#opened);
    this.#ended(link, { code: 1006, reason: `HTTP ${status}`, status, after, fatal });
  }

  // line parses a line of an event: HTML, section 9.2.6, as far as crier uses it.
  #line(link, line) {
    const event = link.event ??= {};
    if (line) {
      const [name] = line.split(':', 1);
      const value = line.slice(name.length + 1).replace(/^ /, '');
      event[name] = name === 'data' && event.data !== undefined ? `${event.data}\n${value}` : value;
      return;
    }
    link.event = undefined;
    const { id, event: type, data } = event;
    if (type === 'close') this.#ended(link, { code: parseInt(data, 10), reason: data.slice(5) });
    else if (type === 'gap') this.#take(link, type, ...data.split(' '));
    else if (type === 'binary') this.#take(link, id ? 'id' : 'direct', id, '', bytesOf(data));
    else if (type === 'text') this.#take(link, id ? 'id' : 'direct', id, '', decoder().decode(bytesOf(data)));
    else if (!type && id) this.#take(link, data === undefined ? 'at' : 'id', id, '', data);
    else if (!type && data !== undefined) this.#take(link, 'direct', '', '', data);
    else if (event.retry) { // Refused for now: a comment has the status, and the answer ends.
      const status = parseInt(event[''], 10) || undefined;
      link.refused = { reason: `HTTP ${status}`, status, after: Number(event.retry) || 0 };
    }
  }

  // take handles a message of either kind of link. Without a word, it only notes a sign of life.
  #take(link, word, id, to, data) {
    if (link.gone) return;
    link.seen = Date.now();
    if (link === this.#next) {
      if (word === 'at') this.#open(link, id);
      return;
    }
    this.#next = shut(this.#next); // The link that it was to replace is alive.
    if (word === 'id') {
      this.#id = id;
      this.#tries = 0;
      this.#deliver('message', { id, data });
    } else if (word === 'gap') {
      this.#id = to;
      this.#deliver('gap', { from: id === '-' ? null : id, to });
    } else if (word === 'direct') {
      this.#emit('direct', { data });
    }
  }

  // open makes a link the current one. It sets the ID only if there is none: a gap may follow, which
  // would be missed if the connection broke before.
  #open(link, id) {
    if (link.probe) return this.#ended(link, link.probe);
    clearTimeout(link.timer);
    const old = this.#link;
    const transport = link.events ? 'events' : 'websocket';
    this.#link = link;
    this.#next = undefined;
    this.#opened = true;
    this.#id ??= id;
    link.began = link.seen;
    link.patience = (this.#set.silence ?? SILENCE[transport]) * (1 + Math.random() / 4) || Infinity;
    if (!link.events) this.#blocked = 0;
    if (old) shut(old);
    else this.#emit('open', { transport });
  }

  #deliver(type, detail) {
    const event = this.#emit(type, detail);
    for (const queue of this.#queues) {
      queue.items.push(event);
      queue.size += weight(event);
      wake(queue);
      if (queue.size > this.#set.buffer && this.#link) this.#pause();
    }
  }

  // pause disconnects, so that what does not fit stays at the server.
  #pause() {
    this.#paused = true;
    this.#shutAll();
    this.#emit('disconnect', { code: 1000, reason: 'an iterator is behind', retryIn: Infinity });
  }

  #shutAll() {
    shut(this.#link);
    shut(this.#next);
    this.#link = this.#next = undefined;
  }

  // ended decides what follows a link that has ended: nothing, or another one, now or later.
  #ended(link, end) {
    if (link.gone) return;
    shut(link);
    if (link === this.#next) {
      this.#next = undefined;
      if (link.ws && end.code === 1006 && this.#set.fetch) {
        this.#blocked += 1;
        const instead = this.#set.transport === 'auto' && this.#blocked > 1 && !this.#link;
        return void this.#start(true, instead ? undefined : end);
      }
      if (this.#link && end.status) { // The server answers, so the old one may well be alive.
        this.#link.seen = Date.now();
        return;
      }
    }
    const { backoff, maxBackoff, token } = this.#set;
    if (Date.now() - this.#link?.began > maxBackoff) this.#tries = 0;
    this.#shutAll();
    const { code, reason = '', status, after = 0 } = end;
    const expired = code === 4401 && typeof token === 'function';
    if (end.fatal || (isFinal(code) && !expired)) return this.#finish(end);
    // Full jitter: clients that were lost together must not reconnect together.
    let retryIn = after + Math.random() * Math.min(maxBackoff, backoff * 2 ** this.#tries);
    if (code === 1008) retryIn = maxBackoff * (1 + Math.random());
    if (expired && !this.#tries) retryIn = 0;
    this.#tries += 1;
    this.#later(retryIn, !after && code !== 1008);
    this.#emit('disconnect', { code, reason, status, retryIn });
  }

  #finish({ code, reason = '', status }) {
    if (this.#closed) return;
    this.#closed = { code, reason, status };
    this.#shutAll();
    clearTimeout(this.#timer);
    clearInterval(this.#ticker);
    this.#page.abort();
    for (const queue of this.#queues) wake(queue);
    this.#emit('close', this.#closed);
  }
}

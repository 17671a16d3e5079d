/**
 * A client of a crier server: it comes back behind the last message that it got, over a
 * WebSocket with the subprotocol crier.v1 or, where those do not get through, over
 * server-sent events. docs/protocol.md is what goes over the wire, README.md how to use this.
 *
 * @module
 */

const PROTOCOL = 'crier.v1';

const DEFAULTS = { backoff: 500, maxBackoff: 30_000, timeout: 15_000, buffer: 1 << 20, transport: 'auto' };

// How long nothing may come. Heartbeats of events are seen, every 30 s by default; pings of a
// WebSocket are not, and to look costs a connection.
const SILENCE = { events: 90_000, websocket: 300_000 };

// A timer that is so late was not late by itself: the machine slept.
const ASLEEP = 120_000;

// After these it would happen again: RFC 6455, section 7.4.1. From 4000 on somebody closed it
// on purpose.
const isFinal = (code) => [1002, 1003, 1007, 1009, 1010].includes(code) || code >= 4000;

// Not fatal among the statuses that blame the request: those that pass, and 426, which is the
// answer of a server that has WebSockets only.
const PASSING = [408, 425, 426, 429];

/** How long a Retry-After is, in ms: RFC 9110, section 10.2.3. 0 for none. */
const retryAfter = (value) => Math.max(0, value * 1000 || Date.parse(value) - Date.now()) || 0;

const bytesOf = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

/** A message may begin with what looks like a byte order mark. */
const decoder = () => new TextDecoder('utf-8', { ignoreBOM: true });

const weight = ({ data = '' }) => data.length + 100;

/** Tells those who wait for a queue to look again. */
const wake = ({ waiting }) => { for (const resolve of waiting.splice(0)) resolve(); };

/** Ends a link; nothing that comes of it counts any more. */
function shut(link) {
  if (!link || link.gone) return;
  link.gone = true;
  clearTimeout(link.timer);
  link.drop();
}

/**
 * A subscription to a channel. Events: open, message, direct, gap, disconnect, close; see crier.d.ts.
 *
 * Of the links, which are connections of either kind, there are two at the most: what messages
 * come over, and the one that is being opened. That is how a silent connection is looked
 * after: one behind the newest id is opened beside it. If that opens first, it takes over; if
 * anything comes over the old one first, it is given up. Either way no message is lost or twice.
 */
export class Crier extends EventTarget {
  #set; // The options.
  #url; // Without since and last.
  #id; // Of the newest message that came; where to begin.
  #last; // How many messages back to begin, while there is no id.
  #link; // The link that is open.
  #next; // The link that is being opened.
  #opened = false; // Some link has been open.
  #blocked = 0; // WebSockets in a row that did not open.
  #tries = 0; // Waits since the last message.
  #timer; // Of the wait.
  #hasty; // It may be cut short.
  #ticker;
  #ticked = Date.now();
  #queues = new Set(); // Of the iterators.
  #paused = false; // One of them is full.
  #closed = null;
  #page = new AbortController(); // Of what listens to the page.

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
    // Only then, since it writes all of the query anew.
    for (const name of ['since', 'last']) if (query.has(name)) query.delete(name);
    this.#watch();
    this.#connect();
  }

  // need throws if the platform lacks what the transport needs: later would be too late to notice.
  #need() {
    const { transport, WebSocket, fetch } = this.#set;
    if (transport === 'events' ? !fetch : !WebSocket) {
      throw new TypeError(transport === 'events' ? 'crier: there is no fetch here: pass one as the option fetch'
        : 'crier: there is no WebSocket here: use Node 22, start Node 20 with --experimental-websocket, '
          + "pass that of the package ws as the option WebSocket, or only receive, with the option transport: 'events'");
    }
  }

  /** The id behind which it goes on: of the newest message. */
  get id() { return this.#id; }

  /** What the close event said, or null before it. */
  get closed() { return this.#closed; }

  /** Publishes. What is sent when it is not connected is not kept for later: it throws. */
  send(data) {
    const ws = this.#link?.ws;
    if (ws?.readyState !== 1) {
      throw new Error(this.#link?.events ? 'crier: server-sent events cannot publish' : 'crier: not connected');
    }
    ws.send(data);
  }

  /** Ends it. */
  close() { this.#finish({ code: 1000 }); }

  /** Messages and gaps from now on, in order, until it is closed. */
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

  // resume connects again when those who were behind have read half of it.
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

  // watch looks after silence, and after what the page says of the network.
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

  // check opens a link in the place of the one that is open.
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

  // start opens a link. A probe only asks how the server answers: it is how a WebSocket ended
  // that did not open, which does not tell.
  async #start(events, probe) {
    const { token, timeout } = this.#set;
    const link = { events, probe, drop() {} };
    this.#next = link;
    link.timer = setTimeout(() => this.#ended(link, { code: 1006, reason: 'timeout' }), timeout);
    let fatal = false;
    try {
      const word = await (typeof token === 'function' ? token() : token);
      if (link.gone) return;
      fatal = !events; // A page that must not have this WebSocket, or a token that is none.
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
    // Node 20 says nothing else of a connection that failed.
    ws.onerror = () => this.#ended(link, { code: 1006 });
    ws.onclose = ({ code, reason }) => this.#ended(link, { code, reason });
  }

  // frame takes a message apart: a line of ASCII, and what was published.
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
      this.#take(link); // Be it a heartbeat.
      const more = text.decode(value, { stream: true });
      rest += more;
      if (!more.includes('\n')) continue; // A long line is put together once.
      const lines = rest.split('\n');
      rest = lines.pop();
      for (const line of lines) this.#line(link, line);
    }
    this.#ended(link, { code: 1006, reason: 'the answer ended', ...link.refused });
  }

  // refused: once a WebSocket has been open, what other requests are told proves nothing, but for a
  // token that is no good any more.
  #refused(link, status, after) {
    const { token, transport } = this.#set;
    const fatal = status === 401 && token ? typeof token === 'string'
      : status >= 400 && status < 500 && !PASSING.includes(status) && (transport === 'events' || !this.#opened);
    this.#ended(link, { code: 1006, reason: `HTTP ${status}`, status, after, fatal });
  }

  // line takes a line of an event: HTML, section 9.2.6, as far as crier makes use of it.
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
    else if (event.retry) { // Refused for now: the status stands in a comment, and the answer ends.
      const status = parseInt(event[''], 10) || undefined;
      link.refused = { reason: `HTTP ${status}`, status, after: Number(event.retry) || 0 };
    }
  }

  // take takes what came, of either kind of link, or that anything came.
  #take(link, word, id, to, data) {
    if (link.gone) return;
    link.seen = Date.now();
    if (link === this.#next) {
      if (word === 'at') this.#open(link, id);
      return;
    }
    this.#next = shut(this.#next); // What it was to replace is alive.
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

  // open makes a link the one that counts. A new id is not taken from it if there is one: the
  // gap that lies between comes next, and would be missed if the connection broke before.
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

  // pause: what would not fit stays with the server.
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

  // ended decides what comes after a link that has ended: nothing, another one now, or later.
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
    // Full jitter: those that were lost together do not come back together.
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

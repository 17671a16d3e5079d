import { Crier } from '../../clients/js/crier.js';

const KEPT = 5 * 60_000; // How long samples are kept for the graphs, in ms.
const LEAST = 60_000; // How much time the graphs have room for at least.
const SLACK = 1500; // Samples are kept that much longer, so that the oldest one is never younger than KEPT.
const PATIENCE = 5000; // Without a snapshot for that long, the server is taken for gone.
const GRAPHS = ['open', 'messages', 'deliveries', 'p99', 'lag'];

const $ = (id) => document.getElementById(id);

// What comes from peers (channels, addresses) is text and never markup: textContent, and nothing else.
const put = (id, text) => {
  if ($(id).textContent !== text) $(id).textContent = text;
};

const whole = (n) => Math.round(n).toLocaleString('en');

function rate(n) {
  if (n > 0 && n < 0.1) return '< 0.1';
  return n > 0 && n < 10 ? n.toFixed(n < 1 ? 2 : 1) : whole(n);
}

function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i += 1) n /= 1024;
  return `${i && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

function span(seconds) {
  if (!seconds) return '–';
  const [n, unit] = seconds < 0.001 ? [seconds * 1e6, 'µs'] : seconds < 1 ? [seconds * 1e3, 'ms'] : [seconds, 's'];
  return `${n < 10 ? n.toFixed(1) : Math.round(n)} ${unit}`;
}

// longSpan writes a time of whole seconds, with its two largest units.
function longSpan(seconds) {
  const units = [['d', 86_400], ['h', 3600], ['min', 60], ['s', 1]];
  const i = Math.max(0, units.findIndex(([, size]) => seconds >= size));
  if (seconds < 1) return '0 s';
  const parts = [];
  let left = Math.floor(seconds);
  for (const [unit, size] of units.slice(i, i + 2)) {
    const n = Math.floor(left / size);
    left -= n * size;
    if (n) parts.push(`${n} ${unit}`);
  }
  return parts.join(' ');
}

const SHOWN = { open: whole, messages: rate, deliveries: rate, p99: span, lag: bytes };

const of = (n, most) => (most ? `${n} of ${most}` : n);
const clock = (at) => at.toLocaleTimeString('en-GB'); // HH:MM:SS
const named = (channel) => channel || '(no name)';

// The samples that the graphs show, oldest first. Rates are since the sample before; null where there is none.
let samples = [];
let last = null; // The newest snapshot.
let seen = null; // When it came: a Date, and of the clock that is not set.
let seenAt = -Infinity;
let target = null; // What the dialog asks about: see ask.

// follows reports whether s is a later snapshot or sample of the same server. Another server counts from 0; and
// after the clock was set back, the time between the two is unknown.
const follows = (s, before) => s.time > before.time && s.messages >= before.messages;

// sampleOf makes a sample of a snapshot, or of a sample of the history.
function sampleOf(s, before) {
  const per = (name) => (before ? 1000 * (s[name] - before.totals[name]) / (s.time - before.time) : null);
  return {
    time: s.time, open: s.open, messages: per('messages'), deliveries: per('deliveries'), p99: s.p99,
    lag: s.slowest_bytes, disconnects: s.disconnects, totals: { messages: s.messages, deliveries: s.deliveries },
  };
}

function take(snapshot) {
  seen = new Date();
  seenAt = performance.now();
  if (last && snapshot.started === last.started && snapshot.time === last.time) return;
  if (last && (snapshot.started !== last.started || !follows(snapshot, last))) {
    samples = [];
    last = null;
  }
  if (!last || fresh) loadHistory(snapshot.started);
  fresh = false;
  samples.push(sampleOf(snapshot, samples.at(-1)));
  forget(snapshot.time);
  last = snapshot;
  later();
}

// forget drops the samples that are too old to be shown.
function forget(now) {
  while (samples[0].time < now - KEPT - SLACK) samples.shift();
}

// fresh is true until the first snapshot of a connection has come.
let fresh = true;

// loadHistory puts the server's own samples in place of those here that are not newer: they reach back to before
// the page was opened, and have no hole where the connection was lost.
async function loadHistory(started) {
  let history;
  try {
    const answer = await fetch(new URL('v1/live/history', location.href), { headers: authorization() });
    if (!answer.ok) return;
    history = JSON.parse(await answer.text());
  } catch {
    return; // The graphs begin with what has come here.
  }
  if (history.started !== started || last?.started !== started || !history.samples.length) return;
  const end = history.samples.at(-1).time;
  const newer = samples.filter((s) => s.time > end);
  samples = [];
  for (const s of history.samples) {
    if (samples.length && !follows(s, { time: samples.at(-1).time, ...samples.at(-1).totals })) samples = [];
    samples.push(sampleOf(s, samples.at(-1)));
  }
  for (const s of newer) samples.push(sampleOf({ ...s, ...s.totals, slowest_bytes: s.lag }, samples.at(-1)));
  forget(last.time);
  later();
}

// later shows it when all that has come is taken.
let waiting;
function later() {
  waiting ??= setTimeout(() => {
    waiting = undefined;
    show();
  });
}

function show() {
  const s = last;
  if (!s) return;
  const now = samples.at(-1);
  $('main').hidden = false;
  put('node', s.node);
  put('version', s.version);
  put('uptime', `· up ${longSpan((s.time - s.started) / 1000)}`);
  put('open', whole(s.open));
  const kinds = Object.entries(s.open_by_kind).filter(([, n]) => n).sort(([, a], [, b]) => b - a).map(([kind, n]) => `${whole(n)} ${kind}`);
  put('kinds', [...kinds, s.max_connections ? `max ${whole(s.max_connections)}` : ''].filter(Boolean).join(' · '));
  for (const name of ['messages', 'deliveries']) {
    put(name, now[name] === null ? '–' : rate(now[name]));
    put(`${name}-total`, whole(s[name]));
  }
  put('bytes-in', bytes(s.bytes_in));
  put('bytes-out', bytes(s.bytes_out));
  put('p99', span(s.p99));
  put('p50', span(s.p50));
  put('lag', bytes(s.slowest_bytes));
  $('lag').title = `${whole(s.slowest_bytes)} bytes`;
  const held = [`publishers blocked: ${whole(s.held)}`, `${whole(s.holds)} in total`];
  if (s.rate_holds) held.push(`${whole(s.rate_holds)} by --rate`);
  put('holds', held.join(', ') + (s.skips ? ` · ${whole(s.skips)} skips` : ''));
  put('memory', of(bytes(s.resident), s.memory && bytes(s.memory)));
  put('fds', s.fds < 0 ? '–' : of(whole(s.fds), s.max_fds && whole(s.max_fds)));
  put('log', bytes(s.log_bytes));
  put('workers', `${of(whole(s.busy), whole(s.workers))}${s.queued ? `, ${whole(s.queued)} queued` : ''}`);
  put('handshakes', whole(s.handshakes));
  put('channels-total', whole(s.channels));
  for (const name of GRAPHS) draw(name);
  showSlowest(s.slowest);
  showChannels(s.largest);
  showEnded(s.disconnects);
  showCluster(s.cluster);
  state();
}

// covered is how much time the samples cover, in ms, and shownTime how much the graphs have room for.
const covered = () => Math.min(KEPT, last.time - samples[0].time);
const shownTime = () => Math.max(LEAST, last.time - samples[0].time);

// within says of which time a peak or a sum is.
function within() {
  const seconds = Math.round(covered() / 1000);
  return seconds ? ` in ${longSpan(seconds)}` : '';
}

// draw draws a graph: the newest sample is at its right. Where there is no figure is a gap.
function draw(name) {
  const end = samples.at(-1).time;
  const width = shownTime();
  const peak = Math.max(...samples.map((s) => s[name] ?? 0));
  let line = '';
  let area = '';
  let from = null;
  let x = 0;
  const close = () => {
    if (from !== null) area += `L${x} 40L${from} 40Z`;
    from = null;
  };
  for (const s of samples) {
    if (s[name] === null || s[name] === undefined) {
      close();
      continue;
    }
    x = (300 * (1 - (end - s.time) / width)).toFixed(1);
    const at = `${x} ${(38 - 36 * (peak && s[name] / peak)).toFixed(1)}`;
    line += (from === null ? 'M' : 'L') + at;
    area += from === null ? `M${x} 40L${at}` : `L${at}`;
    from ??= x;
  }
  close();
  $(`graph-${name}`).querySelector('.line').setAttribute('d', line);
  $(`graph-${name}`).querySelector('.area').setAttribute('d', area);
  put(`peak-${name}`, `peak ${SHOWN[name](peak)}${within()}`);
}

function element(tag, className, text = '') {
  const e = document.createElement(tag);
  e.className = className;
  e.textContent = text;
  return e;
}

// rows makes a table's rows those of a list. A row stays what it is as long as its key is
// there, and keeps the focus. When it goes, its table's title has that.
function rows(id, list, key, make, fill) {
  const body = $(id).tBodies[0];
  const focused = body.contains(document.activeElement) ? document.activeElement : null;
  const old = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const fresh = list.map((item) => {
    const row = old.get(key(item)) ?? Object.assign(make(), { item });
    row.dataset.key = key(item);
    row.item = item;
    fill(row, item);
    return row;
  });
  if (fresh.length !== body.rows.length || fresh.some((row, i) => row !== body.rows[i])) {
    body.replaceChildren(...fresh);
    if (focused) (body.contains(focused) ? focused : $(`${id}-title`)).focus({ preventScroll: true });
  }
  $(id).classList.toggle('filled', fresh.length > 0);
}

function cells(...classes) {
  const row = document.createElement('tr');
  row.append(...classes.map((name) => element('td', name)));
  return row;
}

function set(cell, text) {
  if (cell.textContent !== text) cell.textContent = text;
}

const who = (conn) => conn.remote || conn.id;

// cutButton makes the button that asks whether the connection of a row is to be cut off.
function cutButton(row) {
  const button = element('button', 'cut', 'Cut off');
  button.type = 'button';
  button.onclick = () => askConn(row.item);
  return button;
}

function showSlowest(list) {
  rows('slowest', list, (conn) => conn.id, () => {
    const row = cells('number', '', '');
    row.cells[1].append(element('span', 'name'), element('span', 'sub'));
    row.cells[2].append(cutButton(row));
    return row;
  }, (row, conn) => {
    set(row.cells[0], bytes(conn.lag));
    set(row.cells[1].firstChild, who(conn));
    set(row.cells[1].lastChild, `in ${named(conn.channel)}`);
    row.cells[1].title = `${who(conn)} in ${named(conn.channel)}`;
    row.querySelector('button').setAttribute('aria-label', `Cut off ${who(conn)}`);
  });
}

function showChannels(list) {
  const most = list[0]?.connections || 1;
  rows('channels', list, (ch) => ch.name, () => {
    const row = cells('number', '', 'number');
    const button = element('button', 'link');
    button.type = 'button';
    button.onclick = () => showMembers(row.item.name);
    row.cells[1].append(button);
    return row;
  }, (row, ch) => {
    set(row.cells[0], whole(ch.connections));
    set(row.cells[1].firstChild, named(ch.name));
    row.cells[1].firstChild.title = named(ch.name);
    row.cells[1].firstChild.setAttribute('aria-label', `Connections of ${named(ch.name)}`);
    row.cells[1].style.setProperty('--part', `${Math.round(100 * ch.connections / most)}%`);
    set(row.cells[2], rate(ch.rate));
  });
}

function showCluster(c) {
  $('cluster').hidden = !c;
  if (!c) return;
  put('cluster-name', `${c.mode}, ${c.name}`);
  put('cluster-state', c.problem ? `Not ready: ${c.problem}` : 'Ready');
  $('cluster-state').className = c.problem ? 'bad' : 'sub';
  put('cluster-nats', c.nats || 'not connected');
  put('cluster-servers', whole(c.servers));
  put('cluster-connections', whole(c.connections));
  put('cluster-waiting', whole(c.waiting));
  put('cluster-pending', whole(c.pending));
  put('cluster-dropped', whole(c.dropped));
  for (const e of document.querySelectorAll('#cluster .ordered')) e.hidden = c.mode !== 'ordered';
}

function showEnded(totals) {
  const before = samples[0].disconnects;
  put('lately', within() ? `Last ${longSpan(Math.round(covered() / 1000))}` : 'Now');
  const list = Object.entries(totals).map(([reason, total]) => ({ reason, total, lately: total - (before[reason] ?? 0) }));
  list.sort((a, b) => b.lately - a.lately || b.total - a.total);
  rows('ended', list, (e) => e.reason, () => cells('', 'number', 'number'), (row, e) => {
    set(row.cells[0], e.reason);
    set(row.cells[1], whole(e.lately));
    set(row.cells[2], whole(e.total));
  });
}

// state shows whether the figures are current. trouble is null while the page is connected; otherwise it is what
// the server said last instead of snapshots, or empty.
let trouble = null;
function state() {
  if (!$('login').hidden) return; // askToken has set the state.
  const gone = performance.now() - seenAt > PATIENCE || trouble !== null;
  const draining = last?.draining ? 'shutting down' : 'live';
  document.body.className = gone ? 'gone' : 'live';
  put('state', !gone ? draining : (seen ? `no answer since ${clock(seen)}` : 'no answer yet') + (trouble ?? ''));
  document.title = gone ? 'crier: no answer' : `${whole(last?.open ?? 0)} · crier`;
  for (const button of document.querySelectorAll('button.cut, #cut-yes')) button.disabled = gone;
}
setInterval(() => { if (last || trouble !== null) state(); }, 1000);

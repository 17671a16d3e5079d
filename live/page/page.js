import { Crier } from '../../clients/js/crier.js';

const KEPT = 5 * 60_000; // How long samples are kept for the graphs, in ms.
const LEAST = 60_000; // How much time the graphs have room for at least.
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

const SHOWN = { open: whole, messages: rate, deliveries: rate, p99: span, lag: bytes };

const of = (n, most) => (most ? `${n} of ${most}` : n);
const clock = (at) => at.toLocaleTimeString('en-GB'); // HH:MM:SS
const named = (channel) => channel || '(no name)';

// The samples: what the graphs show, and the totals of disconnects then.
let samples = [];
let last = null; // The newest snapshot.
let seen = null; // When it came: a Date, and of the clock that is not set.
let seenAt = -Infinity;
let target = null; // What the dialog asks about.

// follows says whether a snapshot is a later one of the same server. Another one counts from 0; and
// if the clock was set back, there is no telling how long it took.
const follows = (s, before) => s.started === before.started && s.time >= before.time && s.messages >= before.messages;

function take(snapshot) {
  seen = new Date();
  seenAt = performance.now();
  if (last && !follows(snapshot, last)) {
    samples = [];
    last = null;
  }
  if (snapshot.time === last?.time) return;
  const seconds = last ? (snapshot.time - last.time) / 1000 : 0;
  const per = (name) => (last ? (snapshot[name] - last[name]) / seconds : null);
  samples.push({
    time: snapshot.time, open: snapshot.open, messages: per('messages'), deliveries: per('deliveries'),
    p99: snapshot.p99, lag: snapshot.slowest_bytes, disconnects: snapshot.disconnects,
  });
  while (samples[0].time < snapshot.time - KEPT) samples.shift();
  last = snapshot;
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
  put('version', s.version);
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
  const held = [`publishers held: ${whole(s.held)} now`, `${whole(s.holds)} in all`];
  if (s.rate_holds) held.push(`${whole(s.rate_holds)} by their rate`);
  put('holds', held.join(', ') + (s.skips ? ` · ${whole(s.skips)} skips` : ''));
  put('memory', of(bytes(s.resident), s.memory && bytes(s.memory)));
  put('fds', s.fds < 0 ? '–' : of(whole(s.fds), s.max_fds && whole(s.max_fds)));
  put('log', bytes(s.log_bytes));
  put('workers', `${of(whole(s.busy), whole(s.workers))}${s.queued ? `, ${whole(s.queued)} wait` : ''}`);
  put('handshakes', whole(s.handshakes));
  put('channels-total', whole(s.channels));
  for (const name of GRAPHS) draw(name);
  showSlowest(s.slowest);
  showChannels(s.largest);
  showEnded(s.disconnects);
  state();
}

// shownTime is how much time the graphs show, in ms.
const shownTime = () => Math.max(LEAST, last.time - samples[0].time);
const minutes = () => Math.ceil(shownTime() / 60_000);

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
  put(`peak-${name}`, `peak ${SHOWN[name](peak)} in ${minutes()} min`);
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

function showSlowest(list) {
  rows('slowest', list, (conn) => conn.id, () => {
    const row = cells('number', '', '');
    row.cells[1].append(element('span', ''), element('span', 'sub'));
    const button = element('button', '', 'Cut off');
    button.type = 'button';
    button.onclick = () => ask(row.item);
    row.cells[2].append(button);
    return row;
  }, (row, conn) => {
    set(row.cells[0], bytes(conn.lag));
    set(row.cells[1].firstChild, who(conn));
    set(row.cells[1].lastChild, `in ${named(conn.channel)}`);
    row.querySelector('button').setAttribute('aria-label', `Cut off ${who(conn)}`);
  });
}

function showChannels(list) {
  const most = list[0]?.connections || 1;
  rows('channels', list, (ch) => ch.name, () => cells('number', '', 'number'), (row, ch) => {
    set(row.cells[0], whole(ch.connections));
    set(row.cells[1], named(ch.name));
    row.cells[1].style.setProperty('--part', `${Math.round(100 * ch.connections / most)}%`);
    set(row.cells[2], rate(ch.rate));
  });
}

function showEnded(totals) {
  const before = samples[0].disconnects;
  put('lately', `In ${minutes()} min`);
  const list = Object.entries(totals).map(([reason, total]) => ({ reason, total, lately: total - (before[reason] ?? 0) }));
  list.sort((a, b) => b.lately - a.lately || b.total - a.total);
  rows('ended', list, (e) => e.reason, () => cells('', 'number', 'number'), (row, e) => {
    set(row.cells[0], e.reason);
    set(row.cells[1], whole(e.lately));
    set(row.cells[2], whole(e.total));
  });
}

// state says whether what is shown is so now. trouble is null while it is connected, else what
// the server said last in the place of snapshots, if anything.
let trouble = null;
function state() {
  if (!$('login').hidden) return; // It says what it wants.
  const gone = performance.now() - seenAt > PATIENCE || trouble !== null;
  const draining = last?.draining ? 'shutting down' : 'live';
  document.body.className = gone ? 'gone' : 'live';
  put('state', !gone ? draining : (seen ? `no answer since ${clock(seen)}` : 'no answer yet') + (trouble ?? ''));
  document.title = gone ? 'crier: no answer' : `${whole(last?.open ?? 0)} · crier`;
  for (const button of document.querySelectorAll('#slowest button, #cut-yes')) button.disabled = gone;
}
setInterval(() => { if (last || trouble !== null) state(); }, 1000);

// The token is kept as long as the tab.
let token = '';
try { token = sessionStorage.getItem('token') ?? ''; } catch { /* It is asked for each time. */ }

let crier = null;

function connect() {
  crier?.close();
  const mine = crier = new Crier(new URL('v1/live', location.href), {
    transport: 'events', last: 1, token: token || undefined, maxBackoff: 4000, silence: 8000,
  });
  const on = (type, f) => mine.addEventListener(type, (e) => mine === crier && f(e));
  on('message', (e) => {
    trouble = null;
    take(JSON.parse(e.data));
  });
  on('disconnect', (e) => {
    trouble = e.status ? `: HTTP ${e.status}` : '';
    state();
  });
  on('close', (e) => {
    if (e.status === 401) return askToken();
    trouble = `: ${e.status ? `HTTP ${e.status}` : e.reason || e.code}; reload to try again`;
    state();
  });
}

function askToken() {
  trouble = '';
  state();
  put('state', token ? 'this is not the token' : 'this server wants a token');
  $('login').hidden = false;
  $('token').value = '';
  $('token').focus();
}

$('login').onsubmit = (e) => {
  e.preventDefault();
  token = $('token').value.trim();
  if (/[^!-~]/.test(token)) return askToken(); // It does not fit into a header.
  try { sessionStorage.setItem('token', token); } catch { /* It is asked for each time. */ }
  $('login').hidden = true;
  put('state', 'connecting');
  connect();
};

function ask(conn) {
  target = conn;
  put('cut-who', who(conn));
  $('cut').showModal();
  $('cut-reason').focus();
}

$('cut-no').onclick = () => $('cut').close();

// The key that opened it does not confirm it by being held.
$('cut-form').onkeydown = (e) => { if (e.repeat && e.key === 'Enter') e.preventDefault(); };

$('cut').onclose = () => {
  if (document.activeElement === document.body) $('slowest-title').focus({ preventScroll: true }); // Its row has gone.
};

$('cut-form').onsubmit = async (e) => {
  e.preventDefault();
  const conn = target;
  $('cut').close();
  const query = new URLSearchParams({ reason: $('cut-reason').value });
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    const url = new URL(`v1/connections/${encodeURIComponent(conn.id)}?${query}`, location.href);
    const answer = await fetch(url, { method: 'DELETE', headers });
    if (answer.status === 204) put('said', `${who(conn)} is cut off.`);
    else {
      const { error } = await answer.json().catch(() => ({})); // A proxy's answer has none.
      put('said', `${who(conn)} was not cut off: ${error ?? `HTTP ${answer.status}`}`);
    }
  } catch (err) {
    put('said', `${who(conn)} was not cut off: ${err.message}`);
  }
};

connect();

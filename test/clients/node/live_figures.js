'use strict';

// What the live page shows, beside the snapshots that it gets: every figure on it is checked against
// the snapshot that it is of, to the last digit that is shown.
const assert = require('node:assert/strict');

// The parts of the page that have figures, and those that have none.
const PARTS = ['node', 'version', 'uptime', 'open', 'kinds', 'peak-open', 'messages', 'messages-total', 'bytes-in', 'peak-messages',
  'deliveries', 'deliveries-total', 'bytes-out', 'peak-deliveries', 'p99', 'p50', 'peak-p99', 'lag', 'holds', 'peak-lag',
  'memory', 'fds', 'log', 'workers', 'handshakes', 'channels-total', 'lately', 'state',
  'cluster-name', 'cluster-state', 'cluster-nats', 'cluster-servers', 'cluster-connections', 'cluster-waiting', 'cluster-pending', 'cluster-dropped'];
const NO_FIGURES = /^p99$/;
const GRAPHS = { open: 'open', messages: 'messages', deliveries: 'deliveries', p99: 'p99', lag: 'slowest_bytes' };

// What snapshots have beside those, and how the graphs are drawn.
const KEPT = 5 * 60_000;
const SLACK = 1500;
const LEAST = 60_000;

// record runs in the page before its script does. It keeps the snapshots that come in window.snapshots, the
// histories in window.histories, and in window.shown what the page shows then.
function record(parts, graphs) {
  window.snapshots = [];
  window.histories = [];
  window.shown = [];
  const text = (id) => document.getElementById(id)?.textContent ?? '';
  const table = (id) => [...document.querySelectorAll(`#${id} tbody tr`)].map((row) => [...row.cells].map((cell) => (cell.childElementCount ? [...cell.children].map((e) => e.textContent) : cell.textContent)));
  const show = () => {
    window.shown.push({
      at: window.snapshots.length - 1,
      history: window.histories.length - 1,
      text: Object.fromEntries(parts.map((id) => [id, text(id)])),
      tables: Object.fromEntries(['slowest', 'channels', 'ended'].map((id) => [id, table(id)])),
      graphs: Object.fromEntries(graphs.map((name) => [name, document.querySelector(`#graph-${name} .line`).getAttribute('d') ?? ''])),
      bytes: document.getElementById('lag').title,
      title: document.title,
    });
  };
  const parse = JSON.parse;
  JSON.parse = (...args) => {
    const value = parse(...args);
    if (value?.open_by_kind) {
      const n = window.snapshots.push(value);
      // The page shows it in a turn of its own, which comes before; unless the next one has come, it has shown no other.
      setTimeout(() => setTimeout(() => { if (n === window.snapshots.length) show(); }));
    }
    if (value?.samples) setTimeout(() => setTimeout(() => { window.histories.push(value); })); // By then it is shown.
    return value;
  };
}

const recording = (context) => context.addInitScript(`(${record})(${JSON.stringify(PARTS)}, ${JSON.stringify(Object.keys(GRAPHS))})`);

// taken is what was recorded.
const taken = (page) => page.evaluate(() => ({ snapshots: window.snapshots, histories: window.histories, shown: window.shown }));

const UNITS = { '': 1, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40, µs: 1e-6, ms: 1e-3, s: 1 };

// read is what a text says: a value, and by how much it may be off by rounding.
function read(text) {
  const match = text.match(/^(\d{1,3}(?:,\d{3})*|\d+)(\.\d+)?(?: (\S+))?$/);
  assert.ok(match && UNITS[match[3] ?? ''], `${text} is no figure`);
  const unit = UNITS[match[3] ?? ''];
  return { value: Number(match[1].replaceAll(',', '') + (match[2] ?? '')) * unit, off: 0.5 * unit * 10 ** -Math.max(0, (match[2] ?? '').length - 1) };
}

// exactly wants a text to say a whole number.
const exactly = (text, want, what) => {
  assert.match(text, /^\d{1,3}(,\d{3})*$/, what);
  assert.equal(text.replaceAll(',', ''), String(want), what);
};

// rounded wants a text to say a figure as nearly as its digits allow, with two of them at least.
function rounded(text, want, what) {
  if (text === '< 0.1') return assert.ok(want > 0 && want < 0.1, `${what}: ${text} for ${want}`);
  const { value, off } = read(text);
  assert.ok(Math.abs(value - want) <= off * (1 + 1e-9), `${what}: ${text} for ${want}`);
  assert.ok(off <= 0.0501 * want || value === want, `${what}: ${text} says too little of ${want}`);
}

const orNone = (text, want, what) => (want === null ? assert.equal(text, '–', what) : rounded(text, want, what));

// parts wants a text to be figures with words around them: a template in which # is a whole number and ~ a
// rounded one.
function parts(text, template, wants, what) {
  const pattern = template.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll('#', '([\\d,]+)').replaceAll('~', '([\\d,.]+(?: (?:[KMGT]iB|B|µs|ms|s))?|< 0\\.1|–)');
  const match = text.match(new RegExp(`^${pattern}$`));
  assert.ok(match, `${what}: ${text} is not as ${template}`);
  const kinds = template.match(/[#~]/g) ?? [];
  kinds.forEach((kind, i) => (kind === '#' ? exactly : orNone)(match[i + 1], wants[i], `${what}: ${text}`));
}

// spanText writes whole seconds with their two largest units.
function spanText(seconds) {
  const [d, h, m, s] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  const all = [[d, 'd'], [h, 'h'], [m, 'min'], [s, 's']];
  const first = all.findIndex(([n]) => n);
  if (first < 0) return '0 s';
  return all.slice(first, first + 2).filter(([n]) => n).map(([n, unit]) => `${n} ${unit}`).join(' ');
}

// samples are what the graphs have at a snapshot: those of the same process in the last five minutes, with
// rates since the one before. Those of a history stand in place of all that are not newer.
function samples(snapshots, at, history) {
  let first = at;
  const goesOn = (before, s) => before.time < s.time && before.messages <= s.messages;
  while (first > 0 && snapshots[first - 1].started === snapshots[first].started && goesOn(snapshots[first - 1], snapshots[first])) first -= 1;
  let all = snapshots.slice(first, at + 1);
  if (history?.started === snapshots[at].started && history.samples.length) {
    const begin = history.samples.findLastIndex((s, i) => i > 0 && !goesOn(history.samples[i - 1], s));
    all = [...history.samples.slice(Math.max(0, begin)), ...all.filter((s) => s.time > history.samples.at(-1).time)];
  }
  all = all.map((s, i) => {
    const rate = (name) => (i ? 1000 * (s[name] - all[i - 1][name]) / (s.time - all[i - 1].time) : null);
    return { ...s, messages: rate('messages'), deliveries: rate('deliveries') };
  });
  return all.filter((s) => s.time >= snapshots[at].time - KEPT - SLACK);
}

// points are a graph's, with y in parts of its height.
const points = (path) => [...path.matchAll(/[ML]([\d.]+) ([\d.]+)/g)].map(([, x, y]) => ({ x: Number(x), y: (38 - y) / 36 }));

function checkGraph(path, list, key, what) {
  const end = list.at(-1).time;
  const width = Math.max(LEAST, end - list[0].time);
  const there = list.filter((s) => s[key] !== null);
  const peak = Math.max(0, ...there.map((s) => s[key]));
  const drawn = points(path);
  assert.equal(drawn.length, there.length, `${what}: points`);
  there.forEach((s, i) => {
    assert.ok(Math.abs(drawn[i].y - (peak && s[key] / peak)) <= 0.051 / 36, `${what}: ${drawn[i].y} for ${s[key]} of ${peak}`);
    assert.ok(Math.abs(drawn[i].x - 300 * (1 - (end - s.time) / width)) <= 0.051, `${what}: time`);
  });
  return peak;
}

// checkShown wants all that was shown to be what the snapshot says that it was shown of, and the history that had
// come by then, or was on its way.
function checkShown(shown, snapshots, histories = []) {
  try {
    checkWith(shown, snapshots, histories[shown.history]);
  } catch (err) {
    const next = histories[shown.history + 1];
    if (!next) throw err;
    checkWith(shown, snapshots, next);
  }
}

function checkWith({ at, text, tables, graphs, bytes, title }, snapshots, history) {
  const s = snapshots[at];
  const list = samples(snapshots, at, history);
  const now = list.at(-1);
  const wholes = { open: s.open, 'messages-total': s.messages, 'deliveries-total': s.deliveries, handshakes: s.handshakes, 'channels-total': s.channels };
  for (const id in wholes) exactly(text[id], wholes[id], id);
  assert.equal(text.node, s.node);
  assert.equal(text.version, s.version);
  assert.equal(text.uptime, `· up ${spanText(Math.max(0, Math.floor((s.time - s.started) / 1000)))}`);
  if (/^(live|shutting down)$/.test(text.state)) assert.equal(text.state, s.draining ? 'shutting down' : 'live');
  if (!text.state.startsWith('no answer')) parts(title, '# · crier', [s.open], 'title');
  const kinds = Object.entries(s.open_by_kind).filter(([, n]) => n).map(([kind, n]) => `${kind} ${n}`).sort();
  const shownKinds = text.kinds.split(' · ').filter((part) => part && !part.startsWith('max ')).map((part) => part.match(/^([\d,]+) (.*)$/s));
  assert.deepEqual(shownKinds.map(([, n, kind]) => `${kind} ${n.replaceAll(',', '')}`).sort(), kinds, 'kinds');
  if (s.max_connections) assert.ok(text.kinds.endsWith(`max ${s.max_connections.toLocaleString('en')}`), text.kinds);
  orNone(text.messages, now.messages, 'messages a second');
  orNone(text.deliveries, now.deliveries, 'deliveries a second');
  rounded(text['bytes-in'], s.bytes_in, 'bytes published');
  rounded(text['bytes-out'], s.bytes_out, 'bytes written');
  orNone(text.p99, s.p99, 'p99');
  orNone(text.p50, s.p50, 'p50');
  rounded(text.lag, s.slowest_bytes, 'lag');
  parts(bytes, '# bytes', [s.slowest_bytes], 'lag');
  parts(text.holds, `publishers blocked: #, # in total${s.rate_holds ? ', # by --rate' : ''}${s.skips ? ' · # skips' : ''}`,
    [s.held, s.holds, ...(s.rate_holds ? [s.rate_holds] : []), s.skips], 'holds');
  parts(text.memory, s.memory ? '~ of ~' : '~', [s.resident, s.memory], 'memory');
  if (s.fds < 0) assert.equal(text.fds, '–');
  else parts(text.fds, s.max_fds ? '# of #' : '#', [s.fds, s.max_fds], 'files');
  rounded(text.log, s.log_bytes, 'log');
  parts(text.workers, s.queued ? '# of #, # queued' : '# of #', [s.busy, s.workers, s.queued], 'workers');
  const seconds = Math.round(Math.min(KEPT, now.time - list[0].time) / 1000);
  for (const [name, key] of Object.entries(GRAPHS)) {
    const peak = checkGraph(graphs[name], list, key, `graph ${name}`);
    const word = name === 'p99' && !peak ? null : peak;
    parts(text[`peak-${name}`], `peak ${name === 'open' ? '#' : '~'}${seconds ? ` in ${spanText(seconds)}` : ''}`, [word], `peak ${name}`);
  }
  assert.equal(text.lately, seconds ? `Last ${spanText(seconds)}` : 'Now', 'lately');
  checkCluster(text, s.cluster);

  const slowest = s.slowest.map((c) => [c.lag, c.remote || c.id, `in ${c.channel || '(no name)'}`]);
  assert.deepEqual(tables.slowest.map(([, who]) => who), slowest.map(([, ...who]) => who), 'slowest');
  tables.slowest.forEach(([lag], i) => rounded(lag, slowest[i][0], 'behind'));
  assert.deepEqual(tables.channels.map(([, [name]]) => name), s.largest.map((c) => c.name || '(no name)'), 'channels');
  tables.channels.forEach(([conns, , rate], i) => {
    exactly(conns, s.largest[i].connections, 'connections of a channel');
    rounded(rate, s.largest[i].rate, 'rate of a channel');
  });
  const before = list[0].disconnects;
  const ended = Object.entries(s.disconnects).map(([reason, n]) => [reason, n - (before[reason] ?? 0), n]);
  assert.deepEqual(tables.ended.map(([reason]) => reason).sort(), ended.map(([reason]) => reason).sort(), 'reasons');
  for (const [reason, lately, total] of tables.ended) {
    const want = ended.find(([name]) => name === reason);
    exactly(lately, want[1], `${reason} lately`);
    exactly(total, want[2], reason);
  }
}

function checkCluster(text, c) {
  if (!c) return;
  assert.equal(text['cluster-name'], `${c.mode}, ${c.name}`);
  assert.equal(text['cluster-state'], c.problem ? `Not ready: ${c.problem}` : 'Ready');
  assert.equal(text['cluster-nats'], c.nats || 'not connected');
  for (const name of ['servers', 'connections', 'waiting', 'pending', 'dropped']) exactly(text[`cluster-${name}`], c[name], name);
}

// checkAll checks all that a page has shown, and that nothing on it was left out.
async function checkAll(page) {
  const { snapshots, histories, shown } = await taken(page);
  assert.ok(shown.length, 'something was shown');
  for (const s of shown) checkShown(s, snapshots, histories);
  const others = await page.evaluate((ids) => {
    const known = [...ids.map((id) => document.getElementById(id)).filter(Boolean), ...document.querySelectorAll('tbody')];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const left = [];
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
      if (!node.parentElement.closest('script, style, noscript, dialog, #said') && /\d|–/.test(node.data) && !known.some((e) => e.contains(node))) left.push(node.data.trim());
    }
    return left;
  }, PARTS);
  assert.deepEqual(others.filter((text) => !NO_FIGURES.test(text)), [], 'figures that nobody checks');
  return { snapshots, histories, shown };
}

// checkRates: what is under a graph of rates, from one snapshot to a later one, is what was counted
// meanwhile, as nearly as it is drawn.
function checkRates({ snapshots, histories, shown }, from, to, name, want) {
  const last = shown.findLast((s) => s.at === to);
  const list = samples(snapshots, to, histories[last.history]);
  const peak = Math.max(...list.map((s) => s[name] ?? 0));
  const drawn = points(last.graphs[name]).slice(from - to);
  let area = 0;
  let off = 1e-6;
  drawn.forEach(({ y }, i) => {
    const seconds = (snapshots[from + i + 1].time - snapshots[from + i].time) / 1000;
    area += y * peak * seconds;
    off += list.at(i - drawn.length)[name] ? 0.051 / 36 * peak * seconds : 0;
  });
  assert.equal(drawn.length, to - from);
  assert.ok(Math.abs(area - want) <= off && off < 0.05 * want, `${name}: ${area} under the graph, want ${want}, within ${off}`);
  // The same of what stood there in digits, where each was shown.
  let sum = 0;
  off = 1e-6;
  for (let at = from + 1; at <= to; at += 1) {
    const one = shown.findLast((s) => s.at === at);
    if (!one) return;
    const seconds = (snapshots[at].time - snapshots[at - 1].time) / 1000;
    const { value, off: digit } = one.text[name] === '< 0.1' ? { value: 0.05, off: 0.05 } : read(one.text[name]);
    sum += value * seconds;
    off += value ? digit * seconds : 0;
  }
  assert.ok(Math.abs(sum - want) <= off, `${name}: the rates add up to ${sum}, want ${want}, within ${off}`);
}

module.exports = { recording, taken, checkAll, checkShown, checkRates, rounded };

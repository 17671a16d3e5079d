// The connection to the server, and requests to it: the token, lists of connections, cutting connections off.

// The token is kept as long as the tab.
let token = '';
try { token = sessionStorage.getItem('token') ?? ''; } catch { /* It is asked for each time. */ }

const authorization = () => (token ? { Authorization: `Bearer ${token}` } : {});

// problemOf returns why the server refused a request.
async function problemOf(answer) {
  const { error } = await answer.json().catch(() => ({})); // A proxy's answer has none.
  return error ?? `HTTP ${answer.status}`;
}

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
    fresh = true;
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
  $('main').hidden = true; // Nothing is shown to those who may not see it.
  put('state', token ? 'wrong token' : 'this server needs a token');
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
  fresh = true;
  put('state', 'connecting');
  connect();
};

// showMembers lists connections of a channel, each with a button to cut it off.
const MOST_MEMBERS = 100;
let membersOf = null; // The channel of the open list.

async function showMembers(channel) {
  membersOf = channel;
  put('members-channel', named(channel));
  put('members-said', '');
  rows('members', [], (conn) => conn.id);
  if (!$('members-dialog').open) $('members-dialog').showModal();
  $('members-title').focus({ preventScroll: true });
  await loadMembers();
}

async function loadMembers() {
  const channel = membersOf;
  put('members-state', 'loading');
  const query = new URLSearchParams({ channel, limit: MOST_MEMBERS });
  let list = [];
  let problem = '';
  try {
    const answer = await fetch(new URL(`v1/connections?${query}`, location.href), { headers: authorization() });
    if (answer.ok) list = (await answer.json()).connections;
    else problem = await problemOf(answer);
  } catch (err) {
    problem = err.message;
  }
  if (channel !== membersOf) return; // Another list was opened meanwhile.
  put('members-state', problem || (list.length < MOST_MEMBERS ? `${whole(list.length)} now` : `the first ${MOST_MEMBERS}`));
  rows('members', list, (conn) => conn.id, () => {
    const row = cells('', '');
    row.cells[0].append(element('span', 'name'));
    row.cells[1].append(cutButton(row));
    return row;
  }, (row, conn) => {
    set(row.cells[0].firstChild, who(conn));
    row.querySelector('button').setAttribute('aria-label', `Cut off ${who(conn)}`);
  });
}

$('members-again').onclick = loadMembers;
$('members-close').onclick = () => $('members-dialog').close();
$('members-dialog').onclose = () => { membersOf = null; };

$('members-all').onclick = () => {
  const channel = membersOf;
  const all = `all connections of ${named(channel)}${last?.cluster ? ' on this server' : ''}`;
  const done = ({ closed }) => `${whole(closed)} connection${closed === 1 ? '' : 's'} cut off.`;
  ask({ who: all, path: 'v1/connections', query: { channel }, done });
};

const askConn = (conn) => ask({
  who: who(conn), path: `v1/connections/${encodeURIComponent(conn.id)}`, done: () => `${who(conn)} is cut off.`,
});

// ask opens the dialog that asks whether to cut something off: who it is, the request that does it, and what done makes
// of the answer.
function ask(subject) {
  target = subject;
  put('cut-who', subject.who);
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
  const subject = target;
  const inDialog = membersOf !== null;
  $('cut').close();
  const query = new URLSearchParams({ ...subject.query, reason: $('cut-reason').value });
  let said;
  try {
    const url = new URL(`${subject.path}?${query}`, location.href);
    const answer = await fetch(url, { method: 'DELETE', headers: authorization() });
    if (answer.ok) said = subject.done(answer.status === 204 ? {} : await answer.json());
    else said = `Did not cut off ${subject.who}: ${await problemOf(answer)}`;
  } catch (err) {
    said = `Did not cut off ${subject.who}: ${err.message}`;
  }
  put(inDialog ? 'members-said' : 'said', said); // What is behind a dialog is not read.
  if (membersOf !== null) loadMembers();
};

connect();

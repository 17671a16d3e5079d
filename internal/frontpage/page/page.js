const $ = (id) => document.getElementById(id);
const server = JSON.parse(document.documentElement.dataset.server); // See Config in frontpage.go.

const KEPT = 200; // How many messages the page keeps.
const SHOWN = 4000; // How much of a message it shows, in characters.
const PATIENCE = 15_000; // How long a connection may take to open, in ms.

const address = new URL(location.href);
address.protocol = location.protocol.replace('http', 'ws');
address.hash = '';

let since; // The ID of the newest message: where to go on.
let failures = 0; // In a row.
let socket;

// Only textContent takes what comes from the server, so that nothing in it is markup.
function show(text, note) {
  const list = $('messages');
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const item = document.createElement('li');
  const body = document.createElement('span');
  body.textContent = text.length > SHOWN ? `${text.slice(0, SHOWN)}… (${text.length} characters)` : text;
  body.className = note ? 'note' : '';
  const time = document.createElement('time');
  time.textContent = new Date().toLocaleTimeString('en-GB'); // HH:MM:SS
  item.append(body, time);
  list.append(item);
  while (list.children.length > KEPT) list.firstChild.remove();
  list.hidden = false;
  $('empty').hidden = true;
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function state(name, text, trouble = '') {
  document.body.className = name;
  $('state').textContent = text;
  $('send').disabled = name !== 'connected';
  $('trouble').textContent = trouble;
  $('trouble').hidden = !trouble;
}

// take takes a message of the subprotocol crier.v1, docs/protocol.md: a line of ASCII, and what was published.
function take(data) {
  const binary = typeof data !== 'string';
  const text = binary ? new TextDecoder().decode(data) : data;
  const end = text.indexOf('\n');
  const [word, id, to] = text.slice(0, end).split(/:? /);
  if (word === 'at') {
    since ??= id;
    failures = 0;
    state('connected', 'connected');
  } else if (word === 'id') {
    since = id;
    show(binary ? `binary message, ${data.byteLength - end - 1} bytes` : text.slice(end + 1), binary);
  } else if (word === 'gap') {
    since = to;
    show('Messages may be missing here: the server no longer has them, or was restarted.', true);
  }
}

// why asks the server for events, as it does not tell a page why a WebSocket was refused.
async function why() {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), PATIENCE);
  try {
    const headers = { Accept: 'text/event-stream' };
    const answer = await fetch(location.href, { headers, cache: 'no-store', signal: stop.signal });
    if (!answer.ok) return `The server refuses the connection: ${answer.status}, ${(await answer.text()).trim()}.`;
    // An event stream that ends at once begins with the reason, as a comment.
    const { value } = await answer.body.getReader().read();
    const [, reason] = /^: (\d{3} .*)/.exec(new TextDecoder().decode(value)) ?? [];
    if (reason) return `The server refuses the connection for now: ${reason}.`;
    return 'The server answers, but no WebSocket opens: a proxy between this page and the server may block it.';
  } catch {
    return 'The server does not answer.';
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}

function connect() {
  const url = new URL(address);
  if (since !== undefined) {
    url.searchParams.delete('last');
    url.searchParams.set('since', since);
  }
  const mine = socket = new WebSocket(url, ['crier.v1']);
  const timer = setTimeout(() => mine.close(), PATIENCE);
  let opened = false;
  mine.binaryType = 'arraybuffer';
  mine.onmessage = ({ data }) => {
    opened = true;
    clearTimeout(timer);
    take(data);
  };
  mine.onclose = async ({ code, reason }) => {
    clearTimeout(timer);
    const closed = `The server closed the connection: ${code}${reason && `, ${reason}`}.`;
    const lost = opened && code === 1006 ? 'The connection broke.' : closed;
    state('gone', 'not connected', opened ? lost : '');
    const trouble = opened ? lost : await why();
    if (code >= 4000) { // Somebody closed it on purpose.
      state('gone', 'not connected', trouble);
      $('again').hidden = false;
      return;
    }
    state('gone', 'not connected', `${trouble} Trying again.`);
    const wait = Math.min(5000, 500 * 2 ** failures);
    failures += 1;
    setTimeout(connect, wait * (0.5 + Math.random() / 2));
  };
}

function describe() {
  let channel = location.pathname.slice(server.path.length).replace(/^\//, '');
  try { channel = decodeURIComponent(channel); } catch { /* The server refuses it, too. */ }
  const name = document.createElement('b');
  name.textContent = channel;
  if (server.channels && channel) {
    $('about').append('This is the channel ', name, ': what a client sends to it goes to every client in it, ');
    $('about').append('the sender included.');
  } else if (server.channels) {
    $('about').append('This is the channel without a name; every other path is a channel of its own. ');
    $('about').append('What a client sends to a channel goes to every client in it, the sender included.');
  } else {
    $('about').append('What a client sends goes to every client, the sender included.');
    if (location.pathname !== '/') $('about').append(' The path makes no difference: channels need --channels.');
  }
  document.title = `crier · ${location.host}${server.channels && channel ? ` · ${channel}` : ''}`;
  $('second').href = location.href;
  $('address').textContent = address.href;
  $('js').textContent = `const ws = new WebSocket(${JSON.stringify(address.href)});
ws.onmessage = (event) => console.log(event.data);
${server.receiveOnly ? '' : 'ws.onopen = () => ws.send("hello");\n'}`;
  const events = location.href.replace(/#.*/, '').replaceAll("'", '%27');
  $('sh').textContent = `curl -N -H 'Accept: text/event-stream' '${events}'`;
  if (server.receiveOnly) {
    $('form').hidden = true;
    $('hint').textContent = 'This server takes no messages from clients (--publish none): '
      + 'back ends publish through its --admin.';
    $('empty').textContent = 'Nothing yet.';
  }
}

async function copy(button) {
  const code = $(button.dataset.copies);
  try {
    await navigator.clipboard.writeText(code.textContent);
    $('copied').textContent = 'Copied.';
  } catch { // Pages may write to the clipboard only over https, and from this machine.
    getSelection().selectAllChildren(code);
    $('copied').textContent = 'Selected: copy it with the keyboard.';
  }
  const label = button.firstChild;
  label.textContent = $('copied').textContent.startsWith('Copied') ? 'Copied' : 'Selected';
  setTimeout(() => { label.textContent = 'Copy'; $('copied').textContent = ''; }, 2000);
}

$('form').onsubmit = (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN || !$('text').value) return;
  socket.send($('text').value);
  $('text').value = '';
};
$('again').onclick = () => {
  $('again').hidden = true;
  connect();
};
for (const button of document.querySelectorAll('[data-copies]')) button.onclick = () => copy(button);
describe();
connect();

// What users of clients/js write: checked by tsc, and never run.
import { Crier, type CrierGapEvent, type CrierMessageEvent, type CrierOptions } from '../../../clients/js/crier.js';

const options: CrierOptions = { last: 10, token: async () => 'token', silence: 0, transport: 'auto' };
const crier = new Crier('wss://example.com/news', options);
new Crier(new URL('https://example.com/news'), { since: 'epoch-1', token: 'token', WebSocket, fetch }).close();

crier.addEventListener('open', ({ transport }) => { const kind: 'websocket' | 'events' = transport; void kind; });
crier.addEventListener('message', ({ id, data }) => {
  const text: string = typeof data === 'string' ? data : new TextDecoder().decode(data);
  console.log(id.length, text);
}, { once: true });
crier.addEventListener('gap', ({ from, to }: CrierGapEvent) => console.log(from ?? 'unknown', to.length));
crier.addEventListener('disconnect', ({ code, reason, status, retryIn }) => {
  console.log(code + retryIn, reason.length, status?.toFixed());
});
crier.addEventListener('close', { handleEvent: ({ code }) => console.log(code.toFixed()) });
crier.send('text');
crier.send(new Uint8Array(1));
const last: string | undefined = crier.id;
console.log(last, crier.closed?.code);

export async function follow(): Promise<CrierMessageEvent | undefined> {
  for await (const item of crier) {
    if (item.type === 'gap') console.log(item.from, item.to);
    else return item;
  }
  return undefined;
}

// @ts-expect-error There is no such transport.
new Crier('/news', { transport: 'polling' });
// @ts-expect-error Only strings and bytes can be sent.
crier.send(1);
// @ts-expect-error There is no such event.
crier.addEventListener('error', () => {});

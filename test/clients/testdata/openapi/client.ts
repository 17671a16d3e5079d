// A client made of admin/openapi.json by openapi-typescript, which tsc checks and openapi_test.go runs.
import createClient from 'openapi-fetch';
import type { paths } from './api.js';

const api = createClient<paths>({ baseUrl: process.argv[2], headers: { Authorization: `Bearer ${process.argv[3]}` } });

function expect(ok: boolean, what: string, got: unknown): void {
  if (!ok) throw new Error(`${what}: got ${JSON.stringify(got)}`);
}

const published = await api.POST('/v1/publish/{channel}', {
  params: { path: { channel: 'news/ts' } },
  body: 'one', bodySerializer: (body) => String(body), headers: { 'Content-Type': 'text/plain' },
});
expect(published.data?.receivers === 0 && published.data.id.endsWith('-1'), 'publish', published);

const batch = await api.POST('/v1/publish', {
  body: { channel: 'news/ts', data: 'two' }, headers: { 'Content-Type': 'application/x-ndjson' },
});
expect(batch.data?.id.endsWith('-2') === true, 'publishBatch', batch);

const wrong = await api.POST('/v1/publish', { body: { channel: 'news/ts' }, headers: { 'Content-Type': 'application/x-ndjson' } });
expect(wrong.error?.code === 'bad_message' && wrong.error.line === 1, 'a message without data', wrong);

const { data } = await api.GET('/v1/channels/{channel}', { params: { path: { channel: 'news/ts' } } });
expect(data?.head === batch.data?.id && data?.connections === 0, 'getChannel', data);

const conns = await api.GET('/v1/connections', { params: { query: { address: '127.0.0.1', limit: 5 } } });
expect(conns.data?.connections.length === 0 && conns.data.after === undefined, 'listConnections', conns);

const closed = await api.DELETE('/v1/connections', { params: { query: { channel: 'news/ts', status: 4001 } } });
expect(closed.data?.closed === 0, 'closeConnections', closed);

const ready = await api.GET('/readyz', { headers: { Authorization: null } });
expect(ready.data?.status === 'ready', 'getReadiness', ready);

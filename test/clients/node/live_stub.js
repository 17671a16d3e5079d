'use strict';

// A server for the live page that is made up: it serves the page of a real crier, and snapshots as a test wants them.
const assert = require('node:assert/strict');
const http = require('node:http');
const { once } = require('node:events');
const { spawn } = require('node:child_process');

const timeout = 60_000;

// fetchPage starts a crier, and returns the page that it serves and its policy.
async function fetchPage(bin, admin) {
  const child = spawn(bin, ['--listen', '127.0.0.1:0', '--admin', admin, '--log-level', 'warn'], { stdio: ['ignore', 'ignore', 'inherit'] });
  try {
    for (const end = Date.now() + timeout; ;) {
      const answer = await fetch(`http://${admin}/`).catch(() => null);
      if (answer) return { html: await answer.text(), policy: answer.headers.get('Content-Security-Policy') };
      assert.ok(Date.now() < end && child.exitCode === null, 'crier does not answer');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  } finally {
    const closed = once(child, 'close');
    child.kill('SIGKILL');
    await closed;
  }
}

// Stub is a server that answers as it is told to.
class Stub {
  streams = new Set();
  began = []; // The query and the token of each request for snapshots.
  cut = []; // The requests to cut somebody off.
  refusal = 0; // The status of answers to who wants snapshots, or 0.
  answer = [204, '']; // To who cuts off.
  history = null; // The answer to who wants the samples of the last minutes: 404 without.
  members = []; // The connections of any channel.
  asked = []; // The channels whose connections were asked for.
  id = 0;

  constructor(page) {
    this.http = http.createServer((request, response) => {
      const url = new URL(request.url, 'http://stub');
      if (request.method === 'DELETE') {
        this.cut.push(url);
        return response.writeHead(this.answer[0]).end(this.answer[1]);
      }
      if (url.pathname === '/') return response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': page.policy }).end(page.html);
      if (url.pathname === '/v1/live/history' && this.history) return response.writeHead(200).end(JSON.stringify(this.history));
      if (url.pathname === '/v1/connections') {
        this.asked.push(url.searchParams.get('channel'));
        return response.writeHead(200).end(JSON.stringify({ connections: this.members }));
      }
      if (url.pathname !== '/v1/live') return response.writeHead(404).end();
      this.began.push({ query: url.searchParams, token: request.headers.authorization });
      if (this.refusal) return response.writeHead(this.refusal).end();
      response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write(`id: x-${this.id}\n\n`);
      this.streams.add(response);
      response.on('close', () => this.streams.delete(response));
      if (this.newest) this.send(response, this.newest);
    });
  }

  async listen() {
    await once(this.http.listen(0, '127.0.0.1'), 'listening');
    this.url = `http://127.0.0.1:${this.http.address().port}/`;
  }

  send(response, s) { return response.write(`id: x-${this.id}\ndata: ${JSON.stringify(s)}\n\n`); }

  // say is a snapshot for all, who have the newest one as soon as they come.
  say(s) {
    this.newest = s;
    this.id += 1;
    return [...this.streams].map((response) => this.send(response, s)).every(Boolean);
  }

  hangUp() { for (const response of this.streams) response.destroy(); }
}

const EMPTY = {
  time: 1_700_000_000_000, started: 1_700_000_000_000, version: 'v1', node: 'host', cluster: null, draining: false,
  open: 0, open_by_kind: { websocket: 0, 'crier.v1': 0, events: 0 }, max_connections: 0, handshakes: 0, held: 0, queued: 0, busy: 0, workers: 2, log_bytes: 0,
  messages: 0, deliveries: 0, bytes_in: 0, bytes_out: 0, holds: 0, rate_holds: 0, skips: 0, disconnects: {},
  p50: null, p99: null, slowest_bytes: 0, slowest: [], channels: 0, largest: [], fds: 9, max_fds: 0, resident: 1 << 20, memory: 0,
};
const GREAT = {
  open: 10_000_000, open_by_kind: { websocket: 9_999_998, 'crier.v1': 1, events: 1 }, max_connections: 100_000_000, handshakes: 1_234_567, held: 1_234_567,
  queued: 1_234_567, busy: 1024, workers: 1024, log_bytes: 2 ** 50, messages: 9e14, deliveries: 9e15, bytes_in: 2 ** 52, bytes_out: 2 ** 52,
  holds: 1e12, rate_holds: 1e12, skips: 1e12, disconnects: { 'peer closed': 9e15, lapped: 9e15 }, p50: 12.345, p99: 50, slowest_bytes: 2 ** 50,
  slowest: Array.from({ length: 10 }, (_, i) => ({ id: `${i}-x`, remote: `[2001:db8:ffff:ffff:ffff:ffff:ffff:fff${i}]:65535`, channel: 'x'.repeat(255), lag: 2 ** 50 - i })),
  channels: 1_000_000, largest: Array.from({ length: 20 }, (_, i) => ({ name: `${i}${'ü'.repeat(126)}`, connections: 10_000_000 - i, rate: 123_456_789.12 })),
  cluster: { mode: 'ordered', name: 'n'.repeat(60), nats: `${'h'.repeat(200)}:4222`, problem: 'NATS does not answer, '.repeat(20), servers: 1_000_000, connections: 1e12, waiting: 1e12, pending: 1e15, dropped: 1e15 },
  node: 'h'.repeat(64), fds: 10_000_100, max_fds: 1_073_741_816, resident: 2 ** 44, memory: 2 ** 45,
};

module.exports = { EMPTY, GREAT, Stub, fetchPage };

// A fleet in Node: node fleet_node.mjs [ws]. Commands are lines of JSON on standard input, and
// what happens is lines of JSON on standard output. With ws, or where Node has no WebSocket of
// its own, the clients are given that of the package ws.
import { createInterface } from 'node:readline';
import WebSocket from 'ws';
import { Crier } from '../../../clients/js/crier.js';
import { fleet } from './fleet.mjs';

const report = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const given = process.argv[2] === 'ws' || !globalThis.WebSocket;
const command = fleet(Crier, report, given ? { WebSocket } : {});
report({ client: '', type: 'ready' });
for await (const line of createInterface({ input: process.stdin })) command(JSON.parse(line));
process.exit(0);

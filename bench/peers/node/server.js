'use strict';

// The Node broadcaster on ws, as in the measuring tool's README, on the port that PORT
// names. It follows the "server broadcast" example of the ws documentation.
//
// With DEFLATE=1 it compresses, for each connection by itself, as ws does.
//
// Slow receivers: ws keeps what the socket does not take, without a bound.
const { WebSocketServer } = require('ws');

const wss = new WebSocketServer({
  host: '127.0.0.1',
  port: Number(process.env.PORT || 9001),
  perMessageDeflate: process.env.DEFLATE === '1',
  maxPayload: 1 << 20,
});

wss.on('connection', (ws) => {
  ws.on('error', () => {});
  ws.on('message', (data, isBinary) => {
    for (const client of wss.clients) {
      if (client.readyState === 1) client.send(data, { binary: isBinary });
    }
  });
  ws.send('connection established');
});

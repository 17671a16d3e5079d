'use strict';

// The usual Node broadcaster, which crier takes the place of: node broadcaster.js PORT
const { WebSocketServer, WebSocket } = require('ws');

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]) });

server.on('connection', (socket) => {
  socket.on('error', console.error);
  socket.on('message', (data) => {
    for (const client of server.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(data.toString());
    }
  });
  socket.send('connection established');
});

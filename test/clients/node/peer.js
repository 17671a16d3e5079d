'use strict';

// A Peer is one ws client that keeps what it received until it is asked for.
const assert = require('node:assert/strict');
const { once } = require('node:events');
const WebSocket = require('ws');

const WAIT_MS = 30_000; // Nothing takes as long, unless the machine is busy or something hangs.

// within settles as promise does, or fails after WAIT_MS and says for what it waited.
function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${WAIT_MS} ms for ${what}`)), WAIT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

class Peer {
  // The listeners are set before the handshake: the greeting may come with the 101.
  constructor(url, protocols = [], options = {}) {
    this.inbox = [];
    this.pings = 0;
    this.wake = () => {};
    this.socket = new WebSocket(url, protocols, { handshakeTimeout: WAIT_MS, ...options });
    this.socket.on('message', (data, isBinary) => {
      this.inbox.push({ data, isBinary });
      this.wake();
    });
    this.socket.on('ping', () => { this.pings += 1; });
    this.closed = new Promise((resolve) => {
      this.socket.on('close', (code, reason) => {
        resolve({ code, reason: reason.toString() });
        this.wake();
      });
    });
    this.socket.on('error', (err) => { this.error = err; });
  }

  // connect opens a peer and takes the greeting.
  static async connect(url, protocols, options) {
    const peer = new Peer(url, protocols, options);
    await within(once(peer.socket, 'open'), 'the handshake');
    assert.deepEqual(await peer.text(), 'connection established', 'the first message');
    return peer;
  }

  // next returns the oldest message not taken yet, in the order of arrival.
  async next(what = 'a message') {
    const arrival = async () => {
      while (this.inbox.length === 0) {
        if (this.socket.readyState === WebSocket.CLOSED) {
          throw new Error(`closed while waiting for ${what}: ${this.error ?? 'no error'}`);
        }
        await new Promise((resolve) => { this.wake = resolve; });
      }
      return this.inbox.shift();
    };
    return within(arrival(), what);
  }

  async text(what) {
    const { data, isBinary } = await this.next(what);
    assert.equal(isBinary, false, 'binary where text was expected');
    return data.toString();
  }

  // close ends the connection with code, or without a status, and returns what came back.
  // ws reports 1006 where no close frame came, so the code cannot be our own.
  async close(code, reason) {
    this.socket.close(code, reason);
    return within(this.closed, 'the answer to the close and the end of TCP');
  }
}

module.exports = { Peer, within, WAIT_MS };

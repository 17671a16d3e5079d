'use strict';

// Programs that run in a terminal, pty(7), as script(1) makes one.
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { spawn } = require('node:child_process');

const timeout = 60000;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// until polls a condition.
async function until(what, condition, patience = timeout) {
  for (const end = Date.now() + patience; !condition();) {
    if (Date.now() > end) throw new Error(`gave up waiting for ${what}`);
    await pause(20);
  }
}

// Terminal has one command typed into it.
class Terminal {
  constructor(command, cwd) {
    this.command = command;
    this.printed = '';
    this.ended = false;
    this.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'terminal-'));
    this.pidFile = path.join(this.dir, 'pid');
    const line = `echo $$ >${this.pidFile}; exec ${command}`;
    const env = { ...process.env, NO_COLOR: '1', SHELL: '/bin/bash' };
    this.child = spawn('script', ['-qec', line, '/dev/null'], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const out of [this.child.stdout, this.child.stderr]) {
      out.on('data', (data) => { this.printed += String(data).replaceAll('\r', ''); });
    }
    this.child.on('exit', () => { this.ended = true; });
  }

  // prints waits until a line is there.
  async prints(pattern, patience = timeout) {
    await until(`${pattern} of ${this.command}`, () => pattern.test(this.printed) || this.ended, patience);
    if (!pattern.test(this.printed)) throw new Error(`${this.command} ended: ${this.printed}`);
  }

  // stop sends SIGTERM to what runs in it and its children, and waits for the end.
  async stop() {
    if (!this.ended) {
      const pid = Number(fs.readFileSync(this.pidFile, 'utf8'));
      try { process.kill(-pid, 'SIGTERM'); } catch { /* It has just ended. */ }
    }
    await until(`the end of ${this.command}`, () => this.ended);
    fs.rmSync(this.dir, { recursive: true });
  }
}

module.exports = { Terminal, pause, timeout, until };

// Runs in a forked sandbox: draws randomness, uses what a fork could have broken, and tells which
// descriptors and shared mappings there are.
'use strict';
const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const { Worker } = require('node:worker_threads');

function draw() {
  const ecdh = crypto.createECDH('prime256v1');
  ecdh.generateKeys();
  return {
    'Math.random': String(Math.random()),
    randomBytes: crypto.randomBytes(16).toString('hex'),
    randomUUID: crypto.randomUUID(),
    randomInt: String(crypto.randomInt(2 ** 47)),
    getRandomValues: Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString('hex'),
    ECDH: ecdh.getPrivateKey('hex'),
    x25519: crypto.generateKeyPairSync('x25519').privateKey.export({ type: 'pkcs8', format: 'der' }).toString('hex'),
  };
}

const checks = {
  async 'garbage collection'() {
    let junk = [];
    for (let i = 0; i < 1e6; i++) {
      junk.push({ i });
      if (i % 1e5 === 0) junk = [];
    }
    return junk.length > 0;
  },
  async WebAssembly() {
    // (module (func (export "f") (result i32) i32.const 42))
    const bytes = Buffer.from('0061736d010000000105016000017f03020100070501016600000a06010400412a0b', 'hex');
    return (await WebAssembly.instantiate(bytes)).instance.exports.f() === 42;
  },
  Worker: () => new Promise((resolve, reject) => {
    const worker = new Worker("require('node:worker_threads').parentPort.postMessage(7)", { eval: true });
    worker.on('message', (message) => resolve(message === 7)).on('error', reject);
  }),
  async 'fetch over loopback'() {
    const server = http.createServer((_, response) => response.end('hi')).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.on('listening', resolve));
    const body = await (await fetch(`http://127.0.0.1:${server.address().port}`)).text();
    server.closeAllConnections();
    server.close();
    return body === 'hi';
  },
  async 'file promises'() {
    await fs.promises.writeFile('probe.txt', 'x');
    return (await fs.promises.readFile('probe.txt', 'utf8')) === 'x';
  },
  'thread pool': () => new Promise((resolve, reject) => {
    crypto.pbkdf2('a', 'b', 1000, 16, 'sha256', (error, key) => (error ? reject(error) : resolve(key.length === 16)));
  }),
};

async function main() {
  const draws = draw();
  const worked = {};
  for (const [name, check] of Object.entries(checks)) {
    try {
      worked[name] = (await check()) ? null : 'gave a wrong answer';
    } catch (error) {
      worked[name] = String(error);
    }
  }
  const maps = fs.readFileSync('/proc/self/maps', 'utf8').split('\n');
  return { draws, worked, shared: maps.filter((line) => / .w.s /.test(line)) };
}
module.exports = { main };

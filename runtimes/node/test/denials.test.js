'use strict';
// Where this machine would not refuse a call, the test creates the error that Node would throw.
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { denialOf, denialWithin } = require('../grants.js');
const { run } = require('./run.js');

const policy = { fs: { read: ['/data'], write: ['/out'] }, net: [], loopback: false, exec: false };
const errorLike = (fields) => Object.assign(new Error('x'), fields);

/** name, error, hint or null, changes of the policy */
const cases = [
  [
    'connect',
    { code: 'EACCES', syscall: 'connect', address: '93.184.216.34', port: 80 },
    'network access to 93.184.216.34:80 is not granted; this version of Belljar gives programs no network, so pass the data in a file',
  ],
  [
    'connect to 443',
    { code: 'ENETUNREACH', syscall: 'connect', address: '1.1.1.1', port: 443 },
    'network access to 1.1.1.1:443 is not granted; this version of Belljar gives programs no network, so pass the data in a file',
  ],
  [
    'connect to IPv6',
    { code: 'EACCES', syscall: 'connect', address: '2001:db8::1', port: 80 },
    'network access to [2001:db8::1]:80 is not granted; this version of Belljar gives programs no network, so pass the data in a file',
  ],
  [
    'look-up',
    { code: 'EAI_AGAIN', syscall: 'getaddrinfo', hostname: 'api.example.com' },
    'network access to api.example.com is not granted; this version of Belljar gives programs no network, so pass the data in a file',
  ],
  [
    'DNS query',
    { code: 'ECONNREFUSED', syscall: 'queryMx', hostname: 'example.com' },
    'network access to example.com is not granted; this version of Belljar gives programs no network, so pass the data in a file',
  ],
  [
    'connect to loopback',
    { code: 'EACCES', syscall: 'connect', address: '127.0.0.1', port: 5432 },
    'network access to 127.0.0.1:5432 is not granted; grant it with loopback: true',
  ],
  [
    'connect to loopback that is granted',
    { code: 'EACCES', syscall: 'connect', address: '127.0.0.1', port: 5432 },
    null,
    { loopback: true },
  ],
  [
    "a refused port of one's own loopback",
    { code: 'ECONNREFUSED', syscall: 'connect', address: '127.0.0.1', port: 5432 },
    null,
    { loopback: true },
  ],
  [
    'connect to a Unix socket',
    { code: 'EACCES', syscall: 'connect', address: '/run/x.sock' },
    null,
  ],
  [
    'bind',
    { code: 'EACCES', syscall: 'bind', address: '0.0.0.0', port: 3000 },
    'listening on 0.0.0.0:3000 is not granted; grant it with loopback: true',
  ],
  [
    'listen',
    { code: 'EACCES', syscall: 'listen', address: '::', port: 3000 },
    'listening on [::]:3000 is not granted; grant it with loopback: true',
  ],
  [
    'spawn',
    { code: 'EACCES', syscall: 'spawn ls', path: 'ls' },
    'running programs is not granted; grant it with exec: true',
  ],
  [
    'spawn that is granted and fails',
    { code: 'EACCES', syscall: 'spawn ls', path: 'ls' },
    null,
    { exec: true },
  ],
  [
    'spawn of what does not exist',
    { code: 'ENOENT', syscall: 'spawn nope', path: 'nope' },
    null,
    { exec: true },
  ],
  [
    'read',
    { code: 'ENOENT', syscall: 'open', path: '/srv/a.csv' },
    'reading /srv/a.csv is not granted; grant it with fs.read: ["/srv/a.csv"]',
  ],
  ['read under a grant', { code: 'ENOENT', syscall: 'open', path: '/data/missing' }, null],
  [
    'read of what is really missing',
    { code: 'ENOENT', syscall: 'open', path: '/tmp/missing' },
    null,
  ],
  [
    'read of a relative path',
    { code: 'ENOENT', syscall: 'open', path: '/home/user/missing' },
    null,
  ],
  [
    'mkdir',
    { code: 'EROFS', syscall: 'mkdir', path: '/srv/new' },
    'writing /srv/new is not granted; grant it with fs.write: ["/srv/new"]',
  ],
  ['write under a grant', { code: 'EACCES', syscall: 'unlink', path: '/out/a' }, null],
  [
    'write to what may be read',
    { code: 'EROFS', syscall: 'open', path: '/data/a' },
    'writing /data/a is not granted; grant it with fs.write: ["/data/a"]',
  ],
  [
    'a write that the stack reveals',
    {
      code: 'ENOENT',
      syscall: 'open',
      path: '/srv/a',
      stack: 'Error\n    at Object.writeFileSync (node:fs:1:1)',
    },
    'writing /srv/a is not granted; grant it with fs.write: ["/srv/a"]',
  ],
  ['another error', { code: 'EINVAL', syscall: 'open', path: '/srv/a' }, null],
  ['an error without a system call', { code: 'ERR_X' }, null],
];
for (const [name, fields, hint, changes] of cases) {
  test(`explains: ${name}`, () =>
    assert.equal(denialOf(errorLike(fields), { ...policy, ...changes })?.hint ?? null, hint));
}

test('explains causes and members', () => {
  const refused = errorLike({ code: 'EACCES', syscall: 'connect', address: '9.9.9.9', port: 443 });
  assert.equal(
    denialWithin(new TypeError('fetch failed', { cause: refused }), policy).target,
    '9.9.9.9:443',
  );
  assert.equal(
    denialWithin(new Error('a', { cause: new AggregateError([new Error('b'), refused]) }), policy)
      .target,
    '9.9.9.9:443',
  );
  const round = new Error('round');
  round.cause = round;
  assert.equal(denialWithin(round, policy), null);
});

// .invalid never resolves (RFC 6761), which looks like a sandbox without a network.

test('an error that leaves the program carries the hint in message and stack, and is a denial', async () => {
  const { error, denied } = await run('require("fs").readFileSync("/srv/belljar-missing/a.csv")');
  const hint =
    'reading /srv/belljar-missing/a.csv is not granted; grant it with fs.read: ["/srv/belljar-missing/a.csv"]';
  assert.equal(
    error.message,
    `ENOENT: no such file or directory, open '/srv/belljar-missing/a.csv': ${hint}`,
  );
  assert.ok(error.stack.includes(hint));
  assert.deepEqual(denied, [
    {
      action: 'fs.read',
      target: '/srv/belljar-missing/a.csv',
      grant: 'fs.read: ["/srv/belljar-missing/a.csv"]',
    },
  ]);
});

test('fetch that fails is explained by its cause, with the port', async () => {
  const { error, denied } = await run('await fetch("https://api.example.invalid/x")');
  assert.equal(
    error.message,
    'fetch failed: network access to api.example.invalid:443 is not granted; this version of Belljar gives programs no network, so pass the data in a file',
  );
  assert.equal(
    error.cause.message,
    'getaddrinfo ENOTFOUND api.example.invalid'.replace(
      'ENOTFOUND',
      error.cause.message.split(' ')[1],
    ),
  );
  assert.deepEqual(
    denied.map(({ grant }) => grant),
    ['net: ["api.example.invalid"]'],
  );
});

test('what the program catches is a denial and no error, once', async () => {
  const { error, value, denied } = await run(`const caught = [];
    for (let i = 0; i < 3; i++) {
      await new Promise((done) => require('http').get('http://api.example.invalid:8080/').on('error', (error) => { caught.push(error.message); done() }));
      await new Promise((done) => require('net').connect(80, 'other.example.invalid').on('error', done));
      await fetch('https://api.example.invalid/').catch(() => {});
    }
    return caught.filter((message) => message.includes('grant')).length`);
  assert.equal(error, null);
  assert.equal(value, 0, 'a caught error is as Node made it');
  assert.deepEqual(denied.map(({ grant }) => grant).sort(), [
    'net: ["api.example.invalid"]',
    'net: ["api.example.invalid:8080"]',
    'net: ["other.example.invalid"]',
  ]);
});

test('observing does not count as handling an error', async () => {
  const { error } = await run('require("net").connect(80, "api.example.invalid"); 5');
  assert.match(error.message, /network access to api\.example\.invalid is not granted/);
});

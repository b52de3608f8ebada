'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { run } = require('./run.js');

const granted = { storage: { read: [''], write: [''] } };

function framed(bytes) {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
}

const END = Buffer.alloc(4);
const header = (value) => framed(Buffer.from(JSON.stringify(value)));
const ok = (value = {}) => header({ ok: value });
const refusal = (name, message) => header({ error: { name, message } });

/**
 * What a call sent up to the end of its request, or of its body: the request, the chunks, whether
 * the end was there.
 */
function heard(bytes) {
  const frames = [];
  let at = 0;
  while (at + 4 <= bytes.length && at + 4 + bytes.readUInt32LE(at) <= bytes.length) {
    frames.push(bytes.subarray(at + 4, at + 4 + bytes.readUInt32LE(at)));
    at += 4 + frames.at(-1).length;
  }
  if (frames.length === 0) return null;
  const request = JSON.parse(frames[0]);
  const chunks = frames.slice(1).filter((chunk) => chunk.length > 0);
  return {
    request,
    body: Buffer.concat(chunks),
    chunks,
    isWhole: request.op !== 'upload' || frames.at(-1).length === 0,
  };
}

/**
 * A call that is answered once it is whole. `seen` gets what it asked for, also of one that never
 * became whole.
 */
function answering(answer, seen = []) {
  return (socket) => {
    let bytes = Buffer.alloc(0);
    let isDone = false;
    socket.on('data', (more) => {
      bytes = Buffer.concat([bytes, more]);
      const call = heard(bytes);
      if (isDone || !call?.isWhole) return;
      isDone = true;
      seen.push(call);
      socket.write(typeof answer === 'function' ? answer(call) : answer);
    });
    socket.on('end', () => {
      if (!isDone) seen.push(heard(bytes));
      socket.end();
    });
  };
}

const record = (call) =>
  ok({
    name: call.request.name,
    size_bytes: call.body.length,
    content_type: call.request.content_type,
    md5: 'm',
  });

test('every kind of data is uploaded as its bytes', async () => {
  const kinds = {
    text: ["'grün'", 'grün'],
    buffer: ["Buffer.from('abc')", 'abc'],
    typed: ['new Uint16Array([0x6261, 0x6463]).subarray(1)', 'cd'],
    view: ["new DataView(new TextEncoder().encode('abc').buffer, 1)", 'bc'],
    memory: ["new TextEncoder().encode('abc').buffer", 'abc'],
    nothing: ["''", ''],
    blob: ["new Blob(['a', 'bc'], { type: 'text/x' })", 'abc', 'text/x'],
    readable: ["require('stream').Readable.from(['a', Buffer.from('b'), 'c'])", 'abc'],
    web: ["new Blob(['abc']).stream()", 'abc'],
    async: ["(async function* () { yield 'a'; await null; yield new Uint8Array([98]); })()", 'ab'],
    sync: ["(function* () { yield 'a'; yield 'b'; })()", 'ab'],
    file: ["require('fs').createReadStream('data.txt')", 'from a file'],
  };
  const seen = [];
  const code = Object.entries(kinds)
    .map(([name, [data]]) => `await belljar.storage.upload('${name}', ${data});`)
    .join('\n');
  const result = await run(
    { 'main.js': `async function main() { ${code} }`, 'data.txt': 'from a file' },
    { policy: granted, calls: Object.keys(kinds).map(() => answering(record, seen)) },
  );
  assert.equal(result.error, null);
  for (const [name, [, body, type]] of Object.entries(kinds)) {
    const call = seen.find(({ request }) => request.name === name);
    assert.deepEqual(
      [call.body.toString(), call.request.content_type, call.request.op],
      [body, type ?? null, 'upload'],
      name,
    );
  }
});

test('a large upload goes in chunks that the host accepts, and says what became of it', async () => {
  const seen = [];
  const { value } = await run(
    "belljar.storage.upload('a/b', Buffer.alloc(3 << 20, 'x'), { contentType: 'text/plain' })",
    { policy: granted, calls: [answering(record, seen)] },
  );
  assert.deepEqual(value, { name: 'a/b', sizeBytes: 3 << 20, contentType: 'text/plain', md5: 'm' });
  assert.ok(seen[0].chunks.every((chunk) => chunk.length <= 1 << 20));
});

test('what cannot be uploaded is refused before anything is sent', async () => {
  for (const data of ['{}', '[1]', '7', 'null', 'undefined']) {
    const { error } = await run(`belljar.storage.upload('a', ${data})`, {
      policy: granted,
      calls: [answering(ok())],
    });
    assert.equal(error.name, 'TypeError', data);
    assert.match(error.message, /JSON\.stringify/);
  }
  const { error } = await run('belljar.storage.upload(7, "")', { policy: granted });
  assert.match(error.message, /the name of an object is a string, not number/);
});

test('a source that fails uploads nothing', async () => {
  for (const source of [
    "(async function* () { yield 'x'.repeat(100000); throw new Error('no more'); })()",
    "require('fs').createReadStream('missing')",
  ]) {
    const seen = [];
    const { error } = await run(`belljar.storage.upload('a', ${source})`, {
      policy: granted,
      calls: [answering(ok(), seen)],
    });
    assert.match(error.message, /no more|ENOENT/);
    assert.ok(seen[0] === null || !seen[0].isWhole, source);
  }
});

test('a refusal ends an upload without end, and the source is closed', async () => {
  const early = (socket) =>
    socket.once('data', () =>
      socket
        .resume()
        .write(
          refusal('NotGranted', 'writing a is not granted; grant it with storage.write: ["a"]'),
        ),
    );
  const { value } = await run(
    `async function main() {
    let closed = false;
    async function* endless() { try { for (;;) { yield Buffer.alloc(100000); await new Promise(setImmediate); } } finally { closed = true; } }
    try { await belljar.storage.upload('a', endless()); } catch ({ name, code, message }) { await null; return { name, code, message, closed }; }
  }`,
    { policy: granted, calls: [early] },
  );
  assert.deepEqual(value, {
    name: 'NotGranted',
    code: 'EACCES',
    message: 'writing a is not granted; grant it with storage.write: ["a"]',
    closed: true,
  });
});

const head = ok({ size_bytes: 7, content_type: 'text/plain', sha256: 's', md5: 'm' });

test('a download is a stream that can be piped, iterated and read to its end', async () => {
  const body = Buffer.concat([head, framed(Buffer.from('abc')), framed(Buffer.from('defg')), END]);
  const { value, error } = await run(
    `async function main() {
    const { text } = require('stream/consumers');
    const { PassThrough } = require('stream');
    const first = await belljar.storage.download('a');
    const piped = await yepcode.storage.download('a');
    let all = '';
    for await (const part of await belljar.storage.download('a')) all += part;
    return [first.sizeBytes, first.contentType, piped.size, await text(first), await text(piped.pipe(new PassThrough())), all];
  }`,
    { policy: granted, calls: [1, 2, 3].map(() => answering(body)) },
  );
  assert.equal(error, null);
  assert.deepEqual(value, [7, 'text/plain', 7, 'abcdefg', 'abcdefg', 'abcdefg']);
});

test('bytes of a download may come one by one', async () => {
  const body = Buffer.concat([head, framed(Buffer.from('abc')), END]);
  const dripping = (socket) =>
    socket.once('data', async () => {
      for (const byte of body) {
        socket.write(Buffer.from([byte]));
        await new Promise(setImmediate);
      }
    });
  const { value } = await run(
    "belljar.storage.download('a').then(require('stream/consumers').text)",
    { policy: granted, calls: [dripping] },
  );
  assert.equal(value, 'abc');
});

test('a download that is cut off is an error and not a short file', async () => {
  const whole = Buffer.concat([head, framed(Buffer.from('abcdefg')), END]);
  for (const length of [
    0,
    3,
    head.length - 1,
    head.length,
    head.length + 2,
    head.length + 6,
    whole.length - 1,
  ]) {
    const cut = (socket) => socket.once('data', () => socket.end(whole.subarray(0, length)));
    const { value, error } = await run(
      "belljar.storage.download('a').then(require('stream/consumers').text)",
      { policy: granted, calls: [cut] },
    );
    assert.equal(value, null, `${length} bytes`);
    assert.deepEqual(
      [error.name, error.message],
      ['StorageError', 'storage went away before it had answered in full'],
      `${length} bytes`,
    );
  }
});

test('a slow reader holds a download back', async () => {
  let sent = 0;
  const endless = (socket) =>
    socket.once('data', () => {
      socket.write(head);
      const more = () => {
        while (socket.writable && socket.write(framed(Buffer.alloc(65536)))) sent += 65536;
      };
      socket.on('drain', more);
      more();
    });
  const { value } = await run(
    `async function main() {
    const stream = await belljar.storage.download('a');
    await new Promise((resolve) => setTimeout(resolve, 300));
    const held = stream.readableLength;
    stream.destroy();
    return held < 1 << 20;
  }`,
    { policy: granted, calls: [endless] },
  );
  assert.equal(value, true);
  assert.ok(sent < 4 << 20, `${sent} bytes were sent`);
});

test('lists come in any number of chunks', async () => {
  const chunk = (...names) =>
    framed(
      Buffer.from(
        JSON.stringify(names.map((name) => ({ name, size_bytes: 1, updated_at: 't', md5: 'm' }))),
      ),
    );
  const answer = Buffer.concat([ok(), chunk('a', 'b'), chunk('c'), END]);
  const seen = [];
  const { value } = await run(
    "Promise.all([belljar.storage.list(), yepcode.storage.list('x/'), belljar.storage.list()])",
    {
      policy: granted,
      calls: [
        answering(answer, seen),
        answering(answer, seen),
        answering(Buffer.concat([ok(), END])),
      ],
    },
  );
  assert.deepEqual(
    value[0].map(({ name }) => name),
    ['a', 'b', 'c'],
  );
  assert.deepEqual(value[0][0], { name: 'a', sizeBytes: 1, updatedAt: 't', md5: 'm' });
  assert.deepEqual(value[1][0], { name: 'a', size: 1, updatedAt: 't', md5Hash: 'm' });
  assert.deepEqual(value[2], []);
  assert.deepEqual(
    seen.map(({ request }) => request.prefix),
    ['', 'x/'],
  );
});

test('errors have the name that storage gives them, a code and the line of the program', async () => {
  const codes = {
    NotFound: 'ENOENT',
    NotGranted: 'EACCES',
    InvalidName: 'EINVAL',
    QuotaExceeded: 'EDQUOT',
    StorageError: 'EIO',
    Invented: 'EIO',
  };
  for (const [name, code] of Object.entries(codes)) {
    const { error, value } = await run(
      `async function main({ fails }) {
      try {
        await belljar.storage.delete('a');
      } catch (error) {
        if (fails) throw error;
        return [error.name, error.code, error.message, error instanceof Error];
      }
    }`,
      {
        policy: granted,
        parameters: { fails: name === 'NotFound' },
        calls: [answering(refusal(name, 'why'))],
      },
    );
    if (name === 'NotFound') {
      assert.deepEqual([error.name, error.message], ['NotFound', 'why']);
      assert.match(error.stack, /main\.js:3/);
    } else {
      assert.deepEqual(value, [name === 'Invented' ? 'StorageError' : name, code, 'why', true]);
    }
  }
});

test('a call that finds too many others waits for one of them', async () => {
  const { value } = await run("belljar.storage.list().then(() => 'in the end')", {
    policy: granted,
    busy: 3,
    calls: [answering(Buffer.concat([ok(), END]))],
  });
  assert.equal(value, 'in the end');
});

test('without a grant the name says what to ask for, and nothing is loaded', async () => {
  const { value } = await run(
    `[() => belljar.storage, () => yepcode.storage].map((use) => { try { use(); } catch (error) { return error.message; } })`,
  );
  assert.deepEqual(
    value,
    ['belljar', 'yepcode'].map(
      (name) =>
        `${name}.storage is not granted; grant it with storage: {"read": ["..."], "write": ["..."]}`,
    ),
  );
});

test('a program that breaks builtins still moves what it has', async () => {
  const seen = [];
  const { value } = await run(
    `async function main() {
    JSON.stringify = JSON.parse = Promise.prototype.then = () => { throw new Error('broken'); };
    const { name } = await belljar.storage.upload('a', 'abc');
    return name;
  }`,
    { policy: granted, calls: [answering(record, seen)] },
  );
  assert.equal(value, 'a');
  assert.equal(seen[0].body.toString(), 'abc');
});

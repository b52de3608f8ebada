'use strict';
const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { run } = require('./run.js');

const draw = '[Math.random(), Math.random()]';

test('Math.random differs between sandboxes', async () => {
  const [a, b] = await Promise.all([run(draw), run(draw)]);
  assert.notDeepEqual(a.value, b.value);
});

test('a seed repeats Math.random', async () => {
  const [a, b, c] = await Promise.all([
    run(draw, { seed: 7 }),
    run(draw, { seed: 7 }),
    run(draw, { seed: 8 }),
  ]);
  assert.deepEqual(a.value, b.value);
  assert.notDeepEqual(a.value, c.value);
  for (const seed of [0, -1, 2 ** 40]) assert.equal((await run(draw, { seed })).error, null);
});

test("process.pid and ppid are the kernel's, in every module system", async () => {
  const { value } = await run(
    'const { pid } = await import("node:process");\nreturn [process.pid, pid, Number(require("fs").readlinkSync("/proc/self")), process.ppid, Object.getOwnPropertyDescriptor(process, "pid").writable]',
  );
  assert.equal(value[0], value[2]);
  assert.equal(value[1], value[2]);
  assert.ok(value[3] > 0);
  assert.equal(value[4], false);
});

test("os.cpus is the machine's where it can be seen, and described where not", async () => {
  const { value } = await run('require("os").cpus().length > 0');
  assert.equal(value, true);
  const { describeProcessors } = require('../identity.js');
  const original = os.cpus;
  os.cpus = () => [];
  describeProcessors([{ model: 'A', speed: 1000 }]);
  const described = os.cpus();
  os.cpus = original;
  assert.deepEqual(described, [
    { model: 'A', speed: 1000, times: { user: 0, nice: 0, sys: 0, idle: 0, irq: 0 } },
  ]);
});

// Runs in the process before the driver is loaded, and records calls.
const prelude = `
const marks = globalThis.__marks = [];
const mark = (object, name, label) => {
  const original = object[name];
  object[name] = function (...args) { marks.push(label); return original.apply(this, args); };
};
mark(Math, 'random', 'Math.random');
for (const name of ['randomBytes', 'randomInt', 'randomUUID', 'randomFill', 'getRandomValues']) mark(require('crypto'), name, name);
for (const name of ['stdin', 'stdout', 'stderr']) {
  const descriptor = Object.getOwnPropertyDescriptor(process, name);
  Object.defineProperty(process, name, { ...descriptor, get() { marks.push(name); return descriptor.get.call(process); } });
}
marks.push('counting');
`;

test('booting draws no random number, opens no stream, leaves no module and keeps nothing alive', async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'driver-prelude-'));
  try {
    const file = path.join(folder, 'prelude.js');
    fs.writeFileSync(file, prelude);
    const { frames, value } = await run(
      '({ resources: process.getActiveResourcesInfo(), modules: Object.keys(require.cache).filter((f) => f.includes("/runtimes/node/") && !f.includes("/test/")), warnings: process.listenerCount("warning") })',
      { prelude: file },
    );
    const start = frames.find(({ step }) => step === 'start');
    assert.deepEqual(start.marks, ['counting']);
    assert.deepEqual(value, { resources: [], modules: [], warnings: value.warnings });
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

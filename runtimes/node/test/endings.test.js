'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { run } = require('./run.js');

const handlersOf = (event) =>
  `process.on(${JSON.stringify(event)}, (...args) => require('node:fs').writeSync(1, ${JSON.stringify(event)} + ' ' + (args[0]?.message ?? args[0]) + '\\n'));\n`;

/** name, program, what EXECUTED says, what was written, changes */
const endings = [
  [
    'a natural end',
    `${handlersOf('beforeExit')}${handlersOf('exit')}5`,
    { value: 5, error: null, exit_code: null },
    'beforeExit 0\nexit 0\n',
  ],
  [
    'work that beforeExit starts',
    'let n = 0; process.on("beforeExit", () => { if (n++ < 2) setTimeout(() => console.log("again"), 1) });\n5',
    { value: 5, error: null, exit_code: null },
    'again\nagain\n',
  ],
  [
    'work that beforeExit starts in a promise job',
    'let n = 0; process.on("beforeExit", async () => { await null; if (n++ < 2) setTimeout(() => console.log("again"), 1) });\n5',
    { value: 5, error: null, exit_code: null },
    'again\nagain\n',
  ],
  ['process.exitCode', 'process.exitCode = 3; 5', { value: 5, error: null, exit_code: 3 }, ''],
  [
    'process.exit(n)',
    `${handlersOf('exit')}setTimeout(() => process.exit(7), 1); setInterval(() => {}, 1000); 5`,
    { value: 5, error: null, exit_code: 7 },
    'exit 7\n',
  ],
  [
    'process.exit() before there is a result',
    'process.exit(); 5',
    { value: null, error: null, exit_code: 0 },
    '',
  ],
  ['process.reallyExit', 'process.reallyExit(9)', { value: null, error: null, exit_code: 9 }, ''],
  [
    'an exit code that an exit listener sets',
    'process.on("exit", () => { process.exitCode = 6 }); 5',
    { value: 5, error: null, exit_code: 6 },
    '',
  ],
  [
    'settled, with something pending',
    'setInterval(() => {}, 1000); Promise.resolve(5)',
    { value: 5, error: null, exit_code: null },
    '',
    { finish: 'settled' },
  ],
  [
    "idle, although unref'd timers exist",
    'setInterval(() => {}, 1000).unref(); 5',
    { value: 5, error: null, exit_code: null },
    '',
  ],
  [
    'signal 0 to itself',
    'process.kill(process.pid, 0)',
    { value: true, error: null, exit_code: null },
    '',
  ],
  [
    'a handled signal',
    'process.on("SIGTERM", () => { console.log("handled"); clearInterval(i) }); const i = setInterval(() => {}, 1000); process.kill(process.pid); 5',
    { value: 5, error: null, exit_code: null },
    'handled\n',
  ],
  [
    'an uncaught error that is handled',
    `${handlersOf('uncaughtException')}setTimeout(() => { throw new Error("late") }, 1); 5`,
    { value: 5, error: null, exit_code: null },
    'uncaughtException late\n',
  ],
  [
    'a thrown main that is handled',
    `${handlersOf('uncaughtException')}throw new Error("early")`,
    { value: null, error: null, exit_code: null },
    'uncaughtException early\n',
  ],
  [
    'a rejection that is handled',
    `${handlersOf('unhandledRejection')}Promise.reject(new Error("r")); 5`,
    { value: 5, error: null, exit_code: null },
    'unhandledRejection r\n',
  ],
  [
    'a rejected main that is handled',
    `${handlersOf('unhandledRejection')}exports.main = async () => { throw new Error("m") }`,
    { value: null, error: null, exit_code: null },
    'unhandledRejection m\n',
  ],
  [
    'a handler that exits',
    'process.on("uncaughtException", () => process.exit(4)); throw new Error("x")',
    { value: null, error: null, exit_code: 4 },
    '',
  ],
  [
    'a capture callback',
    'process.setUncaughtExceptionCaptureCallback((e) => console.log("captured", e.message)); setTimeout(() => { throw new Error("c") }); 5',
    { value: 5, error: null, exit_code: null },
    'captured c\n',
  ],
];
for (const [name, program, finished, stdout, changes] of endings) {
  test(`ends: ${name}`, async () => {
    const outcome = await run(program, changes);
    assert.equal(outcome.stderr, '');
    assert.deepEqual(outcome.finished, [finished]);
    assert.equal(outcome.stdout, stdout);
  });
}

/** name, program, the message of the error, what was written */
const failures = [
  ['an error in a timer', 'setTimeout(() => { throw new Error("late") }, 1); 5', 'late', ''],
  ['an unhandled rejection', 'Promise.reject(new Error("unhandled")); 5', 'unhandled', ''],
  [
    'an error event without a listener',
    'setTimeout(() => new (require("node:events"))().emit("error", new Error("emitted"))); 5',
    'emitted',
    '',
  ],
  ['an error with an exit listener', `${handlersOf('exit')}throw new Error("x")`, 'x', 'exit 1\n'],
  [
    'an error with an exit listener that exits',
    'process.on("exit", () => process.exit(0)); throw new Error("x")',
    'x',
    '',
  ],
  [
    'an error in an exit listener',
    'process.on("exit", () => { throw new Error("in exit") }); 5',
    'in exit',
    '',
  ],
  [
    'an error in a beforeExit listener',
    'process.on("beforeExit", () => { throw new Error("in beforeExit") }); 5',
    'in beforeExit',
    '',
  ],
  [
    'an error in a handler of errors',
    'process.on("uncaughtException", () => { throw new Error("second") }); throw new Error("first")',
    'second',
    '',
  ],
  [
    'an error that is monitored only',
    `${handlersOf('uncaughtExceptionMonitor')}throw new Error("x")`,
    'x',
    'uncaughtExceptionMonitor x\n',
  ],
  [
    'a rejected main, after its output',
    'exports.main = async () => { console.log("before"); await null; throw new Error("m") }',
    'm',
    'before\n',
  ],
];
for (const [name, program, message, stdout] of failures) {
  test(`fails: ${name}`, async () => {
    const outcome = await run(program);
    assert.equal(outcome.stderr, '');
    assert.equal(outcome.finished.length, 1);
    assert.equal(outcome.error.message, message);
    assert.deepEqual([outcome.value, outcome.exit_code], [null, null]);
    assert.equal(outcome.stdout, stdout);
  });
}

for (const program of [
  'exports.main = () => new Promise(() => {})',
  'await new Promise(() => {})',
  { 'main.mjs': 'await new Promise(() => {})' },
]) {
  test(`a promise that nothing can settle is an error: ${JSON.stringify(program)}`, async () => {
    const { error, value } = await run(program);
    assert.equal(error.name, 'NeverSettled');
    assert.equal(value, null);
  });
}

test('beforeExit may still settle the result', async () => {
  const { finished } = await run(
    'let settle; process.on("beforeExit", () => settle(8)); new Promise((resolve) => { settle = resolve })',
  );
  assert.deepEqual(finished, [{ value: 8, error: null, exit_code: null }]);
});

test('everything written is out before the end, however much it is', async () => {
  const { stdout, finished } = await run('process.stdout.write("x".repeat(3e6)); process.exit(0)');
  assert.equal(stdout.length, 3e6);
  assert.equal(finished.length, 1);
});

'use strict';
// Runs one program through the driver, in a process of its own, and gives back what the supervisor
// would have seen.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const RESULT = 3;
const NOTE = 9;
const SETTLED = 10;
const DENIED = 4;
const EXECUTED = 5;

/**
 * @param {string | Record<string, string>} program the source of main.js, or the files of the run
 *   by name (the first is the entry)
 * @param {object} [changes] of the activation; `nodeFlags`, `prelude` and `stdin` are for the
 *   double, `calls` serve its calls, each a function of a socket, after the first `busy` calls were
 *   refused
 */
async function run(
  program,
  { nodeFlags = [], prelude, stdin = '', calls = [], busy = 0, ...changes } = {},
) {
  const files =
    typeof program === 'string'
      ? { [`main.${changes.language === 'typescript' ? 'ts' : 'js'}`]: program }
      : program;
  const folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'driver-test-')));
  try {
    const home = path.join(folder, 'home');
    for (const [name, content] of Object.entries(files)) {
      fs.mkdirSync(path.dirname(path.join(home, name)), { recursive: true });
      fs.writeFileSync(path.join(home, name), content);
    }
    const entry = Object.keys(files)[0];
    const activation = {
      task: 'run',
      run: { id: 'run_test', deadline: '2026-01-02T03:04:35.678Z', timeout_ms: 30000 },
      language: /\.[mc]?ts$/.test(entry) ? 'typescript' : 'javascript',
      entry,
      arguments: [],
      parameters: null,
      env: {},
      seed: null,
      finish: 'idle',
      ...changes,
      policy: {
        fs: { read: [], write: [] },
        net: [],
        loopback: false,
        env: {},
        exec: false,
        secrets: [],
        storage: { read: [], write: [] },
        ...changes.policy,
      },
      limits: {
        result_bytes: 10485760,
        output_bytes: 1048576,
        memory_bytes: 268435456,
        ...changes.limits,
      },
    };
    fs.writeFileSync(path.join(folder, 'activation.json'), JSON.stringify(activation));
    return {
      home,
      ...(await collect(home, path.join(folder, 'activation.json'), {
        nodeFlags,
        prelude,
        stdin,
        calls,
        busy,
      })),
    };
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

function collect(home, activationFile, { nodeFlags, prelude, stdin, calls, busy }) {
  const child = spawn(
    process.execPath,
    [
      '--single-threaded',
      '--v8-pool-size=1',
      '--expose-internals',
      ...nodeFlags,
      path.join(__dirname, 'double', 'run.js'),
      home,
      activationFile,
    ],
    {
      stdio: ['pipe', 'pipe', 'pipe', 'pipe', ...calls.map(() => 'pipe')],
      cwd: home,
      timeout: 20000,
      env: {
        PATH: process.env.PATH,
        ...(process.env.BELLJAR_LIBRARY && { BELLJAR_LIBRARY: process.env.BELLJAR_LIBRARY }),
        ...(prelude && { DOUBLE_PRELUDE: prelude }),
        DOUBLE_CALLS: calls.length,
        DOUBLE_BUSY: busy,
      },
    },
  );
  child.stdin.on('error', () => {}).end(stdin);
  calls.forEach((serve, index) => serve(child.stdio[4 + index].on('error', () => {})));
  const texts = [child.stdout, child.stderr, child.stdio[3]].map(async (stream) => {
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
  });
  return new Promise((resolve) =>
    child.on('close', async (code, signal) => {
      const [stdout, stderr, frameText] = await Promise.all(texts);
      const frames = frameText
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line));
      const ofKind = (kind) =>
        frames.filter((frame) => frame.kind === kind).map((frame) => frame.data);
      const finished = ofKind(EXECUTED);
      const annotated = frames.filter((frame) => frame.annotate).map((frame) => frame.annotate);
      const counted = [1, 2].map((wanted) =>
        annotated.reduce((sum, [stream, , length]) => sum + (stream === wanted ? length : 0), 0),
      );
      resolve({
        code,
        signal,
        stdout,
        stderr,
        frames,
        finished,
        ...finished[0],
        results: ofKind(RESULT),
        denied: ofKind(DENIED),
        notes: ofKind(NOTE),
        settled: ofKind(SETTLED),
        counted,
        annotations: annotated
          .filter(([, , , entry]) => entry)
          .map(([stream, level, length]) => [stream, level, length]),
      });
    }),
  );
}

module.exports = { run };

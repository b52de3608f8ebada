// A warm host for secure-exec: a fresh, limited runtime for each request, as its documentation
// shows it. A line in, `{"operation": "run" | "hold", "code"}`; a line out, `{"output"}` or
// `{"error"}`.
import { createInterface } from 'node:readline';
import { NodeRuntime, createNodeDriver, createNodeRuntimeDriverFactory } from 'secure-exec';

const [memoryMegabytes, cpuSeconds] = process.argv.slice(2).map(Number);
const systemDriver = createNodeDriver();
const runtimeDriverFactory = createNodeRuntimeDriverFactory();
const held = [];

function freshRuntime(onStdio) {
  return new NodeRuntime({
    systemDriver,
    runtimeDriverFactory,
    onStdio,
    memoryLimit: memoryMegabytes,
    cpuTimeLimitMs: cpuSeconds * 1000,
  });
}

// The engine process ends with the last runtime. This runtime is never used, and keeps the engine
// process warm, as a service would.
await freshRuntime().run('export default 0;', '/keep.mjs');

async function run(code) {
  const runtime = freshRuntime();
  try {
    const result = await runtime.run(code, '/entry.mjs');
    if (result.code !== 0) throw new Error(result.errorMessage ?? `code ${result.code}`);
    return result.exports.default;
  } finally {
    // The client has the result already, so the end of the runtime is not awaited.
    runtime.terminate().catch((error) => console.error(error));
  }
}

// Its isolate lives as long as a run does, so an idle sandbox is one whose program waits.
function hold() {
  return new Promise((resolve, reject) => {
    const runtime = freshRuntime(() => resolve('held'));
    held.push(runtime);
    runtime
      .run(
        'console.log("idle"); export default await new Promise((end) => setTimeout(end, 1e8));',
        '/entry.mjs',
      )
      .then((result) => reject(new Error(`it ended: ${JSON.stringify(result)}`)), reject);
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  const { operation, code } = JSON.parse(line);
  let answer;
  try {
    answer = { output: String(operation === 'hold' ? await hold() : await run(code)) };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

// A warm host for isolated-vm: a fresh isolate for each request, in this process.
// A line in, `{"operation": "run" | "hold", "code"}`; a line out, `{"output"}` or `{"error"}`.
import { createInterface } from 'node:readline';
import ivm from 'isolated-vm';

const [memoryMegabytes, cpuSeconds] = process.argv.slice(2).map(Number);
const held = [];

function freshContext() {
  const isolate = new ivm.Isolate({ memoryLimit: memoryMegabytes });
  return { isolate, context: isolate.createContextSync() };
}

function run(code) {
  const { isolate, context } = freshContext();
  try {
    return isolate.compileScriptSync(code).runSync(context, { timeout: cpuSeconds * 1000 });
  } finally {
    if (!isolate.isDisposed) isolate.dispose();
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { operation, code } = JSON.parse(line);
  let answer;
  try {
    if (operation === 'hold') {
      held.push(freshContext());
      answer = { output: 'held' };
    } else {
      answer = { output: String(run(code)) };
    }
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

'use strict';
// node --single-threaded --v8-pool-size=1 node.js ADDON RUNS: prints the milliseconds of each fork,
// from before it to the child's end.
const bare = require(process.argv[2]);
for (const name of [
  'http',
  'crypto',
  'child_process',
  'zlib',
  'vm',
  'url',
  'stream',
  'worker_threads',
])
  require(`node:${name}`);
const times = [];
for (let run = 0; run < Number(process.argv[3]); run++) {
  const began = process.hrtime.bigint();
  const child = bare.fork();
  if (child < 0) throw new Error('this user may not make a PID namespace');
  if (child === 0) {
    if ((0, eval)('1 + 1') === 2) bare.exit();
    throw new Error('not 2');
  }
  if (bare.wait() !== 0) throw new Error('the child failed');
  times.push(Number(process.hrtime.bigint() - began) / 1e6);
}
console.log(JSON.stringify(times));

// The program that runs one of Node's own tests inside a sandbox, as the main module, as `node
// FILE` would. Parameters: `test` is the test file (or a control), `directory` the working
// directory that Node's runner would use, `flags` those that the test must be started with.
'use strict';

const { runMain } = require('node:module');

const { test, directory, flags = [] } = globalThis.belljar.parameters;

process.chdir(directory);
if (flags.length > 0) {
  // The same as test/common does in the tests that load it.
  const { spawnSync } = require('node:child_process');
  const { status, signal, error } = spawnSync(process.execPath, [...flags, test], {
    stdio: 'inherit',
  });
  if (error) throw error;
  if (signal) process.kill(process.pid, signal);
  process.exit(status);
}
process.argv.splice(1, process.argv.length, test);
runMain(test);

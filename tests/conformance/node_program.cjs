// The program that runs one of Node's own tests inside a sandbox, as the main module, as `node FILE` would.
// Parameters: `test` is the test file (or a control), `directory` the working directory that Node's runner would use.
'use strict';

const { runMain } = require('node:module');

const { test, directory } = globalThis.belljar.parameters;

process.chdir(directory);
process.argv.splice(1, process.argv.length, test);
runMain(test);

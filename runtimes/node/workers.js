'use strict';
// Makes worker threads load the same files as the program: TypeScript, paths of its settings, files
// without extensions. Node does not pass the module hooks of a thread on to threads that it starts,
// so each thread installs its own before its program.

const process = require('node:process');
const { FOLDER, LIBRARY } = require('./library.js');
const { installHooks, useFolder } = require('./loader.js');

const PRELOADED = `${FOLDER}/worker/start.js`;
let areHooked = false;

/**
 * Makes threads that are started from now on load files like the program. Called when a program
 * first uses threads, which few do.
 */
function hookWorkers() {
  if (areHooked) return;
  areHooked = true;
  const { syncBuiltinESMExports } = require('node:module');
  const threads = require('node:worker_threads');
  const Original = threads.Worker;
  threads.Worker = { Worker: class Worker extends Original {
    constructor(filename, options) {
      super(filename, withPreloaded(options));
    }
  } }.Worker;
  syncBuiltinESMExports();
}

function withPreloaded(options) {
  // Node rejects such options.
  if (options !== undefined && (options === null || typeof options !== 'object')) return options;
  const given = options?.execArgv ?? process.execArgv;
  const execArgv = [];
  for (let index = 0; index < given.length; index++) execArgv[index] = given[index];
  execArgv[execArgv.length] = '--require';
  execArgv[execArgv.length] = PRELOADED;
  return { ...options, execArgv };
}

/** Installs the hooks in a thread, before its program. */
function startWorker(home) {
  process.execArgv = process.execArgv.slice(0, -2);
  const library = { exports: {} };
  try {
    process.dlopen(library, LIBRARY);
  } catch {
    return; // Not in a sandbox: a thread as Node has it.
  }
  useFolder(home);
  installHooks(library.exports, null);
  hookWorkers();
}

module.exports = { hookWorkers, startWorker };

'use strict';
// What a program finds in its world beside Node: process.argv, its environment, and the global `belljar` with its alias `yepcode`.

const process = require('node:process');
const { ObjectDefineProperty, ObjectFreeze } = require('./intrinsics.js');

const PATH = '/usr/local/bin:/usr/bin:/bin';

/** The environment of every sandbox; the run's own variables come over it. */
function baseEnvironment(home) {
  return { __proto__: null, PATH, HOME: home, USER: 'user', LANG: 'C.UTF-8', TMPDIR: '/tmp' };
}

/** Makes process.env be `wanted`, touching only what differs: every assignment is a setenv. */
function replaceEnvironment(wanted) {
  const env = process.env;
  for (const name of Object.keys(env)) {
    if (wanted[name] === undefined) delete env[name];
  }
  for (const name of Object.keys(wanted)) {
    if (env[name] !== wanted[name]) env[name] = wanted[name];
  }
}

/**
 * Defines `belljar` and `yepcode`. Neither is enumerable, so that code which looks for leaked globals finds none.
 * @param {object} activation
 * @param {Function} display
 */
function defineGlobals(activation, display) {
  const { run, parameters, env } = activation;
  const environment = ObjectFreeze({ ...env });
  const belljar = {
    parameters,
    env: environment,
    secrets: ObjectFreeze({}),
    run: ObjectFreeze({ id: run.id, deadline: run.deadline, timeoutMs: run.timeout_ms }),
    display,
  };
  refuse(belljar, 'storage', 'belljar.storage is not granted; grant it with storage: {"read": ["..."], "write": ["..."]}');
  expose('belljar', ObjectFreeze(belljar));

  const yepcode = {
    context: ObjectFreeze({ parameters, request: ObjectFreeze({ headers: ObjectFreeze({}) }) }),
    env: environment,
    execution: ObjectFreeze({ id: run.id, comment: null, process: null, schedule: null }),
  };
  refuse(yepcode, 'storage', 'yepcode.storage is not granted; grant it with storage: {"read": ["..."], "write": ["..."]}');
  refuse(yepcode, 'datastore', 'yepcode.datastore is not available here; write files to outputs/ instead');
  refuse(yepcode, 'processes', 'yepcode.processes is not available here; a program cannot start another one');
  expose('yepcode', ObjectFreeze(yepcode));
}

// Not enumerable: to copy or print the object must not throw.
function refuse(object, name, message) {
  ObjectDefineProperty(object, name, { __proto__: null, get() { throw new Error(message); }, enumerable: false, configurable: false });
}

function expose(name, value) {
  ObjectDefineProperty(globalThis, name, { __proto__: null, value, writable: true, enumerable: false, configurable: true });
}

module.exports = { baseEnvironment, defineGlobals, replaceEnvironment };

'use strict';
// What a program finds in its world beside Node: process.argv, its environment, and the global `belljar` with its alias `yepcode`.

const process = require('node:process');
const { ObjectDefineProperty, ObjectFreeze } = require('./intrinsics.js');

const PATH = '/usr/local/bin:/usr/bin:/bin';

const storageRefused = 'is not granted; grant it with storage: {"read": ["..."], "write": ["..."]}';

/** The environment of every sandbox; the run's own variables come over it. */
function baseEnvironment(home) {
  return { __proto__: null, PATH, HOME: home, USER: 'user', LANG: 'C.UTF-8', TMPDIR: '/tmp' };
}

/** Adds the run's own variables to the base environment, which process.env is since boot. */
function extendEnvironment(variables) {
  const env = process.env;
  for (const name of Object.keys(variables)) env[name] = variables[name];
}

/** Makes process.env be `wanted`. Listing it is what costs: done at boot. */
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
 * @param {object} native
 * @param {object} activation
 * @param {Function} display
 */
function defineGlobals(native, activation, display) {
  const { run, parameters, env, policy } = activation;
  // Loaded now, before the program can change what it is made of; and only where it is granted, because it costs time and memory.
  const isStorageGranted = policy.storage.read.length > 0 || policy.storage.write.length > 0;
  const storage = isStorageGranted ? require('./storage.js') : null;
  const environment = ObjectFreeze({ ...env });
  const belljar = {
    parameters,
    env: environment,
    secrets: ObjectFreeze({}),
    run: ObjectFreeze({ id: run.id, deadline: run.deadline, timeoutMs: run.timeout_ms }),
    display,
  };
  if (storage === null) refuse(belljar, 'storage', `belljar.storage ${storageRefused}`);
  else belljar.storage = storage.createStorage(native, storage.camelCased);
  expose('belljar', ObjectFreeze(belljar));

  // Rarely used, so made when it is first asked for.
  ObjectDefineProperty(globalThis, 'yepcode', {
    __proto__: null,
    get() {
      const yepcode = createYepcode(activation, environment, storage?.createStorage(native, storage.yepcodeNamed));
      expose('yepcode', yepcode);
      return yepcode;
    },
    set(value) { expose('yepcode', value); },
    enumerable: false,
    configurable: true,
  });
}

// The names that code written for that system expects.
function createYepcode({ run, parameters }, environment, storage) {
  const yepcode = {
    context: ObjectFreeze({ parameters, request: ObjectFreeze({ headers: ObjectFreeze({}) }) }),
    env: environment,
    execution: ObjectFreeze({ id: run.id, comment: null, process: null, schedule: null }),
  };
  if (storage === undefined) refuse(yepcode, 'storage', `yepcode.storage ${storageRefused}`);
  else yepcode.storage = storage;
  refuse(yepcode, 'datastore', 'yepcode.datastore is not available here; write files to outputs/ instead');
  refuse(yepcode, 'processes', 'yepcode.processes is not available here; a program cannot start another one');
  return ObjectFreeze(yepcode);
}

// Not enumerable: to copy or print the object must not throw.
function refuse(object, name, message) {
  ObjectDefineProperty(object, name, { __proto__: null, get() { throw new Error(message); }, enumerable: false, configurable: false });
}

function expose(name, value) {
  ObjectDefineProperty(globalThis, name, { __proto__: null, value, writable: true, enumerable: false, configurable: true });
}

module.exports = { baseEnvironment, defineGlobals, extendEnvironment, replaceEnvironment };

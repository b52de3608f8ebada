'use strict';
// Sets up the environment that a program has in addition to Node: process.argv, its environment
// variables, and the global `belljar` with its alias `yepcode`.

const process = require('node:process');
const { ObjectDefineProperty, ObjectFreeze } = require('./intrinsics.js');

const PATH = '/usr/local/bin:/usr/bin:/bin';

const storageRefused = 'is not granted; grant it with storage: {"read": ["..."], "write": ["..."]}';

/** The environment variables of every sandbox, which the run's own variables override. */
function baseEnvironment(home) {
  return { __proto__: null, PATH, HOME: home, USER: 'user', LANG: 'C.UTF-8', TMPDIR: '/tmp' };
}

/** Adds the run's own variables to the base environment, which process.env is since boot. */
function extendEnvironment(variables) {
  const env = process.env;
  for (const name of Object.keys(variables)) env[name] = variables[name];
}

/** Makes process.env equal to `wanted`. Listing it takes time, so this is done at boot. */
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
 * Defines `belljar` and `yepcode`. Neither is enumerable, so that code which looks for leaked
 * globals finds none.
 * @param {Execution} execution
 * @param {Function} display
 */
function defineGlobals(execution, display) {
  const { activation } = execution;
  const { run, parameters, env, policy } = activation;
  // Loaded before the program can change the objects that it uses, and only if it is granted,
  // because it costs time and memory.
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
  else belljar.storage = storage.createStorage(execution, storage.camelCased);
  expose('belljar', ObjectFreeze(belljar));

  // Rarely used, so it is created at its first use.
  ObjectDefineProperty(globalThis, 'yepcode', {
    __proto__: null,
    get() {
      const yepcode = createYepcode(activation, environment, storage?.createStorage(execution, storage.yepcodeNamed));
      expose('yepcode', yepcode);
      return yepcode;
    },
    set(value) { expose('yepcode', value); },
    enumerable: false,
    configurable: true,
  });
}

// The names that code written for YepCode expects.
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

// Not enumerable, because copying or printing the object must not throw.
function refuse(object, name, message) {
  ObjectDefineProperty(object, name, { __proto__: null, get() { throw new Error(message); }, enumerable: false, configurable: false });
}

function expose(name, value) {
  ObjectDefineProperty(globalThis, name, { __proto__: null, value, writable: true, enumerable: false, configurable: true });
}

module.exports = { baseEnvironment, defineGlobals, extendEnvironment, replaceEnvironment };

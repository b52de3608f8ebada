'use strict';
// The Node driver: the steps of a sandbox, from boot to the start of the program or of the search
// for its imports. docs/concepts/drivers.md is the contract with the native library and the
// supervisor. The end of a run is in ending.js.

const fs = require('node:fs');
const { createRequire } = require('node:module');
const path = require('node:path');
const process = require('node:process');
const { createDisplay } = require('./display.js');
const { Denials, observe } = require('./denials.js');
const { Ending } = require('./ending.js');
const { Execution } = require('./execution.js');
const { baseEnvironment, defineGlobals, extendEnvironment, replaceEnvironment } = require('./globals.js');
const {
  describeProcessors, redefinePid, seedFromRequest, seedMathRandom, spareMathRandom, takeCachedRandomness,
} = require('./identity.js');
const { HOME, LIBRARY } = require('./library.js');
const { addGlobalPackages } = require('./loader.js');
const { annotateOutput } = require('./output.js');
const { runProgram } = require('./program.js');

/** The native library, as drivers.md describes it. */
function loadNative() {
  const library = { exports: {} };
  process.dlopen(library, LIBRARY);
  return library.exports;
}

/**
 * Boots, waits for a run, and runs it. Returns after the program has been started; the event loop
 * does the rest.
 * @param {object} native the native library
 * @param {{home: string, boot: {start: string, cpus?: {model: string, speed: number}[], rehearsal:
 *   string}}} place
 */
function drive(native, { home, boot }) {
  const denials = new Denials();
  const ending = new Ending(native, denials);
  replaceEnvironment(baseEnvironment(home));
  addGlobalPackages();
  annotateOutput(native);
  describeProcessors(boot.cpus);
  // A native function, so that it looks like Node's own.
  process.constrainedMemory = native.constrainedMemory;
  observe(denials);
  // A process that was not forked runs one program, so modules that it does not use are not worth
  // loading.
  const zygote = boot.start === 'exec' ? null : require('./boot.js');
  zygote?.warmUp(native, boot.rehearsal, rehearse);
  const importsHere = boot.environment?.preload === 'sandbox';
  const importedInZygote = boot.environment !== undefined && boot.environment !== null && !importsHere;
  const renewCachedRandomness = importedInZygote ? importInZygote(native, boot.environment.modules) : undefined;
  ending.takeOver();

  // The scout is not jailed, so no code of a package may run in it.
  const isScout = native.start(boot.rehearsal) === true;

  takeIdentity(native);
  renewCachedRandomness?.();
  ending.takeOverLoop();
  if (importsHere && !isScout) importModules(boot.environment.modules);
  const text = native.receive();
  native.fitHeap();
  execute(native, text, home, { denials, ending });
}

// Imports packages once for all sandboxes. Their state must survive a fork, and they must not draw
// random values that each sandbox has to draw for itself: Node's cached random values are discarded
// in each sandbox by the function that this returns.
function importInZygote(native, modules) {
  const renewCachedRandomness = takeCachedRandomness();
  native.beginImports();
  const stopSparing = spareMathRandom(native);
  importModules(modules);
  // A package may seed a generator of its own with the value, which all sandboxes would then share.
  if (stopSparing()) native.neverFork('draws from Math.random as it is imported');
  return renewCachedRandomness;
}

// Code of the packages runs from here on; the driver took the builtins that it needs long before.
// An import that fails here fails again in the program, which then gets the error. Modules are not
// resolved from the working folder: Node would remember that it has no package.json, before the
// run's files are there.
function importModules(modules) {
  const requireFromTop = createRequire('/main.js');
  for (const name of modules) {
    try {
      requireFromTop(name);
    } catch {}
  }
}

// Corrects the facts about the zygote that a fork would still report as its own.
function takeIdentity(native) {
  redefinePid(native);
  seedMathRandom(native.randomSeed());
}

// Starts the execution that `text` activates. `denials` and `ending` belong to the process.
function execute(native, text, home, { denials, ending }) {
  const execution = new Execution(native, JSON.parse(text));
  const { activation } = execution;
  denials.begin(execution);
  ending.begin(execution);
  if (activation.task === 'find_imports') return reportImports(native, activation, home, ending);
  if (activation.seed !== null && activation.seed !== undefined) seedMathRandom(seedFromRequest(activation.seed));
  process.chdir(home);
  extendEnvironment(activation.env);
  if (activation.env.NODE_PATH !== undefined) addGlobalPackages();
  defineGlobals(execution, createDisplay(execution));
  runProgram(native, activation, home, ending);
}

// Finds imports instead of running the program. The program and its environment enter this process
// only as text.
function reportImports(native, activation, home, ending) {
  try {
    ending.settle(require('./imports.js').findImports(native, activation, home));
  } catch (error) {
    ending.fail(error);
  }
}

// Runs `program` completely, with an end that is reported nowhere.
function rehearse(native, text, home) {
  let onIdle;
  const silent = {
    __proto__: null, pid: native.pid, parentPid: native.parentPid, randomSeed: native.randomSeed, prepare: native.prepare,
    execution: () => 0, send() {}, end() {}, exit() {}, alive: () => false, onIdle(callback) { onIdle = callback; }, runFromLoop: callSteps,
    wakeLater() {},
  };
  const denials = new Denials();
  takeIdentity(silent);
  const ending = new Ending(silent, denials);
  ending.takeOverLoop();
  execute(silent, text, home, { denials, ending });
  process._tickCallback();
  callSteps(undefined, onIdle);
}

// The functions that are passed to `native.runFromLoop` and `native.onIdle`.
function callSteps(first, next) {
  for (let step = first, value; ;) {
    if (step !== undefined) value = step();
    step = next(false, value);
    if (typeof step !== 'function') return;
  }
}

/** The entry point of a sandbox. */
function main() {
  const boot = JSON.parse(fs.readFileSync(path.join(__dirname, '..', 'boot.json'), 'utf8'));
  drive(loadNative(), { home: HOME, boot });
}

module.exports = { drive, main };

'use strict';
// The Node driver: the order of things in a sandbox, from boot to the start of the program or of the search for its imports.
// docs/concepts/drivers.md is the contract with the native library and the supervisor. How a run ends is in ending.js.

const fs = require('node:fs');
const { createRequire } = require('node:module');
const path = require('node:path');
const process = require('node:process');
const { createDisplay } = require('./display.js');
const { Denials, observe } = require('./denials.js');
const { Ending } = require('./ending.js');
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
 * Boots, waits for a run, runs it. Does not return before the program has been started; the loop does the rest.
 * @param {object} native the native library
 * @param {{home: string, boot: {start: string, cpus?: {model: string, speed: number}[], rehearsal: string}}} place
 */
function drive(native, { home, boot }) {
  const denials = new Denials(native);
  const ending = new Ending(native, denials);
  const display = createDisplay(native);
  replaceEnvironment(baseEnvironment(home));
  addGlobalPackages();
  annotateOutput(native);
  describeProcessors(boot.cpus);
  // Native, so that it looks as Node's own does.
  process.constrainedMemory = native.constrainedMemory;
  observe(denials);
  // A process of its own runs one program: what it does not use is not worth loading.
  const zygote = boot.start === 'exec' ? null : require('./boot.js');
  zygote?.warmUp(native, boot.rehearsal, rehearse);
  const importsHere = boot.environment?.ahead === 'sandbox';
  const importedInZygote = boot.environment !== undefined && boot.environment !== null && !importsHere;
  const renewCachedRandomness = importedInZygote ? importInZygote(native, boot.environment.modules) : undefined;
  ending.takeOver();

  // The scout is not jailed: nothing of a package's may run in it.
  const isScout = native.start(boot.rehearsal) === true;

  takeIdentity(native);
  renewCachedRandomness?.();
  ending.takeOverLoop();
  if (importsHere && !isScout) importAhead(boot.environment.modules);
  const text = native.receive();
  native.fitHeap();
  activate(native, text, home, { denials, ending, display });
}

// Once for all sandboxes. What the packages leave behind must survive a fork, and draw nothing that each sandbox has to draw for itself:
// what they may have drawn all the same is thrown away, in each sandbox, by what this returns.
function importInZygote(native, modules) {
  const renewCachedRandomness = takeCachedRandomness();
  native.beginImports();
  const stopSparing = spareMathRandom(native);
  importAhead(modules);
  // What was drawn may be the seed of a generator of a package's own, which every sandbox would go on with.
  if (stopSparing()) native.neverFork('draws from Math.random as it is imported');
  return renewCachedRandomness;
}

// Code of the packages runs from here on: the driver has taken what it needs of the builtins long before. What fails here fails again
// in the program, which is then told why. Not from the working folder: Node would remember that this has no package.json, before the
// run's files are there.
function importAhead(modules) {
  const requireFromTop = createRequire('/main.js');
  for (const name of modules) {
    try {
      requireFromTop(name);
    } catch {}
  }
}

// What of the zygote a fork still takes itself for.
function takeIdentity(native) {
  redefinePid(native);
  seedMathRandom(native.randomSeed());
}

function activate(native, text, home, { denials, ending, display }) {
  const activation = JSON.parse(text);
  if (activation.task === 'find_imports') return reportImports(native, activation, home, ending);
  if (activation.seed !== null && activation.seed !== undefined) seedMathRandom(seedFromRequest(activation.seed));
  process.chdir(home);
  extendEnvironment(activation.env);
  if (activation.env.NODE_PATH !== undefined) addGlobalPackages();
  defineGlobals(native, activation, display);
  denials.judgeBy(activation.policy);
  ending.begin(activation);
  runProgram(native, activation, home, ending);
}

// In place of a run: nothing of the program's, its environment included, comes into this process but as text.
function reportImports(native, activation, home, ending) {
  ending.begin(activation);
  try {
    ending.settle(require('./imports.js').findImports(native, activation, home));
  } catch (error) {
    ending.fail(error);
  }
}

// A run of `program`, with everything that a run does, whose end goes nowhere.
function rehearse(native, text, home) {
  let onIdle;
  const silent = {
    __proto__: null, pid: native.pid, parentPid: native.parentPid, randomSeed: native.randomSeed, prepare: native.prepare,
    send() {}, exit() {}, alive: () => false, onIdle(callback) { onIdle = callback; }, runFromLoop: callSteps,
    wakeLater() {},
  };
  const denials = new Denials(silent);
  takeIdentity(silent);
  const ending = new Ending(silent, denials);
  ending.takeOverLoop();
  activate(silent, text, home, { denials, ending, display: createDisplay(silent) });
  process._tickCallback();
  callSteps(undefined, onIdle);
}

// What the loop does with what `native.runFromLoop` and `native.onIdle` are given.
function callSteps(first, next) {
  for (let step = first, value; ;) {
    if (step !== undefined) value = step();
    step = next(false, value);
    if (typeof step !== 'function') return;
  }
}

/** What a sandbox starts. */
function main() {
  const boot = JSON.parse(fs.readFileSync(path.join(__dirname, '..', 'boot.json'), 'utf8'));
  drive(loadNative(), { home: HOME, boot });
}

module.exports = { drive, main };

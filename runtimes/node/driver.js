'use strict';
// The Node driver: the order of things in a sandbox, from boot to the start of the program. docs/concepts/drivers.md is the contract
// with the native library and the supervisor. How a run ends is in ending.js.

const fs = require('node:fs');
const path = require('node:path');
const process = require('node:process');
const { warmUp } = require('./boot.js');
const { createDisplay } = require('./display.js');
const { Denials, observe } = require('./denials.js');
const { Ending } = require('./ending.js');
const { baseEnvironment, defineGlobals, replaceEnvironment } = require('./globals.js');
const { describeProcessors, dieOfOwnSignals, redefinePid, seedFromKernel, seedFromRequest, seedMathRandom } = require('./identity.js');
const { addGlobalPackages } = require('./loader.js');
const { annotateOutput } = require('./output.js');
const { runProgram } = require('./program.js');

const HOME = '/home/user';
const LIBRARY = '/opt/belljar/libbelljar.so';

/** The native library, as drivers.md describes it. */
function loadNative() {
  const library = { exports: {} };
  process.dlopen(library, LIBRARY);
  return library.exports;
}

/**
 * Boots, waits for a run, runs it. Does not return before the program has been started; the loop does the rest.
 * @param {object} native the native library
 * @param {{home: string, boot: {cpus?: {model: string, speed: number}[]}}} place
 */
function drive(native, { home, boot }) {
  const denials = new Denials(native);
  const ending = new Ending(native, denials);
  const display = createDisplay(native);
  replaceEnvironment(baseEnvironment(home));
  addGlobalPackages();
  annotateOutput(native);
  describeProcessors(boot.cpus);
  dieOfOwnSignals((code) => ending.die(code));
  observe(denials);
  warmUp(native);

  native.start();

  redefinePid();
  seedMathRandom(seedFromKernel(native));
  const activation = JSON.parse(native.receive());
  if (activation.seed !== null && activation.seed !== undefined) seedMathRandom(seedFromRequest(activation.seed));

  process.chdir(home);
  replaceEnvironment({ ...baseEnvironment(home), ...activation.env });
  if (activation.env.NODE_PATH !== undefined) addGlobalPackages();
  defineGlobals(activation, display);
  denials.judgeBy(activation.policy);
  ending.begin(activation);
  runProgram(native, activation, home, ending);
}

if (require.main === module) {
  const boot = JSON.parse(fs.readFileSync(path.join(__dirname, '..', 'boot.json'), 'utf8'));
  drive(loadNative(), { home: HOME, boot });
}

module.exports = { drive };

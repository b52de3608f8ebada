'use strict';
// node --expose-internals run.js HOME ACTIVATION: drives one run over the double.
const fs = require('node:fs');
const { createNative } = require('./native.js');

const [home, activationFile] = process.argv.slice(2);
if (process.env.DOUBLE_PRELUDE) require(process.env.DOUBLE_PRELUDE);
const native = createNative(activationFile);
const { drive } = require('../../driver.js');

const activation = JSON.parse(fs.readFileSync(activationFile, 'utf8'));
// A zygote is warmed before any run, so nothing of a run is passed.
const policy = {
  fs: { read: [], write: [] },
  net: [],
  loopback: false,
  env: {},
  exec: false,
  secrets: [],
  storage: { read: [], write: [] },
};
const rehearsal = JSON.stringify({
  ...activation,
  task: 'run',
  language: 'javascript',
  env: {},
  seed: null,
  finish: 'idle',
  policy,
});
drive(native, {
  home,
  boot: { start: 'fork', cpus: [{ model: 'Test CPU', speed: 3000 }], rehearsal },
});

'use strict';
// node --expose-internals run.js HOME ACTIVATION: drives one run over the double.
const fs = require('node:fs');
const { createNative } = require('./native.js');

const [home, activationFile] = process.argv.slice(2);
if (process.env.DOUBLE_PRELUDE) require(process.env.DOUBLE_PRELUDE);
const native = createNative(activationFile);
const { drive } = require('../../driver.js');

const rehearsal = fs.readFileSync(activationFile, 'utf8');
drive(native, { home, boot: { start: 'fork', cpus: [{ model: 'Test CPU', speed: 3000 }], rehearsal } });

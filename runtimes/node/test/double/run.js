'use strict';
// node --expose-internals run.js HOME ACTIVATION: drives one run over the double.
const { createNative } = require('./native.js');

const [home, activationFile] = process.argv.slice(2);
if (process.env.DOUBLE_PRELUDE) require(process.env.DOUBLE_PRELUDE);
const native = createNative(activationFile);
const { drive } = require('../../driver.js');

drive(native, { home, boot: { cpus: [{ model: 'Test CPU', speed: 3000 }] } });

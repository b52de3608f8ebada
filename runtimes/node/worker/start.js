'use strict';
// Preloaded in each worker thread. The driver is one script in a sandbox, and many files where its
// own tests run.

const bundle = require('../driver.js');
const load = typeof bundle === 'function' ? bundle : (name) => require(`../${name}`);
const { HOME } = load('./library.js');
load('./workers.js').startWorker(HOME);

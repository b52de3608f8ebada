'use strict';
// `require('belljar')`: the global under the name of a module.
module.exports = globalThis.belljar;

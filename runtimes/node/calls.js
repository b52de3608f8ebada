'use strict';
// Whether a function has ever been called, as far as V8 tells: functions are compiled when they are first called.

const v8 = require('node:v8');

v8.setFlagsFromString('--allow-natives-syntax');
const statusOf = new Function('callee', 'return %GetOptimizationStatus(callee)');
statusOf(statusOf); // compiled now, while the syntax is allowed
v8.setFlagsFromString('--no-allow-natives-syntax');

// The bits differ between versions of V8; what a function looks like that nobody calls does not have to be known.
const neverCalled = statusOf(function () {});

/** False is certain. True says that code of this function, which other closures may share, has run. */
function hasRun(callee) {
  return statusOf(callee) !== neverCalled;
}

module.exports = { hasRun };

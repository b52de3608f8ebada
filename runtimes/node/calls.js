'use strict';
// Detects by V8 whether a function has ever been called: functions are compiled at their first
// call.

const v8 = require('node:v8');

v8.setFlagsFromString('--allow-natives-syntax');
const statusOf = new Function('callee', 'return %GetOptimizationStatus(callee)');
statusOf(statusOf); // compiled now, while the syntax is allowed
v8.setFlagsFromString('--no-allow-natives-syntax');

// The status bits differ between versions of V8, so they are taken from a function that is never
// called.
const neverCalled = statusOf(function () {});

/**
 * Returns whether a function has run. False is certain; true means that the function's code has
 * run, which other closures may share.
 */
function hasRun(callee) {
  return statusOf(callee) !== neverCalled;
}

module.exports = { hasRun };

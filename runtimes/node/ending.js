'use strict';
// How a run ends, exactly once: FINISHED, then exit. Node's own ends (an empty loop, process.exit, an uncaught error) all lead here,
// because Node's teardown joins threads that a forked process does not have.

const process = require('node:process');
const {
  EventEmitterPrototypeListenerCount, Number, NumberIsInteger, PromiseReject, ReflectApply, setImmediate,
} = require('./intrinsics.js');
const { toJSONText } = require('./convert.js');
const { describeError, describeFailure } = require('./errors.js');
const { denialWithin } = require('./grants.js');
const { hintFor } = require('./hints.js');

const FINISHED = 5;

// Runs what process.nextTick and promises have queued, as Node does when a callback of its own returns.
const runTicks = process._tickCallback;

/** The end of one run. Created at boot; `begin` when the run is known. Each of its ways ends in `native.exit`. */
class Ending {
  #native;
  #denials;
  #activation = null;
  #settled = false;
  #value = undefined;
  /** What main was rejected with, as long as Node has not said whether the program handles it. */
  #rejection = null;
  /** The error that is ending the run while its `exit` listeners run. */
  #fatal = null;
  #isLastLook = false;
  #reporting = false;

  constructor(native, denials) {
    this.#native = native;
    this.#denials = denials;
    this.settle = this.settle.bind(this);
    this.fail = this.fail.bind(this);
    this.reject = this.reject.bind(this);
  }

  /** Makes this the end that all of Node's own ends lead to. */
  takeOver() {
    takeOverExit((code) => this.#exit(code));
    takeOverFatalException(this);
  }

  /** The end of the loop leads here too. Before the run is known, so that its context is none of the program's. */
  takeOverLoop() {
    this.#native.onIdle(() => {
      try {
        this.#idle();
      } catch (error) {
        process._fatalException(error, false); // thrown by a listener to 'beforeExit'
      }
    });
  }

  /** From now on this process runs a program. */
  begin(activation) {
    this.#activation = activation;
  }

  /** The result of the program is known. */
  settle(value) {
    this.#settled = true;
    this.#value = value;
    if (this.#activation.finish === 'settled') this.#end();
  }

  /** The program threw: an uncaught exception, which its own handlers may take. */
  fail(error) {
    this.#settled = true;
    process._fatalException(error, false);
  }

  /** A promise of the program's was rejected: an unhandled rejection, which its own handlers may take. */
  reject(error) {
    this.#settled = true;
    this.#rejection = { __proto__: null, error };
    PromiseReject(error); // Node does the rest as for any promise that nobody handles
  }

  /** An error that no handler of the program's took. */
  uncaught(error) {
    const { code } = readCode(error);
    this.#report(code === 'ERR_UNHANDLED_REJECTION' && this.#rejection !== null ? this.#rejection.error : error);
  }

  /** Marks that the program is going down with `error`, so that an `exit` listener that calls process.exit does not hide it. */
  goingDown(error) {
    this.#fatal = { __proto__: null, error };
  }

  /** The run ends as if by a signal: at once, without listeners. */
  die(code) {
    this.#finish(this.#settledText(), 'null', code);
  }

  // The loop is empty. As in Node: 'beforeExit', the ticks and promise jobs that it made, and if nothing is alive then, 'exit'.
  #idle() {
    if (!this.#settled && !this.#isLastLook) {
      // Before a result is given up, V8's own pending tasks get a turn of the loop.
      this.#isLastLook = true;
      return setImmediate(nothing);
    }
    if (EventEmitterPrototypeListenerCount(process, 'beforeExit') > 0) {
      process.emit('beforeExit', process.exitCode ?? 0);
      runTicks();
      if (this.#native.alive()) {
        this.#isLastLook = false;
        return;
      }
    }
    if (this.#settled) this.#end();
    else this.#neverSettled();
  }

  #neverSettled() {
    this.#finish('null', describeFailure('NeverSettled',
      'the result is a promise that was never resolved, and nothing is left that could resolve it'), this.#exitCode());
  }

  #end() {
    process._exiting = true;
    try {
      process.emit('exit', process.exitCode ?? 0);
    } catch (error) {
      process._fatalException(error, false);
    }
    this.#finish(null, 'null', this.#exitCode());
  }

  // process.exit(code), also from within 'exit' listeners.
  #exit(code) {
    if (this.#fatal !== null) return this.#report(this.#fatal.error);
    this.#finish(this.#settledText(), 'null', exitCodeOf(code) ?? 0);
  }

  #report(error) {
    const denial = denialWithin(error, this.#activation.policy);
    if (denial !== null) this.#denials.send(denial);
    const hint = denial === null ? hintFor(this.#native, error, this.#activation) : denial.hint;
    this.#finish('null', describeError(error, hint), null);
  }

  #exitCode() {
    try {
      return exitCodeOf(process.exitCode);
    } catch {
      return null;
    }
  }

  #settledText() {
    return this.#settled ? null : 'null';
  }

  // `value` null stands for the result, which is converted now: what it holds may have been filled in until the very end.
  #finish(value, error, exitCode) {
    let valueText = value;
    let errorText = error;
    if (value === null) {
      if (this.#reporting) valueText = 'null'; // process.exit from a toJSON or a getter of the result
      else ({ valueText, errorText } = this.#convert());
    }
    this.#native.send(FINISHED, `{"value":${valueText},"error":${errorText},"exit_code":${exitCode === null ? 'null' : exitCode}}`);
    this.#native.exit(exitCode ?? (errorText === 'null' ? 0 : 1));
  }

  #convert() {
    this.#reporting = true;
    try {
      return { __proto__: null, valueText: toJSONText(this.#value, this.#activation.limits.result_bytes), errorText: 'null' };
    } catch (failure) {
      return { __proto__: null, valueText: 'null', errorText: describeFailure(failure.name, failure.message) };
    }
  }
}

// process.exit ends in process.reallyExit, and so do the packages that wrap it.
function takeOverExit(exit) {
  process.reallyExit = { reallyExit(code) { exit(code); } }.reallyExit;
}

// Node calls process._fatalException for every uncaught error, and ends the process natively when it returns false. Its own
// implementation stays in charge of 'uncaughtException' listeners, capture callbacks and domains.
function takeOverFatalException(ending) {
  const original = process._fatalException;
  process._fatalException = function _fatalException(error, fromPromise) {
    const taken = EventEmitterPrototypeListenerCount(process, 'uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback();
    if (!taken) ending.goingDown(error);
    let handled = false;
    try {
      handled = ReflectApply(original, this, [error, fromPromise]);
    } catch (second) {
      ending.uncaught(second); // a handler that throws
    }
    if (!handled) ending.uncaught(error);
    return true;
  };
}

function exitCodeOf(code) {
  if (code === undefined || code === null) return null;
  const number = Number(code);
  return NumberIsInteger(number) ? number | 0 : null;
}

function readCode(error) {
  try {
    return { __proto__: null, code: error === null || typeof error !== 'object' ? undefined : error.code };
  } catch {
    return { __proto__: null, code: undefined };
  }
}

function nothing() {}

module.exports = { Ending };

'use strict';
// Ends an execution, exactly once: sends its report, then exits. Node's own ends (an empty loop,
// process.exit, an uncaught error) all lead here, because Node's teardown joins threads that a
// forked process does not have.

const { performance } = require('node:perf_hooks');
const process = require('node:process');
const {
  EventEmitterPrototypeListenerCount, FunctionPrototypeBind, FunctionPrototypeToString, MathTrunc, Number, NumberIsInteger,
  ObjectPrototypeIsPrototypeOf, PromiseReject, StringPrototypeStartsWith, setImmediate,
} = require('./intrinsics.js');
const { ConversionFailure, PLAIN_DATA, toJSONText, withArticle } = require('./convert.js');
const { describeError, describeFailure } = require('./errors.js');
const { denialWithin } = require('./grants.js');
const { hintFor } = require('./hints.js');
const { classNameOf } = require('./live.js');
const { Notes } = require('./notes.js');
const { EXPORTED, RETURNED, SHOWN } = require('./origins.js');
const { describePending } = require('./pending.js');

const SETTLED = 10;

/**
 * Time after its result at which a run that is not over reports what it is waiting for. It reports
 * this once more shortly before its time limit.
 */
const FIRST_LOOK_MS = 100;
const LAST_LOOK_MS = 100;

const now = FunctionPrototypeBind(performance.now, performance);

// Runs the queues of process.nextTick and of promises, as Node does when a callback of its own
// returns.
const runTicks = process._tickCallback;

/**
 * The end of the process and of its execution. Created at boot; `begin` is called when the execution
 * is known. Each of its paths leads to `native.exit`.
 */
class Ending {
  #native;
  #denials;
  #execution = null;
  #notes = null;
  #begunAt = 0;
  /** The name of the program's file, and its text. */
  #program = { __proto__: null, name: '', source: '' };
  #settled = false;
  #value = undefined;
  #origin = RETURNED;
  /** Number of times that the result was sent while something was still open. */
  #looks = 0;
  /** The things that were open when the result was first sent. */
  #pending = '[]';
  /** The rejection of main, until Node reports whether the program handles it. */
  #rejection = null;
  /** The error that is ending the run while its `exit` listeners run. */
  #fatal = null;
  #isLastLook = false;
  #reporting = false;

  constructor(native, denials) {
    this.#native = native;
    this.#denials = denials;
    this.await = this.await.bind(this);
    this.note = this.note.bind(this);
    this.settle = this.settle.bind(this);
    this.fail = this.fail.bind(this);
    this.reject = this.reject.bind(this);
  }

  /** Replaces the ways in which Node ends a process with this one. */
  takeOver() {
    takeOverExit((code) => this.#exit(code));
    takeOverFatalException(this.#native, this);
  }

  /**
   * Handles the end of the event loop, too. Called before the run is known, so that the context of
   * the handler does not belong to the program.
   */
  takeOverLoop() {
    let resume = null;
    this.#native.onIdle((threw, value) => {
      // A listener of one of the events threw. If the program handles the error, the run continues
      // as if the listener had returned.
      if (threw) return this.failure(value);
      const step = resume ?? (() => this.#idle());
      resume = null;
      const next = step();
      if (next === undefined) return undefined;
      resume = next.resume;
      return next.call;
    });
  }

  /** Remembers the execution and when it began. */
  begin(execution) {
    this.#execution = execution;
    this.#notes = new Notes(execution);
    this.#begunAt = now();
  }

  /** Remembers the name and the source of the program. */
  about(name, source) {
    this.#program = { __proto__: null, name, source };
  }

  /** Adds a note for the author of the program. */
  note(text) {
    this.#notes.add(text);
  }

  /**
   * Records that the result is a promise, and where it comes from, in case nothing ever settles it.
   */
  await(origin) {
    this.#origin = origin;
  }

  /** Takes the result of the program. */
  settle(value, origin) {
    this.#settled = true;
    this.#value = value;
    this.#origin = origin;
    if (this.#execution.activation.finish === 'settled') return this.#endSoon();
    this.#lookLater();
  }

  /** Handles an uncaught exception, which the program's own handlers may take. */
  fail(error) {
    this.#settled = true;
    process._fatalException(error, false);
  }

  /** Returns the same as a function, to be called on an empty stack. */
  failure(error) {
    this.#settled = true;
    return FunctionPrototypeBind(process._fatalException, process, error, false);
  }

  /** Handles an unhandled rejection, which the program's own handlers may take. */
  reject(error) {
    this.#settled = true;
    this.#rejection = { __proto__: null, error };
    PromiseReject(error); // Node does the rest, as for any unhandled rejection
  }

  /** Ends the run with an error that no handler of the program took. */
  uncaught(error) {
    const { code } = readCode(error);
    this.#report(code === 'ERR_UNHANDLED_REJECTION' && this.#rejection !== null ? this.#rejection.error : error);
  }

  /**
   * Records that `error` is ending the program, so that an `exit` listener that calls process.exit
   * does not hide it.
   */
  goingDown(error) {
    this.#fatal = { __proto__: null, error };
  }

  // Called when the loop is empty. As in Node: emits 'beforeExit', runs the ticks and promise jobs
  // that it caused, and if nothing is alive then, emits 'exit'. Returns the function to call on an
  // empty stack, and the step that follows it.
  #idle() {
    if (!this.#settled && !this.#isLastLook) {
      // Before a result is given up, V8's own pending tasks get a turn of the loop.
      this.#isLastLook = true;
      setImmediate(nothing);
      return undefined;
    }
    if (EventEmitterPrototypeListenerCount(process, 'beforeExit') === 0) return this.#over();
    return { __proto__: null, call: emitting('beforeExit'), resume: () => this.#afterBeforeExit() };
  }

  #afterBeforeExit() {
    runTicks();
    if (!this.#native.alive()) return this.#over();
    this.#isLastLook = false;
    return undefined;
  }

  #over() {
    if (!this.#settled) return this.#neverSettled();
    return this.#exiting() ?? this.#finish(null, 'null', this.#exitCode());
  }

  #neverSettled() {
    if (this.#origin === SHOWN) {
      this.note('the last expression is a promise that nothing is left to settle; its value is null');
      return this.#finish('null', 'null', this.#exitCode());
    }
    return this.#finish('null', describeFailure('NeverSettled',
      'the result is a promise that was never resolved, and nothing is left that could resolve it'), this.#exitCode());
  }

  /**
   * Returns a call of the listeners of 'exit', followed by the end, or undefined if there are none.
   */
  #exiting() {
    process._exiting = true;
    if (EventEmitterPrototypeListenerCount(process, 'exit') === 0) return undefined;
    return { __proto__: null, call: emitting('exit'), resume: () => this.#finish(null, 'null', this.#exitCode()) };
  }

  // Functions are called from the event loop, which runs at once.
  #endSoon() {
    const exiting = this.#exiting();
    if (exiting === undefined) return this.#finish(null, 'null', this.#exitCode());
    return this.#native.runFromLoop(exiting.call, (threw, error) => (threw ? this.failure(error) : exiting.resume()));
  }

  /**
   * Schedules a check of whether the run is still not over: soon, and once more shortly before its
   * time limit.
   */
  #lookLater() {
    const timeout = this.#execution.activation.limits.timeout_ms;
    const left = timeout - (now() - this.#begunAt);
    const delay = this.#looks > 0 ? left - LAST_LOOK_MS : left / 4 < FIRST_LOOK_MS ? left / 4 : FIRST_LOOK_MS;
    if (delay > 0) this.#native.wakeLater(MathTrunc(delay), () => this.#look());
  }

  /** Reports the result of a run that is still running, in case it is ended from outside. */
  #look() {
    if (!this.#native.alive()) return;
    this.#looks++;
    const { valueText, errorText } = this.#convert();
    const value = errorText === 'null' ? valueText : 'null';
    if (this.#looks === 1) {
      // First immediately, because time may be short; then with details that take longer to find.
      const pending = describePending(this.#program, false);
      this.#execution.send(SETTLED, `{"value":${value},"pending":${pending}}`);
      this.#pending = describePending(this.#program, true);
      if (this.#pending !== pending) this.#execution.send(SETTLED, `{"value":${value},"pending":${this.#pending}}`);
    } else {
      this.#execution.send(SETTLED, `{"value":${value},"pending":${this.#pending}}`);
    }
    if (this.#looks === 1) this.#lookLater();
  }

  // process.exit(code), also from within 'exit' listeners.
  #exit(code) {
    if (this.#fatal !== null) return this.#report(this.#fatal.error);
    this.#finish(this.#settledText(), 'null', exitCodeOf(code) ?? 0);
  }

  #report(error) {
    const denial = denialWithin(error, this.#execution.activation.policy);
    if (denial !== null) this.#denials.send(denial);
    const hint = denial === null ? hintFor(this.#native, error, this.#execution.activation) : denial.hint;
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

  // A `value` of null means the result, which is converted now: the program may have changed it
  // until the very end.
  #finish(value, error, exitCode) {
    let valueText = value;
    let errorText = error;
    if (value === null) {
      // The result's own toJSON or getter has called process.exit.
      if (this.#reporting) valueText = 'null';
      else ({ valueText, errorText } = this.#convert());
    }
    // Without an execution, a package that is imported in advance ends the process.
    this.#execution?.end(`{"value":${valueText},"error":${errorText},"exit_code":${exitCode === null ? 'null' : exitCode}}`);
    this.#native.exit(exitCode ?? (errorText === 'null' ? 0 : 1));
  }

  #convert() {
    this.#reporting = true;
    try {
      return { __proto__: null, valueText: toJSONText(this.#value, this.#execution.activation.limits.result_bytes), errorText: 'null' };
    } catch (failure) {
      return { __proto__: null, valueText: 'null', errorText: this.#unconverted(asConversionFailure(failure)) };
    } finally {
      this.#reporting = false;
    }
  }

  /**
   * Reports a value that has no JSON form. Only a value that was returned explicitly fails the run;
   * exports may be an interface.
   */
  #unconverted(failure) {
    const { name, message, path, problem, hint, isCode } = failure;
    if (this.#origin === SHOWN) {
      this.note(noteOf(this.#value, failure));
      return 'null';
    }
    if (this.#origin === EXPORTED && isCode) {
      this.note(`the exports have no JSON form (${path} ${problem}), so they are taken for an interface; the value is null; ${hint}`);
      return 'null';
    }
    return describeFailure(name, message);
  }
}

/** Returns the note about a last expression that has no JSON form. */
function noteOf(value, { name, path, problem, hint, limit }) {
  if (name === 'ResultTooLarge') return `the last expression has more than ${limit} bytes of JSON; its value is null`;
  const advice = hint === PLAIN_DATA ? '' : `; ${hint}`;
  if (path !== '$') return `the last expression has no JSON form (${path} ${problem}); its value is null${advice}`;
  return `the last expression, ${kindOf(value)}, has no JSON form; its value is null${advice}`;
}

function kindOf(value) {
  if (typeof value === 'symbol') return 'a symbol';
  if (typeof value === 'function') return StringPrototypeStartsWith(FunctionPrototypeToString(value), 'class') ? 'a class' : 'a function';
  return withArticle(classNameOf(value) || 'object');
}

// Any other exception, for example at the end of the stack, must not end the run without a report.
function asConversionFailure(failure) {
  if (ObjectPrototypeIsPrototypeOf(ConversionFailure.prototype, failure)) return failure;
  return new ConversionFailure('ResultNotSerializable', 'the result cannot be given as JSON: reading it failed; return plain data instead',
    { __proto__: null, path: '$', problem: 'could not be read', hint: PLAIN_DATA });
}

/** Returns a function that emits an event of the process, with its exit code. */
function emitting(event) {
  return FunctionPrototypeBind(process.emit, process, event, process.exitCode ?? 0);
}

// process.exit ends in process.reallyExit, and so do the packages that wrap it.
function takeOverExit(exit) {
  process.reallyExit = { reallyExit(code) { exit(code); } }.reallyExit;
}

// Node calls process._fatalException for every uncaught error, and ends the process natively when
// it returns false. Its own implementation stays in charge of 'uncaughtException' listeners,
// capture callbacks and domains.
function takeOverFatalException(native, ending) {
  const before = (error) => {
    const taken = EventEmitterPrototypeListenerCount(process, 'uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback();
    if (!taken) ending.goingDown(error);
    return { __proto__: null, error };
  };
  const after = ({ error }, threw, value) => {
    if (threw) ending.uncaught(value); // a handler that throws
    if (value !== true) ending.uncaught(error);
  };
  process._fatalException = native.wrap(process._fatalException, before, after, '_fatalException');
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

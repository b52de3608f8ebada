'use strict';
// How a run ends, exactly once: FINISHED, then exit. Node's own ends (an empty loop, process.exit, an uncaught error) all lead here,
// because Node's teardown joins threads that a forked process does not have.

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

const FINISHED = 5;
const SETTLED = 10;

/** How long after its result a run that is not over says what it is waiting for. Then once more, shortly before its time is up. */
const FIRST_LOOK_MS = 100;
const LAST_LOOK_MS = 100;

const now = FunctionPrototypeBind(performance.now, performance);

// Runs what process.nextTick and promises have queued, as Node does when a callback of its own returns.
const runTicks = process._tickCallback;

/** The end of one run. Created at boot; `begin` when the run is known. Each of its ways ends in `native.exit`. */
class Ending {
  #native;
  #denials;
  #notes;
  #activation = null;
  #begunAt = 0;
  /** The name of the program's file, and its text. */
  #program = { __proto__: null, name: '', source: '' };
  #settled = false;
  #value = undefined;
  #origin = RETURNED;
  /** How often the result has been sent because something was still open. */
  #looks = 0;
  /** What was open when it was first sent. */
  #pending = '[]';
  /** What main was rejected with, as long as Node has not said whether the program handles it. */
  #rejection = null;
  /** The error that is ending the run while its `exit` listeners run. */
  #fatal = null;
  #isLastLook = false;
  #reporting = false;

  constructor(native, denials) {
    this.#native = native;
    this.#denials = denials;
    this.#notes = new Notes(native);
    this.await = this.await.bind(this);
    this.note = this.note.bind(this);
    this.settle = this.settle.bind(this);
    this.fail = this.fail.bind(this);
    this.reject = this.reject.bind(this);
  }

  /** Makes this the end that all of Node's own ends lead to. */
  takeOver() {
    takeOverExit((code) => this.#exit(code));
    takeOverFatalException(this.#native, this);
  }

  /** The end of the loop leads here too. Before the run is known, so that its context is none of the program's. */
  takeOverLoop() {
    let goOn = null;
    this.#native.onIdle((threw, value) => {
      // By a listener to one of the events. Where the program handles that, the run goes on as if the listener had returned.
      if (threw) return this.failure(value);
      const step = goOn ?? (() => this.#idle());
      goOn = null;
      const next = step();
      if (next === undefined) return undefined;
      goOn = next.goOn;
      return next.call;
    });
  }

  /** From now on this process runs a program. */
  begin(activation) {
    this.#activation = activation;
    this.#begunAt = now();
  }

  /** The program that it runs. */
  about(name, source) {
    this.#program = { __proto__: null, name, source };
  }

  /** Adds a note for the writer of the program. */
  note(text) {
    this.#notes.add(text);
  }

  /** The result is a promise: of what, should nothing ever settle it. */
  await(origin) {
    this.#origin = origin;
  }

  /** The result of the program is known. */
  settle(value, origin) {
    this.#settled = true;
    this.#value = value;
    this.#origin = origin;
    if (this.#activation.finish === 'settled') return this.#endSoon();
    this.#lookLater();
  }

  /** The program threw: an uncaught exception, which its own handlers may take. */
  fail(error) {
    this.#settled = true;
    process._fatalException(error, false);
  }

  /** The same, as a function to be called with nothing beneath it. */
  failure(error) {
    this.#settled = true;
    return FunctionPrototypeBind(process._fatalException, process, error, false);
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

  // The loop is empty. As in Node: 'beforeExit', the ticks and promise jobs that it made, and if nothing is alive then, 'exit'. Gives what is
  // to be called with nothing beneath it, and how to go on from there.
  #idle() {
    if (!this.#settled && !this.#isLastLook) {
      // Before a result is given up, V8's own pending tasks get a turn of the loop.
      this.#isLastLook = true;
      setImmediate(nothing);
      return undefined;
    }
    if (EventEmitterPrototypeListenerCount(process, 'beforeExit') === 0) return this.#over();
    return { __proto__: null, call: emitting('beforeExit'), goOn: () => this.#afterBeforeExit() };
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

  /** The listeners to 'exit', and the end after them; undefined where there are none. */
  #exiting() {
    process._exiting = true;
    if (EventEmitterPrototypeListenerCount(process, 'exit') === 0) return undefined;
    return { __proto__: null, call: emitting('exit'), goOn: () => this.#finish(null, 'null', this.#exitCode()) };
  }

  // What is called from here is called from the loop, which turns at once.
  #endSoon() {
    const exiting = this.#exiting();
    if (exiting === undefined) return this.#finish(null, 'null', this.#exitCode());
    return this.#native.runFromLoop(exiting.call, (threw, error) => (threw ? this.failure(error) : exiting.goOn()));
  }

  /** Has the driver look whether the run is still not over: soon, and once more shortly before its time is up. */
  #lookLater() {
    const timeout = this.#activation.limits.timeout_ms;
    const left = timeout - (now() - this.#begunAt);
    const delay = this.#looks > 0 ? left - LAST_LOOK_MS : left / 4 < FIRST_LOOK_MS ? left / 4 : FIRST_LOOK_MS;
    if (delay > 0) this.#native.wakeLater(MathTrunc(delay), () => this.#look());
  }

  /** The run has its result and goes on. Should it be ended from outside, this is what is left of it. */
  #look() {
    if (!this.#native.alive()) return;
    this.#looks++;
    const { valueText, errorText } = this.#convert();
    const value = errorText === 'null' ? valueText : 'null';
    if (this.#looks === 1) {
      // At once, because time may be short; then with what took longer to find out.
      const pending = describePending(this.#program, false);
      this.#native.send(SETTLED, `{"value":${value},"pending":${pending}}`);
      this.#pending = describePending(this.#program, true);
      if (this.#pending !== pending) this.#native.send(SETTLED, `{"value":${value},"pending":${this.#pending}}`);
    } else {
      this.#native.send(SETTLED, `{"value":${value},"pending":${this.#pending}}`);
    }
    if (this.#looks === 1) this.#lookLater();
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
      return { __proto__: null, valueText: 'null', errorText: this.#unconverted(asConversionFailure(failure)) };
    } finally {
      this.#reporting = false;
    }
  }

  /** Only what was handed over can fail a run; what the program exports may be an interface. */
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

/** What the writer of a program is told of a last expression without a form. */
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

// Anything else that is thrown on the way, at the end of the stack for instance, is no reason to end without a word.
function asConversionFailure(failure) {
  if (ObjectPrototypeIsPrototypeOf(ConversionFailure.prototype, failure)) return failure;
  return new ConversionFailure('ResultNotSerializable', 'the result cannot be given as JSON: reading it failed; return plain data instead',
    { __proto__: null, path: '$', problem: 'could not be read', hint: PLAIN_DATA });
}

/** What emits an event of the process's, with its exit code. */
function emitting(event) {
  return FunctionPrototypeBind(process.emit, process, event, process.exitCode ?? 0);
}

// process.exit ends in process.reallyExit, and so do the packages that wrap it.
function takeOverExit(exit) {
  process.reallyExit = { reallyExit(code) { exit(code); } }.reallyExit;
}

// Node calls process._fatalException for every uncaught error, and ends the process natively when it returns false. Its own
// implementation stays in charge of 'uncaughtException' listeners, capture callbacks and domains.
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

'use strict';
// Describes an error: name, message, the stack that the user should see, its causes. The error may
// be hostile: a proxy, getters that throw, a stack that is an object, a message of a gigabyte.
// Nothing here may throw or loop because of it.

const { inspect } = require('node:util');
const {
  ArrayIsArray, Error, JSONStringify, ObjectDefineProperty, ObjectPrototypeHasOwnProperty, ReflectApply, RegExpPrototypeExec,
  StringPrototypeEndsWith, StringPrototypeIncludes, StringPrototypeIndexOf, StringPrototypeSlice, StringPrototypeStartsWith,
  StringPrototypeToWellFormed, isNativeError,
} = require('./intrinsics.js');

/** Maximum number of characters of a message or a stack. */
const MAX_TEXT = 64 * 1024;
/** Maximum depth of causes in a report. */
const MAX_CAUSES = 5;
/** Maximum number of members of an AggregateError in a report. */
const MAX_ERRORS = 10;

const driverFolder = `${__dirname}/`;

/**
 * @param {unknown} error whatever was thrown
 * @returns {{name: string, message: string, stack: string}}
 */
function readError(error) {
  if (error === null || (typeof error !== 'object' && typeof error !== 'function')) {
    const message = bounded(typeof error === 'string' ? error : safely(() => inspect(error), 'a value'));
    return { __proto__: null, name: 'Error', message, stack: `Uncaught ${message}` };
  }
  if (!isNativeError(error) && typeof safely(() => error.message) !== 'string') {
    // A thrown object that is not an error is shown without calling any of its functions.
    const message = bounded(safely(() => ReflectApply(inspect, null, [error, plainInspection]), 'an object'));
    return { __proto__: null, name: 'Error', message, stack: `Uncaught ${message}` };
  }
  const name = text(safely(() => error.name), 'Error');
  const message = text(safely(() => error.message), '');
  const header = message === '' ? name : `${name}: ${message}`;
  const stack = safely(() => error.stack);
  return { __proto__: null, name, message, stack: typeof stack === 'string' ? cleanStack(bounded(stack)) : header };
}

const plainInspection = { __proto__: null, customInspect: false, getters: false, depth: 2, breakLength: Infinity, showProxy: true };

/**
 * Returns the report of an error: the text of `{"name", "message", "stack", "cause"?, "errors"?}`.
 * @param {unknown} error
 * @param {string} hint what to add to the message of the error that leaves the program: the grant
 *   that is missing; or ''
 */
function describeError(error, hint = '') {
  // Formatting happens when a stack is first read. A formatter of the program's must not get
  // between an error and its report.
  safely(() => {
    if (ObjectPrototypeHasOwnProperty(Error, 'prepareStackTrace')) {
      ObjectDefineProperty(Error, 'prepareStackTrace', { __proto__: null, value: undefined });
    }
  });
  return describe(error, hint, 0);
}

function describe(error, hint, depth) {
  const { name, message, stack } = readError(error);
  let described = `{"name":${quote(name)},"message":${quote(withHint(message, hint))}`;
  described += `,"stack":${quote(stackWithHint(stack, message, hint))}`;
  const cause = safely(() => error.cause);
  if (cause !== undefined && cause !== null && depth < MAX_CAUSES) described += `,"cause":${describe(cause, '', depth + 1)}`;
  const errors = safely(() => error.errors);
  if (depth < MAX_CAUSES && safely(() => ArrayIsArray(errors)) === true) {
    described += `,"errors":${describeMembers(errors, depth)}`;
  }
  return `${described}}`;
}

function describeMembers(errors, depth) {
  const length = safely(() => errors.length, 0);
  let described = '[';
  for (let index = 0; index < length && index < MAX_ERRORS; index++) {
    // A member's own members are left out: reports of nested aggregates would grow as a power of
    // their depth.
    const member = describe(safely(() => errors[index]), '', MAX_CAUSES - 1 > depth ? MAX_CAUSES : depth + 1);
    described += index === 0 ? member : `,${member}`;
  }
  return `${described}]`;
}

/** Returns the report of an error that the driver created, whose stack is not useful. */
function describeFailure(name, message) {
  return `{"name":${quote(name)},"message":${quote(message)},"stack":${quote(`${name}: ${message}`)}}`;
}

function withHint(message, hint) {
  if (hint === '') return message;
  return message === '' ? hint : `${message}: ${hint}`;
}

function stackWithHint(stack, message, hint) {
  if (hint === '') return stack;
  const at = message === '' ? -1 : StringPrototypeIndexOf(stack, message);
  if (at < 0) return stack;
  const end = at + message.length;
  return `${StringPrototypeSlice(stack, 0, end)}: ${hint}${StringPrototypeSlice(stack, end)}`;
}

/**
 * Returns a stack without the frames of the driver and of Node's own start-up, module loader and
 * queues.
 */
function cleanStack(stack) {
  return withoutFrames(stack, isHiddenFrame);
}

function withoutFrames(stack, isHidden) {
  let cleaned = '';
  let start = 0;
  while (start <= stack.length) {
    let end = StringPrototypeIndexOf(stack, '\n', start);
    if (end < 0) end = stack.length;
    const line = StringPrototypeSlice(stack, start, end);
    if (!isHidden(line)) cleaned += start === 0 ? line : `\n${line}`;
    start = end + 1;
  }
  return cleaned;
}

/**
 * Removes the driver's frames from the stack of an error that it passes on. The error may be any
 * value.
 */
function withoutDriverFrames(error) {
  safely(() => {
    const { stack } = error;
    if (typeof stack !== 'string' || !StringPrototypeIncludes(stack, driverFolder)) return;
    ObjectDefineProperty(error, 'stack', { __proto__: null, value: withoutFrames(stack, isOwnFrame), writable: true, configurable: true });
  });
  return error;
}

const frame = /^ {4}at /;
const machinery = /\(?node:(?:internal\/(?:main|modules|process|bootstrap|vm)\b|vm:|diagnostics_channel:|async_hooks:)/;

/**
 * Returns whether a frame belongs to the driver, or to Node while it calls the driver as a hook.
 */
function isOwnFrame(line) {
  return RegExpPrototypeExec(frame, line) !== null
    && (StringPrototypeIncludes(line, driverFolder) || StringPrototypeIncludes(line, '(node:internal/modules/customization_hooks:'));
}

function isHiddenFrame(line) {
  if (RegExpPrototypeExec(frame, line) === null) return false;
  if (StringPrototypeIncludes(line, driverFolder)) return true;
  // Frames such as `at new Promise (<anonymous>)` under a driver frame do not name a place of the
  // user. They are kept, because they are harmless.
  return RegExpPrototypeExec(machinery, line) !== null;
}

/**
 * Puts `file:line`, the source line and a caret in front of the stack of a syntax error that came
 * without them.
 * @param {string} stack
 * @param {{file: string, line: number, column: number, source: string}} place `line` and `column`
 *   count from 1
 */
function stackWithPlace(stack, { file, line, column, source }) {
  if (StringPrototypeStartsWith(stack, file) || StringPrototypeStartsWith(stack, `file://${file}`)) return stack;
  const text = lineOf(source, line);
  let caret = '';
  for (let index = 1; index < column; index++) caret += text[index - 1] === '\t' ? '\t' : ' ';
  return `${file}:${line}\n${text}\n${caret}^\n\n${stack}`;
}

function lineOf(source, line) {
  let start = 0;
  for (let number = 1; number < line; number++) {
    start = StringPrototypeIndexOf(source, '\n', start) + 1;
    if (start === 0) return '';
  }
  const end = StringPrototypeIndexOf(source, '\n', start);
  const text = StringPrototypeSlice(source, start, end < 0 ? source.length : end);
  return StringPrototypeEndsWith(text, '\r') ? StringPrototypeSlice(text, 0, -1) : text;
}

function text(value, otherwise) {
  return typeof value === 'string' ? bounded(value) : otherwise;
}

function bounded(string) {
  return string.length <= MAX_TEXT ? string : `${StringPrototypeSlice(string, 0, MAX_TEXT)}... (${string.length} characters)`;
}

function quote(string) {
  return JSONStringify(StringPrototypeToWellFormed(string));
}

function safely(action, otherwise) {
  try {
    return action();
  } catch {
    return otherwise;
  }
}

module.exports = { MAX_TEXT, describeError, describeFailure, readError, stackWithPlace, withoutDriverFrames };

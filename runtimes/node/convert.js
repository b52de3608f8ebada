'use strict';
// The result of a program as JSON text. One conversion per type, the table in docs/reference/results.md; what has none is a
// ConversionFailure with the path to it. Writes text instead of building a tree, so that a result past its limit is given up
// before it exists twice, and so that no `toJSON` of a polluted Object.prototype is ever asked about an object of the driver.

const { isBigIntObject, isBooleanObject, isNumberObject, isStringObject } = require('node:util').types;
const {
  ArrayIsArray, BigIntPrototypeToString, BufferPrototype, DataViewPrototypeGetBuffer, DataViewPrototypeGetByteLength,
  DataViewPrototypeGetByteOffset, DatePrototypeGetTime, DatePrototypeToISOString, JSONStringify, MapPrototypeForEach, Number,
  NumberIsFinite, NumberIsSafeInteger, ObjectKeys, ObjectPrototypeIsPrototypeOf, ReflectApply, RegExpPrototypeExec,
  RegExpPrototypeToString, SetPrototypeForEach, String, StringPrototypeToWellFormed, TypedArrayPrototypeGetLength, Uint8Array, base64,
  isAnyArrayBuffer, isBoxedPrimitive, isDataView, isDate, isMap, isNativeError, isPromise, isRegExp, isSet, isTypedArray, isWeakMap,
  isWeakSet, uncurryThis, BufferByteLength,
} = require('./intrinsics.js');
const { readError } = require('./errors.js');

/** Deepest nesting that a result may have. Consumers of JSON recurse; the supervisor's parser stops at 128. */
const MAX_DEPTH = 100;

const numberValueOf = uncurryThis(Number.prototype.valueOf);
const stringValueOf = uncurryThis(String.prototype.valueOf);
const booleanValueOf = uncurryThis(Boolean.prototype.valueOf);
const bigintValueOf = uncurryThis(BigInt.prototype.valueOf);

const symbol = Symbol('boxed');

const identifier = /^[A-Za-z_$][A-Za-z0-9_$]*$/;

/** Why a value did not become JSON: `name` is `ResultNotSerializable` or `ResultTooLarge`. */
class ConversionFailure {
  constructor(name, message) {
    this.name = name;
    this.message = message;
  }
}

/**
 * The JSON text of `value`.
 * @param {unknown} value
 * @param {number} limit most bytes of UTF-8 that the text may have
 * @throws {ConversionFailure}
 */
function toJSONText(value, limit) {
  const budget = { __proto__: null, left: limit, limit };
  const text = write(value, null, '', 0, budget);
  if (text.length * 3 > limit && BufferByteLength(text) > limit) throw tooLarge(limit);
  return text;
}

// `parent` is the container that holds `value` under `key`: a linked list of {parent, key, value}, which serves as the path of an
// error and as the set of ancestors to find cycles in.
function write(value, parent, key, depth, budget) {
  switch (typeof value) {
    case 'string': return spend(budget, quote(value, budget));
    case 'number': return spend(budget, NumberIsFinite(value) ? `${value === 0 ? 0 : value}` : 'null');
    case 'boolean': return spend(budget, value ? 'true' : 'false');
    case 'undefined': return spend(budget, 'null');
    case 'bigint': return spend(budget, writeBigInt(value));
    case 'symbol': throw notSerializable(parent, key, 'is a symbol');
    case 'function': throw notSerializable(parent, key, 'is a function');
  }
  if (value === null) return spend(budget, 'null');
  if (depth >= MAX_DEPTH) throw notSerializable(parent, key, `is nested more than ${MAX_DEPTH} levels deep`);
  for (let ancestor = parent; ancestor !== null; ancestor = ancestor.parent) {
    if (ancestor.value === value) throw notSerializable(parent, key, 'refers back to a value that contains it');
  }
  const self = { __proto__: null, parent, key, value };
  return writeObject(value, self, depth, budget);
}

function writeObject(value, self, depth, budget) {
  if (isDate(value)) {
    const time = DatePrototypeGetTime(value);
    return spend(budget, time === time ? `"${DatePrototypeToISOString(value)}"` : 'null');
  }
  if (isNativeError(value)) return writeError(value, budget);
  if (isTypedArray(value)) {
    return ObjectPrototypeIsPrototypeOf(BufferPrototype, value) ? writeBytes(value, budget) : writeTypedArray(value, budget);
  }
  if (isAnyArrayBuffer(value)) return writeBytes(new Uint8Array(value), budget);
  if (isDataView(value)) {
    return writeBytes(new Uint8Array(DataViewPrototypeGetBuffer(value), DataViewPrototypeGetByteOffset(value),
      DataViewPrototypeGetByteLength(value)), budget);
  }
  if (isPromise(value)) throw notSerializable(self.parent, self.key, 'is a promise that was not awaited');
  if (isWeakMap(value) || isWeakSet(value)) throw notSerializable(self.parent, self.key, 'is a weak collection');
  if (isRegExp(value)) return spend(budget, quote(attempt(self, () => RegExpPrototypeToString(value)), budget));
  if (isBoxedPrimitive(value)) return write(unbox(value), self.parent, self.key, depth, budget);

  const toJSON = attempt(self, () => value.toJSON);
  if (typeof toJSON === 'function') {
    const key = typeof self.key === 'number' ? `${self.key}` : self.key;
    const replacement = attempt(self, () => ReflectApply(toJSON, value, [key]));
    if (replacement !== value) {
      if (replacement === null || typeof replacement !== 'object') return write(replacement, self, 'toJSON()', depth + 1, budget);
      // As JSON.stringify does, what toJSON gives is not asked for a toJSON of its own (Object.prototype may have been given one).
      return writeContainer(replacement, { __proto__: null, parent: self.parent, key: self.key, value: replacement }, depth, budget);
    }
  }
  return writeContainer(value, self, depth, budget);
}

function writeContainer(value, self, depth, budget) {
  if (ArrayIsArray(value)) return writeArray(value, self, depth, budget);
  if (isMap(value)) return writeMap(value, self, depth, budget);
  if (isSet(value)) return writeSet(value, self, depth, budget);
  return writeRecord(value, self, depth, budget);
}

function writeArray(value, self, depth, budget) {
  const length = attempt(self, () => value.length);
  let text = spend(budget, '[');
  for (let index = 0; index < length; index++) {
    if (index > 0) text += spend(budget, ',');
    text += write(read(value, index, self), self, index, depth + 1, budget);
  }
  return text + spend(budget, ']');
}

// Keys whose value is undefined are left out, as JSON.stringify leaves them out.
function writeRecord(value, self, depth, budget) {
  const keys = attempt(self, () => ObjectKeys(value));
  let text = spend(budget, '{');
  let first = true;
  for (let index = 0; index < keys.length; index++) {
    const key = keys[index];
    const member = read(value, key, self);
    if (member === undefined) continue;
    text += spend(budget, `${first ? '' : ','}${quote(key, budget)}:`);
    text += write(member, self, key, depth + 1, budget);
    first = false;
  }
  return text + spend(budget, '}');
}

function writeMap(value, self, depth, budget) {
  let byName = true;
  MapPrototypeForEach(value, (_, key) => { if (typeof key !== 'string') byName = false; });
  let text = spend(budget, byName ? '{' : '[');
  let index = 0;
  MapPrototypeForEach(value, (member, key) => {
    if (index > 0) text += spend(budget, ',');
    if (byName) {
      text += spend(budget, `${quote(key, budget)}:`);
      text += write(member, self, key, depth + 1, budget);
    } else {
      const pair = { __proto__: null, parent: self, key: index, value: null };
      text += `${spend(budget, '[')}${write(key, pair, 0, depth + 2, budget)},${write(member, pair, 1, depth + 2, budget)}]`;
    }
    index++;
  });
  return text + spend(budget, byName ? '}' : ']');
}

function writeSet(value, self, depth, budget) {
  let text = spend(budget, '[');
  let index = 0;
  SetPrototypeForEach(value, (member) => {
    if (index > 0) text += spend(budget, ',');
    text += write(member, self, index, depth + 1, budget);
    index++;
  });
  return text + spend(budget, ']');
}

function writeTypedArray(value, budget) {
  const length = TypedArrayPrototypeGetLength(value);
  let text = spend(budget, '[');
  for (let index = 0; index < length; index++) {
    if (index > 0) text += spend(budget, ',');
    text += write(value[index], null, index, 0, budget);
  }
  return text + spend(budget, ']');
}

function writeBytes(bytes, budget) {
  const length = TypedArrayPrototypeGetLength(bytes);
  if (length > budget.left) throw tooLarge(budget.limit);
  return spend(budget, `"${base64(bytes, 0, length)}"`);
}

function writeError(error, budget) {
  const { name, message, stack } = readError(error);
  return spend(budget, `{"name":${quote(name, budget)},"message":${quote(message, budget)},"stack":${quote(stack, budget)}}`);
}

function writeBigInt(value) {
  const digits = BigIntPrototypeToString(value);
  return NumberIsSafeInteger(Number(digits)) ? digits : `"${digits}"`;
}

function unbox(value) {
  if (isNumberObject(value)) return numberValueOf(value);
  if (isStringObject(value)) return stringValueOf(value);
  if (isBooleanObject(value)) return booleanValueOf(value);
  if (isBigIntObject(value)) return bigintValueOf(value);
  return symbol; // a boxed symbol has no JSON form, like the symbol in it
}

/** A string as JSON. A lone surrogate, which is not UTF-8, becomes U+FFFD. */
function quote(string, budget) {
  if (budget !== undefined && string.length > budget.left) throw tooLarge(budget.limit);
  return JSONStringify(StringPrototypeToWellFormed(string));
}

// Code units are counted: never more than the bytes of UTF-8, which are counted once at the end.
function spend(budget, text) {
  budget.left -= text.length;
  if (budget.left < 0) throw tooLarge(budget.limit);
  return text;
}

function read(container, key, self) {
  try {
    return container[key];
  } catch (error) {
    throw notSerializable(self, key, `could not be read (${oneLine(error)})`);
  }
}

function attempt(self, action) {
  try {
    return action();
  } catch (error) {
    throw notSerializable(self.parent, self.key, `could not be read (${oneLine(error)})`);
  }
}

function oneLine(error) {
  const { name, message } = readError(error);
  return `${name}: ${message}`;
}

function notSerializable(parent, key, problem) {
  return new ConversionFailure('ResultNotSerializable',
    `the result cannot be given as JSON: ${pathTo(parent, key)} ${problem}; return plain data instead`);
}

function tooLarge(limit) {
  return new ConversionFailure('ResultTooLarge',
    `the result is larger than ${limit} bytes of JSON; return less, write it to a file in outputs/, or raise limits.result_bytes`);
}

// `$.items[3].callback`, in the notation of JSONPath.
function pathTo(parent, key) {
  if (parent === null) return '$';
  const before = pathTo(parent.parent, parent.key);
  if (typeof key === 'number') return `${before}[${key}]`;
  if (key === 'toJSON()' || RegExpPrototypeExec(identifier, key) !== null) return `${before}.${key}`;
  return `${before}[${quote(String(key))}]`;
}

module.exports = { ConversionFailure, MAX_DEPTH, quote, toJSONText };

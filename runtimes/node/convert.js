'use strict';
// Converts the result of a program to JSON text. There is one conversion per type, as listed in
// docs/reference/results.md; any other value is a ConversionFailure with the path to it. The text
// is written directly, without a tree, so that a result over its limit is abandoned before it
// exists twice, and so that a `toJSON` on a polluted Object.prototype is never called for an object
// of the driver.

const { isBigIntObject, isBooleanObject, isNumberObject, isStringObject } = require('node:util').types;
const {
  ArrayIsArray, AsyncIteratorPrototype, BigIntPrototypeToString, BufferPrototype, DataViewPrototypeGetBuffer,
  DataViewPrototypeGetByteLength, DataViewPrototypeGetByteOffset, DatePrototypeGetTime, DatePrototypeToISOString, Error,
  IteratorPrototype, JSONStringify, MapPrototypeForEach, Number, NumberIsFinite, NumberIsSafeInteger, ObjectDefineProperty, ObjectGetOwnPropertyDescriptor,
  ObjectGetOwnPropertyNames, ObjectGetPrototypeOf, ObjectKeys, ObjectPrototype, ObjectPrototypeIsPrototypeOf, ReflectApply,
  RegExpPrototypeExec, RegExpPrototypeToString, SetPrototypeForEach, String, StringPrototypeToWellFormed, SymbolAsyncIterator,
  SymbolIterator, SymbolToStringTag, TypedArrayPrototypeGetLength, Uint8Array, WeakMap, WeakMapPrototypeGet, WeakMapPrototypeSet, base64,
  isAnyArrayBuffer, isBoxedPrimitive, isDataView, isDate, isMap, isNativeError, isPromise, isRegExp, isSet, isTypedArray, isWeakMap,
  isWeakSet, uncurryThis, BufferByteLength,
} = require('./intrinsics.js');
const { readError } = require('./errors.js');
const { classNameOf, isEmitterKey, isLive } = require('./live.js');

/** Maximum nesting of a result. Consumers of JSON recurse; the supervisor's parser stops at 128. */
const MAX_DEPTH = 100;
/** The advice for a value without advice of its own. */
const PLAIN_DATA = 'return plain data instead';
/** Maximum number of an error's own properties that are written. */
const MAX_ERROR_KEYS = 20;

const numberValueOf = uncurryThis(Number.prototype.valueOf);
const stringValueOf = uncurryThis(String.prototype.valueOf);
const booleanValueOf = uncurryThis(Boolean.prototype.valueOf);
const bigintValueOf = uncurryThis(BigInt.prototype.valueOf);

const symbol = Symbol('boxed');

const identifier = /^[A-Za-z_$][A-Za-z0-9_$]*$/;

/**
 * The reason why a value has no JSON form. `name` is `ResultNotSerializable` or `ResultTooLarge`.
 * For the former, `path` is the place, `problem` the cause and `hint` the advice; `isCode` is set
 * for a function or something running, which an interface has and data does not.
 */
class ConversionFailure {
  // Defined before they are set: a program may have given Object.prototype setters.
  name;
  message;
  path;
  problem;
  hint;
  isCode;
  limit;

  constructor(name, message, details) {
    this.name = name;
    this.message = message;
    this.path = details?.path ?? '';
    this.problem = details?.problem ?? '';
    this.hint = details?.hint ?? '';
    this.isCode = details?.isCode ?? false;
    this.limit = details?.limit ?? 0;
  }
}

/**
 * Returns the JSON text of `value`.
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

// `parent` is the container that holds `value` under `key`: a linked list of {parent, key, value},
// which serves as the path of an error and as the set of ancestors to find cycles in.
function write(value, parent, key, depth, budget) {
  switch (typeof value) {
    case 'string': return spend(budget, quote(value, budget));
    case 'number': return spend(budget, NumberIsFinite(value) ? `${value === 0 ? 0 : value}` : 'null');
    case 'boolean': return spend(budget, value ? 'true' : 'false');
    case 'undefined': return spend(budget, 'null');
    case 'bigint': return spend(budget, writeBigInt(value));
    case 'symbol': throw notSerializable(parent, key, 'is a symbol');
    case 'function': throw hasCode(parent, key, 'is a function');
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
  if (isPromise(value)) throw notSerializable(self.parent, self.key, 'is a promise that was not awaited', 'await it');
  if (isWeakMap(value) || isWeakSet(value)) throw notSerializable(self.parent, self.key, 'is a weak collection');
  if (isRegExp(value)) return spend(budget, quote(attempt(self, () => RegExpPrototypeToString(value)), budget));
  if (isBoxedPrimitive(value)) return write(unbox(value), self.parent, self.key, depth, budget);


  const toJSON = attempt(self, () => value.toJSON);
  if (typeof toJSON === 'function') {
    const key = typeof self.key === 'number' ? `${self.key}` : self.key;
    const replacement = attempt(self, () => ReflectApply(toJSON, value, [key]));
    if (replacement !== value) {
      if (replacement === null || typeof replacement !== 'object') return write(replacement, self, 'toJSON()', depth + 1, budget);
      // As in JSON.stringify, the result of toJSON is not asked for a toJSON of its own
      // (Object.prototype may have been given one).
      return writeContainer(replacement, { __proto__: null, parent: self.parent, key: self.key, value: replacement }, depth, budget);
    }
  }
  return writeContainer(value, self, depth, budget);
}

function writeContainer(value, self, depth, budget) {
  if (attempt(self, () => ArrayIsArray(value))) return writeArray(value, self, depth, budget);
  if (isMap(value)) return writeMap(value, self, depth, budget);
  if (isSet(value)) return writeSet(value, self, depth, budget);
  const prototype = attempt(self, () => ObjectGetPrototypeOf(value));
  if (prototype === ObjectPrototype || prototype === null) return writeRecord(value, self, depth, budget);
  return writeInstance(value, self, depth, budget);
}

/** The advice for objects of Node whose contents have not been read yet. */
const reading = {
  __proto__: null,
  Response: 'read it first: await response.json(), or await response.text()',
  Request: 'read it first: await request.json(), or await request.text()',
  Blob: 'read it first: await blob.text(), or Buffer.from(await blob.arrayBuffer())',
  File: 'read it first: await file.text(), or Buffer.from(await file.arrayBuffer())',
  ReadableStream: 'read it first: await new Response(stream).text()',
  WeakRef: 'return what its deref() gives',
};

// An instance of a class, of the program or of Node. Many of the latter hold all their data in
// internal slots and have no keys.
function writeInstance(value, self, depth, budget) {
  if (ObjectPrototypeIsPrototypeOf(IteratorPrototype, value)) return writeIterator(value, value, self, depth, budget);
  if (isLive(value)) throw hasCode(self.parent, self.key, `is ${withArticle(classNameOf(value) || 'object')} of Node's, which is no data`);
  const tag = attempt(self, () => value[SymbolToStringTag]);
  if (typeof tag === 'string') {
    if (reading[tag] !== undefined) throw notSerializable(self.parent, self.key, `is ${withArticle(tag)}`, reading[tag]);
    if (tag === 'Headers' || tag === 'URLSearchParams' || tag === 'FormData') return writePairs(value, self, depth, budget);
  }
  if (ObjectPrototypeIsPrototypeOf(AsyncIteratorPrototype, value)) throw isAsyncIterator(self);
  if (typeof attempt(self, () => value.then) === 'function') {
    throw notSerializable(self.parent, self.key, 'is a promise that was not awaited', 'await it');
  }
  const keys = attempt(self, () => ObjectKeys(value));
  if (keys.length > 0) return writeRecord(value, self, depth, budget);
  return writeWithoutKeys(value, tag, self, depth, budget);
}

// Values that JSON.stringify would convert to `{}`.
function writeWithoutKeys(value, tag, self, depth, budget) {
  // Such as a DOMException.
  if (ObjectPrototypeIsPrototypeOf(Error.prototype, value)) return writeError(value, budget);
  const iterate = attempt(self, () => value[SymbolIterator]);
  if (typeof iterate === 'function') {
    return writeIterator(value, attempt(self, () => ReflectApply(iterate, value, [])), self, depth, budget);
  }
  if (typeof attempt(self, () => value[SymbolAsyncIterator]) === 'function') throw isAsyncIterator(self);
  const shown = shownByGetters(value, self);
  if (shown !== null) return writeRecord(shown, self, depth, budget);
  if (typeof tag === 'string') throw notSerializable(self.parent, self.key, `is ${withArticle(tag)}, whose contents cannot be read`);
  return spend(budget, '{}');
}

/**
 * Returns the values of the getters of an object's classes, without functions: the private fields
 * that the object exposes. Null if there are none.
 */
function shownByGetters(value, self) {
  const shown = { __proto__: null };
  let isEmpty = true;
  let prototype = attempt(self, () => ObjectGetPrototypeOf(value));
  for (let depth = 0; prototype !== null && prototype !== ObjectPrototype && depth < 10; depth++) {
    const names = attempt(self, () => ObjectGetOwnPropertyNames(prototype));
    for (let index = 0; index < names.length; index++) {
      const name = names[index];
      const get = attempt(self, () => ObjectGetOwnPropertyDescriptor(prototype, name))?.get;
      const member = typeof get === 'function' && name !== '__proto__' ? safely(() => ReflectApply(get, value, [])) : undefined;
      if (member === undefined || typeof member === 'function' || shown[name] !== undefined) continue;
      shown[name] = member;
      isEmpty = false;
    }
    prototype = attempt(self, () => ObjectGetPrototypeOf(prototype));
  }
  return isEmpty ? null : shown;
}

function withArticle(name) {
  return `${RegExpPrototypeExec(vowel, name) === null ? 'a' : 'an'} ${name}`;
}

const vowel = /^[AEIOaeio]/;

function isAsyncIterator(self) {
  return notSerializable(self.parent, self.key, 'is an asynchronous iterator', 'collect it first: await Array.fromAsync(iterator)');
}

/**
 * The items that iterators have returned. An iterator that was converted before the end of its run
 * has no items left for the second conversion.
 */
const collected = new WeakMap();

function writeIterator(value, iterator, self, depth, budget) {
  const before = WeakMapPrototypeGet(collected, value);
  if (before !== undefined) return writeArray(before, { __proto__: null, parent: self.parent, key: self.key, value: before }, depth, budget);
  const items = { __proto__: null, length: 0 };
  const next = attempt(self, () => iterator.next);
  let text = spend(budget, '[');
  for (let index = 0; ; index++) {
    const step = attempt(self, () => ReflectApply(next, iterator, []));
    if (step === null || typeof step !== 'object') throw notSerializable(self.parent, self.key, 'is an iterator that gives no objects');
    if (attempt(self, () => step.done)) break;
    const item = attempt(self, () => step.value);
    if (index > 0) text += spend(budget, ',');
    text += write(item, self, index, depth + 1, budget);
    items[index] = item;
    items.length = index + 1;
  }
  if (value === iterator) WeakMapPrototypeSet(collected, value, items);
  return text + spend(budget, ']');
}

// Writes names with values, where a name may occur more than once: an object, with an array for
// each repeated name.
function writePairs(value, self, depth, budget) {
  const members = { __proto__: null };
  const counts = { __proto__: null };
  const iterator = attempt(self, () => ReflectApply(value[SymbolIterator], value, []));
  const next = attempt(self, () => iterator.next);
  for (;;) {
    const step = attempt(self, () => ReflectApply(next, iterator, []));
    if (attempt(self, () => step.done)) break;
    const name = attempt(self, () => String(step.value[0]));
    const member = attempt(self, () => step.value[1]);
    spend(budget, name);
    counts[name] = (counts[name] ?? 0) + 1;
    if (counts[name] === 1) {
      members[name] = member;
    } else {
      if (counts[name] === 2) members[name] = [members[name]];
      const at = { __proto__: null, value: member, writable: true, enumerable: true, configurable: true };
      ObjectDefineProperty(members[name], counts[name] - 1, at);
    }
  }
  return writeRecord(members, self, depth, budget);
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
  return writeMembers(value, attempt(self, () => ObjectKeys(value)), self, depth, budget);
}

function writeMembers(value, keys, self, depth, budget) {
  const isEmitter = keys.length > 0 && isEmitterKey(keys[0]);
  let text = spend(budget, '{');
  let first = true;
  for (let index = 0; index < keys.length; index++) {
    const key = keys[index];
    if (isEmitter && isEmitterKey(key)) continue;
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
  let text = `{"name":${quote(name, budget)},"message":${quote(message, budget)},"stack":${quote(stack, budget)}`;
  // Its code and its status. Other objects in an error are often the whole failed request.
  const keys = safely(() => ObjectKeys(error)) ?? none;
  for (let index = 0; index < keys.length && index < MAX_ERROR_KEYS; index++) {
    const key = keys[index];
    if (key === 'name' || key === 'message' || key === 'stack') continue;
    const member = safely(() => error[key]);
    if (typeof member === 'string') text += `,${quote(key, budget)}:${quote(member, budget)}`;
    else if (typeof member === 'boolean' || (typeof member === 'number' && NumberIsFinite(member))) text += `,${quote(key, budget)}:${member}`;
  }
  return spend(budget, `${text}}`);
}

const none = [];

function safely(action) {
  try {
    return action();
  } catch {
    return undefined;
  }
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

/** Returns a string as JSON. A lone surrogate, which has no UTF-8 form, becomes U+FFFD. */
function quote(string, budget) {
  if (budget !== undefined && string.length > budget.left) throw tooLarge(budget.limit);
  return JSONStringify(StringPrototypeToWellFormed(string));
}

// Counts code units, of which there are never more than bytes of UTF-8. The bytes are counted once
// at the end.
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

function notSerializable(parent, key, problem, hint = PLAIN_DATA, isCode = false) {
  const path = pathTo(parent, key);
  return new ConversionFailure('ResultNotSerializable', `the result cannot be given as JSON: ${path} ${problem}; ${hint}`,
    { __proto__: null, path, problem, hint, isCode });
}

function hasCode(parent, key, problem) {
  return notSerializable(parent, key, problem, isWithinResponse(parent) ? 'return response.data instead' : undefined, true);
}

// A response of axios contains the whole request.
function isWithinResponse(parent) {
  let outermost = parent;
  while (outermost !== null && outermost.parent !== null) outermost = outermost.parent;
  if (outermost === null) return false;
  const has = (name) => safely(() => ObjectGetOwnPropertyDescriptor(outermost.value, name)) !== undefined;
  return has('data') && has('config') && has('headers') && has('status');
}

function tooLarge(limit) {
  return new ConversionFailure('ResultTooLarge',
    `the result is larger than ${limit} bytes of JSON; return less, write it to a file in outputs/, or raise limits.result_bytes`,
    { __proto__: null, limit });
}

// `$.items[3].callback`, in the notation of JSONPath.
function pathTo(parent, key) {
  if (parent === null) return '$';
  const before = pathTo(parent.parent, parent.key);
  if (typeof key === 'number') return `${before}[${key}]`;
  if (key === 'toJSON()' || RegExpPrototypeExec(identifier, key) !== null) return `${before}.${key}`;
  return `${before}[${quote(String(key))}]`;
}

module.exports = { ConversionFailure, MAX_DEPTH, PLAIN_DATA, quote, toJSONText, withArticle };

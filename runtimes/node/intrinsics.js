'use strict';
// The driver's own copies of the builtins it uses after user code has started. Taken at boot,
// before any user code runs, so that a program that replaces JSON.stringify, Array.prototype
// methods or Promise.prototype.then breaks itself and not its report.
//
// What the rest of the driver may do after that point, and why it is safe: call these copies; read
// own properties of objects with a null prototype; concatenate strings; index strings and typed
// arrays. What it may not: call methods on values, spread or destructure arrays (both look up
// Symbol.iterator), assign to array elements (setters on Array.prototype), use string patterns with
// split or replace (both look up a method on the pattern).

const { types } = require('node:util');
const { EventEmitter } = require('node:events');

const uncurryThis = Function.prototype.bind.bind(Function.prototype.call);
const getter = (object, name) => uncurryThis(Object.getOwnPropertyDescriptor(object, name).get);
const TypedArrayPrototype = Object.getPrototypeOf(Uint8Array.prototype);

module.exports = {
  __proto__: null,
  uncurryThis,

  ArrayIsArray: Array.isArray,
  BigIntPrototypeToString: uncurryThis(BigInt.prototype.toString),
  BufferByteLength: Buffer.byteLength,
  BufferPrototype: Buffer.prototype,
  // The binding's own method: `toString('base64')` would look this one up on the prototype.
  base64: uncurryThis(Buffer.prototype.base64Slice),
  DataViewPrototypeGetBuffer: getter(DataView.prototype, 'buffer'),
  DataViewPrototypeGetByteLength: getter(DataView.prototype, 'byteLength'),
  DataViewPrototypeGetByteOffset: getter(DataView.prototype, 'byteOffset'),
  DatePrototypeGetTime: uncurryThis(Date.prototype.getTime),
  DatePrototypeToISOString: uncurryThis(Date.prototype.toISOString),
  Error,
  ErrorCaptureStackTrace: Error.captureStackTrace,
  EventEmitterPrototypeListenerCount: uncurryThis(EventEmitter.prototype.listenerCount),
  FunctionPrototypeBind: uncurryThis(Function.prototype.bind),
  FunctionPrototypeToString: uncurryThis(Function.prototype.toString),
  JSONParse: JSON.parse,
  JSONStringify: JSON.stringify,
  IteratorPrototype: Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]())),
  AsyncIteratorPrototype: Object.getPrototypeOf(Object.getPrototypeOf(async function* () {}.prototype)),
  MapPrototypeForEach: uncurryThis(Map.prototype.forEach),
  MathTrunc: Math.trunc,
  NumberIsFinite: Number.isFinite,
  NumberIsInteger: Number.isInteger,
  NumberIsSafeInteger: Number.isSafeInteger,
  Number,
  ObjectDefineProperty: Object.defineProperty,
  ObjectFreeze: Object.freeze,
  ObjectGetOwnPropertyDescriptor: Object.getOwnPropertyDescriptor,
  ObjectGetPrototypeOf: Object.getPrototypeOf,
  ObjectGetOwnPropertyNames: Object.getOwnPropertyNames,
  ObjectKeys: Object.keys,
  ObjectPrototype: Object.prototype,
  ObjectPrototypeHasOwnProperty: uncurryThis(Object.prototype.hasOwnProperty),
  ObjectPrototypeIsPrototypeOf: uncurryThis(Object.prototype.isPrototypeOf),
  ObjectSetPrototypeOf: Object.setPrototypeOf,
  Promise,
  PromisePrototypeThen: uncurryThis(Promise.prototype.then),
  PromiseReject: Promise.reject.bind(Promise),
  ReflectApply: Reflect.apply,
  RegExpPrototypeExec: uncurryThis(RegExp.prototype.exec),
  RegExpPrototypeToString: uncurryThis(RegExp.prototype.toString),
  SafeSet: Set,
  SetPrototypeAdd: uncurryThis(Set.prototype.add),
  SetPrototypeForEach: uncurryThis(Set.prototype.forEach),
  SetPrototypeHas: uncurryThis(Set.prototype.has),
  String,
  StringPrototypeEndsWith: uncurryThis(String.prototype.endsWith),
  StringPrototypeIncludes: uncurryThis(String.prototype.includes),
  StringPrototypeIndexOf: uncurryThis(String.prototype.indexOf),
  StringPrototypeSlice: uncurryThis(String.prototype.slice),
  StringPrototypeStartsWith: uncurryThis(String.prototype.startsWith),
  StringPrototypeToLowerCase: uncurryThis(String.prototype.toLowerCase),
  StringPrototypeToWellFormed: uncurryThis(String.prototype.toWellFormed),
  StringPrototypeTrimStart: uncurryThis(String.prototype.trimStart),
  SymbolAsyncIterator: Symbol.asyncIterator,
  SymbolIterator: Symbol.iterator,
  SymbolToStringTag: Symbol.toStringTag,
  SyntaxError,
  TypedArrayPrototypeGetByteLength: getter(TypedArrayPrototype, 'byteLength'),
  TypedArrayPrototypeGetLength: getter(TypedArrayPrototype, 'length'),
  Uint8Array,
  WeakMap,
  WeakMapPrototypeGet: uncurryThis(WeakMap.prototype.get),
  WeakMapPrototypeSet: uncurryThis(WeakMap.prototype.set),
  clearTimeout,
  setImmediate,
  setTimeout,

  isAnyArrayBuffer: types.isAnyArrayBuffer,
  isBoxedPrimitive: types.isBoxedPrimitive,
  isDataView: types.isDataView,
  isDate: types.isDate,
  isMap: types.isMap,
  isNativeError: types.isNativeError,
  isPromise: types.isPromise,
  isProxy: types.isProxy,
  isRegExp: types.isRegExp,
  isSet: types.isSet,
  isTypedArray: types.isTypedArray,
  isWeakMap: types.isWeakMap,
  isWeakSet: types.isWeakSet,
};

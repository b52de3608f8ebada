'use strict';
// Objects that represent something running or open: a timer, an emitter, a stream, a server. Their
// properties belong to Node and are not data.

const { EventEmitter } = require('node:events');
const {
  ObjectGetOwnPropertyDescriptor, ObjectGetPrototypeOf, ObjectKeys, ObjectPrototypeHasOwnProperty, ObjectPrototypeIsPrototypeOf,
  RegExpPrototypeExec,
} = require('./intrinsics.js');

const EventEmitterPrototype = EventEmitter.prototype;
/** The properties of every emitter, and those of a stream, a socket or a server. */
const emitterKeys = { __proto__: null, _events: true, _eventsCount: true, _maxListeners: true, domain: true };
const runningKeys = ['_readableState', '_writableState', '_handle', 'spawnfile', '_connections', 'threadId', 'freeSockets', 'isCompletionEnabled', '_options',
  'execPath'];
const EventTargetPrototype = EventTarget.prototype;
const AbortSignalPrototype = AbortSignal.prototype;

/**
 * Returns whether a value represents something that is running. Reads no getter.
 * @param {object | Function} value
 */
function isLive(value) {
  try {
    // A Timeout is part of a linked list.
    if (ObjectPrototypeHasOwnProperty(value, '_idlePrev') && ObjectPrototypeHasOwnProperty(value, '_idleNext')) return true;
    if (ObjectPrototypeHasOwnProperty(value, '_onImmediate')) return true;
    if (ObjectPrototypeIsPrototypeOf(EventTargetPrototype, value)) {
      return ObjectKeys(value).length === 0 && !ObjectPrototypeIsPrototypeOf(AbortSignalPrototype, value);
    }
    if (!ObjectPrototypeIsPrototypeOf(EventEmitterPrototype, value)) return false;
    for (let index = 0; index < runningKeys.length; index++) {
      if (ObjectPrototypeHasOwnProperty(value, runningKeys[index])) return true;
    }
    // An emitter class of the program that holds data counts as data.
    const keys = ObjectKeys(value);
    for (let index = 0; index < keys.length; index++) {
      if (emitterKeys[keys[index]] === undefined) return false;
    }
    return true;
  } catch {
    return false; // a hostile proxy
  }
}

/** Returns whether an own key of an emitter belongs to Node. */
function isEmitterKey(key) {
  return emitterKeys[key] === true;
}

/**
 * Returns the name of an object's class, or of a function. Returns '' if it cannot be read without
 * calling anything.
 */
function classNameOf(value) {
  try {
    for (let prototype = ObjectGetPrototypeOf(value), depth = 0; prototype !== null && depth < 10; depth++) {
      const constructor = ObjectGetOwnPropertyDescriptor(prototype, 'constructor')?.value;
      if (typeof constructor === 'function') {
        const name = ObjectGetOwnPropertyDescriptor(constructor, 'name')?.value;
        return typeof name === 'string' && RegExpPrototypeExec(className, name) !== null ? name : '';
      }
      prototype = ObjectGetPrototypeOf(prototype);
    }
  } catch {
    // a hostile proxy
  }
  return '';
}

const className = /^[\w$]{1,60}$/;

module.exports = { classNameOf, isEmitterKey, isLive };

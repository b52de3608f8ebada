'use strict';
// One call to the host: a socket of its own, a request, its answer and their bodies, in the format
// that crates/channel/src/call.rs describes. Loaded before user code, and only for runs whose
// policy names storage.
//
// This uses Node's own sockets, whose methods are looked up like any others: a program that changes
// them breaks its own transfers. The host neither trusts what such a program sends nor waits for
// it.

const { Buffer } = require('node:buffer');
const { Socket } = require('node:net');
const process = require('node:process');
const { setTimeout } = require('node:timers');
const { Error, JSONParse, JSONStringify, ObjectDefineProperty, Promise } = require('./intrinsics.js');

const LENGTH_BYTES = 4;
const MAX_HEADER_BYTES = 64 * 1024;
const MAX_CHUNK_BYTES = 1024 * 1024;
const END_OF_BODY = Buffer.alloc(LENGTH_BYTES);

/**
 * The interval at which a call that found too many others open tries again, and how long it tries
 * while none of the others makes progress.
 */
const RETRY_MS = 10;
const STALL_MS = 10_000;

const codes = {
  __proto__: null, NotFound: 'ENOENT', NotGranted: 'EACCES', InvalidName: 'EINVAL', QuotaExceeded: 'EDQUOT', StorageError: 'EIO',
  Busy: 'EBUSY',
};

/** A storage error: `name` is one of those above, `code` is the code of a file error. */
function storageError(name, message) {
  const error = new Error(message);
  const known = codes[name] === undefined ? 'StorageError' : name;
  ObjectDefineProperty(error, 'name', { __proto__: null, value: known, writable: true, enumerable: false, configurable: true });
  error.code = codes[known];
  return error;
}

/**
 * The number of chunks that all calls have moved. A call that waits for another one to end uses it
 * to detect whether the others make progress.
 */
let moved = 0;

/** Waits for a socket. At most sixteen are open at a time. */
async function openSocket(execution) {
  let descriptor = execution.openCall();
  let seen = moved;
  for (let waited = 0; descriptor === undefined; waited += RETRY_MS) {
    if (moved !== seen) {
      seen = moved;
      waited = 0;
    }
    if (waited >= STALL_MS) {
      throw storageError('Busy', 'too many transfers are open and none makes progress; read each download to its end, or destroy it, before the next');
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    descriptor = execution.openCall();
  }
  return new Socket({ fd: descriptor, readable: true, writable: true, allowHalfOpen: true });
}

class Call {
  #socket;
  /** Bytes of the length that is being received. */
  #length = 0;
  #lengthBytes = 0;
  /** Bytes of the header or chunk that is being received. */
  #left = 0;
  /** Pieces of the header, null once it is complete. */
  #header = [];
  #answer;
  #settle;
  #failure = null;
  #wake = null;
  #over = false;
  /**
   * The consumer of the answer's body: `part(bytes, isLast)` for each piece, and whether it ends a
   * chunk; `end()`; `fail(error)`.
   */
  #body = null;

  constructor(socket) {
    this.#socket = socket;
    this.#answer = new Promise((resolve) => { this.#settle = resolve; });
    socket.on('data', (bytes) => {
      moved++;
      this.#take(bytes);
    });
    socket.on('end', () => this.#fail('storage went away before it had answered in full'));
    socket.on('error', (error) => this.#fail(`the connection to storage broke: ${error.message}`));
    socket.on('close', () => this.#fail('the connection to storage was closed'));
    socket.on('drain', () => this.#resume());
  }

  static async open(execution) {
    return new Call(await openSocket(execution));
  }

  /** Sends the request. */
  ask(request) {
    const json = Buffer.from(JSONStringify(request), 'utf8');
    if (json.length > MAX_HEADER_BYTES) throw storageError('InvalidName', 'the name is too long');
    this.#socket.cork();
    this.#socket.write(lengthOf(json.length));
    this.#socket.write(json);
    this.#socket.uncork();
  }

  /** Whether there is no reason to send more. */
  get isAnswered() {
    return this.#header === null || this.#over;
  }

  /** Sends a part of the body, and waits until more can be sent or the answer has arrived. */
  async send(bytes) {
    for (let at = 0; at < bytes.length && !this.isAnswered; at += MAX_CHUNK_BYTES) {
      const chunk = bytes.subarray(at, at + MAX_CHUNK_BYTES);
      this.#socket.cork();
      this.#socket.write(lengthOf(chunk.length));
      const hasRoom = this.#socket.write(chunk);
      this.#socket.uncork();
      moved++;
      if (!hasRoom && !this.isAnswered) await new Promise((resolve) => { this.#wake = resolve; });
    }
  }

  /** Marks the body as complete. Without this mark, nothing is stored. */
  endBody() {
    if (!this.isAnswered) this.#socket.write(END_OF_BODY);
  }

  /** Returns the content of the answer, or throws the error that it reports. */
  async answer() {
    const { ok, error } = await this.#answer;
    if (error !== undefined) throw storageError(error.name, error.message);
    return ok;
  }

  /** Passes the body of the answer to `body` from now on. */
  readBody(body) {
    this.#body = body;
    if (this.#failure !== null) process.nextTick(() => body.fail(this.#failure));
    else this.#socket.resume();
  }

  pause() {
    this.#socket.pause();
  }

  resume() {
    this.#socket.resume();
  }

  close() {
    this.#over = true;
    this.#socket.destroy();
    this.#resume();
  }

  #take(bytes) {
    for (let at = 0; at < bytes.length && !this.#over;) {
      if (this.#left === 0) {
        this.#length += bytes[at++] * 2 ** (8 * this.#lengthBytes++);
        if (this.#lengthBytes === LENGTH_BYTES) this.#begin();
        continue;
      }
      const part = bytes.subarray(at, at + this.#left);
      at += part.length;
      this.#left -= part.length;
      if (this.#header === null) {
        this.#body.part(part, this.#left === 0);
      } else {
        this.#header.push(part);
        if (this.#left === 0) {
          const rest = bytes.subarray(at);
          this.#endHeader();
          // Only the caller that waits for the answer decides what to do with the body.
          if (rest.length > 0) this.#socket.unshift(rest);
          return;
        }
      }
    }
  }

  #begin() {
    const length = this.#length;
    this.#length = this.#lengthBytes = 0;
    this.#left = length;
    if (length > (this.#header === null ? MAX_CHUNK_BYTES : MAX_HEADER_BYTES)) return this.#fail('storage answered out of turn');
    if (length > 0) return;
    if (this.#header !== null) return this.#fail('storage answered out of turn');
    this.#over = true;
    this.#socket.destroy();
    this.#body.end();
  }

  #endHeader() {
    const header = this.#header;
    this.#header = null;
    this.#socket.pause();
    this.#settle(JSONParse(Buffer.concat(header).toString('utf8')));
    this.#resume();
  }

  #fail(message) {
    if (this.#over || this.#failure !== null) return;
    this.#failure = storageError('StorageError', message);
    this.#over = true;
    this.#socket.destroy();
    this.#settle({ __proto__: null, error: this.#failure });
    this.#body?.fail(this.#failure);
    this.#resume();
  }

  #resume() {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }
}

function lengthOf(length) {
  const bytes = Buffer.allocUnsafe(LENGTH_BYTES);
  bytes.writeUInt32LE(length);
  return bytes;
}

module.exports = { Call, storageError };

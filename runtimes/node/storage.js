'use strict';
// `belljar.storage` and `yepcode.storage`: named objects on the host, transferred through calls.
// Loaded before user code, and only for runs whose policy names storage; the host decides which
// names a run may use.

const { Blob, Buffer } = require('node:buffer');
const { Readable } = require('node:stream');
const { Call } = require('./call.js');
const {
  ArrayIsArray, JSONParse, ObjectFreeze, ObjectKeys, StringPrototypeToWellFormed, TypedArrayPrototypeGetByteLength, Uint8Array, isAnyArrayBuffer,
  isDataView, isTypedArray,
} = require('./intrinsics.js');

const accepted = 'a string, a Buffer or typed array, a Blob, a stream, or an iterable of such pieces';

/**
 * Pieces smaller than this are combined before they are sent, because sending single lines would
 * need a system call for each.
 */
const GATHERED_BYTES = 64 * 1024;

/**
 * @param {{openCall(): number | undefined}} execution
 * @param {(record: object) => object} show what a program is given to see of an object's record
 */
function createStorage(execution, show) {
  return ObjectFreeze({
    /**
     * Stores an object, completely or not at all, and replaces an existing one of that name.
     * @param {string} name
     * @param {string | NodeJS.ArrayBufferView | ArrayBuffer | Blob | ReadableStream | AsyncIterable
     *   | Iterable} data
     * @param {{contentType?: string}} [options] a Blob brings its own type
     */
    async upload(name, data, options) {
      checkName(name, 'name');
      const source = sourceOf(data);
      const contentType = options?.contentType ?? source.contentType ?? null;
      const record = await withCall(execution, async (call) => {
        call.ask({ __proto__: null, op: 'upload', name: StringPrototypeToWellFormed(name), content_type: contentType });
        await source.sendTo(call);
        call.endBody();
        return await call.answer();
      }, source);
      return show(record);
    },

    /** Returns a Readable with the bytes of an object. If they end early, it emits an error. */
    async download(name) {
      checkName(name, 'name');
      const call = await Call.open(execution);
      try {
        call.ask({ __proto__: null, op: 'download', name: StringPrototypeToWellFormed(name) });
        return new Download(call, show({ name, ...await call.answer() }));
      } catch (error) {
        call.close();
        throw error;
      }
    },

    /**
     * Returns the records of all objects that the run may read and whose names begin with `prefix`,
     * sorted by name.
     */
    async list(prefix = '') {
      checkName(prefix, 'prefix');
      return await withCall(execution, async (call) => {
        call.ask({ __proto__: null, op: 'list', prefix: StringPrototypeToWellFormed(prefix) });
        await call.answer();
        return await readRecords(call, show);
      });
    },

    /** Deletes an object. */
    async delete(name) {
      checkName(name, 'name');
      await withCall(execution, async (call) => {
        call.ask({ __proto__: null, op: 'delete', name: StringPrototypeToWellFormed(name) });
        await call.answer();
      });
    },
  });
}

async function withCall(execution, use, source = null) {
  let call;
  try {
    call = await Call.open(execution);
  } catch (error) {
    source?.abandon();
    throw error;
  }
  try {
    return await use(call);
  } finally {
    call.close();
  }
}

function checkName(name, what) {
  if (typeof name !== 'string') throw new TypeError(`the ${what} of an object is a string, not ${name === null ? 'null' : typeof name}`);
}

// A body that is read from the socket only as fast as the program reads it.
class Download extends Readable {
  #call;

  constructor(call, record) {
    super();
    this.#call = call;
    Object.assign(this, record);
    call.readBody({
      __proto__: null,
      part: (bytes) => {
        if (!this.push(bytes)) call.pause();
      },
      end: () => this.push(null),
      fail: (error) => this.destroy(error),
    });
  }

  _read() {
    this.#call.resume();
  }

  _destroy(error, callback) {
    this.#call.close();
    callback(error);
  }
}

function readRecords(call, show) {
  return new Promise((resolve, reject) => {
    const records = [];
    let chunk = [];
    call.readBody({
      __proto__: null,
      part(bytes, isLast) {
        chunk.push(bytes);
        if (!isLast) return;
        for (const record of JSONParse(Buffer.concat(chunk).toString('utf8'))) records.push(show(record));
        chunk = [];
      },
      end: () => resolve(records),
      fail: reject,
    });
  });
}

/** The source of an upload's bytes. */
function sourceOf(data) {
  const bytes = bytesOf(data);
  if (bytes !== null) return new Bytes(bytes);
  if (data instanceof Blob) return new Pieces(data.stream(), data.type === '' ? undefined : data.type);
  if (typeof data?.[Symbol.asyncIterator] === 'function') return new Pieces(data);
  if (typeof data?.[Symbol.iterator] === 'function' && !ArrayIsArray(data)) return new Pieces(data);
  throw new TypeError(`what is uploaded is ${accepted}; give other values as JSON.stringify(value)`);
}

class Bytes {
  #bytes;

  constructor(bytes) {
    this.#bytes = bytes;
  }

  sendTo(call) {
    return call.send(this.#bytes);
  }

  abandon() {}
}

class Pieces {
  #iterator;
  #first;

  constructor(data, contentType) {
    this.contentType = contentType;
    this.#iterator = (data[Symbol.asyncIterator] ?? data[Symbol.iterator]).call(data);
    // Requested immediately, so that a stream that fails while the call waits for a socket has a
    // handler for its error.
    this.#first = this.#next();
    this.#first.catch(() => {});
  }

  async #next() {
    return this.#iterator.next();
  }

  async sendTo(call) {
    let gathered = [];
    let length = 0;
    try {
      for (let step = await this.#first; !step.done && !call.isAnswered; step = await this.#next()) {
        const bytes = bytesOf(await step.value);
        if (bytes === null) throw new TypeError(`a piece of what is uploaded is not a string or bytes`);
        gathered.push(bytes);
        length += bytes.length;
        if (length < GATHERED_BYTES) continue;
        await call.send(gathered.length === 1 ? bytes : Buffer.concat(gathered));
        gathered = [];
        length = 0;
      }
      await call.send(Buffer.concat(gathered));
    } catch (error) {
      this.abandon();
      throw error;
    }
    if (call.isAnswered) this.abandon();
  }

  /** Stops the source, because the rest is not needed. */
  abandon() {
    try {
      this.#iterator.return?.()?.catch?.(() => {});
    } catch {
      // An error of the source while it stops is irrelevant.
    }
  }
}

/**
 * Returns the bytes of a string, or of a view on memory without copying it. Null for anything else.
 */
function bytesOf(data) {
  if (typeof data === 'string') return Buffer.from(data, 'utf8');
  if (isTypedArray(data)) return new Uint8Array(data.buffer, data.byteOffset, TypedArrayPrototypeGetByteLength(data));
  if (isDataView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (isAnyArrayBuffer(data)) return new Uint8Array(data);
  return null;
}

/** Returns an object's record with names in camel case: `sizeBytes`, `contentType`, `updatedAt`. */
function camelCased(record) {
  const shown = {};
  for (const key of ObjectKeys(record)) shown[key.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase())] = record[key];
  return shown;
}

/** Returns the record with the names that code written for YepCode reads. */
function yepcodeNamed(record) {
  const { sizeBytes, md5, ...rest } = camelCased(record);
  return { name: record.name, size: sizeBytes, md5Hash: md5, ...rest };
}

module.exports = { camelCased, createStorage, yepcodeNamed };

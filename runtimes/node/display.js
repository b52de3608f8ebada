'use strict';
// display(value): rich results, shown next to the returned value: an image, a page, a document,
// data.

const {
  ErrorCaptureStackTrace, JSONStringify, ObjectGetPrototypeOf, ReflectApply, RegExpPrototypeExec, StringPrototypeSlice, StringPrototypeStartsWith,
  StringPrototypeToWellFormed, StringPrototypeTrimStart, TypedArrayPrototypeGetLength, Uint8Array, base64, isAnyArrayBuffer,
  isDataView, isNativeError, isTypedArray, uncurryThis,
} = require('./intrinsics.js');
const { toJSONText } = require('./convert.js');

const RESULT = 3;
/** Maximum number of characters, or bytes of base64, of one rich result. */
const MAX_DISPLAY = 10 * 1024 * 1024;

const typedArrayPrototype = ObjectGetPrototypeOf(Uint8Array.prototype);
const viewBuffer = uncurryThis(Object.getOwnPropertyDescriptor(typedArrayPrototype, 'buffer').get);
const viewOffset = uncurryThis(Object.getOwnPropertyDescriptor(typedArrayPrototype, 'byteOffset').get);
const viewLength = uncurryThis(Object.getOwnPropertyDescriptor(typedArrayPrototype, 'byteLength').get);
const dataViewBuffer = uncurryThis(Object.getOwnPropertyDescriptor(DataView.prototype, 'buffer').get);
const dataViewOffset = uncurryThis(Object.getOwnPropertyDescriptor(DataView.prototype, 'byteOffset').get);
const dataViewLength = uncurryThis(Object.getOwnPropertyDescriptor(DataView.prototype, 'byteLength').get);

/**
 * The `display` of an execution.
 *
 * - bytes (Buffer, typed array, ArrayBuffer): PNG, JPEG, GIF, WebP and PDF are recognised by their
 *   first bytes
 * - a string: SVG when it starts as SVG does, else plain text
 * - `{html}`, `{markdown}`, `{svg}`, `{text}`, `{json}`, with that one key: what the key says
 * - an object with `toHTML()`: its HTML
 * - any other value: JSON, converted as a result is
 *
 * `display(data, {type})` says the type itself.
 */
function createDisplay(execution) {
  return function display(value, options) {
    try {
      return show(value, options);
    } catch (error) {
      // Its own stack begins where the program called.
      if (isNativeError(error) && StringPrototypeStartsWith(error.message, 'display: ')) ErrorCaptureStackTrace(error, display);
      throw error;
    }
  };

  function show(value, options) {
    const asked = options !== null && typeof options === 'object' ? options.type : undefined;
    if (asked !== undefined && (typeof asked !== 'string' || RegExpPrototypeExec(mimeType, asked) === null)) {
      throw new TypeError(`display: type must be a media type such as "image/png", got ${JSONStringify(asked) ?? typeof asked}`);
    }
    const bytes = bytesOf(value);
    if (bytes !== null) {
      const type = asked ?? typeOfBytes(bytes);
      const length = TypedArrayPrototypeGetLength(bytes);
      if (length * 4 / 3 > MAX_DISPLAY) throw tooLarge();
      return send(type, base64(bytes, 0, length), 'base64');
    }
    const { type, data } = textOf(value, asked);
    if (data.length > MAX_DISPLAY) throw tooLarge();
    return send(type, data, 'utf8');
  }

  function send(type, data, encoding) {
    execution.send(RESULT, `{"type":${JSONStringify(type)},"data":${JSONStringify(StringPrototypeToWellFormed(data))},"encoding":"${encoding}"}`);
  }
}

const mimeType = /^[A-Za-z0-9!#$&^_.+-]{1,64}\/[A-Za-z0-9!#$&^_.+-]{1,64}(?:; ?[A-Za-z0-9=._"-]{1,64})?$/;
const svg = /^(?:<\?xml[^>]*>\s*)?(?:<!--[^]*?-->\s*)?(?:<!DOCTYPE svg[^>]*>\s*)?<svg[\s/>]/i;

function textOf(value, asked) {
  if (typeof value === 'string') {
    const looksLikeSvg = RegExpPrototypeExec(svg, StringPrototypeSlice(StringPrototypeTrimStart(value), 0, 2000)) !== null;
    return { __proto__: null, type: asked ?? (looksLikeSvg ? 'image/svg+xml' : 'text/plain'), data: value };
  }
  if (value !== null && typeof value === 'object') {
    if (typeof value.html === 'string') return { __proto__: null, type: asked ?? 'text/html', data: value.html };
    if (typeof value.markdown === 'string') return { __proto__: null, type: asked ?? 'text/markdown', data: value.markdown };
    if (typeof value.svg === 'string') return { __proto__: null, type: asked ?? 'image/svg+xml', data: value.svg };
    if (typeof value.text === 'string') return { __proto__: null, type: asked ?? 'text/plain', data: value.text };
    const toHTML = value.toHTML;
    if (typeof toHTML === 'function') {
      const html = ReflectApply(toHTML, value, []);
      if (typeof html === 'string') return { __proto__: null, type: asked ?? 'text/html', data: html };
    }
    if (value.json !== undefined) return { __proto__: null, type: asked ?? 'application/json', data: jsonOf(value.json) };
  }
  return { __proto__: null, type: asked ?? 'application/json', data: jsonOf(value) };
}

function jsonOf(value) {
  try {
    return toJSONText(value, MAX_DISPLAY);
  } catch (failure) {
    throw new TypeError(`display: ${failure.message}`);
  }
}

function bytesOf(value) {
  if (isTypedArray(value)) return new Uint8Array(viewBuffer(value), viewOffset(value), viewLength(value));
  if (isDataView(value)) return new Uint8Array(dataViewBuffer(value), dataViewOffset(value), dataViewLength(value));
  return isAnyArrayBuffer(value) ? new Uint8Array(value) : null;
}

function typeOfBytes(bytes) {
  let head = '';
  for (let index = 0; index < 12 && index < TypedArrayPrototypeGetLength(bytes); index++) head += hex[bytes[index]];
  if (StringPrototypeStartsWith(head, '89504e470d0a1a0a')) return 'image/png';
  if (StringPrototypeStartsWith(head, 'ffd8ff')) return 'image/jpeg';
  if (StringPrototypeStartsWith(head, '47494638')) return 'image/gif';
  if (StringPrototypeStartsWith(head, '52494646') && StringPrototypeSlice(head, 16) === '57454250') return 'image/webp';
  if (StringPrototypeStartsWith(head, '255044462d')) return 'application/pdf';
  return 'application/octet-stream';
}

const hex = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

function tooLarge() {
  return new RangeError(`display: a rich result may have ${MAX_DISPLAY} bytes; write it to a file in outputs/ instead`);
}

module.exports = { createDisplay };

'use strict';
// Where a syntax error is. Node says it in the stack of a CommonJS file, and for an ES module only on the way out of the process.

const { readFileSync } = require('node:fs');
const {
  Number, ObjectDefineProperty, ObjectPrototypeIsPrototypeOf, RegExpPrototypeExec, StringPrototypeIncludes, StringPrototypeSlice,
  SyntaxError,
} = require('./intrinsics.js');
const { stackWithPlace } = require('./errors.js');

/** Files that Node was given to compile, in order. */
const files = [];
const MAX_FILES = 1000;
/** How many of the last of them are parsed again to find a mistake. */
const MAX_PARSED = 200;

/**
 * Remembers a file that is about to be compiled.
 * @param {string} file
 * @param {string} language
 * @param {string | null} source as it was written; null to read it when it matters
 */
function noteFile(file, language, source) {
  if (files.length < MAX_FILES) files[files.length] = { __proto__: null, file, language, source };
}

/** Forgets them all. */
function forgetFiles() {
  files.length = 0;
}

/**
 * Gives a syntax error of a module its `file:line`, source line and caret.
 * @param {object} native
 * @param {unknown} error returned unchanged when it is no syntax error, has its place already, or no file that was compiled has a mistake
 * @returns {{file: string, language?: string} | null} the file with the mistake, and the language that it is written in where it is another
 */
function placeSyntaxError(native, error) {
  try {
    if (!ObjectPrototypeIsPrototypeOf(SyntaxError.prototype, error)) return null;
    const { stack } = error;
    if (typeof stack !== 'string') return null;
    const placed = RegExpPrototypeExec(header, stack);
    if (placed === null && !StringPrototypeIncludes(stack, compilation)) return null;
    for (let index = files.length - 1; index >= 0 && index >= files.length - MAX_PARSED; index--) {
      const { file, language } = files[index];
      if (placed !== null && placed[1] !== file) continue;
      const source = files[index].source ?? readFileSync(file, 'utf8');
      const mistake = native.findMistake(source, file, language);
      if (mistake === undefined) continue;
      if (placed === null) showPlace(error, file, source, mistake);
      return { __proto__: null, file, language: mistake.language };
    }
  } catch {
    // A hostile error: reported as it is.
  }
  return null;
}

// What Node puts before a stack that has a place: "file:line".
const header = /^(?:file:\/\/)?(\/[^\n]*):\d+\n/;
const compilation = 'at compileSourceTextModule (node:internal/';

function showPlace(error, file, source, { line, column }) {
  const stack = stackWithPlace(error.stack, { __proto__: null, file, line, column, source });
  ObjectDefineProperty(error, 'stack', { __proto__: null, value: stack, writable: true, configurable: true });
}

// What the parser says of TypeScript: V8 would complain of the first type. It ends in the place, "... (line 3, column 7)".
const placeAtEnd = / \(line (\d+), column (\d+)\)$/;

/** The error for what `native.prepare` says of a TypeScript file. */
function reportedSyntaxError(message, file, source) {
  const place = RegExpPrototypeExec(placeAtEnd, message);
  if (place === null) return new SyntaxError(message);
  const error = new SyntaxError(StringPrototypeSlice(message, 0, place.index));
  showPlace(error, file, source, { __proto__: null, line: Number(place[1]), column: Number(place[2]) });
  return error;
}

module.exports = { forgetFiles, noteFile, placeSyntaxError, reportedSyntaxError };

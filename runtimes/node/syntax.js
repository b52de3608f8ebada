'use strict';
// The position of a syntax error. Node reports it in the stack of a CommonJS file; for an ES module
// it prints the position only when the process exits.

const { readFileSync } = require('node:fs');
const {
  Number, ObjectDefineProperty, ObjectPrototypeIsPrototypeOf, RegExpPrototypeExec, StringPrototypeIncludes, StringPrototypeSlice,
  SyntaxError,
} = require('./intrinsics.js');
const { stackWithPlace } = require('./errors.js');

/** The files that Node was given to compile, in order. */
const files = [];
const MAX_FILES = 1000;
/** Maximum number of the most recent files that are parsed again to find a mistake. */
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

/** Forgets all files. */
function forgetFiles() {
  files.length = 0;
}

/**
 * Adds `file:line`, the source line and a caret to a syntax error of a module.
 * @param {object} native
 * @param {unknown} error returned unchanged when it is no syntax error, has its place already, or
 *   no file that was compiled has a mistake
 * @returns {{file: string, language?: string} | null} the file with the mistake, and the language
 *   that it is written in where it is another
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
    // A hostile error is reported as it is.
  }
  return null;
}

// The line that Node puts before a stack with a position: "file:line".
const header = /^(?:file:\/\/)?(\/[^\n]*):\d+\n/;
const compilation = 'at compileSourceTextModule (node:internal/';

function showPlace(error, file, source, { line, column }) {
  const stack = stackWithPlace(error.stack, { __proto__: null, file, line, column, source });
  ObjectDefineProperty(error, 'stack', { __proto__: null, value: stack, writable: true, configurable: true });
}

// A message of the parser about TypeScript, because V8 would report the first type as an error. It
// ends with the position, "... (line 3, column 7)".
const placeAtEnd = / \(line (\d+), column (\d+)\)$/;

/** Creates the error for a message of `native.prepare` about a TypeScript file. */
function reportedSyntaxError(message, file, source) {
  const place = RegExpPrototypeExec(placeAtEnd, message);
  if (place === null) return new SyntaxError(message);
  const error = new SyntaxError(StringPrototypeSlice(message, 0, place.index));
  showPlace(error, file, source, { __proto__: null, line: Number(place[1]), column: Number(place[2]) });
  return error;
}

module.exports = { forgetFiles, noteFile, placeSyntaxError, reportedSyntaxError };

'use strict';
// Hints for errors that end a run: to choose the other language, or to write the name of a package
// as Belljar expects it.

const { RegExpPrototypeExec, StringPrototypeIncludes, StringPrototypeStartsWith } = require('./intrinsics.js');
const { lastUnresolved } = require('./resolution.js');
const { placeSyntaxError } = require('./syntax.js');

const names = { __proto__: null, typescript: 'TypeScript', python: 'Python' };

/**
 * Returns a hint for an uncaught error, or ''. Adds the place to a syntax error.
 * @param {object} native
 * @param {unknown} error
 * @param {{language: string, entry: string}} activation
 */
function hintFor(native, error, activation) {
  const mistake = placeSyntaxError(native, error);
  try {
    const message = error === null || typeof error !== 'object' ? undefined : error.message;
    if (typeof message !== 'string') return '';
    if (StringPrototypeIncludes(message, "'assert'") && !StringPrototypeIncludes(message, 'write `with`')) {
      return 'write `with` in place of `assert`';
    }
    if (mistake !== null && mistake.language !== undefined) return otherLanguage(mistake, activation);
    return importHint(error.code, message) ?? pythonHint(error, message) ?? '';
  } catch {
    return ''; // A hostile error.
  }
}

function otherLanguage({ file, language }, { entry }) {
  const name = names[language];
  const isEntry = file === `/home/user/${entry}` || StringPrototypeIncludes(file, entry);
  if (!isEntry) return `${file} looks like ${name}: give it a name that says so`;
  return `this looks like ${name}: run it with the language \`${language}\``;
}

const versioned = /'((?:@[^'/@]+\/)?[^'/@\s]+)@([^'/\s]+)(\/[^'\s]*)?'/;
const url = /^https?:\/\/(?:esm\.sh|esm\.run|cdn\.skypack\.dev|unpkg\.com|cdn\.jsdelivr\.net\/npm|jspm\.dev|ga\.jspm\.io\/npm:?|deno\.land\/x)\/+(?:v\d+\/)?((?:@[^/@?]+\/)?[^/@?]+)(?:@([^/?]+))?/;
const jsr = /^jsr:/;

function importHint(code, message) {
  const isMissing = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND' || code === 'ERR_UNSUPPORTED_ESM_URL_SCHEME' ||
    code === 'ERR_INVALID_MODULE_SPECIFIER';
  if (!isMissing) return undefined;
  const specifier = lastUnresolved();
  if (specifier !== null && RegExpPrototypeExec(jsr, specifier) !== null) {
    return `packages come from npm, not from JSR: where npm has one of this kind, import it as \`npm:NAME@VERSION\`, not as \`${specifier}\``;
  }
  const remote = specifier === null ? null : RegExpPrototypeExec(url, specifier);
  if (remote !== null) {
    const version = remote[2] === undefined ? '' : `@${remote[2]}`;
    return `modules are not loaded from URLs: import the package from npm, as \`npm:${remote[1]}${version}\``;
  }
  if (specifier !== null && (StringPrototypeStartsWith(specifier, 'https:') || StringPrototypeStartsWith(specifier, 'http:'))) {
    return 'modules are not loaded from URLs: import a package of npm, as `npm:NAME@VERSION`, or add the file to the run';
  }
  const parts = RegExpPrototypeExec(versioned, specifier === null ? message : `'${specifier}'`) ?? RegExpPrototypeExec(versioned, message);
  if (parts !== null && !StringPrototypeStartsWith(parts[1], 'npm:')) {
    return `write the version as \`npm:${parts[1]}@${parts[2]}${parts[3] ?? ''}\``;
  }
  return undefined;
}

const pythonName = /^(print|None|True|False|len|elif|__name__|self) is not defined$/;

function pythonHint(error, message) {
  if (error.name !== 'ReferenceError') return undefined;
  const name = RegExpPrototypeExec(pythonName, message);
  if (name === null) return undefined;
  return `\`${name[1]}\` is a name of Python's: if this is Python, run it with the language \`python\``;
}

module.exports = { hintFor };

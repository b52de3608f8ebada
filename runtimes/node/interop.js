'use strict';
// Makes packages of the other module system usable in the way that the program uses them: exports
// of a CommonJS package that Node's lexer does not find, and the default export of an ES module
// that is required. The intended meaning follows from the uses of the import. If Node's own meaning
// fits, nothing is changed.
//
// A small module is put between the program's file and the package. It is evaluated together with
// the package.

const { JSONStringify, ObjectPrototypeHasOwnProperty, StringPrototypeStartsWith } = require('./intrinsics.js');

const PREFIX = 'belljar:';

/** The generated modules by URL, and their URLs by target and purpose. */
const between = { __proto__: null };
const urls = { __proto__: null };
let count = 0;

/**
 * Returns the URL of the module between a file and its import, or null if none is needed.
 * @param {string} target the URL of what is imported
 * @param {boolean} isImport by `import`, not by `require`
 * @param {boolean} isModule whether the target is an ES module
 * @param {object} uses what the file does with it, as `native.prepare` returned it
 */
function moduleBetween(target, isImport, isModule, uses) {
  let kind;
  if (isImport) {
    if (isModule || (uses.named.length === 0 && uses.members.length === 0 && uses.default === undefined)) return null;
    kind = 'import';
  } else {
    if (!isModule || uses.required === undefined) return null;
    kind = 'require';
  }
  const key = `${kind} ${target} ${JSONStringify(uses)}`;
  if (urls[key] === undefined) {
    urls[key] = `${PREFIX}${kind}/${++count}`;
    between[urls[key]] = { __proto__: null, kind, target, uses };
  }
  return urls[key];
}

/**
 * Returns the result of the `load` hook for such a URL, or null. `file` is the path of its target.
 */
function loadBetween(url, fileOf) {
  if (!StringPrototypeStartsWith(url, PREFIX) || between[url] === undefined) return null;
  const { kind, target, uses } = between[url];
  return kind === 'import'
    ? { __proto__: null, format: 'module', source: importSource(target, uses), shortCircuit: true }
    : { __proto__: null, format: 'commonjs', source: requireSource(fileOf(target), uses), shortCircuit: true };
}

// `m` is the exports of the package: the result of `require`.
function importSource(target, { named, members, default: value, whole }) {
  const from = JSONStringify(target);
  let source = `import * as n from ${from};\n`;
  source += "const m = 'module.exports' in n ? n['module.exports'] : n.default;\n";
  source += "const o = m !== null && (typeof m === 'object' || typeof m === 'function') ? m : {};\n";
  if (whole) source += `export * from ${from};\n`;
  if (value !== undefined || whole) source += `const d = ${choice('m', value)};\nexport { d as default };\n`;
  let index = 0;
  const exported = { __proto__: null };
  for (; index < named.length; index++) {
    const name = JSONStringify(named[index]);
    exported[named[index]] = true;
    const missing = JSONStringify(`The requested module does not provide an export named '${named[index]}'`);
    source += `if (!(${name} in n) && !(${name} in o)) throw new SyntaxError(${missing});\n`;
    source += `const v${index} = ${name} in n ? n[${name}] : o[${name}];\nexport { v${index} as ${name} };\n`;
  }
  for (let member = 0; member < members.length; member++) {
    if (exported[members[member]] === true || (members[member] === 'default' && (value !== undefined || whole))) continue;
    const name = JSONStringify(members[member]);
    const read = members[member] === 'default' ? 'm' : `${name} in n ? n[${name}] : o[${name}]`;
    source += `const v${index} = ${read};\nexport { v${index} as ${name} };\n`;
    index++;
  }
  return source;
}

function requireSource(file, { required }) {
  return `const m = require(${JSONStringify(file)});\nmodule.exports = ${choice('m', required)};`;
}

// Returns the default export instead of the module if the program cannot mean anything else: it
// calls the module, which is not a function, or the module has none of the names that are read
// while the default export has some.
function choice(name, value) {
  if (value === undefined) return name;
  const { isCalled, members } = value;
  let own = 'false';
  let others = 'false';
  for (let index = 0; index < members.length; index++) {
    if (members[index] === 'default' || members[index] === '__esModule') return name;
    const member = JSONStringify(members[index]);
    own += ` || ${member} in ${name}`;
    others += ` || ${member} in Object(${name}.default)`;
  }
  const called = isCalled ? `(typeof ${name} !== 'function' && typeof ${name}.default === 'function')` : 'false';
  const hasDefault = `${name} !== null && typeof ${name} === 'object' && 'default' in ${name} && ` +
    `(${name}.__esModule === true || ${name}[Symbol.toStringTag] === 'Module')`;
  return `${hasDefault} && (${called} || (!(${own}) && (${others}))) ? ${name}.default : ${name}`;
}

/**
 * Returns JSON as an ES module: the whole value as its default export, and each of its keys as a
 * named export.
 * @param {string} text
 */
function moduleOfJSON(text, parsed) {
  let source = `const j = JSON.parse(${JSONStringify(text)});\nexport default j;\n`;
  if (parsed === null || typeof parsed !== 'object') return source;
  let index = 0;
  for (const name in parsed) {
    if (name === 'default' || !ObjectPrototypeHasOwnProperty(parsed, name)) continue;
    const quoted = JSONStringify(name);
    source += `const v${index} = j[${quoted}];\nexport { v${index} as ${quoted} };\n`;
    index++;
  }
  return source;
}

module.exports = { loadBetween, moduleBetween, moduleOfJSON };

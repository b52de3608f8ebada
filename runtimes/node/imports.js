'use strict';
// Finds the imports of a program's files, and the packages that their comments add. A sandbox can
// be activated for this instead of for running a program, and then does nothing else. No code of
// the program is run.

const fs = require('node:fs');
const path = require('node:path');
const { settingsFor } = require('./tsconfig.js');

const typescript = /\.[mc]?tsx?$/i;
const javascript = /\.[mc]?jsx?$/i;

/**
 * Searches every file beneath `home`.
 * @param {object} native
 * @param {{entry: string, language: string}} activation
 * @param {string} home
 * @returns {{imports: Record<string, boolean>, additions: string[]}} whether each import is
 *   optional, by name
 */
function findImports(native, { entry, language }, home) {
  const imports = { __proto__: null };
  const additions = new Set();
  for (const file of filesIn(home)) {
    // Undefined if the file does not parse or nests too deeply. The run reports it.
    const { options } = settingsFor(file, home);
    const found = native.findImports(fs.readFileSync(file, 'utf8'), file, languageOf(path.relative(home, file), entry, language), options);
    for (const { name, isOptional } of found?.imports ?? []) imports[name] = isOptional && (imports[name] ?? true);
    for (const addition of found?.additions ?? []) additions.add(addition);
  }
  return { imports, additions: [...additions] };
}

function filesIn(folder) {
  const entries = fs.readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
}

// The entry is in the language of the run, whatever it is called.
function languageOf(name, entry, language) {
  if (name === entry) return language;
  if (typescript.test(name)) return 'typescript';
  return javascript.test(name) ? 'javascript' : language;
}

module.exports = { findImports };

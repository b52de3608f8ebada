// Runs programs for the tests: reads a JSON array of cases from stdin, writes a JSON array of answers to stdout.
// A case is {source, code, kind, isAsync, map, name}; an answer is {prepared, v8}, each {value} or {error, stack}.
'use strict';
const vm = require('node:vm');
const path = require('node:path');
const util = require('node:util');
const { SourceMap, createRequire } = require('node:module');

const show = (value) => util.inspect(value, { depth: 6 });

/** What `__belljar_value` is to a program: the last value given counts, and none given takes it back. */
function recorder() {
  const record = (...values) => {
    record.value = values[0];
    return values[0];
  };
  record.value = undefined;
  return record;
}

async function runPrepared(test) {
  const record = recorder();
  let main;
  try {
    if (test.kind === 'commonjs') {
      const module = { exports: {} };
      const names = ['exports', 'require', 'module', '__filename', '__dirname', '__belljar_value'];
      const values = [module.exports, createRequire(__filename), module, test.name, path.dirname(test.name), record];
      const code = test.isAsync ? `return (async () => {${test.code}\n})()` : test.code;
      const returned = await vm.compileFunction(code, names, { filename: test.name }).apply(module.exports, values);
      if (returned !== undefined) record.value = returned;
    } else {
      globalThis.__belljar_value = record;
      const module = new vm.SourceTextModule(test.code, { identifier: test.name });
      await module.link(async (specifier) => {
        const found = await import(specifier);
        return new vm.SyntheticModule(Object.keys(found), function () {
          for (const name of Object.keys(found)) this.setExport(name, found[name]);
        });
      });
      await module.evaluate();
    }
    if (typeof record.main === 'function') main = show(await record.main());
    return { value: show(record.value), main };
  } catch (error) {
    return { error: String(error), place: place(error, test) };
  }
}

/** The line (and, through a map, the column) in the program as it was written where the error was thrown. */
function place(error, test) {
  const at = String(error.stack).match(new RegExp(`${test.name.replace(/\./g, '\\.')}:(\\d+)(?::(\\d+))?`));
  if (!at) return null;
  const [line, column] = [Number(at[1]), Number(at[2] ?? 1)];
  if (!test.map) return { line, column };
  const entry = new SourceMap(JSON.parse(test.map)).findEntry(line - 1, column - 1);
  return { line: entry.originalLine + 1, column: entry.originalColumn + 1 };
}

function runScript(test) {
  try {
    return { value: show(vm.runInNewContext(test.source, { show: undefined }, { timeout: 2000 })) };
  } catch (error) {
    return { error: String(error) };
  }
}

(async () => {
  let input = '';
  for await (const chunk of process.stdin) input += chunk;
  const answers = [];
  for (const test of JSON.parse(input)) answers.push({ prepared: await runPrepared(test), v8: runScript(test) });
  process.stdout.write(JSON.stringify(answers));
})();

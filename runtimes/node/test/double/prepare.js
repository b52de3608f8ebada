'use strict';
// `prepare` of the double: acorn, out of Node's own source, and Node's own stripping of types.

const { parse } = require('internal/deps/acorn/acorn/dist/acorn');
const { stripTypeScriptTypes } = require('node:module');

function prepare(source, file, language, role) {
  let code = source;
  let map;
  if (language === 'typescript') {
    try {
      process.removeAllListeners('warning');
      const warn = process.emitWarning;
      process.emitWarning = () => {};
      code = stripTypeScriptTypes(source, { mode: 'strip' });
      process.emitWarning = warn;
    } catch (error) {
      const at = /\d+/.exec(String(error.line ?? '1'));
      return { kind: 'commonjs', code: source, error: { message: error.message.split('\n')[0], line: Number(at[0]), column: 1 } };
    }
    if (source.includes('@shift')) ({ code, map } = shifted(source, code, file));
  }
  const script = tryParse(code, 'script', true);
  const isModule = file.endsWith('.mjs') || file.endsWith('.mts') || script === null;
  const program = isModule ? tryParse(code, 'module', true) : script;
  if (program === null) return { kind: file.endsWith('.mjs') ? 'module' : 'commonjs', code: source };
  const prepared = { kind: isModule ? 'module' : 'commonjs', code, map, isAsync: !isModule && tryParse(code, 'script', false) === null };
  if (role !== 'main') return prepared;
  return { ...prepared, code: withValue(code, program) };
}

function tryParse(code, sourceType, allowAwaitOutsideFunction) {
  try {
    return parse(code, { ecmaVersion: 'latest', sourceType, allowReturnOutsideFunction: sourceType === 'script', allowAwaitOutsideFunction, allowHashBang: true });
  } catch {
    return null;
  }
}

function withValue(code, program) {
  const edits = [];
  const last = program.body.at(-1);
  if (last?.type === 'ExpressionStatement' && last.directive === undefined) {
    edits.push([last.expression.start, '__belljar_value('], [last.expression.end, ')']);
  }
  if (process.env.DOUBLE_TELLS_CALLS) {
    for (const call of ownCalls(program)) edits.push([call.start, '__belljar_value.called('], [call.end, ')']);
  }
  // Openings at one place nest in the order given, closings the other way round.
  edits.sort((a, b) => a[0] - b[0] || (a[1] === ')' ? -1 : 0) - (b[1] === ')' ? -1 : 0));
  let out = '';
  let from = 0;
  for (const [at, text] of edits) {
    out += code.slice(from, at) + text;
    from = at;
  }
  out += code.slice(from);
  const named = program.body.some((node) => [node, node.declaration].some((declared) => declared
    && (declared.id?.name === 'main' || declared.declarations?.some(({ id }) => id.name === 'main'))));
  return named ? `${out}\n;__belljar_value.main = main;` : out;
}

function ownCalls(node, found = []) {
  if (node === null || typeof node !== 'object') return found;
  if (/Function/.test(node.type)) return found;
  if (node.type === 'CallExpression') {
    if (node.callee.name === 'main') found.push(node);
    if (/Function/.test(node.callee.type)) ownCalls(node.callee.body, found);
  }
  for (const key of Object.keys(node)) ownCalls(node[key], found);
  return found;
}

// The code two lines further down, with a source map that says so.
function shifted(source, code, file) {
  const lines = code.split('\n');
  const mappings = [';;AAAA', ...lines.slice(1).map(() => 'AACA')].join(';');
  return {
    code: `/* moved */\n/* down */\n${code}`,
    map: JSON.stringify({ version: 3, sources: [require('node:path').basename(file)], sourcesContent: [source], names: [], mappings }),
  };
}

module.exports = { prepare };

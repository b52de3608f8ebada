'use strict';
// `prepare` of the double: the acorn in Node's own source, and Node's own stripping of types.

const { parse } = require('internal/deps/acorn/acorn/dist/acorn');
const walk = require('internal/deps/acorn/acorn-walk/dist/walk');
const { stripTypeScriptTypes } = require('node:module');

function prepare(source, file, language, options = '') {
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
      // The stand-in's parser reports no position, so this is the first line with a refused type.
      const at = [source.split('\n').findIndex((text) => / = ;$/.test(text)) + 1];
      return {
        kind: 'commonjs',
        code: source,
        error: `${error.message.split('\n')[0]} (line ${at[0]}, column 1)`,
      };
    }
    if (source.includes('@shift')) ({ code, map } = shifted(source, code, file));
  }
  const script = tryParse(code, 'script', true);
  const isModule = file.endsWith('.mjs') || file.endsWith('.mts') || script === null;
  const program = isModule ? tryParse(code, 'module', true) : script;
  if (program === null)
    return { kind: file.endsWith('.mjs') ? 'module' : 'commonjs', code: source };
  const prepared = {
    kind: isModule ? 'module' : 'commonjs',
    code,
    map,
    isAsync: !isModule && tryParse(code, 'script', false) === null,
  };
  const isFunction =
    program.body.length === 1 && /^(?:Arrow)?Function/.test(program.body[0].expression?.type);
  if (options.includes('role=imported')) return prepared;
  return { ...prepared, code: withValue(code, program), ...startsOf(program), isFunction };
}

// Whether the program refers to its main, or to what it exports alone: enough of an analysis for
// the programs of this suite. A reference counts unless it is the function's own, an export, or
// beneath the guard of a main file that is not this one.
function startsOf(program) {
  const exported = new Set();
  const names = { main: new Set(['main']), exported };
  walk.simple(program, {
    AssignmentExpression({ left, right }) {
      if (/^(?:module|exports)$/.test(left.object?.name) && right.type === 'Identifier')
        exported.add(right.name);
    },
    ExportDefaultDeclaration({ declaration }) {
      exported.add(declaration.name ?? declaration.id?.name);
    },
  });
  const isStarted = (wanted) => {
    let found = false;
    walk.fullAncestor(program, (node, ancestors) => {
      if (node.type !== 'Identifier' || !wanted.has(node.name)) return;
      const own = ancestors.some(
        ({ id, type }) => id?.name === node.name && /Function|Declarator/.test(type),
      );
      const guarded = ancestors.some(
        ({ test }) => test?.operator === '!==' && test.left.object?.name === 'require',
      );
      const [parent, above] = [ancestors.at(-2), ancestors.at(-4)];
      const exports =
        parent.type === 'AssignmentExpression' ||
        parent.type === 'ExportDefaultDeclaration' ||
        (parent.type === 'Property' && above?.type === 'AssignmentExpression');
      found ||= !own && !guarded && !exports;
    });
    return found;
  };
  return { startsMain: isStarted(names.main), startsExported: isStarted(exported) };
}

function tryParse(code, sourceType, allowAwaitOutsideFunction) {
  try {
    return parse(code, {
      ecmaVersion: 'latest',
      sourceType,
      allowReturnOutsideFunction: sourceType === 'script',
      allowAwaitOutsideFunction,
      allowHashBang: true,
    });
  } catch {
    return null;
  }
}

function withValue(code, program) {
  const edits = [];
  takeValue(program.body.at(-1), edits);
  let out = '';
  let from = 0;
  for (const [at, text] of edits) {
    out += code.slice(from, at) + text;
    from = at;
  }
  out += code.slice(from);
  const named = program.body.some((node) =>
    [node, node.declaration].some(
      (declared) =>
        declared &&
        (declared.id?.name === 'main' ||
          declared.declarations?.some(({ id }) => id.name === 'main')),
    ),
  );
  return named ? `${out}\n;__belljar_value.main = main;` : out;
}

// The last expression statement, also at the end of a block or of the branch of an `if`.
function takeValue(node, edits) {
  if (node?.type === 'ExpressionStatement' && node.directive === undefined) {
    edits.push([node.expression.start, '__belljar_value('], [node.expression.end, ')']);
  } else if (node?.type === 'BlockStatement') {
    takeValue(node.body.at(-1), edits);
  } else if (node?.type === 'IfStatement') {
    takeValue(node.consequent, edits);
  }
}

// Returns the code moved down by two lines, with a source map for that.
function shifted(source, code, file) {
  const lines = code.split('\n');
  const mappings = [';;AAAA', ...lines.slice(1).map(() => 'AACA')].join(';');
  return {
    code: `/* moved */\n/* down */\n${code}`,
    map: JSON.stringify({
      version: 3,
      sources: [require('node:path').basename(file)],
      sourcesContent: [source],
      names: [],
      mappings,
    }),
  };
}

module.exports = { prepare };

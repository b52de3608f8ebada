// Compares what Belljar makes of TypeScript with TypeScript's own output, file by file. node
// typescript_program.cjs TYPESCRIPT LIBRARY CASES: the folder of the npm package, the built native
// library, a folder of .ts and .tsx files. Prints one line of JSON a file: {file, verbatim,
// verdict, detail?}. Verdicts: equal (the same program, by one printer), runs (both print, throw
// and leave the same when run), skipped (TypeScript sees a syntax error), differs.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const util = require('node:util');
const vm = require('node:vm');

const [typescript, libraryFile, cases, only] = process.argv.slice(2);
const ts = require(path.resolve(typescript));
const library = { exports: {} };
process.dlopen(library, path.resolve(libraryFile));
const { prepare } = library.exports;

/**
 * Returns the files of a test: `// @filename: a.ts` begins another file, and other directives are
 * compiler options.
 */
function unitsOf(file, text) {
  const units = [];
  const options = {};
  let unit = { name: path.basename(file), lines: [] };
  for (const line of text.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/)) {
    const directive = /^\s*\/\/\s*@(\w+)\s*:\s*(.*?)\s*$/.exec(line);
    if (directive === null) {
      unit.lines.push(line);
    } else if (directive[1].toLowerCase() === 'filename') {
      units.push(unit);
      unit = { name: directive[2], lines: [] };
    } else {
      options[directive[1].toLowerCase()] = directive[2].toLowerCase();
    }
  }
  units.push(unit);
  return {
    options,
    units: units.filter(
      ({ name, lines }) =>
        /\.[mc]?tsx?$/.test(name) &&
        !/\.d\.[mc]?ts$/.test(name) &&
        lines.some((line) => line.trim() !== ''),
    ),
  };
}

function settingsOf(options, source, verbatim) {
  const has = (name) => options[name] === 'true';
  const needsLowering = /@|\baccessor\b/.test(source);
  const compiler = {
    target: needsLowering ? ts.ScriptTarget.ES2022 : ts.ScriptTarget.ESNext,
    module: ts.ModuleKind.ESNext,
    isolatedModules: true,
    removeComments: true,
    alwaysStrict: false,
    noEmitHelpers: false,
    verbatimModuleSyntax: verbatim,
    jsx: options.jsx === 'react' ? ts.JsxEmit.React : ts.JsxEmit.ReactJSX,
    experimentalDecorators: has('experimentaldecorators'),
    emitDecoratorMetadata: has('emitdecoratormetadata'),
    useDefineForClassFields: options.usedefineforclassfields !== 'false',
  };
  let own = 'role=imported\n';
  own += `jsx=${options.jsx === 'react' ? 'classic' : 'automatic'}\n`;
  if (compiler.experimentalDecorators)
    own += `decorators=${compiler.emitDecoratorMetadata ? 'metadata' : 'legacy'}\n`;
  if (!compiler.useDefineForClassFields) own += 'fields=assign\n';
  if (verbatim) own += 'unusedImports=keep\n';
  return { compiler, own };
}

const { factory } = ts;

/**
 * Returns a program as one printer prints it, without what has no meaning: empty statements,
 * needless brackets, the notation of a literal.
 */
function normal(code) {
  const file = ts.createSourceFile('a.js', code, ts.ScriptTarget.ESNext, true, ts.ScriptKind.JS);
  if (file.parseDiagnostics.length > 0)
    return { error: ts.flattenDiagnosticMessageText(file.parseDiagnostics[0].messageText, ' ') };
  const visit = (node) => {
    if (
      ts.isEmptyStatement(node) &&
      (ts.isBlock(node.parent) ||
        ts.isSourceFile(node.parent) ||
        ts.isModuleBlock(node.parent) ||
        ts.isCaseOrDefaultClause(node.parent))
    )
      return undefined;
    if (ts.isSemicolonClassElement(node)) return undefined;
    if (
      ts.isExportDeclaration(node) &&
      node.moduleSpecifier === undefined &&
      node.exportClause?.elements?.length === 0
    )
      return undefined;
    if (ts.isStringLiteral(node)) return factory.createStringLiteral(node.text);
    if (ts.isNumericLiteral(node)) return factory.createNumericLiteral(node.text);
    if (ts.isParenthesizedExpression(node)) return ts.visitNode(node.expression, visit);
    return ts.visitEachChild(node, visit, undefined);
  };
  const { transformed } = ts.transform(file, [
    () => (root) => ts.visitEachChild(root, visit, undefined),
  ]);
  const printer = ts.createPrinter({ removeComments: true, newLine: ts.NewLineKind.LineFeed });
  return {
    text: printer
      .printFile(transformed[0])
      .replace(/[ \t]*\n\s*/g, '\n')
      .trim(),
  };
}

/** Runs a program, and returns what it prints, throws and exports within `patience`. */
async function behaviour(code, kind, patience) {
  const printed = [];
  const show = (value) => util.inspect(value, { depth: 4, breakLength: Infinity, sorted: true });
  const log = (...values) => {
    if (printed.length < 200)
      printed.push(
        values.map((value) => (typeof value === 'string' ? value : show(value))).join(' '),
      );
  };
  const commonjs = { exports: {} };
  const context = vm.createContext({
    console: { log, error: log, warn: log, info: log, debug: log },
    module: commonjs,
    exports: commonjs.exports,
    require: requireStandIn,
  });
  let thrown = null;
  let left = '';
  try {
    if (kind === 'commonjs') {
      const names = ['exports', 'require', 'module', '__filename', '__dirname'];
      const options = { parsingContext: context, importModuleDynamically };
      const body = vm.compileFunction(
        /\bawait\b/.test(code) ? `return (async () => {${code}\n})()` : code,
        names,
        options,
      );
      context.run = () =>
        body.call(commonjs.exports, commonjs.exports, context.require, commonjs, '/a.js', '/');
      await within(vm.runInContext('run()', context, { timeout: 500 * patience }), patience);
      left = await exported(commonjs.exports);
    } else {
      const initializeImportMeta = (meta) => {
        meta.url = 'file:///a.js';
      };
      const module = new vm.SourceTextModule(code, {
        context,
        identifier: 'a.js',
        initializeImportMeta,
        importModuleDynamically,
      });
      await module.link((specifier) => standIn(specifier, namesIn(code), context));
      await within(module.evaluate({ timeout: 500 * patience }), patience);
      left = await exported({ ...module.namespace });
    }
  } catch (error) {
    thrown = `${error?.name}: ${String(error?.message ?? error)}`;
  }
  return JSON.stringify([printed, thrown, left])
    .replace(/default_1|_default/g, 'default')
    .replace(/_\d+\b/g, '')
    .replace(/Script execution timed out after \d+ms/g, 'timeout');

  async function exported(values) {
    const { __esModule, ...own } =
      typeof values === 'object' && values !== null ? values : { values };
    void __esModule;
    for (const [name, value] of Object.entries(own)) {
      const settled = util.types.isPromise(value)
        ? await within(
            value.catch((error) => error),
            patience,
          )
        : value;
      // A whole import: the namespace of a module, or the result of `require`.
      own[name] =
        util.types.isModuleNamespaceObject(settled) || isStandIn(settled) ? 'imported' : settled;
    }
    return show(own);
  }

  async function importModuleDynamically(specifier) {
    const module = standIn(specifier, [], context);
    await module.link(() => {});
    await module.evaluate();
    return module;
  }
}

const standIns = new WeakSet();

function isStandIn(value) {
  return typeof value === 'function' && standIns.has(value);
}

/** The result of `require`: a function that does nothing, as does each of its properties. */
function requireStandIn() {
  // Not thenable, because a promise may resolve to it.
  const isOwn = (target, name) => typeof name === 'symbol' || name === 'then' || name in target;
  const module = new Proxy(
    function stub() {
      return stub;
    },
    { get: (target, name) => (isOwn(target, name) ? target[name] : target) },
  );
  standIns.add(module);
  return module;
}

/** Returns the value of a promise, or undefined if it is pending for 300 ms times `patience`. */
function within(promise, patience) {
  let timer;
  const never = new Promise((resolve) => {
    timer = setTimeout(resolve, 300 * patience);
  });
  return Promise.race([promise, never]).finally(() => clearTimeout(timer));
}

/**
 * Returns whether TypeScript finds a syntax error when it checks the file. Their numbers are below
 * 2000, in every pass.
 */
function hasGrammarError(source, name, compiler) {
  const file = ts.createSourceFile(name, source, ts.ScriptTarget.ESNext, true);
  const host = {
    getSourceFile: (asked) => (asked === name ? file : undefined),
    writeFile() {},
    getDefaultLibFileName: () => 'lib.d.ts',
    useCaseSensitiveFileNames: () => true,
    getCanonicalFileName: (asked) => asked,
    getCurrentDirectory: () => '',
    getNewLine: () => '\n',
    fileExists: (asked) => asked === name,
    readFile: () => undefined,
  };
  const options = {
    ...compiler,
    noLib: true,
    noResolve: true,
    isolatedModules: false,
    verbatimModuleSyntax: false,
    allowJs: false,
  };
  try {
    const program = ts.createProgram([name], options, host);
    return program
      .getSemanticDiagnostics(file)
      .some(({ code }) => code < 2000 && !aboutModules.has(code));
  } catch {
    return false;
  }
}

// Errors that depend on the kind of module, the target or other files, and not on the text of the
// file.
const aboutModules = new Set([
  1148, 1149, 1192, 1202, 1203, 1208, 1218, 1219, 1259, 1286, 1287, 1293, 1295, 1323, 1343, 1371,
  1375, 1378, 1432, 1470, 1471, 1479,
]);

/** A module with every export that is imported: functions and classes that do nothing. */
function standIn(specifier, wanted, context) {
  const names = new Set(['default', ...wanted]);
  const module = new vm.SyntheticModule(
    [...names],
    () => {
      for (const name of names)
        module.setExport(
          name,
          name === 'createRequire'
            ? () => requireStandIn
            : function stub() {
                return stub;
              },
        );
    },
    { context, identifier: specifier },
  );
  return module;
}

/** The names that a program imports. */
function namesIn(code) {
  const names = [];
  for (const statement of ts.createSourceFile('a.js', code, ts.ScriptTarget.ESNext).statements) {
    const named = statement.importClause?.namedBindings ?? statement.exportClause;
    for (const element of named?.elements ?? [])
      names.push((element.propertyName ?? element.name).text);
  }
  return names;
}

const checked = new Map();

async function compare(source, name, options, verbatim) {
  const { compiler, own } = settingsOf(options, source, verbatim);
  const transpiled = (changes, fileName = name) =>
    ts.transpileModule(source, {
      compilerOptions: { ...compiler, ...changes },
      fileName,
      reportDiagnostics: true,
    });
  let expected = transpiled({});
  // Only messages about the file, and not about the options.
  if (expected.diagnostics.some(({ file }) => file !== undefined)) return { verdict: 'skipped' };
  if (!checked.has(source))
    (checked.clear(), checked.set(source, hasGrammarError(source, name, compiler)));
  if (checked.get(source)) return { verdict: 'skipped' };
  const prepared = prepare(source, `/work/${path.basename(name)}`, 'typescript', own);
  if (
    prepared.error === undefined &&
    normal(expected.outputText).text !== undefined &&
    normal(expected.outputText).text === normal(prepared.code).text
  ) {
    return { verdict: 'equal' };
  }
  // What is CommonJS to Belljar, or exports as that does, is compared with what TypeScript makes of
  // it for CommonJS, and a module that requires with what it makes of a module of Node's. The
  // file's name has the last word.
  const declared = { '.mts': 'module', '.cts': 'commonjs' }[path.extname(name)];
  const requires = /\bimport\s+\w+\s*=\s*require\b/.test(source);
  // No file name makes a file with JSX elements such a module.
  const isCommonJS =
    prepared.kind === 'commonjs' || /\bexport\s*=/.test(source) || (requires && name.endsWith('x'));
  if (isCommonJS) {
    expected = transpiled({
      module: ts.ModuleKind.CommonJS,
      verbatimModuleSyntax: false,
      esModuleInterop: true,
    });
  } else if (requires) {
    expected = transpiled({ module: ts.ModuleKind.NodeNext }, name.replace(/\.m?ts$/, '.mts'));
  }
  const theirKind = declared ?? (isCommonJS ? 'commonjs' : 'module');
  let theirs;
  let ours;
  // On a busy machine a program may run out of time, so one that differs gets more time.
  for (const patience of [1, 20]) {
    theirs = await behaviour(expected.outputText, theirKind, patience);
    if (prepared.error !== undefined) {
      // Output of TypeScript that V8 refuses may be refused earlier by Belljar.
      if (JSON.parse(theirs)[1]?.startsWith('SyntaxError')) return { verdict: 'runs' };
    } else {
      ours = await behaviour(prepared.code, prepared.kind, patience);
      if (theirs === ours) return { verdict: 'runs' };
    }
  }
  if (prepared.error !== undefined)
    return { verdict: 'differs', detail: `refused: ${prepared.error}` };
  const text = process.env.SHOW && { theirs: expected.outputText, ours: prepared.code };
  return {
    verdict: 'differs',
    detail: `${theirs.slice(0, 300)} but ${ours.slice(0, 300)}`,
    ...text,
  };
}

function* filesIn(folder) {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) yield* filesIn(file);
    else if (/\.tsx?$/.test(entry.name) && !/\.d\.ts$/.test(entry.name)) yield file;
  }
}

(async () => {
  process.on('unhandledRejection', () => {});
  for (const file of filesIn(cases)) {
    if (only !== undefined && !file.includes(only)) continue;
    const { units, options } = unitsOf(file, fs.readFileSync(file, 'utf8'));
    for (const unit of units) {
      for (const verbatim of [false, true]) {
        let result;
        try {
          result = await compare(unit.lines.join('\n'), unit.name, options, verbatim);
        } catch (error) {
          result = { verdict: 'differs', detail: `broken: ${error.message}` };
        }
        console.log(
          JSON.stringify({
            file: path.relative(cases, file),
            unit: unit.name,
            verbatim,
            ...result,
          }),
        );
      }
    }
  }
  process.exit(0);
})();

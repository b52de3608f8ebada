use proptest::prelude::*;

use super::*;

fn needs(language: Language, source: &str) -> bool {
    let own = OwnFiles::new(
        ["main.py", "helpers.py", "pkg/mod.py", "node_modules/mine/index.js"],
        "main.py",
    );
    may_need_packages(language, source, &own)
}

#[test]
fn programs_of_known_modules_alone_need_no_parser() {
    for source in [
        "",
        "print(6 * 7)",
        "import json",
        "import os, sys as s , xml.etree.ElementTree as E  # noqa: E401",
        "from collections import (\n    OrderedDict,\n    deque,\n)",
        "from __future__ import annotations\nfrom os.path import *\r\nimport re\r\n",
        "try:\n    import tomllib; x = 1\nexcept ImportError:\n    tomllib = None",
        "import helpers\nfrom pkg.mod import x\nfrom . import y\nfrom ..up import z",
        "# this is important: import the data\nimports = reimport(important, import_data)",
        "# -*- coding: utf-8 -*-\nimport belljar\n",
        "x = 'Zürich, 東京, 😀, — and so on'",
    ] {
        assert!(!needs(Language::Python, source), "{source}");
    }
    for source in [
        "",
        "6 * 7",
        "const fs = require('fs'), { join } = require(\"node:path\")",
        "import fs from 'node:fs'\nimport { a as b,\n  c } from \"./c.js\"\nimport * as p from '../p.mjs'\nimport 'mine/sub'",
        "export * from './x.js'; export { a } from '/abs.js'",
        "const { x } = await import('node:os')",
        "if (require.main === module) main()",
        "new URL(import.meta.url)",
        "// we require that each import comes from the list\nArray.from('abc'); const from = 1; required(imports)",
        "'\\u00e9\\u{1F600}'",
        "import type { X } from './types.ts'",
    ] {
        assert!(!needs(Language::JavaScript, source), "{source}");
        assert!(!needs(Language::TypeScript, source), "{source}");
    }
}

/// Programs that import a package `PKG`, each in another way.
const ODD_PYTHON: [&str; 46] = [
    "import PKG",
    "import PKG.sub as p",
    "import os, PKG",
    "import PKG, os",
    "import os,PKG",
    "import\tPKG",
    "import \\\nPKG",
    "import os, \\\n    PKG",
    "from PKG import x",
    "from PKG.sub import *",
    "from PKG import(x)",
    "from PKG \\\nimport os",
    "from PKG\\\r\nimport os",
    "from PKG \\\n import os",
    "from \\\nPKG import os",
    "if x: import PKG",
    "if 1:import PKG",
    "try: import PKG\nexcept: pass",
    "x = 1; import PKG",
    "import os; import PKG",
    "import os;import PKG",
    "import os # a; b\nimport PKG",
    "    import PKG",
    "\x0cimport PKG",
    "x = 1\rimport PKG",
    "# a comment\rimport PKG",
    "import os\rimport PKG",
    "\u{feff}import PKG",
    "__import__('PKG')",
    "__import__(\n'PKG')",
    "x = __import__ ( 'PKG' )",
    "import importlib\nimportlib.import_module('PKG')",
    "from importlib import import_module as load\nload('PKG')",
    "from importlib import *\nload = import_module\nload('PKG')",
    "import importlib as i\ni.import_module('PKG')",
    "__\u{ff49}mport__('PKG')",
    "__imp\u{ba}rt__('PKG')",
    "builtins.__\u{1d422}\u{1d426}port__('PKG')",
    "exec('import PKG')",
    "exec('''\nimport PKG\n''')",
    "s = '''\n#'''; import PKG",
    "s = '''\n# import''' + str(__import__('PKG'))",
    "f'''\n# {__import__(\n'PKG')}'''",
    "import os # ''' + __import__('PKG')",
    "# -*- coding: utf-7 -*-\n+AGkAbQBwAG8AcgB0- PKG",
    "# /// script\n# dependencies = ['PKG']\n# ///",
];

const ODD_JAVASCRIPT: [&str; 49] = [
    "require('PKG')",
    "require(\"PKG\")",
    "require(`PKG`)",
    "require ( 'PKG' )",
    "require\n(\n'PKG'\n)",
    "require/* */('PKG')",
    "require(/* */'PKG')",
    "require(// no\n'PKG')",
    "require('./x' && 'PKG')",
    "require('fs', require('PKG'))",
    "require?.('PKG')",
    "(0, require)('PKG')",
    "const r = require\nr('PKG')",
    "module.require('PKG')",
    "require.main.require('PKG')",
    "require.resolve('PKG')",
    "globalThis['require']('PKG')",
    "r\\u0065quire('PKG')",
    "r\\u{0065}quire('PKG')",
    "r\\u{000000000065}quire('PKG')",
    "require('\\x50KG')",
    "require('PK' + 'G')",
    "import 'PKG'",
    "import'PKG'",
    "import x from 'PKG'",
    "import x from'PKG'",
    "import * as x from 'PKG'",
    "import{x}from'PKG'",
    "import { x,\n y } from\n'PKG'",
    "import x, { y } from 'PKG'",
    "import { 'string name' as x } from 'PKG'",
    "import /* './x' */ x from 'PKG'",
    "import x from /* './x' */ 'PKG'",
    "import {\n// from './x'\nx } from 'PKG'",
    "import('PKG')",
    "import(`PKG`)",
    "import('./x' ? 'PKG' : 'PKG')",
    "import.meta.resolve('PKG')",
    "export * from 'PKG'",
    "export{x}from'PKG'",
    "export * from\u{a0}'PKG'",
    "export * from\u{b}'PKG'",
    "export * from /* */ 'PKG'",
    "export * from // no\n'PKG'",
    "// a\u{2028}import 'PKG'",
    "// a\rimport x from\n'PKG'",
    "/*\n// */ import x from\n'PKG'",
    "`\n// ${require(\n'PKG')}`",
    "import { createRequire as make } from 'node:module'; make(import.meta.url)('PKG')",
];

#[test]
fn an_import_of_a_package_is_never_overlooked() {
    for source in ODD_PYTHON {
        assert!(needs(Language::Python, &source.replace("PKG", "numpy")), "{source}");
    }
    for source in ODD_JAVASCRIPT {
        for language in [Language::JavaScript, Language::TypeScript] {
            assert!(needs(language, &source.replace("PKG", "lodash")), "{source}");
        }
    }
    for source in ["# @add-package numpy", "x = '@add-package numpy'"] {
        assert!(needs(Language::Python, source) && needs(Language::JavaScript, source), "{source}");
    }
    assert!(needs(Language::TypeScript, "import x = require('lodash')"));
    assert!(needs(Language::JavaScript, "import x from 'npm:lodash@4'"));
    assert!(needs(Language::JavaScript, "import x from '#mapped'"));
}

#[test]
fn the_scan_takes_time_in_proportion_to_the_text() {
    // A quadratic scan would take minutes for one of these, which would be noticed.
    let parts = [
        "import os\n",
        "import a from './a'\n",
        "from \"./from '\" ",
        "# import\n",
        "import ",
        "from 'from ",
        "\\u{0",
        "require.main ",
        "require",
        "import\\\n",
        "import {a ",
    ];
    for part in parts {
        let source = part.repeat((1 << 20) / part.len());
        for language in [Language::Python, Language::JavaScript] {
            needs(language, &source);
        }
    }
}

fn python_line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("import os".to_owned()),
        Just("from math import sqrt".to_owned()),
        Just("# import things".to_owned()),
        Just("x = '''".to_owned()),
        Just("'''".to_owned()),
        Just("if x:".to_owned()),
        Just("x = 1 + \\".to_owned()),
        "[a-z =;#'\"(){}\\\\\\.,0-9é]{0,20}",
    ]
}

fn javascript_line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("import fs from 'fs'".to_owned()),
        Just("const p = require('path')".to_owned()),
        Just("// import things".to_owned()),
        Just("/*".to_owned()),
        Just("*/".to_owned()),
        Just("x = `".to_owned()),
        Just("export * from".to_owned()),
        "[a-z =;/'\"`(){}<>\\\\\\.,0-9é]{0,20}",
    ]
}

/// Returns lines with a text in between, which may or may not begin on a line of its own.
fn around(
    line: impl Strategy<Value = String> + Clone,
    odd: &'static [&'static str],
) -> impl Strategy<Value = String> {
    let lines = || prop::collection::vec(line.clone(), 0..6);
    let indent = prop_oneof![
        Just(""),
        Just("    "),
        Just("\t"),
        Just("x = 1; "),
        Just("x = y("),
        Just("'''"),
        Just("`"),
        Just("/* */")
    ];
    (lines(), indent, prop::sample::select(odd), lines(), prop_oneof![Just("\n"), Just("\r\n")])
        .prop_map(|(before, indent, odd, after, end)| {
            let before: String = before.into_iter().map(|line| line + "\n").collect();
            let after: String = after.into_iter().map(|line| "\n".to_owned() + &line).collect();
            format!("{before}{indent}{odd}{after}").replace('\n', end)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_odd_import_in_any_python_is_never_overlooked(source in around(python_line().boxed(), &ODD_PYTHON), package in prop_oneof![Just("numpy"), Just("os2"), Just("helper"), Just("PKG")]) {
        // An encoding is used only in the first two lines.
        prop_assume!(!source.contains("utf-7"));
        prop_assert!(needs(Language::Python, &source.replace("PKG", package)), "{}", source);
    }

    #[test]
    fn an_odd_import_in_any_javascript_is_never_overlooked(source in around(javascript_line().boxed(), &ODD_JAVASCRIPT), package in prop_oneof![Just("lodash"), Just("@a/b"), Just("fs2"), Just("npm:x@1/y"), Just("minecraft")]) {
        prop_assert!(needs(Language::JavaScript, &source.replace("PKG", package)), "{}", source);
    }

    #[test]
    fn no_text_makes_it_panic(source in "(import|from|require|\\\\u|[\\PC\n\r]){0,30}") {
        for language in [Language::Python, Language::JavaScript, Language::TypeScript] {
            needs(language, &source);
        }
    }
}

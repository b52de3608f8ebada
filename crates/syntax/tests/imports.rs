//! Imports and additions of a file, in each form; what is left out; errors of hostile files.

use belljar_syntax::Dialect::{self, JavaScript, TypeScript};
use belljar_syntax::{FileImports, PrepareError, find_imports};

fn find(name: &str, source: &str) -> FileImports {
    let dialect =
        if name.ends_with("ts") || name.ends_with("tsx") { TypeScript } else { JavaScript };
    find_imports(source, name, dialect).unwrap_or_else(|error| panic!("{source}: {error}"))
}

/// The names, those that are optional with a question mark.
fn names(name: &str, source: &str) -> Vec<String> {
    find(name, source)
        .imports
        .into_iter()
        .map(|import| import.name + if import.is_optional { "?" } else { "" })
        .collect()
}

fn check(cases: &[(&str, &str, &[&str])]) {
    for &(name, source, expected) in cases {
        assert_eq!(names(name, source), expected, "{name}: {source}");
    }
}

#[test]
fn every_form_of_an_import_is_found() {
    check(&[
        ("a.js", "import 'a'", &["a"]),
        ("a.js", "import a, { b as c } from '@scope/x/sub'", &["@scope/x/sub"]),
        (
            "a.mjs",
            "import * as a from \"npm:lodash@4/fp\"; import fs from 'node:fs'",
            &["npm:lodash@4/fp", "node:fs"],
        ),
        ("a.js", "import unused from 'a'", &["a"]),
        (
            "a.js",
            "export { a } from 'a'; export * from 'b'; export * as c from 'c'",
            &["a", "b", "c"],
        ),
        ("a.js", "await import('a')", &["a"]),
        ("a.js", "import(`a`).then(() => import('b'))", &["a", "b"]),
        ("a.js", "import('a.json', { with: { type: 'json' } })", &["a.json"]),
        ("a.js", "require('a').b(require(`c`))", &["a", "c"]),
        (
            "a.js",
            "function f() { class C { m = () => { if (x) return [{ a: require('a') }] } } }",
            &["a"],
        ),
        (
            "a.cjs",
            "require.resolve('a', {}); module.require('b'); (require)('c')",
            &["a", "b", "c"],
        ),
        (
            "a.js",
            "import { createRequire } from 'module'; const require = createRequire(import.meta.url); require('a')",
            &["module", "a"],
        ),
        ("a.js", "#!/usr/bin/env node\nconst a = require('a'); await a(); return 1", &["a"]),
        (
            "a.jsx",
            "import a from 'a'; <a.b c={require('d')}>{import('e')}</a.b>",
            &["a", "d", "e", "react/jsx-runtime"],
        ),
        ("a.ts", "import a = require('a'); export import b = require('b')", &["a", "b"]),
        ("a.ts", "const a: string = require('a' as string)!; import('b')", &["a", "b"]),
    ]);
}

#[test]
fn a_version_that_is_a_separate_argument_is_kept() {
    check(&[
        ("a.js", "yepcode.import('a', '1.2.3')", &["npm:a@1.2.3"]),
        ("a.js", "await yepcode.import('@scope/a/sub', `^2`)", &["npm:@scope/a@^2/sub"]),
        ("a.js", "import('npm:a', '1')", &["npm:a@1"]),
        ("a.js", "yepcode.import('a')", &["a"]),
        ("a.js", "yepcode.import('a', version); yepcode.import('b', '')", &["a", "b"]),
        ("a.js", "yepcode.import('a@1', '2'); yepcode.import('node:fs', '2')", &["a@1", "node:fs"]),
        ("a.js", "require('a', '2')", &["a"]),
    ]);
}

#[test]
fn what_leads_to_no_package_is_left_out() {
    check(&[
        (
            "a.js",
            "import './a'; import '../a'; import '.'; import '/a'; import ''; require('./b'); import('#c')",
            &[],
        ),
        (
            "a.js",
            "import('https://a/b.js'); import('file:///a'); import('data:text/javascript,1')",
            &[],
        ),
        (
            "a.js",
            "require(a); require(`${a}`); require('a' + b); require(); require(...a); import(a)",
            &[],
        ),
        ("a.js", "'import a from \"b\"'; /require('c')/; `require('d')` // require('e')", &[]),
        ("a.js", "other('a'); a.require('b'); module.resolve('c'); yepcode.other('d')", &[]),
    ]);
}

#[test]
fn imports_of_types_are_left_out() {
    check(&[
        (
            "a.ts",
            "import type { A } from 'a'; export type { B } from 'b'; export type * from 'c'; import type d = require('d')",
            &[],
        ),
        (
            "a.ts",
            "import { type A } from 'a'; export { type B } from 'b'; type C = import('c').D; let e: typeof import('e')",
            &[],
        ),
        ("a.ts", "import { A, b } from 'a'; import C, * as d from 'c'; let e: A & C & d.E", &[]),
        (
            "a.ts",
            "import { A, b } from 'a'; let c: A = b; import 'd'; import {} from 'e'",
            &["a", "d", "e"],
        ),
        (
            "a.ts",
            "import { a, B } from 'a'; export { a }; import { C } from 'c'; class D implements C {}",
            &["a"],
        ),
        (
            "a.ts",
            "declare module 'a' { import b from 'b'; export * from 'c' } declare module 'd' { import e = require('e') }",
            &[],
        ),
        ("a.js", "import { A } from 'a'", &["a"]),
        (
            "a.tsx",
            "import React from 'react'; import { type A, unused } from 'a'; <b/>",
            &["react"],
        ),
    ]);
}

#[test]
fn imports_whose_failure_is_caught_are_optional() {
    check(&[
        (
            "a.js",
            "try { require('a') } catch { require('b') } finally { require('c') }",
            &["a?", "b", "c"],
        ),
        ("a.js", "try { try { require('a') } finally { require('b') } } catch {}", &["a?", "b?"]),
        ("a.js", "try { require('a') } finally {}", &["a"]),
        ("a.js", "try { for (const a of b) await import('a') } catch (error) {}", &["a?"]),
        (
            "a.js",
            "try { f = () => require('a'); function g() { require('b') } require('c') } catch {}",
            &["a", "b", "c?"],
        ),
        ("a.js", "import('a').catch(() => import('b'))", &["a?", "b"]),
        ("a.js", "await (import('a')).then(f).catch(g); import('b').then(f)", &["a?", "b"]),
        ("a.js", "yepcode.import('a', '1').catch(f); f(require('b')).catch(g)", &["npm:a@1?", "b"]),
    ]);
}

#[test]
fn additions_are_what_comments_say() {
    let source = "// @add-package name=1.2.3 \nf() //@add-package a b\n/* @add-package @scope/x */\n/**\n * Says.\n * @add-package y\r\n */\n/*! @add-package\tz*/";
    assert_eq!(find("a.js", source).additions, ["name=1.2.3", "a b", "@scope/x", "y", "z"]);
    assert_eq!(find("a.tsx", "<a>{/* @add-package b */}// @add-package text</a>").additions, ["b"]);
    let none = "'// @add-package a'; `// @add-package b`; /@add-package c/ // say @add-package d\n// @add-package\n// @add-packages e";
    assert_eq!(find("a.js", none).additions, Vec::<String>::new());
}

#[test]
fn what_does_not_parse_is_an_error() {
    assert!(matches!(
        find_imports("import a from 'a'; (", "a.js", JavaScript),
        Err(PrepareError::Syntax { .. })
    ));
    let nested = format!("import a from 'a'; {}{}", "[".repeat(3_000), "]".repeat(3_000));
    assert!(matches!(
        find_imports(&nested, "a.js", JavaScript),
        Err(PrepareError::TooDeep { line: 1 })
    ));
}

#[test]
fn imports_next_to_long_chains_are_found() {
    for dialect in [JavaScript, TypeScript] {
        for (link, end) in [("a+", "a"), ("a.", "b"), ("a&&", "a"), ("a(", "")] {
            let chain = if end.is_empty() {
                format!("a{}", "()".repeat(50_000))
            } else {
                format!("{}{end}", link.repeat(50_000))
            };
            assert_eq!(found_next_to(&chain, dialect), ["a", "b"], "{link}");
        }
        let element = format!("<a{}/>", ".b".repeat(50_000));
        assert_eq!(found_next_to(&element, dialect), ["a", "b", "react/jsx-runtime"]);
        assert_eq!(
            found_next_to(&format!("import('c'){}", ".catch()".repeat(20_000)), dialect),
            ["a", "b"]
        );
        let calls = "require('b');".repeat(100_000);
        assert_eq!(found_next_to(&calls, dialect).len(), 100_002);
    }
    let types = format!(
        "let a: A{}; class B implements A{} {{}}; x<A{}>()",
        ".b".repeat(50_000),
        ".b".repeat(50_000),
        ".b".repeat(50_000)
    );
    assert_eq!(found_next_to(&types, TypeScript), ["a", "b"]);
}

/// Returns the imports of a program with a hostile statement, analysed on a stack of 7 MiB, which
/// is what V8 leaves of a main thread's stack.
fn found_next_to(hostile: &str, dialect: Dialect) -> Vec<String> {
    let source = format!("import a from 'a'; {hostile};\nrequire('b'); a");
    let find = move || {
        find_imports(&source, "a.tsx", dialect)
            .unwrap()
            .imports
            .into_iter()
            .map(|import| import.name)
            .collect()
    };
    std::thread::Builder::new().stack_size(7 << 20).spawn(find).unwrap().join().unwrap()
}

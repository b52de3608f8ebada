//! The value of a program is V8's own completion value: prepared programs and plain scripts, run in
//! a real Node and compared.

mod node;

use node::run;
use proptest::prelude::*;

const SCRIPTS: &[&str] = &[
    "1 + 1",
    "1 + 1;",
    "  1 + 1  // a comment",
    "1 + 1; /* a */ // b\n",
    "1; 2; 3",
    "1, 2, 3",
    "(1, 2)",
    "1 + 1; function f() {}",
    "1 + 1; const a = 1;",
    "1 + 1; ;;",
    "var x = 1",
    "let a = 1; a = 5",
    "({ a: 1 })",
    "{ a: 1 }",
    "{}",
    "[1, 2].map((x) => x * 2)",
    "const f = (x) => x\nf(3)",
    "let i = 1\n++i\ni++",
    "const a = [1]\n;[2].map((x) => x)",
    "() => {}\n1",
    "'abc'",
    "'use strict'",
    "'abc'; 'def'",
    "'use strict'; 1",
    "'abc'; var x",
    "`a${1 + 1}b`",
    "/a/g.test('a')",
    "if (1) 2; else 3",
    "if (0) 2; else 3",
    "if (0) 2;else(3)",
    "if (0) 2;else[3]",
    "1; if (0) 2",
    "1; if (1) {}",
    "if (1) { 2; { 3 } }",
    "1; { }",
    "1; { var a = 2 }",
    "try { 1 } catch { 2 }",
    "try { 1; throw 0 } catch { 2 }",
    "try { 1; throw 0 } catch { }",
    "try { 1 } finally { 2 }",
    "try { 1; var a = b() } catch { if (0) 3 }",
    "try { throw 1 } catch (e) { e } finally { 7 }",
    "for (let i = 0; i < 3; i++) i",
    "for (let i = 0; i < 3; i++) { i; if (i == 1) continue; }",
    "for (let i = 0; i < 3; i++) { i; if (i == 1) break; }",
    "for (let i = 0; i < 3; i++) { if (i == 1) break; i * 10 }",
    "1; for (;false;) 2",
    "for (const k in { a: 1, b: 2 }) k",
    "for (const v of [1, 2]) v + 1",
    "let n = 0; while (n < 3) n++",
    "let n = 0; do { n } while (n++ < 3)",
    "let n = 0; do n; while (n++ < 3)",
    "do(5);while(0)",
    "L: { 1; break L; 2 }",
    "let c = 1; L: { 1; if (c) break L; 2 }",
    "let c = 0; L: { 1; if (c) break L; 2 }",
    "L: for (const a of [1, 2]) { for (const b of [3, 4]) { if (b == 4) continue L; a * b } }",
    "L: 5",
    "switch (1) { case 1: 2; case 3: 4; break; default: 5 }",
    "switch (9) { case 1: 2; break; default: 5 }",
    "switch (9) { case 1: 2 }",
    "with ({ a: 3 }) a",
    "1; with ({}) { }",
    "throw new Error('x')",
    "while (true) { 1; try { 2; break } finally { } }",
    "do { 1; try { 2 } finally { break } } while (0)",
    "do { 1; try { 2; continue } finally { 3 } } while (0)",
    "eval('1; 2')",
    "new Date(0).getTime()",
    "(function () { return 3 })()",
    "class A {}; A.name",
    "1; class A { static x = 2 }",
    "var a = 1; a ? 2 : 3",
    "delete {}.x",
    "void 0",
    "!function () { return 1 }()",
    "'a' in { a: 1 }",
    "\u{feff}1 + 2",
    "1 + 1\u{2028}function f() {}",
    "var ünï = 4; ünï",
    "<!-- html comment\n3",
];

#[test]
fn the_value_is_the_completion_value_of_v8() {
    let programs: Vec<(&str, &str)> = SCRIPTS.iter().map(|source| ("main.cjs", *source)).collect();
    for (source, answer) in SCRIPTS.iter().zip(run(&programs)) {
        assert!(node::prepare_named("main.cjs", source).parsed(), "{source} was not understood");
        assert_same(source, &answer);
    }
}

fn assert_same(source: &str, answer: &node::Answer) {
    let prepared = node::prepare_named("main.cjs", source);
    assert_eq!(
        answer.prepared["value"], answer.v8["value"],
        "of {source:?}\nas {:?}\nwhich gave {}",
        prepared.code, answer.prepared
    );
    assert_eq!(
        answer.prepared["error"], answer.v8["error"],
        "of {source:?}\nas {:?}",
        prepared.code
    );
}

#[test]
fn use_strict_stays_a_directive_and_is_no_value_if_code_follows() {
    let answers = run(&[
        ("main.cjs", "'use strict'; function f() {}"),
        ("main.cjs", "'use strict'\n(function () { return this })() === undefined"),
    ]);
    assert_eq!(answers[0].prepared["value"], "undefined");
    // Without the semicolon it is the string that is called: a TypeError, in both.
    assert_eq!(answers[1].prepared["error"], answers[1].v8["error"]);
    let strict =
        run(&[("main.cjs", "'use strict'; (function () { return this })() === undefined")]);
    assert_eq!(strict[0].prepared["value"], "true");
}

/// A small program, of statements that always end: loops run over short lists, and `break` and
/// `continue` only stand in them.
fn statement(depth: u32, in_loop: bool) -> BoxedStrategy<String> {
    let value = prop_oneof![
        (0..9_i32).prop_map(|n| format!("{n};")),
        (0..9_i32).prop_map(|n| format!("t({n})\n")),
        (0..9_i32).prop_map(|n| format!("x = {n}, x + 1;")),
        Just("var v = 1;".to_owned()),
        Just(";".to_owned()),
        // Not a function: in a block of sloppy code V8 takes its hoisting for a value, which no one
        // means.
        Just("{ class G {} }".to_owned()),
        Just("{ let q = 2 }".to_owned()),
        (0..9_i32).prop_map(|n| format!("if (++n % 3 == 0) throw {n};")),
    ];
    let leave = prop_oneof![
        Just("if (++n % 2) break;".to_owned()),
        Just("if (++n % 2) continue;".to_owned()),
        Just("break;".to_owned())
    ];
    let leaf = if in_loop { prop_oneof![3 => value, 2 => leave].boxed() } else { value.boxed() };
    if depth == 0 {
        return leaf;
    }
    let inner = move |in_loop| statements(depth - 1, in_loop);
    prop_oneof![
        3 => leaf,
        1 => inner(in_loop).prop_map(|s| format!("{{ {s} }}")),
        1 => (inner(in_loop), inner(in_loop)).prop_map(|(a, b)| format!("if (++n % 2) {{ {a} }} else {{ {b} }}")),
        1 => inner(in_loop).prop_map(|s| format!("if (++n % 2) {{ {s} }}")),
        1 => inner(true).prop_map(|s| format!("for (const i of [1, 2, 3]) {{ {s} }}")),
        1 => inner(true).prop_map(|s| format!("do {{ {s} }} while (++n % 3 && n < 60)")),
        1 => (inner(in_loop), inner(in_loop)).prop_map(|(a, b)| format!("try {{ {a} }} catch {{ {b} }}")),
        1 => (inner(in_loop), 0..9_i32).prop_map(|(a, n)| format!("try {{ {a} }} finally {{ {n}; }}")),
        1 => (inner(false), inner(false)).prop_map(move |(a, b)| format!("L{depth}: {{ {a} if (++n % 2) break L{depth}; {b} }}")),
        1 => (inner(false), inner(false)).prop_map(|(a, b)| format!("switch (++n % 3) {{ case 0: {a} case 1: {b} break; default: 7 }}")),
    ]
    .boxed()
}

fn statements(depth: u32, in_loop: bool) -> BoxedStrategy<String> {
    prop::collection::vec(statement(depth, in_loop), 0..4)
        .prop_map(|statements| statements.join(" "))
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each case is a batch, for one Node to run.
    #[test]
    fn the_value_of_any_statements_is_that_of_v8(batch in prop::collection::vec(statements(3, false), 250)) {
        let sources: Vec<String> = batch.into_iter().map(|body| format!("var n = 0, x; function t(v) {{ if (++n % 5 == 0) throw v; return v }}\n{body}")).collect();
        let programs: Vec<(&str, &str)> = sources.iter().map(|source| ("main.cjs", source.as_str())).collect();
        for (source, answer) in sources.iter().zip(run(&programs)) {
            assert_same(source, &answer);
        }
    }

    /// A program that does not parse is left unchanged, and nothing panics.
    #[test]
    fn no_text_whatever_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), tokens in prop::collection::vec(0..TOKENS.len(), 0..40)) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let words: Vec<&str> = tokens.into_iter().map(|index| TOKENS[index]).collect();
        for source in [text, words.join(" "), words.concat()] {
            for name in ["a.js", "a.ts", "a.tsx", "a.mjs", "a.cts", "a.jsx"] {
                let prepared = node::prepare_named(name, &source);
                prop_assert!(prepared.parsed() || prepared.code == source);
            }
        }
    }
}

const TOKENS: &[&str] = &[
    "import",
    "a",
    "from",
    "'x'",
    "export",
    "default",
    "type",
    "interface",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "<",
    ">",
    ":",
    ";",
    ",",
    "=",
    "=>",
    "?",
    "!",
    "as",
    "T",
    "class",
    "extends",
    "implements",
    "abstract",
    "private",
    "readonly",
    "static",
    "enum",
    "namespace",
    "function",
    "async",
    "await",
    "return",
    "if",
    "else",
    "for",
    "of",
    "do",
    "while",
    "`",
    "${",
    "/",
    "//",
    "/*",
    "*/",
    "\n",
    "1",
    "\"",
    "@d",
    "declare",
    "this",
    "...",
    ".",
    "satisfies",
    "const",
    "let",
    "é",
    "\u{2028}",
    "#!",
    "'use strict'",
    "main",
];

//! Hostile nesting ends in an answer, not in a stack overflow, on the stack that V8 leaves of a
//! main thread's. Big inputs are fine.

use belljar_syntax::{Dialect, PrepareError, find_imports, prepare};

const STACK: usize = 7 << 20;

/// (source, number of nested levels in it)
fn nested(levels: usize) -> Vec<(&'static str, String)> {
    let wrap = |open: &str, middle: &str, close: &str| {
        format!("{}{middle}{}", open.repeat(levels), close.repeat(levels))
    };
    let mut cases = vec![
        ("arrays", wrap("[", "", "]")),
        ("parentheses", wrap("(", "1", ")")),
        ("objects", format!("x={}", wrap("{a:", "1", "}"))),
        ("blocks", wrap("{", "", "}")),
        ("templates", wrap("`${", "1", "}`")),
        ("calls", wrap("f(", "", ")")),
        ("functions", wrap("function f(){", "", "}")),
        ("classes", wrap("class A{m(){", "", "}}")),
        ("patterns", format!("let {}=1", wrap("[", "a", "]"))),
        ("spreads", wrap("[...", "a", "]")),
        ("heritage", wrap("(class extends ", "A", "{})")),
        ("switches", wrap("switch(a){case 1:", "", "}")),
        ("array types", format!("type A={}", wrap("[", "", "]"))),
        ("type arguments", format!("type A={}", wrap("A<", "B", ">"))),
        ("elements", format!("x={}", wrap("<a>", "", "</a>"))),
        ("do", wrap("do ", "b;", " while(a);")),
    ];
    for (name, link, end) in [
        ("sums", "a+", "a"),
        ("strings", "'a'+", "'b'"),
        ("nots", "!", "a"),
        ("negations", "- ", "a"),
        ("typeofs", "typeof ", "a"),
        ("news", "new ", "a"),
        ("assignments", "a=", "a"),
        ("arrows", "a=>", "a"),
        ("conditionals", "a?b:", "a"),
        ("powers", "a**", "a"),
        ("ifs", "if(a)", "b"),
        ("ifs on lines", "if(a)\n", "b"),
        ("elses", "if(a)b;else ", "c"),
        ("loops", "for(;;)", "b"),
        ("labels", "a:", "b"),
        ("ands", "a&&", "a"),
        ("members", "a.", "b"),
        ("optional members", "a?.", "b"),
        ("awaits", "await ", "a"),
        ("conditional types", "type A=A extends B?C:", "D"),
        ("type operators", "type A=keyof ", "D"),
        ("function types", "type A=()=>", "D"),
        ("unions", "A|", "B"),
        ("assertions", "<A>", "b"),
    ] {
        let (prefix, link) =
            link.strip_prefix("type A=").map_or(("", link), |link| ("type A=", link));
        cases.push((name, format!("{prefix}{}{end}", link.repeat(levels))));
    }
    cases.push(("suffixed types", format!("type A=B{}", "[]".repeat(levels))));
    cases.push(("qualified types", format!("type A=B{}", ".c".repeat(levels))));
    cases.push(("implemented types", format!("class A implements B{} {{}}", ".c".repeat(levels))));
    cases.push(("imported types", format!("type A=import('a'){}", ".c".repeat(levels))));
    cases.push(("asserted", format!("a{}", " as B".repeat(levels))));
    cases.push(("non-null", format!("a{}", "!".repeat(levels))));
    cases.push(("called", format!("a{}", "()".repeat(levels))));
    cases.push(("namespaces", format!("namespace {}b {{}}", "a.".repeat(levels))));
    cases.push(("declared namespaces", format!("declare namespace {}b {{}}", "a.".repeat(levels))));
    cases.push(("element names", format!("x = <a{} />", ".b".repeat(levels))));
    cases
}

fn prepare_everywhere(name: &str, source: &str) {
    for file_name in ["a.js", "a.mjs", "a.jsx", "a.ts", "a.tsx"] {
        let language =
            if file_name.contains("ts") { Dialect::TypeScript } else { Dialect::JavaScript };
        // Alone, with what sends it through the transformer, and with what asks for its names.
        for around in ["", ";enum E { A }", ";await require", ";import { t } from 't'"] {
            let source = format!("{source}{around}");
            let prepared = prepare(&source, file_name, language);
            assert!(prepared.parsed() || prepared.code == source, "{name}");
            let _ = find_imports(&source, file_name, language);
        }
    }
}

fn on_a_main_threads_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(work)
        .expect("a thread")
        .join()
        .expect("no panic");
}

#[test]
fn no_nesting_overflows_the_stack() {
    // Below the limits, around them, and far above.
    for levels in [300, 490, 990, 1_990, 20_000] {
        for (name, source) in nested(levels) {
            on_a_main_threads_stack(move || prepare_everywhere(name, &source));
        }
    }
}

#[test]
fn what_nests_too_deep_is_refused_with_its_line() {
    let source = format!("1;\n2;\n{}", "[".repeat(100_000));
    assert_eq!(
        prepare(&source, "a.js", Dialect::JavaScript).error,
        Some(PrepareError::TooDeep { line: 3 })
    );
    let source = format!("let a: number;\n{}a", "a + ".repeat(100_000));
    assert_eq!(
        prepare(&source, "a.ts", Dialect::TypeScript).error,
        Some(PrepareError::TooDeep { line: 2 })
    );
}

#[test]
fn brackets_in_text_do_not_nest() {
    let brackets = "([{".repeat(3_000);
    for source in [
        format!("'{brackets}'"),
        format!("`{brackets}`"),
        format!("/[{brackets}]/"),
        format!("1 // {brackets}"),
        format!("/* {brackets} */ 1"),
    ] {
        assert!(prepare(&source, "a.js", Dialect::JavaScript).parsed(), "{}", &source[..20]);
    }
}

#[test]
fn wide_and_long_programs_are_no_deep_ones() {
    on_a_main_threads_stack(|| {
        let json = format!(
            "[{}1]",
            "{\"id\": 1, \"name\": \"some name\", \"tags\": [\"a\", \"b\"], \"ok\": true, \"n\": {\"x\": -1.5}},\n".repeat(120_000)
        );
        assert!(json.len() > 9_000_000);
        let minified = "function f(a,b){if(a)return b?a:b;else if(b){for(var i=0;i<a;i++)b+=i}var c=a=>a+1,d={x:1,y:[a,b]};return c(d.x)}"
            .repeat(10_000);
        let lines =
            "if (a) b = !c\na = b ? c : d\nx.y = function () { return -1 }\n".repeat(20_000);
        let concatenated = format!("{}'end'", "'part' + x + ".repeat(20_000));
        for source in [json, minified, lines, concatenated] {
            let prepared = prepare(&source, "a.js", Dialect::JavaScript);
            assert!(prepared.parsed(), "{:?} in {}", prepared.error, &source[..40]);
        }
        let typed = "interface A { a: string; b?: Array<number> }\nconst f = (a: A, b = a as A): number => a.b![0]\nlet x: A | undefined\n"
            .repeat(3_000);
        assert!(prepare(&typed, "a.ts", Dialect::TypeScript).parsed());
    });
}

//! The search for imports in real sandboxes, in each language, whatever the files contain, and
//! without running a line of them.

use std::time::Duration;

use belljar_engine::{Engine, EngineConfig, EngineError, FoundImports};
use belljar_protocol::{
    Explain as _, Language, Limits, Millis, ProgramFile, RunRequest, RuntimeName, StartMode, Status,
};

fn engine() -> Engine {
    let mut config = EngineConfig::from_env().unwrap();
    config.allow_degraded = true;
    Engine::new(config).unwrap()
}

fn file(path: &str, content: impl Into<Vec<u8>>) -> ProgramFile {
    ProgramFile { path: path.try_into().unwrap(), content: content.into() }
}

/// The names, those that are optional with a question mark.
fn names(found: &FoundImports) -> Vec<String> {
    found
        .imports
        .iter()
        .map(|import| format!("{}{}", import.name, if import.is_optional { "?" } else { "" }))
        .collect()
}

async fn find(
    engine: &Engine,
    language: Language,
    files: &[ProgramFile],
) -> Result<FoundImports, EngineError> {
    engine.find_imports(language, None, None, StartMode::Auto, files).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_programs_imports_and_additions_are_found() {
    let engine = engine();
    let main = "# @add-package python-dateutil==2.9\nimport os, helpers\nfrom google.cloud.storage import Client\ntry:\n  import ujson\nexcept ImportError:\n  pass\n";
    let files = [
        file("main.py", main),
        file("helpers.py", "import numpy as np\nfrom . import main"),
        file("data.csv", "import nothing"),
        file("broken.py", "import x\n("),
    ];
    let found = find(&engine, Language::Python, &files).await.unwrap();
    assert_eq!(names(&found), ["google.cloud.storage", "helpers", "numpy", "os", "ujson?"]);
    assert_eq!(found.additions, ["python-dateutil==2.9"]);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_programs_imports_and_additions_are_found() {
    let engine = engine();
    let main = "// @add-package @scope/x@1\nimport { parse } from 'csv-parse/sync';\nimport type { A } from 'a';\nparse satisfies A;\n";
    let files = [
        file("main.ts", main),
        file(
            "src/helpers.js",
            "try { require('ujson') } catch {}\nrequire('../main'); yepcode.import('lodash', '4')",
        ),
        file("broken.js", "require('x'); ("),
        file("types.d.ts", "export * from 'nothing'"),
        file("node_modules/deep/index.js", "require('nothing')"),
        file("late.mjs", "import 'deep'; import fs from 'node:fs'"),
    ];
    let found = find(&engine, Language::TypeScript, &files).await.unwrap();
    assert_eq!(names(&found), ["csv-parse/sync", "deep", "node:fs", "npm:lodash@4", "ujson?"]);
    assert_eq!(found.additions, ["@scope/x@1"]);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_program_is_run() {
    let engine = engine();
    for (language, code, imported) in [
        (Language::Python, "import os\nwhile True: pass", "os"),
        (Language::JavaScript, "require('os'); for (;;);", "os"),
        (Language::TypeScript, "import os from 'os'; for (;;) { os satisfies object }", "os"),
    ] {
        let mut request = RunRequest::new(language, code);
        request.limits = Limits { timeout_ms: Millis(500), ..Limits::default() };
        let outcome = engine.run(request).finished().await.outcome;
        assert_eq!(
            outcome.status,
            Status::TimedOut,
            "the attack does not run: {:?}",
            outcome.error
        );
        let found = find(&engine, language, &[file(language.default_entry(), code)]).await.unwrap();
        assert_eq!(names(&found), [imported]);
    }
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_files_end_in_an_answer_or_in_words() {
    let engine = engine();
    let nested = |levels: usize| format!("x = {}{}", "[".repeat(levels), "]".repeat(levels));
    let shared = [
        ("brackets", nested(3_000)),
        ("many brackets", nested(900_000)),
        ("members", format!("a{}", ".b".repeat(900_000))),
        ("signs", format!("{}1", "- ".repeat(900_000))),
        ("calls", format!("a{}", "()".repeat(900_000))),
        ("a large file", "x = 1\n".repeat(4 << 20)),
        ("a list", format!("x = [{}]", "1,".repeat(900_000))),
    ];
    let decorators = "@a\n".repeat(600_000);
    let python = [
        ("a decorator without end", decorators.clone()),
        ("decorators", format!("{decorators}def f(): pass")),
        (
            "imports",
            (0..80_000).fold(String::new(), |code, index| code + &format!("import mod{index}\n")),
        ),
        ("nought", "import a\n\0".to_owned()),
    ];
    let typescript = [
        ("a decorator without end", decorators.clone()),
        ("decorators", format!("{decorators}class A {{}}")),
        (
            "imports",
            (0..80_000).fold(String::new(), |code, index| code + &format!("import 'mod{index}'\n")),
        ),
        ("names of types", format!("class A implements B{} {{}}", ".c".repeat(900_000))),
        ("templates", format!("{}{}", "`${".repeat(300_000), "}`".repeat(300_000))),
        ("nought", "import 'a'\n\0".to_owned()),
        ("half a character", r"import '\ud800'".to_owned()),
    ];
    for (what, hostile) in shared.iter().chain(&python) {
        check_hostile(
            &engine,
            Language::Python,
            what,
            "import innocent",
            &format!("{hostile}\nimport hostile"),
        )
        .await;
    }
    for (what, hostile) in shared.iter().chain(&typescript) {
        check_hostile(
            &engine,
            Language::TypeScript,
            what,
            "import 'innocent'",
            &format!("{hostile}\nimport 'hostile'"),
        )
        .await;
    }
    engine.shutdown().await;
}

async fn check_hostile(
    engine: &Engine,
    language: Language,
    what: &str,
    innocent: &str,
    hostile: &str,
) {
    let extension = if language == Language::Python { "py" } else { "ts" };
    let files =
        [file(language.default_entry(), innocent), file(&format!("hostile.{extension}"), hostile)];
    match find(engine, language, &files).await {
        Ok(found) => {
            assert!(
                names(&found).len() <= 1000 && names(&found).contains(&"innocent".to_owned()),
                "{language}, {what}: {found:?}"
            );
        }
        Err(error) => assert!(
            error.to_string().starts_with("cannot find the program's imports: "),
            "{language}, {what}: {error}"
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_ended_in_words() {
    let engine = engine();
    // Many files, each of them small enough to be looked into.
    let source = "import a\n".repeat(200_000);
    let files: Vec<ProgramFile> =
        (0..30).map(|index| file(&format!("f{index}.py"), source.clone())).collect();
    let found =
        tokio::time::timeout(Duration::from_mins(1), find(&engine, Language::Python, &files))
            .await
            .unwrap();
    let error = found.unwrap_err();
    assert!(error.to_string().contains("imports: the search exceeded its limit of "), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("out of the program's source files")));
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_of_another_language_is_refused() {
    let engine = engine();
    let error = engine
        .find_imports(
            Language::Python,
            Some(RuntimeName::Node(None)),
            None,
            StartMode::Auto,
            &[file("main.py", "1")],
        )
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "node does not run python");
    assert_eq!(find(&engine, Language::Python, &[]).await.unwrap(), FoundImports::default());
    engine.shutdown().await;
}

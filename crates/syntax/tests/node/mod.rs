//! A real Node to run prepared programs in.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use belljar_syntax::{Dialect, ModuleKind, Options, PreparedProgram, prepare, prepare_with};
use serde_json::{Value, json};

/// Result of one program in Node.
pub struct Answer {
    /// The prepared program: `value` and `main`, or `error` and `place`.
    pub prepared: Value,
    /// The source as a script, by V8's own completion value: `value` or `error`.
    #[allow(dead_code, reason = "not every test compares")]
    pub v8: Value,
}

/// Prepares programs, (file name, source), and runs them all in one Node.
#[allow(dead_code, reason = "not every test needs no options")]
pub fn run(programs: &[(&str, &str)]) -> Vec<Answer> {
    run_with(programs, &Options::default())
}

/// [`run`] with options.
pub fn run_with(programs: &[(&str, &str)], options: &Options) -> Vec<Answer> {
    let prepared = programs.iter().map(|(name, source)| {
        (name, source, prepare_with(source, name, dialect_of(name), options))
    });
    let cases: Vec<Value> =
        prepared.map(|(name, source, prepared)| case(name, source, &prepared)).collect();
    let node = std::env::var("BELLJAR_TEST_NODE").unwrap_or_else(|_| "node".to_owned());
    let mut child = Command::new(&node)
        .args(["--experimental-vm-modules", "--no-warnings"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/run.cjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{node} cannot be started ({error}): put node on PATH, or name one in BELLJAR_TEST_NODE"));
    let input = serde_json::to_vec(&cases).expect("cases are JSON");
    child.stdin.take().expect("piped").write_all(&input).expect("node reads");
    let output = child.wait_with_output().expect("node ends");
    assert!(output.status.success(), "node failed: {}", output.status);
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).expect("node answers in JSON");
    assert_eq!(answers.len(), programs.len());
    answers
        .into_iter()
        .map(|mut answer| Answer { prepared: answer["prepared"].take(), v8: answer["v8"].take() })
        .collect()
}

/// Prepares a program in the language that its name tells.
#[allow(dead_code, reason = "not every test needs it")]
pub fn prepare_named<'s>(name: &str, source: &'s str) -> PreparedProgram<'s> {
    prepare(source, name, dialect_of(name))
}

fn dialect_of(name: &str) -> Dialect {
    let is_typescript = name.rsplit('.').next().is_some_and(|extension| extension.contains("ts"));
    if is_typescript { Dialect::TypeScript } else { Dialect::JavaScript }
}

fn case(name: &str, source: &str, prepared: &PreparedProgram<'_>) -> Value {
    let kind = match prepared.kind {
        ModuleKind::CommonJs => "commonjs",
        ModuleKind::Module => "module",
    };
    json!({"name": name, "source": source, "code": prepared.code, "kind": kind, "isAsync": prepared.is_async, "map": prepared.map})
}

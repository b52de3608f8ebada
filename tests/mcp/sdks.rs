//! The official client SDKs. Their tests are next to this file, each in its own language.

use std::process::Command;

use belljar_test_support::{binary, registries, repository};

use crate::arguments;

/// The folder for programs that are installed once.
const INSTALLED: &str = env!("CARGO_TARGET_TMPDIR");

fn passes(command: &mut Command) {
    command
        .current_dir(repository().join("tests/mcp"))
        .env("BELLJAR", binary())
        .env("BELLJAR_ARGUMENTS", arguments().join(" "));
    let output = command.output().expect("the client's tests start");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    // Node prints `# tests 5`, and Python `Ran 20 tests`: zero tests are no success.
    assert!(!stdout.contains("# tests 0") && !stderr.contains("Ran 0 tests"), "{stdout}\n{stderr}");
}

#[test]
fn the_python_sdk() {
    let python = registries::python_with(INSTALLED, "mcp-python", &["mcp==2.3.0"]);
    passes(Command::new(python).args(["-B", "-m", "unittest", "-v", "client_test.py"]));
}

#[test]
fn the_typescript_sdk() {
    let folder = registries::node_modules_with(
        INSTALLED,
        "mcp-typescript",
        &["@modelcontextprotocol/sdk@1.32.2"],
    );
    // Imports are resolved from the folder of the file.
    let script = folder.join("client.test.js");
    std::fs::copy(repository().join("tests/mcp/client.test.js"), &script).expect("a copy");
    passes(Command::new("node").arg("--test").arg(script));
}

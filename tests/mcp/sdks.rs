//! The clients that people use. Their tests are written in their own languages, beside this file.

use std::path::Path;
use std::process::Command;

use crate::{BINARY, arguments, registries};

fn passes(command: &mut Command) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/mcp");
    command.current_dir(here).env("BELLJAR", BINARY).env("BELLJAR_ARGUMENTS", arguments().join(" "));
    let output = command.output().expect("the client's tests start");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    // Node's `# tests 5`, or Python's `Ran 20 tests`: none at all is no success.
    assert!(!stdout.contains("# tests 0") && !stderr.contains("Ran 0 tests"), "{stdout}\n{stderr}");
}

#[test]
fn the_python_sdk() {
    let python = registries::python_with("mcp-python", &["mcp==2.3.0"]);
    passes(Command::new(python).args(["-B", "-m", "unittest", "-v", "client_test.py"]));
}

#[test]
fn the_typescript_sdk() {
    let folder = registries::node_modules_with("mcp-typescript", &["@modelcontextprotocol/sdk@1.32.2"]);
    // Imports are looked for beside the file that has them.
    let script = folder.join("client.test.js");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/mcp/client.test.js"), &script).expect("a copy");
    passes(Command::new("node").arg("--test").arg(script));
}

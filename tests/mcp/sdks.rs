//! The official client SDKs. Their tests are next to this file, each in its own language.

use std::process::Command;

use belljar_test_support::{Server, binary, registries, repository};

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

#[test]
fn the_python_sdk_with_a_server() {
    let server = Server::start();
    let python = registries::python_with(INSTALLED, "mcp-python", &["mcp==2.3.0"]);
    let tests = [
        "Programs.test_each_language",
        "Programs.test_files_and_standard_input_go_in_and_artifacts_come_out",
        "Programs.test_a_file_that_is_too_large_for_an_answer_is_said_to_be",
        "Programs.test_a_displayed_image_is_image_content",
        "Programs.test_an_error_has_the_programs_own_lines",
        "Course.test_logs_come_as_progress",
        "Course.test_an_endless_loop_times_out",
        "Course.test_no_more_run_at_once_than_the_operator_allows",
        "Ceiling.test_a_bad_argument_is_named",
    ];
    let mut command = Command::new(python);
    command
        .args(["-B", "-m", "unittest", "-v"])
        .args(tests.map(|test| format!("client_test.{test}")))
        .current_dir(repository().join("tests/mcp"))
        .env("BELLJAR", binary())
        .env("BELLJAR_ARGUMENTS", format!("mcp --server {}", server.url))
        .env("BELLJAR_TOKEN", &server.token);
    let output = command.output().expect("the client's tests start");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("Ran 9 tests"), "{said}");
    let runs = server.get("/v1/runs?limit=1000").is(200)["runs"].as_array().unwrap().len();
    assert!(runs >= 15, "{runs} runs: the clients used the server");
}

//! The `OpenAPI` document, held against the server by schemathesis: whatever it sends, no 5xx and
//! no answer that is not documented.

use std::process::Command;

use belljar_test_support::Server;
use belljar_test_support::registries::python_with;

#[test]
fn no_request_gets_a_failure_or_an_undocumented_answer() {
    let python =
        python_with(env!("CARGO_TARGET_TMPDIR"), "schemathesis", &["schemathesis==4.32.5"]);
    let server = Server::start();
    let output = Command::new(python.with_file_name("schemathesis"))
        .args(["run", &format!("{}/openapi.json", server.url), "-H", &format!("Authorization: Bearer {}", server.token)])
        // The examples differ from run to run only where the seed does.
        .args(["--max-examples", "10", "--phases", "examples,coverage,fuzzing", "--seed", "1", "--no-color"])
        // It would revoke the token that it comes with, once it has seen its id.
        .args(["--exclude-operation-id", "revoke_token"])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"])
        .current_dir(&server.home)
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    // It has asked in earnest: far more than one request an operation.
    let tested = said.lines().find_map(|line| {
        line.trim().split_once(" generated").and_then(|(count, _)| count.parse::<u32>().ok())
    });
    assert!(tested.is_some_and(|tested| tested > 300), "{said}");
    assert_eq!(server.run("javascript", "1 + 1")["value"], 2);
}

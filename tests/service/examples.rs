//! The workflow of `examples/workflow`, in both languages, by the programs themselves.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::server::Server;

#[test]
fn the_complete_workflow_uploads_runs_follows_and_downloads() {
    let server = Server::start();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/workflow");
    for (program, script) in [("node", "workflow.mjs"), ("python3", "workflow.py")] {
        let saved = server.home.join(format!("{script}.json"));
        let output = Command::new(program)
            .arg(folder.join(script))
            .arg(folder.join("orders.csv"))
            .arg(&saved)
            .env("BELLJAR_URL", &server.url)
            .env("BELLJAR_TOKEN", &server.token)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}: {stdout}{stderr}");
        assert!(stdout.lines().any(|line| line.ends_with("info: read 5 records")), "its logs are followed: {stdout}");
        let summary: Value = serde_json::from_slice(&std::fs::read(&saved).unwrap()).unwrap();
        assert_eq!((&summary["records"], summary["totals"]["Oslo"].as_f64()), (&json!(5), Some(140.0)), "{script}: {summary}");
        // The next program has to make its own.
        server.ask("DELETE", "/v1/objects/outputs/summary.json").send().is(204);
    }
    let runs = server.get("/v1/runs?label=example:workflow").is(200);
    assert_eq!(runs["runs"].as_array().unwrap().len(), 2, "{runs}");
}

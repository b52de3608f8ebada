//! Packages over HTTP: asked for, within what the server and the project allow, their lock kept
//! with the run.

use belljar_test_support::Server;
use serde_json::{Value, json};

use crate::SHARED;

fn run(server: &Server, body: Value) -> Value {
    let mut body = body;
    body["wait"] = json!(true);
    server.post("/v1/runs", body).is(200)
}

#[test]
fn a_run_has_what_its_program_imports_and_its_lock_is_kept() {
    let outcome = run(
        &SHARED,
        json!({"language": "python", "code": "import humanize\nhumanize.intcomma(1234)"}),
    );
    assert_eq!(outcome["value"], "1,234", "{outcome}");
    let path = format!("/v1/runs/{}/lock", outcome["id"].as_str().unwrap());
    let lock = SHARED.get(&path).text();
    assert!(lock.contains("name = \"humanize\""), "{lock}");
    let again = run(
        &SHARED,
        json!({"language": "python", "code": "import humanize\n2", "package_options": {"lock": lock, "frozen": true, "offline": true}}),
    );
    assert_eq!(again["value"], 2, "{again}");
    assert_eq!(again["sandbox"]["environment"], outcome["sandbox"]["environment"]);
    let plain = run(&SHARED, json!({"language": "python", "code": "1"}));
    SHARED.get(&format!("/v1/runs/{}/lock", plain["id"].as_str().unwrap())).is_problem(
        404,
        "not-found",
        "lock",
    );
}

#[test]
fn a_project_allows_only_what_its_operator_lets_it() {
    let server = Server::start();
    let settings = json!({"packages": {"allowed": ["humanize", "six"], "blocked": ["tzdata"]}});
    server.operate("PUT", "/v1/projects/default/settings", Some(settings)).is(200);
    let outcome =
        run(&server, json!({"language": "python", "code": "1", "packages": ["humanize"]}));
    assert_eq!(outcome["value"], 1, "{outcome}");
    for (package, words) in
        [("requests", "not an allowed package"), ("humanize[x] @ http://127.0.0.1/x", "registry")]
    {
        let refused =
            run(&server, json!({"language": "python", "code": "1", "packages": [package]}));
        assert_eq!(refused["status"], "refused", "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains(words), "{refused}");
    }
    let build = run(
        &server,
        json!({"language": "python", "code": "1", "packages": ["six"], "package_options": {"allow_build": true}}),
    );
    assert_eq!(build["error"]["name"], "PackagesRefused", "{build}");
    let unknown = json!({"language": "python", "code": "1", "package_options": {"froozen": true}});
    server.post("/v1/runs", unknown).is_problem(422, "invalid-request", "froozen");
}

/// The program of the article that the project came from, as it stands there.
#[test]
fn code_written_for_another_system_runs_unchanged() {
    let code = r#"async function main() {
const fs = require("fs");
const csv = require("csv-parser");
// Download and process the CSV
const stream = await yepcode.storage.download("inputs/data.csv");
const results = [];
return new Promise((resolve) => {
stream.pipe(csv())
.on('data', (data) => results.push(data))
.on('end', async () => {
// Process data and create summary
const summary = {
totalRecords: results.length,
processedAt: new Date().toISOString()
};
// Upload processed results
await yepcode.storage.upload(
"outputs/summary.json",
new Blob([JSON.stringify(summary, null, 2)], { type : 'application/json' })
);
resolve(summary);
});
});
}
module.exports = { main };"#;
    let server = Server::start();
    server
        .ask("PUT", "/v1/objects/inputs/data.csv")
        .body("name,city\nAda,Oslo\nBob,Bergen\n")
        .send()
        .is(200);
    let outcome = run(&server, json!({"language": "javascript", "code": code}));
    assert_eq!(outcome["value"]["totalRecords"], 2, "{outcome}");
    let summary: Value =
        serde_json::from_str(&server.get("/v1/objects/outputs/summary.json").text()).unwrap();
    assert_eq!(summary, outcome["value"]);
}

#[test]
fn watchers_hear_how_packages_come() {
    let server = Server::start();
    let body = json!({"language": "python", "code": "import humanize\n1", "package_options": {"minimum_release_age_days": 4}});
    let id = server.start_run(body);
    let record = server.until_over(&id);
    assert_eq!(record["status"], "succeeded", "{record}");
    let events = server
        .ask("GET", &format!("/v1/runs/{id}/events"))
        .header("Accept", "application/x-ndjson")
        .send();
    let text = events.text();
    assert!(text.contains(r#""type":"started""#) && text.contains("pypi-"), "{text}");
}

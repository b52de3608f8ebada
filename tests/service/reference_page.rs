//! The reference page at `/docs`: its commands are run as they are written.

use std::process::Command;

use belljar_test_support::Server;
use serde_json::{Value, json};

use crate::SHARED;

/// The commands of the page, by operation id, each with the status that it gets.
fn commands() -> Vec<(String, String, String)> {
    let document = SHARED.get("/openapi.json").is(200);
    let mut commands = Vec::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            let command = operation["x-codeSamples"][0]["source"].as_str().unwrap().to_owned();
            let statuses = operation["responses"].as_object().unwrap().keys();
            let success = statuses.min().unwrap().to_owned();
            commands.push((id, command, success));
        }
    }
    commands
}

#[test]
fn each_command_of_the_page_works_as_it_is_written() {
    let server = Server::start();
    let page = server.ask("GET", "/docs").no_token().send().text();
    let body = server.home.join("body");
    let commands = commands();
    assert!(commands.len() > 30);
    for (id, command, success) in commands {
        let shown = command.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let shown = shown.replace('"', "&quot;");
        assert!(page.contains(&shown), "{id}: {shown}");

        // The things that the examples name.
        let code = "import os; os.makedirs('outputs', exist_ok=True); open('outputs/summary.json', 'w').write('{}')";
        let run = server.run("python", code);
        let token = server.post("/v1/tokens", json!({"name": "x", "scopes": ["read"]})).is(201);
        server.ask("PUT", "/v1/objects/inputs/data.csv").body("city,sales").send().is(200);
        if id == "create_project" {
            server.operate("DELETE", "/v1/projects/team-b", None);
        } else {
            server.operate("POST", "/v1/projects", Some(json!({"name": "team-b"})));
        }

        let script = format!("{command} -o \"$BODY\" -w '%{{http_code}}'");
        let output = Command::new("sh")
            .args(["-c", &script])
            .env("BELLJAR_URL", &server.url)
            .env("BELLJAR_TOKEN", &server.token)
            .env("BELLJAR_HOME", &server.home)
            .env("RUN_ID", run["id"].as_str().unwrap())
            .env("TOKEN_ID", token["record"]["id"].as_str().unwrap())
            .env("BODY", &body)
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .unwrap();
        let status = String::from_utf8_lossy(&output.stdout);
        // The run has no packages, so there is no lock file.
        let expected = if id == "show_lock" { "404" } else { &success };
        let answer = std::fs::read_to_string(&body).unwrap_or_default();
        assert_eq!(status, expected, "{id}: {command}\n{answer}");
        if id == "start_run" {
            let outcome: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(outcome["value"], json!({"total": 41}), "{outcome}");
        }
    }
}

#[test]
fn the_address_of_a_server_leads_to_the_page() {
    let answer = SHARED.ask("GET", "/").no_token().send();
    assert_eq!((answer.status, answer.header("location")), (307, Some("/docs")), "{answer:?}");
    let page = SHARED.ask("GET", "/docs").no_token().send();
    page.is(200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let text = page.text();
    let place = |words: &str| text.find(words).unwrap_or_else(|| panic!("no `{words}`"));
    assert!(place("<h2 id=runs>") < place("<h2 id=objects>"));
    assert!(place("<a href=#start_run>") < place("<article id=start_run>"));
}

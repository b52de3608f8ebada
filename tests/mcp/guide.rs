//! The configurations in docs/guides/mcp.md, started as a client starts them.

use belljar_test_support::{Server as BelljarServer, belljar_without_server, repository};
use serde_json::Value;

use crate::wire::Server;

fn page() -> String {
    std::fs::read_to_string(repository().join("docs/guides/mcp.md")).expect("the guide")
}

fn blocks(fence: &str) -> Vec<String> {
    page()
        .split(&format!("```{fence}\n"))
        .skip(1)
        .map(|rest| rest.split("```").next().expect("an end").to_owned())
        .collect()
}

#[test]
fn every_configuration_of_the_guide_starts_a_server() {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let mut started = 0;
    for block in blocks("json") {
        let configuration: Value =
            serde_json::from_str(&block).unwrap_or_else(|error| panic!("{error}: {block}"));
        let server =
            &configuration.get("mcpServers").unwrap_or(&configuration["servers"])["belljar"];
        assert_eq!(server["command"], "belljar", "{block}");
        let flags: Vec<&str> = server["args"]
            .as_array()
            .expect("arguments")
            .iter()
            .map(|flag| flag.as_str().expect("text"))
            .collect();
        assert_eq!(flags[0], "mcp", "{block}");
        // The folder of the example does not exist, so an existing one takes its place.
        let data = folder.path().to_str().expect("UTF-8");
        let flags: Vec<&str> =
            flags[1..].iter().map(|flag| if *flag == "/srv/data" { data } else { flag }).collect();
        let mut server = Server::begun(&flags);
        server.call(1, "6 * 7");
        assert_eq!(server.answer(1)["structuredContent"]["value"], 42);
        started += 1;
    }
    assert_eq!(started, 3, "the guide is not read as it is written");
}

#[test]
fn the_configuration_of_the_guide_for_a_server_runs_programs_there() {
    let server = BelljarServer::start();
    let blocks = blocks("json remote");
    let configuration: Value = serde_json::from_str(&blocks[0]).expect("JSON");
    let client = &configuration["mcpServers"]["belljar"];
    assert_eq!((&client["command"], blocks.len()), (&Value::from("belljar"), 1));
    let arguments = client["args"].as_array().expect("arguments").iter().map(|argument| {
        // The server of the example does not exist, so an existing one takes its place.
        match argument.as_str().expect("text") {
            "https://belljar.example.com" => server.url.as_str(),
            argument => argument,
        }
    });
    let mut command = belljar_without_server(arguments);
    for name in client["env"].as_object().expect("variables").keys() {
        command.env(name, &server.token);
    }
    let mut mcp = Server::of(command).greeted();
    mcp.call(1, "6 * 7");
    assert_eq!(mcp.answer(1)["structuredContent"]["value"], 42);
    let runs = server.get("/v1/runs?label=client:mcp").is(200);
    assert_eq!(runs["runs"].as_array().expect("a list").len(), 1, "{runs}");
}

#[test]
fn the_refusal_that_the_guide_shows_is_the_real_one() {
    let page = page();
    let mut server = Server::begun(&["--timeout", "2m"]);
    server.call_with(
        1,
        &serde_json::json!({"language": "python", "code": "1", "limits": {"timeout_ms": 180_000}}),
    );
    let answer = server.answer(1);
    let text = answer["content"][0]["text"].as_str().expect("text");
    let (refusal, hint) = text.split_once("\nhint: ").expect("a hint");
    assert!(hint.starts_with("request less"), "{hint}");
    // The page wraps the refusal.
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains(refusal), "{refusal}");
}

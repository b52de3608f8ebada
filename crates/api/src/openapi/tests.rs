use serde_json::Value;

use super::*;

fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (format!("{method} {path}"), operation))
    })
}

#[test]
fn every_operation_has_its_facts_once() {
    let document: Value = serde_json::from_str(&document()).unwrap();
    let mut ids: Vec<_> = operations(&document)
        .map(|(_, operation)| operation["operationId"].as_str().unwrap())
        .collect();
    let mut known: Vec<_> = operations::OPERATIONS.iter().map(|facts| facts.id).collect();
    ids.sort_unstable();
    known.sort_unstable();
    assert_eq!(ids, known);
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_response_is_described_and_every_operation_states_its_access() {
    let document: Value = serde_json::from_str(&document()).unwrap();
    for (name, operation) in operations(&document) {
        assert!(operation["summary"].is_string(), "{name}");
        let description = operation["description"].as_str().unwrap();
        assert!(
            ["Needs the scope `", "Needs no token", "Only the operator"]
                .iter()
                .any(|words| description.contains(words)),
            "{name}: {description}"
        );
        let responses = operation["responses"].as_object().unwrap();
        for (status, response) in responses {
            assert!(!response["description"].as_str().unwrap().is_empty(), "{name} {status}");
        }
        let is_open = operation["tags"][0] == "health";
        assert_eq!(responses.contains_key("401"), !is_open, "{name}");
        assert_eq!(responses.contains_key("403"), !is_open, "{name}");
        assert!(!responses.contains_key("405"), "{name}");
    }
}

#[test]
fn tags_are_described_and_operations_are_in_their_order() {
    let text = document();
    let document: Value = serde_json::from_str(&text).unwrap();
    let tags: Vec<_> = document["tags"].as_array().unwrap().iter().collect();
    let names: Vec<_> = tags.iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["runs", "objects", "projects", "tokens", "usage", "audit", "health"]);
    assert!(tags.iter().all(|tag| tag["description"].is_string()));
    let places: Vec<_> = [
        "\"/v1/runs\":",
        "\"/v1/objects/{name}\":",
        "\"/v1/projects\":",
        "\"/v1/tokens\":",
        "\"/v1/usage\":",
        "\"/v1/audit\":",
        "\"/healthz\":",
    ]
    .iter()
    .map(|path| text.find(path).unwrap())
    .collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn documentation_tests_become_examples() {
    let text = document();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert!(!text.contains("```") && !text.contains("unwrap()"));
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        assert!(schema.get("example").is_none(), "{name}");
    }
    for name in ["RunSubmission", "Outcome", "RunRecord", "RunPage", "AuditPage", "IssuedToken"] {
        assert!(schemas[name]["examples"][0].is_object(), "{name}");
    }
    assert_eq!(schemas["RunPage"]["examples"][0]["runs"][0], schemas["RunRecord"]["examples"][0]);
    // The fields of an example are in the order in which its author wrote them.
    assert!(text.contains(r#""examples":[{"#), "{text}");
    let (language, wait) = (text.find("\"prices\": [18"), text.find("\"wait\": true"));
    assert!(language.is_some() && language < wait);
}

#[test]
fn every_field_and_parameter_is_described() {
    let document: Value = serde_json::from_str(&document()).unwrap();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name}");
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let description = property["description"].as_str().unwrap_or_default();
            assert!(!description.is_empty(), "{name}.{field}");
        }
    }
    for (name, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{name}: {parameter}");
            assert!(!parameter["schema"].to_string().contains("\"null\""), "{name}: {parameter}");
        }
    }
}

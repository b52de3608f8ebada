use indexmap::IndexMap;

use super::*;

fn document() -> (String, Document) {
    let text = crate::openapi::document();
    let document = serde_json::from_str(&text).unwrap();
    (page(&text), document)
}

#[test]
fn the_page_has_every_operation_and_type_once_with_a_link_to_it() {
    let (page, document) = document();
    let mut operations = 0;
    for (path, item) in &document.paths {
        for (method, operation) in item {
            operations += 1;
            let id = &operation.id;
            assert_eq!(page.matches(&format!("<article id={id}>")).count(), 1, "{method} {path}");
            assert!(page.contains(&format!("<li><a href=#{id}>")), "{method} {path}");
        }
    }
    assert!(operations > 30);
    for name in document.components.schemas.keys() {
        assert_eq!(page.matches(&format!("<article id=type-{name} ")).count(), 1, "{name}");
    }
    for tag in &document.tags {
        assert_eq!(page.matches(&format!("<h2 id={}>", tag.name)).count(), 1, "{}", tag.name);
    }
    assert!(page.find("<h2 id=runs>") < page.find("<h2 id=objects>"));
}

#[test]
fn an_event_is_shown_as_a_stream_has_it() {
    let (page, _) = document();
    assert!(
        page.contains("<pre tabindex=0>id: 3\nevent: log\ndata: {&quot;seq&quot;:3,"),
        "{page}"
    );
}

#[test]
fn the_page_needs_no_script_and_loads_nothing() {
    let (page, _) = document();
    for words in ["<script", "<link", "<img", "@import", "url(", "src=", "//fonts"] {
        assert!(!page.contains(words), "{words}");
    }
    assert!(page.contains("name=viewport") && page.contains("prefers-color-scheme:dark"));
}

#[test]
fn each_operation_has_a_command_and_each_json_response_an_example() {
    let (_, document) = document();
    for operation in document.paths.values().flat_map(IndexMap::values) {
        let id = &operation.id;
        assert!(operation.samples[0].source.starts_with("curl "), "{id}");
        let success = operation.responses.iter().find(|(status, _)| status.starts_with('2'));
        for (media_type, content) in &success.unwrap().1.content {
            if media_type != "application/octet-stream" {
                assert!(document.example(media_type, content).is_some(), "{id}: {media_type}");
            }
        }
    }
}

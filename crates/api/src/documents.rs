//! `/openapi.json`, and the same for people at `/docs`: plain HTML without scripts, made here from the document.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(crate::openapi::document()).unwrap_or_default());
static PAGE: LazyLock<String> = LazyLock::new(|| page(&DOCUMENT));

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
code{font:14px ui-monospace,monospace;background:#f3f3f3;padding:.1em .3em}h2{margin-top:3rem;border-bottom:1px solid #ccc}h3{margin-top:2rem}\
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;text-align:left;padding:.3em .6em;vertical-align:top}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#111}code{background:#222}td,th,h2{border-color:#444}a{color:#8bf}}";

pub(crate) async fn openapi() -> Response {
    axum::Json(&*DOCUMENT).into_response()
}

pub(crate) async fn reference() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, PAGE.as_str()).into_response()
}

fn page(document: &Value) -> String {
    let mut page =
        format!("<!doctype html><html lang=en><meta charset=utf-8><title>Belljar API</title><style>{STYLE}</style><h1>Belljar API</h1>");
    let _ = write!(page, "<p>{}", prose(&document["info"]["description"]));
    page.push_str("<p>Send <code>Authorization: Bearer bjr_...</code>. Refusals are problem documents (RFC 9457). <a href=/openapi.json>openapi.json</a>");
    let mut tags: Vec<&str> = operations(document).filter_map(|(_, _, operation)| operation["tags"][0].as_str()).collect();
    tags.dedup();
    for tag in tags {
        let _ = write!(page, "<h2 id={0}>{0}</h2>", escape(tag));
        for (path, method, operation) in operations(document).filter(|(_, _, operation)| operation["tags"][0] == tag) {
            write_operation(&mut page, path, method, operation);
        }
    }
    page.push_str("<h2 id=types>types</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        write_schema(&mut page, name, schema);
    }
    page
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    document["paths"].as_object().into_iter().flatten().flat_map(|(path, item)| {
        item.as_object().into_iter().flatten().map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

fn write_operation(page: &mut String, path: &str, method: &str, operation: &Value) {
    let _ = write!(page, "<h3><code>{} {}</code></h3><p>{}", method.to_uppercase(), escape(path), prose(&operation["summary"]));
    if operation["description"].is_string() {
        let _ = write!(page, "<p>{}", prose(&operation["description"]));
    }
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    if !parameters.is_empty() {
        page.push_str("<table><tr><th>parameter<th>in<th>type<th>");
        for parameter in parameters {
            let name = escape(parameter["name"].as_str().unwrap_or_default());
            let place = escape(parameter["in"].as_str().unwrap_or_default());
            let _ = write!(
                page,
                "<tr><td><code>{name}</code><td>{place}<td>{}<td>{}",
                kind(&parameter["schema"]),
                prose(&parameter["description"])
            );
        }
        page.push_str("</table>");
    }
    for (media_type, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
        let _ = write!(page, "<p>Body: <code>{}</code> {}", escape(media_type), kind(&content["schema"]));
    }
    let succeeds = operation["responses"].as_object().into_iter().flatten().filter(|(status, _)| status.starts_with('2'));
    for (status, response) in succeeds {
        let _ = write!(page, "<p>{status}:");
        for (media_type, content) in response["content"].as_object().into_iter().flatten() {
            let _ = write!(page, " <code>{}</code> {}", escape(media_type), kind(&content["schema"]));
        }
        let _ = write!(page, " {}", prose(&response["description"]));
    }
}

fn write_schema(page: &mut String, name: &str, schema: &Value) {
    let _ = write!(page, "<h3 id=type-{0}>{0}</h3><p>{1}", escape(name), prose(&schema["description"]));
    let Some(properties) = schema["properties"].as_object() else {
        let _ = write!(page, "<p>{}", kind(schema));
        return;
    };
    page.push_str("<table><tr><th>field<th>type<th>");
    for (field, of) in properties {
        let is_required = schema["required"].as_array().is_some_and(|required| required.iter().any(|name| name == field));
        let mark = if is_required { "" } else { "?" };
        let _ = write!(page, "<tr><td><code>{}{mark}</code><td>{}<td>{}", escape(field), kind(of), prose(&of["description"]));
    }
    page.push_str("</table>");
}

/// A type in a few characters.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=#type-{0}>{0}</a>", escape(name));
    }
    for either in ["oneOf", "anyOf", "allOf"] {
        if let Some(kinds) = schema[either].as_array() {
            return kinds.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("<code>{}</code>", escape(&value.to_string()))).collect::<Vec<_>>().join(" ");
    }
    if schema["items"].is_object() {
        return format!("list of {}", kind(&schema["items"]));
    }
    match &schema["type"] {
        Value::String(name) => escape(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(escape).collect::<Vec<_>>().join(" or "),
        _ => "any JSON".to_owned(),
    }
}

/// Text with its `code` marked.
fn prose(text: &Value) -> String {
    let text = text.as_str().unwrap_or_default();
    let pieces = text.split('`').enumerate();
    pieces
        .map(|(at, piece)| if at % 2 == 1 { format!("<code>{}</code>", escape(piece)) } else { escape(piece).replace("\n\n", "<p>") })
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_operation_and_type() {
        for (path, method, _) in operations(&DOCUMENT) {
            assert!(PAGE.contains(&format!("{} {}", method.to_uppercase(), escape(path))), "{method} {path}");
        }
        assert!(PAGE.contains("id=type-RunSubmission"));
        assert!(!PAGE.contains("<script"));
    }
}

//! The reference page, written from the `OpenAPI` document: plain HTML with one style sheet,
//! without scripts and without anything to load.

mod markup;
mod model;

use std::fmt::Write as _;

use markup::{escape, prose};
use model::{Document, Operation, Response, Schema};

const STYLE: &str = include_str!("reference_page/style.css");
const INTRODUCTION: &str = include_str!("reference_page/introduction.html");

/// Returns the page of a document.
pub(crate) fn page(document: &str) -> String {
    let document: Document = match serde_json::from_str(document) {
        Ok(document) => document,
        // A test reads the document, so this does not happen.
        Err(error) => {
            return format!("<p>cannot show the document: {}", escape(&error.to_string()));
        }
    };
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <title>Belljar API</title><style>{STYLE}</style>"
    );
    write_contents(&mut page, &document);
    let _ = write!(
        page,
        "<main><h1>Belljar API</h1><p class=lead>{}</p>{INTRODUCTION}",
        prose(&document.info.description)
    );
    for tag in &document.tags {
        let _ = write!(page, "<h2 id={0}><a href=#{0}>{0}</a></h2>", escape(&tag.name));
        let _ = write!(page, "<p class=lead>{}</p>", prose(&tag.description));
        for (path, method, operation) in document.operations_of(&tag.name) {
            write_operation(&mut page, &document, path, method, operation);
        }
    }
    page.push_str("<h2 id=types><a href=#types>types</a></h2>");
    page.push_str("<p class=lead>The JSON of requests and responses.</p>");
    for (name, schema) in &document.components.schemas {
        write_type(&mut page, name, schema);
    }
    page.push_str("</main></html>");
    page
}

fn write_contents(page: &mut String, document: &Document) {
    page.push_str("<nav aria-label=Contents><p><a href=#>Belljar API</a></p><ul>");
    for tag in &document.tags {
        let _ = write!(page, "<li><a href=#{0}>{0}</a><ul>", escape(&tag.name));
        for (_, method, operation) in document.operations_of(&tag.name) {
            let _ = write!(
                page,
                "<li><a href=#{}><span class=\"method {method}\">{}</span> {}</a>",
                escape(&operation.id),
                method.to_uppercase(),
                escape(&operation.summary)
            );
        }
        page.push_str("</ul>");
    }
    page.push_str("<li><a href=#types>types</a><ul>");
    for name in document.components.schemas.keys() {
        let _ = write!(page, "<li><a href=#type-{0}>{0}</a>", escape(name));
    }
    page.push_str("</ul></ul></nav>");
}

fn write_operation(
    page: &mut String,
    document: &Document,
    path: &str,
    method: &str,
    operation: &Operation,
) {
    let id = escape(&operation.id);
    let _ = write!(
        page,
        "<article id={id}><header><h3><a href=#{id}><span class=\"method {method}\">{}</span> \
         <code>{}</code></a></h3>",
        method.to_uppercase(),
        escape(path).replace('/', "/<wbr>")
    );
    let _ = write!(page, "<p class=summary>{}</p>", prose(&operation.summary));
    // The access is the last paragraph of a description.
    let (text, access) =
        operation.description.rsplit_once("\n\n").unwrap_or(("", &operation.description));
    let _ = write!(page, "<p class=access>{}</p>", prose(access));
    if !text.is_empty() {
        let _ = write!(page, "<p>{}</p>", prose(text));
    }
    page.push_str("</header>");
    write_example(page, document, operation);
    page.push_str("<div>");
    if !operation.parameters.is_empty() {
        page.push_str("<h4>Parameters</h4><dl>");
        for parameter in &operation.parameters {
            let optional = if parameter.required { "" } else { ", optional" };
            let _ = write!(
                page,
                "<dt><code>{}</code> <small>{}{optional}, {}</small><dd>{}",
                escape(&parameter.name),
                escape(&parameter.place),
                kind(&parameter.schema),
                prose(&parameter.description)
            );
        }
        page.push_str("</dl>");
    }
    if let Some(body) = &operation.request_body {
        page.push_str("<h4>Body</h4><dl>");
        for (media_type, content) in &body.content {
            let schema = content.schema.as_ref();
            let _ = write!(
                page,
                "<dt><code>{}</code><dd>{} {}",
                escape(media_type),
                schema.map(kind).unwrap_or_default(),
                prose(&body.description)
            );
            if let Some(schema) = schema.filter(|schema| !schema.properties.is_empty()) {
                page.push_str("<dl>");
                write_fields(page, schema);
                page.push_str("</dl>");
            }
        }
        page.push_str("</dl>");
    }
    page.push_str("<h4>Statuses</h4><dl class=statuses>");
    for (status, response) in &operation.responses {
        let _ =
            write!(page, "<dt><code>{}</code><dd>{}", escape(status), prose(&response.description));
        if status.starts_with('2') {
            for schema in response.content.values().filter_map(|content| content.schema.as_ref()) {
                let _ = write!(page, " <small>{}</small>", kind(schema));
            }
        }
        write_headers(page, response);
    }
    page.push_str("</dl></div></article>");
}

fn write_headers(page: &mut String, response: &Response) {
    for (name, header) in &response.headers {
        let _ = write!(
            page,
            " <small>Header <code>{}</code>: {}.</small>",
            escape(name),
            prose(&header.description)
        );
    }
}

/// Writes a command that calls the operation, and an example of the response.
fn write_example(page: &mut String, document: &Document, operation: &Operation) {
    page.push_str("<aside>");
    for sample in &operation.samples {
        let _ = write!(page, "<h4>Request</h4><pre tabindex=0>{}</pre>", escape(&sample.source));
    }
    let success = operation.responses.iter().find(|(status, _)| status.starts_with('2'));
    if let Some((status, response)) = success {
        let first = response.content.first();
        let media_type = first.map(|(media_type, _)| media_type.as_str()).unwrap_or_default();
        let _ = write!(
            page,
            "<h4>Response <code>{}</code> <small>{}</small></h4>",
            escape(status),
            escape(media_type)
        );
        let example = first.and_then(|(_, content)| document.example(media_type, content));
        if let Some(example) = example {
            let _ = write!(page, "<pre tabindex=0>{}</pre>", escape(example.trim_end()));
        }
    }
    page.push_str("</aside>");
}

fn write_type(page: &mut String, name: &str, schema: &Schema) {
    let name = escape(name);
    let _ = write!(
        page,
        "<article id=type-{name} class=type><header><h3><a href=#type-{name}>{name}</a></h3><p>{}</p>",
        prose(&schema.description)
    );
    page.push_str("</header>");
    if let Some(example) = schema.examples.first() {
        let _ = write!(
            page,
            "<aside><h4>Example</h4><pre tabindex=0>{}</pre></aside>",
            escape(&model::pretty(example))
        );
    }
    page.push_str("<div>");
    if schema.properties.is_empty() {
        let _ = write!(page, "<p>{}", kind(schema));
    } else {
        page.push_str("<dl>");
        write_fields(page, schema);
        page.push_str("</dl>");
    }
    page.push_str("</div></article>");
}

fn write_fields(page: &mut String, schema: &Schema) {
    for (field, of) in &schema.properties {
        let optional = if schema.required.contains(field) { "" } else { ", optional" };
        let _ = write!(
            page,
            "<dt><code>{}</code> <small>{}{optional}</small><dd>{}",
            escape(field),
            kind(of),
            prose(&of.description)
        );
    }
}

/// Returns a short description of a type.
fn kind(schema: &Schema) -> String {
    if let Some(name) = schema.reference.as_deref().and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=#type-{0}>{0}</a>", escape(name));
    }
    let either = [&schema.one_of, &schema.any_of, &schema.all_of];
    if let Some(kinds) = either.into_iter().find(|kinds| !kinds.is_empty()) {
        return kinds.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if !schema.values.is_empty() {
        let values = schema
            .values
            .iter()
            .map(|value| format!("<code>{}</code>", escape(&value.to_string())));
        return values.collect::<Vec<_>>().join(" ");
    }
    if let Some(items) = &schema.items {
        return format!("list of {}", kind(items));
    }
    if schema.format.as_deref() == Some("binary") {
        return "bytes".to_owned();
    }
    match &schema.kind {
        serde_json::Value::String(name) => escape(name),
        serde_json::Value::Array(names) => {
            let names: Vec<_> =
                names.iter().filter_map(serde_json::Value::as_str).map(escape).collect();
            names.join(" or ")
        }
        _ => "any JSON".to_owned(),
    }
}

#[cfg(test)]
mod tests;

//! The `OpenAPI` document, generated from the handlers and types.
//!
//! `operations` has the facts about each operation that its handler's signature does not show, and
//! `schemas` corrects the schemas and finds their examples.

mod operations;
mod schemas;

use indexmap::IndexMap;
use serde_json::value::RawValue;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::{audit, health, objects, projects, runs, tokens};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Belljar",
        description = "Runs the code that AI agents write, each program in a fresh kernel sandbox that denies by default.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This server")),
    paths(
        runs::start, runs::list, runs::show, runs::code, runs::events, runs::logs, runs::cancel,
        runs::rerun, runs::artifacts, runs::artifact, runs::lock, runs::delete,
        objects::put, objects::post, objects::list, objects::get, objects::head, objects::copy,
        objects::sign, objects::delete,
        projects::list, projects::show, projects::create, projects::set, projects::delete,
        tokens::create, tokens::list, tokens::revoke, tokens::callback_key,
        projects::usage, audit::list, audit::verify,
        health::healthz, health::readyz, health::metrics,
    ),
    components(schemas(
        belljar_protocol::Problem, belljar_protocol::AuditOrder, belljar_protocol::UsageGroup,
    )),
    tags(
        (name = "runs", description = "Start programs, follow them, and read their outcomes and files."),
        (name = "objects", description = "Store files that runs read and write."),
        (name = "projects", description = "Manage the tenants of the server. Each has its own runs, objects and tokens."),
        (name = "tokens", description = "Manage the tokens of the project, and read the key that signs its callbacks."),
        (name = "usage", description = "See the resources that runs used, and what is stored."),
        (name = "audit", description = "Read and verify the trail of every change."),
        (name = "health", description = "Watch the server. These paths need no token."),
    ),
)]
struct Document;

/// Returns the `OpenAPI` document as JSON.
pub fn document() -> String {
    let mut document = Document::openapi();
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("bjr_...")
        .description(Some("A token. It belongs to one project and has scopes."))
        .build();
    document
        .components
        .get_or_insert_default()
        .add_security_scheme("token", SecurityScheme::Http(scheme));
    let examples = schemas::complete(&mut document);
    operations::complete(&mut document, &examples);
    as_json(&document, &examples).unwrap_or_default()
}

/// Returns the document as JSON, with the operations of each path in the order of a reader, and
/// with the examples of its schemas. They are inserted as text, because a value of `serde_json`
/// would sort their fields by name.
fn as_json(document: &OpenApi, examples: &IndexMap<String, String>) -> serde_json::Result<String> {
    type Object<T = Box<RawValue>> = IndexMap<String, T>;
    let mut document: Object = serde_json::from_str(&serde_json::to_string(document)?)?;
    if let Some(paths) = document.get_mut("paths") {
        let mut all: Object<Object> = serde_json::from_str(paths.get())?;
        // The methods of a path are in the order of their facts.
        for item in all.values_mut() {
            item.sort_by_key(|_, operation| operations::place(operation.get()));
        }
        *paths = serde_json::value::to_raw_value(&all)?;
    }
    let Some(components) = document.get_mut("components") else {
        return serde_json::to_string(&document);
    };
    let mut parts: Object = serde_json::from_str(components.get())?;
    if let Some(schemas) = parts.get_mut("schemas") {
        let mut all: Object<Object> = serde_json::from_str(schemas.get())?;
        for (name, example) in examples {
            if let Some(schema) = all.get_mut(name) {
                schema
                    .insert("examples".to_owned(), RawValue::from_string(format!("[{example}]"))?);
            }
        }
        *schemas = serde_json::value::to_raw_value(&all)?;
    }
    *components = serde_json::value::to_raw_value(&parts)?;
    serde_json::to_string(&document)
}

#[cfg(test)]
mod tests;

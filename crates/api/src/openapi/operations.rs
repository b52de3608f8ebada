//! The facts about each operation that the signature of its handler does not show: the access that
//! it needs, the refusals that it can answer with, and a command that calls it.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::json;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder, Schema};

use super::schemas;
use Access::{Open, Operator, Scopes};
use Sent::{Bytes, Form, Headers, Json, Nothing, Stream};

/// The access that an operation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everyone may use the operation, without a token.
    Open,
    /// A token with one of these scopes.
    Scopes(&'static [&'static str]),
    /// The socket in the home of the server.
    Operator,
}

/// The form of a request and of its response, for the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// A request without a body.
    Nothing,
    /// A request whose response is a stream.
    Stream,
    /// A request for headers only.
    Headers,
    /// A JSON body: the example of its schema.
    Json,
    /// A body of bytes.
    Bytes,
    /// A form with a file.
    Form,
}

/// The facts about an operation.
pub(super) struct Facts {
    pub(super) id: &'static str,
    pub(super) access: Access,
    /// Refusals besides those of every operation with this access, by status.
    refusals: &'static [(u16, &'static str)],
    sent: Sent,
    /// The path and the query of the example. Shell variables stand for ids.
    example: &'static str,
}

const MALFORMED: (u16, &str) = (400, "The request is malformed, or a header occurs twice");
const CLOSING: (u16, &str) = (503, "The server is shutting down");
/// The refusals of every operation that needs a token.
const AUTHENTICATED: [(u16, &str); 3] = [
    (401, "The token is missing, unknown, expired or revoked"),
    (429, "There are too many requests, or wrong tokens: try again after `Retry-After`"),
    CLOSING,
];
const NO_SCOPE: (u16, &str) = (403, "The token does not have the scope");
const NO_OPERATOR: (u16, &str) = (403, "The caller is not the operator");
const NO_RUN: (u16, &str) = (404, "There is no such run in the project");
const AMBIGUOUS: (u16, &str) = (422, "The prefix is of several runs, which the detail names");
const NO_ARTIFACT: (u16, &str) = (404, "There is no such run or artifact in the project");
const NO_LOCK: (u16, &str) = (404, "There is no such run in the project, or it has no packages");
const NO_OBJECT: (u16, &str) = (404, "There is no such object in the project");
const NO_PROJECT: (u16, &str) = (404, "There is no such project");
const NO_TOKEN: (u16, &str) = (404, "There is no such token in the project");
const DROPPED: (u16, &str) =
    (410, "The history of the run was removed to stay within the project's history quota");
const SLOW: (u16, &str) = (408, "The body did not arrive in time");
const LARGE: (u16, &str) = (413, "The body is too large");
const NOT_JSON: (u16, &str) = (415, "The media type of the body is not `application/json`");
const INVALID: (u16, &str) = (422, "The request contains an invalid value or an unknown field");
const INVALID_NAME: (u16, &str) = (422, "The name is invalid");
const CHECKSUM: (u16, &str) =
    (422, "A value is invalid, or the content does not match its checksum and was discarded");
const STORAGE_QUOTA: (u16, &str) =
    (429, "The storage quota is used up, or there are too many requests");

/// The facts about all operations, in the order of the document.
#[rustfmt::skip]
pub(super) static OPERATIONS: [Facts; 35] = [
    Facts { id: "start_run", access: Scopes(&["run"]), sent: Json, example: "/v1/runs", refusals: &[
        (403, "The token does not have the scope, or the run exceeds the ceiling of the project"), SLOW,
        (409, "The idempotency key was used for another request"), LARGE, NOT_JSON, INVALID,
        (429, "A quota is used up, the queue is full, or there are too many requests"),
    ] },
    Facts { id: "list_runs", access: Scopes(&["read"]), sent: Nothing, example: "/v1/runs?language=js&limit=10", refusals: &[
        NO_SCOPE, INVALID, (503, "The search by `text` took too long, or the server is shutting down"),
    ] },
    Facts { id: "show_run", access: Scopes(&["read"]), sent: Nothing, example: "/v1/runs/$RUN_ID", refusals: &[NO_SCOPE, NO_RUN, AMBIGUOUS] },
    Facts { id: "run_code", access: Scopes(&["read"]), sent: Nothing, example: "/v1/runs/$RUN_ID/code", refusals: &[NO_SCOPE, NO_RUN, DROPPED, AMBIGUOUS] },
    Facts { id: "watch_run", access: Scopes(&["run", "read"]), sent: Stream, example: "/v1/runs/$RUN_ID/events", refusals: &[NO_SCOPE, NO_RUN, DROPPED, INVALID] },
    Facts { id: "run_logs", access: Scopes(&["read"]), sent: Nothing, example: "/v1/runs/$RUN_ID/logs", refusals: &[NO_SCOPE, NO_RUN, DROPPED, INVALID] },
    Facts { id: "cancel_run", access: Scopes(&["run"]), sent: Nothing, example: "/v1/runs/$RUN_ID/cancel", refusals: &[NO_SCOPE, NO_RUN, AMBIGUOUS] },
    Facts { id: "rerun", access: Scopes(&["run"]), sent: Nothing, example: "/v1/runs/$RUN_ID/rerun", refusals: &[
        (403, "The token does not have the scope, or the run exceeds the current ceiling of the project"), NO_RUN, DROPPED,
        (422, "The submission is no longer valid, or the prefix is of several runs"), (429, "A quota is used up, the queue is full, or there are too many requests"),
    ] },
    Facts { id: "list_artifacts", access: Scopes(&["read"]), sent: Nothing, example: "/v1/runs/$RUN_ID/artifacts", refusals: &[NO_SCOPE, NO_RUN, AMBIGUOUS] },
    Facts { id: "download_artifact", access: Scopes(&["read"]), sent: Nothing, example: "/v1/runs/$RUN_ID/artifacts/summary.json", refusals: &[NO_SCOPE, NO_ARTIFACT, AMBIGUOUS] },
    Facts { id: "show_lock", access: Scopes(&["read"]), sent: Nothing, example: "/v1/runs/$RUN_ID/lock", refusals: &[NO_SCOPE, NO_LOCK, AMBIGUOUS] },
    Facts { id: "delete_run", access: Scopes(&["run"]), sent: Nothing, example: "/v1/runs/$RUN_ID", refusals: &[NO_SCOPE, NO_RUN, (409, "The run is in progress"), AMBIGUOUS] },
    Facts { id: "put_object", access: Scopes(&["storage"]), sent: Bytes, example: "/v1/objects/inputs/data.csv", refusals: &[
        (403, "The token does not have the scope, or the signed URL is invalid or expired"), (409, "The object exists, and the request has `If-None-Match: *`"),
        (413, "The object is too large"), CHECKSUM, STORAGE_QUOTA,
    ] },
    Facts { id: "post_objects", access: Scopes(&["storage"]), sent: Form, example: "/v1/objects", refusals: &[
        NO_SCOPE, SLOW, (413, "An object, or the header of a part, is too large"), (415, "The body is not a form"), INVALID, STORAGE_QUOTA,
    ] },
    Facts { id: "list_objects", access: Scopes(&["read"]), sent: Nothing, example: "/v1/objects?prefix=inputs/", refusals: &[NO_SCOPE, INVALID] },
    Facts { id: "get_object", access: Scopes(&["read"]), sent: Nothing, example: "/v1/objects/inputs/data.csv", refusals: &[
        (403, "The token does not have the scope, or the signed URL is invalid or expired"), NO_OBJECT, (416, "The range is outside of the object"), INVALID_NAME,
    ] },
    Facts { id: "head_object", access: Scopes(&["read"]), sent: Headers, example: "/v1/objects/inputs/data.csv", refusals: &[
        (403, "The token does not have the scope, or the signed URL is invalid or expired"), NO_OBJECT, INVALID_NAME,
    ] },
    Facts { id: "copy_object", access: Scopes(&["storage"]), sent: Json, example: "/v1/object-copies", refusals: &[NO_SCOPE, NO_OBJECT, SLOW, LARGE, NOT_JSON, INVALID, STORAGE_QUOTA] },
    Facts { id: "sign_url", access: Scopes(&["storage"]), sent: Json, example: "/v1/object-urls", refusals: &[NO_SCOPE, SLOW, LARGE, NOT_JSON, INVALID] },
    Facts { id: "delete_object", access: Scopes(&["storage"]), sent: Nothing, example: "/v1/objects/inputs/data.csv", refusals: &[NO_SCOPE, NO_OBJECT, INVALID_NAME] },
    Facts { id: "list_projects", access: Scopes(&["read"]), sent: Nothing, example: "/v1/projects", refusals: &[NO_SCOPE] },
    Facts { id: "show_project", access: Scopes(&["read"]), sent: Nothing, example: "/v1/projects/default", refusals: &[NO_SCOPE, NO_PROJECT] },
    Facts { id: "create_project", access: Operator, sent: Json, example: "/v1/projects", refusals: &[NO_OPERATOR, SLOW, (409, "The project exists"), LARGE, NOT_JSON, INVALID] },
    Facts { id: "set_project", access: Operator, sent: Json, example: "/v1/projects/team-b/settings", refusals: &[NO_OPERATOR, NO_PROJECT, SLOW, LARGE, NOT_JSON, INVALID] },
    Facts { id: "delete_project", access: Operator, sent: Nothing, example: "/v1/projects/team-b", refusals: &[NO_OPERATOR, NO_PROJECT, (409, "The project cannot be deleted")] },
    Facts { id: "create_token", access: Scopes(&["admin"]), sent: Json, example: "/v1/tokens", refusals: &[
        (403, "The token does not have the scope, or one that it would give away"), SLOW, LARGE, NOT_JSON, INVALID, (429, "The project has too many tokens, or there are too many requests"),
    ] },
    Facts { id: "list_tokens", access: Scopes(&["admin"]), sent: Nothing, example: "/v1/tokens", refusals: &[NO_SCOPE] },
    Facts { id: "revoke_token", access: Scopes(&["admin"]), sent: Nothing, example: "/v1/tokens/$TOKEN_ID", refusals: &[NO_SCOPE, NO_TOKEN] },
    Facts { id: "callback_key", access: Scopes(&["admin"]), sent: Nothing, example: "/v1/callback-key", refusals: &[NO_SCOPE] },
    Facts { id: "usage", access: Scopes(&["read"]), sent: Nothing, example: "/v1/usage?since=2026-01-02", refusals: &[NO_SCOPE, INVALID] },
    Facts { id: "audit", access: Scopes(&["admin"]), sent: Nothing, example: "/v1/audit?action=run.&limit=10", refusals: &[NO_SCOPE, INVALID] },
    Facts { id: "verify_audit", access: Operator, sent: Nothing, example: "/v1/audit/verification", refusals: &[NO_OPERATOR] },
    Facts { id: "healthz", access: Open, sent: Nothing, example: "/healthz", refusals: &[] },
    Facts { id: "readyz", access: Open, sent: Nothing, example: "/readyz", refusals: &[(503, "The server is not ready, or is shutting down")] },
    Facts { id: "metrics", access: Open, sent: Nothing, example: "/metrics", refusals: &[] },
];

/// Returns the place of an operation, given as JSON, among [`OPERATIONS`].
pub(super) fn place(operation: &str) -> Option<usize> {
    #[derive(serde::Deserialize)]
    struct Id {
        #[serde(rename = "operationId")]
        id: String,
    }
    let Id { id } = serde_json::from_str(operation).ok()?;
    OPERATIONS.iter().position(|facts| facts.id == id)
}

/// Adds the facts to the operations of the document.
pub(super) fn complete(document: &mut OpenApi, examples: &IndexMap<String, String>) {
    let mut paths = std::mem::take(&mut document.paths.paths);
    for item in paths.values_mut() {
        let operations = [
            ("GET", &mut item.get),
            ("HEAD", &mut item.head),
            ("POST", &mut item.post),
            ("PUT", &mut item.put),
            ("DELETE", &mut item.delete),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            let facts =
                OPERATIONS.iter().find(|facts| operation.operation_id.as_deref() == Some(facts.id));
            let Some(facts) = facts else { continue };
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter {
                    schemas::without_null(parameter);
                }
            }
            add_access(operation, facts.access);
            add_refusals(operation, facts);
            let body = json_body(operation)
                .and_then(|schema| schemas::example(document, examples, schema));
            let curl = curl(method, facts, body.as_deref().unwrap_or_default());
            let sample = json!([{"lang": "Shell", "label": "curl", "source": curl}]);
            operation.extensions.get_or_insert_default().insert("x-codeSamples".to_owned(), sample);
        }
    }
    document.paths.paths = paths;
}

fn json_body(operation: &Operation) -> Option<&RefOr<Schema>> {
    let Some(RefOr::T(body)) = &operation.request_body else { return None };
    let Some(RefOr::T(content)) = body.content.get("application/json") else { return None };
    content.schema.as_ref()
}

/// States the access in the description, and as the security requirement. The scopes there are
/// roles, as `OpenAPI` 3.1 has them for schemes without scopes of their own.
fn add_access(operation: &mut Operation, access: Access) {
    let (sentence, requirements) = match access {
        Open => ("Needs no token.".to_owned(), vec![SecurityRequirement::default()]),
        Scopes(scopes) => {
            let names: Vec<_> = scopes.iter().map(|scope| format!("`{scope}`")).collect();
            let needs = scopes.iter().map(|scope| SecurityRequirement::new("token", [*scope]));
            (format!("Needs the scope {}.", names.join(" or ")), needs.collect())
        }
        Operator => (
            "Only the operator may do this, over the socket in the home of the server.".to_owned(),
            // The socket needs no token, and no token has this right.
            vec![SecurityRequirement::default()],
        ),
    };
    operation.description = Some(match operation.description.take() {
        Some(text) if !text.is_empty() => format!("{text}\n\n{sentence}"),
        _ => sentence,
    });
    operation.security = Some(requirements);
}

fn add_refusals(operation: &mut Operation, facts: &Facts) {
    let shared = if facts.access == Open { &[][..] } else { &AUTHENTICATED };
    let all = [MALFORMED].iter().chain(shared).chain(facts.refusals);
    // An operation's own description of a status comes last and counts.
    let all: BTreeMap<_, _> = all.copied().collect();
    for (status, description) in all {
        let response = RefOr::T(refusal(description));
        operation.responses.responses.insert(status.to_string(), response);
    }
}

fn refusal(description: &str) -> Response {
    let problem = RefOr::<Schema>::Ref(Ref::from_schema_name("Problem"));
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", Content::new(Some(problem)))
        .build()
}

/// Returns a command that calls the operation.
fn curl(method: &str, facts: &Facts, body: &str) -> String {
    // curl selects these methods by itself.
    let is_plain = matches!((method, facts.sent), ("GET" | "HEAD", _) | ("POST", Json | Form));
    let method = if is_plain { String::new() } else { format!("-X {method} ") };
    let flags = match facts.sent {
        Stream => "-sN",
        Headers => "-sI",
        Nothing | Json | Bytes | Form => "-s",
    };
    let path = facts.example;
    let mut lines = match facts.access {
        Open => vec![format!("curl {flags} {method}\"$BELLJAR_URL{path}\"")],
        Scopes(_) => vec![
            format!("curl {flags} {method}\"$BELLJAR_URL{path}\""),
            "-H \"Authorization: Bearer $BELLJAR_TOKEN\"".to_owned(),
        ],
        Operator => vec![
            format!("curl {flags} {method}--unix-socket \"$BELLJAR_HOME/server.sock\""),
            format!("\"http://localhost{path}\""),
        ],
    };
    match facts.sent {
        Nothing | Stream | Headers => {}
        Json => {
            lines.push("-H 'Content-Type: application/json'".to_owned());
            lines.push(format!("-d '{}'", body.replace('\n', "\n  ")));
        }
        Bytes => {
            lines.push("-H 'Content-Type: text/csv'".to_owned());
            lines.push("--data-binary 'city,sales'".to_owned());
        }
        Form => lines.push("-F 'file=city,sales;filename=inputs/data.csv'".to_owned()),
    }
    lines.join(" \\\n  ")
}

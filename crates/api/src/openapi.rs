//! The `OpenAPI` document, from the handlers and types themselves.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi as _};

use crate::{audit, health, objects, projects, runs, tokens};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Belljar", description = "Runs the code that AI agents write, each program in a fresh, deny-by-default kernel sandbox."),
    paths(
        runs::start, runs::list, runs::show, runs::delete, runs::cancel, runs::rerun, runs::events, runs::logs, runs::lock, runs::artifacts, runs::artifact,
        objects::put, objects::post, objects::get, objects::head, objects::list, objects::delete, objects::copy, objects::sign,
        tokens::create, tokens::list, tokens::revoke, tokens::callback_key,
        projects::create, projects::list, projects::show, projects::set, projects::delete, projects::usage,
        audit::list, audit::verify, health::healthz, health::readyz, health::metrics,
    ),
    components(schemas(belljar_protocol::Problem)),
    security(("token" = [])),
    modifiers(&Token, &Problems),
)]
struct Document;

/// How requests are authenticated.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("bjr_...").build();
        document.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// Every operation can be refused, in one shape.
struct Problems;

/// What a refusal's status means.
const REFUSALS: [(&str, &str); 14] = [
    ("400", "The request is malformed"),
    ("401", "The token is missing, unknown, expired or revoked"),
    ("403", "The token's scopes, or the project's ceiling, do not allow it"),
    ("404", "It is not there"),
    ("405", "That method is not for this path"),
    ("408", "The body did not arrive in time"),
    ("409", "It is in a state that does not allow it"),
    ("410", "What the run submitted and wrote was dropped, because the project's quota of history was used up"),
    ("413", "It is too large"),
    ("415", "The body is of another type"),
    ("416", "The range lies outside of the object"),
    ("422", "The request says something that cannot be meant"),
    ("429", "A quota is used up, or too much is asked at once; `Retry-After` says when to try again"),
    ("503", "The server is being stopped or is not ready, or a search took too long"),
];

impl Modify for Problems {
    fn modify(&self, document: &mut OpenApi) {
        for item in document.paths.paths.values_mut() {
            let operations =
                [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.head, &mut item.patch, &mut item.options];
            for operation in operations.into_iter().flatten() {
                for (status, description) in REFUSALS {
                    let problem = ResponseBuilder::new()
                        .description(description)
                        .content(
                            "application/problem+json",
                            Content::new(Some(RefOr::<utoipa::openapi::Schema>::Ref(Ref::from_schema_name("Problem")))),
                        )
                        .build();
                    operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(problem));
                }
            }
        }
    }
}

/// The document.
pub fn document() -> OpenApi {
    Document::openapi()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_documented_with_its_refusals() {
        let document = serde_json::to_value(document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.len() >= 20);
        for (path, operations) in paths {
            for (method, operation) in operations.as_object().unwrap() {
                assert!(operation["summary"].is_string(), "{method} {path}");
                assert!(operation["responses"]["429"].is_object(), "{method} {path}");
            }
        }
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}

//! The HTTP API `/v1`: authentication, runs, objects, and the `OpenAPI` document of all of it. This
//! crate translates HTTP to calls of `belljar-service`, which makes every decision.
//!
//! `listen` accepts connections, `authentication` identifies the caller, and `routes` passes each
//! request to a handler. Every refusal is a problem document (`problem`).

#![forbid(unsafe_code)]

mod answers;
mod audit;
mod authentication;
mod content;
mod documents;
mod drain_body;
mod events;
mod form;
mod headers;
mod health;
mod input;
mod listen;
mod objects;
mod openapi;
mod problem;
mod projects;
mod reference_page;
mod routes;
mod runs;
mod stalled_readers;
mod state;
mod tokens;

pub use listen::{ConnectionTimes, Listener, Tls, TlsError, serve};
pub use openapi::document;
pub use routes::routes;
pub use state::State;

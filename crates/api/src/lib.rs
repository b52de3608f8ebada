//! HTTP `/v1`: authentication, runs, objects, and the `OpenAPI` document of it all. Speaks one protocol and calls `service`, which decides.
//!
//! A request comes through `listen`, is given to a handler by `routes`, which learns from `authentication` who calls; every refusal leaves as a
//! problem document (`problem`).

#![forbid(unsafe_code)]

mod answers;
mod audit;
mod authentication;
mod documents;
mod events;
mod form;
mod headers;
mod health;
mod input;
mod linger;
mod listen;
mod objects;
mod openapi;
mod problem;
mod projects;
mod routes;
mod runs;
mod tokens;
mod unread;

use std::fmt;
use std::sync::Arc;

use belljar_service::Service;

pub use listen::{ConnectionTimes, Listener, Tls, TlsError, serve};
pub use openapi::document;
pub use routes::routes;

/// What the handlers share.
#[derive(Clone)]
pub struct State {
    /// The use cases.
    pub service: Service,
    /// Writes the metrics in the text format of Prometheus.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("service", &self.service).finish_non_exhaustive()
    }
}

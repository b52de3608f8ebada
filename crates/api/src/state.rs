//! The state that the handlers share.

use std::fmt;
use std::sync::Arc;

use belljar_service::Service;

/// The state that the handlers share.
#[derive(Clone)]
pub struct State {
    /// The use cases of the server.
    pub service: Service,
    /// Returns the metrics in the text format of Prometheus.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("service", &self.service).finish_non_exhaustive()
    }
}

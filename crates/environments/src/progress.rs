//! Progress of an installation, reported as text.

use std::sync::Arc;

use belljar_engine::describe_step;
use belljar_provision::{Progress, Step};

/// A function that receives each step of an installation as human-readable text.
pub type Tell = Arc<dyn Fn(String) + Send + Sync>;

/// Reports the steps of provisioning, and leaves out repetitions.
pub(crate) struct Steps {
    tell: Tell,
    last: String,
}

impl Steps {
    pub(crate) fn reported_to(tell: Tell) -> Self {
        Self { tell, last: String::new() }
    }
}

impl Progress for Steps {
    fn step(&mut self, step: Step<'_>) {
        let message = describe_step(step);
        if message != self.last {
            (self.tell)(message.clone());
            self.last = message;
        }
    }
}

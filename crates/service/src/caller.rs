//! Who calls, and what they may do.

use std::sync::Arc;

use belljar_protocol::{ProjectRecord, Scope, Timestamp};
use belljar_store::NewAuditEntry;
use serde_json::Value;

use crate::error::ServiceError;

/// Who calls, in which project, from where.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(crate) project: Arc<ProjectRecord>,
    /// A token's id, or `operator`.
    pub(crate) actor: String,
    pub(crate) scopes: Arc<[Scope]>,
    pub(crate) source: Option<String>,
    /// Until when what it has works; what it makes does not outlive it.
    pub(crate) expires_at: Option<Timestamp>,
}

/// Who the operator is in records.
pub(crate) const OPERATOR: &str = "operator";

/// Who does what nobody asked for just now.
pub(crate) const BELLJAR: &str = "belljar";

impl Caller {
    /// The project's name.
    pub fn project(&self) -> &str {
        self.project.name.as_str()
    }

    /// Whether it is the operator, who came over the home's own socket.
    pub fn is_operator(&self) -> bool {
        self.actor == OPERATOR
    }

    /// The id of the project in which they act.
    pub fn project_id(&self) -> &str {
        &self.project.id
    }

    /// Refuses whoever's token does not have the scope.
    pub fn must(&self, scope: Scope) -> Result<(), ServiceError> {
        if self.scopes.contains(&scope) { Ok(()) } else { Err(ServiceError::Forbidden(scope)) }
    }

    /// Refuses everybody but the operator.
    pub fn must_be_operator(&self) -> Result<(), ServiceError> {
        if self.is_operator() { Ok(()) } else { Err(ServiceError::OperatorOnly) }
    }

    /// An entry for the audit trail.
    pub(crate) fn did(&self, action: &'static str, target: impl Into<String>, details: Value) -> NewAuditEntry {
        NewAuditEntry {
            project: Some(self.project.name.as_str().to_owned()),
            actor: self.actor.clone(),
            source: self.source.clone(),
            action,
            target: target.into(),
            details,
        }
    }
}

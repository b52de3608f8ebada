//! Callers and their rights.

use std::sync::Arc;

use belljar_protocol::{ProjectRecord, Scope, Timestamp};
use belljar_store::NewAuditEntry;
use serde_json::Value;

use crate::error::ServiceError;

/// The caller of a use case: its identity, project, rights and network source.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(crate) project: Arc<ProjectRecord>,
    /// Id of the token, or `operator`.
    pub(crate) actor: String,
    /// Name of the token.
    pub(crate) name: Option<String>,
    pub(crate) scopes: Arc<[Scope]>,
    pub(crate) source: Option<String>,
    /// Time at which the caller's credential expires. Tokens and URLs that the caller creates
    /// expire by then too.
    pub(crate) expires_at: Option<Timestamp>,
}

/// The actor in records of what the operator does.
pub(crate) const OPERATOR: &str = "operator";

/// The actor in records of what the server does by itself.
const BELLJAR: &str = "belljar";

/// Returns an entry of the audit trail for an action that the server takes by itself.
pub(crate) fn by_belljar(
    project: Option<String>,
    action: &'static str,
    target: impl Into<String>,
    details: Value,
) -> NewAuditEntry {
    NewAuditEntry {
        project,
        actor: BELLJAR.to_owned(),
        source: None,
        action,
        target: target.into(),
        details,
    }
}

impl Caller {
    /// Returns the name of the project.
    pub fn project(&self) -> &str {
        self.project.name.as_str()
    }

    /// Returns whether the caller is the operator, who uses the socket in the home.
    pub fn is_operator(&self) -> bool {
        self.actor == OPERATOR
    }

    /// Returns the id of the project.
    pub fn project_id(&self) -> &str {
        &self.project.id
    }

    /// Fails if the caller's token does not have the scope.
    pub fn must(&self, scope: Scope) -> Result<(), ServiceError> {
        if self.scopes.contains(&scope) { Ok(()) } else { Err(ServiceError::Forbidden(scope)) }
    }

    /// Fails unless the caller is the operator.
    pub fn must_be_operator(&self) -> Result<(), ServiceError> {
        if self.is_operator() { Ok(()) } else { Err(ServiceError::OperatorOnly) }
    }

    /// Returns an entry of the audit trail for an action of the caller.
    pub(crate) fn did(
        &self,
        action: &'static str,
        target: impl Into<String>,
        details: Value,
    ) -> NewAuditEntry {
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

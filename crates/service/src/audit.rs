//! Reading the audit trail.

use belljar_protocol::{AuditPage, Scope, Timestamp};
use belljar_store::{AuditFilter, AuditVerdict};

use crate::caller::Caller;
use crate::error::ServiceError;
use crate::service::Service;

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// By this token, or `operator`.
    pub actor: Option<String>,
    /// Of this action, or of all that begin with it.
    pub action: Option<String>,
    /// About this.
    pub target: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Of all projects, and of the server itself; the operator's to ask.
    pub all: bool,
    /// What the page before gave.
    pub cursor: Option<String>,
    /// At most so many, 1 to 1,000.
    pub limit: u32,
}

impl Service {
    /// Some entries of the trail, in order.
    pub async fn audit(&self, caller: &Caller, query: &AuditQuery) -> Result<AuditPage, ServiceError> {
        caller.must(Scope::Admin)?;
        if query.all {
            caller.must_be_operator()?;
        }
        let after = match &query.cursor {
            Some(cursor) => cursor.parse().map_err(|_| ServiceError::invalid("cursor: not one that a page gave"))?,
            None => 0,
        };
        let filter = AuditFilter {
            project: (!query.all).then(|| caller.project().to_owned()),
            actor: query.actor.clone(),
            action: query.action.clone(),
            target: query.target.clone(),
            // Entries are found by the project's name, and a deleted one may have had the same: what it did is the operator's to read.
            since: if query.all { query.since } else { query.since.max(Some(caller.project.created_at)) },
            until: query.until,
            after,
            limit: query.limit,
        };
        Ok(self.store().audit(&filter).await?)
    }

    /// Walks the whole trail and recomputes every hash.
    pub async fn verify_audit(&self, caller: &Caller) -> Result<AuditVerdict, ServiceError> {
        caller.must_be_operator()?;
        Ok(self.store().verify_audit().await?)
    }
}

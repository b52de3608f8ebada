//! The audit trail: queries, and records of refusals.

mod refusals;

use std::time::Instant;

use belljar_protocol::{AuditFilter, AuditPage, AuditVerification, PageRequest, Scope};
use belljar_store::{NewAuditEntry, Store, StoreError};
use serde_json::json;

use self::refusals::Refusals;
use crate::caller::{Caller, by_belljar};
use crate::error::ServiceError;

/// The audit trail.
#[derive(Debug)]
pub struct Audit {
    store: Store,
    refusals: Refusals,
}

impl Audit {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, refusals: Refusals::default() }
    }

    /// Returns a page of entries. Fails if the actor of the filter is unknown.
    pub async fn list(
        &self,
        caller: &Caller,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<AuditPage, ServiceError> {
        caller.must(Scope::Admin)?;
        if filter.all {
            caller.must_be_operator()?;
            return Ok(self.store.audit(caller.project(), filter, page).await?);
        }
        // Entries are found by the name of the project, and a deleted project may have had the same
        // name. Only the operator may read the entries of that project.
        let since = filter.since.max(Some(caller.project.created_at));
        let filter = AuditFilter { since, ..filter.clone() };
        Ok(self.store.audit(caller.project(), &filter, page).await?)
    }

    /// Recomputes every hash of the trail.
    pub async fn verify(&self, caller: &Caller) -> Result<AuditVerification, ServiceError> {
        caller.must_be_operator()?;
        Ok(self.store.verify_audit().await?)
    }

    /// Records that a request was refused, with its caller, if known, and the reason.
    pub async fn record_refusal(
        &self,
        caller: Option<&Caller>,
        source: Option<String>,
        target: &str,
        why: &str,
    ) {
        if !self.refusals.take(caller, source.as_deref(), Instant::now()) {
            return;
        }
        self.record(NewAuditEntry {
            project: caller.map(|caller| caller.project().to_owned()),
            actor: caller.map_or_else(|| "anonymous".to_owned(), |caller| caller.actor.clone()),
            source,
            action: "request.refuse",
            target: target.chars().filter(|c| !c.is_control()).take(200).collect(),
            details: json!({"why": why}),
        })
        .await;
    }

    /// Records the number of refusals that were left out, if there were any.
    pub(crate) async fn record_left_out(&self) {
        let left_out = self.refusals.take_left_out();
        if left_out > 0 {
            let details = json!({"left_out": left_out});
            self.record(by_belljar(None, "request.refuse", "others", details)).await;
        }
    }

    async fn record(&self, entry: NewAuditEntry) {
        match self.store.record_audit(entry).await {
            // The server is stopping and can no longer record it.
            Ok(()) | Err(StoreError::Closed) => {}
            Err(error) => tracing::error!(%error, "a refusal could not be recorded"),
        }
    }
}

//! Records and artifacts of runs, their cancellation and their deletion.

use std::time::Duration;

use belljar_objects::Content;
use belljar_protocol::{
    Artifact, CancelledRun, PageRequest, RunCode, RunFilter, RunId, RunIdPrefix, RunPage,
    RunRecord, RunStatus, RunSubmission, Scope,
};
use belljar_store::RunLock;
use serde_json::json;

use super::Runs;
use crate::caller::Caller;
use crate::error::ServiceError;

/// The maximum number of runs that the error of an ambiguous prefix lists.
const MAX_CANDIDATES: usize = 10;

impl Runs {
    /// Returns the id of the run of the caller's project with an id or a prefix of it. A prefix
    /// needs the scope `read`, because the error of an ambiguous one lists ids. A complete id is
    /// returned even if there is no such run.
    pub async fn find(&self, caller: &Caller, text: &str) -> Result<RunId, ServiceError> {
        let unknown = match text.parse::<RunId>() {
            Ok(id) => return Ok(id),
            Err(unknown) => unknown,
        };
        let Ok(prefix) = text.parse::<RunIdPrefix>() else { return Err(unknown.into()) };
        if !caller.scopes.contains(&Scope::Read) {
            return Err(unknown.into());
        }
        let limit = MAX_CANDIDATES as u32 + 1;
        let mut found = self.store.run_ids(caller.project_id(), &prefix, limit).await?;
        // A run whose caller waits for the outcome may not be stored yet.
        let live = self.live.all().into_iter().filter(|live| {
            live.project_id == caller.project_id() && live.id.as_str().starts_with(prefix.as_str())
        });
        found.extend(live.map(|live| live.id.clone()));
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.dedup();
        match found.len() {
            0 => Err(unknown.into()),
            1 => Ok(found.remove(0)),
            count => {
                found.truncate(MAX_CANDIDATES);
                Err(ServiceError::AmbiguousRunId {
                    prefix: prefix.to_string(),
                    candidates: found,
                    has_more: count > MAX_CANDIDATES,
                })
            }
        }
    }

    /// Returns a page of the runs of the caller's project, the latest first.
    pub async fn list(
        &self,
        caller: &Caller,
        filter: &RunFilter,
        page: &PageRequest,
    ) -> Result<RunPage, ServiceError> {
        caller.must(Scope::Read)?;
        let search_time = Duration::from_millis(self.config.search_ms.0);
        Ok(self.store.runs(caller.project_id(), filter, page, search_time).await?)
    }

    /// Returns a run's record, with its outcome once it has one.
    pub async fn record(&self, caller: &Caller, id: &RunId) -> Result<RunRecord, ServiceError> {
        caller.must(Scope::Read)?;
        self.current_record(caller, id).await
    }

    async fn current_record(&self, caller: &Caller, id: &RunId) -> Result<RunRecord, ServiceError> {
        if let Some(live) = self.live.get(caller.project_id(), id) {
            return Ok(RunRecord {
                outcome: live.outcome().map(|outcome| Box::new(outcome.as_ref().clone())),
                ..live.record()
            });
        }
        let record = self.store.run(caller.project_id(), id).await?;
        Ok(RunRecord { outcome: self.store.run_outcome(id).await?.map(Box::new), ..record })
    }

    /// Returns a finished run's record. Fails if its history was removed.
    pub(super) async fn run_with_history(
        &self,
        caller: &Caller,
        id: &RunId,
    ) -> Result<RunRecord, ServiceError> {
        let record = self.store.run(caller.project_id(), id).await?;
        if record.history_dropped_at.is_some() {
            Err(ServiceError::HistoryDropped(record.id))
        } else {
            Ok(record)
        }
    }

    /// Returns the program of a run and the files next to it, as they were submitted.
    pub async fn code(&self, caller: &Caller, id: &RunId) -> Result<RunCode, ServiceError> {
        caller.must(Scope::Read)?;
        let record = match self.live.get(caller.project_id(), id) {
            Some(live) => live.record(),
            None => self.run_with_history(caller, id).await?,
        };
        let text = self.store.run_submission(id).await?;
        let submission: RunSubmission =
            serde_json::from_str(&text).map_err(ServiceError::invalid)?;
        Ok(RunCode::of(record, submission))
    }

    /// Returns the lock file of a run's packages after the run has ended.
    pub async fn lock(&self, caller: &Caller, id: &RunId) -> Result<RunLock, ServiceError> {
        self.record(caller, id).await?;
        self.store
            .run_lock(id)
            .await?
            .ok_or_else(|| ServiceError::not_found("lock file of the run", id.as_str()))
    }

    /// Returns the record of a run that the caller has just submitted. A caller who may start a run
    /// may see its record.
    pub async fn submitted_record(
        &self,
        caller: &Caller,
        id: &RunId,
    ) -> Result<RunRecord, ServiceError> {
        self.current_record(caller, id).await
    }

    /// Cancels a run, and returns its state as far as the caller may read it. A run that has
    /// already ended is not changed.
    pub async fn cancel(&self, caller: &Caller, id: &RunId) -> Result<CancelledRun, ServiceError> {
        caller.must(Scope::Run)?;
        if let Some(live) = self.live.get(caller.project_id(), id) {
            self.store.record_audit(caller.did("run.cancel", id.as_str(), json!({}))).await?;
            live.cancel();
            live.until_over_or_late().await;
        }
        let record = self.current_record(caller, id).await?;
        Ok(if caller.scopes.contains(&Scope::Read) {
            CancelledRun::Record(Box::new(record))
        } else {
            CancelledRun::Status(RunStatus { id: record.id, status: record.status })
        })
    }

    /// Deletes a finished run with its history and artifacts.
    pub async fn delete(&self, caller: &Caller, id: &RunId) -> Result<(), ServiceError> {
        caller.must(Scope::Run)?;
        if self.live.get(caller.project_id(), id).is_some_and(|live| live.outcome().is_none()) {
            return Err(ServiceError::RunInProgress(id.clone()));
        }
        let audit = caller.did("run.delete", id.as_str(), json!({}));
        self.store.delete_run(caller.project_id().to_owned(), id.clone(), audit).await?;
        self.storage.blobs_are_doomed();
        Ok(())
    }

    /// Returns the artifacts of a run.
    pub async fn artifacts(
        &self,
        caller: &Caller,
        id: &RunId,
    ) -> Result<Vec<Artifact>, ServiceError> {
        caller.must(Scope::Read)?;
        self.current_record(caller, id).await?;
        Ok(self.store.artifacts(id).await?.into_iter().map(|stored| stored.artifact).collect())
    }

    /// Returns an artifact of a run and its content.
    pub async fn artifact(
        &self,
        caller: &Caller,
        id: &RunId,
        name: &str,
    ) -> Result<(Artifact, Content), ServiceError> {
        caller.must(Scope::Read)?;
        self.store.run(caller.project_id(), id).await?;
        let stored =
            self.store.artifacts(id).await?.into_iter().find(|stored| stored.artifact.name == name);
        let stored = stored.ok_or_else(|| ServiceError::not_found("artifact", name))?;
        let content = self.storage.content(&stored.blob, None).await?;
        Ok((stored.artifact, content))
    }
}

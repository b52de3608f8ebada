//! The requests for runs.

use std::time::Duration;

use belljar_protocol::{
    Artifact, Artifacts, CancelledRun, Language, LogEntry, Logs, Outcome, PageRequest, Rerun,
    RunCode, RunFilter, RunId, RunIdPrefix, RunPage, RunRecord, RunSubmission, Timestamp, Wait,
};
use futures::Stream;
use reqwest::{Method, StatusCode};

use crate::client::{ANSWER_TIME, Client, with_query};
use crate::error::ClientError;
use crate::objects::path_of;
use crate::pages::paged;
use crate::transfer::Download;

/// The time that one request waits for an outcome. A longer run is followed by its events, which
/// show that the connection is alive.
const WAIT: Duration = Duration::from_secs(20);

fn path(filter: &RunFilter, page: &PageRequest) -> String {
    let moment = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
    let (since, until) = (moment(filter.since), moment(filter.until));
    let limit = page.limit.to_string();
    let labels: Vec<String> =
        filter.labels.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    let parameters = [
        ("limit", Some(limit.as_str())),
        ("language", filter.language.map(Language::name)),
        ("by", filter.by.as_deref()),
        ("since", since.as_deref()),
        ("until", until.as_deref()),
        ("text", filter.text.as_deref()),
        ("cursor", page.cursor.as_deref()),
    ];
    let states = filter.states.iter().map(|state| ("status", Some(state.name())));
    let labels = labels.iter().map(|label| ("label", Some(label.as_str())));
    with_query("/v1/runs", parameters.into_iter().chain(states).chain(labels))
}

impl Client {
    /// Starts a run and returns its record without waiting for its end. The field `wait` of the
    /// submission is ignored.
    ///
    /// A submission without an idempotency key gets one, so that a repeated request starts no
    /// second run.
    pub async fn start_run(&self, submission: &RunSubmission) -> Result<RunRecord, ClientError> {
        let (_, body) = self.submit(submission, Wait::No).await?;
        self.parse(&body)
    }

    /// Starts a run, waits for its end without a time limit, and returns its outcome.
    pub async fn run_and_wait(&self, submission: &RunSubmission) -> Result<Outcome, ClientError> {
        let wait = Wait::AtMostMs(u64::try_from(WAIT.as_millis()).unwrap_or(u64::MAX));
        let (status, body) = self.submit(submission, wait).await?;
        if status == StatusCode::OK {
            return self.parse(&body);
        }
        let record: RunRecord = self.parse(&body)?;
        self.run_events(&record.id).outcome().await
    }

    async fn submit(
        &self,
        submission: &RunSubmission,
        wait: Wait,
    ) -> Result<(StatusCode, bytes::Bytes), ClientError> {
        let mut submission = submission.clone();
        submission.wait = wait;
        submission.idempotency_key.get_or_insert_with(|| uuid::Uuid::now_v7().to_string());
        let bound = ANSWER_TIME + WAIT;
        self.retry(async || {
            let response = self
                .send(self.request(Method::POST, "/v1/runs").json(&submission).timeout(bound))
                .await?;
            let status = response.status();
            Ok((status, response.bytes().await.map_err(|error| self.http_error(&error, bound))?))
        })
        .await
    }

    /// Returns the id of the only run of the project that begins with a prefix. A complete id is
    /// returned without a request.
    pub async fn find_run(&self, prefix: &RunIdPrefix) -> Result<RunId, ClientError> {
        if let Some(id) = prefix.complete() {
            return Ok(id);
        }
        let record: RunRecord = self.get(&format!("/v1/runs/{prefix}")).await?;
        Ok(record.id)
    }

    /// Returns the record of a run, with its outcome if it has ended.
    pub async fn run(&self, id: &RunId) -> Result<RunRecord, ClientError> {
        self.get(&format!("/v1/runs/{id}")).await
    }

    /// Returns the program of a run and the files next to it, as they were submitted.
    pub async fn run_code(&self, id: &RunId) -> Result<RunCode, ClientError> {
        self.get(&format!("/v1/runs/{id}/code")).await
    }

    /// Returns one page of runs, newest first.
    pub async fn runs_page(
        &self,
        filter: &RunFilter,
        page: &PageRequest,
    ) -> Result<RunPage, ClientError> {
        self.get(&path(filter, page)).await
    }

    /// Returns all runs that match the filter, newest first.
    pub fn runs(
        &self,
        filter: RunFilter,
    ) -> impl Stream<Item = Result<RunRecord, ClientError>> + use<> {
        let client = self.clone();
        paged(move |cursor| {
            let (client, filter) = (client.clone(), filter.clone());
            async move {
                let page = client.runs_page(&filter, &PageRequest { cursor, limit: 500 }).await?;
                Ok((page.runs, page.next_cursor))
            }
        })
    }

    /// Cancels a run. Returns its record once it has ended, or after two seconds, as far as the
    /// token may read it. A finished run is left unchanged.
    pub async fn cancel_run(&self, id: &RunId) -> Result<CancelledRun, ClientError> {
        // Safe to repeat: cancelling a cancelled run changes nothing.
        self.retry(async || {
            self.change(self.request(Method::POST, &format!("/v1/runs/{id}/cancel"))).await
        })
        .await
    }

    /// Repeats a run as a new run. `rerun` must have the values of the run's variables.
    pub async fn rerun(&self, id: &RunId, rerun: &Rerun) -> Result<RunRecord, ClientError> {
        self.change(self.request(Method::POST, &format!("/v1/runs/{id}/rerun")).json(rerun)).await
    }

    /// Deletes a finished run with its logs and artifacts.
    pub async fn delete_run(&self, id: &RunId) -> Result<(), ClientError> {
        self.delete(&format!("/v1/runs/{id}")).await
    }

    /// Returns what a run has written so far.
    pub async fn run_logs(&self, id: &RunId) -> Result<Vec<LogEntry>, ClientError> {
        self.get(&format!("/v1/runs/{id}/logs")).await.map(|Logs { logs }| logs)
    }

    /// Returns the artifacts of a run.
    pub async fn run_artifacts(&self, id: &RunId) -> Result<Vec<Artifact>, ClientError> {
        self.get(&format!("/v1/runs/{id}/artifacts")).await.map(|Artifacts { artifacts }| artifacts)
    }

    /// Downloads an artifact and checks it against its SHA-256.
    pub async fn get_artifact(&self, id: &RunId, name: &str) -> Result<Download, ClientError> {
        Download::start(
            self.clone(),
            format!("/v1/runs/{id}/artifacts/{}", path_of(name)),
            name.to_owned(),
            None,
        )
        .await
    }
}

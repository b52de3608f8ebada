//! Runs.

use std::time::Duration;

use belljar_protocol::{Artifact, CancelledRun, LogEntry, Outcome, RunId, RunPage, RunRecord, RunState, RunSubmission, Timestamp, Wait};
use futures::{Stream, TryStreamExt};
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use crate::client::{ANSWER_TIME, Client, with_query};
use crate::error::ClientError;
use crate::objects::path_of;
use crate::transfer::Download;

/// How long one request waits for an outcome; a run that takes longer is watched, where silence can be told from patience.
const WAIT: Duration = Duration::from_secs(20);

/// Which runs are wanted. The default is all.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// In one of these states; any when empty.
    pub states: Vec<RunState>,
    /// With all of these labels, a name and a value each.
    pub labels: Vec<(String, String)>,
    /// Accepted not before.
    pub since: Option<Timestamp>,
    /// Accepted before.
    pub until: Option<Timestamp>,
    /// With this text in the comment or the submission, whatever the case.
    pub text: Option<String>,
}

impl RunFilter {
    fn path(&self, limit: u32, cursor: Option<&str>) -> String {
        let moment = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
        let (limit, since, until) = (limit.to_string(), moment(self.since), moment(self.until));
        let labels: Vec<String> = self.labels.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        let parameters = [
            ("limit", Some(limit.as_str())),
            ("since", since.as_deref()),
            ("until", until.as_deref()),
            ("text", self.text.as_deref()),
            ("cursor", cursor),
        ];
        let states = self.states.iter().map(|state| ("status", Some(state.name())));
        let labels = labels.iter().map(|label| ("label", Some(label.as_str())));
        with_query("/v1/runs", parameters.into_iter().chain(states).chain(labels))
    }
}

#[derive(Deserialize)]
struct Logs {
    logs: Vec<LogEntry>,
}

#[derive(Deserialize)]
struct Artifacts {
    artifacts: Vec<Artifact>,
}

impl Client {
    /// Starts a run. It is recorded once this returns; its `wait` is not looked at.
    ///
    /// Where it has no idempotency key it gets one: a request that has to be repeated starts no second run.
    pub async fn start_run(&self, submission: &RunSubmission) -> Result<RunRecord, ClientError> {
        let (_, body) = self.submit(submission, Wait::No).await?;
        self.parse(&body)
    }

    /// Starts a run and waits for its end, however long that takes.
    pub async fn run_and_wait(&self, submission: &RunSubmission) -> Result<Outcome, ClientError> {
        let wait = Wait::AtMostMs(u64::try_from(WAIT.as_millis()).unwrap_or(u64::MAX));
        let (status, body) = self.submit(submission, wait).await?;
        if status == StatusCode::OK {
            return self.parse(&body);
        }
        let record: RunRecord = self.parse(&body)?;
        self.run_events(&record.id).outcome().await
    }

    async fn submit(&self, submission: &RunSubmission, wait: Wait) -> Result<(StatusCode, bytes::Bytes), ClientError> {
        let mut submission = submission.clone();
        submission.wait = wait;
        submission.idempotency_key.get_or_insert_with(|| uuid::Uuid::now_v7().to_string());
        let bound = ANSWER_TIME + WAIT;
        self.again(async || {
            let response = self.send(self.request(Method::POST, "/v1/runs").json(&submission).timeout(bound)).await?;
            let status = response.status();
            Ok((status, response.bytes().await.map_err(|error| self.http_error(&error, bound))?))
        })
        .await
    }

    /// A run, with its outcome once there is one.
    pub async fn run(&self, id: &RunId) -> Result<RunRecord, ClientError> {
        self.get(&format!("/v1/runs/{id}")).await
    }

    /// One page of runs, the latest first: at most `limit`, 1 to 1,000, after the page that gave `cursor`.
    pub async fn runs_page(&self, filter: &RunFilter, limit: u32, cursor: Option<&str>) -> Result<RunPage, ClientError> {
        self.get(&filter.path(limit, cursor)).await
    }

    /// All such runs, the latest first.
    pub fn runs(&self, filter: RunFilter) -> impl Stream<Item = Result<RunRecord, ClientError>> + use<> {
        let client = self.clone();
        paged(move |cursor| {
            let (client, filter) = (client.clone(), filter.clone());
            async move {
                let page = client.runs_page(&filter, 500, cursor.as_deref()).await?;
                Ok((page.runs, page.next_cursor))
            }
        })
    }

    /// Cancels a run. Its record once it has ended, or after two seconds, as far as the token may read it; a run that is over stays as it is.
    pub async fn cancel_run(&self, id: &RunId) -> Result<CancelledRun, ClientError> {
        // Cancelling twice is cancelling once.
        self.again(async || self.change(self.request(Method::POST, &format!("/v1/runs/{id}/cancel"))).await).await
    }

    /// Runs the same again, as a new run.
    pub async fn rerun(&self, id: &RunId) -> Result<RunRecord, ClientError> {
        self.change(self.request(Method::POST, &format!("/v1/runs/{id}/rerun"))).await
    }

    /// Deletes a run that is over, with all that it has.
    pub async fn delete_run(&self, id: &RunId) -> Result<(), ClientError> {
        self.delete(&format!("/v1/runs/{id}")).await
    }

    /// What a run wrote so far.
    pub async fn run_logs(&self, id: &RunId) -> Result<Vec<LogEntry>, ClientError> {
        self.get(&format!("/v1/runs/{id}/logs")).await.map(|Logs { logs }| logs)
    }

    /// The files that a run left.
    pub async fn run_artifacts(&self, id: &RunId) -> Result<Vec<Artifact>, ClientError> {
        self.get(&format!("/v1/runs/{id}/artifacts")).await.map(|Artifacts { artifacts }| artifacts)
    }

    /// The content of a file that a run left, checked against its SHA-256.
    pub async fn get_artifact(&self, id: &RunId, name: &str) -> Result<Download, ClientError> {
        Download::start(self.clone(), format!("/v1/runs/{id}/artifacts/{}", path_of(name)), name.to_owned(), None).await
    }
}

/// All items of pages that name the one after them.
pub(crate) fn paged<T, F>(page: impl Fn(Option<String>) -> F + Send) -> impl Stream<Item = Result<T, ClientError>>
where
    F: Future<Output = Result<(Vec<T>, Option<String>), ClientError>> + Send,
{
    let pages = futures::stream::try_unfold(Some(None), move |cursor: Option<Option<String>>| {
        let next = cursor.map(&page);
        async move {
            let Some(next) = next else { return Ok(None) };
            let (items, cursor) = next.await?;
            Ok(Some((futures::stream::iter(items.into_iter().map(Ok)), cursor.map(Some))))
        }
    });
    pages.try_flatten()
}

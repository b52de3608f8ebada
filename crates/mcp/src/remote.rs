//! The execution of programs by a Belljar server. Each call is a run there: in its queue, history,
//! audit trail and quotas.

use std::collections::BTreeMap;
use std::pin::pin;

use belljar_client::Client;
use belljar_protocol::{
    Ceiling, EventKind, LIMITS, Limit, Limits, Outcome, ProjectSettings, RunId, RunSubmission,
};
use futures::StreamExt;

use crate::arguments::{InvalidArguments, permit};
use crate::artifact_contents::ArtifactContents;
use crate::call::{CallError, Ended, Ending};
use crate::progress::Progress;
use crate::remote_bounds::{RemoteBounds, RemotePackages};
use crate::server_error::ServerError;
use crate::terms::Terms;

/// An executor that runs programs on a server.
#[derive(Debug)]
pub struct RemoteExecutor {
    client: Client,
    bounds: RemoteBounds,
    /// The labels of each run.
    labels: BTreeMap<String, String>,
    terms: Terms,
}

/// A program that is ready to be submitted.
pub(crate) struct RemoteProgram<'a> {
    executor: &'a RemoteExecutor,
    submission: RunSubmission,
}

impl RemoteExecutor {
    /// Returns an executor that submits programs with this client. `project` has the settings in
    /// force, from which the tool is described, or `None` if the token may not read them.
    pub fn new(
        client: Client,
        bounds: RemoteBounds,
        labels: BTreeMap<String, String>,
        project: Option<&ProjectSettings>,
    ) -> Self {
        let terms = Terms::on_server(&bounds, project);
        Self { client, bounds, labels, terms }
    }

    pub(crate) fn terms(&self) -> Terms {
        self.terms.clone()
    }

    /// Checks a submission against the flags only. The server checks it against the ceiling of the
    /// project, which may change at any time.
    pub(crate) fn accept(
        &self,
        mut submission: RunSubmission,
    ) -> Result<RemoteProgram<'_>, InvalidArguments> {
        for file in &submission.files {
            file.bytes()?;
        }
        let ceiling = Ceiling {
            policy: self.bounds.policy.clone(),
            limits: self.bounds.limits.over(Limits::MAX),
        };
        // An omitted limit cannot exceed the ceiling.
        let (mut policy, _) = permit(&submission, &ceiling, Limits::MIN)?.into_parts();
        // The variables are those of this process, and none of the ceiling of the project.
        submission.env = std::mem::take(&mut policy.env).into();
        submission.policy = Some(policy);
        submission.limits = submission.limits.or(self.bounds.limits);
        submission.package_options.none = self.bounds.packages == RemotePackages::None;
        submission.labels.extend(self.labels.clone());
        Ok(RemoteProgram { executor: self, submission })
    }
}

impl RemoteProgram<'_> {
    /// Submits the program and follows its run to the end.
    pub(crate) async fn execute(
        self,
        ending: &Ending<'_>,
        progress: Option<&Progress>,
    ) -> Result<Ended, CallError> {
        let id = self.start(ending).await?;
        let mut outcome = self.follow(&id, ending, progress).await?;
        self.advise_within_bounds(&mut outcome);
        Ok(Ended { outcome, contents: ArtifactContents::OnServer(self.executor.client.clone()) })
    }

    async fn start(&self, ending: &Ending<'_>) -> Result<RunId, CallError> {
        let mut starting = pin!(self.executor.client.start_run(&self.submission));
        tokio::select! {
            biased;
            started = starting.as_mut() => {
                Ok(started.map_err(ServerError::of_submission)?.id)
            }
            reason = ending.wanted() => {
                // Waits for the answer all the same: without its id, the run could not be
                // cancelled.
                if let Ok(record) = starting.await {
                    self.cancel(&record.id).await;
                }
                Err(reason)
            }
        }
    }

    async fn follow(
        &self,
        id: &RunId,
        ending: &Ending<'_>,
        progress: Option<&Progress>,
    ) -> Result<Outcome, CallError> {
        let mut events = self.executor.client.run_events(id);
        loop {
            let event = tokio::select! {
                biased;
                reason = ending.wanted() => {
                    self.cancel(id).await;
                    return Err(reason);
                }
                event = events.next() => event,
            };
            let lost = |error| ServerError::of_run(id, error);
            // The last item is `finished` or an error.
            let Some(event) = event else { return Err(CallError::Cancelled) };
            match (event.map_err(lost)?.kind, progress) {
                (EventKind::Finished { outcome }, _) => return Ok(*outcome),
                (kind, Some(progress)) => progress.send(kind),
                _ => {}
            }
        }
    }

    /// Cancels the run. If the server cannot be reached, the run continues until its limits end it.
    async fn cancel(&self, id: &RunId) {
        let _ = self.executor.client.cancel_run(id).await;
    }

    /// Replaces a hint of the server that suggests more than the flags allow.
    fn advise_within_bounds(&self, outcome: &mut Outcome) {
        let Some(hint) = outcome.error.as_mut().and_then(|error| error.hint.as_mut()) else {
            return;
        };
        let exceeded = LIMITS.iter().find_map(|limit| {
            let most = self.executor.bounds.limits.get(limit)?;
            (suggested(hint, limit)? > most).then(|| limit.unit.display(most))
        });
        if let Some(most) = exceeded {
            *hint = format!("do less in one run: the flags of this server allow at most {most}");
        }
    }
}

/// Returns the value that a hint such as `try limits.timeout_ms: 60000 (60 s)` suggests.
fn suggested(hint: &str, limit: &Limit) -> Option<u64> {
    let rest = hint.strip_prefix("try ")?.strip_prefix(limit.field)?.strip_prefix(": ")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use belljar_protocol::{Exec, Language, Millis, Policy, RequestedLimits};

    use super::*;

    fn executor() -> RemoteExecutor {
        let client = Client::remote("http://127.0.0.1:1", "bjr_a").unwrap();
        let bounds = RemoteBounds {
            policy: Policy {
                exec: Exec::Granted,
                env: [("CITY".into(), "Oslo".into())].into(),
                ..Policy::default()
            },
            limits: RequestedLimits { timeout_ms: Some(Millis(5000)), ..Default::default() },
            packages: RemotePackages::None,
        };
        RemoteExecutor::new(client, bounds, [("client".into(), "mcp".into())].into(), None)
    }

    #[test]
    fn a_call_without_policy_and_limits_requests_those_of_the_flags_and_nothing_else() {
        let executor = executor();
        let accepted = executor.accept(RunSubmission::new(Language::Python, "1")).unwrap();
        let submission = serde_json::to_value(&accepted.submission).unwrap();
        assert_eq!(submission["limits"], serde_json::json!({"timeout_ms": 5000}));
        let policy = accepted.submission.policy.as_ref().unwrap();
        assert!(policy.exec == Exec::Granted && policy.env.is_empty());
        assert_eq!(submission["env"], serde_json::json!({"CITY": "Oslo"}));
        assert_eq!(submission["labels"], serde_json::json!({"client": "mcp"}));
        assert!(accepted.submission.package_options.none);
    }

    #[test]
    fn a_call_that_requests_more_than_the_flags_is_refused_before_it_is_submitted() {
        let mut wider = RunSubmission::new(Language::Python, "1");
        wider.limits.timeout_ms = Some(Millis(5001));
        let Err(error) = executor().accept(wider) else { panic!("it is accepted") };
        assert!(error.to_string().starts_with("limits.timeout_ms: 5001"), "{error}");
    }

    #[test]
    fn a_hint_that_suggests_more_than_the_flags_allow_is_recognized() {
        let suggested = |hint| suggested(hint, Limit::timeout_ms());
        assert_eq!(suggested("try limits.timeout_ms: 60000 (60 s)"), Some(60_000));
        assert_eq!(suggested("try limits.cpu_ms: 60000 (60 s)"), None);
        assert_eq!(suggested("do less"), None);
    }
}

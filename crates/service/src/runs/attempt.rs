//! The attempts of a run: how one ended, and when the next one is due.

use std::time::Duration;

use belljar_engine::ArtifactFile;
use belljar_protocol::{Outcome, Retry, RunError, RunSubmission, SandboxInfo, Status};
use belljar_store::RunLock;

use super::live::Live;

/// The end of one attempt.
pub(super) struct Attempt {
    pub(super) outcome: Outcome,
    pub(super) artifacts: Vec<ArtifactFile>,
    /// The lock file of its packages.
    pub(super) lock: Option<RunLock>,
    /// Whether the program was started.
    pub(super) has_run: bool,
}

/// Turns a cancelled attempt into an interrupted one if the server is stopping.
pub(super) fn interrupted_if_stopping(live: &Live, mut attempt: Attempt) -> Attempt {
    if live.is_interrupted() && attempt.outcome.status == Status::Cancelled {
        attempt.outcome.status = Status::Interrupted;
        let message = "the server was stopped while the run was in progress";
        attempt.outcome.error = Some(RunError::new("Interrupted", message));
    }
    attempt
}

/// Returns the pause before the next attempt, or `None` if there is none.
pub(super) fn next_attempt(retry: Option<&Retry>, number: u32, status: Status) -> Option<Duration> {
    let retry = retry.filter(|retry| number < retry.attempts && retry.covers(status))?;
    let doubled = retry.backoff_ms.saturating_mul(1 << (number - 1).min(20));
    Some(Duration::from_millis(doubled.min(3_600_000)))
}

/// Returns the end of an attempt that was cancelled before it began.
pub(super) fn cancelled(live: &Live, submission: &RunSubmission) -> Attempt {
    let error = RunError::new("Cancelled", "the run was cancelled before it started");
    not_run(live, submission, Status::Cancelled, error)
}

/// Returns the end of an attempt whose program was not started.
pub(super) fn not_run(
    live: &Live,
    submission: &RunSubmission,
    status: Status,
    error: RunError,
) -> Attempt {
    Attempt {
        outcome: without_run(live, wanted_runtime(submission), status, error),
        artifacts: Vec::new(),
        lock: None,
        has_run: false,
    }
}

/// Returns the outcome of a run whose program was not started.
pub(super) fn without_run(
    live: &Live,
    runtime: String,
    status: Status,
    error: RunError,
) -> Outcome {
    Outcome::without_run(live.id.clone(), SandboxInfo::none_yet(runtime), status, error)
}

/// Returns the requested runtime of a run, before its exact version is known.
pub(super) fn wanted_runtime(submission: &RunSubmission) -> String {
    submission.runtime.clone().unwrap_or_else(|| submission.language.default_runtime()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_further_and_further_apart() {
        let retry: Retry = serde_json::from_str(r#"{"attempts": 4, "backoff_ms": 100}"#).unwrap();
        let pauses: Vec<_> = (1..6)
            .map(|number| {
                next_attempt(Some(&retry), number, Status::Crashed).map(|pause| pause.as_millis())
            })
            .collect();
        assert_eq!(pauses, [Some(100), Some(200), Some(400), None, None]);
        assert_eq!(next_attempt(Some(&retry), 1, Status::Failed), None);
        assert_eq!(next_attempt(None, 1, Status::Crashed), None);
    }
}

//! Errors of a server in words for a model: what it can change itself, and what only an operator
//! can.

use std::borrow::Cow;
use std::time::Duration;

use belljar_client::ClientError;
use belljar_protocol::{Explain, Problem, RunId};

/// The longest wait that a model is asked for. A longer one is for the operator to hear of.
const MAX_WAIT: Duration = Duration::from_mins(5);

/// An error of a server that answers a call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// The server did not start the run, or did not confirm it.
    #[error("the server did not run the program: {0}")]
    Submission(#[source] ClientError),
    /// The server refused the run.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>, Option<Duration>),
    /// The run was started, and its end is unknown.
    #[error("the end of run {id} is unknown, and it may still be running: {error}")]
    Lost {
        /// Id of the run.
        id: RunId,
        /// Reason why the run could not be followed.
        #[source]
        error: ClientError,
    },
}

impl ServerError {
    /// Returns the error of a submission.
    pub(crate) fn of_submission(error: ClientError) -> Self {
        match error {
            ClientError::Refused { problem, retry_after } => Self::Refused(problem, retry_after),
            other => Self::Submission(other),
        }
    }

    /// Returns the error of following a run.
    pub(crate) fn of_run(id: &RunId, error: ClientError) -> Self {
        Self::Lost { id: id.clone(), error }
    }
}

impl Explain for ServerError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Refused(problem, retry_after) => refusal_hint(problem, *retry_after),
            Self::Submission(_) => Some(
                "the program is not the cause: call again later, or tell the user that the \
                 operator must check the server"
                    .into(),
            ),
            Self::Lost { .. } => Some(
                "if the program may run twice, call again later; the user can look up this run \
                 with `belljar runs show`"
                    .into(),
            ),
        }
    }
}

/// Returns the advice for a refusal. The server addresses its own hint to the owner of the token,
/// and the reader of this one is a model.
fn refusal_hint(problem: &Problem, retry_after: Option<Duration>) -> Option<Cow<'_, str>> {
    match problem.status {
        401 => Some(
            "tell the user that the operator must give this tool another token, with `belljar \
             login` or in BELLJAR_TOKEN"
                .into(),
        ),
        403 if problem.detail.contains("the ceiling allows") => Some(
            "request less, or leave the field out (the operator of the server sets the ceiling \
             of the project)"
                .into(),
        ),
        403 | 404 => Some(for_operator(problem)),
        429 | 503 => Some(when_to_repeat(retry_after)),
        500.. => Some(for_operator(problem)),
        _ => problem.hint.as_deref().map(Cow::Borrowed),
    }
}

fn for_operator(problem: &Problem) -> Cow<'static, str> {
    let advice = problem.hint.as_deref().map_or_else(String::new, |hint| format!(": {hint}"));
    format!("tell the user that only the operator can resolve this{advice}").into()
}

fn when_to_repeat(retry_after: Option<Duration>) -> Cow<'static, str> {
    match retry_after {
        Some(wait) if wait <= MAX_WAIT => format!(
            "call again after {} s; if that does not help, tell the user that the operator must \
             raise the quota",
            wait.as_secs()
        )
        .into(),
        Some(wait) => format!(
            "tell the user that the operator must raise the quota, or that it is available again \
             after {} s",
            wait.as_secs()
        )
        .into(),
        None => "tell the user that the operator must raise the quota, or free some of it".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(status: u16, detail: &str, hint: Option<&str>, retry_after: Option<u64>) -> String {
        let problem = Problem {
            kind: "urn:belljar:problem:test".into(),
            title: "test".into(),
            status,
            detail: detail.into(),
            hint: hint.map(str::to_owned),
        };
        let error = ClientError::Refused {
            problem: Box::new(problem),
            retry_after: retry_after.map(Duration::from_secs),
        };
        let error = ServerError::of_submission(error);
        assert_eq!(error.to_string(), detail);
        error.hint().unwrap_or_default().into_owned()
    }

    #[test]
    fn a_model_learns_what_it_can_change_and_what_only_an_operator_can() {
        let wider = "limits.cpu_ms: 2 is more than the ceiling allows, which is at most 1";
        for (status, detail, its_hint, retry_after, words) in [
            (403, wider, Some("ask the operator"), None, "request less, or leave the field out"),
            (403, "no scope `run`", Some("make a token"), None, "only the operator can resolve"),
            (401, "unknown token", Some("send `Authorization`"), None, "another token"),
            (404, "there is no project", None, None, "only the operator"),
            (413, "too large", Some("send less"), None, "send less"),
            (422, "seed: too large", None, None, ""),
            (429, "too many", None, Some(3), "call again after 3 s"),
            (429, "used up", None, Some(40_000), "available again after 40000 s"),
            (429, "used up", None, None, "raise the quota, or free some"),
            (503, "stopping", None, Some(5), "call again after 5 s"),
            (500, "internal", None, None, "only the operator"),
        ] {
            let hint = hint(status, detail, its_hint, retry_after);
            assert!(hint.contains(words), "{status} {detail}: {hint}");
            assert!(!hint.contains("Authorization"), "{hint}");
        }
    }
}

//! Errors of the use cases.

use std::borrow::Cow;
use std::path::PathBuf;

use belljar_objects::ObjectsError;
use belljar_protocol::{
    Explain, InvalidObjectName, InvalidProjectName, InvalidRunId, InvalidSubmission, RunError,
    RunId, Scope,
};
use belljar_store::StoreError;

/// An error of a use case: a request that is refused, or one that failed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The token is missing, unknown, expired or revoked. The caller does not learn which.
    #[error("the token is missing, unknown, expired or revoked")]
    Unauthorized,
    /// The token does not have the required scope.
    #[error("the token does not have the scope `{}`", .0.name())]
    Forbidden(Scope),
    /// Only the operator may do this, over the socket in the server's home.
    #[error("only the operator may do this, over the server's own socket")]
    OperatorOnly,
    /// A signed URL is invalid or has expired.
    #[error("the signed URL is invalid or has expired")]
    BadSignature,
    /// The object, run or project does not exist, or belongs to another project.
    #[error("there is no {what} `{name}`")]
    NotFound {
        /// Its kind, such as `run`.
        what: &'static str,
        /// Its id or name.
        name: String,
    },
    /// Several runs of the project have ids with this prefix.
    #[error(
        "`{prefix}` is the beginning of several ids: {}{}",
        .candidates.iter().map(RunId::as_str).collect::<Vec<_>>().join(", "),
        if *.has_more { ", ..." } else { "" }
    )]
    AmbiguousRunId {
        /// The prefix that the caller gave.
        prefix: String,
        /// The latest runs that have it.
        candidates: Vec<RunId>,
        /// Whether more runs have it.
        has_more: bool,
    },
    /// The submission and the output of the run were removed.
    #[error(
        "the submission and the output of the run {0} were removed because later runs used up the \
         project's quota of history"
    )]
    HistoryDropped(RunId),
    /// The name is already in use, or the current state does not allow the request.
    #[error("{0}")]
    Conflict(String),
    /// The run is in progress, which does not allow the request.
    #[error("the run {0} is in progress")]
    RunInProgress(RunId),
    /// Another server uses the home.
    #[error("another server uses the home `{}`", .0.display())]
    HomeInUse(PathBuf),
    /// The request contains an invalid value.
    #[error("{detail}")]
    Invalid {
        /// The invalid value and the reason.
        detail: String,
        /// Advice, in the imperative.
        hint: Option<String>,
    },
    /// The idempotency key was used for another request.
    #[error("the idempotency key `{0}` was used for another request")]
    KeyReused(String),
    /// The policy or the limits exceed the project's ceiling.
    #[error("{0}")]
    Widened(String),
    /// The received content differs from the announced checksum.
    #[error("{kind} mismatch: expected {expected}, received {actual}, and nothing was stored")]
    Checksum {
        /// `MD5` or `SHA-256`.
        kind: &'static str,
        /// The announced checksum.
        expected: String,
        /// The checksum of the received content.
        actual: String,
    },
    /// The content exceeds a maximum size.
    #[error("{detail}")]
    TooLarge {
        /// The size and the limit.
        detail: String,
        /// Advice, in the imperative.
        hint: Option<&'static str>,
    },
    /// A quota of the project is used up.
    #[error("{detail}")]
    Quota {
        /// The quota and its use.
        detail: String,
        /// Seconds until another attempt may succeed.
        retry_after_s: Option<u64>,
    },
    /// There are too many queued runs, requests or unread answers.
    #[error("{detail}")]
    Busy {
        /// The exceeded limit.
        detail: &'static str,
        /// Seconds until another attempt may succeed.
        retry_after_s: u64,
    },
    /// The server is shutting down.
    #[error("the server is being stopped")]
    Stopping,
    /// The body ended early, or could not be read.
    #[error("cannot read the body: {0}")]
    Body(String),
    /// The range is outside of the object.
    #[error("the range is outside of the object of {0} bytes")]
    Range(u64),
    /// The store failed.
    #[error("{0}")]
    Store(StoreError),
    /// The contents of objects could not be read or written.
    #[error("{0}")]
    Objects(#[from] ObjectsError),
    /// The home could not be used.
    #[error("{what} failed: {error}")]
    Home {
        /// The attempted action, such as "opening the signing key".
        what: String,
        /// The failure of the file system.
        error: std::io::Error,
    },
    /// The file of the signing key is not a key.
    #[error("the signing key `{}` does not have the right length", .0.display())]
    InvalidKey(PathBuf),
    /// The engine failed.
    #[error("{0}")]
    Engine(#[from] belljar_engine::EngineError),
}

impl Explain for ServiceError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Unauthorized => "send `Authorization: Bearer bjr_...` with a token made by \
                                   `belljar tokens create`"
                .into(),
            Self::Forbidden(scope) => format!(
                "make a token that has it with `belljar tokens create NAME --scope {}`",
                scope.name()
            )
            .into(),
            Self::OperatorOnly => {
                "run the command on the server's machine, as the user that the server runs as"
                    .into()
            }
            Self::AmbiguousRunId { .. } => "give more characters of the id".into(),
            Self::HistoryDropped(_) => {
                "use its record and artifacts, which still exist, and ask the operator for a \
                 larger quota (`belljar projects set NAME --quota-history SIZE`)"
                    .into()
            }
            Self::RunInProgress(_) => "cancel it first".into(),
            Self::HomeInUse(_) => "stop it, or choose another home with BELLJAR_HOME".into(),
            Self::KeyReused(_) => "use a new key for a new request".into(),
            Self::Widened(_) => {
                "narrow the request, or ask the operator to raise the project's ceiling with \
                 `belljar projects set`"
                    .into()
            }
            Self::Quota { .. } => "ask the operator for a larger quota, or free some of it".into(),
            Self::Busy { .. } => "try again after the seconds in `Retry-After`".into(),
            Self::InvalidKey(_) => {
                "restore it, or remove it to create a new one, which invalidates all signed URLs"
                    .into()
            }
            Self::Invalid { hint, .. } => return hint.as_deref().map(Cow::Borrowed),
            Self::TooLarge { hint, .. } => return hint.map(Cow::Borrowed),
            Self::Store(error) => return error.hint(),
            Self::Objects(error) => return error.hint(),
            Self::Engine(error) => return error.hint(),
            Self::BadSignature
            | Self::NotFound { .. }
            | Self::Conflict(_)
            | Self::Checksum { .. }
            | Self::Stopping
            | Self::Body(_)
            | Self::Range(_)
            | Self::Home { .. } => return None,
        })
    }
}

/// The kind of an error, which a protocol translates to a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of HTTP's status codes")]
pub enum ServiceErrorKind {
    Unauthorized,
    Forbidden,
    NotFound,
    HistoryDropped,
    Conflict,
    Invalid,
    Checksum,
    TooLarge,
    Range,
    Quota,
    Busy,
    Stopping,
    SearchTooLong,
    Internal,
}

impl ServiceError {
    pub(crate) fn invalid(detail: impl ToString) -> Self {
        Self::Invalid { detail: detail.to_string(), hint: None }
    }

    /// Returns the error of an invalid value whose error has a hint.
    pub(crate) fn explained(error: &impl Explain) -> Self {
        Self::Invalid { detail: error.to_string(), hint: error.hint().map(Cow::into_owned) }
    }

    /// Returns the error of a run's outcome.
    pub(crate) fn run_error(&self, name: &str) -> RunError {
        let error = RunError::new(name, self.to_string());
        RunError { hint: self.hint().map(Cow::into_owned), ..error }
    }

    pub(crate) fn not_found(what: &'static str, name: impl Into<String>) -> Self {
        Self::NotFound { what, name: name.into() }
    }

    /// Returns the kind of the error.
    pub fn kind(&self) -> ServiceErrorKind {
        use ServiceErrorKind as Kind;

        match self {
            Self::Unauthorized => Kind::Unauthorized,
            Self::Forbidden(_) | Self::OperatorOnly | Self::BadSignature | Self::Widened(_) => {
                Kind::Forbidden
            }
            Self::NotFound { .. } | Self::Store(StoreError::NotFound { .. }) => Kind::NotFound,
            Self::HistoryDropped(_) => Kind::HistoryDropped,
            Self::Conflict(_)
            | Self::RunInProgress(_)
            | Self::HomeInUse(_)
            | Self::KeyReused(_)
            | Self::Store(StoreError::Exists { .. } | StoreError::NotInProgress(_)) => {
                Kind::Conflict
            }
            Self::Invalid { .. } | Self::AmbiguousRunId { .. } | Self::Body(_) => Kind::Invalid,
            Self::Checksum { .. } => Kind::Checksum,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Range(_) => Kind::Range,
            Self::Quota { .. }
            | Self::Store(
                StoreError::Quota { .. }
                | StoreError::ObjectQuota { .. }
                | StoreError::TokenQuota(_),
            ) => Kind::Quota,
            Self::Busy { .. } => Kind::Busy,
            Self::Stopping | Self::Store(StoreError::Closed) => Kind::Stopping,
            Self::Store(StoreError::SearchTooLong(_)) => Kind::SearchTooLong,
            Self::Store(_)
            | Self::Objects(_)
            | Self::Home { .. }
            | Self::InvalidKey(_)
            | Self::Engine(_) => Kind::Internal,
        }
    }

    /// Returns the seconds until another attempt may succeed.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Quota { retry_after_s, .. } => *retry_after_s,
            Self::Busy { retry_after_s, .. } => Some(*retry_after_s),
            Self::Stopping | Self::Store(StoreError::Closed) => Some(5),
            Self::Store(StoreError::SearchTooLong(_)) => Some(1),
            _ => None,
        }
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { what, name } => Self::NotFound { what, name },
            error @ StoreError::UnknownActor { .. } => Self::explained(&error),
            error @ StoreError::InvalidCursor => Self::invalid(format!("cursor: {error}")),
            error => Self::Store(error),
        }
    }
}

impl From<InvalidSubmission> for ServiceError {
    fn from(error: InvalidSubmission) -> Self {
        Self::explained(&error)
    }
}

impl From<InvalidObjectName> for ServiceError {
    fn from(error: InvalidObjectName) -> Self {
        Self::explained(&error)
    }
}

impl From<InvalidProjectName> for ServiceError {
    fn from(error: InvalidProjectName) -> Self {
        Self::invalid(error)
    }
}

impl From<InvalidRunId> for ServiceError {
    /// Returns that there is no such run, because a run's id never has another form.
    fn from(error: InvalidRunId) -> Self {
        Self::not_found("run", error.0)
    }
}

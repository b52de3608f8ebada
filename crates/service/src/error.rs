//! Why a use case was refused or failed, in words for whoever asked.

use belljar_objects::ObjectsError;
use belljar_protocol::{InvalidObjectName, InvalidProjectName, InvalidRunId, InvalidSubmission, RunId, Scope};
use belljar_store::StoreError;

/// Why a use case was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No token, or one that is not known, has expired or was revoked. Which of these is not told.
    #[error("the token is missing, unknown, expired or revoked")]
    Unauthorized,
    /// The token does not allow it.
    #[error("the token does not have the scope `{}`", .0.name())]
    Forbidden(Scope),
    /// Only the operator may, over the home's own socket.
    #[error("only the operator may do this, over the server's own socket")]
    OperatorOnly,
    /// A signed address that is wrong or has expired.
    #[error("the signed address is wrong or has expired")]
    BadSignature,
    /// It is not there, or is another project's.
    #[error("there is no {what} `{name}`")]
    NotFound {
        /// Of which kind.
        what: &'static str,
        /// Its id or name.
        name: String,
    },
    /// What the run submitted and wrote was dropped.
    #[error("what the run {0} submitted and wrote was dropped: the project's quota of history was used up by later runs")]
    HistoryDropped(RunId),
    /// It is there already, or in a state that does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// The request cannot be meant.
    #[error("{detail}")]
    Invalid {
        /// What is wrong.
        detail: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The same idempotency key with another request.
    #[error("the idempotency key `{0}` was used for another request")]
    KeyReused(String),
    /// The policy or the limits are wider than the project's ceiling.
    #[error("{0}")]
    Widened(String),
    /// What arrived is not what was announced.
    #[error("the {kind} of what arrived is {actual}, not {expected}: nothing was stored")]
    Checksum {
        /// MD5 or SHA-256.
        kind: &'static str,
        /// What was announced.
        expected: String,
        /// What arrived.
        actual: String,
    },
    /// More than is accepted at once.
    #[error("{0}")]
    TooLarge(String),
    /// A quota of the project is used up.
    #[error("{detail}")]
    Quota {
        /// Which.
        detail: String,
        /// When it is worth trying again, in seconds.
        retry_after_s: Option<u64>,
    },
    /// Too many runs wait, or too many requests come.
    #[error("{detail}")]
    Busy {
        /// What there is too much of.
        detail: &'static str,
        /// When it is worth trying again, in seconds.
        retry_after_s: u64,
    },
    /// The server is being stopped.
    #[error("the server is being stopped")]
    Stopping,
    /// The body ended too early, or could not be read.
    #[error("the body could not be read: {0}")]
    Body(String),
    /// The range lies outside of the object.
    #[error("the object has {0} bytes; the range lies outside of it")]
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
        /// What was tried.
        what: String,
        /// Why not.
        error: std::io::Error,
    },
    /// The engine could not be started.
    #[error("{0}")]
    Engine(#[from] belljar_engine::EngineError),
}

/// What kind of problem an error is, for those who speak a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of HTTP's status codes")]
pub enum Problem {
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

    pub(crate) fn not_found(what: &'static str, name: impl Into<String>) -> Self {
        Self::NotFound { what, name: name.into() }
    }

    /// What kind of problem it is.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Unauthorized => Problem::Unauthorized,
            Self::Forbidden(_) | Self::OperatorOnly | Self::BadSignature | Self::Widened(_) => Problem::Forbidden,
            Self::NotFound { .. } | Self::Store(StoreError::NotFound { .. }) => Problem::NotFound,
            Self::HistoryDropped(_) => Problem::HistoryDropped,
            Self::Conflict(_) | Self::KeyReused(_) | Self::Store(StoreError::Exists { .. } | StoreError::NotUnderWay(_)) => {
                Problem::Conflict
            }
            Self::Invalid { .. } | Self::Body(_) => Problem::Invalid,
            Self::Checksum { .. } => Problem::Checksum,
            Self::TooLarge(_) => Problem::TooLarge,
            Self::Range(_) => Problem::Range,
            Self::Quota { .. } | Self::Store(StoreError::Quota { .. } | StoreError::ObjectQuota { .. } | StoreError::TokenQuota(_)) => {
                Problem::Quota
            }
            Self::Busy { .. } => Problem::Busy,
            Self::Stopping | Self::Store(StoreError::Closed) => Problem::Stopping,
            Self::Store(StoreError::SearchTooLong(_)) => Problem::SearchTooLong,
            Self::Store(_) | Self::Objects(_) | Self::Home { .. } | Self::Engine(_) => Problem::Internal,
        }
    }

    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unauthorized => "send `Authorization: Bearer bjr_...`; `belljar tokens create` makes a token".to_owned(),
            Self::Forbidden(scope) => format!("make a token that has it: belljar tokens create NAME --scope {}", scope.name()),
            Self::OperatorOnly => "run the command on the server's machine, as the user that the server runs as".to_owned(),
            Self::HistoryDropped(_) => {
                "its record and artifacts are still there; ask the operator for a larger quota: belljar projects set NAME --quota-history SIZE"
                    .to_owned()
            }
            Self::Store(StoreError::TokenQuota(_)) => "revoke one with belljar tokens revoke ID".to_owned(),
            Self::KeyReused(_) => "use a new key for a new request".to_owned(),
            Self::Widened(_) => {
                "narrow the request, or ask the operator to raise the project's ceiling with `belljar projects set`".to_owned()
            }
            Self::Quota { .. } | Self::Store(StoreError::Quota { .. } | StoreError::ObjectQuota { .. }) => {
                "ask the operator for a larger quota, or free some of it".to_owned()
            }
            Self::Busy { .. } => "try again later; `Retry-After` says when".to_owned(),
            Self::Store(StoreError::SearchTooLong(_)) => "narrow it with `since`, `until`, `label` or `status`".to_owned(),
            Self::Invalid { hint, .. } => return hint.clone(),
            _ => return None,
        })
    }

    /// When it is worth trying again, in seconds.
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
            error => Self::Store(error),
        }
    }
}

impl From<InvalidSubmission> for ServiceError {
    fn from(error: InvalidSubmission) -> Self {
        Self::invalid(error)
    }
}

impl From<InvalidObjectName> for ServiceError {
    fn from(error: InvalidObjectName) -> Self {
        Self::invalid(error)
    }
}

impl From<InvalidProjectName> for ServiceError {
    fn from(error: InvalidProjectName) -> Self {
        Self::invalid(error)
    }
}

impl From<InvalidRunId> for ServiceError {
    /// A text that is no id names no run.
    fn from(error: InvalidRunId) -> Self {
        Self::not_found("run", error.0)
    }
}

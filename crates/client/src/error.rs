//! The error of a request to a server.

use std::borrow::Cow;
use std::error::Error as _;
use std::time::Duration;

use belljar_protocol::{Explain, Problem};

/// The error of a request to a server. [`Explain::hint`] says what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is not that of a server.
    #[error("`{url}` is not the URL of a server: {why}")]
    Url {
        /// The URL as given, without control characters and cut to 200 characters.
        url: String,
        /// The part of the URL that is wrong.
        why: String,
    },
    /// The token contains characters that no token has.
    #[error("the token contains invalid characters")]
    Token,
    /// The trusted certificates could not be loaded.
    #[error("cannot load trusted certificates: {0}")]
    Certificates(String),
    /// The connection could not be made.
    #[error("cannot reach {server}: {why}")]
    Unreachable {
        /// The server as it is called in messages.
        server: String,
        /// The innermost cause.
        why: String,
    },
    /// The certificate of the server is not trusted.
    #[error("the certificate of {server} is not trusted: {why}")]
    Untrusted {
        /// The server as it is called in messages.
        server: String,
        /// The innermost cause.
        why: String,
    },
    /// The connection broke before the answer was complete.
    #[error("the connection to {server} was lost: {why}")]
    Broken {
        /// The server as it is called in messages.
        server: String,
        /// The innermost cause.
        why: String,
    },
    /// The server sent nothing for too long.
    #[error("{server} sent nothing for {} s", .silence.as_secs())]
    Silent {
        /// The server as it is called in messages.
        server: String,
        /// The time without data.
        silence: Duration,
    },
    /// The server refused the request.
    #[error("{}", .problem.detail)]
    Refused {
        /// The problem document that the server sent.
        problem: Box<Problem>,
        /// The time after which the request can be repeated, if the server sent one.
        retry_after: Option<Duration>,
    },
    /// The answer is not that of a Belljar server of this version.
    #[error("unexpected answer from {server}: {why}")]
    Answer {
        /// The server as it is called in messages.
        server: String,
        /// The part of the answer that is unexpected.
        why: String,
    },
    /// The received content is not what was sent.
    #[error("the content of `{name}` is damaged: expected SHA-256 {expected}, received {actual}")]
    Checksum {
        /// The name of the object or artifact.
        name: String,
        /// The SHA-256 of the content that was sent.
        expected: String,
        /// The SHA-256 of the content that was received.
        actual: String,
    },
    /// The content was replaced during a download that had to be resumed.
    #[error("`{0}` was replaced during its download")]
    Changed(String),
    /// The content to upload could not be read.
    #[error("cannot read the content to upload: {0}")]
    Content(String),
}

impl Explain for ClientError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Url { .. } => {
                "use a URL such as https://belljar.example.com or http://127.0.0.1:8411".into()
            }
            Self::Token => "use a token of the form bjr_ and 43 letters, digits, - and _".into(),
            Self::Certificates(_) => "name a file of certificates in SSL_CERT_FILE".into(),
            Self::Unreachable { .. } => {
                "start a server with `belljar serve`, or name another with `--server URL`".into()
            }
            Self::Untrusted { .. } => {
                "name a file with the certificate of its issuer in SSL_CERT_FILE".into()
            }
            Self::Silent { .. } => "check whether the server is overloaded, and try again".into(),
            Self::Refused { problem, retry_after } => return refusal_hint(problem, *retry_after),
            Self::Answer { .. } => {
                "check the URL, and that client and server have the same version".into()
            }
            Self::Broken { .. } | Self::Checksum { .. } => "try again".into(),
            Self::Changed(_) => "download it again".into(),
            Self::Content(_) => return None,
        })
    }
}

fn refusal_hint(problem: &Problem, retry_after: Option<Duration>) -> Option<Cow<'_, str>> {
    match (&problem.hint, retry_after) {
        (Some(hint), _) => Some(hint.into()),
        (None, Some(after)) => Some(format!("try again in {} s", after.as_secs()).into()),
        (None, None) => None,
    }
}

impl ClientError {
    /// Returns the problem document, if the server refused the request.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// Returns whether the server refused the request with this status code.
    pub fn is_status(&self, status: u16) -> bool {
        self.problem().is_some_and(|problem| problem.status == status)
    }

    /// Converts an error of reqwest. The message is that of the innermost cause: the outer ones
    /// only say that something failed.
    pub(crate) fn of_http(server: &str, error: &reqwest::Error) -> Self {
        let (mut why, mut cause) = (error.to_string(), error.source());
        let mut is_certificate = false;
        while let Some(inner) = cause {
            why = inner.to_string();
            is_certificate |= why.contains("certificate");
            cause = inner.source();
        }
        // `Connection refused (os error 111)`: the number helps no reader.
        let why = why.split(" (os error").next().unwrap_or_default().to_lowercase();
        let server = server.to_owned();
        if error.is_connect() && is_certificate {
            return Self::Untrusted { server, why };
        }
        if error.is_connect() {
            return Self::Unreachable { server, why };
        }
        Self::Broken { server, why }
    }

    /// Returns how long to wait before the request is repeated, or `None` if repeating it is
    /// useless. The wait is `pause`, unless the server asks for another.
    pub(crate) fn retry_delay(&self, pause: Duration) -> Option<Duration> {
        /// A longer wait is left to the caller, who then sees the reason.
        const MAX_WAIT: Duration = Duration::from_secs(10);
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Silent { .. } => Some(pause),
            Self::Refused { problem, retry_after } if matches!(problem.status, 429 | 502..=504) => {
                Some(retry_after.unwrap_or(pause)).filter(|wait| *wait <= MAX_WAIT)
            }
            _ => None,
        }
    }
}

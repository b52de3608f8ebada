//! Why a request came to nothing. What follows the first `; ` of a message is what to do about it.

use std::error::Error as _;
use std::time::Duration;

use belljar_protocol::Problem;

/// Why a request came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none of a server's.
    #[error("`{url}` is not the address of a server: {why}; write one such as https://belljar.example.com or http://127.0.0.1:8411")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The token has characters that no token has.
    #[error("the token has characters that no token has; tokens look like bjr_ and 43 letters, digits, - and _")]
    Token,
    /// The certificates to trust could not be read.
    #[error("there are no certificates to trust: {0}; name a file of them in SSL_CERT_FILE")]
    Certificates(String),
    /// No connection.
    #[error("cannot reach {server}: {why}; is it running? `belljar serve` starts a server, and `--server URL` names another")]
    Unreachable {
        /// Where it should be.
        server: String,
        /// Why not.
        why: String,
    },
    /// Its certificate is not trusted.
    #[error("the certificate of {server} is not trusted: {why}; name a file with the certificate of whoever issued it in SSL_CERT_FILE")]
    Untrusted {
        /// Where it is.
        server: String,
        /// Why not.
        why: String,
    },
    /// The connection broke before the answer was whole.
    #[error("the connection to {server} broke off: {why}; try again")]
    Broken {
        /// Where it is.
        server: String,
        /// Why.
        why: String,
    },
    /// Nothing came for too long.
    #[error("{server} said nothing for {} s; see whether it is overloaded, and try again", .silence.as_secs())]
    Silent {
        /// Where it is.
        server: String,
        /// For how long.
        silence: Duration,
    },
    /// The server refused, and says why.
    #[error("{}", refusal(.problem, *.retry_after))]
    Refused {
        /// Why.
        problem: Box<Problem>,
        /// When it is worth trying again.
        retry_after: Option<Duration>,
    },
    /// What answered is no Belljar server, or one of another version.
    #[error(
        "{server} answered with something that is not Belljar's: {why}; see that the address is right and that both sides have the same version"
    )]
    Answer {
        /// Where it is.
        server: String,
        /// What it was.
        why: String,
    },
    /// What arrived is not what was sent.
    #[error("the content of `{name}` arrived damaged: its SHA-256 is {actual}, not {expected}; try again")]
    Checksum {
        /// Of which object or artifact.
        name: String,
        /// What it is known by.
        expected: String,
        /// What arrived.
        actual: String,
    },
    /// It was replaced during a download that had to be taken up again.
    #[error("`{0}` was replaced while it was downloaded; download it again")]
    Changed(String),
    /// What was to be uploaded could not be read.
    #[error("what is to be uploaded cannot be read: {0}")]
    Content(String),
}

fn refusal(problem: &Problem, retry_after: Option<Duration>) -> String {
    let mut text = problem.detail.clone();
    if let Some(hint) = &problem.hint {
        text = format!("{text}; {hint}");
    }
    match retry_after {
        Some(after) if problem.hint.is_none() => format!("{text}; try again in {} s", after.as_secs()),
        _ => text,
    }
}

impl ClientError {
    /// The problem document, where the server refused.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// Whether the server refused with this status code.
    pub fn is_status(&self, status: u16) -> bool {
        self.problem().is_some_and(|problem| problem.status == status)
    }

    /// Of reqwest's own. Where it came from is told by the innermost cause: the outer ones only say that something failed.
    pub(crate) fn of_http(server: &str, error: &reqwest::Error) -> Self {
        let (mut why, mut cause) = (error.to_string(), error.source());
        let mut is_certificate = false;
        while let Some(inner) = cause {
            why = inner.to_string();
            is_certificate |= why.contains("certificate");
            cause = inner.source();
        }
        // `Connection refused (os error 111)`: the number is for nobody.
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

    /// How long to wait before the same may be asked again; `None` where that is of no use. `pause` is for where the server does not say.
    pub(crate) fn worth_another_try(&self, pause: Duration) -> Option<Duration> {
        /// Nobody waits longer without being told.
        const MOST: Duration = Duration::from_secs(10);
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Silent { .. } => Some(pause),
            Self::Refused { problem, retry_after } if matches!(problem.status, 429 | 502..=504) => {
                Some(retry_after.unwrap_or(pause)).filter(|wait| *wait <= MOST)
            }
            _ => None,
        }
    }
}

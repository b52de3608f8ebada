//! Hints: advice that goes with an error, kept apart from its message all the way to the terminal.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use belljar_client::ClientError;
use belljar_engine::EngineError;
use belljar_environments::EnvironmentError;
use belljar_mcp::McpError;
use belljar_protocol::{
    Explain, InvalidCeiling, InvalidLimit, InvalidName, InvalidObjectName, InvalidPolicy,
    InvalidSubmission, Widened,
};
use belljar_provision::ProvisionError;
use belljar_service::{BackupError, ServiceError};

/// An error of the command line with a hint.
#[derive(Debug)]
struct Hinted {
    error: anyhow::Error,
    hint: Cow<'static, str>,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)
    }
}

impl Error for Hinted {
    /// Skips the error itself, whose message is shown as that of this one.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl Explain for Hinted {
    fn hint(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.hint))
    }
}

/// Returns an error with a hint.
pub fn hinted(message: impl Into<String>, hint: impl Into<Cow<'static, str>>) -> anyhow::Error {
    Hinted { error: anyhow::Error::msg(message.into()), hint: hint.into() }.into()
}

/// Adds hints to results, as [`anyhow::Context`] adds messages.
pub trait WithHint<T> {
    /// Adds a hint to an error.
    fn hint(self, hint: &'static str) -> anyhow::Result<T>;
    /// Adds a hint to an error. The hint is only built if there is an error.
    fn with_hint(self, hint: impl FnOnce() -> String) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> WithHint<T> for Result<T, E> {
    fn hint(self, hint: &'static str) -> anyhow::Result<T> {
        self.map_err(|error| Hinted { error: error.into(), hint: hint.into() }.into())
    }

    fn with_hint(self, hint: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|error| Hinted { error: error.into(), hint: hint().into() }.into())
    }
}

/// Returns the hint of the outermost error in the chain of causes that has one.
pub fn of(error: &anyhow::Error) -> Option<Cow<'_, str>> {
    error.chain().find_map(of_cause)
}

fn of_cause<'a>(cause: &'a (dyn Error + 'static)) -> Option<Cow<'a, str>> {
    fn of_type<'a, E: Explain + 'static>(cause: &'a (dyn Error + 'static)) -> Option<Cow<'a, str>> {
        cause.downcast_ref::<E>().and_then(Explain::hint)
    }
    // A trait object cannot be cast to another trait, so every type with hints is tried.
    let by_type = [
        of_type::<Hinted>,
        of_type::<ClientError>,
        of_type::<EngineError>,
        of_type::<EnvironmentError>,
        of_type::<McpError>,
        of_type::<ProvisionError>,
        of_type::<ServiceError>,
        of_type::<BackupError>,
        of_type::<InvalidCeiling>,
        of_type::<InvalidLimit>,
        of_type::<InvalidName>,
        of_type::<InvalidObjectName>,
        of_type::<InvalidPolicy>,
        of_type::<InvalidSubmission>,
        of_type::<Widened>,
    ];
    by_type.iter().find_map(|hint| hint(cause))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use belljar_protocol::ObjectName;

    use super::*;

    #[test]
    fn a_hint_is_found_behind_any_context_and_is_never_part_of_the_message() {
        let error = hinted("cannot open `a; run me`", "check the path");
        let error = Err::<(), _>(error).context("cannot start").unwrap_err();
        assert_eq!(format!("{error:#}"), "cannot start: cannot open `a; run me`");
        assert_eq!(of(&error).as_deref(), Some("check the path"));
        let error = anyhow::Error::from(ObjectName::try_from("/a").unwrap_err());
        assert!(of(&error).unwrap().starts_with("use a name"), "{error}");
    }

    #[test]
    fn the_cause_of_an_error_with_a_hint_is_shown_once() {
        let cause = std::io::Error::from(std::io::ErrorKind::NotFound);
        let error =
            Err::<(), _>(cause).context("cannot open a.js").hint("check the path").unwrap_err();
        assert_eq!(format!("{error:#}"), "cannot open a.js: entity not found");
        assert_eq!(of(&anyhow::anyhow!("no advice; run me")), None);
    }
}

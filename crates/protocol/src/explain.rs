//! Errors with a hint that tells the reader how to fix them.

use std::borrow::Cow;

/// An error whose hint is separate from its message.
///
/// The message (`Display`) says what failed, in lower case and in one clause; the cause is
/// `source()`. The hint says what to do, in the imperative. It is shown on a line of its own on a
/// terminal (`hint:`), and is the field `hint` of a problem document, of an outcome's error and of
/// an MCP answer. No code splits a message to find it.
pub trait Explain: std::error::Error {
    /// Returns the hint, if there is anything that the reader can do.
    fn hint(&self) -> Option<Cow<'_, str>>;
}

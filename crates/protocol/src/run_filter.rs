//! The criteria by which runs are listed.

use std::collections::BTreeMap;

use crate::language::Language;
use crate::run_record::RunState;
use crate::timestamp::Timestamp;

/// A filter of runs. The default matches all runs.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Matches runs in one of these states, or in any state if empty.
    pub states: Vec<RunState>,
    /// Matches runs whose program is in this language.
    pub language: Option<Language>,
    /// Matches runs that have all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Matches runs submitted by the token with this name or id, or by the `operator`.
    pub by: Option<String>,
    /// Matches runs accepted at or after this time.
    pub since: Option<Timestamp>,
    /// Matches runs accepted before this time.
    pub until: Option<Timestamp>,
    /// Matches runs with this text in the comment or the submission, ignoring case.
    pub text: Option<String>,
}

//! The access of a run: the policy and the limits that it requests, and whether they are granted.
//!
//! A caller grants access to its own program without a check. Under a ceiling, a request is checked
//! as text ([`RequestedAccess::permit`]), and the engine then opens the permitted paths beneath the
//! descriptors of the ceiling's own paths. [`GrantedAccess`] keeps the two together.

use std::borrow::Cow;
use std::sync::Arc;

use belljar_engine::CeilingGrants;
use belljar_protocol::{
    Ceiling, Explain, InvalidLimit, InvalidPolicy, Limits, Policy, RunRecord, RunSubmission,
    Widened,
};

/// The access of a run that requests no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OmittedPolicy {
    /// Everything that the ceiling allows.
    WholeCeiling,
    /// All storage that the ceiling allows, and nothing else.
    StorageOfCeiling,
}

/// The access that a submission requests under a ceiling.
#[derive(Clone, Debug)]
pub struct RequestedAccess<'a> {
    ceiling: &'a Ceiling,
    policy: Policy,
    limits: Limits,
}

/// An invalid policy or limit, whatever the ceiling allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAccess {
    /// The policy is invalid.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// A limit is out of range.
    #[error(transparent)]
    Limit(#[from] InvalidLimit),
}

impl Explain for InvalidAccess {
    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Policy(error) => error.hint(),
            Self::Limit(error) => error.hint(),
        }
    }
}

impl<'a> RequestedAccess<'a> {
    /// Returns the access that a submission requests. A limit that it omits has its default, or the
    /// ceiling's value if that is lower.
    pub fn of(
        submission: &RunSubmission,
        ceiling: &'a Ceiling,
        omitted: OmittedPolicy,
        defaults: Limits,
    ) -> Self {
        let policy = match (&submission.policy, omitted) {
            (Some(policy), _) => policy.clone(),
            (None, OmittedPolicy::WholeCeiling) => ceiling.policy.clone(),
            (None, OmittedPolicy::StorageOfCeiling) => {
                Policy { storage: ceiling.policy.storage.clone(), ..Policy::default() }
            }
        };
        let limits = submission.limits.over(defaults.at_most(ceiling.limits));
        Self { ceiling, policy, limits }
    }

    /// Returns the requested policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Checks everything that depends on neither the ceiling nor the machine.
    pub fn validate(&self) -> Result<(), InvalidAccess> {
        self.policy.validate()?;
        Ok(self.limits.validate()?)
    }

    /// Permits exactly the requested access, or refuses it if it exceeds the ceiling. Nothing is
    /// cut down silently.
    pub fn permit(&self) -> Result<Permit, Widened> {
        self.ceiling.check(&self.policy, &self.limits)?;
        Ok(Permit { policy: self.policy.clone(), limits: self.limits })
    }
}

/// A policy and limits that were found to be within a ceiling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    policy: Policy,
    limits: Limits,
}

impl Permit {
    /// Returns the permit of a run that was accepted earlier, whose record contains it.
    pub fn of_record(record: &RunRecord) -> Self {
        Self { policy: record.policy.clone(), limits: record.limits }
    }

    /// Returns the policy and the limits.
    pub fn into_parts(self) -> (Policy, Limits) {
        (self.policy, self.limits)
    }
}

/// The access that a run is granted, and by whom.
#[derive(Clone, Debug)]
pub struct GrantedAccess {
    pub(crate) policy: Policy,
    pub(crate) limits: Limits,
    /// The open paths of the ceiling, or `None` for a caller's own paths.
    pub(crate) ceiling: Option<Arc<CeilingGrants>>,
}

impl GrantedAccess {
    /// Returns the access that a caller grants to its own program: everything that the submission
    /// requests. Symbolic links in its paths are followed. An omitted limit has its default.
    pub fn of_caller(submission: &RunSubmission, defaults: Limits) -> Self {
        Self {
            policy: submission.policy.clone().unwrap_or_default(),
            limits: submission.limits.over(defaults),
            ceiling: None,
        }
    }

    /// Returns the access of a run under a ceiling. Its paths are opened beneath those of the
    /// ceiling, without following symbolic links.
    pub fn under_ceiling(permit: Permit, ceiling: Arc<CeilingGrants>) -> Self {
        Self { policy: permit.policy, limits: permit.limits, ceiling: Some(ceiling) }
    }
}

#[cfg(test)]
mod tests {
    use belljar_protocol::{Bytes, Exec, Language, Millis};
    use serde_json::{from_value, json};

    use super::*;

    fn ceiling() -> Ceiling {
        let policy = json!({
            "fs": {"read": ["/data"]}, "env": {"A": "1"}, "storage": {"read": ["in/"]}
        });
        let limits =
            Limits { memory_bytes: Bytes(1 << 30), timeout_ms: Millis(2000), ..Limits::default() };
        Ceiling { policy: from_value(policy).unwrap(), limits }
    }

    fn submission(policy: serde_json::Value, limits: serde_json::Value) -> RunSubmission {
        let mut submission = RunSubmission::new(Language::Python, "1");
        submission.policy = from_value(policy).unwrap();
        submission.limits = from_value(limits).unwrap();
        submission
    }

    fn permit(submission: &RunSubmission, omitted: OmittedPolicy) -> Result<Permit, Widened> {
        RequestedAccess::of(submission, &ceiling(), omitted, Limits::default()).permit()
    }

    #[test]
    fn an_omitted_policy_is_all_of_the_ceiling_or_its_storage() {
        let omitted = submission(json!(null), json!({}));
        let (policy, limits) = permit(&omitted, OmittedPolicy::WholeCeiling).unwrap().into_parts();
        assert_eq!(policy, ceiling().policy);
        assert_eq!(limits, Limits { timeout_ms: Millis(2000), ..Limits::default() });
        let (policy, _) = permit(&omitted, OmittedPolicy::StorageOfCeiling).unwrap().into_parts();
        assert_eq!(policy, Policy { storage: ceiling().policy.storage, ..Policy::default() });
    }

    #[test]
    fn a_request_within_the_ceiling_gets_exactly_what_it_names() {
        let narrowed = submission(json!({}), json!({"memory_bytes": 1 << 30}));
        let (policy, limits) = permit(&narrowed, OmittedPolicy::WholeCeiling).unwrap().into_parts();
        assert_eq!(policy, Policy::default());
        assert_eq!((limits.memory_bytes, limits.timeout_ms), (Bytes(1 << 30), Millis(2000)));
    }

    #[test]
    fn more_than_the_ceiling_gets_no_permit() {
        for (policy, limits, field) in [
            (json!({"exec": true}), json!({}), "policy.exec"),
            (json!({"fs": {"read": ["/etc"]}}), json!({}), "policy.fs.read"),
            (json!({}), json!({"timeout_ms": 2001}), "limits.timeout_ms"),
        ] {
            let wider = submission(policy, limits);
            let widened = permit(&wider, OmittedPolicy::WholeCeiling).unwrap_err();
            assert_eq!(widened.field, field);
        }
    }

    #[test]
    fn a_caller_grants_what_it_requests_and_has_the_default_limits() {
        let submission = submission(json!({"exec": true}), json!({"processes": 9}));
        let access = GrantedAccess::of_caller(&submission, Limits::default());
        assert!(access.policy.exec == Exec::Granted && access.ceiling.is_none());
        assert_eq!(access.limits, Limits { processes: 9, ..Limits::default() });
    }
}

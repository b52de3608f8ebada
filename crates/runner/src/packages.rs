//! The packages that runs can use, within the package policies of everyone who sets one.

use std::collections::BTreeSet;

use belljar_environments::{Environments, RunPackages};
use belljar_protocol::{PackagePolicy, RunSubmission};

/// The packages that runs can use.
#[derive(Clone, Debug)]
pub struct Packages {
    environments: Environments,
    policy: PackagePolicy,
}

impl Packages {
    /// Returns the packages that a policy allows, installed in these environments.
    pub fn new(environments: Environments, policy: PackagePolicy) -> Self {
        Self { environments, policy }
    }

    /// Returns the packages that another policy allows, too.
    #[must_use]
    pub fn within(self, policy: &PackagePolicy) -> Self {
        Self { policy: self.policy.within(policy), ..self }
    }

    /// Returns the policy that allows or blocks packages.
    pub fn policy(&self) -> &PackagePolicy {
        &self.policy
    }

    /// Returns the packages of one run. Its program is parsed in sandboxes of `tenant`.
    pub(crate) fn of_run(
        self,
        submission: &RunSubmission,
        tenant: Option<String>,
        not_submitted: BTreeSet<String>,
    ) -> RunPackages {
        let (listed, options) = (submission.packages.clone(), submission.package_options.clone());
        RunPackages::new(self.environments, listed, options, self.policy, tenant)
            .with_unsubmitted(not_submitted)
    }
}

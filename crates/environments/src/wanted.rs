//! The packages that a program needs.

use std::collections::BTreeSet;

use belljar_protocol::RuntimeName;

use crate::lock::Lock;
use crate::requirement::{Ecosystem, Requirement, VersionSpecifiers};

/// The packages that a program needs, and the rules for installing them.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Runtime of the program.
    pub runtime: RuntimeName,
    /// Ecosystem of the packages.
    pub ecosystem: Ecosystem,
    /// Required packages. Ignored if there is a lock.
    pub requirements: Vec<Requirement>,
    /// Lock that was submitted with the run.
    pub lock: Option<Lock>,
    /// Versions of Python that the program supports.
    pub requires_python: VersionSpecifiers,
    /// Modules of packages that the program imports in any case, or `None` if they are not known.
    pub modules: Option<Vec<String>>,
    /// Names of packages that may be missing in the registry, and are left out then.
    pub may_be_missing: BTreeSet<String>,
    /// Names of packages that the program can do without. They are left out if they cannot be
    /// installed together with the others.
    pub optional: BTreeSet<String>,
    /// Names of packages that a comment of the program requests.
    pub added: BTreeSet<String>,
    /// Whether packages that are not in a lock are refused.
    pub frozen: bool,
    /// Whether fetching is disabled.
    pub offline: bool,
    /// Whether packages' own code may run to build them.
    pub allow_build: bool,
    /// Minimum age of versions in days, or `None` for the policy's.
    pub minimum_release_age_days: Option<u32>,
    /// Whether the packages are resolved again even if a resolution is cached.
    pub upgrade: bool,
}

impl Wanted {
    /// Returns a request for packages under the policy's rules.
    pub fn new(runtime: RuntimeName, ecosystem: Ecosystem, requirements: Vec<Requirement>) -> Self {
        Self {
            runtime,
            ecosystem,
            requirements,
            lock: None,
            requires_python: VersionSpecifiers::default(),
            modules: None,
            may_be_missing: BTreeSet::new(),
            optional: BTreeSet::new(),
            added: BTreeSet::new(),
            frozen: false,
            offline: false,
            allow_build: false,
            minimum_release_age_days: None,
            upgrade: false,
        }
    }
}

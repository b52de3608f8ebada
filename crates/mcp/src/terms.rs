//! The grants, limits and packages of calls, as the tool describes them.

use belljar_protocol::{Ceiling, Limits, PackagePolicy, Policy, ProjectSettings, RequestedLimits};

use crate::remote_bounds::{RemoteBounds, RemotePackages};

/// The terms on which programs run.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) place: Place,
    /// Grants of a call that requests none.
    pub(crate) policy: Policy,
    /// Limits of a call that requests none.
    pub(crate) defaults: Limits,
    /// Highest limits that a call can request, as far as they are known.
    pub(crate) most: RequestedLimits,
    /// Packages that programs can use, or `None` if the server alone knows.
    pub(crate) packages: Option<PackagePolicy>,
}

/// The place where programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The machine of this process.
    Here,
    /// A Belljar server.
    Server,
}

impl Terms {
    /// Returns the terms of runs on this machine.
    pub(crate) fn of_ceiling(
        ceiling: &Ceiling,
        defaults: Limits,
        packages: &PackagePolicy,
    ) -> Self {
        Self {
            place: Place::Here,
            policy: ceiling.policy.clone(),
            defaults: defaults.at_most(ceiling.limits),
            most: ceiling.limits.into(),
            packages: Some(packages.clone()),
        }
    }

    /// Returns the terms of runs on a server. `project` has the settings in force, if they are
    /// known.
    pub(crate) fn on_server(bounds: &RemoteBounds, project: Option<&ProjectSettings>) -> Self {
        let ceiling = project.map(|project| project.limits).unwrap_or_default();
        let most = bounds.limits.or(ceiling);
        let packages = match bounds.packages {
            RemotePackages::None => {
                Some(PackagePolicy { enabled: false, ..PackagePolicy::default() })
            }
            RemotePackages::OfServer => project.map(|project| project.packages.clone()),
        };
        Self {
            place: Place::Server,
            policy: bounds.policy.clone(),
            // The server lowers its defaults to the ceiling of the project.
            defaults: bounds.limits.over(Limits::default().at_most(ceiling.over(Limits::MAX))),
            most,
            packages,
        }
    }
}

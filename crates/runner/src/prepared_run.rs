//! A run that is ready for the engine.

use std::sync::Arc;

use belljar_engine::RunHost;
use belljar_environments::RunPackages;
use belljar_protocol::{RunRequest, RunSubmission};

use crate::access::GrantedAccess;
use crate::contents::Contents;
use crate::packages::Packages;

/// A run that is ready for [`Engine::run_with`](belljar_engine::Engine::run_with).
#[derive(Debug)]
pub struct PreparedRun {
    /// Request to the engine.
    pub request: RunRequest,
    /// Parts of the host that the run may use.
    pub host: RunHost,
    /// Packages of the run, which are also the host's environments. They have the lock file of the
    /// run once it has ended.
    pub packages: Arc<RunPackages>,
}

impl PreparedRun {
    /// Prepares a run. `host` has the parts that only the interface knows: its ceiling and
    /// environments are replaced by those of `access` and `packages`.
    pub fn new(
        submission: &RunSubmission,
        contents: Contents,
        access: GrantedAccess,
        packages: Packages,
        host: RunHost,
    ) -> Self {
        let Contents { files, stdin, not_submitted } = contents;
        let GrantedAccess { mut policy, limits, ceiling } = access;
        policy.env.extend(submission.env.iter().map(|(name, value)| (name.clone(), value.clone())));
        let packages = Arc::new(packages.of_run(submission, host.tenant.clone(), not_submitted));
        let request = RunRequest {
            language: submission.language,
            runtime: submission.runtime.clone(),
            entry: submission.entry_name(),
            files,
            parameters: submission.parameters.clone().unwrap_or_else(RunRequest::no_parameters),
            arguments: submission.arguments.clone(),
            stdin,
            outputs: submission.outputs.clone(),
            policy,
            limits,
            finish: submission.finish,
            seed: submission.seed,
            start: submission.start,
        };
        let environments = Some(Arc::clone(&packages) as Arc<_>);
        Self { request, host: RunHost { environments, ceiling, ..host }, packages }
    }
}

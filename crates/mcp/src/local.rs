//! The execution of programs by the engine of this machine, under the ceiling that the operator set
//! with flags.

use std::sync::Arc;

use belljar_engine::{CeilingGrants, Engine, Finished, RunEvent, RunHost};
use belljar_protocol::{Audience, Ceiling, LimitTerms, Limits, RunRequest, RunSubmission};
use belljar_runner::{Contents, GrantedAccess, Packages, PreparedRun};

use crate::arguments::{InvalidArguments, permit};
use crate::artifact_contents::ArtifactContents;
use crate::call::{Ended, Ending};
use crate::progress::Progress;
use crate::terms::Terms;

/// An executor that runs programs on this machine.
#[derive(Debug)]
pub struct LocalExecutor {
    engine: Engine,
    ceiling: Ceiling,
    /// The limits of a call that requests none, if the ceiling is not lower.
    defaults: Limits,
    /// The paths of the ceiling, opened when the server started.
    grants: Arc<CeilingGrants>,
    packages: Packages,
}

/// A program that is ready for the engine.
pub(crate) struct LocalProgram<'a> {
    engine: &'a Engine,
    request: RunRequest,
    host: RunHost,
}

impl LocalExecutor {
    /// Returns an executor that runs programs under a ceiling. `grants` are the paths of that
    /// ceiling, opened by the same engine. Limits that a call omits are those of a local run on
    /// this machine.
    pub fn new(
        engine: Engine,
        ceiling: Ceiling,
        grants: CeilingGrants,
        packages: Packages,
    ) -> Self {
        let defaults = engine.machine().local_defaults();
        Self { engine, ceiling, defaults, grants: Arc::new(grants), packages }
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms::of_ceiling(&self.ceiling, self.defaults, self.packages.policy())
    }

    pub(crate) fn accept(
        &self,
        submission: &RunSubmission,
    ) -> Result<LocalProgram<'_>, InvalidArguments> {
        let contents = Contents::of(submission, [])?;
        let permit = permit(submission, &self.ceiling, self.defaults)?;
        let access = GrantedAccess::under_ceiling(permit, Arc::clone(&self.grants));
        let terms = LimitTerms {
            audience: Audience::Model,
            requested: submission.limits,
            defaults: self.defaults,
            most: self.ceiling.limits,
            ..LimitTerms::default()
        };
        let host = RunHost { terms, ..RunHost::default() };
        let PreparedRun { request, host, .. } =
            PreparedRun::new(submission, contents, access, self.packages.clone(), host);
        Ok(LocalProgram { engine: &self.engine, request, host })
    }
}

impl LocalProgram<'_> {
    /// Dropping this future drops the run, which cancels it.
    pub(crate) async fn execute(self, ending: &Ending<'_>, progress: Option<&Progress>) -> Ended {
        let mut run = self.engine.run_with(self.request, self.host);
        let canceller = run.canceller();
        let mut is_cancelled = false;
        loop {
            let event = tokio::select! {
                biased;
                _ = ending.wanted(), if !is_cancelled => {
                    is_cancelled = true;
                    canceller.cancel();
                    continue;
                }
                event = run.next_event() => event,
            };
            match (event, progress) {
                (None, _) => break,
                (Some(RunEvent::Event(event)), Some(progress)) => progress.send(event.kind),
                _ => {}
            }
        }
        let Finished { outcome, artifacts } = run.finished().await;
        Ended { outcome, contents: ArtifactContents::Files(artifacts) }
    }
}

//! The parts of the host that a run may use, each of them optional.

use std::sync::Arc;
use std::time::Instant;

use belljar_protocol::{LimitTerms, RunId};

use super::artifacts::ArtifactRoom;
use super::left_behind::LeftFiles;
use crate::call_handler::CallHandler;
use crate::environment::EnvironmentSource;
use crate::grants::CeilingGrants;

/// The parts of the host that a run may use, in addition to its request. The default offers none.
#[derive(Clone, Debug, Default)]
pub struct RunHost {
    /// Id of the run, if the host has already recorded it. Default: a new id.
    pub id: Option<RunId>,
    /// Time at which the host accepted the run, from which its preparation is measured. Default:
    /// the time at which the engine receives it.
    pub accepted_at: Option<Instant>,
    /// Handler of the storage calls of the run. A run whose policy names storage is refused without
    /// one.
    pub calls: Option<Arc<dyn CallHandler>>,
    /// Tenant of the run. Tenants never share a zygote; runs without a tenant share theirs.
    pub tenant: Option<String>,
    /// Source of the environment with the run's packages. Without one, the run has no packages.
    pub environments: Option<Arc<dyn EnvironmentSource>>,
    /// Ceiling within which the run's granted paths are resolved. Without one, they are the
    /// caller's own paths.
    pub ceiling: Option<Arc<CeilingGrants>>,
    /// Limit on the bytes of artifacts. It is consulted once the program has ended, before any
    /// artifact is read.
    pub room: Option<Arc<dyn ArtifactRoom>>,
    /// Treatment of files that the program leaves in its working folder outside of `outputs/`.
    pub left_files: LeftFiles,
    /// Sources of the limits of the run, for its errors and hints.
    pub terms: LimitTerms,
}

//! The properties of a sandbox that are fixed when it is created, and the keys by which parked
//! sandboxes and zygotes are selected.

use std::sync::Arc;

use belljar_protocol::{Exec, Limits, Network, Policy};

use crate::activation::Task;
use crate::environment::{Environment, Preload};
use crate::error::EngineError;
use crate::grants::Grants;
use crate::process::{GroupLimits, Internet};
use crate::runtime::Runtime;

/// The properties that are fixed when a sandbox is created, by which parked sandboxes are selected.
#[derive(Clone, Debug)]
pub struct SandboxSpec {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) tenant: Option<String>,
    pub(crate) environment: Option<Arc<Environment>>,
    pub(crate) grants: Grants,
    pub(crate) exec: Exec,
    pub(crate) network: Network,
    pub(crate) limits: Limits,
    pub(crate) task: Task,
}

/// The key of a spec: sandboxes with equal keys are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SandboxKey {
    zygote: ZygoteKey,
    exec: Exec,
    network: Network,
    limits: Limits,
    task: Task,
}

impl SandboxKey {
    /// Returns whether such sandboxes are forks of this zygote.
    pub(crate) fn is_of(&self, zygote: &ZygoteKey) -> bool {
        self.zygote == *zygote
    }

    pub(crate) fn zygote_key(&self) -> &ZygoteKey {
        &self.zygote
    }

    /// Returns the tenant of such sandboxes.
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.zygote.tenant.as_deref()
    }
}

/// The key of a zygote: sandboxes with equal keys are forks of the same zygote.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ZygoteKey {
    runtime: String,
    tenant: Option<String>,
    environment: Option<Arc<Environment>>,
    grants: Grants,
}

impl SandboxSpec {
    /// Returns the spec of a sandbox with this policy and these limits. Opens the granted paths, as
    /// the caller's own paths.
    pub fn new(
        runtime: Arc<Runtime>,
        policy: &Policy,
        limits: &Limits,
    ) -> Result<Self, EngineError> {
        policy.validate()?;
        limits.validate()?;
        Ok(Self::with_grants(runtime, policy, limits, Grants::of_caller(&policy.fs)?))
    }

    /// Returns the spec of a sandbox with granted paths that are already open.
    pub(crate) fn with_grants(
        runtime: Arc<Runtime>,
        policy: &Policy,
        limits: &Limits,
        grants: Grants,
    ) -> Self {
        Self {
            runtime,
            tenant: None,
            environment: None,
            grants,
            exec: policy.exec,
            network: policy.network,
            limits: *limits,
            task: Task::Run,
        }
    }

    /// Returns the spec for a tenant. A tenant never shares a zygote with another, and therefore
    /// shares no address layout and no memory from before a fork.
    #[must_use]
    pub fn of_tenant(self, tenant: Option<String>) -> Self {
        Self { tenant, ..self }
    }

    /// Returns the spec with an environment of packages.
    #[must_use]
    pub fn with_environment(self, environment: Option<Arc<Environment>>) -> Self {
        Self { environment, ..self }
    }

    /// Returns the spec without preloaded modules, or `None` if it has none.
    pub(crate) fn without_modules(&self) -> Option<Self> {
        let environment =
            self.environment.as_ref().filter(|environment| !environment.modules.is_empty())?;
        Some(self.clone().with_environment(Some(Arc::new(environment.without_modules()))))
    }

    /// Returns the spec with modules preloaded in each sandbox instead of the zygote.
    pub(crate) fn preloading_in_sandbox(self) -> Self {
        let environment = self.environment.as_deref().cloned();
        let environment = environment.map(|environment| {
            Arc::new(Environment { preload: Preload::InSandbox, ..environment })
        });
        Self { environment, ..self }
    }

    /// Returns the spec for another task. A sandbox is never used for a different task than it was
    /// created for.
    pub(crate) fn for_task(self, task: Task) -> Self {
        Self { task, ..self }
    }

    pub(crate) fn key(&self) -> SandboxKey {
        let Self { exec, network, limits, task, .. } = self;
        // The supervisor alone enforces the timeout, so it makes no difference to a parked sandbox.
        let limits = Limits { timeout_ms: Limits::default().timeout_ms, ..*limits };
        SandboxKey {
            zygote: self.zygote_key(),
            exec: *exec,
            network: *network,
            limits,
            task: *task,
        }
    }

    pub(crate) fn zygote_key(&self) -> ZygoteKey {
        ZygoteKey {
            runtime: self.runtime.identity.clone(),
            tenant: self.tenant.clone(),
            environment: self.environment.clone(),
            grants: self.grants.clone(),
        }
    }

    pub(crate) fn group_limits(&self) -> GroupLimits {
        GroupLimits {
            memory_bytes: self.limits.memory_bytes.0,
            processes: self.limits.processes,
            internet: match self.network {
                Network::None => Internet::None,
                Network::Loopback | Network::Granted => Internet::Sockets,
            },
        }
    }

    /// Returns whether a sandbox preloads modules itself. `origin` is the process that has
    /// preloaded the modules that are meant for a zygote: the zygote, unless there is none or it
    /// could not.
    pub(crate) fn preloads_itself(&self, origin: Preload) -> bool {
        self.environment.as_ref().is_some_and(|environment| {
            !environment.modules.is_empty()
                && [environment.preload, origin].contains(&Preload::InSandbox)
        })
    }
}

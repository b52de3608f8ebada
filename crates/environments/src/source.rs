//! The packages of one run, as the engine asks for them: what its request and its program say, made into an environment.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use belljar_engine::{Environment, EnvironmentSource};
use belljar_protocol::{Language, PackageOptions, PackagePolicy, ProgramFile, RunError, RunRequest, RuntimeName};

use crate::detect::{Detection, NamedImports, detect};
use crate::environments::{Environments, Prepared, Tell, Wanted};
use crate::error::EnvironmentError;
use crate::lock::Lock;
use crate::requirement::{Ecosystem, Requirement};

/// The packages of one run.
#[derive(Debug)]
pub struct RunPackages {
    environments: Environments,
    packages: Vec<String>,
    options: PackageOptions,
    policy: PackagePolicy,
    tenant: Option<String>,
    prepared: Mutex<Option<Prepared>>,
}

impl RunPackages {
    /// What a run asks for, `packages` in its registry's notation, within a policy. Programs are read in sandboxes of `tenant`.
    pub fn new(
        environments: Environments,
        packages: Vec<String>,
        options: PackageOptions,
        policy: PackagePolicy,
        tenant: Option<String>,
    ) -> Self {
        Self { environments, packages, options, policy, tenant, prepared: Mutex::default() }
    }

    /// The environment that the run got, once it has one.
    pub fn prepared(&self) -> Option<Prepared> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a program needs; `None` where that is nothing.
    pub async fn wanted(
        &self,
        language: Language,
        runtime: Option<RuntimeName>,
        files: &[ProgramFile],
    ) -> Result<Option<Wanted>, EnvironmentError> {
        let Self { environments, packages, options, policy, tenant, .. } = self;
        let is_asked = !packages.is_empty() || options.lock.is_some();
        if options.none || !policy.enabled && !is_asked {
            return Ok(None);
        }
        let ecosystem = Ecosystem::of(language);
        let explicit = packages.iter().map(|text| Requirement::parse(ecosystem, text)).collect::<Result<Vec<_>, _>>()?;
        let lock = options.lock.as_deref().map(|text| Lock::parse(text, &environments.indexes())).transpose()?;
        let (requirements, modules) = match detect(&explicit, lock.is_some(), language, files)? {
            Detection::None => return Ok(None),
            Detection::Requirements(requirements) => (requirements, Vec::new()),
            Detection::NeedsParser => {
                let imports = NamedImports::from(environments.found_imports(language, runtime.clone(), tenant.clone(), files).await?);
                let requirements = imports.requirements(language, files)?;
                if requirements.is_empty() {
                    return Ok(None);
                }
                (requirements, imports.modules(language, files))
            }
        };
        if requirements.is_empty() && lock.is_none() {
            return Ok(None);
        }
        let runtime = runtime.unwrap_or_else(|| language.default_runtime());
        Ok(Some(Wanted {
            lock,
            modules,
            frozen: options.frozen,
            offline: options.offline,
            allow_build: options.allow_build,
            minimum_release_age_days: options.minimum_release_age_days,
            ..Wanted::new(runtime, ecosystem, requirements)
        }))
    }

    async fn prepare(&self, request: &RunRequest, tell: Tell) -> Result<Option<Arc<Environment>>, EnvironmentError> {
        let mut files = request.files.clone();
        // The entry first: it is the one that may say what it needs in itself.
        files.sort_by_key(|file| file.path != request.entry);
        let Some(wanted) = self.wanted(request.language, request.runtime.clone(), &files).await? else { return Ok(None) };
        let prepared = self.environments.prepare(&wanted, &self.policy, &tell).await?;
        let environment = Arc::clone(&prepared.environment);
        *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some(prepared);
        Ok(Some(environment))
    }
}

impl EnvironmentSource for RunPackages {
    fn environment<'a>(
        &'a self,
        request: &'a RunRequest,
        tell: Tell,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Arc<Environment>>, RunError>> + Send + 'a>> {
        Box::pin(async move {
            self.prepare(request, tell).await.map_err(|error| RunError {
                name: error.name().into(),
                message: if self.tenant.is_some() { error.for_tenants() } else { error.to_string() },
                ..RunError::default()
            })
        })
    }
}

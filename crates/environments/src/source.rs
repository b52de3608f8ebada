//! The packages of one run, as the engine asks for them: what its request and its program say, made into an environment.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use belljar_engine::{Environment, EnvironmentSource, FoundImports};
use belljar_protocol::{Language, PackageOptions, PackagePolicy, ProgramFile, RunError, RunRequest, RuntimeName, StartMode};

use crate::detect::{Detection, LockPresence, NamedImport, NamedImports, Presence, Program, SourceFile, detect, from_imports};
use crate::environments::{Environments, Prepared, Tell, Wanted};
use crate::error::EnvironmentError;
use crate::imports::{OwnFiles, module_distribution, specifier_package};
use crate::lock::Lock;
use crate::requirement::{Ecosystem, Requirement, VersionSpecifiers};

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

    /// What a program needs, the first of `files` its entry; `None` where that is nothing. `start` is that of the sandbox that reads it.
    pub async fn wanted(
        &self,
        language: Language,
        runtime: Option<RuntimeName>,
        start: StartMode,
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
        let presence = if lock.is_some() { LockPresence::Given } else { LockPresence::Absent };
        let sources: Vec<SourceFile<'_>> = files.iter().map(|file| SourceFile { path: file.path.as_str(), bytes: &file.content }).collect();
        let entry = files.first().map_or("", |file| file.path.as_str());
        let program = Program { language, entry, files: &sources };
        let mut requires_python = VersionSpecifiers::default();
        let explicit = Some(&explicit[..]).filter(|explicit| !explicit.is_empty());
        let (requirements, modules) = match detect(explicit, presence, &program)? {
            Detection::None => return Ok(None),
            Detection::Explicit(requirements) => (requirements, Vec::new()),
            Detection::Lock => (Vec::new(), Vec::new()),
            Detection::Manifest { requirements, requires_python: wanted, .. } => {
                requires_python = wanted;
                (requirements, Vec::new())
            }
            Detection::NeedsParser { .. } => {
                let found = environments.found_imports(language, runtime.clone(), tenant.clone(), start, files).await?;
                let named = named(&found);
                (from_imports(&program, &named)?, modules(&program, &named))
            }
        };
        if requirements.is_empty() && lock.is_none() {
            return Ok(None);
        }
        let runtime = runtime.unwrap_or_else(|| language.default_runtime());
        Ok(Some(Wanted {
            lock,
            modules,
            requires_python,
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
        let Some(wanted) = self.wanted(request.language, request.runtime.clone(), request.start, &files).await? else { return Ok(None) };
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

fn named(found: &FoundImports) -> NamedImports {
    let presence = |is_optional| if is_optional { Presence::Optional } else { Presence::Required };
    let imports = found.imports.iter().map(|import| NamedImport { name: import.name.clone(), presence: presence(import.is_optional) });
    NamedImports { imports: imports.collect(), additions: found.additions.clone() }
}

/// What of the imports comes from packages, as it is imported: worth importing ahead.
fn modules(program: &Program<'_>, named: &NamedImports) -> Vec<String> {
    let own = OwnFiles::new(program.files.iter().map(|file| file.path), program.entry);
    let required = named.imports.iter().filter(|import| import.presence == Presence::Required);
    let modules = required.filter_map(|import| match Ecosystem::of(program.language) {
        Ecosystem::PyPi => module_distribution(&import.name, &own).map(|_| import.name.clone()),
        Ecosystem::Npm => {
            let name = specifier_package(&import.name).filter(|name| !own.provide(Ecosystem::Npm, name))?;
            Some(if import.name.starts_with("npm:") { name.to_owned() } else { import.name.clone() })
        }
    });
    modules.collect()
}

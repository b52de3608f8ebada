//! The packages of one run, as the engine asks for them: what its request and its program say, made into an environment.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use belljar_engine::{Environment, EnvironmentSource, FoundImport, FoundImports};
use belljar_protocol::{Language, PackageOptions, PackagePolicy, ProgramFile, RunError, RunRequest, RuntimeName, StartMode};

use crate::detect::{Detection, LockPresence, ManifestSource, Program, SourceFile, detect, from_imports};
use crate::early::changes_what_imports_see;
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
    beside: BTreeSet<String>,
    prepared: Mutex<Option<Prepared>>,
    /// What decided which packages the run has, in words, and how another gets there.
    decided: Mutex<Option<&'static str>>,
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
        let (beside, prepared, decided) = (BTreeSet::new(), Mutex::default(), Mutex::default());
        Self { environments, packages, options, policy, tenant, beside, prepared, decided }
    }

    /// Modules that lie beside the program where it came from, and did not come with it: a package of that name is not what the program means.
    #[must_use]
    pub fn lying_beside(mut self, modules: BTreeSet<String>) -> Self {
        self.beside = modules;
        self
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
        let decided = |words| *self.decided.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
        self.must_not_contradict_itself()?;
        if options.none {
            decided("the run wants no packages; leave that out (--no-packages, package_options.none)");
            return Ok(None);
        }
        if !policy.enabled && !is_asked {
            decided("packages are switched off here; use what the runtime brings along, or ask the operator");
            return Ok(None);
        }
        let ecosystem = Ecosystem::of(language);
        let explicit = packages.iter().map(|text| Requirement::parse(ecosystem, text)).collect::<Result<Vec<_>, _>>()?;
        let lock = options.lock.as_deref().map(|text| Lock::parse(text, &environments.indexes())).transpose()?;
        let sources: Vec<SourceFile<'_>> = files.iter().map(|file| SourceFile { path: file.path.as_str(), bytes: &file.content }).collect();
        let entry = files.first().map_or("", |file| file.path.as_str());
        let program = Program { language, entry, files: &sources };
        let mut requires_python = VersionSpecifiers::default();
        let explicit = Some(&explicit[..]).filter(|explicit| !explicit.is_empty());
        // What a lock has to hold is found as if there were none.
        let presence = if lock.is_some() && !options.frozen { LockPresence::Given } else { LockPresence::Absent };
        let (requirements, modules) = match detect(explicit, presence, &program)? {
            Detection::None => {
                decided("the program's files name no package where it is imported; ask for it (--package, packages)");
                (Vec::new(), Vec::new())
            }
            Detection::Explicit(requirements) => {
                decided("only the packages that were asked for are there; ask for this one too (--package, packages)");
                (requirements, Vec::new())
            }
            Detection::Lock => (Vec::new(), Vec::new()),
            Detection::Manifest { requirements, requires_python: wanted, source } => {
                decided(match source {
                    ManifestSource::ScriptBlock => {
                        "the script block of the program decides, and does not bring it; add it to its dependencies"
                    }
                    ManifestSource::RequirementsTxt => "requirements.txt decides, and does not bring it; add it there",
                    ManifestSource::PackageJson => "the dependencies of package.json decide, and do not bring it; add it there",
                });
                requires_python = wanted;
                (requirements, Vec::new())
            }
            Detection::NeedsParser => {
                decided("the program's files name no package where it is imported; ask for it (--package, packages)");
                let found = environments.found_imports(language, runtime.clone(), tenant.clone(), start, files).await?;
                self.must_not_lie_beside(&program, &found)?;
                (from_imports(&program, &found)?, modules(&program, &found))
            }
        };
        let requirements = match &lock {
            None => requirements,
            Some(lock) => {
                decided("the lock of the run decides, and does not hold it; make one that does");
                must_hold(lock, &requirements)?;
                Vec::new()
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

    fn must_not_contradict_itself(&self) -> Result<(), EnvironmentError> {
        let (has_list, has_lock) = (!self.packages.is_empty(), self.options.lock.is_some());
        let why = match (self.options.none, has_list, has_lock) {
            (true, true, _) | (true, _, true) => "the run wants no packages, and asks for some; leave one of both out",
            (_, true, true) => "the run has a list of packages and a lock; give one of them: the lock holds all that is installed",
            _ => return Ok(()),
        };
        Err(EnvironmentError::Manifest(why.to_owned()))
    }

    fn must_not_lie_beside(&self, program: &Program<'_>, found: &FoundImports) -> Result<(), EnvironmentError> {
        let own = OwnFiles::new(program.files.iter().map(|file| file.path), program.entry);
        let top = |import: &FoundImport| import.name.split('.').next().unwrap_or_default().to_owned();
        let beside = found.imports.iter().filter(|import| module_distribution(&import.name, &own).is_some()).map(top);
        match beside.filter(|_| program.language == Language::Python).find(|module| self.beside.contains(module)) {
            Some(module) => Err(EnvironmentError::LiesBeside(module)),
            None => Ok(()),
        }
    }

    async fn prepare(&self, request: &RunRequest, tell: Tell) -> Result<Option<Arc<Environment>>, EnvironmentError> {
        let mut files = request.files.clone();
        // The entry first: it is the one that may say what it needs in itself.
        files.sort_by_key(|file| file.path != request.entry);
        let Some(wanted) = self.wanted(request.language, request.runtime.clone(), request.start, &files).await? else { return Ok(None) };
        let prepared = self.environments.prepare(&wanted, &self.policy, &tell).await?;
        let is_early = request.language == Language::Python && changes_what_imports_see(&files);
        let environment = if is_early { Arc::new(prepared.environment.without_modules()) } else { Arc::clone(&prepared.environment) };
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
            self.prepare(request, tell).await.map_err(|error| {
                let told = if self.tenant.is_some() { error.for_tenants() } else { error.to_string() };
                if error.is_the_operators() {
                    tracing::warn!(%error, "a run got no environment");
                }
                RunError { name: error.name().into(), message: told, ..RunError::default() }
            })
        })
    }

    fn why_missing(&self) -> Option<String> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner).map(str::to_owned)
    }
}

/// What a program needs wherever it runs has to be in its lock. What it needs in some places is the lock's author's to know.
fn must_hold(lock: &Lock, requirements: &[Requirement]) -> Result<(), EnvironmentError> {
    let is_locked = |requirement: &Requirement| lock.packages.iter().any(|package| package.name == requirement.name());
    let unlocked = requirements.iter().filter(|requirement| !requirement.has_marker() && !is_locked(requirement));
    let names: Vec<&str> = unlocked.map(Requirement::name).collect();
    if names.is_empty() { Ok(()) } else { Err(EnvironmentError::Unlocked(names.join(", "))) }
}

/// What of the imports comes from packages, as it is imported: worth importing ahead.
fn modules(program: &Program<'_>, found: &FoundImports) -> Vec<String> {
    let own = OwnFiles::new(program.files.iter().map(|file| file.path), program.entry);
    let required = found.imports.iter().filter(|import| !import.is_optional);
    let modules = required.filter_map(|import| match Ecosystem::of(program.language) {
        Ecosystem::PyPi => module_distribution(&import.name, &own).filter(|_| found.is_sure(&import.name)).map(|_| import.name.clone()),
        Ecosystem::Npm => {
            let name = specifier_package(&import.name).filter(|name| !own.provide(Ecosystem::Npm, name))?;
            Some(if import.name.starts_with("npm:") { name.to_owned() } else { import.name.clone() })
        }
    });
    modules.collect()
}

//! The packages of one run, as the engine requests them.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use belljar_engine::{Environment, EnvironmentSource, FoundImports};
use belljar_protocol::{
    Language, PackageOptions, PackagePolicy, Policy, ProgramFile, RunError, RunRequest,
    RuntimeName, StartMode,
};

use crate::detect::{
    Detection, LockPresence, Needs, Program, SourceFile, detect, from_imports, own_files,
};
use crate::early::changes_what_imports_see;
use crate::environments::Environments;
use crate::error::EnvironmentError;
use crate::granted;
use crate::hints::{Decision, Known, not_in_registry};
use crate::imports::{module_distribution, specifier_package};
use crate::lock::Lock;
use crate::own_files::{MAX_TEXT_BYTES, OwnFiles, Surroundings};
use crate::prepared::PreparedEnvironment;
use crate::progress::Tell;
use crate::renamed::renamed;
use crate::requirement::{Ecosystem, Requirement, VersionSpecifiers, merged, over};
use crate::wanted::Wanted;

/// The packages of one run.
#[derive(Debug)]
pub struct RunPackages {
    environments: Environments,
    packages: Vec<String>,
    options: PackageOptions,
    policy: PackagePolicy,
    tenant: Option<String>,
    not_submitted: BTreeSet<String>,
    prepared: Mutex<Option<PreparedEnvironment>>,
    /// The packages of the run, for hints.
    known: Mutex<Option<Known>>,
    notes: Mutex<Vec<String>>,
}

impl RunPackages {
    /// Returns the packages of a run within a policy. `packages` are in the notation of their
    /// registry. Programs are parsed in sandboxes of `tenant`.
    pub fn new(
        environments: Environments,
        packages: Vec<String>,
        options: PackageOptions,
        policy: PackagePolicy,
        tenant: Option<String>,
    ) -> Self {
        let (not_submitted, prepared, known, notes) =
            (BTreeSet::new(), Mutex::default(), Mutex::default(), Mutex::default());
        Self {
            environments,
            packages,
            options,
            policy,
            tenant,
            not_submitted,
            prepared,
            known,
            notes,
        }
    }

    /// Adds modules that were next to the program but not submitted with it. A package of such a
    /// name is not what the program means.
    #[must_use]
    pub fn with_unsubmitted(mut self, modules: BTreeSet<String>) -> Self {
        self.not_submitted = modules;
        self
    }

    /// Returns the environment of the run after it was prepared.
    pub fn prepared(&self) -> Option<PreparedEnvironment> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the packages that a program needs, or `None` if it needs none. The first of `files`
    /// is its entry, and `start` is the start mode of the sandbox that parses it.
    pub async fn wanted(
        &self,
        language: Language,
        runtime: Option<RuntimeName>,
        start: StartMode,
        files: &[ProgramFile],
    ) -> Result<Option<Wanted>, EnvironmentError> {
        self.wanted_within(language, runtime, start, files, &Policy::default()).await
    }

    /// Returns the packages of a program that may access what `granted` grants.
    async fn wanted_within(
        &self,
        language: Language,
        runtime: Option<RuntimeName>,
        start: StartMode,
        files: &[ProgramFile],
        granted: &Policy,
    ) -> Result<Option<Wanted>, EnvironmentError> {
        let Self { environments, packages, options, policy, tenant, .. } = self;
        let is_asked = !packages.is_empty() || options.lock.is_some();
        let ecosystem = Ecosystem::of(language);
        let sources: Vec<SourceFile<'_>> = files
            .iter()
            .map(|file| SourceFile { path: file.path.as_str(), bytes: &file.content })
            .collect();
        let entry = files.first().map_or("", |file| file.path.as_str());
        let program = Program { language, entry, files: &sources };
        let decided = |decision, own: &OwnFiles| {
            let known = Known {
                language,
                decision,
                own: own.clone(),
                missing: Vec::new(),
                installed: Vec::new(),
                unbuilt: Vec::new(),
            };
            *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        };
        self.must_not_contradict_itself()?;
        if options.none {
            decided(Decision::NoPackages, &OwnFiles::default());
            return Ok(None);
        }
        if !policy.enabled && !is_asked {
            decided(Decision::SwitchedOff, &OwnFiles::default());
            return Ok(None);
        }
        let listed = packages
            .iter()
            .map(|text| Requirement::parse(ecosystem, text))
            .collect::<Result<Vec<_>, _>>()?;
        let listed: Vec<Requirement> =
            listed.into_iter().map(|requirement| self.by_its_own_name(requirement)).collect();
        let lock = options
            .lock
            .as_deref()
            .map(|text| Lock::parse(text, &environments.indexes()))
            .transpose()?;
        // At first, only paths count. The content of files and grants only matter for imports.
        let mut own = OwnFiles::new(files.iter().map(|file| file.path.as_str()), entry);
        let mut requires_python = VersionSpecifiers::default();
        let only = Some(&listed[..]).filter(|_| options.only);
        // With `frozen`, the required packages are determined as if there were no lock.
        let presence = if lock.is_some() && !options.frozen {
            LockPresence::Given
        } else {
            LockPresence::Absent
        };
        let (found, modules) = match detect(only, presence, &program, &own)? {
            Detection::None => {
                decided(Decision::Imports, &own);
                (Needs::default(), None)
            }
            Detection::Only(requirements) => {
                decided(Decision::Listed, &own);
                (Needs { requirements, ..Needs::default() }, None)
            }
            Detection::Lock => (Needs::default(), None),
            Detection::Manifest { requirements, requires_python: wanted, source } => {
                decided(Decision::Manifest(source), &own);
                requires_python = wanted;
                let requirements = requirements
                    .into_iter()
                    .map(|requirement| self.by_its_own_name(requirement))
                    .collect();
                (Needs { requirements, ..Needs::default() }, None)
            }
            Detection::NeedsParser => {
                let found = environments
                    .found_imports(language, runtime.clone(), tenant.clone(), start, files)
                    .await?;
                own = self.own_files(language, files, granted).await?.making(&found.own);
                decided(Decision::Imports, &own);
                let allows = |name: &str| policy.allows(ecosystem, name) && !policy.blocks(name);
                let mut needs = from_imports(&program, &found, &own, &listed, allows)?;
                let requirements = needs
                    .requirements
                    .into_iter()
                    .map(|requirement| self.by_its_own_name(requirement));
                needs.requirements = requirements.collect();
                (needs, Some(modules(language, &found, &own)))
            }
        };
        let Needs { requirements, mut may_be_missing, mut optional, added } = found;
        for requirement in &listed {
            may_be_missing.remove(requirement.name());
            optional.remove(requirement.name());
        }
        let requirements =
            if options.only { requirements } else { merged(over(requirements, listed))? };
        let requirements = match &lock {
            None => requirements,
            Some(lock) => {
                decided(Decision::Lock, &own);
                must_hold(
                    lock,
                    requirements
                        .iter()
                        .filter(|requirement| !optional.contains(requirement.name())),
                )?;
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
            may_be_missing,
            optional,
            added,
            frozen: options.frozen,
            offline: options.offline,
            allow_build: options.allow_build,
            minimum_release_age_days: options.minimum_release_age_days,
            ..Wanted::new(runtime, ecosystem, requirements)
        }))
    }

    fn must_not_contradict_itself(&self) -> Result<(), EnvironmentError> {
        let (has_list, has_lock) = (!self.packages.is_empty(), self.options.lock.is_some());
        let (problem, hint) = match (self.options.none, has_list, has_lock) {
            (true, true, _) | (true, _, true) => {
                ("the run excludes all packages, but also requests some", "remove one of the two")
            }
            (_, true, true) => (
                "the run has both a list of packages and a lock file",
                "keep one of them, as a lock file already names everything that is installed",
            ),
            _ if self.options.only && !has_list => (
                "the run installs only the listed packages, but lists none",
                "list packages with --package (packages), or exclude all with --no-packages (none)",
            ),
            _ => return Ok(()),
        };
        Err(EnvironmentError::Request { problem: problem.to_owned(), hint })
    }

    /// Returns the modules that a program brings or creates. This runs on a blocking thread: all
    /// files are read, and the names in granted folders, whose file systems may not answer.
    async fn own_files(
        &self,
        language: Language,
        files: &[ProgramFile],
        policy: &Policy,
    ) -> Result<OwnFiles, EnvironmentError> {
        let folders: Vec<String> = policy.fs.read.iter().chain(&policy.fs.write).cloned().collect();
        let sets_module_path = ["PYTHONPATH", "NODE_PATH"]
            .iter()
            .any(|name| policy.env.get(*name).is_some_and(|value| !value.is_empty()));
        // Only the part of each file that will be read is copied.
        let copy = |file: &ProgramFile| {
            (file.path.clone(), file.content[..file.content.len().min(MAX_TEXT_BYTES)].to_vec())
        };
        let (files, not_submitted) =
            (files.iter().map(copy).collect::<Vec<_>>(), self.not_submitted.clone());
        let read = move || {
            let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
            let mut granted = granted::names_in(&folders);
            granted.extend(
                folders
                    .iter()
                    .filter_map(|path| path.rsplit('/').next()?.split('.').next())
                    .map(str::to_owned),
            );
            let sources: Vec<SourceFile<'_>> = files
                .iter()
                .map(|(path, bytes)| SourceFile { path: path.as_str(), bytes })
                .collect();
            let entry = files.first().map_or("", |(path, _)| path.as_str());
            own_files(
                &Program { language, entry, files: &sources },
                &Surroundings { sets_module_path, granted, not_submitted },
            )
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.map_err(|_| EnvironmentError::Internal("reading the program's files panicked".into()))
    }

    /// Replaces a requirement that names an import, such as `sklearn`, by the intended package.
    fn by_its_own_name(&self, requirement: Requirement) -> Requirement {
        let Some((meant, note)) = renamed(&requirement, self.options.allow_build) else {
            return requirement;
        };
        self.note(note);
        meant
    }

    fn note(&self, note: String) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    async fn prepare(
        &self,
        request: &RunRequest,
        tell: Tell,
    ) -> Result<Option<Arc<Environment>>, EnvironmentError> {
        let mut files = request.files.clone();
        // The entry comes first, because it may contain a script block.
        files.sort_by_key(|file| file.path != request.entry);
        let (language, start, policy) = (request.language, request.start, &request.policy);
        let Some(wanted) =
            self.wanted_within(language, request.runtime.clone(), start, &files, policy).await?
        else {
            return Ok(None);
        };
        let outcome = self.environments.prepare_what_there_is(&wanted, &self.policy, &tell).await?;
        if let Some(known) = &mut *self.known.lock().unwrap_or_else(PoisonError::into_inner) {
            known.missing.clone_from(&outcome.missing);
            known.unbuilt = outcome
                .prepared
                .as_ref()
                .map(|prepared| prepared.record.unbuilt.clone())
                .unwrap_or_default();
            known.installed = outcome
                .prepared
                .as_ref()
                .map(|prepared| prepared.record.packages.clone())
                .unwrap_or_default();
        }
        for note in &outcome.notes {
            self.note(note.clone());
        }
        for name in outcome.missing.iter().filter(|name| wanted.added.contains(*name)) {
            self.note(not_in_registry(wanted.ecosystem, name));
        }
        let is_early = language == Language::Python && changes_what_imports_see(&files);
        let environment = outcome.prepared.as_ref().map(|prepared| {
            if is_early {
                Arc::new(prepared.environment.without_modules())
            } else {
                Arc::clone(&prepared.environment)
            }
        });
        *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = outcome.prepared;
        Ok(environment)
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
                if error.is_the_operators() {
                    tracing::warn!(%error, "a run got no environment");
                }
                if self.tenant.is_some() {
                    error.run_error_for_tenants()
                } else {
                    error.run_error()
                }
            })
        })
    }

    fn hint(&self, error: &RunError) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.hint(error)
    }

    fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Checks that a lock contains the packages that a program always needs. Packages that are needed
/// only in some environments are left to the author of the lock.
fn must_hold<'a>(
    lock: &Lock,
    requirements: impl Iterator<Item = &'a Requirement>,
) -> Result<(), EnvironmentError> {
    let is_locked = |requirement: &Requirement| {
        lock.packages.iter().any(|package| package.name == requirement.name())
    };
    let unlocked =
        requirements.filter(|requirement| !requirement.has_marker() && !is_locked(requirement));
    let names: Vec<&str> = unlocked.map(Requirement::name).collect();
    if names.is_empty() { Ok(()) } else { Err(EnvironmentError::Unlocked(names.join(", "))) }
}

/// Returns the imports that come from packages, which are worth importing in advance.
fn modules(language: Language, found: &FoundImports, own: &OwnFiles) -> Vec<String> {
    let required = found.imports.iter().filter(|import| !import.is_optional);
    let modules = required.filter_map(|import| match Ecosystem::of(language) {
        Ecosystem::PyPi => module_distribution(&import.name, own)
            .filter(|_| found.is_sure(&import.name))
            .map(|_| import.name.clone()),
        Ecosystem::Npm => {
            let name = specifier_package(&import.name)?;
            let is_pinned = import.name.starts_with("npm:");
            let written = if is_pinned { name } else { &import.name };
            (!own.have_specifier(written)).then(|| written.to_owned())
        }
    });
    modules.collect()
}

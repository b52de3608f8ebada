//! Which packages a run gets, decided from what is at hand, cheapest first: a list that was given, a lock that was given, a complete
//! manifest among the program's files, and only then the imports themselves, which the real parser has to find. Nothing is read, started or
//! fetched here.

use belljar_engine::{FoundImport, FoundImports};
use belljar_protocol::Language;

use crate::imports::{OwnFiles, module_distribution, specifier_requirement};
use crate::known::is_known;
use crate::manifest::{ManifestError, PackageJson, addition, package_json, requirements_txt, script_manifest};
use crate::prefilter::may_need_packages;
use crate::python_names::import_name;
use crate::requirement::{Ecosystem, PyPiRequirement, Requirement, RequirementError, VersionSpecifiers, merged};

#[cfg(test)]
mod tests;

/// A program as it was handed in.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// What it is written in.
    pub language: Language,
    /// The path of the file that it starts with, which is one of the files.
    pub entry: &'a str,
    /// All its files.
    pub files: &'a [SourceFile<'a>],
}

/// One file of a program.
#[derive(Clone, Copy, Debug)]
pub struct SourceFile<'a> {
    /// Where it lies in the run's folder: relative, with slashes.
    pub path: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// Whether a lock came with the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockPresence {
    /// It says exactly what is installed.
    Given,
    /// There is none.
    Absent,
}

/// What decides about a run's packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detection {
    /// The list that was given with the run.
    Explicit(Vec<Requirement>),
    /// The lock that was given with the run.
    Lock,
    /// A manifest among its files, which is taken to be complete.
    Manifest {
        /// Which one.
        source: ManifestSource,
        /// The packages, as [`merged`] gives them. There may be none.
        requirements: Vec<Requirement>,
        /// Which Pythons the program is for; any where the manifest does not say.
        requires_python: VersionSpecifiers,
    },
    /// It needs none.
    None,
    /// Its imports have to be found by the parser; then [`from_imports`] decides.
    NeedsParser,
}

/// Where a manifest was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestSource {
    /// The `# /// script` block of the entry (PEP 723).
    ScriptBlock,
    /// `requirements.txt` in the run's folder.
    RequirementsTxt,
    /// `package.json` in the run's folder.
    PackageJson,
}

/// Why it cannot be decided which packages a run gets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DetectError {
    /// A manifest of the program cannot be followed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// An `@add-package` comment asks for what cannot be asked for.
    #[error("@add-package: {0}")]
    Addition(#[source] RequirementError),
    /// An import asks for what cannot be asked for, as `npm:x@github:y/z`.
    #[error("import: {0}")]
    Import(#[source] RequirementError),
    /// All of them together cannot be asked for.
    #[error(transparent)]
    Requirements(RequirementError),
}

/// Decides as far as it goes without a parser.
///
/// `explicit` is the list that was given with the run, where one was: an empty list asks for no packages, and for no detection either.
pub fn detect(explicit: Option<&[Requirement]>, lock: LockPresence, program: &Program<'_>) -> Result<Detection, DetectError> {
    if let Some(explicit) = explicit {
        let requirements = merged(explicit.iter().cloned()).map_err(DetectError::Requirements)?;
        return Ok(if requirements.is_empty() { Detection::None } else { Detection::Explicit(requirements) });
    }
    if lock == LockPresence::Given {
        return Ok(Detection::Lock);
    }
    let manifest = match Ecosystem::of(program.language) {
        Ecosystem::PyPi => python_manifest(program)?,
        Ecosystem::Npm => node_manifest(program)?,
    };
    if let Some(manifest) = manifest {
        return Ok(manifest);
    }
    let own = own_files(program)?;
    let is_unsure = program.files.iter().any(|file| may_import(program, file, &own));
    Ok(if is_unsure { Detection::NeedsParser } else { Detection::None })
}

/// The packages that the imports and comments of a program ask for, as [`merged`] gives them.
///
/// An `@add-package` or an `npm:` with a range pins what an import asks for by its bare name; one that provides the import under another
/// name, as `opencv-python` does `cv2`, stands in for it. An optional import counts only where its package is one that the tables have:
/// what a program can do without is not worth a guess.
pub fn from_imports(program: &Program<'_>, found: &FoundImports) -> Result<Vec<Requirement>, DetectError> {
    let ecosystem = Ecosystem::of(program.language);
    let own = own_files(program)?;
    let additions =
        found.additions.iter().map(|text| addition(ecosystem, text)).collect::<Result<Vec<_>, _>>().map_err(DetectError::Addition)?;
    let is_added = |name: &str| additions.iter().any(|added| added.name() == name);
    let mut requirements = Vec::new();
    for import in &found.imports {
        let requirement = match ecosystem {
            Ecosystem::PyPi => python_requirement(import, &own, is_added),
            Ecosystem::Npm => node_requirement(import, &own).map_err(DetectError::Import)?,
        };
        requirements.extend(requirement);
    }
    requirements.extend(additions.iter().cloned());
    merged(requirements).map_err(DetectError::Requirements)
}

fn python_requirement(import: &FoundImport, own: &OwnFiles, is_added: impl Fn(&str) -> bool) -> Option<Requirement> {
    let distribution = module_distribution(&import.name, own)?;
    let entry = import_name(&import.name);
    let counts = !import.is_optional || entry.is_some() || is_known(Ecosystem::PyPi, &distribution);
    let stood_in_for = entry.is_some_and(|entry| entry.alternatives.iter().any(|alternative| is_added(alternative)));
    let requirement = PyPiRequirement::any(&distribution).ok().filter(|_| counts && !stood_in_for)?;
    Some(Requirement::PyPi(requirement))
}

fn node_requirement(import: &FoundImport, own: &OwnFiles) -> Result<Option<Requirement>, RequirementError> {
    let requirement = specifier_requirement(&import.name)?.filter(|requirement| {
        let counts = !import.is_optional || is_known(Ecosystem::Npm, requirement.name());
        counts && !own.provide(Ecosystem::Npm, requirement.name())
    });
    Ok(requirement.map(Requirement::Npm))
}

fn python_manifest(program: &Program<'_>) -> Result<Option<Detection>, ManifestError> {
    let entry = file(program, program.entry).and_then(|file| str::from_utf8(file.bytes).ok());
    if let Some(manifest) = entry.map(script_manifest).transpose()?.flatten() {
        return Ok(Some(Detection::Manifest {
            source: ManifestSource::ScriptBlock,
            requirements: manifest.requirements,
            requires_python: manifest.requires_python,
        }));
    }
    let Some(file) = file(program, "requirements.txt") else { return Ok(None) };
    let manifest = requirements_txt(file.bytes)?;
    Ok(Some(Detection::Manifest {
        source: ManifestSource::RequirementsTxt,
        requirements: manifest.requirements,
        requires_python: manifest.requires_python,
    }))
}

fn node_manifest(program: &Program<'_>) -> Result<Option<Detection>, ManifestError> {
    let requirements = own_package_json(program)?.requirements;
    Ok(requirements.map(|requirements| Detection::Manifest {
        source: ManifestSource::PackageJson,
        requirements,
        requires_python: VersionSpecifiers::default(),
    }))
}

fn own_package_json(program: &Program<'_>) -> Result<PackageJson, ManifestError> {
    file(program, "package.json").map_or_else(|| Ok(PackageJson::default()), |file| package_json(file.bytes))
}

fn own_files(program: &Program<'_>) -> Result<OwnFiles, ManifestError> {
    let mut own = OwnFiles::new(program.files.iter().map(|file| file.path), program.entry);
    if Ecosystem::of(program.language) == Ecosystem::Npm
        && let Some(name) = own_package_json(program)?.self_name
    {
        own.add_self_name(&name);
    }
    Ok(own)
}

/// Whether a file is code of the program that may import a package. What is not UTF-8 is for the parser to judge.
fn may_import(program: &Program<'_>, file: &SourceFile<'_>, own: &OwnFiles) -> bool {
    let language = match Language::of_path(file.path.as_ref()) {
        _ if file.path == program.entry => program.language,
        Some(language) if Ecosystem::of(language) == Ecosystem::of(program.language) => language,
        // `require("./x")` reads a file without an extension as JavaScript.
        None if Ecosystem::of(program.language) == Ecosystem::Npm && !file_name(file.path).contains('.') => Language::JavaScript,
        _ => return false,
    };
    str::from_utf8(file.bytes).map_or(true, |source| may_need_packages(language, source, own))
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn file<'a>(program: &Program<'a>, path: &str) -> Option<&'a SourceFile<'a>> {
    program.files.iter().find(|file| file.path == path)
}

//! Detection of the packages of a run, from the cheapest source to the most expensive: a complete
//! list, a lock of the run, a complete manifest among the program's files, and finally the imports,
//! which only a parser can find. Nothing is read, started or fetched here.

use std::borrow::Cow;
use std::collections::BTreeSet;

use belljar_engine::{FoundImport, FoundImports};
use belljar_protocol::{Explain, Language};

use crate::companions::companions;
use crate::import_prefilter::may_need_packages;
use crate::imports::{module_distribution, specifier_requirement};
use crate::manifest::{
    ManifestError, PackageJson, addition, package_json, requirements_txt, script_manifest,
};
use crate::own_files::{OwnFile, OwnFiles, Surroundings};
use crate::popular_packages::is_popular;
use crate::python_names::import_name;
use crate::requirement::{
    Ecosystem, PyPiRequirement, Requirement, RequirementError, VersionSpecifiers, merged,
};

#[cfg(test)]
mod tests;

/// A program as it was submitted.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Language of the program.
    pub language: Language,
    /// Path of the file that it starts with, which is one of the files.
    pub entry: &'a str,
    /// All files of the program.
    pub files: &'a [SourceFile<'a>],
}

/// A file of a program.
#[derive(Clone, Copy, Debug)]
pub struct SourceFile<'a> {
    /// Path relative to the run's folder, with slashes.
    pub path: &'a str,
    /// Content of the file.
    pub bytes: &'a [u8],
}

/// The presence of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockPresence {
    /// The run has a lock, which determines exactly what is installed.
    Given,
    /// The run has no lock.
    Absent,
}

/// The source that determines a run's packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detection {
    /// The list of the run, which is complete.
    Only(Vec<Requirement>),
    /// The lock of the run.
    Lock,
    /// A manifest among the files of the run, which is considered complete.
    Manifest {
        /// The kind of manifest.
        source: ManifestSource,
        /// The packages, as [`merged`] returns them. The list may be empty.
        requirements: Vec<Requirement>,
        /// Versions of Python that the program supports. The default allows any.
        requires_python: VersionSpecifiers,
    },
    /// The program needs no packages.
    None,
    /// The imports have to be found by the parser. Then [`from_imports`] decides.
    NeedsParser,
}

/// The kind of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestSource {
    /// The `# /// script` block of the entry (PEP 723).
    ScriptBlock,
    /// The file `requirements.txt` in the run's folder.
    RequirementsTxt,
    /// The file `package.json` in the run's folder.
    PackageJson,
}

/// An error of the detection of packages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DetectError {
    /// A manifest of the program is invalid or not supported.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// An `@add-package` comment is not a valid requirement.
    #[error("@add-package: {0}")]
    Addition(#[source] RequirementError),
    /// An import is not a valid requirement, such as `npm:x@github:y/z`.
    #[error("import: {0}")]
    Import(#[source] RequirementError),
    /// The requirements are invalid as a whole.
    #[error(transparent)]
    Requirements(RequirementError),
}

impl Explain for DetectError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Manifest(error) => error.hint(),
            Self::Addition(error) | Self::Import(error) | Self::Requirements(error) => error.hint(),
        }
    }
}

/// The packages that the imports and comments of a program require.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The packages, as [`merged`] returns them.
    pub requirements: Vec<Requirement>,
    /// Names of packages that may be missing in the registry. A missing one fails when its import
    /// is reached.
    pub may_be_missing: BTreeSet<String>,
    /// Names of packages that the program can do without. They are left out if they cannot be
    /// installed together with the others.
    pub optional: BTreeSet<String>,
    /// Names that `@add-package` comments request.
    pub added: BTreeSet<String>,
}

/// Determines the packages of a program as far as possible without a parser.
///
/// `only` is the list of the run, if it is complete.
pub fn detect(
    only: Option<&[Requirement]>,
    lock: LockPresence,
    program: &Program<'_>,
    own: &OwnFiles,
) -> Result<Detection, DetectError> {
    if let Some(only) = only {
        let requirements = merged(only.iter().cloned()).map_err(DetectError::Requirements)?;
        return Ok(if requirements.is_empty() {
            Detection::None
        } else {
            Detection::Only(requirements)
        });
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
    let is_unsure = program.files.iter().any(|file| may_import(program, file, own));
    Ok(if is_unsure { Detection::NeedsParser } else { Detection::None })
}

/// Returns the packages that the imports and comments of a program require. `listed` are those that
/// were requested with the run, which are added separately.
///
/// An `@add-package`, a listed package or an `npm:` with a range determines the version of an
/// import with its bare name. A package that provides the import under another name, as
/// `opencv-python` does `cv2`, replaces it. An optional import counts only if the tables have its
/// package, because a guess is not worth it for something that the program can do without. A
/// package for a call is only added if `allows` allows it.
pub fn from_imports(
    program: &Program<'_>,
    found: &FoundImports,
    own: &OwnFiles,
    listed: &[Requirement],
    allows: impl Fn(&str) -> bool,
) -> Result<Needs, DetectError> {
    let ecosystem = Ecosystem::of(program.language);
    let additions = found
        .additions
        .iter()
        .map(|text| addition(ecosystem, text))
        .collect::<Result<Vec<_>, _>>()
        .map_err(DetectError::Addition)?;
    let is_added = |name: &str| additions.iter().chain(listed).any(|added| added.name() == name);
    let (mut requirements, mut needed, mut optional) =
        (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for import in &found.imports {
        let requirement = match ecosystem {
            Ecosystem::PyPi => python_requirement(import, own, is_added),
            Ecosystem::Npm => node_requirement(import, own).map_err(DetectError::Import)?,
        };
        if let Some(requirement) = requirement {
            let names = if import.is_optional { &mut optional } else { &mut needed };
            names.insert(requirement.name().to_owned());
            requirements.push(requirement);
        }
    }
    if ecosystem == Ecosystem::PyPi {
        let is_own = |module: &str| module_distribution(module, own).is_none();
        let has = |name: &str| needed.contains(name) || is_added(name) || stands_in(name, is_added);
        for name in companions(found, is_own).into_iter().filter(|name| !has(name) && allows(name))
        {
            requirements.extend(Requirement::any(ecosystem, name));
            optional.insert(name.to_owned());
        }
    }
    optional.retain(|name| !needed.contains(name) && !is_added(name));
    let may_be_missing = requirements
        .iter()
        .chain(&additions)
        .map(|requirement| requirement.name().to_owned())
        .collect();
    let added = additions.iter().map(|requirement| requirement.name().to_owned()).collect();
    requirements.extend(additions);
    let requirements = merged(requirements).map_err(DetectError::Requirements)?;
    Ok(Needs { requirements, may_be_missing, optional, added })
}

/// Returns whether a requested distribution provides the same import as this one.
fn stands_in(name: &str, is_added: impl Fn(&str) -> bool) -> bool {
    crate::python_names::all()
        .filter(|entry| entry.distribution == Some(name))
        .any(|entry| entry.alternatives.iter().any(|alternative| is_added(alternative)))
}

fn python_requirement(
    import: &FoundImport,
    own: &OwnFiles,
    is_added: impl Fn(&str) -> bool,
) -> Option<Requirement> {
    let distribution = module_distribution(&import.name, own)?;
    let entry = import_name(&import.name);
    let counts =
        !import.is_optional || entry.is_some() || is_popular(Ecosystem::PyPi, &distribution);
    let stood_in_for = entry
        .is_some_and(|entry| entry.alternatives.iter().any(|alternative| is_added(alternative)));
    let version = entry.map_or("", |entry| entry.version);
    let requirement = PyPiRequirement::parse(&format!("{distribution}{version}"))
        .ok()
        .filter(|_| counts && !stood_in_for)?;
    Some(Requirement::PyPi(requirement))
}

fn node_requirement(
    import: &FoundImport,
    own: &OwnFiles,
) -> Result<Option<Requirement>, RequirementError> {
    let requirement = specifier_requirement(&import.name)?.filter(|requirement| {
        let counts = !import.is_optional || is_popular(Ecosystem::Npm, requirement.name());
        counts
            && !own.have_specifier(
                import
                    .name
                    .strip_prefix("npm:")
                    .map_or(import.name.as_str(), |_| requirement.name()),
            )
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
    file(program, "package.json")
        .map_or_else(|| Ok(PackageJson::default()), |file| package_json(file.bytes))
}

/// Returns the modules that a program brings or creates.
pub fn own_files(program: &Program<'_>, around: &Surroundings) -> OwnFiles {
    let files: Vec<OwnFile<'_>> =
        program.files.iter().map(|file| OwnFile { path: file.path, bytes: file.bytes }).collect();
    OwnFiles::of_files(Ecosystem::of(program.language), &files, program.entry, around)
}

/// Returns whether a file is code of the program that may import a package. Files that are not
/// UTF-8 are left to the parser.
fn may_import(program: &Program<'_>, file: &SourceFile<'_>, own: &OwnFiles) -> bool {
    let language = match Language::of_path(file.path.as_ref()) {
        _ if file.path == program.entry => program.language,
        Some(language) if Ecosystem::of(language) == Ecosystem::of(program.language) => language,
        // `require("./x")` loads a file without an extension as JavaScript.
        None if Ecosystem::of(program.language) == Ecosystem::Npm
            && !file_name(file.path).contains('.') =>
        {
            Language::JavaScript
        }
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

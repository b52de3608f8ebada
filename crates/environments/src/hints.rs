//! Hints for errors of programs that are caused by packages: how to install the missing package,
//! and why it is missing.
//!
//! The messages of a program are untrusted. Only names are taken from them. These become part of a
//! hint and are never installed automatically.

use belljar_protocol::{Language, RunError};

use crate::detect::ManifestSource;
use crate::imports::{module_distribution, specifier_package};
use crate::lock::LockedPackage;
use crate::own_files::OwnFiles;
use crate::python_names::import_name;
use crate::requirement::{Ecosystem, PyPiRequirement};
use crate::suggestions::{did_you_mean, suggestions};

#[cfg(test)]
mod tests;

/// The maximum number of causes of an error that are examined.
const MAX_CAUSES: usize = 5;
/// The maximum number of bytes of a message that are examined.
const MAX_MESSAGE_BYTES: usize = 8 << 10;

/// The source that decided which packages a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The run excluded all packages.
    NoPackages,
    /// The policy disables packages.
    SwitchedOff,
    /// The run's list, which is complete.
    Listed,
    /// The lock of the run.
    Lock,
    /// A manifest among the files of the run.
    Manifest(ManifestSource),
    /// The imports and comments of the program.
    Imports,
}

/// The packages of a finished run.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) language: Language,
    pub(crate) decision: Decision,
    /// Modules that the program brings or creates itself.
    pub(crate) own: OwnFiles,
    /// Names of packages that no registry has.
    pub(crate) missing: Vec<String>,
    /// Packages of the environment.
    pub(crate) installed: Vec<LockedPackage>,
    /// Packages whose install scripts were not run.
    pub(crate) unbuilt: Vec<String>,
}

/// Something that is missing according to an error.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Missing {
    /// A Python module or a JavaScript specifier.
    Import(String),
    /// A requirement of `PyPI` that a library recommends to install.
    Requirement(String),
}

impl Known {
    /// Returns a hint for the error of a program, if it is about a package.
    pub(crate) fn hint(&self, error: &RunError) -> Option<String> {
        if let Some(package) =
            self.unbuilt.iter().find(|package| lacks_what_a_script_makes(error, package))
        {
            return Some(format!(
                "allow the install script of {package}, which was not run, to create what is \
                 missing with --allow-build (package_options.allow_build)"
            ));
        }
        match missing(self.ecosystem(), error)? {
            Missing::Import(name) => self.hint_for_import(&name),
            Missing::Requirement(text) => {
                let requirement = PyPiRequirement::parse(&text).ok()?;
                let is_there = requirement.is_any() && self.has(requirement.name());
                (!is_there).then(|| self.how_to_add(&requirement.to_string()))
            }
        }
    }

    fn ecosystem(&self) -> Ecosystem {
        Ecosystem::of(self.language)
    }

    fn has(&self, name: &str) -> bool {
        self.installed.iter().any(|package| package.name == name)
    }

    fn hint_for_import(&self, name: &str) -> Option<String> {
        let package = match self.ecosystem() {
            Ecosystem::PyPi if self.own.was_not_submitted(name) => {
                let module = name.split('.').next().unwrap_or(name);
                return Some(format!(
                    "include {module}, which is next to the program but not part of the run, with \
                     --file {module}.py"
                ));
            }
            Ecosystem::PyPi => {
                let own = self.own.have_module(name);
                let package = module_distribution(name, &OwnFiles::default())?;
                if own {
                    let module = name.split('.').next().unwrap_or(name);
                    return Some(format!(
                        "if you mean the package and not the program's own `{module}`, {}",
                        self.how_to_add(&package)
                    ));
                }
                package
            }
            Ecosystem::Npm => {
                let package = specifier_package(name)?;
                if let Some(file) = self.own.file_of(name) {
                    return Some(format!(
                        "import {file}, which is a file of the run, by its path `./{file}`"
                    ));
                }
                if self.own.have_specifier(name) {
                    return Some(format!(
                        "if you mean the package and not the program's own `{name}`, {}",
                        self.how_to_add(package)
                    ));
                }
                package.to_owned()
            }
        };
        if self.missing.contains(&package) {
            return Some(not_in_registry(self.ecosystem(), &package));
        }
        let version = import_name(name)
            .filter(|_| self.ecosystem() == Ecosystem::PyPi)
            .map_or("", |entry| entry.version);
        // If the package is installed, only a part of it is missing, unless other versions have
        // that part.
        (!self.has(&package) || !version.is_empty())
            .then(|| self.how_to_add(&format!("{package}{version}")))
    }

    /// Returns how to install a package, in a form that can be used literally.
    fn how_to_add(&self, requirement: &str) -> String {
        let line = match self.ecosystem() {
            Ecosystem::PyPi => format!("# @add-package {requirement}"),
            Ecosystem::Npm => format!("// @add-package {requirement}"),
        };
        match self.decision {
            Decision::NoPackages => {
                format!("remove --no-packages (package_options.none) to install {requirement}")
            }
            Decision::SwitchedOff => {
                "use what the runtime includes, or ask the operator to enable packages".to_owned()
            }
            Decision::Listed => format!(
                "list {requirement} too (--package, packages), as only the listed packages are \
                 installed"
            ),
            Decision::Lock => format!(
                "use a lock file that contains {requirement}, as the run installs only what its \
                 lock file names"
            ),
            Decision::Manifest(source) => {
                let place = match source {
                    ManifestSource::ScriptBlock => "the dependencies of the program's script block",
                    ManifestSource::RequirementsTxt => "requirements.txt",
                    ManifestSource::PackageJson => "the dependencies of package.json",
                };
                format!(
                    "add {requirement} to {place}, or list it with --package {requirement} \
                     (packages)"
                )
            }
            Decision::Imports => format!("add the line `{line}` to install it"),
        }
    }
}

/// Returns the message that no registry has a package, with suggestions.
pub(crate) fn not_in_registry(ecosystem: Ecosystem, name: &str) -> String {
    let question = did_you_mean(&suggestions(ecosystem, name))
        .map_or_else(String::new, |question| format!(" ({question})"));
    format!(
        "package `{name}` not found in any configured registry, so it was not installed{question}"
    )
}

/// Returns what is missing according to an error or one of its causes.
fn missing(ecosystem: Ecosystem, error: &RunError) -> Option<Missing> {
    let mut next = Some(error);
    for _ in 0..MAX_CAUSES {
        let error = next?;
        let mut end = error.message.len().min(MAX_MESSAGE_BYTES);
        while !error.message.is_char_boundary(end) {
            end -= 1;
        }
        let message = &error.message[..end];
        let found = match ecosystem {
            Ecosystem::PyPi => missing_in_python(&error.name, message),
            Ecosystem::Npm => missing_in_node(message),
        };
        if found.is_some() {
            return found;
        }
        next = error.cause.as_deref();
    }
    None
}

/// Parts of error messages about files that install scripts create: native bindings and downloaded
/// programs.
const OF_SCRIPTS: [&str; 14] = [
    "bindings file",
    ".node'",
    ".node\"",
    ".node:",
    "build/Release",
    "binding",
    "prebuil",
    "native",
    "binary",
    "Could not find Chrom",
    "Could not load the",
    "Something went wrong installing",
    "ENOENT",
    "not installed",
];

/// Returns whether an error comes from a package and is about a file that its install script would
/// have created.
fn lacks_what_a_script_makes(error: &RunError, package: &str) -> bool {
    let mut next = Some(error);
    for _ in 0..MAX_CAUSES {
        let Some(error) = next else { return false };
        let is_its = error.stack.contains(&format!("/node_modules/{package}/"))
            || error.message.contains(&format!("/{package}/"))
            || error.message.contains(&format!("\"{package}\""))
            || error.message.contains(&format!("'{package}'"));
        if is_its && OF_SCRIPTS.iter().any(|words| error.message.contains(words)) {
            return true;
        }
        next = error.cause.as_deref();
    }
    false
}

fn missing_in_node(message: &str) -> Option<Missing> {
    let rest = ["Cannot find module '", "Cannot find package '"]
        .iter()
        .find_map(|words| after(message, words))?;
    let specifier = rest.split('\'').next()?;
    (!specifier.starts_with(['.', '/'])).then(|| Missing::Import(specifier.to_owned()))
}

/// Finds the missing package in the phrases that Python libraries use, each with the end of the
/// name.
fn missing_in_python(error: &str, message: &str) -> Option<Missing> {
    let requirement = |text: &str| {
        let text = text.trim_matches(['"', '\'', '`', '.', ',', ')', ';']);
        is_requirement(text).then(|| Missing::Requirement(text.to_owned()))
    };
    let quoted =
        |words: &str| after(message, words).and_then(|rest| rest.split(['\'', '"', '`']).next());
    if let Some(name) = quoted("No module named '") {
        return Some(Missing::Import(name.to_owned()));
    }
    // The last one counts, because others may be words of a sentence, as in `pip install as
    // follows`.
    let commands =
        message.match_indices("pip install ").map(|(at, words)| &message[at + words.len()..]);
    let installed =
        commands.filter_map(|rest| rest.split_whitespace().find(|word| !word.starts_with('-')));
    if let Some(found) = installed.filter_map(requirement).last() {
        return Some(found);
    }
    if let Some(features) = after(message, "tree builder with the features you requested: ") {
        return features
            .split([',', ' ', '.'])
            .next()
            .map(|name| if name == "xml" { "lxml" } else { name })
            .and_then(requirement);
    }
    if !matches!(
        error,
        "ImportError" | "ModuleNotFoundError" | "RuntimeError" | "PackageNotFoundError"
    ) {
        return None;
    }
    let named = quoted("Missing optional dependency '")
        .or_else(|| quoted("`Import "))
        .or_else(|| word_before(message, " not found, please install it"))
        .or_else(|| word_before(message, " needs to be installed"))
        .or_else(|| word_before(message, " is required for"))
        .or_else(|| word_before(message, " must be installed"))
        .or_else(|| word_before(message, " is not installed"))
        .or_else(|| {
            word_before(message, " to be installed").filter(|_| message.contains("requires "))
        })?;
    // This is the name of an import or of a distribution, which the table distinguishes.
    let name = named.trim_matches(['"', '\'', '`']);
    let distribution = module_distribution(&name.to_lowercase(), &OwnFiles::default())
        .filter(|_| is_requirement(name))?;
    Some(Missing::Requirement(distribution))
}

fn is_requirement(text: &str) -> bool {
    text.len() < 100
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && PyPiRequirement::parse(text).is_ok()
}

fn after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    text.find(words).map(|at| &text[at + words.len()..])
}

fn word_before<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    text.find(words).and_then(|at| text[..at].split_whitespace().next_back())
}

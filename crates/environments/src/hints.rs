//! Hints for errors of programs that are about packages: which line brings the missing one, and why it is not there.
//!
//! What a program says of its errors is its own word. Of it only names are taken, which become part of a sentence and are never installed by themselves.

use belljar_protocol::{Language, RunError};

use crate::detect::ManifestSource;
use crate::imports::{module_distribution, specifier_package};
use crate::lock::LockedPackage;
use crate::near::near_matches;
use crate::own_files::OwnFiles;
use crate::python_names::import_name;
use crate::requirement::{Ecosystem, PyPiRequirement};

#[cfg(test)]
mod tests;

/// Causes of an error that are looked at.
const MAX_CAUSES: usize = 5;
/// Bytes of a message that are looked at.
const MAX_MESSAGE_BYTES: usize = 8 << 10;

/// What decided which packages a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The run asked for none.
    NoPackages,
    /// The policy has them switched off.
    SwitchedOff,
    /// The run's list, which is to be all.
    Listed,
    /// The lock that came with the run.
    Lock,
    /// A manifest among its files.
    Manifest(ManifestSource),
    /// Its imports and comments.
    Imports,
}

/// What is known of a run's packages when it is over.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) language: Language,
    pub(crate) decision: Decision,
    /// What the program brings along or makes itself.
    pub(crate) own: OwnFiles,
    /// Names that no registry has.
    pub(crate) missing: Vec<String>,
    /// The packages of its environment.
    pub(crate) installed: Vec<LockedPackage>,
    /// Those among them whose install scripts were not run.
    pub(crate) unbuilt: Vec<String>,
}

/// Something that an error says is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Missing {
    /// A module of Python, or a specifier of JavaScript.
    Import(String),
    /// What its library would have people install, as a requirement of `PyPI`.
    Requirement(String),
}

impl Known {
    /// The hint for an error that a program ended with, where it is about a package.
    pub(crate) fn hint(&self, error: &RunError) -> Option<String> {
        if let Some(package) = self.unbuilt.iter().find(|package| lacks_what_a_script_makes(error, package)) {
            return Some(format!(
                "the install script of {package} was not run, and makes what is missing; allow_build (--allow-build, package_options.allow_build) runs it"
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
            Ecosystem::PyPi if self.own.is_beside(name) => {
                let module = name.split('.').next().unwrap_or(name);
                return Some(format!("{module} lies next to the program and did not come with it: give it with --file {module}.py"));
            }
            Ecosystem::PyPi => {
                let own = self.own.have_module(name);
                let package = module_distribution(name, &OwnFiles::default())?;
                if own {
                    let module = name.split('.').next().unwrap_or(name);
                    return Some(format!(
                        "`{module}` is a name of the program's own, so no package was installed for it; where the package is meant, {}",
                        self.how_to_add(&package)
                    ));
                }
                package
            }
            Ecosystem::Npm => {
                let package = specifier_package(name)?;
                if let Some(file) = self.own.file_of(name) {
                    return Some(format!("{file} is one of the run's files: import it by its path, `./{file}`"));
                }
                if self.own.have_specifier(name) {
                    return Some(format!(
                        "`{name}` is a name of the program's own, so no package was installed for it; where the package is meant, {}",
                        self.how_to_add(package)
                    ));
                }
                package.to_owned()
            }
        };
        if self.missing.contains(&package) {
            return Some(not_in_registry(self.ecosystem(), &package));
        }
        let version = import_name(name).filter(|_| self.ecosystem() == Ecosystem::PyPi).map_or("", |entry| entry.version);
        // A part of it is missing, and not the package, unless others of its versions have it.
        (!self.has(&package) || !version.is_empty()).then(|| self.how_to_add(&format!("{package}{version}")))
    }

    /// How a program comes to a package, in words that work as they stand.
    fn how_to_add(&self, requirement: &str) -> String {
        let line = match self.ecosystem() {
            Ecosystem::PyPi => format!("# @add-package {requirement}"),
            Ecosystem::Npm => format!("// @add-package {requirement}"),
        };
        match self.decision {
            Decision::NoPackages => "the run wants no packages; leave that out (--no-packages, package_options.none)".to_owned(),
            Decision::SwitchedOff => "packages are switched off here; use what the runtime has, or ask the operator".to_owned(),
            Decision::Listed => format!("only the listed packages are installed; list {requirement} too (--package, packages)"),
            Decision::Lock => format!("the lock of the run decides, and does not hold {requirement}; make one that does"),
            Decision::Manifest(source) => {
                let place = match source {
                    ManifestSource::ScriptBlock => "the dependencies of the program's script block",
                    ManifestSource::RequirementsTxt => "requirements.txt",
                    ManifestSource::PackageJson => "the dependencies of package.json",
                };
                format!("{place} decides which packages are installed; add {requirement} there, or with --package {requirement} (packages)")
                    .replace("dependencies of the program's script block decides", "dependencies of the program's script block decide")
                    .replace("dependencies of package.json decides", "dependencies of package.json decide")
            }
            Decision::Imports => format!("add the line `{line}` to install it"),
        }
    }
}

/// That no registry has a package, and what may have been meant.
pub(crate) fn not_in_registry(ecosystem: Ecosystem, name: &str) -> String {
    let near = near_matches(ecosystem, name);
    let near = if near.is_empty() { String::new() } else { format!("; near it are {}", near.join(", ")) };
    format!("no configured registry has a package {name}, and nothing was installed in its place{near}")
}

/// What an error, or one that it came from, says is missing.
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

/// Words of errors about what an install script makes: a native binding, a program that it downloads.
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

/// Whether an error comes from a package and is about what its install script would have made.
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
    let rest = ["Cannot find module '", "Cannot find package '"].iter().find_map(|words| after(message, words))?;
    let specifier = rest.split('\'').next()?;
    (!specifier.starts_with(['.', '/'])).then(|| Missing::Import(specifier.to_owned()))
}

/// The words that libraries of Python say it in, each with what ends the name.
fn missing_in_python(error: &str, message: &str) -> Option<Missing> {
    let requirement = |text: &str| {
        let text = text.trim_matches(['"', '\'', '`', '.', ',', ')', ';']);
        is_requirement(text).then(|| Missing::Requirement(text.to_owned()))
    };
    let quoted = |words: &str| after(message, words).and_then(|rest| rest.split(['\'', '"', '`']).next());
    if let Some(name) = quoted("No module named '") {
        return Some(Missing::Import(name.to_owned()));
    }
    // The last one: others may be words of a sentence, as in `pip install as follows`.
    let commands = message.match_indices("pip install ").map(|(at, words)| &message[at + words.len()..]);
    let installed = commands.filter_map(|rest| rest.split_whitespace().find(|word| !word.starts_with('-')));
    if let Some(found) = installed.filter_map(requirement).last() {
        return Some(found);
    }
    if let Some(features) = after(message, "tree builder with the features you requested: ") {
        return features.split([',', ' ', '.']).next().map(|name| if name == "xml" { "lxml" } else { name }).and_then(requirement);
    }
    if !matches!(error, "ImportError" | "ModuleNotFoundError" | "RuntimeError" | "PackageNotFoundError") {
        return None;
    }
    let named = quoted("Missing optional dependency '")
        .or_else(|| quoted("`Import "))
        .or_else(|| word_before(message, " not found, please install it"))
        .or_else(|| word_before(message, " needs to be installed"))
        .or_else(|| word_before(message, " is required for"))
        .or_else(|| word_before(message, " must be installed"))
        .or_else(|| word_before(message, " is not installed"))
        .or_else(|| word_before(message, " to be installed").filter(|_| message.contains("requires ")))?;
    // A name of an import or of a distribution: the table knows which.
    let name = named.trim_matches(['"', '\'', '`']);
    let distribution = module_distribution(&name.to_lowercase(), &OwnFiles::default()).filter(|_| is_requirement(name))?;
    Some(Missing::Requirement(distribution))
}

fn is_requirement(text: &str) -> bool {
    text.len() < 100 && text.starts_with(|first: char| first.is_ascii_alphabetic()) && PyPiRequirement::parse(text).is_ok()
}

fn after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    text.find(words).map(|at| &text[at + words.len()..])
}

fn word_before<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    text.find(words).and_then(|at| text[..at].split_whitespace().next_back())
}

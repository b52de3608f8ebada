//! Requirements of npm: a name by the registry's rules, and a range of node-semver or a dist-tag.
//! Source: `validate-npm-package-name` (its rules for new packages) and the grammar in
//! node-semver's README.

use std::fmt;

use belljar_protocol::Ecosystem;

use super::error::{MAX_REQUIREMENT_BYTES, RequirementError, bounded};

/// A package with its required range or tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NpmRequirement {
    name: String,
    /// The range, which is empty if any version is acceptable.
    range: String,
}

const EXAMPLE: &str = "name@^1.2.3";

/// The maximum length of a name, including the scope.
const MAX_NAME_BYTES: usize = 214;

impl NpmRequirement {
    /// Parses `name`, `@scope/name`, `name@range` or `name=1.2.3`, each optionally after `npm:`.
    pub fn parse(text: &str) -> Result<Self, RequirementError> {
        let text = bounded(text)?;
        if text.starts_with('-') {
            return Err(RequirementError::InstallerOption { text: text.to_owned() });
        }
        let (name, range) = split_name(text.strip_prefix("npm:").unwrap_or(text));
        if name.contains(':')
            || name.starts_with(['.', '/', '~', '\\'])
            || (name.contains('/') && !name.starts_with('@'))
        {
            return Err(RequirementError::Reference { text: text.to_owned() });
        }
        Self::new(name, range)
    }

    /// Returns the requirement of an entry in a `package.json`: its name and its range.
    pub fn new(name: &str, range: &str) -> Result<Self, RequirementError> {
        let name = bounded(name)?;
        let range = range.trim();
        if name.len() + range.len() > MAX_REQUIREMENT_BYTES {
            return Err(RequirementError::TooLong { bytes: name.len() + range.len() });
        }
        if let Some(why) = name_fault(name) {
            return Err(RequirementError::Name {
                ecosystem: Ecosystem::Npm,
                name: name.to_owned(),
                why,
            });
        }
        Ok(Self { name: name.to_owned(), range: canonical_range(name, range)? })
    }

    /// Returns a requirement for any version of a package.
    pub fn any(name: &str) -> Result<Self, RequirementError> {
        Self::new(name, "")
    }

    /// Returns the name with its scope.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the value for a `package.json`: a range or a dist-tag. If any version is acceptable,
    /// it is `latest`: npm and pnpm write that for a bare name, and it also finds packages that
    /// have only pre-releases.
    pub fn range(&self) -> &str {
        if self.range.is_empty() { "latest" } else { &self.range }
    }

    /// Returns whether any version is acceptable.
    pub fn is_any(&self) -> bool {
        self.range.is_empty()
    }
}

impl fmt::Display for NpmRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.range.is_empty() { Ok(()) } else { write!(f, "@{}", self.range) }
    }
}

/// Splits a text into the name and the text after the first `@` or `=` that does not belong to the
/// scope.
pub(crate) fn split_name(text: &str) -> (&str, &str) {
    let from = usize::from(text.starts_with('@'));
    match text[from..].find(['@', '=']) {
        Some(at) => (text[..from + at].trim_end(), &text[from + at + 1..]),
        None => (text, ""),
    }
}

/// Returns the part of a specifier before the path inside the package: everything up to the first
/// slash, or up to the second one if the package has a scope.
pub(crate) fn package_part(specifier: &str) -> &str {
    let slashes = usize::from(specifier.starts_with('@'));
    let end = specifier.match_indices('/').nth(slashes).map_or(specifier.len(), |(at, _)| at);
    &specifier[..end]
}

/// Returns the rule that a name violates, if any.
pub(crate) fn name_fault(name: &str) -> Option<&'static str> {
    let (scope, base) = match name.strip_prefix('@') {
        Some(scoped) => match scoped.split_once('/') {
            Some((scope, base)) => (Some(scope), base),
            None => return Some("a scope must be followed by a slash and a name"),
        },
        None => (None, name),
    };
    let plain = |part: &str| {
        part.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.')
        })
    };
    for part in scope.into_iter().chain([base]) {
        if part.is_empty() {
            return Some("a part of it is empty");
        }
        if !plain(part) {
            return Some("names consist of lower-case letters, digits and -_.");
        }
        if part.starts_with(['.', '_', '-']) {
            return Some("names begin with a letter or a digit");
        }
    }
    if name.len() > MAX_NAME_BYTES {
        return Some("it is longer than 214 characters");
    }
    matches!(base, "node_modules" | "favicon.ico").then_some("the registry reserves it")
}

/// Returns the range with single spaces and without redundant parts, or the tag.
fn canonical_range(name: &str, range: &str) -> Result<String, RequirementError> {
    let text = || format!("{name}@{range}");
    if range.chars().any(char::is_control) {
        return Err(RequirementError::ControlCharacter { text: text() });
    }
    if range.starts_with("npm:") {
        return Err(RequirementError::Alias { text: text() });
    }
    if range.contains([':', '/', '\\']) || range.starts_with('.') {
        return Err(RequirementError::Reference { text: text() });
    }
    let mut alternatives = Vec::new();
    for alternative in range.split("||") {
        match comparators(alternative) {
            Some(comparators) => alternatives.push(comparators),
            None if is_tag(range) => {
                return Ok(if range == "latest" { String::new() } else { range.to_owned() });
            }
            None => {
                let why = "it is neither a range such as ^1.2.3 nor a tag such as next";
                return Err(RequirementError::Version {
                    ecosystem: Ecosystem::Npm,
                    text: text(),
                    why,
                    example: EXAMPLE,
                });
            }
        }
    }
    // If one alternative accepts every version, the others are redundant.
    if alternatives.iter().any(String::is_empty) {
        return Ok(String::new());
    }
    Ok(alternatives.join(" || "))
}

/// Returns the comparators of an alternative separated by single spaces. The text is empty if every
/// version meets them.
fn comparators(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    if let [from, "-", to] = words[..] {
        return (is_version(bare(from)) && is_version(bare(to)))
            .then(|| format!("{} - {}", bare(from), bare(to)));
    }
    let mut comparators: Vec<String> = Vec::new();
    let mut operator = "";
    for word in words {
        let here =
            OPERATORS.iter().find(|operator| word.starts_with(**operator)).copied().unwrap_or("");
        let version = bare(&word[here.len()..]);
        match (operator, version) {
            // `>= 1.2.3`: an operator may be separated from its version.
            ("", "") if !here.is_empty() => operator = here,
            (_, "") => return None,
            (before, _) if !before.is_empty() && !here.is_empty() => return None,
            (before, version) => {
                if !is_version(version) {
                    return None;
                }
                let operator_text = if here.is_empty() { before } else { here };
                comparators.push(comparator(operator_text, version));
                operator = "";
            }
        }
    }
    comparators.retain(|comparator| !comparator.is_empty());
    operator.is_empty().then(|| comparators.join(" "))
}

/// The longest operators come first, so that none is mistaken for the beginning of another.
const OPERATORS: [&str; 7] = [">=", "<=", "~>", "~", "^", ">", "<"];

/// Returns an operator and its version in a single spelling. `*` and `>=*` require nothing.
fn comparator(operator: &str, version: &str) -> String {
    let is_wild = matches!(version, "*" | "x" | "X");
    match operator {
        "" | "^" | "~" | "~>" | ">=" | "<=" if is_wild => String::new(),
        "~>" => format!("~{version}"),
        operator => format!("{operator}{version}"),
    }
}

/// Returns a version without a leading `=` or `v`.
fn bare(version: &str) -> &str {
    let version = version.strip_prefix('=').unwrap_or(version);
    version.strip_prefix(['v', 'V']).unwrap_or(version)
}

/// Returns whether a text is a version such as `1`, `1.2`, `1.x`, `*` or `1.2.3-beta.1+build`.
fn is_version(text: &str) -> bool {
    let (rest, build) = match text.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (text, None),
    };
    let (release, pre_release) = match rest.split_once('-') {
        Some((release, pre_release)) => (release, Some(pre_release)),
        None => (rest, None),
    };
    let is_number = |part: &str| {
        !part.is_empty() && part.len() <= 16 && part.bytes().all(|b| b.is_ascii_digit())
    };
    let parts: Vec<&str> = release.split('.').collect();
    let has_release = parts.len() <= 3
        && parts.iter().all(|part| is_number(part) || matches!(*part, "*" | "x" | "X"));
    let is_label = |label: &str| {
        label.split('.').all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    };
    let labels_fit = (pre_release.is_none() && build.is_none())
        || (parts.len() == 3 && parts.iter().all(|part| is_number(part)));
    has_release && labels_fit && pre_release.is_none_or(is_label) && build.is_none_or(is_label)
}

/// Returns whether a text is a dist-tag: a word that begins with a letter and cannot be a range.
fn is_tag(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

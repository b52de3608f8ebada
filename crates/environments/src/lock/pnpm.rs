//! `pnpm-lock.yaml`, parsed line by line as pnpm writes it. Other spellings of the same YAML are
//! rejected, so that no line can mean one thing here and another to pnpm: every line must be one
//! that is known at its place.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lock, LockError, LockedPackage};
use crate::requirement::Ecosystem;
use crate::sanitize::sanitize;

/// Top-level sections that do not affect where packages come from.
const SECTIONS: [&str; 6] =
    ["lockfileVersion", "settings", "importers", "packages", "snapshots", "time"];
/// Properties of a package that are a text, a number or a flow of them.
const FACTS: [&str; 9] =
    ["engines", "cpu", "os", "libc", "hasBin", "requiresBuild", "deprecated", "optional", "dev"];
/// Properties of a package that are a list or a map on separate lines.
const LISTS: [&str; 5] = [
    "peerDependencies",
    "peerDependenciesMeta",
    "bundledDependencies",
    "bundleDependencies",
    "transitivePeerDependencies",
];
const DEPENDENCIES: [&str; 3] = ["dependencies", "devDependencies", "optionalDependencies"];

fn unreadable(why: impl Into<String>) -> LockError {
    LockError::Unreadable { why: why.into() }
}

fn from_elsewhere(what: &str) -> LockError {
    LockError::NotFromRegistry { what: sanitize(what).chars().take(120).collect() }
}

/// The position of a line in the lock: the keys above it.
#[derive(Default)]
struct Reader {
    section: String,
    /// The importer, the package or the snapshot.
    item: String,
    /// The property of the item.
    field: String,
    dependency: String,
    /// Lines with a larger indentation than this belong to a multi-line text.
    text_at: Option<usize>,
    seen: BTreeSet<String>,
    specifiers: BTreeMap<String, String>,
    packages: Vec<LockedPackage>,
    snapshots: Vec<String>,
}

pub(super) fn read(text: &str) -> Result<Lock, LockError> {
    // YAML knows more line ends than `lines`.
    if text.chars().any(|character| {
        character.is_control() && character != '\n'
            || matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}')
    }) {
        return Err(unreadable("it contains characters that pnpm never writes"));
    }
    let mut reader = Reader::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let indent = line.len() - line.trim_start_matches(' ').len();
        if reader.text_at.is_some_and(|outer| indent > outer) {
            continue;
        }
        reader.text_at = None;
        let content = &line[indent..];
        if !content.starts_with('#') {
            reader.line(indent, content)?;
        }
    }
    let Reader { seen, specifiers, packages, snapshots, .. } = reader;
    if !seen.contains("importers") {
        return Err(unreadable("it has no project"));
    }
    let known: BTreeSet<String> =
        packages.iter().map(|package| format!("{}@{}", package.name, package.version)).collect();
    if let Some(unknown) = snapshots.iter().find(|snapshot| !known.contains(*snapshot)) {
        return Err(from_elsewhere(unknown));
    }
    let project = LockedPackage { name: "environment".to_owned(), version: "0.0.0".to_owned() };
    Ok(Lock {
        ecosystem: Ecosystem::Npm,
        text: text.to_owned(),
        project,
        specifiers,
        packages,
        hashes: BTreeMap::new(),
        installs_all: false,
    })
}

impl Reader {
    fn line(&mut self, indent: usize, content: &str) -> Result<(), LockError> {
        if let Some(item) = content.strip_prefix("- ") {
            // Lists contain systems, peers and bundled packages.
            let is_known = matches!(self.section.as_str(), "packages" | "snapshots")
                && indent == 6
                && LISTS.contains(&self.field.as_str());
            return if is_known && is_scalar(item) {
                Ok(())
            } else {
                Err(unreadable("it differs from the form that pnpm writes"))
            };
        }
        let Some((key, value)) = key_and_value(content) else {
            return Err(unreadable(sanitize(&format!("unexpected line: {content:.60}"))));
        };
        match (self.section.as_str(), indent) {
            (_, 0) => self.section(key, value),
            ("settings", 2)
                if matches!(value, "true" | "false")
                    || value.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                Ok(())
            }
            ("time", 2) if is_scalar(value) => Ok(()),
            ("importers", 2) if key == "." && matches!(value, "" | "{}") => Ok(()),
            ("importers", 4) if DEPENDENCIES.contains(&key) && matches!(value, "" | "{}") => Ok(()),
            ("importers", 6) if is_name(key) && value.is_empty() => {
                key.clone_into(&mut self.dependency);
                Ok(())
            }
            ("importers", 8) => self.dependency(key, unquoted(value)),
            ("packages", 2) if value.is_empty() => self.package(key),
            ("snapshots", 2) if matches!(value, "" | "{}") => {
                self.field.clear();
                self.snapshots.push(key.split('(').next().unwrap_or_default().to_owned());
                Ok(())
            }
            ("packages" | "snapshots", 4) => self.fact(key, value),
            ("snapshots", 6) if DEPENDENCIES.contains(&self.field.as_str()) => {
                if is_name(key) && is_reference(unquoted(value)) {
                    Ok(())
                } else {
                    Err(from_elsewhere(key))
                }
            }
            ("packages", 6) if self.field == "peerDependencies" && is_scalar(value) => Ok(()),
            ("packages", 6) if self.field == "peerDependenciesMeta" && value.is_empty() => Ok(()),
            ("packages", 8)
                if self.field == "peerDependenciesMeta"
                    && key == "optional"
                    && is_scalar(value) =>
            {
                Ok(())
            }
            _ => Err(from_elsewhere(key)),
        }
    }

    fn section(&mut self, key: &str, value: &str) -> Result<(), LockError> {
        if !SECTIONS.contains(&key) || !self.seen.insert(key.to_owned()) {
            return Err(from_elsewhere(key));
        }
        key.clone_into(&mut self.section);
        match (key, unquoted(value)) {
            ("lockfileVersion", "9.0") => Ok(()),
            ("lockfileVersion", _) => Err(unreadable(sanitize(&format!(
                "its version is {value:.20}, but only 9.0 is supported"
            )))),
            (_, "" | "{}") => Ok(()),
            _ => Err(from_elsewhere(key)),
        }
    }

    /// Reads a dependency of the project: the requested range and the resolved version.
    fn dependency(&mut self, key: &str, value: &str) -> Result<(), LockError> {
        match key {
            "specifier" if is_range(value) => {
                self.specifiers.insert(self.dependency.clone(), value.to_owned());
                Ok(())
            }
            "version" if is_reference(value) => Ok(()),
            _ => Err(from_elsewhere(&self.dependency)),
        }
    }

    fn package(&mut self, key: &str) -> Result<(), LockError> {
        let (name, version) = key
            .rsplit_once('@')
            .filter(|(name, version)| is_name(name) && is_version(version))
            .ok_or_else(|| from_elsewhere(key))?;
        key.clone_into(&mut self.item);
        self.field.clear();
        self.packages.push(LockedPackage { name: name.to_owned(), version: version.to_owned() });
        Ok(())
    }

    fn fact(&mut self, key: &str, value: &str) -> Result<(), LockError> {
        key.clone_into(&mut self.field);
        if key == "resolution" && self.section == "packages" {
            let hash = value.strip_prefix("{integrity: ").and_then(|rest| rest.strip_suffix('}'));
            let is_hash = hash.is_some_and(|hash| {
                hash.starts_with("sha")
                    && hash.chars().all(|character| {
                        character.is_ascii_alphanumeric() || "+/=-".contains(character)
                    })
            });
            return if is_hash { Ok(()) } else { Err(from_elsewhere(&self.item)) };
        }
        if key == "deprecated" && matches!(value, "|" | "|-" | "|+" | ">" | ">-" | ">+") {
            self.text_at = Some(4);
            return Ok(());
        }
        let is_known = FACTS.contains(&key) && (is_scalar(value) || is_flow(value))
            || LISTS.contains(&key) && (value.is_empty() || is_flow(value))
            || self.section == "snapshots" && DEPENDENCIES.contains(&key) && value.is_empty();
        if is_known { Ok(()) } else { Err(from_elsewhere(key)) }
    }
}

/// Returns whether a value is a text that ends on its line: not a reference, a tag, or a text that
/// continues.
fn is_scalar(value: &str) -> bool {
    let is_closed = |quote: char| value.len() >= 2 && value.ends_with(quote);
    match value.chars().next() {
        None
        | Some('&' | '*' | '!' | '|' | '>' | '%' | '@' | '`' | '{' | '[' | '?' | '#' | ',') => {
            false
        }
        Some(quote @ ('\'' | '"')) => is_closed(quote),
        Some(_) => true,
    }
}

/// Returns whether a value is a list or map of plain values on one line, such as `{node: '>=18'}`.
fn is_flow(value: &str) -> bool {
    let is_closed = value.starts_with('{') && value.ends_with('}')
        || value.starts_with('[') && value.ends_with(']');
    let inner = value.get(1..value.len().saturating_sub(1)).unwrap_or_default();
    is_closed && !inner.contains(['{', '}', '[', ']'])
}

fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || "-._~".contains(character))
    };
    name.len() <= 214
        && match name.strip_prefix('@') {
            Some(scoped) => {
                scoped.split_once('/').is_some_and(|(scope, name)| is_part(scope) && is_part(name))
            }
            None => is_part(name),
        }
}

fn is_version(version: &str) -> bool {
    version.starts_with(|first: char| first.is_ascii_digit())
        && version
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || ".-+".contains(character))
}

/// Returns whether a text is a version, or a name at a version for an alias, with peers in
/// parentheses.
fn is_reference(text: &str) -> bool {
    let (base, peers) = text.split_at(text.find('(').unwrap_or(text.len()));
    let is_plain = peers
        .chars()
        .all(|character| character.is_ascii_alphanumeric() || "()@/-._~+".contains(character));
    is_plain
        && (is_version(base)
            || base
                .rsplit_once('@')
                .is_some_and(|(name, version)| is_name(name) && is_version(version)))
}

/// Returns whether a text is a range of versions or a tag, of another name after `npm:`.
fn is_range(text: &str) -> bool {
    let range = match text.strip_prefix("npm:") {
        Some(alias) => match alias.rsplit_once('@') {
            Some((name, range)) if is_name(name) => range,
            _ => return false,
        },
        None => text,
    };
    range
        .chars()
        .all(|character| character.is_ascii_alphanumeric() || " .-+*^~<>=|_".contains(character))
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(value)
}

/// Returns the key of a line without quotes, and the text after it.
fn key_and_value(line: &str) -> Option<(&str, &str)> {
    if let Some(rest) = line.strip_prefix('\'') {
        let (key, rest) = rest.split_once('\'')?;
        return Some((key, rest.strip_prefix(':')?.trim()));
    }
    let (key, value) = match line.split_once(": ") {
        Some((key, value)) => (key, value.trim()),
        None => (line.trim_end().strip_suffix(':')?, ""),
    };
    key.starts_with(|first: char| first.is_ascii_alphanumeric() || ".@".contains(first))
        .then_some((key, value))
}

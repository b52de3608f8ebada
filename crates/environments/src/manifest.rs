//! Manifests, in which a program declares its packages: the script block of PEP 723,
//! `requirements.txt`, `package.json`, and `@add-package` in a comment. Each is parsed as data of
//! limited size. Anything that leads outside of the registry is refused by name and never ignored,
//! because the program would otherwise run with something else than it requires.

use std::borrow::Cow;
use std::collections::BTreeMap;

use belljar_protocol::Explain;
use serde::Deserialize;

use crate::requirement::{
    Ecosystem, NpmRequirement, PyPiRequirement, Requirement, RequirementError, VersionSpecifiers,
    merged,
};
use crate::sanitize::sanitize;

#[cfg(test)]
mod tests;

/// The maximum size of a manifest in bytes.
pub const MAX_MANIFEST_BYTES: usize = 256 * 1024;

/// The content of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The packages, as [`merged`] returns them.
    pub requirements: Vec<Requirement>,
    /// Versions of Python that the program supports. Only a script block declares them.
    pub requires_python: VersionSpecifiers,
}

/// The content of a `package.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageJson {
    /// The packages of `dependencies` and `optionalDependencies`, or `None` if it has neither, such
    /// as a file with only `"type": "module"`.
    pub requirements: Option<Vec<Requirement>>,
}

/// An error of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The manifest is longer than [`MAX_MANIFEST_BYTES`].
    #[error("{file} has {bytes} bytes, which exceeds the limit of {MAX_MANIFEST_BYTES}")]
    TooLong {
        /// Name of the manifest.
        file: &'static str,
        /// Size of the manifest.
        bytes: usize,
    },
    /// The manifest is not UTF-8.
    #[error("{file} is not UTF-8")]
    NotText {
        /// Name of the manifest.
        file: &'static str,
    },
    /// The manifest has invalid syntax.
    #[error("cannot parse {file}: {why}")]
    Syntax {
        /// Name of the manifest.
        file: &'static str,
        /// Message of the parser.
        why: String,
    },
    /// The file has several script blocks, which is an error according to PEP 723.
    #[error("the program has {count} `# /// script` blocks")]
    SeveralScriptBlocks {
        /// Number of script blocks.
        count: usize,
    },
    /// One of the requirements is invalid.
    #[error("{place}: {error}")]
    Requirement {
        /// Human-readable place of the requirement.
        place: String,
        /// Error of the requirement.
        error: RequirementError,
    },
    /// The script block sets where packages come from.
    #[error("the script block sets `tool.uv.{key}`, but cannot choose where packages come from")]
    OwnSource {
        /// Name of the key.
        key: String,
    },
    /// The script block sets a rule of the resolution.
    #[error("the script block sets `tool.uv.{key}`, which is not supported")]
    OwnRule {
        /// Name of the key.
        key: String,
    },
    /// The `requirements.txt` contains a hash.
    #[error("line {line} of requirements.txt has a hash, which is not supported")]
    Hashes {
        /// Number of the line, starting at 1.
        line: usize,
    },
    /// The `requirements.txt` contains an option of pip.
    #[error("line {line} of requirements.txt has the unsupported option `{}`", sanitize(option))]
    InstallerOption {
        /// Number of the line, starting at 1.
        line: usize,
        /// Name of the option, without its value.
        option: String,
    },
}

impl Explain for ManifestError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::TooLong { .. } => "keep only what the program needs in it".into(),
            Self::NotText { .. } => "save it as UTF-8".into(),
            Self::Syntax { .. } => return None,
            Self::SeveralScriptBlocks { .. } => "keep one of them".into(),
            Self::Requirement { error, .. } => return error.hint(),
            Self::OwnSource { .. } => {
                "remove it, and name packages of the registry with a version".into()
            }
            Self::OwnRule { .. } => {
                "write the versions into dependencies, or provide a lock file".into()
            }
            Self::Hashes { .. } => "provide a lock file instead".into(),
            Self::InstallerOption { .. } => "keep only names and versions in it".into(),
        })
    }
}

const SCRIPT_BLOCK: &str = "the script block";
const REQUIREMENTS_TXT: &str = "requirements.txt";
const PACKAGE_JSON: &str = "package.json";

/// Parses the `# /// script` block of a Python file. Returns `None` if there is no such block. A
/// block without `dependencies` requires no packages.
///
/// Settings of `[tool.uv]` that determine where packages come from, or that would change the
/// resolution, are refused. The rest of `[tool]` is ignored.
pub fn script_manifest(source: &str) -> Result<Option<Manifest>, ManifestError> {
    let mut blocks = script_blocks(source);
    if blocks.len() > 1 {
        return Err(ManifestError::SeveralScriptBlocks { count: blocks.len() });
    }
    let Some(text) = blocks.pop() else { return Ok(None) };
    if text.len() > MAX_MANIFEST_BYTES {
        return Err(ManifestError::TooLong { file: SCRIPT_BLOCK, bytes: text.len() });
    }
    let block: ScriptBlock = toml::from_str(&text).map_err(|error| ManifestError::Syntax {
        file: SCRIPT_BLOCK,
        why: one_line(error.message()),
    })?;
    if let Some(key) = SOURCE_KEYS.iter().find(|key| block.tool.uv.contains_key(**key)) {
        return Err(ManifestError::OwnSource { key: (*key).to_owned() });
    }
    if let Some(key) = RESOLUTION_KEYS.iter().find(|key| block.tool.uv.contains_key(**key)) {
        return Err(ManifestError::OwnRule { key: (*key).to_owned() });
    }
    let at = |place: &str| {
        let place = format!("{place} of {SCRIPT_BLOCK}");
        move |error| ManifestError::Requirement { place, error }
    };
    let requirements =
        block.dependencies.iter().map(|text| PyPiRequirement::parse(text).map(Requirement::PyPi));
    let requirements =
        requirements.collect::<Result<Vec<_>, _>>().and_then(merged).map_err(at("dependencies"))?;
    let requires_python =
        VersionSpecifiers::parse(&block.requires_python).map_err(at("requires-python"))?;
    Ok(Some(Manifest { requirements, requires_python }))
}

#[derive(Deserialize)]
struct ScriptBlock {
    #[serde(default)]
    dependencies: Vec<String>,
    #[serde(default, rename = "requires-python")]
    requires_python: String,
    #[serde(default)]
    tool: Tool,
}

#[derive(Default, Deserialize)]
struct Tool {
    #[serde(default)]
    uv: toml::Table,
}

/// The keys of `[tool.uv]` that determine where packages come from (uv's reference of settings).
const SOURCE_KEYS: [&str; 6] =
    ["sources", "index", "index-url", "extra-index-url", "find-links", "no-index"];

/// The keys of `[tool.uv]` that lead to other versions (the same reference). If they were ignored,
/// the program would get other versions than it was written for.
const RESOLUTION_KEYS: [&str; 10] = [
    "exclude-newer",
    "exclude-newer-package",
    "constraint-dependencies",
    "override-dependencies",
    "exclude-dependencies",
    "dependency-metadata",
    "prerelease",
    "resolution",
    "fork-strategy",
    "index-strategy",
];

/// Returns the contents of the blocks of type `script`, without the comment signs.
///
/// It finds what the regular expression of PEP 723 finds, `(?m)^# /// ([a-zA-Z0-9-]+)$\s((^#(|
/// .*)$\s)+)^# ///$`, in one pass: a block begins with `# /// type`, continues over the comment
/// lines that directly follow it, and ends at the last of them that is `# ///`, with at least one
/// line in between. As in uv, a line may also end with a carriage return.
fn script_blocks(source: &str) -> Vec<String> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let lines: Vec<&str> =
        source.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    // For each line, the index of the last `# ///` in its run of comment lines.
    let mut ends = vec![None; lines.len()];
    let mut end = None;
    for (index, line) in lines.iter().enumerate().rev() {
        match *line {
            "# ///" if end.is_none() => end = Some(index),
            line if !is_comment(line) => end = None,
            _ => {}
        }
        ends[index] = end;
    }
    let mut blocks = Vec::new();
    let mut index = 0;
    while index < lines.len() {
        let kind = lines[index].strip_prefix("# /// ").filter(|kind| is_kind(kind));
        match (kind, ends[index]) {
            (Some(kind), Some(end)) if end > index + 1 => {
                if kind == "script" {
                    let content = lines[index + 1..end]
                        .iter()
                        .map(|line| line.strip_prefix("# ").unwrap_or(&line[1..]));
                    blocks.push(content.flat_map(|line| [line, "\n"]).collect());
                }
                index = end + 1;
            }
            _ => index += 1,
        }
    }
    blocks
}

fn is_comment(line: &str) -> bool {
    line == "#" || line.starts_with("# ")
}

fn is_kind(kind: &str) -> bool {
    !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Parses a `requirements.txt`: names, versions and markers, with pip's comments and continued
/// lines, but without options.
pub fn requirements_txt(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    let text = text_of(REQUIREMENTS_TXT, bytes)?;
    let mut requirements = Vec::new();
    for (line, text) in logical_lines(text) {
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        if let Some(option) = options(text).next() {
            return Err(match option {
                "--hash" => ManifestError::Hashes { line },
                option => ManifestError::InstallerOption {
                    line,
                    option: option.chars().take(64).collect(),
                },
            });
        }
        let requirement = PyPiRequirement::parse(text).map_err(|error| {
            ManifestError::Requirement { place: format!("line {line} of requirements.txt"), error }
        })?;
        requirements.push(Requirement::PyPi(requirement));
    }
    let requirements = merged(requirements).map_err(|error| ManifestError::Requirement {
        place: REQUIREMENTS_TXT.to_owned(),
        error,
    })?;
    Ok(Manifest { requirements, requires_python: VersionSpecifiers::default() })
}

/// Returns the lines without comments, with continued lines joined, and the number of the first
/// line of each. As in pip, a line that is a comment ends a continuation, and a `#` begins a
/// comment only at the start of a line or after white space.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let (number, mut joined) = open.take().unwrap_or((index + 1, String::new()));
        let code = without_comment(line);
        match code.strip_suffix('\\') {
            Some(before) if code.len() == line.len() => {
                joined.push_str(before);
                open = Some((number, joined));
            }
            _ => {
                joined.push_str(code);
                lines.push((number, joined));
            }
        }
    }
    lines.extend(open);
    lines
}

fn without_comment(line: &str) -> &str {
    let starts = line.match_indices('#').map(|(at, _)| at);
    match starts
        .into_iter()
        .find(|at| line[..*at].chars().next_back().is_none_or(char::is_whitespace))
    {
        Some(at) => &line[..at],
        None => line,
    }
}

/// Returns the options of a line, without their values.
fn options(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
        .filter(|word| word.starts_with('-'))
        .map(|word| word.split('=').next().unwrap_or(word))
}

/// Parses a `package.json`. `devDependencies`, `engines` and everything that does not concern
/// running the program are ignored.
pub fn package_json(bytes: &[u8]) -> Result<PackageJson, ManifestError> {
    let text = text_of(PACKAGE_JSON, bytes)?;
    let file: PackageJsonFile = serde_json::from_str(text).map_err(|error| {
        ManifestError::Syntax { file: PACKAGE_JSON, why: one_line(&error.to_string()) }
    })?;
    if file.dependencies.is_none() && file.optional_dependencies.is_none() {
        return Ok(PackageJson { requirements: None });
    }
    let mut ranges = file.dependencies.unwrap_or_default();
    // npm: "Entries in optionalDependencies will override entries of the same name in
    // dependencies".
    ranges.extend(file.optional_dependencies.unwrap_or_default());
    let mut requirements = Vec::with_capacity(ranges.len());
    for (name, range) in ranges {
        let requirement = NpmRequirement::new(&name, &range).map_err(|error| {
            ManifestError::Requirement { place: PACKAGE_JSON.to_owned(), error }
        })?;
        requirements.push(Requirement::Npm(requirement));
    }
    let requirements = merged(requirements)
        .map_err(|error| ManifestError::Requirement { place: PACKAGE_JSON.to_owned(), error })?;
    Ok(PackageJson { requirements: Some(requirements) })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PackageJsonFile {
    dependencies: Option<BTreeMap<String, String>>,
    optional_dependencies: Option<BTreeMap<String, String>>,
}

/// Returns the name that a `package.json` gives its own folder: the program itself, or a workspace.
pub(crate) fn package_name(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let text = Some(text).filter(|text| text.len() <= MAX_MANIFEST_BYTES)?;
    serde_json::from_str::<Named>(text).ok().map(|file| file.name)
}

/// Returns the names that a `package.json` gives folders of the run for the package `module-alias`.
pub(crate) fn module_aliases(text: &str) -> Vec<String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    #[expect(clippy::zero_sized_map_values, reason = "of a map, the keys are read")]
    struct Aliases {
        #[serde(rename = "_moduleAliases")]
        aliases: BTreeMap<String, serde::de::IgnoredAny>,
    }
    let text = Some(text).filter(|text| text.len() <= MAX_MANIFEST_BYTES);
    let file: Aliases = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    file.aliases.into_keys().collect()
}

/// Parses the text after `@add-package` in a comment. It may still include that word and the end of
/// a block comment.
pub fn addition(ecosystem: Ecosystem, text: &str) -> Result<Requirement, RequirementError> {
    let text = text.trim();
    let text = text.strip_prefix("@add-package").unwrap_or(text);
    let text = text.trim_end().strip_suffix("*/").unwrap_or(text);
    Requirement::parse(ecosystem, text)
}

fn text_of<'a>(file: &'static str, bytes: &'a [u8]) -> Result<&'a str, ManifestError> {
    if bytes.len() > MAX_MANIFEST_BYTES {
        return Err(ManifestError::TooLong { file, bytes: bytes.len() });
    }
    let text = str::from_utf8(bytes).map_err(|_| ManifestError::NotText { file })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Returns a parser's message, which may contain text of the program, without line breaks and other
/// control characters.
fn one_line(message: &str) -> String {
    message
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(256)
        .collect()
}

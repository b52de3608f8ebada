//! What a program says itself of the packages it needs, in the files that its language has for this: the script block of PEP 723, a
//! `requirements.txt`, a `package.json`, and `@add-package` in a comment. Each is read as bounded data. What leads outside of the registry
//! is refused by name, never passed over: a program that asked for it would run with something else.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::requirement::{Ecosystem, NpmRequirement, PyPiRequirement, Requirement, RequirementError, VersionSpecifiers, merged};

#[cfg(test)]
mod tests;

/// Bytes of a manifest that are read.
pub const MOST_MANIFEST_BYTES: usize = 256 * 1024;

/// What a manifest asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The packages, as [`merged`] gives them.
    pub requirements: Vec<Requirement>,
    /// Which Pythons the program is for. Only a script block says so.
    pub requires_python: VersionSpecifiers,
}

/// What a `package.json` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageJson {
    /// The packages of `dependencies` and `optionalDependencies`; none where it has neither, as one that only says `"type": "module"`.
    pub requirements: Option<Vec<Requirement>>,
}

/// Why a manifest cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// More than [`MOST_MANIFEST_BYTES`].
    #[error("{file} has {bytes} bytes, and at most {MOST_MANIFEST_BYTES} of a manifest are read; keep in it what the program needs")]
    TooLong {
        /// What it is.
        file: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// It is not UTF-8.
    #[error("{file} is not UTF-8; save it as UTF-8")]
    NotText {
        /// What it is.
        file: &'static str,
    },
    /// It is not of its format.
    #[error("{file} cannot be read: {why}")]
    Syntax {
        /// What it is.
        file: &'static str,
        /// What the parser says.
        why: String,
    },
    /// The file has several script blocks, which PEP 723 makes an error.
    #[error("the program has {count} blocks `# /// script`; keep one")]
    SeveralScriptBlocks {
        /// How many.
        count: usize,
    },
    /// One of the packages cannot be asked for.
    #[error("{place}: {error}")]
    Requirement {
        /// Where it stands, for people.
        place: String,
        /// What is wrong with it.
        error: RequirementError,
    },
    /// The script block names where packages come from.
    #[error(
        "the script block has [tool.uv] {key}: sources of its own are not supported; packages come from the registry by name and version"
    )]
    OwnSource {
        /// The key.
        key: String,
    },
    /// The script block has a rule for the resolution.
    #[error("tool.uv.{key} of the script block is not followed here; write the versions into dependencies, or give the run a lock")]
    OwnRule {
        /// The key.
        key: String,
    },
    /// A `requirements.txt` with hashes.
    #[error("line {line} of requirements.txt has a hash, and hashes belong to a lock; give a lock instead")]
    Hashes {
        /// The line, counted from 1.
        line: usize,
    },
    /// A `requirements.txt` with an option of pip.
    #[error("line {line} of requirements.txt has the option {option:?}, which is not supported; keep names and versions in it")]
    InstallerOption {
        /// The line, counted from 1.
        line: usize,
        /// The option, without its value.
        option: String,
    },
}

const SCRIPT_BLOCK: &str = "the script block";
const REQUIREMENTS_TXT: &str = "requirements.txt";
const PACKAGE_JSON: &str = "package.json";

/// What the `# /// script` block of a Python file asks for; none where it has no such block. One without `dependencies` asks for nothing.
///
/// Of `[tool.uv]` what says where packages come from, and what would change the resolution, is refused; the rest of `[tool]` is not looked at.
pub fn script_manifest(source: &str) -> Result<Option<Manifest>, ManifestError> {
    let mut blocks = script_blocks(source);
    if blocks.len() > 1 {
        return Err(ManifestError::SeveralScriptBlocks { count: blocks.len() });
    }
    let Some(text) = blocks.pop() else { return Ok(None) };
    if text.len() > MOST_MANIFEST_BYTES {
        return Err(ManifestError::TooLong { file: SCRIPT_BLOCK, bytes: text.len() });
    }
    let block: ScriptBlock =
        toml::from_str(&text).map_err(|error| ManifestError::Syntax { file: SCRIPT_BLOCK, why: one_line(error.message()) })?;
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
    let requirements = block.dependencies.iter().map(|text| PyPiRequirement::parse(text).map(Requirement::PyPi));
    let requirements = requirements.collect::<Result<Vec<_>, _>>().and_then(merged).map_err(at("dependencies"))?;
    let requires_python = VersionSpecifiers::parse(&block.requires_python).map_err(at("requires-python"))?;
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

/// The keys of `[tool.uv]` that say where packages come from (uv's reference of its settings).
const SOURCE_KEYS: [&str; 6] = ["sources", "index", "index-url", "extra-index-url", "find-links", "no-index"];

/// The keys of `[tool.uv]` that lead to other versions (the same reference). Passed over, they would give others than the program was written for.
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

/// The contents of the blocks of type `script`, without the comment signs.
///
/// It finds what the regular expression of PEP 723 finds, `(?m)^# /// ([a-zA-Z0-9-]+)$\s((^#(| .*)$\s)+)^# ///$`, in one pass: a block
/// begins with `# /// type`, goes on over the comment lines that follow it directly, and ends at the last of them that is `# ///`, with
/// at least one line in between. As uv does, a line may end with a carriage return too.
fn script_blocks(source: &str) -> Vec<String> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let lines: Vec<&str> = source.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    // For each line, the last `# ///` of the run of comment lines that it is in.
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
                    let content = lines[index + 1..end].iter().map(|line| line.strip_prefix("# ").unwrap_or(&line[1..]));
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

/// What a `requirements.txt` asks for: names, versions and markers, with comments and continued lines as pip has them, and no options.
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
                option => ManifestError::InstallerOption { line, option: option.chars().take(64).collect() },
            });
        }
        let requirement = PyPiRequirement::parse(text)
            .map_err(|error| ManifestError::Requirement { place: format!("line {line} of requirements.txt"), error })?;
        requirements.push(Requirement::PyPi(requirement));
    }
    let requirements = merged(requirements).map_err(|error| ManifestError::Requirement { place: REQUIREMENTS_TXT.to_owned(), error })?;
    Ok(Manifest { requirements, requires_python: VersionSpecifiers::default() })
}

/// Lines without comments, those that end with a backslash joined to the next, and the number of the first of each. As pip does it, a
/// line that is a comment ends a continuation, and a `#` begins a comment where white space or nothing is before it.
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
    match starts.into_iter().find(|at| line[..*at].chars().next_back().is_none_or(char::is_whitespace)) {
        Some(at) => &line[..at],
        None => line,
    }
}

/// The words that are options, without their values.
fn options(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace().filter(|word| word.starts_with('-')).map(|word| word.split('=').next().unwrap_or(word))
}

/// What a `package.json` asks for. `devDependencies`, `engines` and all that is not about running are not looked at.
pub fn package_json(bytes: &[u8]) -> Result<PackageJson, ManifestError> {
    let text = text_of(PACKAGE_JSON, bytes)?;
    let file: PackageJsonFile =
        serde_json::from_str(text).map_err(|error| ManifestError::Syntax { file: PACKAGE_JSON, why: one_line(&error.to_string()) })?;
    if file.dependencies.is_none() && file.optional_dependencies.is_none() {
        return Ok(PackageJson { requirements: None });
    }
    let mut ranges = file.dependencies.unwrap_or_default();
    // npm: "Entries in optionalDependencies will override entries of the same name in dependencies".
    ranges.extend(file.optional_dependencies.unwrap_or_default());
    let mut requirements = Vec::with_capacity(ranges.len());
    for (name, range) in ranges {
        let requirement =
            NpmRequirement::new(&name, &range).map_err(|error| ManifestError::Requirement { place: PACKAGE_JSON.to_owned(), error })?;
        requirements.push(Requirement::Npm(requirement));
    }
    let requirements = merged(requirements).map_err(|error| ManifestError::Requirement { place: PACKAGE_JSON.to_owned(), error })?;
    Ok(PackageJson { requirements: Some(requirements) })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PackageJsonFile {
    dependencies: Option<BTreeMap<String, String>>,
    optional_dependencies: Option<BTreeMap<String, String>>,
}

/// The name that a `package.json` of the run gives its own folder: of the program itself, or of a workspace.
pub(crate) fn package_name(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let text = Some(text).filter(|text| text.len() <= MOST_MANIFEST_BYTES)?;
    serde_json::from_str::<Named>(text).ok().map(|file| file.name)
}

/// The names that a `package.json` gives folders of the run for the package `module-alias`.
pub(crate) fn module_aliases(text: &str) -> Vec<String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    #[expect(clippy::zero_sized_map_values, reason = "of a map, the keys are read")]
    struct Aliases {
        #[serde(rename = "_moduleAliases")]
        aliases: BTreeMap<String, serde::de::IgnoredAny>,
    }
    let text = Some(text).filter(|text| text.len() <= MOST_MANIFEST_BYTES);
    let file: Aliases = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    file.aliases.into_keys().collect()
}

/// What the text after `@add-package` in a comment asks for. The word itself and the end of a block comment may still be there.
pub fn addition(ecosystem: Ecosystem, text: &str) -> Result<Requirement, RequirementError> {
    let text = text.trim();
    let text = text.strip_prefix("@add-package").unwrap_or(text);
    let text = text.trim_end().strip_suffix("*/").unwrap_or(text);
    Requirement::parse(ecosystem, text)
}

fn text_of<'a>(file: &'static str, bytes: &'a [u8]) -> Result<&'a str, ManifestError> {
    if bytes.len() > MOST_MANIFEST_BYTES {
        return Err(ManifestError::TooLong { file, bytes: bytes.len() });
    }
    let text = str::from_utf8(bytes).map_err(|_| ManifestError::NotText { file })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// A parser's message without line breaks and other control characters, which may be the program's own.
fn one_line(message: &str) -> String {
    message.chars().map(|character| if character.is_control() { ' ' } else { character }).take(256).collect()
}

//! Languages, and the runtimes that run them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A language that a program can be written in. In JSON `"javascript"`, `"typescript"`, `"python"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Language {
    /// `CommonJS` or ES module, told apart as Node.js does.
    JavaScript,
    /// JavaScript after its types are stripped; they are never checked.
    TypeScript,
    /// `CPython`.
    Python,
}

/// A language name that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a language that belljar runs; use javascript (js), typescript (ts) or python (py)")]
pub struct UnknownLanguage(pub String);

impl Language {
    /// The language that a file's extension tells: `.js .mjs .cjs .jsx`, `.ts .mts .cts .tsx`, `.py`.
    pub fn of_path(path: &Path) -> Option<Self> {
        Some(match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "js" | "mjs" | "cjs" | "jsx" => Self::JavaScript,
            "ts" | "mts" | "cts" | "tsx" => Self::TypeScript,
            "py" => Self::Python,
            _ => return None,
        })
    }

    /// The name that a program gets when none is given.
    pub fn default_entry(self) -> &'static str {
        match self {
            Self::JavaScript => "main.js",
            Self::TypeScript => "main.ts",
            Self::Python => "main.py",
        }
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::Python => "python",
        }
    }

    /// The runtime that runs it, at its default version.
    pub fn default_runtime(self) -> RuntimeName {
        match self {
            Self::JavaScript | Self::TypeScript => RuntimeName::Node(None),
            Self::Python => RuntimeName::Python(None),
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Language {
    type Err = UnknownLanguage;

    fn from_str(text: &str) -> Result<Self, UnknownLanguage> {
        match text.to_ascii_lowercase().as_str() {
            "javascript" | "js" | "node" => Ok(Self::JavaScript),
            "typescript" | "ts" => Ok(Self::TypeScript),
            "python" | "py" | "python3" => Ok(Self::Python),
            _ => Err(UnknownLanguage(text.to_owned())),
        }
    }
}

/// A language engine and, where asked for, its version: `node`, `node@24`, `node@24.21.0`, `python@3.11`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RuntimeName {
    /// Node.js, at a version or the default one.
    Node(Option<String>),
    /// `CPython`, at a version or the one found first.
    Python(Option<String>),
}

/// A runtime name that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a runtime; write node, node@24, python or python@3.11")]
pub struct UnknownRuntime(pub String);

impl RuntimeName {
    /// Whether this runtime can run programs of `language`.
    pub fn runs(&self, language: Language) -> bool {
        matches!((self, language), (Self::Node(_), Language::JavaScript | Language::TypeScript) | (Self::Python(_), Language::Python))
    }
}

impl FromStr for RuntimeName {
    type Err = UnknownRuntime;

    fn from_str(text: &str) -> Result<Self, UnknownRuntime> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let well_formed = |v: &str| {
            !v.is_empty() && v.len() <= 32 && v.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        };
        if version.is_some_and(|v| !well_formed(v)) {
            return Err(UnknownRuntime(text.to_owned()));
        }
        match name {
            "node" => Ok(Self::Node(version.map(str::to_owned))),
            "python" => Ok(Self::Python(version.map(str::to_owned))),
            _ => Err(UnknownRuntime(text.to_owned())),
        }
    }
}

impl fmt::Display for RuntimeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, version) = match self {
            Self::Node(version) => ("node", version),
            Self::Python(version) => ("python", version),
        };
        f.write_str(name)?;
        version.as_ref().map_or(Ok(()), |v| write!(f, "@{v}"))
    }
}

impl Serialize for RuntimeName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RuntimeName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

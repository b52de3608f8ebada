//! Languages, and the runtimes that run them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A language that a program can be written in. A request may also use the short names `js`, `ts`
/// and `py`.
///
/// ```
/// use belljar_protocol::Language;
///
/// let language: Language = serde_json::from_str(r#""python""#).unwrap();
/// assert_eq!(serde_json::from_str::<Language>(r#""py""#).unwrap(), language);
/// assert_eq!(serde_json::to_string(&language).unwrap(), r#""python""#);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Language {
    /// `CommonJS` or ES modules, distinguished as in Node.js.
    JavaScript,
    /// JavaScript with types, which are removed and never checked.
    TypeScript,
    /// Python as `CPython` runs it.
    Python,
}

/// An unknown name of a language.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a language that belljar runs: expected javascript (js), typescript (ts) or \
     python (py)"
)]
pub struct UnknownLanguage(pub String);

impl Language {
    /// Returns the language for the extension of a file: `.js .mjs .cjs .jsx`,
    /// `.ts .mts .cts .tsx` or `.py`.
    pub fn of_path(path: &Path) -> Option<Self> {
        Some(match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "js" | "mjs" | "cjs" | "jsx" => Self::JavaScript,
            "ts" | "mts" | "cts" | "tsx" => Self::TypeScript,
            "py" => Self::Python,
            _ => return None,
        })
    }

    /// Returns the default file name of a program.
    pub fn default_entry(self) -> &'static str {
        match self {
            Self::JavaScript => "main.js",
            Self::TypeScript => "main.ts",
            Self::Python => "main.py",
        }
    }

    /// Returns the name of the language on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::Python => "python",
        }
    }

    /// Returns the runtime for the language, at its default version.
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

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The name of a runtime and optionally its version: `node`, `node@24`, `node@24.21.0`,
/// `python@3.11`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RuntimeName {
    /// Node.js, at the given or the default version.
    Node(Option<String>),
    /// `CPython`, at the given version or the first version found.
    Python(Option<String>),
}

/// An unknown name of a runtime.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a runtime: expected a name such as node, node@24, python or python@3.11")]
pub struct UnknownRuntime(pub String);

impl RuntimeName {
    /// Returns whether this runtime can run programs in `language`.
    pub fn runs(&self, language: Language) -> bool {
        matches!(
            (self, language),
            (Self::Node(_), Language::JavaScript | Language::TypeScript)
                | (Self::Python(_), Language::Python)
        )
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
            !v.is_empty()
                && v.len() <= 32
                && v.split('.')
                    .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
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

//! The part of a `tsconfig.json` that determines where modules are: `paths` and `baseUrl`. It is
//! parsed as data, with the comments and trailing commas that it may contain.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::module_paths::has_module_at;

/// The maximum size of a configuration in bytes.
const MAX_CONFIG_BYTES: usize = 256 * 1024;

/// The places where one `tsconfig.json` looks for modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TypeScriptConfig {
    /// The patterns of `paths`, each with at most one `*`.
    patterns: Vec<String>,
    /// The folder of `baseUrl` relative to the run's folder, which is the empty text itself.
    base: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    #[serde(rename = "compilerOptions")]
    options: Options,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(clippy::zero_sized_map_values, reason = "of a map, the keys are read")]
struct Options {
    base_url: Option<String>,
    paths: BTreeMap<String, serde::de::IgnoredAny>,
}

impl TypeScriptConfig {
    /// Parses the configuration in a folder. Returns `None` if it is invalid or does not concern
    /// modules.
    pub(crate) fn read(text: &str, folder: &str) -> Option<Self> {
        if text.len() > MAX_CONFIG_BYTES {
            return None;
        }
        let File { options: Options { base_url, paths } } =
            serde_json::from_str(&without_comments(text)).ok()?;
        let base = base_url.and_then(|base| joined(folder, &base));
        // `*` alone maps every specifier, including packages, so only existing files count.
        let patterns: Vec<String> = paths.into_keys().filter(|pattern| pattern != "*").collect();
        (base.is_some() || !patterns.is_empty()).then_some(Self { patterns, base })
    }

    /// Returns the number of patterns that specifiers are compared with.
    pub(crate) fn patterns(&self) -> usize {
        self.patterns.len()
    }

    /// Returns whether it maps a specifier to the run's own files.
    pub(crate) fn maps(&self, specifier: &str, paths: &BTreeSet<String>) -> bool {
        let is_mapped = self.patterns.iter().any(|pattern| match pattern.split_once('*') {
            Some((before, after)) => {
                specifier.len() >= before.len() + after.len()
                    && specifier.starts_with(before)
                    && specifier.ends_with(after)
            }
            None => specifier == pattern,
        });
        is_mapped
            || self.base.as_deref().is_some_and(|base| {
                let first = specifier.split('/').next().unwrap_or(specifier);
                joined(base, first).is_some_and(|path| has_module_at(paths, &path))
            })
    }
}

/// Returns a path from a folder without `.` and `..`, or `None` if it leads out of the run's
/// folder.
fn joined(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Returns the text as JSON, without comments and commas before a closing bracket, which TypeScript
/// accepts.
fn without_comments(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '"' => string_length(rest),
            '/' if rest.starts_with("//") => {
                rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
                continue;
            }
            '/' if rest.starts_with("/*") => {
                rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
                continue;
            }
            '}' | ']' => {
                let kept = plain.trim_end().trim_end_matches(',').len();
                plain.truncate(kept);
                1
            }
            _ => next.len_utf8(),
        };
        plain.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    plain
}

/// Returns the length of the string at the beginning of a text, in bytes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paths(paths: &[&str]) -> BTreeSet<String> {
        paths.iter().map(|&path| path.to_owned()).collect()
    }

    #[test]
    fn paths_and_base_url_lead_to_the_runs_own_files() {
        let text = r#"{ // where modules are
            "compilerOptions": {"baseUrl": ".", /* "x" */ "paths": {"@/*": ["./src/*"], "config": ["./src/config.ts",],}, "note": "// no comment, \" */",},
        }"#;
        let config = TypeScriptConfig::read(text, "").unwrap();
        let own = paths(&["src", "src/b.ts", "lib.ts"]);
        for specifier in ["@/one/two", "config", "src/b", "src", "lib"] {
            assert!(config.maps(specifier, &own), "{specifier}");
        }
        for specifier in ["react", "config/x", "@scope/x", "srcs"] {
            assert!(!config.maps(specifier, &own), "{specifier}");
        }
        let deeper =
            TypeScriptConfig::read(r#"{"compilerOptions": {"baseUrl": "./src"}}"#, "app").unwrap();
        assert!(deeper.maps("models/user", &paths(&["app/src/models", "app/src/models/user.ts"])));
        assert!(!deeper.maps("react", &paths(&["app/src/models"])));
    }

    #[test]
    fn what_says_nothing_of_modules_is_none() {
        for text in [
            "",
            "{",
            "[]",
            r#"{"compilerOptions": {"strict": true}}"#,
            r#"{"compilerOptions": {"baseUrl": "../.."}}"#,
        ] {
            assert_eq!(TypeScriptConfig::read(text, "app"), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[\\PC\"/*\\\\,}\\]\n]{0,60}", folder in "[a-z/.]{0,9}") {
            let _ = TypeScriptConfig::read(&text, &folder);
        }
    }
}

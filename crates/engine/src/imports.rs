//! The search for a program's imports, in a sandbox that parses its files without running them. The
//! answer is hostile data. The parsers are part of the drivers. This module does not decide which
//! package an import belongs to, or whether it is a file of the program itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use belljar_protocol::{
    Bytes, Finish, Language, Limits, Millis, ProgramFile, ProgramName, RunError, RunRequest,
    RuntimeName, StartMode, Status,
};
use serde::Deserialize;

use crate::activation::Task;
use crate::engine::Engine;
use crate::error::{EngineError, ImportSearchError};
use crate::execution::Finished;
use crate::spec::SandboxSpec;

/// The maximum size of a file that is searched. A larger file is data, or a bundle that contains
/// its dependencies.
const MAX_SOURCE_BYTES: usize = 2 << 20;
/// The maximum number of imports, and of additions.
const MAX_NAMES: usize = 1000;
const MAX_NAME_BYTES: usize = 256;
/// The maximum number of modules that a program creates, and of names that it uses.
const MAX_FACTS: usize = 4000;

/// The imports of a program's files. Each name occurs once, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundImports {
    /// Imports of the files, including those of the standard library and of the program's own
    /// files.
    pub imports: Vec<FoundImport>,
    /// Texts that follow `@add-package` in comments, as written.
    pub additions: Vec<String>,
    /// Names of modules that the program creates itself, by writing their files or by adding them
    /// to `sys.modules`. Python only.
    pub own: Vec<String>,
    /// Names and strings that the program uses: `.name` for an attribute or a name imported from a
    /// module, `"text"` for a short string, `*.ext` and `scheme://` for the end and the beginning
    /// of a string. Python only.
    pub uses: Vec<String>,
    /// Imports that the program certainly executes, or `None` if that is unknown. Python only.
    pub sure: Option<BTreeSet<String>>,
}

impl FoundImports {
    /// Returns whether a program certainly executes this import, as far as is known.
    #[must_use]
    pub fn is_sure(&self, name: &str) -> bool {
        self.sure.as_ref().is_none_or(|sure| sure.contains(name))
    }
}

/// An import of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundImport {
    /// Python: the full name of the module (`google.cloud.storage`; `a.b` for `from a.b import c`).
    /// JavaScript: the specifier as written (`csv-parser`, `@scope/x/sub`, `npm:lodash@4/fp`,
    /// `node:fs`); a version given next to it becomes part of it (`npm:lodash@4`).
    pub name: String,
    /// True if the program handles a failure of the import wherever it imports this name.
    pub is_optional: bool,
}

impl Engine {
    /// Finds the imports of a program in those of `files` that are in its language. The first file
    /// is the entry, whatever its name. A file that does not parse contributes nothing, because the
    /// run itself will report the error. Files beneath `node_modules` are skipped.
    pub async fn find_imports(
        &self,
        language: Language,
        runtime: Option<RuntimeName>,
        tenant: Option<String>,
        start: StartMode,
        files: &[ProgramFile],
    ) -> Result<FoundImports, EngineError> {
        let Some(request) = request(language, files) else { return Ok(FoundImports::default()) };
        let name = runtime.unwrap_or_else(|| language.default_runtime());
        if !name.runs(language) {
            return Err(EngineError::WrongRuntime { runtime: name, language });
        }
        let runtime = self.runtime(&name).await?;
        let spec = SandboxSpec::new(runtime, &request.policy, &request.limits)?
            .of_tenant(tenant)
            .for_task(Task::FindImports);
        let sandbox = self.sandbox(spec, start).await?;
        Ok(answer(self.execute(sandbox, &request).await, &request.limits)?)
    }
}

/// Returns the request for a search, with its own limits, or `None` if there is no file to search.
fn request(language: Language, files: &[ProgramFile]) -> Option<RunRequest> {
    let entry = files.first()?;
    let sources = files.iter().enumerate().filter(|(index, file)| {
        (*index == 0 || is_source(language, &file.path))
            && !is_installed(&file.path)
            && file.content.len() <= MAX_SOURCE_BYTES
    });
    let files: Vec<ProgramFile> = sources.map(|(_, file)| file.clone()).collect();
    let limits = Limits {
        timeout_ms: Millis(5_000),
        cpu_ms: Millis(2_000),
        memory_bytes: Bytes(256 << 20),
        result_bytes: Bytes(1 << 20),
        ..Limits::default()
    };
    (!files.is_empty()).then(|| RunRequest {
        entry: entry.path.clone(),
        files,
        limits,
        finish: Finish::Settled,
        ..RunRequest::new(language, "")
    })
}

fn is_source(language: Language, path: &ProgramName) -> bool {
    let path = Path::new(path.as_str());
    // Declaration files contain only types.
    if path.file_stem().is_some_and(|stem| stem.as_encoded_bytes().ends_with(b".d")) {
        return false;
    }
    match Language::of_path(path) {
        Some(Language::Python) => language == Language::Python,
        Some(Language::JavaScript | Language::TypeScript) => language != Language::Python,
        None => {
            language == Language::Python
                && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("pyw"))
        }
    }
}

fn is_installed(path: &ProgramName) -> bool {
    path.as_str().split('/').any(|part| part == "node_modules")
}

/// Returns the imports that the sandbox found, or the reason why it found none.
fn answer(finished: Finished, limits: &Limits) -> Result<FoundImports, ImportSearchError> {
    use ImportSearchError::{Failed, LimitExceeded, Unreadable};
    let outcome = finished.outcome;
    Err(match outcome.status {
        Status::Succeeded => {
            return outcome.value.and_then(|value| read(value.get())).ok_or(Unreadable);
        }
        Status::TimedOut => LimitExceeded(limits.timeout_ms.to_string()),
        Status::CpuExceeded => LimitExceeded(format!("{} of CPU time", limits.cpu_ms)),
        Status::MemoryExceeded => LimitExceeded(format!("{} of memory", limits.memory_bytes)),
        _ if outcome.error.as_ref().is_some_and(|error| error.name == "ResultTooLarge") => {
            LimitExceeded(format!("{} of results", limits.result_bytes))
        }
        status => Failed(Box::new(outcome.error.unwrap_or_else(|| RunError {
            message: status.name().to_owned(),
            ..RunError::default()
        }))),
    })
}

/// Reads the answer of a sandbox. Invalid names are left out, and so is everything beyond the
/// bounds.
pub(crate) fn read(json: &str) -> Option<FoundImports> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Answer {
        /// Tells for each name whether the import is optional.
        imports: BTreeMap<String, bool>,
        additions: BTreeSet<String>,
        #[serde(default)]
        own: BTreeSet<String>,
        #[serde(default)]
        uses: BTreeSet<String>,
        #[serde(default)]
        sure: Option<BTreeSet<String>>,
    }
    let Answer { imports, additions, own, uses, sure } = serde_json::from_str(json).ok()?;
    let imports = imports.into_iter().filter(|(name, _)| is_name(name)).take(MAX_NAMES);
    Some(FoundImports {
        imports: imports.map(|(name, is_optional)| FoundImport { name, is_optional }).collect(),
        additions: additions.into_iter().filter(|name| is_name(name)).take(MAX_NAMES).collect(),
        own: own.into_iter().filter(|name| is_name(name)).take(MAX_FACTS).collect(),
        uses: uses.into_iter().filter(|name| is_name(name)).take(MAX_FACTS).collect(),
        sure: sure
            .map(|sure| sure.into_iter().filter(|name| is_name(name)).take(MAX_NAMES).collect()),
    })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn files(paths: &[&str]) -> Vec<ProgramFile> {
        paths
            .iter()
            .map(|&path| ProgramFile { path: path.try_into().unwrap(), content: b"1".to_vec() })
            .collect()
    }

    #[test]
    fn only_source_files_and_the_entry_are_sent() {
        let sent = |language, paths: &[&str]| -> Vec<String> {
            let request = request(language, &files(paths)).unwrap();
            request.files.iter().map(|file| file.path.as_str().to_owned()).collect()
        };
        let paths = [
            "run",
            "a.py",
            "b.PYW",
            "c.js",
            "d.tsx",
            "e.d.ts",
            "data.csv",
            "node_modules/e/index.js",
        ];
        assert_eq!(sent(Language::Python, &paths), ["run", "a.py", "b.PYW"]);
        assert_eq!(sent(Language::JavaScript, &paths), ["run", "c.js", "d.tsx"]);
        let large = ProgramFile {
            path: "main.py".try_into().unwrap(),
            content: vec![b'#'; MAX_SOURCE_BYTES + 1],
        };
        assert!(request(Language::Python, &[large]).is_none());
        assert!(request(Language::Python, &[]).is_none());
    }

    #[test]
    fn an_answer_is_sorted_and_bounded() {
        let found =
            read(r#"{"imports": {"b": true, "a": false, "": false, "c\n": false}, "additions": ["y", "x=1", "y", "z\u0000"]}"#).unwrap();
        let names: Vec<(&str, bool)> =
            found.imports.iter().map(|import| (import.name.as_str(), import.is_optional)).collect();
        assert_eq!(names, [("a", false), ("b", true)]);
        assert_eq!(found.additions, ["x=1", "y"]);
        let longest = "x".repeat(MAX_NAME_BYTES);
        let many: BTreeMap<String, bool> =
            (0..2 * MAX_NAMES).map(|index| (format!("m{index}"), true)).collect();
        let json =
            serde_json::json!({"imports": many, "additions": [longest, format!("{longest}x")]})
                .to_string();
        let found = read(&json).unwrap();
        assert_eq!((found.imports.len(), found.additions), (MAX_NAMES, vec![longest]));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for json in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"imports": {"a": 1}, "additions": []}"#,
            r#"{"imports": {}, "additions": [], "more": 1}"#,
        ] {
            assert_eq!(read(json), None, "{json}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(json in ".{0,200}") {
            let _ = read(&json);
        }
    }
}

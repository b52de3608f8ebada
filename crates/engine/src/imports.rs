//! What a program imports: asked of a sandbox that parses its files and runs nothing of them, and read as hostile data. The parsers are the drivers';
//! which package an import stands for, if not for a file of the program's own, is for others to say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use belljar_protocol::{Bytes, Finish, Language, Limits, Millis, ProgramFile, ProgramName, RunRequest, RuntimeName, StartMode, Status};
use serde::Deserialize;

use crate::activation::Task;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::run::Finished;
use crate::sandbox::SandboxSpec;

/// Of a file that is looked into. A larger one is data, or a bundle that has what it imports within it.
const MOST_SOURCE_BYTES: usize = 2 << 20;
/// Of imports, and of additions.
const MOST_NAMES: usize = 1000;
const MOST_NAME_BYTES: usize = 256;
/// Of modules that a program makes, and of what it uses.
const MAX_FACTS: usize = 4000;

/// What the files of a program name. Each name once, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundImports {
    /// What they import, the language's own library and the program's own files included.
    pub imports: Vec<FoundImport>,
    /// What follows `@add-package` in their comments, as it was written.
    pub additions: Vec<String>,
    /// Names of modules that the program makes itself: it writes their files, or puts them into `sys.modules`. Of Python only.
    pub own: Vec<String>,
    /// What the program uses, of Python only: `.name` for an attribute or a name that is imported from a module, `"text"` for a short string,
    /// `*.ext` and `scheme://` for the end and the beginning of a string.
    pub uses: Vec<String>,
    /// Which of the imports the program certainly comes to; `None` where that is not known. Of Python only.
    pub sure: Option<BTreeSet<String>>,
}

impl FoundImports {
    /// Whether a program imports this in any case, as far as is known.
    #[must_use]
    pub fn is_sure(&self, name: &str) -> bool {
        self.sure.as_ref().is_none_or(|sure| sure.contains(name))
    }
}

/// Something that a program imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundImport {
    /// Python: the module in full (`google.cloud.storage`; `a.b` for `from a.b import c`). JavaScript: the specifier as written (`csv-parser`,
    /// `@scope/x/sub`, `npm:lodash@4/fp`, `node:fs`); a version given beside it has become part of it (`npm:lodash@4`).
    pub name: String,
    /// Whether the program says, wherever it imports this, what to do without it.
    pub is_optional: bool,
}

impl Engine {
    /// Finds what a program imports: in `files` of its language, the first of which is taken for its entry, whatever it is called. A file that does not
    /// parse contributes nothing, for the run will tell; nor do those beneath `node_modules`.
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
            return Err(EngineError::Request(format!("{name} does not run {language}")));
        }
        let runtime = self.runtime(&name).await?;
        let spec = SandboxSpec::new(runtime, &request.policy, &request.limits)?.of_tenant(tenant).for_task(Task::FindImports);
        let sandbox = self.sandbox(spec, start).await?;
        answer(self.execute(sandbox, &request).await, &request.limits)
    }
}

/// The files that are worth looking into, under limits of their own; none where there is no such file.
fn request(language: Language, files: &[ProgramFile]) -> Option<RunRequest> {
    let entry = files.first()?;
    let sources = files.iter().enumerate().filter(|(index, file)| {
        (*index == 0 || is_source(language, &file.path)) && !is_installed(&file.path) && file.content.len() <= MOST_SOURCE_BYTES
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
    // Declarations hold types alone.
    if path.file_stem().is_some_and(|stem| stem.as_encoded_bytes().ends_with(b".d")) {
        return false;
    }
    match Language::of_path(path) {
        Some(Language::Python) => language == Language::Python,
        Some(Language::JavaScript | Language::TypeScript) => language != Language::Python,
        None => language == Language::Python && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("pyw")),
    }
}

fn is_installed(path: &ProgramName) -> bool {
    path.as_str().split('/').any(|part| part == "node_modules")
}

/// What the sandbox found, or why it could not.
fn answer(finished: Finished, limits: &Limits) -> Result<FoundImports, EngineError> {
    let outcome = finished.outcome;
    let too_much = |what: String| format!("that took more than {what}; move data and generated code out of the program's source files");
    let why = match outcome.status {
        Status::Succeeded => match outcome.value.and_then(|value| read(value.get())) {
            Some(found) => return Ok(found),
            None => "the sandbox gave no answer that can be read".into(),
        },
        Status::TimedOut => too_much(limits.timeout_ms.to_string()),
        Status::CpuExceeded => too_much(format!("{} of CPU time", limits.cpu_ms)),
        Status::MemoryExceeded => too_much(format!("{} of memory", limits.memory_bytes)),
        _ if outcome.error.as_ref().is_some_and(|error| error.name == "ResultTooLarge") => {
            too_much(format!("{} to tell", limits.result_bytes))
        }
        status => outcome.error.map_or_else(|| status.name().to_owned(), |error| error.message),
    };
    Err(EngineError::Imports(why))
}

/// Reads a sandbox's answer. Names that cannot be meant are left out, and so is what goes beyond the bounds.
pub(crate) fn read(json: &str) -> Option<FoundImports> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Answer {
        /// Whether it is optional, by name.
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
    let imports = imports.into_iter().filter(|(name, _)| is_name(name)).take(MOST_NAMES);
    Some(FoundImports {
        imports: imports.map(|(name, is_optional)| FoundImport { name, is_optional }).collect(),
        additions: additions.into_iter().filter(|name| is_name(name)).take(MOST_NAMES).collect(),
        own: own.into_iter().filter(|name| is_name(name)).take(MAX_FACTS).collect(),
        uses: uses.into_iter().filter(|name| is_name(name)).take(MAX_FACTS).collect(),
        sure: sure.map(|sure| sure.into_iter().filter(|name| is_name(name)).take(MOST_NAMES).collect()),
    })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MOST_NAME_BYTES && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn files(paths: &[&str]) -> Vec<ProgramFile> {
        paths.iter().map(|&path| ProgramFile { path: path.try_into().unwrap(), content: b"1".to_vec() }).collect()
    }

    #[test]
    fn only_source_files_and_the_entry_are_sent() {
        let sent = |language, paths: &[&str]| -> Vec<String> {
            let request = request(language, &files(paths)).unwrap();
            request.files.iter().map(|file| file.path.as_str().to_owned()).collect()
        };
        let paths = ["run", "a.py", "b.PYW", "c.js", "d.tsx", "e.d.ts", "data.csv", "node_modules/e/index.js"];
        assert_eq!(sent(Language::Python, &paths), ["run", "a.py", "b.PYW"]);
        assert_eq!(sent(Language::JavaScript, &paths), ["run", "c.js", "d.tsx"]);
        let large = ProgramFile { path: "main.py".try_into().unwrap(), content: vec![b'#'; MOST_SOURCE_BYTES + 1] };
        assert!(request(Language::Python, &[large]).is_none());
        assert!(request(Language::Python, &[]).is_none());
    }

    #[test]
    fn an_answer_is_sorted_and_bounded() {
        let found =
            read(r#"{"imports": {"b": true, "a": false, "": false, "c\n": false}, "additions": ["y", "x=1", "y", "z\u0000"]}"#).unwrap();
        let names: Vec<(&str, bool)> = found.imports.iter().map(|import| (import.name.as_str(), import.is_optional)).collect();
        assert_eq!(names, [("a", false), ("b", true)]);
        assert_eq!(found.additions, ["x=1", "y"]);
        let longest = "x".repeat(MOST_NAME_BYTES);
        let many: BTreeMap<String, bool> = (0..2 * MOST_NAMES).map(|index| (format!("m{index}"), true)).collect();
        let json = serde_json::json!({"imports": many, "additions": [longest, format!("{longest}x")]}).to_string();
        let found = read(&json).unwrap();
        assert_eq!((found.imports.len(), found.additions), (MOST_NAMES, vec![longest]));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for json in ["", "null", "[]", "{}", r#"{"imports": {"a": 1}, "additions": []}"#, r#"{"imports": {}, "additions": [], "more": 1}"#]
        {
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

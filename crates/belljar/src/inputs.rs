//! The inputs of `belljar run`: its arguments, parsed once and with all files read, for a run on
//! this machine and for one on a server.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use belljar_protocol::{
    Finish, Language, Limits, PackageChanges, ProgramFile, ProgramName, Retry, RunSubmission,
    StartMode, Status, SubmittedFile,
};
use belljar_runner::Contents;
use serde_json::value::RawValue;

use crate::arguments::{RunArguments, StartChoice};
use crate::hint::{WithHint, hinted};
use crate::input::{MAX_INPUT_BYTES, StdinUse, check_standard_input, name_and_value, read};
use crate::policy::{PolicyFile, variables};
use crate::run_files::{RunFiles, name_within};
use crate::service_arguments::RemoteRunArguments;
use crate::{object_scheme, packages};

/// The maximum size of a program. V8 and `CPython` accept more, but no person and no model writes a
/// program of this size.
const MAX_PROGRAM_BYTES: u64 = 64 << 20;

/// The run that the arguments request.
#[derive(Debug)]
pub struct RunInputs {
    /// The run without its contents. Of its files, it has only those that are objects.
    pub submission: RunSubmission,
    /// The contents that were read. The first file is the program.
    pub contents: Contents,
    /// The package rules of the policy file.
    pub package_rules: Option<PackageChanges>,
}

impl RunInputs {
    /// Parses the arguments and reads everything that they name. The files must fit the limits that
    /// are set, or else these defaults.
    pub fn read(arguments: &RunArguments, defaults: Limits) -> anyhow::Result<Self> {
        if arguments.file.is_none() && arguments.code.is_none() {
            return Err(hinted(
                "no program is given",
                "name a FILE, or `-` for standard input, or write the code after -e, as in belljar \
                 run -e '1 + 1' --language js",
            ));
        }
        check_standard_input(stdin_uses(arguments))?;
        let code = program(arguments)?;
        let language = language(arguments, &code)?;
        let entry = ProgramName::try_from(entry_name(arguments, language))?;
        let PolicyFile { policy, limits, packages: package_rules, env_names: _ } =
            PolicyFile::requested(&arguments.policy, &arguments.limits)?;
        let env = variables(&arguments.policy.env)?;
        let in_force = limits.over(defaults);
        let found = RunFiles::find(&arguments.files, Some(&entry), in_force.files)?;
        found.report_skipped();
        let mut files = vec![ProgramFile { path: entry.clone(), content: code }];
        files.extend(found.read(&in_force)?);
        let mut submission = RunSubmission::new(language, String::new());
        submission.code = None;
        submission.entry = Some(entry);
        submission.parameters = parameters(arguments)?;
        submission.arguments.clone_from(&arguments.arguments);
        submission.runtime.clone_from(&arguments.runtime);
        submission.outputs = arguments
            .outputs
            .iter()
            .map(|name| ProgramName::try_from(name.as_str()))
            .collect::<Result<_, _>>()?;
        let stdin = match &arguments.stdin {
            Some(path) => read(path, "standard input", MAX_INPUT_BYTES)?,
            None => Vec::new(),
        };
        (submission.policy, submission.limits) = (policy, limits);
        if let Some(policy) = &mut submission.policy {
            policy.env.retain(|name, _| !env.contains_key(name));
        }
        submission.env = env.into();
        submission.env.check().map_err(|error| anyhow::anyhow!("--env: {error}"))?;
        submission.packages.clone_from(&arguments.packages.packages);
        submission.package_options = packages::options(&arguments.packages)?;
        submission.finish = if arguments.settled { Finish::Settled } else { Finish::Idle };
        submission.seed = arguments.seed;
        submission.start = match arguments.start {
            StartChoice::Auto => StartMode::Auto,
            StartChoice::Exec => StartMode::Exec,
            StartChoice::Fork => StartMode::Fork,
        };
        request_of_server(&mut submission, &arguments.remote)?;
        let contents = Contents { files, stdin, ..Contents::default() };
        Ok(Self { submission, contents, package_rules })
    }

    /// Returns the submission of the run with its contents, for a server.
    pub fn into_submission(self) -> anyhow::Result<RunSubmission> {
        let Self { mut submission, contents, package_rules } = self;
        if package_rules.is_some() {
            return Err(hinted(
                "the policy file sets package rules, which only the operator of the server can do",
                "remove `packages` from the file",
            ));
        }
        let mut files: Vec<SubmittedFile> = contents.files.into_iter().map(submitted).collect();
        // A program that is not text declares its encoding itself, and stays a file.
        if files[0].content.is_some() {
            submission.code = files.remove(0).content;
        }
        files.append(&mut submission.files);
        submission.files = files;
        if !contents.stdin.is_empty() {
            let text = String::from_utf8(contents.stdin).ok();
            let text = text
                .context("standard input of a run on a server must be UTF-8")
                .hint("pass the bytes as a file with --file")?;
            submission.stdin = Some(text);
        }
        submission.check()?;
        Ok(submission)
    }
}

/// Returns the arguments that can name standard input.
fn stdin_uses(arguments: &RunArguments) -> impl Iterator<Item = StdinUse<'_>> {
    let flags = [
        ("the program", &arguments.file),
        ("--stdin", &arguments.stdin),
        ("--policy", &arguments.policy.policy),
        ("--lock", &arguments.packages.lock),
    ];
    let parameters = arguments.whole_params.as_deref().map(Path::new);
    flags
        .into_iter()
        .filter_map(|(flag, path)| StdinUse::of_flag(flag, path.as_deref()))
        .chain(StdinUse::of_flag("--params", parameters))
        .chain(StdinUse::of_files(&arguments.files))
}

/// Adds the parts of a submission that only a server understands.
fn request_of_server(
    submission: &mut RunSubmission,
    remote: &RemoteRunArguments,
) -> anyhow::Result<()> {
    for given in &remote.objects {
        let (name, object) = given.split_once('=').unwrap_or((given, given));
        submission.files.push(SubmittedFile {
            path: ProgramName::try_from(object_scheme::strip(name))?,
            content: None,
            content_base64: None,
            object: Some(object_scheme::strip(object).to_owned()),
        });
    }
    if !remote.storage_read.is_empty() || !remote.storage_write.is_empty() {
        let storage = &mut submission.policy.get_or_insert_default().storage;
        let prefixes = |given: &[String]| {
            given.iter().map(|prefix| object_scheme::strip(prefix).to_owned()).collect::<Vec<_>>()
        };
        storage.read.extend(prefixes(&remote.storage_read));
        storage.write.extend(prefixes(&remote.storage_write));
    }
    submission.labels = remote.labels.iter().map(|text| label(text)).collect::<Result<_, _>>()?;
    submission.comment.clone_from(&remote.comment);
    submission.retry = remote.attempts.map(|attempts| Retry {
        attempts,
        on: vec![Status::Interrupted, Status::Crashed],
        backoff_ms: 1000,
    });
    Ok(())
}

/// Splits a label `NAME=VALUE` into name and value.
pub fn label(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = name_and_value(text, "--label team=sales")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn submitted(file: ProgramFile) -> SubmittedFile {
    let (content, content_base64) = match String::from_utf8(file.content) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(BASE64.encode(error.as_bytes()))),
    };
    SubmittedFile { path: file.path, content, content_base64, object: None }
}

fn program(arguments: &RunArguments) -> anyhow::Result<Vec<u8>> {
    let Some(path) = &arguments.file else {
        return Ok(arguments.code.clone().unwrap_or_default().into_bytes());
    };
    let code = read(path, "the program", MAX_PROGRAM_BYTES)?;
    if let Err(error) = std::str::from_utf8(&code) {
        // Python declares other encodings in its first two lines (PEP 263), and reads them itself.
        let declares = code
            .split(|byte| *byte == b'\n')
            .take(2)
            .any(|line| line.windows(6).any(|part| part == b"coding"));
        if !declares {
            return Err(hinted(
                format!("`{}` is not UTF-8 (byte {})", path.display(), error.valid_up_to()),
                "save it as UTF-8",
            ));
        }
    }
    Ok(code)
}

fn language(arguments: &RunArguments, code: &[u8]) -> anyhow::Result<Language> {
    if let Some(language) = arguments.language {
        return Ok(language);
    }
    let by_extension = arguments
        .file
        .as_deref()
        .or(arguments.entry.as_deref().map(Path::new))
        .and_then(Language::of_path);
    by_extension
        .or_else(|| of_shebang(code))
        .context("the language is unknown")
        .hint("set it with --language javascript, typescript or python")
}

/// Returns the language that the first line names, as in `#!/usr/bin/env python3`.
fn of_shebang(code: &[u8]) -> Option<Language> {
    let line = code.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line)
        .ok()?
        .split_ascii_whitespace()
        .filter_map(|word| word.rsplit('/').next());
    let program = words.find(|word| *word != "env" && !word.starts_with('-'))?;
    match program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') {
        "node" | "nodejs" => Some(Language::JavaScript),
        "python" => Some(Language::Python),
        "ts-node" | "tsx" => Some(Language::TypeScript),
        _ => None,
    }
}

fn entry_name(arguments: &RunArguments, language: Language) -> String {
    if let Some(entry) = &arguments.entry {
        return entry.clone();
    }
    let path = arguments.file.as_deref().filter(|path| Language::of_path(path) == Some(language));
    path.and_then(name_within).unwrap_or_else(|| language.default_entry().to_owned())
}

fn parameters(arguments: &RunArguments) -> anyhow::Result<Option<Box<RawValue>>> {
    let mut whole: Option<Box<RawValue>> = None;
    if let Some(given) = &arguments.whole_params {
        let is_json = given.trim_start().starts_with(['{', '[']);
        let (text, origin) = if is_json {
            (given.clone().into_bytes(), "--params".to_owned())
        } else {
            (read(Path::new(given), "the parameters", MAX_INPUT_BYTES)?, format!("`{given}`"))
        };
        whole = Some(serde_json::from_slice(&text).map_err(|error| {
            hinted(
                format!("the parameters in {origin} are not JSON: {error}"),
                "write one JSON value",
            )
        })?);
    }
    if arguments.params.is_empty() {
        return Ok(whole);
    }
    let mut named: BTreeMap<String, Box<RawValue>> = match &whole {
        Some(whole) => serde_json::from_str(whole.get())
            .ok()
            .context("--param needs an object in --params")
            .hint("put the values into an object, or leave --param out")?,
        None => BTreeMap::new(),
    };
    for param in &arguments.params {
        let (name, value) = name_and_value(param, "--param city=Oslo")?;
        let value = match serde_json::from_str::<Box<RawValue>>(value) {
            Ok(json) => json,
            Err(_) => RawValue::from_string(serde_json::to_string(value)?)?,
        };
        named.insert(name.to_owned(), value);
    }
    Ok(Some(serde_json::value::to_raw_value(&named)?))
}

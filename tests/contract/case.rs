//! Tables of programs, each with its input and its expected end. Every case runs in both start
//! modes.
//!
//! For example:
//!
//! ```ignore
//! case("a map with functions in it is shown as null", "new Map().set('f', () => 1)")
//!     .gives(json!(null))
//!     .notes(&["has no JSON form"]),
//! ```

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use belljar_test_support::{STARTS, run, said_with_input};
use serde_json::Value;

/// Number of cases of one table that run concurrently.
const TOGETHER: usize = 3;

/// The expected end of a program.
enum Ending {
    Value(Value),
    Fails { name: &'static str, says: Vec<&'static str> },
    Exits(i32),
    Status { status: &'static str, code: i32 },
}

/// A program with its input and everything that is expected of it.
pub struct Case {
    name: &'static str,
    code: &'static str,
    flags: Vec<&'static str>,
    files: Vec<(&'static str, &'static str)>,
    stdin: Option<&'static str>,
    ending: Ending,
    value: Option<Value>,
    logs: Option<Vec<(&'static str, &'static str)>>,
    results: Option<Value>,
    notes: Vec<&'static str>,
    pending: Option<Value>,
    artifacts: Vec<(&'static str, &'static str)>,
}

/// A case whose value is null.
pub fn case(name: &'static str, code: &'static str) -> Case {
    Case {
        name,
        code,
        flags: Vec::new(),
        files: Vec::new(),
        stdin: None,
        ending: Ending::Value(Value::Null),
        value: None,
        logs: None,
        results: None,
        notes: Vec::new(),
        pending: None,
        artifacts: Vec::new(),
    }
}

impl Case {
    pub fn flags(mut self, flags: &[&'static str]) -> Self {
        self.flags.extend(flags);
        self
    }

    /// Adds a file next to the program.
    pub fn file(mut self, name: &'static str, content: &'static str) -> Self {
        self.files.push((name, content));
        self
    }

    pub fn stdin(mut self, text: &'static str) -> Self {
        self.stdin = Some(text);
        self
    }

    pub fn gives(mut self, value: Value) -> Self {
        self.ending = Ending::Value(value);
        self
    }

    /// Fails with an error of this name, whose message and stack have each of these in them.
    pub fn fails(mut self, name: &'static str, says: &[&'static str]) -> Self {
        self.ending = Ending::Fails { name, says: says.to_vec() };
        self
    }

    pub fn exits(mut self, code: i32) -> Self {
        self.ending = Ending::Exits(code);
        self
    }

    pub fn ends(mut self, status: &'static str, code: i32) -> Self {
        self.ending = Ending::Status { status, code };
        self
    }

    /// The value that was there when the run was ended from outside: with [`Case::ends`].
    pub fn keeps(mut self, value: Value) -> Self {
        self.value = Some(value);
        self
    }

    /// Exactly these entries of each stream: level and message.
    pub fn logs(mut self, logs: &[(&'static str, &'static str)]) -> Self {
        self.logs = Some(logs.to_vec());
        self
    }

    /// Exactly these rich results.
    pub fn displays(mut self, results: Value) -> Self {
        self.results = Some(results);
        self
    }

    /// As many notes, each with these words in it, in this order.
    pub fn notes(mut self, words: &[&'static str]) -> Self {
        self.notes = words.to_vec();
        self
    }

    /// Exactly this is reported as pending.
    pub fn pending(mut self, pending: Value) -> Self {
        self.pending = Some(pending);
        self
    }

    /// Leaves this file.
    pub fn leaves(mut self, name: &'static str, content: &'static str) -> Self {
        self.artifacts.push((name, content));
        self
    }

    /// Runs it; gives what is wrong.
    fn check(&self, language: &str, start: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let saved = folder.path().join("saved");
        let mut command =
            run(["--language", language, "--eval", self.code, "--json", "--start", start]);
        command.arg("--artifacts").arg(&saved);
        for (index, (name, content)) in self.files.iter().enumerate() {
            let path = folder.path().join(index.to_string());
            std::fs::write(&path, content).map_err(|error| error.to_string())?;
            command.arg("--file").arg(format!("{name}={}", path.display()));
        }
        if self.stdin.is_some() {
            command.args(["--stdin", "-"]);
        }
        // Last: they may end in arguments for the program.
        command.args(&self.flags);
        let said = said_with_input(&mut command, self.stdin.unwrap_or_default().as_bytes());
        let outcome: Value =
            serde_json::from_str(&said.stdout).map_err(|error| format!("{error}: {said:?}"))?;
        let wrong = |what: &str| Err(format!("{what}: {outcome:#}\n{}", said.stderr));
        let (status, exit) = match &self.ending {
            Ending::Value(_) => ("succeeded", 0),
            Ending::Fails { .. } => ("failed", 1),
            Ending::Exits(0) => ("succeeded", 0),
            Ending::Exits(code) => ("failed", *code),
            Ending::Status { status, code } => (*status, *code),
        };
        if outcome["status"] != status || said.code != Some(exit) {
            return wrong(&format!("not {status} with exit code {exit} but {:?}", said.code));
        }
        if outcome["sandbox"]["start"] != start {
            return wrong("another start mode");
        }
        match &self.ending {
            Ending::Value(value) if outcome["value"] != *value => {
                return wrong(&format!("not the value {value}"));
            }
            Ending::Fails { name, says } => {
                let error = &outcome["error"];
                if error["name"] != *name {
                    return wrong(&format!("not a {name}"));
                }
                let text = format!(
                    "{}\n{}\n{}\n{}",
                    text(&error["message"]),
                    text(&error["hint"]),
                    text(&error["stack"]),
                    error["cause"]
                );
                if let Some(missing) = says.iter().find(|words| !text.contains(**words)) {
                    return wrong(&format!("`{missing}` is missing from the error"));
                }
                if text.contains("/opt/belljar") || text.contains("belljar_driver") {
                    return wrong("frames of the driver are shown");
                }
            }
            _ => {}
        }
        if self.value.as_ref().is_some_and(|expected| outcome["value"] != *expected) {
            return wrong("not the value that was there");
        }
        if let Some(expected) = &self.logs {
            let entries = outcome["logs"].as_array().cloned().unwrap_or_default();
            let logs: Vec<(&str, &str)> = entries
                .iter()
                .map(|entry| (text(&entry["level"]), text(&entry["message"])))
                .collect();
            if by_stream(&logs) != by_stream(expected) {
                return wrong(&format!("not the logs {expected:?}"));
            }
        }
        if self.results.as_ref().is_some_and(|expected| outcome["results"] != *expected) {
            return wrong("not those results");
        }
        let notes = outcome["notes"].as_array().cloned().unwrap_or_default();
        let are_expected = notes.len() == self.notes.len()
            && notes.iter().zip(&self.notes).all(|(note, words)| text(note).contains(words));
        if !are_expected {
            return wrong(&format!("not the notes {:?}", self.notes));
        }
        if self.pending.as_ref().is_some_and(|expected| outcome["pending"] != *expected) {
            return wrong("not what is pending");
        }
        for (name, content) in &self.artifacts {
            if read(&saved, name).as_deref() != Some(*content)
                || !outcome["artifacts"].to_string().contains(name)
            {
                return wrong(&format!("no artifact {name} with that content"));
            }
        }
        Ok(())
    }
}

/// Two pipes have no order between them: entries of the one, then of the other.
fn by_stream<'a>(logs: &[(&'a str, &'a str)]) -> [Vec<(&'a str, &'a str)>; 2] {
    let (errors, output) = logs.iter().partition(|(level, _)| ["warn", "error"].contains(level));
    [output, errors]
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn read(folder: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(folder.join(name)).ok()
}

/// Runs a table, a few cases at a time, and fails with every case that is wrong.
#[track_caller]
pub fn check_all(language: &str, cases: &[Case]) {
    let wrong = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for start in STARTS {
                        if let Err(why) = case.check(language, start) {
                            wrong
                                .lock()
                                .unwrap()
                                .push(format!("{language}, {start}: {}: {why}", case.name));
                        }
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} wrong:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

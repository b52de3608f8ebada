//! Output on standard error: errors in lower case with a hint on a line of its own, notes and
//! progress, coloured on terminals only. All of it goes through `belljar_protocol::plain`, because
//! a program, a package or a server may have chosen any part of it.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use belljar_protocol::{Bytes, Denial, Outcome, RunError, Start, Status, hint_with_flags, plain};

use crate::{hint, table};

/// Returns whether standard error is shown in colour.
pub fn is_coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Prints a line on standard output. If its reader is gone, the process exits with the code that
/// shells use for SIGPIPE.
pub fn say(text: &str) {
    if let Err(error) = writeln!(std::io::stdout().lock(), "{text}")
        && error.kind() == std::io::ErrorKind::BrokenPipe
    {
        std::process::exit(i32::from(crate::exit::UNREAD));
    }
}

fn paint(code: &str, text: &str) -> String {
    if is_coloured() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

fn line(text: &str) {
    // Nothing can be done about a standard error that is closed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints an error of belljar itself with its causes, and its hint on a line of its own.
pub fn error(error: &anyhow::Error) {
    failure(&message(error), hint::of(error).as_deref());
}

/// Joins the messages of an error and its causes. A cause is left out if the message of an outer
/// error contains its own.
fn message(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.contains(&cause) {
            let _ = write!(message, ": {cause}");
        }
    }
    message
}

fn failure(message: &str, hint: Option<&str>) {
    line(&format!("{} {}", paint("1;31", "error:"), plain::block(message)));
    if let Some(hint) = hint {
        advise(hint);
    }
}

fn advise(text: &str) {
    line(&format!("{} {}", paint("1;36", "hint:"), plain::block(text)));
}

/// Set if notes and progress are not printed.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Suppresses notes and progress until the end of the process. Errors and hints are still printed.
pub fn be_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

fn is_quiet() -> bool {
    IS_QUIET.load(Ordering::Relaxed)
}

/// Prints a line about the run, next to the program's own output.
pub fn note(text: &str) {
    if is_quiet() {
        return;
    }
    line(&format!("{} {}", paint("2", "belljar:"), plain::line(text)));
}

/// Prints how a run ended: degraded layers, the error, hints and notes.
pub fn outcome(outcome: &Outcome) {
    for degraded in &outcome.sandbox.degraded {
        note(&format!("degraded: {degraded}"));
    }
    if let Some(error) = &outcome.error {
        if outcome.status == Status::Failed {
            program_error(error, &outcome.denied);
        } else {
            let hint = error.hint.as_deref().map(hint_with_flags);
            failure(&error.message, hint.as_deref());
        }
    }
    // A program that succeeded in spite of a denial needs no further grant.
    for denial in outcome.denied.iter().filter(|_| outcome.status != Status::Succeeded) {
        advise(&denial_hint(denial));
    }
    for note in outcome.notes.iter().filter(|_| !is_quiet()) {
        line(&format!("{} {}", paint("2", "note:"), plain::line(note)));
    }
}

/// Prints the id, the runtime and the resources of a run.
pub fn usage(outcome: &Outcome) {
    let (usage, sandbox) = (&outcome.usage, &outcome.sandbox);
    let start = match sandbox.start {
        Start::Fork => "fork",
        Start::Exec => "exec",
    };
    let environment = sandbox.environment.as_ref().map(|key| format!(", environment {key}"));
    note(&format!(
        "{} {} in {}: {} by {start}{}, {} of CPU time, {} of memory, {} of output",
        outcome.id,
        outcome.status.name().replace('_', " "),
        table::duration(usage.wall_ms),
        sandbox.runtime,
        environment.unwrap_or_default(),
        table::duration(usage.cpu_user_ms + usage.cpu_system_ms),
        Bytes(usage.peak_memory_bytes),
        Bytes(usage.output_bytes),
    ));
    for denial in outcome.denied.iter().filter(|_| outcome.status == Status::Succeeded) {
        note(&format!("denied: {} {}", denial.action, denial.target));
    }
}

/// The advice that the drivers add to the error of a denied connection. A hint repeats it.
const NO_NETWORK: &str =
    "; this version of Belljar gives programs no network, so pass the data in a file";

/// Prints an error of the program: its stack, and what the stack does not contain.
fn program_error(error: &RunError, denied: &[Denial]) {
    let head = format!("{}: {}", error.name, error.message);
    let mut text = if error.stack.is_empty() { head.clone() } else { error.stack.clone() };
    // The name of the missing grant may have been added to the message after the stack was made.
    let is_shown =
        text.contains(&error.message) || denied.iter().any(|denial| text.contains(&denial.grant));
    if !is_shown {
        text = format!("{text}\n{head}");
    }
    let mut causes = error.cause.as_deref();
    while let Some(cause) = causes {
        // The stack of Python contains the causes already.
        add(&mut text, "caused by", cause);
        causes = cause.cause.as_deref();
    }
    for member in &error.errors {
        add(&mut text, "one of them:", member);
    }
    // The hint below names the flag for the same grant.
    for denial in denied {
        text = text.replace(&format!("; grant it with {}", denial.grant), "");
    }
    text = text.replace(NO_NETWORK, "");
    line(&plain::block(&text));
    if let Some(hint) = error.hint.as_deref().or_else(|| limit_to_raise(&text)) {
        advise(&hint_with_flags(hint));
    }
}

/// Adds a related error to `text`, unless it is part of it already.
fn add(text: &mut String, relation: &str, error: &RunError) {
    let head = format!("{}: {}", error.name, error.message);
    if !text.contains(&head) {
        let shown = if error.stack.is_empty() { &head } else { &error.stack };
        let _ = write!(text, "\n{relation} {shown}");
    }
}

/// Returns the limit to raise for an errno that a program received.
fn limit_to_raise(text: &str) -> Option<&'static str> {
    // The error of the program has such a hint already.
    if text.contains("raise limits.") {
        return None;
    }
    let has = |words: [&str; 2]| words.iter().any(|word| text.contains(word));
    if has(["ENOSPC", "[Errno 28]"]) {
        Some("raise --disk or --max-files if the program needs more")
    } else if has(["EMFILE", "[Errno 24]"]) {
        Some("raise --open-files if the program needs more")
    } else if has(["EAGAIN", "can't start new thread"]) {
        Some("raise --processes if the program needs more")
    } else {
        None
    }
}

/// Returns the flag that would have allowed a denied access. A server may be of another version, so
/// its action and grant are no more trusted than the target, which the program chose.
fn denial_hint(denial: &Denial) -> String {
    let (action, target) = (plain::line(&denial.action), plain::line(&denial.target));
    let quoted = if target.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c)) {
        target.to_string()
    } else {
        format!("'{}'", target.replace('\'', r"'\''"))
    };
    let flag = match denial.grant.split(':').next().unwrap_or_default() {
        "fs.read" => format!("--read {quoted}"),
        "fs.write" => format!("--write {quoted}"),
        "exec" => "--exec".to_owned(),
        "loopback" => "--loopback".to_owned(),
        "storage" if denial.grant.contains("\"write\"") => format!("--storage-write {quoted}"),
        "storage" => format!("--storage-read {quoted}"),
        _ => {
            return format!(
                "{action} {target} cannot be allowed: this version of Belljar gives programs no \
                 network, so pass the data with --file"
            );
        }
    };
    format!("allow {action} {target} with {flag}")
}

/// Returns whether a progress message stays on the terminal: a package that was installed, with the
/// time that it took.
fn is_lasting(message: &str) -> bool {
    // An elapsed time in parentheses is part of a message that is still updated.
    message.starts_with("installed ") && message.ends_with(" s")
}

/// The display of progress messages. On a terminal each replaces the last. Elsewhere only long
/// steps get a line, when they begin and at growing intervals, so that a log shows why nothing else
/// happens.
#[derive(Default)]
pub struct ProgressDisplay {
    is_shown: bool,
    last: Option<String>,
    /// The elapsed seconds at which the same step is printed again.
    next_s: u64,
}

impl ProgressDisplay {
    /// Returns a display that shows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows a message in place of the last.
    pub fn show(&mut self, message: &str) {
        if is_quiet() {
            return;
        }
        if is_lasting(message) {
            self.clear();
            note(message);
            return;
        }
        if std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K{}", plain::line(message));
            self.is_shown = true;
        } else if let Some(line) = self.line(message) {
            note(&line);
        }
    }

    /// Returns the line for a log, if one is due: downloads when they begin, every other step once
    /// it has run for a while, and any step again each time its duration has doubled.
    fn line(&mut self, message: &str) -> Option<String> {
        let seconds = message
            .rsplit_once(" (")
            .and_then(|(_, time)| time.strip_suffix(" s)")?.parse::<u64>().ok());
        let subject = message
            .rsplit_once(" (")
            .filter(|_| seconds.is_some())
            .map_or(message, |(subject, _)| subject);
        let subject = if subject.starts_with("downloading") {
            subject.split(':').next().unwrap_or_default()
        } else {
            subject
        };
        if self.last.as_deref() != Some(subject) {
            self.next_s = 0;
        }
        let is_due = match seconds {
            Some(seconds) => seconds >= self.next_s,
            None => subject.starts_with("downloading") && self.last.as_deref() != Some(subject),
        };
        if !is_due {
            return None;
        }
        self.last = Some(subject.to_owned());
        self.next_s = seconds.unwrap_or(2) * 2;
        Some(
            seconds
                .map_or_else(|| subject.to_owned(), |seconds| format!("{subject} ({seconds} s)")),
        )
    }

    /// Removes the shown message from the terminal.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint_for(target: &str, grant: &str) -> String {
        denial_hint(&Denial {
            action: "fs.read".into(),
            target: target.into(),
            grant: grant.into(),
        })
    }

    #[test]
    fn a_log_shows_long_steps_and_not_every_message() {
        let mut progress = ProgressDisplay::new();
        let mut line = |message: &str| progress.line(message);
        assert_eq!(line("resolving packages"), None);
        assert_eq!(line("resolving packages (2 s)").as_deref(), Some("resolving packages (2 s)"));
        assert_eq!(line("downloading node 24: 1 of 50 MB").as_deref(), Some("downloading node 24"));
        assert_eq!(line("downloading node 24: 2 of 50 MB"), None);
        assert_eq!(
            line("downloading node 24: 2 of 50 MB (4 s)").as_deref(),
            Some("downloading node 24 (4 s)")
        );
        let lines: Vec<u64> = (1..50)
            .map(|second| second * 2)
            .filter(|second| line(&format!("compiling ({second} s)")).is_some())
            .collect();
        assert_eq!(lines, [2, 4, 8, 16, 32, 64]);
    }

    #[test]
    fn a_cause_is_shown_once() {
        let cause = anyhow::anyhow!("no space left");
        assert_eq!(
            message(&cause.context("cannot write a.csv")),
            "cannot write a.csv: no space left"
        );
        let cause = anyhow::anyhow!("no space left");
        assert_eq!(message(&cause.context("disk: no space left")), "disk: no space left");
    }

    #[test]
    fn a_denial_names_the_flag() {
        assert_eq!(
            hint_for("/data/in.csv", "fs.read: [\"/data/in.csv\"]"),
            "allow fs.read /data/in.csv with --read /data/in.csv"
        );
        assert!(hint_for("x", "loopback: true").ends_with("with --loopback"));
        let storage =
            |access: &str| hint_for("in/a", &format!("storage: {{\"{access}\": [\"in/a\"]}}"));
        assert!(storage("read").ends_with("with --storage-read in/a"));
        assert!(storage("write").ends_with("with --storage-write in/a"));
    }

    #[test]
    fn a_target_cannot_command_the_terminal_or_the_shell() {
        let text = hint_for("/a'; rm -rf ~ \x1b[2J", "fs.read: [...]");
        assert!(!text.contains('\x1b'));
        assert!(text.contains(r"--read '/a'\''; rm -rf ~ "), "{text}");
    }
}

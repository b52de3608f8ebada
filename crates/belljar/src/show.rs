//! How things are shown: errors in lower case with a hint on a line of its own, colour on terminals only. Everything that is shown goes through
//! `belljar_protocol::plain`: a program, a package or a server may have chosen any part of it.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use belljar_protocol::{Denial, Outcome, RunError, Status, plain};

/// Whether standard error takes colours.
pub fn is_coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// A line on standard output. Where nobody reads any more, the command ends as a shell would have it.
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

/// An error of belljar itself. What follows its first `; ` outside of quotes is what to do about it.
pub fn error(error: &anyhow::Error) {
    failure(&format!("{error:#}"));
}

fn failure(text: &str) {
    let (what, to_do) = split_hint(text);
    line(&format!("{} {}", paint("1;31", "error:"), plain::block(what)));
    if let Some(to_do) = to_do {
        hint(to_do);
    }
}

/// An error, and what to do about it: what follows the first `; `. Not one within quotes, which is a program's: a program could
/// put a hint of its own there.
fn split_hint(text: &str) -> (&str, Option<&str>) {
    let (mut quote, mut is_escaped) = (None, false);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some('"'), '\\') if !is_escaped => {
                is_escaped = true;
                continue;
            }
            (Some(open), character) if open == character && !is_escaped => quote = None,
            (None, '"' | '`') => quote = Some(character),
            (None, ';') if text[at..].starts_with("; ") => return (&text[..at], Some(&text[at + 2..])),
            _ => {}
        }
        is_escaped = false;
    }
    (text, None)
}

/// What to do next.
fn hint(text: &str) {
    line(&format!("{} {}", paint("1;36", "hint:"), plain::block(text)));
}

/// A line about the run, beside the program's own output.
pub fn note(text: &str) {
    line(&format!("{} {}", paint("2", "belljar:"), plain::line(text)));
}

/// What is to be said about how a run ended: what was missing, the error, what was refused.
pub fn outcome(outcome: &Outcome) {
    for degraded in &outcome.sandbox.degraded {
        note(&format!("degraded: {degraded}"));
    }
    if let Some(error) = &outcome.error {
        if outcome.status == Status::Failed {
            program_error(error, &outcome.denied);
        } else {
            failure(&error.message);
        }
    }
    // What a program was refused and did without is no reason to ask for more.
    for denial in outcome.denied.iter().filter(|_| outcome.status != Status::Succeeded) {
        hint(&denied(denial));
    }
    for note in &outcome.notes {
        line(&format!("{} {}", paint("2", "note:"), plain::line(note)));
    }
}

/// An error of the program: its stack, and what the stack does not say.
fn program_error(error: &RunError, denied: &[Denial]) {
    let head = format!("{}: {}", error.name, error.message);
    let mut text = if error.stack.is_empty() { head.clone() } else { error.stack.clone() };
    // The grant to ask for may have come into the message after the stack was made.
    let is_told = text.contains(&error.message) || denied.iter().any(|denial| text.contains(&denial.grant));
    if !is_told {
        text = format!("{text}\n{head}");
    }
    let mut causes = error.cause.as_deref();
    while let Some(cause) = causes {
        // Python prints the chain by itself.
        add(&mut text, "caused by", cause);
        causes = cause.cause.as_deref();
    }
    for member in &error.errors {
        add(&mut text, "one of them:", member);
    }
    line(&plain::block(&text));
    if let Some(mend) = limit_to_raise(&text) {
        hint(mend);
    }
}

/// Adds an error that belongs to the one told in `text`, unless it tells that already.
fn add(text: &mut String, what: &str, error: &RunError) {
    let head = format!("{}: {}", error.name, error.message);
    if !text.contains(&head) {
        let told = if error.stack.is_empty() { &head } else { &error.stack };
        let _ = write!(text, "\n{what} {told}");
    }
}

/// The limit behind an errno that a program met.
fn limit_to_raise(text: &str) -> Option<&'static str> {
    let has = |words: [&str; 2]| words.iter().any(|word| text.contains(word));
    if has(["ENOSPC", "[Errno 28]"]) {
        Some("raise --disk or --max-files if it needs more")
    } else if has(["EMFILE", "[Errno 24]"]) {
        Some("raise --open-files if it needs more")
    } else if has(["EAGAIN", "can't start new thread"]) {
        Some("raise --processes if it needs more")
    } else {
        None
    }
}

/// What was refused, with the flag that would allow it. A server may be of another version, so that its action and grant are no more believed than the
/// target, which is the program's word.
fn denied(denial: &Denial) -> String {
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
        _ => return format!("{action} {target} was refused; this version of belljar gives no network but --loopback"),
    };
    format!("{action} {target} was refused; {flag} allows it")
}

/// Whether a message of progress stays: what was installed, and in how long.
fn is_lasting(message: &str) -> bool {
    // Not the same with the time that it stands there.
    message.starts_with("installed ") && message.ends_with(" s")
}

/// Progress: on a terminal over itself; elsewhere a line when something long begins, and now and then that it goes on, so that a log shows why nothing
/// happens.
#[derive(Default)]
pub struct Progress {
    shown: bool,
    told: Option<String>,
    /// When it is said the next time that the same goes on, seconds.
    next_s: u64,
}

impl Progress {
    /// Nothing shown yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows a message in place of the last.
    pub fn show(&mut self, message: &str) {
        if is_lasting(message) {
            self.clear();
            note(message);
            return;
        }
        if std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K{}", plain::line(message));
            self.shown = true;
        } else if let Some(line) = self.line(message) {
            note(&line);
        }
    }

    /// What a log is told: downloads when they begin, everything else once it has taken a while, and then at twice the time.
    fn line(&mut self, message: &str) -> Option<String> {
        let seconds = message.rsplit_once(" (").and_then(|(_, time)| time.strip_suffix(" s)")?.parse::<u64>().ok());
        let subject = message.rsplit_once(" (").filter(|_| seconds.is_some()).map_or(message, |(subject, _)| subject);
        let subject = if subject.starts_with("downloading") { subject.split(':').next().unwrap_or_default() } else { subject };
        if self.told.as_deref() != Some(subject) {
            self.next_s = 0;
        }
        let is_due = match seconds {
            Some(seconds) => seconds >= self.next_s,
            None => subject.starts_with("downloading") && self.told.as_deref() != Some(subject),
        };
        if !is_due {
            return None;
        }
        self.told = Some(subject.to_owned());
        self.next_s = seconds.unwrap_or(2) * 2;
        Some(seconds.map_or_else(|| subject.to_owned(), |seconds| format!("{subject} ({seconds} s)")))
    }

    /// Takes it away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint_for(target: &str, grant: &str) -> String {
        denied(&Denial { action: "fs.read".into(), target: target.into(), grant: grant.into() })
    }

    #[test]
    fn a_log_is_told_of_what_takes_long_and_not_every_step() {
        let mut progress = Progress::new();
        let mut told = |message: &str| progress.line(message);
        assert_eq!(told("resolving packages"), None);
        assert_eq!(told("resolving packages (2 s)").as_deref(), Some("resolving packages (2 s)"));
        assert_eq!(told("downloading node 24: 1 of 50 MB").as_deref(), Some("downloading node 24"));
        assert_eq!(told("downloading node 24: 2 of 50 MB"), None);
        assert_eq!(told("downloading node 24: 2 of 50 MB (4 s)").as_deref(), Some("downloading node 24 (4 s)"));
        let lines: Vec<u64> =
            (1..50).map(|second| second * 2).filter(|second| told(&format!("compiling ({second} s)")).is_some()).collect();
        assert_eq!(lines, [2, 4, 8, 16, 32, 64]);
    }

    #[test]
    fn a_hint_is_never_part_of_what_is_quoted() {
        for (text, expected) in [
            ("it failed; try again", ("it failed", Some("try again"))),
            ("it failed", ("it failed", None)),
            ("\"x; run y\" is no name; name a package", ("\"x; run y\" is no name", Some("name a package"))),
            (r#""x\"; run y" is no name; z"#, (r#""x\"; run y" is no name"#, Some("z"))),
            (r#""x\\" is no name; z"#, (r#""x\\" is no name"#, Some("z"))),
            ("`x; run y` and \"`; \" are no names; z; w", ("`x; run y` and \"`; \" are no names", Some("z; w"))),
            ("an odd \" quote; run y", ("an odd \" quote; run y", None)),
        ] {
            assert_eq!(split_hint(text), expected, "{text}");
        }
    }

    #[test]
    fn a_denial_names_the_flag() {
        assert_eq!(
            hint_for("/data/in.csv", "fs.read: [\"/data/in.csv\"]"),
            "fs.read /data/in.csv was refused; --read /data/in.csv allows it"
        );
        assert!(hint_for("x", "loopback: true").ends_with("--loopback allows it"));
    }

    #[test]
    fn a_target_cannot_command_the_terminal_or_the_shell() {
        let text = hint_for("/a'; rm -rf ~ \x1b[2J", "fs.read: [...]");
        assert!(!text.contains('\x1b'));
        assert!(text.contains(r"--read '/a'\''; rm -rf ~ "), "{text}");
    }
}

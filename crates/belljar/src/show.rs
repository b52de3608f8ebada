//! How things are shown: errors in lower case with a hint on a line of its own, colour on terminals only.

use std::io::{IsTerminal, Write};

/// Whether standard error takes colours.
pub fn is_coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn paint(code: &str, text: &str) -> String {
    if is_coloured() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// An error of belljar itself.
pub fn error(error: &anyhow::Error) {
    let text = format!("{error:#}");
    let (what, hint) = text.split_once("; ").map_or((text.as_str(), None), |(what, hint)| (what, Some(hint)));
    let mut stderr = std::io::stderr().lock();
    // Nothing can be done about a standard error that is closed.
    let _ = writeln!(stderr, "{} {what}", paint("1;31", "error:"));
    if let Some(hint) = hint {
        let _ = writeln!(stderr, "{} {hint}", paint("1;36", "hint:"));
    }
}

/// A line about the run, beside the program's own output.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{} {text}", paint("2", "belljar:"));
}

/// Progress, on a terminal over itself, else not at all: logs do not want it.
pub struct Progress {
    shown: bool,
}

impl Progress {
    /// Nothing shown yet.
    pub fn new() -> Self {
        Self { shown: false }
    }

    /// Shows a message in place of the last.
    pub fn show(&mut self, message: &str) {
        if std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K{message}");
            self.shown = true;
        }
    }

    /// Takes it away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

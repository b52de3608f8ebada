//! Tables, as wide as the terminal at most. What others wrote is shown as text, whatever it is.

use std::io::{self, IsTerminal, Write};

use belljar_protocol::plain;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Between two columns.
const GAP: usize = 2;

/// Prints rows under a head. On a terminal what is too wide is cut at the right; elsewhere nothing is cut.
pub fn print<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> anyhow::Result<()> {
    let width = terminal_width().unwrap_or(usize::MAX);
    write(&format(head, rows, width))
}

/// Prints names and values, one a line.
pub fn print_fields(fields: &[(&str, String)]) -> anyhow::Result<()> {
    let widest = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = fields.iter().map(|(name, value)| format!("{name:widest$}  {}\n", plain::line(value))).collect();
    write(&lines.concat())
}

/// Prints text to standard output. That nobody reads it any more is nobody's problem.
pub fn write(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(anyhow::anyhow!("cannot write to standard output: {error}")),
        _ => Ok(()),
    }
}

/// A name that others chose, for a place in a sentence. What follows `; ` in a sentence is taken for its hint, so the name cannot have it.
pub fn printable(name: &str) -> String {
    plain::line(name).replace("; ", r"\u{3b} ")
}

/// Prints a document that others wrote part of, such as a lock: exactly as it is to a file or a program, as text to a terminal.
pub fn write_document(text: &str) -> anyhow::Result<()> {
    if io::stdout().is_terminal() { write(&plain::text(text)) } else { write(text) }
}

/// Prints something as one line of JSON.
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    write(&(json(value)? + "\n"))
}

/// A line of JSON in which a terminal finds nothing to obey.
pub fn json(value: &impl serde::Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(|json| match plain::json(&json) {
        std::borrow::Cow::Borrowed(_) => json,
        std::borrow::Cow::Owned(json) => json,
    })
}

fn terminal_width() -> Option<usize> {
    io::stdout().is_terminal().then(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))).flatten()
}

fn format<const N: usize>(head: [&str; N], rows: &[[String; N]], width: usize) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned))
        .chain(rows.iter().map(|row| row.each_ref().map(|cell| plain::line(cell).into_owned())))
        .collect();
    let widths: [usize; N] = std::array::from_fn(|column| rows.iter().map(|row| row[column].width()).max().unwrap_or(0));
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width - cell.width() + GAP));
        }
        text.push_str(&cut(line.trim_end(), width));
        text.push('\n');
    }
    text
}

/// The beginning of a line that takes no more than so many columns.
fn cut(line: &str, width: usize) -> String {
    if line.width() <= width {
        return line.to_owned();
    }
    let (mut kept, mut used) = (String::new(), 1);
    for c in line.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

/// So many bytes, for people.
pub fn size(bytes: u64) -> String {
    belljar_protocol::Bytes(bytes).to_string()
}

/// How long something took, for people.
pub fn duration(ms: f64) -> String {
    match ms {
        ms if ms < 1000.0 => format!("{ms:.0}ms"),
        ms if ms < 120_000.0 => format!("{:.1}s", ms / 1000.0),
        ms if ms < 7_200_000.0 => format!("{:.0}m", ms / 60_000.0),
        ms => format!("{:.1}h", ms / 3_600_000.0),
    }
}

/// How long ago something was, for people.
pub fn age(moment: belljar_protocol::Timestamp) -> String {
    let seconds = (belljar_protocol::Timestamp::now().unix_ms() - moment.unix_ms()).max(0) / 1000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A moment in a table: to the second.
pub fn moment(moment: belljar_protocol::Timestamp) -> String {
    moment.to_string().get(..19).unwrap_or_default().replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_no_wider_than_the_terminal() {
        let rows = [["run_1".to_owned(), "a comment that is long".to_owned()], ["run_22".to_owned(), "漢字漢字漢字漢字".to_owned()]];
        assert_eq!(
            format(["ID", "COMMENT"], &rows, usize::MAX),
            "ID      COMMENT\nrun_1   a comment that is long\nrun_22  漢字漢字漢字漢字\n"
        );
        let narrow = format(["ID", "COMMENT"], &rows, 12);
        assert_eq!(narrow, "ID      COM…\nrun_1   a c…\nrun_22  漢…\n");
        assert!(narrow.lines().all(|line| line.width() <= 12));
    }

    #[test]
    fn nothing_reaches_the_terminal_as_a_command() {
        let rows = [["a\x1b[2J\r\n\u{9b}31m\u{202e}b".to_owned()]];
        assert_eq!(format(["NAME"], &rows, usize::MAX), "NAME\na\\u{1b}[2J\\r\\n\\u{9b}31m\\u{202e}b\n");
        assert_eq!(printable("a; run me\n"), r"a\u{3b} run me\n");
        assert_eq!(json(&"a\u{9b}\u{202e}").unwrap(), r#""a\u009b\u202e""#);
    }
}

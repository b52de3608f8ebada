//! Output of the commands on standard output: tables, fields and JSON. Text that others wrote is
//! escaped, so that it cannot control the terminal.

use std::io::{self, IsTerminal, Write};

use belljar_protocol::plain;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The number of spaces between two columns.
const GAP: usize = 2;

/// The width that the last column of a table keeps before another column is left out for it.
const MIN_LAST: usize = 20;

/// Prints rows under a head. Lines that are wider than the terminal are cut; in files and pipes
/// nothing is cut.
pub fn print<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> anyhow::Result<()> {
    print_narrow(head, rows, &[])
}

/// Prints rows under a head like [`print()`]. On a terminal that is too narrow, the columns named
/// in `optional` are left out, one after another, until the others fit. The last column may be cut.
pub fn print_narrow<const N: usize>(
    head: [&str; N],
    rows: &[[String; N]],
    optional: &[&str],
) -> anyhow::Result<()> {
    let width = terminal_width().unwrap_or(usize::MAX);
    write(&format(head, rows, optional, width))
}

/// Prints names and values, one pair per line.
pub fn print_fields(fields: &[(&str, String)]) -> anyhow::Result<()> {
    let widest = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name:widest$}  {}\n", plain::line(value)))
        .collect();
    write(&lines.concat())
}

/// Prints text to standard output. A reader that is gone is no error.
pub fn write(text: &str) -> anyhow::Result<()> {
    write_bytes(text.as_bytes())
}

fn write_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::anyhow!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// Prints a document that others wrote in part, such as a lock file. A terminal gets it escaped, a
/// file or a program gets it unchanged.
pub fn write_document(text: &str) -> anyhow::Result<()> {
    if io::stdout().is_terminal() { write(&plain::text(text)) } else { write(text) }
}

/// Prints the content of a file that others wrote. A terminal gets it as text and escaped, a file
/// or a program gets it unchanged.
pub fn write_content(content: &[u8]) -> anyhow::Result<()> {
    if io::stdout().is_terminal() {
        return write(&plain::text(&String::from_utf8_lossy(content)));
    }
    write_bytes(content)
}

/// Prints a value as one line of JSON.
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    write(&(json(value)? + "\n"))
}

/// Returns a value as one line of JSON, without characters that could control a terminal.
pub fn json(value: &impl serde::Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(|json| match plain::json(&json) {
        std::borrow::Cow::Borrowed(_) => json,
        std::borrow::Cow::Owned(json) => json,
    })
}

/// Returns the width of standard output in columns, if it is a terminal.
pub fn terminal_width() -> Option<usize> {
    io::stdout()
        .is_terminal()
        .then(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)))
        .flatten()
}

fn format<const N: usize>(
    head: [&str; N],
    rows: &[[String; N]],
    optional: &[&str],
    width: usize,
) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned))
        .chain(rows.iter().map(|row| row.each_ref().map(|cell| plain::line(cell).into_owned())))
        .collect();
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].width()).max().unwrap_or(0));
    let columns = columns_that_fit(head, widths, optional, width);
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for &column in &columns {
            let cell = &row[column];
            line.push_str(cell);
            line.push_str(&" ".repeat(widths[column] - cell.width() + GAP));
        }
        text.push_str(&cut(line.trim_end(), width));
        text.push('\n');
    }
    text
}

/// Returns the columns that fit into a width, without those optional ones that do not.
fn columns_that_fit<const N: usize>(
    head: [&str; N],
    widths: [usize; N],
    optional: &[&str],
    width: usize,
) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..N).collect();
    let needs = |columns: &[usize]| -> usize {
        let Some((last, others)) = columns.split_last() else { return 0 };
        let others: usize = others.iter().map(|column| widths[*column] + GAP).sum();
        others + widths[*last].min(MIN_LAST)
    };
    for name in optional {
        if needs(&columns) <= width {
            break;
        }
        columns.retain(|column| head[*column] != *name);
    }
    columns
}

/// Returns the beginning of a line, at most `width` columns of it.
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

/// Returns a number of bytes with a unit, such as `64 MB`.
pub fn size(bytes: u64) -> String {
    belljar_protocol::Bytes(bytes).to_string()
}

/// Returns a duration with a unit, such as `1.5s`.
pub fn duration(ms: f64) -> String {
    match ms {
        ms if ms < 1000.0 => format!("{ms:.0}ms"),
        ms if ms < 120_000.0 => format!("{:.1}s", ms / 1000.0),
        ms if ms < 7_200_000.0 => format!("{:.0}m", ms / 60_000.0),
        ms => format!("{:.1}h", ms / 3_600_000.0),
    }
}

/// Returns the time since a moment with a unit, such as `5m`.
pub fn age(moment: belljar_protocol::Timestamp) -> String {
    let seconds = (belljar_protocol::Timestamp::now().unix_ms() - moment.unix_ms()).max(0) / 1000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Returns a moment in seconds, as fields show it.
pub fn utc(time: belljar_protocol::Timestamp) -> String {
    moment(time) + " UTC"
}

/// Returns a moment in seconds, as tables show it in a column that says it is in UTC.
pub fn moment(moment: belljar_protocol::Timestamp) -> String {
    moment.to_string().get(..19).unwrap_or_default().replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_no_wider_than_the_terminal() {
        let rows = [
            ["run_1".to_owned(), "a comment that is long".to_owned()],
            ["run_22".to_owned(), "漢字漢字漢字漢字".to_owned()],
        ];
        assert_eq!(
            format(["ID", "COMMENT"], &rows, &[], usize::MAX),
            "ID      COMMENT\nrun_1   a comment that is long\nrun_22  漢字漢字漢字漢字\n"
        );
        let narrow = format(["ID", "COMMENT"], &rows, &[], 12);
        assert_eq!(narrow, "ID      COM…\nrun_1   a c…\nrun_22  漢…\n");
        assert!(narrow.lines().all(|line| line.width() <= 12));
    }

    #[test]
    fn the_least_important_columns_are_left_out_first() {
        let head = ["SEQ", "ACTOR", "TARGET", "SOURCE"];
        let rows = [["1", "analyst1", "run_0123456789012345678901", "10.0.0.1"].map(str::to_owned)];
        let heads = |width: usize| {
            let text = format(head, &rows, &["SOURCE", "SEQ"], width);
            assert!(text.lines().all(|line| line.width() <= width), "{text}");
            text.lines().next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(heads(80), "SEQ ACTOR TARGET SOURCE");
        assert_eq!(heads(42), "SEQ ACTOR TARGET");
        assert_eq!(heads(32), "ACTOR TARGET");
        assert!(format(head, &rows, &["SOURCE", "SEQ"], 32).contains("analyst1  run_01"));
    }

    #[test]
    fn nothing_reaches_the_terminal_as_a_command() {
        let rows = [["a\x1b[2J\r\n\u{9b}31m\u{202e}b".to_owned()]];
        assert_eq!(
            format(["NAME"], &rows, &[], usize::MAX),
            "NAME\na\\u{1b}[2J\\r\\n\\u{9b}31m\\u{202e}b\n"
        );
        assert_eq!(json(&"a\u{9b}\u{202e}").unwrap(), r#""a\u009b\u202e""#);
    }
}

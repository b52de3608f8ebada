//! The tables in `data/`. Lines that begin with `#` document a table and its source.

/// Returns the lines with content.
pub(crate) fn lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

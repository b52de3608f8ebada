//! How the tables in `data/` are read: lines, of which those that begin with `#` say what the table is and where it is from.

/// The lines that hold something.
pub(crate) fn lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

//! Errors of the analysis, and the positions that they report.

use oxc_diagnostics::Diagnostics;

/// An error of the analysis. The code of the program is left unchanged, and its value is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The program does not parse. For JavaScript, V8 decides and has the better message.
    #[error("{message} (line {line}, column {column})")]
    Syntax {
        /// Message of the parser.
        message: String,
        /// Number of the line, starting at 1.
        line: u32,
        /// Number of the column in UTF-16 code units, starting at 1.
        column: u32,
    },
    /// The program is nested more deeply than the parser's stack allows.
    #[error(
        "the program nests too deep to be analysed, at line {line}: flatten it, or move the data into a JSON file and read that"
    )]
    TooDeep {
        /// Number of the line, starting at 1.
        line: u32,
    },
}

/// The beginning of the parser's message about a name that is exported twice.
pub(crate) const DUPLICATE: &str = "Duplicate";

/// Returns the first error among diagnostics, with its position.
pub(crate) fn first_error(diagnostics: &Diagnostics, source: &str) -> Option<PrepareError> {
    let diagnostic = diagnostics.errors().next()?;
    let label = if diagnostic.message.starts_with(DUPLICATE) {
        diagnostic.labels.last()
    } else {
        diagnostic.labels.first()
    };
    let offset = label.map_or(0, |label| label.offset() as usize);
    let (line, column) = line_and_column(source, offset);
    Some(PrepareError::Syntax { message: diagnostic.message.to_string(), line, column })
}

/// Returns the line and UTF-16 column of an offset, both starting at 1.
pub(crate) fn line_and_column(source: &str, offset: usize) -> (u32, u32) {
    let before = source.get(..offset).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line as u32, before[line_start..].encode_utf16().count() as u32 + 1)
}

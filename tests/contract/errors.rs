//! Errors of the program name the file, the line and the column.

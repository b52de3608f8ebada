//! Metadata: domain functions over `SQLite`. One writer, many readers.

#![forbid(unsafe_code)]

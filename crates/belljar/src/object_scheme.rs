//! The scheme `obj:`, which tells the name of an object from the path of a file.

/// The beginning of an object's name where a path is possible too.
pub const SCHEME: &str = "obj:";

/// Returns the name of an object without the scheme, which is optional where no path is possible.
pub fn strip(name: &str) -> &str {
    name.strip_prefix(SCHEME).unwrap_or(name)
}

//! Paths of JavaScript modules among the files of a run.

use std::collections::BTreeSet;

/// Returns whether there is a file or folder at a path, with or without the file's extension.
pub(crate) fn has_module_at(paths: &BTreeSet<String>, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
    let begins = |stem: &str| {
        paths
            .range(stem.to_owned()..)
            .take_while(|other| other.starts_with(stem))
            .any(|other| is_file_of(other, stem))
    };
    paths.contains(path) || begins(path) || stem != path && begins(stem)
}

/// Returns whether a path is that of a module with an extension, such as `a/b.ts` for `a/b`.
fn is_file_of(path: &str, stem: &str) -> bool {
    path.strip_prefix(stem)
        .is_some_and(|rest| rest.starts_with('.') && !rest.contains('/') && is_node(rest))
}

/// Returns whether Node.js can load a file as a module, by the end of its name.
pub(crate) fn is_node(file: &str) -> bool {
    let endings = [".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx", ".json", ".node"];
    endings.iter().any(|ending| file.ends_with(ending))
}

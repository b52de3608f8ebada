//! Modules that a program has without any package: those of its language, and Belljar's own.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::requirement::Ecosystem;
use crate::word_lists;

static PYTHON: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    word_lists::lines(include_str!("../data/python_standard_library.txt")).collect()
});
static NODE: LazyLock<HashSet<&str>> =
    LazyLock::new(|| word_lists::lines(include_str!("../data/node_builtins.txt")).collect());

/// Modules that Belljar adds to every sandbox. `yepcode` is the name that programs written for that
/// service import.
const BELLJARS_OWN: [&str; 2] = ["belljar", "yepcode"];

/// Modules of `ipython` that programs written for notebooks import, and of which every Python
/// sandbox has a small version. A program that imports any other part gets the package.
const NOTEBOOK: [&str; 4] =
    ["IPython", "IPython.display", "IPython.core.display", "IPython.core.getipython"];

/// Returns whether a module comes with the language or with Belljar. For Python, `name` is a dotted
/// module, of which the first part counts. For Node.js, it is the specifier. Modules that newer
/// releases of Python have removed count too, for the reason in the data file.
pub fn is_standard(ecosystem: Ecosystem, name: &str) -> bool {
    match ecosystem {
        Ecosystem::PyPi => {
            let top_level = name.split('.').next().unwrap_or(name);
            PYTHON.contains(top_level)
                || BELLJARS_OWN.contains(&top_level)
                || NOTEBOOK.contains(&name)
        }
        // `punycode/` with the slash means npm's package, so only exact names count.
        Ecosystem::Npm => {
            name.starts_with("node:") || NODE.contains(name) || BELLJARS_OWN.contains(&name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_own_modules_are_standard_those_of_every_release() {
        for name in [
            "os",
            "os.path",
            "__future__",
            "__main__",
            "tomllib",
            "compression.zstd",
            "annotationlib",
            "_thread",
            "belljar",
            "yepcode",
        ] {
            assert!(is_standard(Ecosystem::PyPi, name), "{name}");
        }
        for removed in
            ["imp", "distutils.core", "asyncore", "cgi", "telnetlib", "lib2to3", "binhex"]
        {
            assert!(is_standard(Ecosystem::PyPi, removed), "{removed}");
        }
        for name in ["numpy", "yaml", "Os", "osx", "", "node:fs", "setuptools", "pip"] {
            assert!(!is_standard(Ecosystem::PyPi, name), "{name}");
        }
    }

    #[test]
    fn what_notebooks_import_needs_no_package() {
        for name in ["IPython", "IPython.display", "IPython.core.display"] {
            assert!(is_standard(Ecosystem::PyPi, name), "{name}");
        }
        for name in ["IPython.core.magic", "IPython.display.other", "ipython", "IPythonx"] {
            assert!(!is_standard(Ecosystem::PyPi, name), "{name}");
        }
    }

    #[test]
    fn nodes_own_modules_are_standard_with_and_without_their_prefix() {
        for name in [
            "fs",
            "node:fs",
            "fs/promises",
            "node:test",
            "node:sqlite",
            "path/posix",
            "belljar",
            "yepcode",
            "process",
        ] {
            assert!(is_standard(Ecosystem::Npm, name), "{name}");
        }
        for name in [
            "lodash",
            "test",
            "sqlite",
            "fs/other",
            "punycode/",
            "FS",
            "",
            "@yepcode/run",
            "undici",
        ] {
            assert!(!is_standard(Ecosystem::Npm, name), "{name}");
        }
    }

    #[test]
    fn the_tables_are_sorted_and_have_each_name_once() {
        for table in [
            include_str!("../data/python_standard_library.txt"),
            include_str!("../data/node_builtins.txt"),
        ] {
            let names: Vec<_> = word_lists::lines(table).collect();
            assert!(names.is_sorted_by(|a, b| a < b));
        }
    }
}

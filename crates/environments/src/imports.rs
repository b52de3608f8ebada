//! Which package an import means: a dotted module of Python, or a specifier of JavaScript. What comes with the language and what the run's
//! own files provide is no package.

use std::collections::BTreeSet;
use std::path::Path;

use crate::python_names::import_name;
use crate::requirement::{Ecosystem, NpmRequirement, RequirementError, npm, pypi};
use crate::standard_library::is_standard;

/// What the files that a run starts with provide to its imports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnFiles {
    /// Modules of Python with code of their own, dotted: `helpers` for `helpers.py`, `pkg` for `pkg/__init__.py`. What is within them is theirs to find.
    modules: BTreeSet<String>,
    /// Folders with modules beneath them, dotted. Without an `__init__.py`, a folder is one of several that may make up a package.
    folders: BTreeSet<String>,
    /// Packages of npm: those in a `node_modules` where Node looks from the entry, and the run itself.
    packages: BTreeSet<String>,
}

impl OwnFiles {
    /// What files at these paths provide to a program that starts at `entry`. Paths have slashes and are relative to the run's folder.
    /// Python finds modules beside the entry and in the run's folder, where programs often have it look; both count. Node finds packages in the
    /// `node_modules` beside the entry and in every folder around it.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>, entry: &str) -> Self {
        let around_entry: Vec<&str> = entry.match_indices('/').map(|(at, _)| &entry[..=at]).collect();
        let mut own = Self::default();
        for path in paths {
            own.add_module(path);
            own.packages.extend(vendored_package(path).map(str::to_owned));
            for (depth, folder) in around_entry.iter().enumerate() {
                let Some(beneath) = path.strip_prefix(folder) else { break };
                own.packages.extend(vendored_package(beneath).map(str::to_owned));
                if depth + 1 == around_entry.len() {
                    own.add_module(beneath);
                }
            }
        }
        own
    }

    /// The module that a file is, by its path from where Python looks.
    fn add_module(&mut self, path: &str) {
        let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
        let is_module = Path::new(file).extension().is_some_and(|extension| extension == "py" || extension == "pyc" || extension == "so");
        // A folder with a dot in its name is no part of a module's.
        if !is_module || folders.contains('.') {
            return;
        }
        let folders = folders.replace('/', ".");
        self.folders.extend(prefixes(&folders).filter(|folder| !folder.is_empty()).map(str::to_owned));
        // `fast` for `fast.cpython-313-x86_64-linux-gnu.so`.
        let module = match file.split('.').next().unwrap_or_default() {
            "__init__" => folders,
            name if folders.is_empty() => name.to_owned(),
            name => format!("{folders}.{name}"),
        };
        self.modules.insert(module);
    }

    /// The run's files can import themselves by this name: [`crate::PackageJson::self_name`].
    pub fn add_self_name(&mut self, name: &str) {
        self.packages.insert(name.to_owned());
    }

    /// Whether a dotted module of Python, or a package of npm, is among the files.
    pub fn provide(&self, ecosystem: Ecosystem, name: &str) -> bool {
        match ecosystem {
            // As far as there are but folders, another part of the package may be elsewhere.
            Ecosystem::PyPi => match prefixes(name).find(|part| !self.folders.contains(*part) || self.modules.contains(*part)) {
                Some(part) => self.modules.contains(part),
                None => true,
            },
            Ecosystem::Npm => self.packages.contains(name),
        }
    }
}

/// `a`, `a.b`, `a.b.c`.
fn prefixes(dotted: &str) -> impl Iterator<Item = &str> {
    dotted.match_indices('.').map(|(at, _)| at).chain([dotted.len()]).map(|end| &dotted[..end])
}

/// The package whose file this is, where it lies in the `node_modules` at the top.
fn vendored_package(path: &str) -> Option<&str> {
    let package = package_part(path.strip_prefix("node_modules/")?);
    npm::name_fault(package).is_none().then_some(package)
}

/// The distribution that an import of Python needs, normalized; none where it is standard, the run's own, relative, a namespace that alone
/// means nothing, or no name that a distribution could have.
pub fn module_distribution(module: &str, own: &OwnFiles) -> Option<String> {
    if is_standard(Ecosystem::PyPi, module) || own.provide(Ecosystem::PyPi, module) {
        return None;
    }
    match import_name(module) {
        Some(name) => name.distribution.map(str::to_owned),
        None => pypi::normalized(module.split('.').next()?),
    }
}

/// The package of npm that a specifier of JavaScript leads to; none where it is Node's own, relative, absolute, a URL, one of the
/// program's own `#imports`, or no name that a package could have.
pub fn specifier_package(specifier: &str) -> Option<&str> {
    let name = match specifier.strip_prefix("npm:") {
        Some(package) => npm::split_name(package_part(package)).0.trim_matches([' ', '\t']),
        None if is_standard(Ecosystem::Npm, specifier) || specifier.contains(':') => return None,
        None => package_part(specifier),
    };
    npm::name_fault(name).is_none().then_some(name)
}

/// What a specifier asks of npm: any version of [`specifier_package`], or what `npm:name@range/path` says. An `npm:` that cannot be
/// understood is an error, as no other package was meant.
pub fn specifier_requirement(specifier: &str) -> Result<Option<NpmRequirement>, RequirementError> {
    match specifier.strip_prefix("npm:") {
        Some(package) => NpmRequirement::parse(package_part(package)).map(Some),
        None => specifier_package(specifier).map(NpmRequirement::any).transpose(),
    }
}

/// What is before the path inside the package: everything up to the first slash, or to the second one after a scope.
fn package_part(specifier: &str) -> &str {
    let slashes = usize::from(specifier.starts_with('@'));
    let end = specifier.match_indices('/').nth(slashes).map_or(specifier.len(), |(at, _)| at);
    &specifier[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn specifiers_lead_to_their_packages() {
        for (specifier, package) in [
            ("lodash", Some("lodash")),
            ("csv-parser/lib", Some("csv-parser")),
            ("@scope/x", Some("@scope/x")),
            ("@scope/x/sub/path.js", Some("@scope/x")),
            ("npm:lodash", Some("lodash")),
            ("npm:lodash@4/fp", Some("lodash")),
            ("npm:@scope/x@^1.2/sub", Some("@scope/x")),
            ("punycode/", Some("punycode")),
            ("fs", None),
            ("fs/promises", None),
            ("node:anything", None),
            ("belljar", None),
            ("yepcode", None),
            ("./x", None),
            ("../x", None),
            (".", None),
            ("/x", None),
            ("https://example.com/x.js", None),
            ("file:///x", None),
            ("data:text/javascript,1", None),
            ("#imports", None),
            ("@/components", None),
            ("~/x", None),
            ("@scope", None),
            ("", None),
            ("Not A Name", None),
            ("jsr:@std/x", None),
        ] {
            assert_eq!(specifier_package(specifier), package, "{specifier}");
        }
    }

    #[test]
    fn a_specifier_with_a_range_asks_for_it() {
        let of = |specifier| specifier_requirement(specifier).map(|requirement| requirement.map(|one| one.to_string()));
        assert_eq!(of("npm:lodash@4/fp").unwrap().as_deref(), Some("lodash@4"));
        assert_eq!(of("npm:@scope/x@^1.2/sub").unwrap().as_deref(), Some("@scope/x@^1.2"));
        assert_eq!(of("lodash/fp").unwrap().as_deref(), Some("lodash"));
        assert_eq!(of("./x").unwrap(), None);
        assert!(of("npm:x@github:y/z").is_err());
        assert!(of("npm:").is_err());
    }

    #[test]
    fn modules_of_python_lead_to_their_distributions() {
        let own = OwnFiles::new(
            ["src/main.py", "src/helpers.py", "pkg/__init__.py", "pkg/mod.py", "deep/er/mod.py", "fast.cpython-313.so", "data/x.csv"],
            "src/main.py",
        );
        for module in [
            "helpers",
            "src.helpers",
            "pkg.mod",
            "deep.er.mod",
            "fast",
            "os.path",
            "imp",
            "belljar",
            "google",
            ".relative",
            "..",
            "",
            "_private",
            "é",
        ] {
            assert_eq!(module_distribution(module, &own), None, "{module}");
        }
        for (module, distribution) in
            [("numpy.linalg", "numpy"), ("flask_cors", "flask-cors"), ("IPython", "ipython"), ("data", "data"), ("mod", "mod")]
        {
            assert_eq!(module_distribution(module, &own).as_deref(), Some(distribution), "{module}");
        }
    }

    #[test]
    fn what_a_python_program_brings_along_is_its_own() {
        let paths = ["app/main.py", "app/helpers.py", "app/models.py", "app/google/local.py", "lib/deep/__init__.py", "app/numpy.txt"];
        let own = OwnFiles::new(paths, "app/main.py");
        for name in ["helpers", "helpers.text", "app.models", "google.local", "google", "lib.deep", "lib.deep.er", "app"] {
            assert!(own.provide(Ecosystem::PyPi, name), "{name}");
        }
        // A folder of the program's is one part of `google`, and a distribution is another.
        for name in ["google.auth", "numpy", "deep", "local", "lib.other", "a", ""] {
            assert!(!own.provide(Ecosystem::PyPi, name), "{name}");
        }
        assert_eq!(module_distribution("google.auth", &own).as_deref(), Some("google-auth"));
    }

    #[test]
    fn packages_that_the_run_brings_along_are_its_own_where_node_finds_them() {
        let paths = [
            "src/app/main.js",
            "node_modules/left-pad/index.js",
            "src/node_modules/@scope/a/b.js",
            "src/app/node_modules/near/index.js",
            "other/node_modules/deep/index.js",
            "node_modules/left-pad/node_modules/inner/index.js",
            "not_node_modules/no/x.js",
        ];
        let mut own = OwnFiles::new(paths, "src/app/main.js");
        own.add_self_name("me");
        for name in ["left-pad", "@scope/a", "near", "me"] {
            assert!(own.provide(Ecosystem::Npm, name), "{name}");
        }
        for name in ["deep", "@scope/other", "inner", "no"] {
            assert!(!own.provide(Ecosystem::Npm, name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn whatever_an_import_leads_to_can_be_asked_for(text in "(npm:)?@?[a-zA-Z0-9._~/@^ -]{0,20}|.{0,20}") {
            if let Some(distribution) = module_distribution(&text, &OwnFiles::default()) {
                prop_assert!(crate::Requirement::any(Ecosystem::PyPi, &distribution).is_ok(), "{}", distribution);
            }
            if let Some(package) = specifier_package(&text) {
                prop_assert!(crate::Requirement::any(Ecosystem::Npm, package).is_ok(), "{}", package);
            }
            if let Ok(Some(requirement)) = specifier_requirement(&text) {
                prop_assert_eq!(specifier_package(&text), Some(requirement.name()));
            }
        }
    }
}

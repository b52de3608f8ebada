//! The packages that imports mean: dotted modules of Python, or specifiers of JavaScript. Modules
//! of the language and of the run's own files are not packages.

use crate::own_files::OwnFiles;
use crate::python_names::import_name;
use crate::requirement::{Ecosystem, NpmRequirement, RequirementError, npm, pypi};
use crate::standard_library::is_standard;

/// Returns the normalized name of the distribution that a Python import needs. Returns `None` if
/// the module is standard, belongs to the run, is relative, is a namespace that alone means
/// nothing, or cannot be the name of a distribution.
pub fn module_distribution(module: &str, own: &OwnFiles) -> Option<String> {
    if is_standard(Ecosystem::PyPi, module) || own.have_module(module) {
        return None;
    }
    match import_name(module) {
        Some(name) => name.distribution.map(str::to_owned),
        None => pypi::normalized(module.split('.').next()?),
    }
}

/// Returns the npm package of a JavaScript specifier. Returns `None` if the specifier is built into
/// Node, relative, absolute, a URL, one of the program's own `#imports`, or not a valid package
/// name.
pub fn specifier_package(specifier: &str) -> Option<&str> {
    let name = match specifier.strip_prefix("npm:") {
        Some(package) => npm::split_name(npm::package_part(package)).0.trim_matches([' ', '\t']),
        None if is_standard(Ecosystem::Npm, specifier) || specifier.contains(':') => return None,
        None => npm::package_part(specifier),
    };
    npm::name_fault(name).is_none().then_some(name)
}

/// Returns the requirement of a specifier: any version of [`specifier_package`], or the one in
/// `npm:name@range/path`. An invalid `npm:` is an error, because no other package was meant.
pub fn specifier_requirement(specifier: &str) -> Result<Option<NpmRequirement>, RequirementError> {
    match specifier.strip_prefix("npm:") {
        Some(package) => NpmRequirement::parse(npm::package_part(package)).map(Some),
        None => specifier_package(specifier).map(NpmRequirement::any).transpose(),
    }
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
        let of = |specifier| {
            specifier_requirement(specifier)
                .map(|requirement| requirement.map(|one| one.to_string()))
        };
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
            [
                "src/main.py",
                "src/helpers.py",
                "pkg/__init__.py",
                "pkg/mod.py",
                "deep/er/mod.py",
                "fast.cpython-313.so",
                "data/x.csv",
            ],
            "src/main.py",
        );
        for module in [
            "helpers",
            "data",
            "mod",
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
        for (module, distribution) in [
            ("numpy.linalg", "numpy"),
            ("flask_cors", "flask-cors"),
            ("Bio.Seq", "biopython"),
            ("date", "date"),
        ] {
            assert_eq!(
                module_distribution(module, &own).as_deref(),
                Some(distribution),
                "{module}"
            );
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

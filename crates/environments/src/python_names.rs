//! The distributions of `PyPI` that provide Python imports, if the two names differ. The table and
//! its sources are in `data/python_import_names.tsv`. An import that is not in it is assumed to
//! have the name of its distribution.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::word_lists;

/// An entry of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportName {
    /// The dotted module of the entry, which is the longest one that the import begins with.
    pub module: &'static str,
    /// The normalized name of the distribution to install. `None` if nothing can be installed: a
    /// namespace that many distributions share, a module of another system, a model that is not on
    /// `PyPI`.
    pub distribution: Option<&'static str>,
    /// The versions that provide the import, such as `<81`. Empty if all do.
    pub version: &'static str,
    /// Distributions that provide the same import. If one of them is required by name, no other is
    /// needed.
    pub alternatives: Vec<&'static str>,
}

static TABLE: LazyLock<HashMap<&'static str, ImportName>> = LazyLock::new(|| {
    word_lists::lines(include_str!("../data/python_import_names.tsv"))
        .map(row)
        .map(|name| (name.module, name))
        .collect()
});

/// Parses a line: the import, the distribution (with its versions if only some provide the import)
/// or `-`, and the alternatives separated by commas.
fn row(line: &'static str) -> ImportName {
    let mut columns = line.split('\t');
    let module = columns.next().unwrap_or_default();
    let distribution = columns.next().filter(|distribution| *distribution != "-");
    let (distribution, version) = match distribution
        .and_then(|text| text.find(['<', '>', '=']).map(|at| text.split_at(at)))
    {
        Some((distribution, version)) => (Some(distribution), version),
        None => (distribution, ""),
    };
    let alternatives = columns.next().map(|names| names.split(',').collect()).unwrap_or_default();
    ImportName { module, distribution, version, alternatives }
}

/// The number of parts of the longest entry. Deeper parts of an import are ignored.
const MAX_PARTS: usize = 8;

/// Returns the entry of a dotted module: its own, or that of the longest package that contains it.
pub fn import_name(module: &str) -> Option<&'static ImportName> {
    let ends = module.match_indices('.').map(|(at, _)| at).take(MAX_PARTS).chain([module.len()]);
    ends.filter_map(|end| TABLE.get(&module[..end])).fold(None, |_, longer| Some(longer))
}

/// Returns all entries of the table.
pub(crate) fn all() -> impl Iterator<Item = &'static ImportName> {
    TABLE.values()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::requirement::{Ecosystem, pypi};
    use crate::standard_library::is_standard;

    fn distribution(module: &str) -> Option<&'static str> {
        import_name(module).and_then(|name| name.distribution)
    }

    #[test]
    fn imports_that_have_another_name_lead_to_their_distributions() {
        for (module, expected) in [
            ("cv2", "opencv-python-headless"),
            ("yaml", "pyyaml"),
            ("PIL.Image", "pillow"),
            ("sklearn.linear_model", "scikit-learn"),
            ("bs4", "beautifulsoup4"),
            ("Crypto.Cipher", "pycryptodome"),
            ("fitz", "pymupdf"),
            ("attr", "attrs"),
        ] {
            assert_eq!(distribution(module), Some(expected), "{module}");
        }
        assert_eq!(import_name("numpy"), None);
    }

    #[test]
    fn the_longest_entry_of_a_namespace_counts() {
        assert_eq!(distribution("google.cloud.storage.blob"), Some("google-cloud-storage"));
        assert_eq!(distribution("google.protobuf"), Some("protobuf"));
        assert_eq!(distribution("azure.storage.blob"), Some("azure-storage-blob"));
        assert_eq!(distribution("ruamel.yaml"), Some("ruamel-yaml"));
        // A part of a name is not a prefix of the module.
        assert_eq!(import_name("google.cloud.storage_transfer").unwrap().module, "google.cloud");
        assert_eq!(import_name("yaml2"), None);
    }

    #[test]
    fn a_shared_namespace_alone_is_no_distribution() {
        for module in ["google", "google.cloud.unheard_of", "azure", "zope", "win32api"] {
            assert_eq!(import_name(module).map(|name| name.distribution), Some(None), "{module}");
        }
    }

    #[test]
    fn the_table_is_sorted_normal_and_says_nothing_of_standard_modules() {
        let lines: Vec<_> =
            word_lists::lines(include_str!("../data/python_import_names.tsv")).collect();
        assert!(lines.iter().filter(|line| row(line).distribution.is_some()).count() >= 220);
        assert!(lines.is_sorted_by(|a, b| row(a).module < row(b).module));
        for line in lines {
            let name = row(line);
            assert!(
                name.module
                    .split('.')
                    .all(|part| part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                        && !part.is_empty()),
                "{line}"
            );
            assert!(!is_standard(Ecosystem::PyPi, name.module), "{line}");
            for distribution in name.distribution.iter().chain(&name.alternatives) {
                assert_eq!(
                    pypi::normalized(distribution).as_deref(),
                    Some(*distribution),
                    "{line}"
                );
            }
            // An entry that repeats the assumption is there for its alternatives.
            let assumed = pypi::normalized(name.module.split('.').next().unwrap());
            assert!(
                assumed.as_deref() != name.distribution
                    || !name.alternatives.is_empty()
                    || !name.version.is_empty(),
                "{line}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_looked_up(module in ".{0,30}", below in "(google|azure|yaml|cv2)(\\.[a-z_.]{0,12}){0,3}") {
            if let Some(name) = import_name(&module) {
                prop_assert!(module.starts_with(name.module));
            }
            prop_assert!(import_name(&below).is_none_or(|name| below.starts_with(name.module)));
        }
    }
}

//! Names of popular packages. They are used for comparisons, and never installed automatically.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::python_names;
use crate::requirement::Ecosystem;
use crate::word_lists;

static PYPI: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
    let listed = word_lists::lines(include_str!("../data/pypi_known_names.txt"));
    listed.chain(python_names::all().filter_map(|name| name.distribution)).collect()
});
static NPM: LazyLock<BTreeSet<&str>> =
    LazyLock::new(|| word_lists::lines(include_str!("../data/npm_known_names.txt")).collect());

/// Returns the popular names of an ecosystem in order. Those of `PyPI` are normalized.
pub(crate) fn names(ecosystem: Ecosystem) -> &'static BTreeSet<&'static str> {
    match ecosystem {
        Ecosystem::PyPi => &PYPI,
        Ecosystem::Npm => &NPM,
    }
}

/// Returns whether a package is popular. A name of `PyPI` must be normalized.
pub(crate) fn is_popular(ecosystem: Ecosystem, name: &str) -> bool {
    names(ecosystem).contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirement::Requirement;

    #[test]
    fn each_known_name_is_a_canonical_one() {
        for (ecosystem, at_least) in [(Ecosystem::PyPi, 400), (Ecosystem::Npm, 300)] {
            assert!(names(ecosystem).len() >= at_least);
            for name in names(ecosystem) {
                assert_eq!(Requirement::any(ecosystem, name).unwrap().name(), *name);
            }
        }
    }

    #[test]
    fn the_lists_are_sorted_and_have_each_name_once() {
        for list in [
            include_str!("../data/pypi_known_names.txt"),
            include_str!("../data/npm_known_names.txt"),
        ] {
            assert!(word_lists::lines(list).collect::<Vec<_>>().is_sorted_by(|a, b| a < b));
        }
    }
}

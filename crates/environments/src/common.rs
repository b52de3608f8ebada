//! The packages that programs of agents use most, which `belljar env warm --common` installs in
//! advance.

use crate::requirement::{Ecosystem, Requirement};
use crate::word_lists;

/// Returns the common packages of a registry.
pub fn common_packages(ecosystem: Ecosystem) -> Vec<Requirement> {
    let listed = word_lists::lines(include_str!("../data/common_packages.txt"));
    let of_registry =
        listed.filter_map(|line| line.strip_prefix(ecosystem.name())?.strip_prefix(':'));
    of_registry.filter_map(|name| Requirement::any(ecosystem, name).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::popular_packages::is_popular;

    #[test]
    fn the_common_packages_are_well_known_ones() {
        let lines: Vec<&str> =
            word_lists::lines(include_str!("../data/common_packages.txt")).collect();
        assert!(lines.is_sorted_by(|one, other| one < other));
        let all = [Ecosystem::PyPi, Ecosystem::Npm].map(|ecosystem| {
            let packages = common_packages(ecosystem);
            assert!(
                packages.len() >= 10
                    && packages.iter().all(|package| is_popular(ecosystem, package.name())),
                "{packages:?}"
            );
            packages.len()
        });
        assert_eq!(all.iter().sum::<usize>(), lines.len());
    }
}

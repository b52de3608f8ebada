//! Names that people request but that are not the intended package, such as `sklearn`. The table
//! `data/python_renamed.tsv` has the intended packages.

use crate::requirement::Requirement;
use crate::word_lists;

/// The relation between a name and the intended package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Import,
    Renamed,
    Wheel,
}

fn row(line: &'static str) -> Option<(&'static str, &'static str, Relation)> {
    let mut columns = line.split('\t');
    let (name, meant) = (columns.next()?, columns.next()?);
    let relation = match columns.next()? {
        "import" => Relation::Import,
        "renamed" => Relation::Renamed,
        "wheel" => Relation::Wheel,
        _ => return None,
    };
    Some((name, meant, relation))
}

fn table() -> impl Iterator<Item = &'static str> {
    word_lists::lines(include_str!("../data/python_renamed.tsv"))
}

/// Returns the package that a requirement means and a note about it, or `None` if the requirement
/// names the intended package.
pub(crate) fn renamed(requirement: &Requirement, may_build: bool) -> Option<(Requirement, String)> {
    let asked = requirement.as_pypi()?;
    let (name, meant, relation) =
        table().filter_map(row).find(|(name, ..)| *name == asked.name())?;
    let note = match relation {
        Relation::Wheel if may_build => return None,
        Relation::Import => {
            format!("installed {meant}, the package that provides the import {name}")
        }
        Relation::Renamed => {
            format!("installed {meant}, which is the new name of the package {name}")
        }
        Relation::Wheel => format!("installed {meant}, which is {name} with wheels"),
    };
    Some((Requirement::PyPi(asked.of(meant).ok()?), note))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirement::{Ecosystem, pypi};

    fn of(text: &str, may_build: bool) -> Option<String> {
        let requirement = Requirement::parse(Ecosystem::PyPi, text).unwrap();
        renamed(&requirement, may_build).map(|(meant, _)| meant.to_string())
    }

    #[test]
    fn a_name_that_is_no_package_means_the_one_that_provides_it() {
        assert_eq!(of("sklearn", false).as_deref(), Some("scikit-learn"));
        assert_eq!(of("PIL>=10", false).as_deref(), Some("pillow>=10"));
        assert_eq!(of("psycopg2==2.9.9", false).as_deref(), Some("psycopg2-binary==2.9.9"));
        assert_eq!(of("psycopg2", true), None);
        assert_eq!(of("pandas", false), None);
    }

    #[test]
    fn the_table_is_sorted_and_of_normal_names() {
        let lines: Vec<&str> = table().collect();
        assert!(lines.is_sorted_by(|one, other| one < other));
        for line in lines {
            let (name, meant, _) = row(line).unwrap_or_else(|| panic!("{line}"));
            assert!(
                [name, meant].iter().all(|name| pypi::normalized(name).as_deref() == Some(*name))
                    && name != meant,
                "{line}"
            );
        }
    }
}

//! Packages that a library needs only for some of its calls, such as `openpyxl` for
//! `DataFrame.to_excel`. The table is `data/python_companions.tsv`, and the parser finds the calls
//! of a program.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use belljar_engine::FoundImports;

use crate::word_lists;

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    module: &'static str,
    used: &'static str,
    distributions: Vec<&'static str>,
}

static TABLE: LazyLock<Vec<Row>> = LazyLock::new(|| {
    word_lists::lines(include_str!("../data/python_companions.tsv")).filter_map(row).collect()
});

/// Parses a line: the import, the used name, and the distributions separated by commas.
fn row(line: &'static str) -> Option<Row> {
    let mut columns = line.split('\t');
    let (module, used, distributions) = (columns.next()?, columns.next()?, columns.next()?);
    Some(Row { module, used, distributions: distributions.split(',').collect() })
}

/// Returns the normalized names of the distributions that the calls of a program need in addition
/// to the imported ones.
pub(crate) fn companions(
    found: &FoundImports,
    is_own: impl Fn(&str) -> bool,
) -> BTreeSet<&'static str> {
    let uses: BTreeSet<&str> = found.uses.iter().map(String::as_str).collect();
    let imported: Vec<&str> = found
        .imports
        .iter()
        .map(|import| import.name.as_str())
        .filter(|name| !is_own(name))
        .collect();
    // `from dask import array` imports `dask`, and uses `.array`.
    let is_imported = |module: &str| {
        let is_within = |name: &str| {
            name == module || name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'))
        };
        let from_parent = |name: &str| {
            module.strip_prefix(name).is_some_and(|rest| {
                rest.starts_with('.') && !rest[1..].contains('.') && uses.contains(rest)
            })
        };
        imported.iter().any(|name| is_within(name) || from_parent(name))
    };
    let needed = TABLE
        .iter()
        .filter(|row| (row.used == "*" || uses.contains(row.used)) && is_imported(row.module));
    needed.flat_map(|row| row.distributions.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use belljar_engine::FoundImport;

    use super::*;
    use crate::requirement::pypi;

    fn of(imports: &[&str], uses: &[&str]) -> Vec<&'static str> {
        let imports = imports
            .iter()
            .map(|&name| FoundImport { name: name.to_owned(), is_optional: false })
            .collect();
        let uses = uses.iter().map(|&text| text.to_owned()).collect();
        companions(&FoundImports { imports, uses, ..FoundImports::default() }, |name| {
            name == "mine"
        })
        .into_iter()
        .collect()
    }

    #[test]
    fn calls_of_a_library_bring_what_they_need() {
        for (imports, uses, needed) in [
            (&["pandas"][..], &[".to_excel"][..], &["openpyxl"][..]),
            (&["pandas.core.frame"], &[".to_markdown"], &["tabulate"]),
            (&["pandas"], &["\"xlsxwriter\"", ".ExcelWriter"], &["openpyxl", "xlsxwriter"]),
            (&["bs4"], &["\"lxml\""], &["lxml"]),
            (&["sqlalchemy"], &["postgresql://"], &["psycopg2-binary"]),
            (&["plotly.express"], &[], &["numpy", "pandas"]),
            (&["plotly"], &[".express"], &["numpy", "pandas"]),
            (&["dask"], &[".array"], &["numpy"]),
            (&["fastapi", "fastapi.testclient"], &[], &["httpx"]),
            (&["pandas"], &["*.xls"], &["xlrd"]),
        ] {
            assert_eq!(of(imports, uses), needed, "{imports:?} {uses:?}");
        }
    }

    #[test]
    fn what_is_used_of_another_library_or_is_the_programs_own_brings_nothing() {
        for (imports, uses) in [
            (&["numpy"][..], &[".to_excel"][..]),
            (&["pandas"], &[".head"]),
            (&["plotly"], &[".graph_objects"]),
            (&["mine"], &["\"lxml\""]),
            (&["pandasx"], &[".to_excel"]),
        ] {
            assert!(of(imports, uses).is_empty(), "{imports:?} {uses:?}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_of_normal_names() {
        let lines: Vec<&str> =
            word_lists::lines(include_str!("../data/python_companions.tsv")).collect();
        assert!(lines.len() >= 150 && lines.is_sorted_by(|one, other| one < other));
        for line in lines {
            let row = row(line).unwrap_or_else(|| panic!("{line}"));
            let is_use = row.used == "*"
                || row.used.starts_with(['.', '"'])
                || row.used.starts_with("*.")
                || row.used.ends_with("://");
            assert!(is_use, "{line}");
            for name in &row.distributions {
                assert_eq!(pypi::normalized(name).as_deref(), Some(*name), "{line}");
            }
        }
    }
}

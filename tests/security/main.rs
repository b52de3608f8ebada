//! Hostile programs, run by the real `belljar`: every class of attack that is known against
//! sandboxes of this kind, in JavaScript and Python, in both start modes. Each program first proves
//! that it ran, by the exact answer to each attempt; after each run nothing of it may be left.
//! `docs/security.md` says which layer each of these tests proves.

mod control_channel;
mod exec_grants;
mod files;
mod grants;
mod identity;
mod kernel_calls;
mod kernel_memory;
mod leftovers;
mod lifetime;
mod limits;
mod names;
mod network;
mod resources;
mod run;
mod siblings;
mod view;
mod words;

use std::collections::BTreeSet;
use std::path::Path;

use belljar_test_support::repository;

/// A promise without its test, or a test without its promise, is found here. Of the service's tests
/// and of those of packages those are named that hold a promise of that page.
#[test]
fn the_page_names_every_test_of_the_jail_and_none_that_is_not_there() {
    let root = repository();
    let page = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let named: BTreeSet<String> = page
        .split('`')
        .filter(|part| {
            part.contains("::") && !part.contains([' ', '\n']) && *part != "module::test"
        })
        .map(str::to_owned)
        .collect();
    let (jail, service) =
        (tests_in(&root.join("tests/security")), tests_in(&root.join("tests/service")));
    assert!(!jail.is_empty() && !service.is_empty());
    assert_eq!(
        jail.difference(&named).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "tests that the page does not name"
    );
    let elsewhere = &tests_in(&root.join("crates/environments/tests/hostile"))
        | &tests_in(&root.join("crates/engine/tests"));
    let there = &(&jail | &service) | &elsewhere;
    assert_eq!(
        named.difference(&there).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "names of tests that are not there"
    );
}

/// The tests of a folder's modules, as `module::test`.
fn tests_in(folder: &Path) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        let path = file.path();
        if path.extension().is_none_or(|extension| extension != "rs") || path.ends_with("main.rs") {
            continue;
        }
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let code = std::fs::read_to_string(&path).unwrap();
        let code =
            code.replace("#[tokio::test(flavor = \"multi_thread\")]\nasync fn ", "#[test]\nfn ");
        let functions =
            code.split("#[test]\nfn ").skip(1).filter_map(|rest| rest.split('(').next());
        tests.extend(functions.map(|name| format!("{module}::{name}")));
    }
    tests
}

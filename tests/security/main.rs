//! Hostile programs, run by the real `belljar`: every class of attack that is known against sandboxes of this kind, in JavaScript and Python, in both
//! start modes. Each program first proves that it ran, by the exact answer to each attempt; after each run nothing of it may be left.
//! `docs/security.md` says which layer each of these tests proves.

mod control_channel;
mod exec_grants;
mod files;
mod identity;
mod kernel_calls;
mod leftovers;
mod lifetime;
mod limits;
mod names;
mod network;
mod run;
mod siblings;
mod view;

/// A promise without its test, or a test without its promise, is found here.
#[test]
fn the_table_of_layers_names_every_test_and_no_other() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let named: std::collections::BTreeSet<String> =
        page.split('`').filter(|part| part.contains("::") && !part.contains([' ', '\n'])).map(str::to_owned).collect();
    let mut tests = std::collections::BTreeSet::from(["module::test".to_owned()]);
    for file in std::fs::read_dir(root.join("tests/security")).unwrap().flatten() {
        let path = file.path();
        if path.extension().is_none_or(|extension| extension != "rs") || path.ends_with("main.rs") {
            continue;
        }
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let code = std::fs::read_to_string(&path).unwrap();
        let functions = code.split("#[test]\nfn ").skip(1).filter_map(|rest| rest.split('(').next());
        tests.extend(functions.map(|name| format!("{module}::{name}")));
    }
    assert_eq!(named, tests);
}

//! Real Nodes: the pinned package through the configured registry, found again in the cache, on
//! PATH and by configuration.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use belljar_protocol::Explain as _;
use belljar_provision::{
    NodeRequest, NodeRuntime, ProvisionConfig, ProvisionError, Provisioner, Source, Step,
};

/// Finds a Node, and counts how many interpreters were started for it.
fn find(config: &ProvisionConfig, request: &str) -> (Result<NodeRuntime, ProvisionError>, usize) {
    let mut asked = 0;
    let provisioner = Provisioner::new(config.clone()).unwrap();
    let found = provisioner.node(&request.parse().unwrap(), &mut |step: Step<'_>| {
        asked += usize::from(matches!(step, Step::Probing { .. }));
    });
    (found, asked)
}

pub fn offline(cache: &Path) -> ProvisionConfig {
    ProvisionConfig { offline: true, ..ProvisionConfig::new(cache.to_owned()) }
}

#[test]
fn the_pinned_package_of_the_real_registry_is_fetched_and_then_found() {
    let folder = tempfile::tempdir().unwrap();
    // The registry, proxy and certificates of this machine, but an empty cache and nothing on PATH.
    let environment = ProvisionConfig {
        search_path: Vec::new(),
        node: None,
        offline: false,
        ..ProvisionConfig::from_env().unwrap()
    };
    let fetched =
        find(&ProvisionConfig { cache: folder.path().join("fetched"), ..environment }, "24")
            .0
            .unwrap();
    assert_eq!(fetched.source, Source::Fetched);
    assert_eq!(fetched.version.to_string(), "24.21.0");
    let said = Command::new(&fetched.executable).args(["-p", "process.version"]).output().unwrap();
    assert_eq!(said.stdout, b"v24.21.0\n");

    let cached = find(&offline(&folder.path().join("fetched")), "24.21.0").0.unwrap();
    assert_eq!(cached, NodeRuntime { source: Source::Cache, ..fetched.clone() });

    // The same program on PATH, after a script and as a link, is queried once, then known, and has
    // the same identity.
    let (scripts, links) = (folder.path().join("scripts"), folder.path().join("links"));
    write_program(&scripts.join("node"), b"#!/bin/sh\necho pretending\n");
    fs::create_dir_all(&links).unwrap();
    symlink(&fetched.executable, links.join("node")).unwrap();
    let mut config = ProvisionConfig {
        search_path: vec![PathBuf::from("."), scripts, links],
        ..offline(&folder.path().join("other"))
    };
    for (request, expected) in [("24", 1), ("24", 0), ("24.21.0", 0)] {
        let (found, asked) = find(&config, request);
        assert_eq!(
            (found.unwrap(), asked),
            (NodeRuntime { source: Source::Path, ..fetched.clone() }, expected)
        );
    }
    let any = Provisioner::new(config.clone())
        .unwrap()
        .node(&NodeRequest::default(), &mut belljar_provision::Silent)
        .unwrap();
    assert_eq!(any.executable, fetched.executable);

    // It does not meet a request for another major version, and the error names the programs that
    // were found.
    let error = find(&config, "22").0.unwrap_err().to_string();
    assert!(error.contains("is 24.21.0") && error.contains("it is a script"), "{error}");

    // A configured Node is the only one that is considered.
    config.node = Some(fetched.executable.clone());
    config.search_path.clear();
    assert_eq!(find(&config, "24").0.unwrap().source, Source::Configured);
    assert!(matches!(find(&config, "22").0, Err(ProvisionError::OtherVersion { .. })));

    // A replaced program is queried again.
    let replaced = folder.path().join("replaced/node");
    write_program(&replaced, &fs::read(&fetched.executable).unwrap());
    config.node = Some(replaced.clone());
    assert_eq!([find(&config, "24").1, find(&config, "24").1], [1, 0]);
    write_program(&replaced, b"\x7fELF no more");
    let (found, asked) = find(&config, "24");
    assert!(matches!(found, Err(ProvisionError::Unusable { .. })), "{found:?}");
    assert_eq!(asked, 1);
}

pub fn write_program(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn another_program_called_node_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let shell = fs::read(fs::canonicalize("/bin/sh").unwrap()).unwrap();
    write_program(&folder.path().join("bin/node"), &shell);
    let config = ProvisionConfig {
        search_path: vec![folder.path().join("bin")],
        ..offline(&folder.path().join("cache"))
    };
    let (found, asked) = find(&config, "24");
    assert!(
        matches!(&found, Err(ProvisionError::Offline { passed_over, .. }) if passed_over.len() == 1),
        "{found:?}"
    );
    assert_eq!(asked, 1);
}

#[test]
fn a_missing_configured_node_is_not_replaced_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let config = ProvisionConfig {
        node: Some(folder.path().join("nothing")),
        ..ProvisionConfig::new(folder.path().join("cache"))
    };
    let error = find(&config, "24").0.unwrap_err();
    assert!(matches!(error, ProvisionError::Unusable { .. }));
    assert!(error.hint().unwrap().contains("BELLJAR_NODE"), "{error:?}");
}

#[test]
fn a_cache_of_another_user_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(
        Provisioner::new(offline(folder.path())),
        Err(ProvisionError::UnsafeCache { .. })
    ));
}

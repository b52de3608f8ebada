//! Real installers: the pinned uv and pnpm through the configured index and registry, found again in the cache, on PATH and by configuration.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use belljar_provision::{Installer, ProvisionConfig, ProvisionError, Provisioner, Source, Step};

use crate::node::{offline, write_program};

/// Finds one of the installers.
type Find = fn(&Provisioner, &mut dyn belljar_provision::Progress) -> Result<Installer, ProvisionError>;

/// Finds an installer, and counts how many programs were started for it.
fn find(config: &ProvisionConfig, which: Find) -> (Result<Installer, ProvisionError>, usize) {
    let mut asked = 0;
    let found = which(&Provisioner::new(config.clone()).unwrap(), &mut |step: Step<'_>| {
        asked += usize::from(matches!(step, Step::Asking { .. }));
    });
    (found, asked)
}

/// The indexes, registry, proxy and certificates of this machine, but an empty cache and nothing on PATH.
fn environment(cache: PathBuf) -> ProvisionConfig {
    let here = ProvisionConfig::from_env().unwrap();
    ProvisionConfig { cache, search_path: Vec::new(), uv: None, pnpm: None, offline: false, ..here }
}

#[test]
fn the_pinned_installers_are_fetched_and_then_found_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let config = environment(folder.path().join("fetched"));
    let tools: [(&str, Find, &str); 2] = [("uv", Provisioner::uv, "uv 0.13.9"), ("pnpm", Provisioner::pnpm, "12.21.0")];
    for (name, which, says) in tools {
        let fetched = find(&config, which).0.unwrap();
        assert_eq!(fetched.source, Source::Fetched);
        let said = Command::new(&fetched.program).arg("--version").output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(said.starts_with(says) && says.ends_with(&fetched.version.to_string()), "{said}");
        assert_eq!(fetched.mounts, std::slice::from_ref(&fetched.program));

        let cached = find(&ProvisionConfig { offline: true, ..config.clone() }, which);
        assert_eq!((cached.0.unwrap(), cached.1), (Installer { source: Source::Cache, ..fetched.clone() }, 0));

        found_on_path_and_by_configuration(&folder.path().join(name), name, which, &fetched);
    }
}

fn found_on_path_and_by_configuration(folder: &Path, name: &str, which: Find, fetched: &Installer) {
    // The same program on PATH, behind a script and a link: asked once, then known, and for the same identity.
    let (scripts, links) = (folder.join("scripts"), folder.join("links"));
    write_program(&scripts.join(name), b"#!/bin/sh\necho pretending\n");
    fs::create_dir_all(&links).unwrap();
    symlink(&fetched.program, links.join(name)).unwrap();
    let mut config = ProvisionConfig { search_path: vec![PathBuf::from("."), scripts.clone(), links], ..offline(&folder.join("cache")) };
    for expected in [1, 0] {
        let (found, asked) = find(&config, which);
        assert_eq!((found.unwrap(), asked), (Installer { source: Source::Path, ..fetched.clone() }, expected));
    }

    // With the script alone there is none, and the refusal says what is there and what to do.
    config.search_path = vec![scripts.clone()];
    let error = find(&config, which).0.unwrap_err();
    assert!(matches!(&error, ProvisionError::Offline { .. }) && error.to_string().contains("it is a script"), "{error}");
    assert!(error.hint().contains("BELLJAR_OFFLINE") && error.hint().contains(&format!("BELLJAR_{}", name.to_uppercase())));

    // A configured one is the only one.
    let configure = |config: &mut ProvisionConfig, path: PathBuf| match name {
        "uv" => config.uv = Some(path),
        _ => config.pnpm = Some(path),
    };
    configure(&mut config, fetched.program.clone());
    assert_eq!(find(&config, which).0.unwrap().source, Source::Configured);
    for unusable in [scripts.join(name), folder.join("nothing"), fs::canonicalize("/bin/sh").unwrap()] {
        configure(&mut config, unusable.clone());
        let error = find(&config, which).0.unwrap_err();
        assert!(matches!(&error, ProvisionError::Unusable { path, .. } if *path == unusable), "{error}");
        assert!(error.hint().contains(&format!("BELLJAR_{}", name.to_uppercase())), "{}", error.hint());
    }
}

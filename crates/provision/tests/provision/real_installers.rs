//! Real installers: the pinned uv and pnpm through the configured index and registry, found again in the cache, on PATH and by configuration.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use belljar_provision::{Installer, PackageIndex, ProvisionConfig, ProvisionError, Provisioner, Registry, Secret, Source, Step};

use crate::node::{offline, write_program};
use crate::registry::{Reply, Server};

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
fn the_pinned_uv_is_fetched_and_found_everywhere_and_logs_in_by_the_addresses_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let fetched = fetched(folder.path(), Provisioner::uv, "uv 0.13.9");
    found_on_path_and_by_configuration(folder.path(), "uv", Provisioner::uv, &fetched);
    uv_logs_in(folder.path(), &fetched.program);
}

#[test]
fn the_pinned_pnpm_is_fetched_and_found_everywhere_and_logs_in_by_the_lines_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let fetched = fetched(folder.path(), Provisioner::pnpm, "12.21.0");
    found_on_path_and_by_configuration(folder.path(), "pnpm", Provisioner::pnpm, &fetched);
    pnpm_logs_in(folder.path(), &fetched.program);
}

/// Fetches an installer, checks what it says of itself, and finds it again in the cache.
fn fetched(folder: &Path, which: Find, says: &str) -> Installer {
    let config = environment(folder.join("fetched"));
    let fetched = find(&config, which).0.unwrap();
    assert_eq!(fetched.source, Source::Fetched);
    let said = Command::new(&fetched.program).arg("--version").output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.starts_with(says) && says.ends_with(&fetched.version.to_string()), "{said}");
    assert_eq!(fetched.mounts, std::slice::from_ref(&fetched.program));
    let (cached, asked) = find(&ProvisionConfig { offline: true, ..config }, which);
    assert_eq!((cached.unwrap(), asked), (Installer { source: Source::Cache, ..fetched.clone() }, 0));
    fetched
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

/// Runs a program that has nothing of this process's environment but these variables, and does not care how it ends.
fn run(program: &Path, folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("HOME", folder)
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs(variables.iter().copied())
        .current_dir(folder)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

/// A server that has nothing, and remembers who asked.
fn empty() -> Server {
    Server::start(|_| Reply::Status(404))
}

/// Gives pnpm the lines for `.npmrc` of a registry with a login and a scope with a token, and looks at what it sends where.
fn pnpm_logs_in(folder: &Path, program: &Path) {
    let (all, scoped) = (empty(), empty());
    let (at, host) = (all.url.replace("//", "//me:pass@"), scoped.url.strip_prefix("http:").unwrap());
    let written = format!("registry={at}/npm\n@acme:registry={}\n{host}/:_authToken=t0ken\n", scoped.url);
    let registry = Registry::from_npmrc(&written);
    let credentials = registry.credential_lines();
    let lines: Vec<&str> = credentials.iter().map(Secret::expose).collect();
    let lines = [registry.address_lines().join("\n"), lines.join("\n")].join("\n");
    fs::write(folder.join(".npmrc"), &lines).unwrap();
    fs::write(folder.join("package.json"), "{}").unwrap();
    let said = ["plain", "@acme/owned"].map(|name| run(program, folder, &["add", name, "--ignore-scripts"], &[]));
    let sent =
        |server: &Server, path: &str| server.requests(path).first().unwrap_or_else(|| panic!("{path}: {said:?}")).authorization.clone();
    assert_eq!(sent(&all, "/npm/plain").as_deref(), Some("Basic bWU6cGFzcw=="), "{lines}");
    assert_eq!(sent(&scoped, "owned").as_deref(), Some("Bearer t0ken"), "{lines}");
    assert!(all.requests("owned").is_empty() && scoped.requests("plain").is_empty());
}

/// Gives uv the addresses of two indexes with a login each, and looks at what it sends where.
fn uv_logs_in(folder: &Path, program: &Path) {
    let (default, further) = (empty(), empty());
    let index = |server: &Server, login: &str| {
        PackageIndex::parse(&format!("{}/simple/", server.url.replace("//", &format!("//{login}@")))).unwrap()
    };
    let (of_default, of_further) = (index(&default, "me:p%40ss"), index(&further, "token"));
    let (of_default, of_further) = (of_default.authenticated_url(), of_further.authenticated_url());
    let variables = [("UV_DEFAULT_INDEX", of_default.expose()), ("UV_INDEX", of_further.expose())];
    fs::write(folder.join("in.txt"), "plain\n").unwrap();
    let said = run(program, folder, &["pip", "compile", "in.txt", "--no-build"], &variables);
    let sent = |server: &Server| server.requests("/simple/plain/").last().unwrap_or_else(|| panic!("{said}")).authorization.clone();
    // "me:p@ss", and "token:" without a password.
    assert_eq!(sent(&default).as_deref(), Some("Basic bWU6cEBzcw=="));
    assert_eq!(sent(&further).as_deref(), Some("Basic dG9rZW46"));
}

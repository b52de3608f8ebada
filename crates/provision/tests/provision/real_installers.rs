//! Real installers: the pinned uv and pnpm through the configured index and registry, found again
//! in the cache, on PATH and by configuration.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use belljar_protocol::Explain as _;
use belljar_provision::{
    Installer, PackageIndex, ProvisionConfig, ProvisionError, Provisioner, Registry, Secret,
    Source, Step,
};

use crate::node::{offline, write_program};
use crate::registry::{Reply, Server};

/// Finds one of the installers.
type Find =
    fn(&Provisioner, &mut dyn belljar_provision::Progress) -> Result<Installer, ProvisionError>;

/// Finds an installer, and counts how many programs were started for it.
fn find(config: &ProvisionConfig, which: Find) -> (Result<Installer, ProvisionError>, usize) {
    let mut asked = 0;
    let found = which(&Provisioner::new(config.clone()).unwrap(), &mut |step: Step<'_>| {
        asked += usize::from(matches!(step, Step::Probing { .. }));
    });
    (found, asked)
}

/// Returns a configuration with the indexes, registry, proxy and certificates of this machine, but
/// with an empty cache and nothing on PATH.
fn environment(cache: PathBuf) -> ProvisionConfig {
    let here = ProvisionConfig::from_env().unwrap();
    ProvisionConfig { cache, search_path: Vec::new(), uv: None, pnpm: None, offline: false, ..here }
}

#[test]
fn the_pinned_uv_is_fetched_and_found_and_logs_in_with_the_urls_it_receives() {
    let folder = tempfile::tempdir().unwrap();
    let fetched = fetched(folder.path(), Provisioner::uv, "uv 0.13.9");
    found_on_path_and_by_configuration(folder.path(), "uv", Provisioner::uv, &fetched);
    uv_logs_in(folder.path(), &fetched.program);
}

#[test]
fn the_pinned_pnpm_is_fetched_and_found_and_logs_in_with_the_lines_it_receives() {
    let folder = tempfile::tempdir().unwrap();
    let fetched = fetched(folder.path(), Provisioner::pnpm, "12.21.0");
    found_on_path_and_by_configuration(folder.path(), "pnpm", Provisioner::pnpm, &fetched);
    pnpm_logs_in(folder.path(), &fetched.program);
}

/// Fetches an installer, checks the version that it prints, and finds it again in the cache.
fn fetched(folder: &Path, which: Find, says: &str) -> Installer {
    let config = environment(folder.join("fetched"));
    let fetched = find(&config, which).0.unwrap();
    assert_eq!(fetched.source, Source::Fetched);
    let said = Command::new(&fetched.program).arg("--version").output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.starts_with(says) && says.ends_with(&fetched.version.to_string()), "{said}");
    assert_eq!(fetched.mounts, std::slice::from_ref(&fetched.program));
    let (cached, asked) = find(&ProvisionConfig { offline: true, ..config }, which);
    assert_eq!(
        (cached.unwrap(), asked),
        (Installer { source: Source::Cache, ..fetched.clone() }, 0)
    );
    fetched
}

fn found_on_path_and_by_configuration(folder: &Path, name: &str, which: Find, fetched: &Installer) {
    // The same program on PATH, after a script and as a link, is queried once, then known, and has
    // the same identity.
    let (scripts, links) = (folder.join("scripts"), folder.join("links"));
    write_program(&scripts.join(name), b"#!/bin/sh\necho pretending\n");
    fs::create_dir_all(&links).unwrap();
    symlink(&fetched.program, links.join(name)).unwrap();
    let mut config = ProvisionConfig {
        search_path: vec![PathBuf::from("."), scripts.clone(), links],
        ..offline(&folder.join("cache"))
    };
    for expected in [1, 0] {
        let (found, asked) = find(&config, which);
        assert_eq!(
            (found.unwrap(), asked),
            (Installer { source: Source::Path, ..fetched.clone() }, expected)
        );
    }

    // If there is only the script, the error says so, and a hint names the fixes.
    config.search_path = vec![scripts.clone()];
    let error = find(&config, which).0.unwrap_err();
    assert!(
        matches!(&error, ProvisionError::Offline { .. })
            && error.to_string().contains("it is a script"),
        "{error}"
    );
    assert!(
        error.hint().unwrap().contains("BELLJAR_OFFLINE")
            && error.hint().unwrap().contains(&format!("BELLJAR_{}", name.to_uppercase()))
    );

    // A configured program is the only one that is considered.
    let configure = |config: &mut ProvisionConfig, path: PathBuf| match name {
        "uv" => config.uv = Some(path),
        _ => config.pnpm = Some(path),
    };
    configure(&mut config, fetched.program.clone());
    assert_eq!(find(&config, which).0.unwrap().source, Source::Configured);
    for unusable in
        [scripts.join(name), folder.join("nothing"), fs::canonicalize("/bin/sh").unwrap()]
    {
        configure(&mut config, unusable.clone());
        let error = find(&config, which).0.unwrap_err();
        assert!(
            matches!(&error, ProvisionError::Unusable { path, .. } if *path == unusable),
            "{error}"
        );
        assert!(
            error.hint().unwrap().contains(&format!("BELLJAR_{}", name.to_uppercase())),
            "{error:?}"
        );
    }
}

/// Runs a program with an environment of its own, `PATH` and these variables, and returns its
/// output. Its exit status is ignored.
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

/// Starts a server that has no files, and records the requests.
fn empty() -> Server {
    Server::start(|_| Reply::Status(404))
}

/// Passes pnpm the lines for `.npmrc` of a registry with a login and a scope with a token, and
/// checks which credential it sends to each.
fn pnpm_logs_in(folder: &Path, program: &Path) {
    let (all, scoped) = (empty(), empty());
    let (at, host) =
        (all.url.replace("//", "//me:pass@"), scoped.url.strip_prefix("http:").unwrap());
    let written =
        format!("registry={at}/npm\n@acme:registry={}\n{host}/:_authToken=t0ken\n", scoped.url);
    let registry = Registry::from_npmrc(&written);
    let credentials = registry.credential_lines();
    let lines: Vec<&str> = credentials.iter().map(Secret::expose).collect();
    let lines = [registry.address_lines().join("\n"), lines.join("\n")].join("\n");
    fs::write(folder.join(".npmrc"), &lines).unwrap();
    fs::write(folder.join("package.json"), "{}").unwrap();
    let said = ["plain", "@acme/owned"]
        .map(|name| run(program, folder, &["add", name, "--ignore-scripts"], &[]));
    let sent = |server: &Server, path: &str| {
        server
            .requests(path)
            .first()
            .unwrap_or_else(|| panic!("{path}: {said:?}"))
            .header("authorization")
            .map(str::to_owned)
    };
    assert_eq!(sent(&all, "/npm/plain").as_deref(), Some("Basic bWU6cGFzcw=="), "{lines}");
    assert_eq!(sent(&scoped, "owned").as_deref(), Some("Bearer t0ken"), "{lines}");
    assert!(all.requests("owned").is_empty() && scoped.requests("plain").is_empty());
}

/// Passes uv the URLs of two indexes with a login each, and checks which credential it sends to
/// each.
fn uv_logs_in(folder: &Path, program: &Path) {
    let (default, further) = (empty(), empty());
    let index = |server: &Server, login: &str| {
        PackageIndex::parse(&format!(
            "{}/simple/",
            server.url.replace("//", &format!("//{login}@"))
        ))
        .unwrap()
    };
    let (of_default, of_further) = (index(&default, "me:p%40ss"), index(&further, "token"));
    let (of_default, of_further) = (of_default.authenticated_url(), of_further.authenticated_url());
    let variables = [("UV_DEFAULT_INDEX", of_default.expose()), ("UV_INDEX", of_further.expose())];
    fs::write(folder.join("in.txt"), "plain\n").unwrap();
    let said = run(program, folder, &["pip", "compile", "in.txt", "--no-build"], &variables);
    let sent = |server: &Server| {
        server
            .requests("/simple/plain/")
            .last()
            .unwrap_or_else(|| panic!("{said}"))
            .header("authorization")
            .map(str::to_owned)
    };
    // "me:p@ss", and "token:" without a password.
    assert_eq!(sent(&default).as_deref(), Some("Basic bWU6cEBzcw=="));
    assert_eq!(sent(&further).as_deref(), Some("Basic dG9rZW46"));
}

//! Successful fetches: caching, mirrors, redirects, retries and concurrency.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use belljar_provision::{
    NodeRequest, NodeRuntime, ProvisionConfig, ProvisionError, Provisioner, Silent, Source, Step,
};
use belljar_test_support::files_in;
use tar::EntryType;

use crate::archives::{Archive, program};
use crate::registry::{
    Reply, Server, VERSION, integrity, metadata, registry, sha256, wants_archive,
};

/// Requests the version that is not pinned.
pub fn node(config: &ProvisionConfig) -> Result<NodeRuntime, ProvisionError> {
    Provisioner::new(config.clone())?.node(&VERSION.parse::<NodeRequest>().unwrap(), &mut Silent)
}

/// Returns the paths of the files beneath a folder, relative to it and sorted.
pub fn files(folder: &Path) -> Vec<String> {
    let relative = |path: &PathBuf| path.strip_prefix(folder).unwrap().display().to_string();
    files_in(folder).iter().map(relative).collect()
}

#[test]
fn a_fetched_node_is_cached_and_then_needs_no_network() {
    let cache = tempfile::tempdir().unwrap();
    let server = registry(Archive::package(VERSION).bytes(), Reply::Whole);
    let mut config = server.config(cache.path());
    let fetched = node(&config).unwrap();
    assert_eq!(fetched.source, Source::Fetched);
    assert_eq!(fetched.version.to_string(), VERSION);
    assert_eq!(fs::read(&fetched.executable).unwrap(), program(VERSION));
    assert_eq!(fs::metadata(&fetched.executable).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fetched.mounts(), std::slice::from_ref(&fetched.executable));
    assert_eq!(files(&fetched.prefix), ["LICENSE", "bin/node", "manifest.json", "package.json"]);
    assert_eq!(files(&cache.path().join("staging")), [""; 0]);
    assert_eq!(server.requests("").len(), 2);

    for offline in [false, true] {
        config.offline = offline;
        let cached = node(&config).unwrap();
        assert_eq!(cached, NodeRuntime { source: Source::Cache, ..fetched.clone() });
    }
    assert_eq!(server.requests("").len(), 2);
}

#[test]
fn the_steps_are_reported() {
    let cache = tempfile::tempdir().unwrap();
    let archive = Archive::package(VERSION).bytes();
    let size = archive.len() as u64;
    let server = registry(archive, Reply::Whole);
    let mut arrived = None;
    let mut order = Vec::new();
    Provisioner::new(server.config(cache.path()))
        .unwrap()
        .node(&VERSION.parse().unwrap(), &mut |step: Step<'_>| match step {
            Step::Downloading { bytes, total, .. } => arrived = Some((bytes, total)),
            Step::Verifying => order.push("verifying"),
            Step::Unpacking => order.push("unpacking"),
            other => panic!("{other:?}"),
        })
        .unwrap();
    assert_eq!(arrived, Some((size, Some(size))));
    assert_eq!(order, ["verifying", "unpacking"]);
}

#[test]
fn a_redirect_is_followed_but_the_token_stays_with_its_host() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::package(VERSION).bytes();
    let described = metadata(VERSION, &integrity(&archive));
    let storage = Server::start(move |_| Reply::Whole(archive.clone()));
    let elsewhere = format!("{}/storage.tgz", storage.url);
    let server = Server::start(move |request| {
        if wants_archive(request) {
            Reply::Redirect(elsewhere.clone())
        } else {
            Reply::Whole(described.clone())
        }
    });
    // The same machine under another name and port is another host.
    let host = server.url.strip_prefix("http:").unwrap();
    fs::write(
        folder.path().join(".npmrc"),
        format!("registry={}\n{host}/:_authToken=s3cret\n", server.url),
    )
    .unwrap();

    let output =
        example(folder.path(), &folder.path().join("cache")).arg(VERSION).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        server
            .requests("")
            .iter()
            .all(|request| request.header("authorization") == Some("Bearer s3cret"))
    );
    assert_eq!(server.requests("").len(), 2);
    assert_eq!(storage.requests("storage.tgz").len(), 1);
    assert_eq!(storage.requests("")[0].header("authorization"), None);
}

/// Returns a command for the example binary with an environment of its own: an empty PATH and no
/// proxy.
pub fn example(home: &Path, cache: &Path) -> std::process::Command {
    let program =
        std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/fetch");
    let mut command = std::process::Command::new(program);
    command.env_clear().env("HOME", home).env("BELLJAR_CACHE", cache).env("PATH", "/nonexistent");
    command
}

#[test]
fn a_failed_download_is_retried() {
    let cache = tempfile::tempdir().unwrap();
    let attempts = AtomicUsize::new(0);
    let server = registry(Archive::package(VERSION).bytes(), move |archive| {
        match attempts.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::Status(503),
            1 => Reply::Claiming(archive[..100].to_vec(), archive.len()),
            _ => Reply::Whole(archive),
        }
    });
    assert_eq!(node(&server.config(cache.path())).unwrap().source, Source::Fetched);
    assert_eq!(server.requests(".tgz").len(), 3);
}

#[test]
fn several_at_once_download_once() {
    let cache = tempfile::tempdir().unwrap();
    let server = registry(Archive::package(VERSION).bytes(), Reply::Whole);
    let config = server.config(cache.path());
    let together = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (config, together) = (config.clone(), together.clone());
            thread::spawn(move || {
                together.wait();
                node(&config).unwrap().source
            })
        })
        .collect();
    let sources: Vec<Source> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(
        sources.iter().filter(|source| **source == Source::Fetched).count(),
        1,
        "{sources:?}"
    );
    assert_eq!(server.requests(".tgz").len(), 1);
}

/// Starts a mirror of Node's distribution with an archive, which it lists with the hash of
/// `hashed`.
fn mirror(archive: Vec<u8>, hashed: &[u8]) -> Server {
    let sums = ["x64", "arm64"].map(|arch| {
        let hash = sha256(hashed);
        format!("{hash}  node-v{VERSION}-linux-{arch}.tar.gz\n")
    });
    Server::start(move |request| {
        if request.path == format!("/dist/v{VERSION}/SHASUMS256.txt") {
            Reply::Whole(sums.concat().into_bytes())
        } else {
            Reply::Whole(archive.clone())
        }
    })
}

#[test]
fn a_mirror_is_tried_before_the_registry_and_its_links_are_not_unpacked() {
    let cache = tempfile::tempdir().unwrap();
    let top = format!("node-v{VERSION}-linux-x64");
    let archive = Archive::empty()
        .entry(&format!("{top}/"), EntryType::Directory, "", b"")
        .entry(
            &format!("{top}/bin/npm"),
            EntryType::Symlink,
            "../lib/node_modules/npm/bin/npm-cli.js",
            b"",
        )
        .file(&format!("{top}/bin/node"), &program(VERSION))
        .bytes();
    let mirror = mirror(archive.clone(), &archive);
    let server = registry(Archive::package(VERSION).bytes(), Reply::Whole);
    let mut config = server.config(cache.path());
    config.node_mirror = Some(format!("{}/dist/", mirror.url));
    let fetched = node(&config).unwrap();
    assert_eq!(files(&fetched.prefix), ["bin/node", "manifest.json"]);
    assert!(server.requests("").is_empty());
}

#[test]
fn an_unavailable_mirror_is_skipped_and_one_with_wrong_bytes_is_an_error() {
    let server = registry(Archive::package(VERSION).bytes(), Reply::Whole);
    let cache = tempfile::tempdir().unwrap();
    let mut config = server.config(cache.path());
    let away = Server::start(|_| Reply::Status(404));
    config.node_mirror = Some(away.url.clone());
    let mut fell_back = 0;
    let provisioner = Provisioner::new(config.clone()).unwrap();
    let request: NodeRequest = VERSION.parse().unwrap();
    provisioner
        .node(&request, &mut |step: Step<'_>| {
            fell_back += usize::from(matches!(step, Step::FallingBack { .. }));
        })
        .unwrap();
    assert_eq!(fell_back, 1);

    let cache = tempfile::tempdir().unwrap();
    let archive = Archive::package(VERSION).bytes();
    let lying = mirror(archive, b"other bytes");
    config = ProvisionConfig {
        cache: cache.path().to_owned(),
        node_mirror: Some(format!("{}/dist", lying.url)),
        ..config
    };
    assert!(matches!(node(&config), Err(ProvisionError::WrongHash { .. })));
    assert_eq!(lying.requests(".tar.gz").len(), 1);
}

//! Processes that are killed at the worst moment, and caches that were changed by someone else.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use belljar_provision::{ProvisionError, Provisioner, Silent, Source, Step};
use belljar_test_support::eventually;

use crate::archives::Archive;
use crate::fetch::{example, files, node};
use crate::registry::{Reply, VERSION, registry, registry_that_stalls_once};
use crate::wheels::{Page, UV, Wheel, config, index};

/// Returns bytes that make an archive so large that its first half reaches the disk.
fn noise() -> Vec<u8> {
    // Bytes that do not compress: a simple generator is enough.
    let mut state = 1u32;
    (0..1 << 20)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

fn large_package() -> Vec<u8> {
    Archive::package(VERSION).file("package/noise", &noise()).bytes()
}

#[test]
fn a_process_killed_during_a_download_leaves_no_partial_installation() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let (server, half_sent) = registry_that_stalls_once(large_package());
    let mut child = example(folder.path(), &cache)
        .arg(VERSION)
        .env("npm_config_registry", &server.url)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    half_sent.recv_timeout(Duration::from_mins(1)).unwrap();
    let archive = wait_for_archive(&cache, &format!("node-{VERSION}"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!cache.join("node").exists(), "{:?}", files(&cache));
    assert!(archive.exists(), "the kill came too late to prove anything");

    // The kernel has released the lock of the killed process, so the next process removes its
    // files.
    assert_eq!(node(&server.config(&cache)).unwrap().source, Source::Fetched);
    assert_eq!(fs::read_dir(cache.join("staging")).unwrap().count(), 0);
}

/// Waits for the first bytes of the archive on the disk, because bytes that were sent need not be
/// written yet.
fn wait_for_archive(cache: &Path, build: &str) -> PathBuf {
    let arch = if cfg!(target_arch = "x86_64") { "x64" } else { "arm64" };
    let archive = cache.join(format!("staging/{build}-{arch}/archive"));
    eventually("something is downloaded", || {
        fs::metadata(&archive).is_ok_and(|metadata| metadata.len() > 0)
    });
    archive
}

#[test]
fn a_process_killed_while_it_fetches_uv_leaves_no_partial_installation() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let wheel = Wheel::of_uv().file("uv/noise", &noise()).bytes();
    let (sender, half_sent) = channel();
    let sender = Mutex::new(Some(sender));
    let server =
        index(wheel.clone(), Page::Json, move |wheel| match sender.lock().unwrap().take() {
            Some(sender) => Reply::Half(wheel, sender),
            None => Reply::Whole(wheel),
        });
    let mut child = example(folder.path(), &cache)
        .arg("uv")
        .env("UV_DEFAULT_INDEX", format!("{}/simple", server.url))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    half_sent.recv_timeout(Duration::from_mins(1)).unwrap();
    let archive = wait_for_archive(&cache, &format!("uv-{UV}"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!cache.join("uv").exists(), "{:?}", files(&cache));
    assert!(archive.exists(), "the kill came too late to prove anything");

    let provisioner = Provisioner::new(config(&server, &wheel, &cache)).unwrap();
    assert_eq!(provisioner.uv(&mut Silent).unwrap().source, Source::Fetched);
    assert_eq!(fs::read_dir(cache.join("staging")).unwrap().count(), 0);
}

#[test]
fn a_waiting_process_takes_over_from_a_killed_one() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let (server, half_sent) = registry_that_stalls_once(large_package());
    let mut child = example(folder.path(), &cache)
        .arg(VERSION)
        .env("npm_config_registry", &server.url)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    half_sent.recv_timeout(Duration::from_mins(1)).unwrap();
    let provisioner = Provisioner::new(server.config(&cache)).unwrap();
    let mut has_waited = false;
    let node = provisioner
        .node(&VERSION.parse().unwrap(), &mut |step: Step<'_>| {
            if let Step::Waiting = step {
                has_waited = true;
                child.kill().unwrap();
            }
        })
        .unwrap();
    child.wait().unwrap();
    assert!(has_waited);
    assert_eq!(node.source, Source::Fetched);
}

/// Changes a file as inconspicuously as its owner can: with the same size and modification time.
fn tamper(program: &Path) {
    let before = fs::metadata(program).unwrap();
    let mut content = fs::read(program).unwrap();
    let last = content.len() - 1;
    content[last] ^= 1;
    // The kernel's clock for files is coarse, so write until it has advanced since the
    // installation.
    while fs::metadata(program).unwrap().ctime_nsec() == before.ctime_nsec() {
        fs::write(program, &content).unwrap();
        fs::File::options()
            .write(true)
            .open(program)
            .unwrap()
            .set_modified(before.modified().unwrap())
            .unwrap();
    }
    assert_eq!(fs::metadata(program).unwrap().modified().unwrap(), before.modified().unwrap());
}

#[test]
fn a_tampered_program_is_fetched_again_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = registry(Archive::package(VERSION).bytes(), Reply::Whole);
    let mut config = server.config(folder.path());
    let original = node(&config).unwrap();
    tamper(&original.executable);

    config.offline = true;
    let error = node(&config).unwrap_err();
    assert!(matches!(error, ProvisionError::Tampered { .. }), "{error}");

    config.offline = false;
    let mut discarded = 0;
    let again = Provisioner::new(config.clone())
        .unwrap()
        .node(&VERSION.parse().unwrap(), &mut |step: Step<'_>| {
            discarded += usize::from(matches!(step, Step::Discarding { .. }));
        })
        .unwrap();
    assert_eq!((again.source, discarded), (Source::Fetched, 1));
    assert_eq!(again.identity, original.identity);
    assert_eq!(node(&config).unwrap().source, Source::Cache);
}

#[test]
fn an_incomplete_installation_is_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = registry(Archive::package(VERSION).bytes(), Reply::Whole);
    let config = server.config(folder.path());
    for part in ["bin/node", "manifest.json", "bin"] {
        let prefix = node(&config).unwrap().prefix;
        let path = prefix.join(part);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        assert_eq!(node(&config).unwrap().source, Source::Fetched, "{part}");
    }
}

#[test]
fn a_copied_cache_is_still_valid() {
    let folder = tempfile::tempdir().unwrap();
    let server = registry(Archive::package(VERSION).bytes(), Reply::Whole);
    let mut config = server.config(&folder.path().join("one"));
    let original = node(&config).unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(&config.cache)
        .arg(folder.path().join("two"))
        .status()
        .unwrap();
    assert!(copied.success());
    config.cache = folder.path().join("two");
    fs::set_permissions(&config.cache, fs::Permissions::from_mode(0o700)).unwrap();
    config.offline = true;
    let copy = node(&config).unwrap();
    assert_eq!((copy.source, &copy.identity), (Source::Cache, &original.identity));
    assert!(copy.executable.starts_with(fs::canonicalize(&config.cache).unwrap()));
}

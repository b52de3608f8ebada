//! Servers and archives that are hostile or broken. Each test also proves that nothing of the
//! attempt remains.

use std::path::Path;
use std::time::Duration;

use belljar_protocol::Explain as _;
use belljar_provision::{ProvisionConfig, ProvisionError, Provisioner, Silent};
use tar::EntryType;

use crate::archives::{Archive, program};
use crate::fetch::{files, node};
use crate::registry::{Reply, Server, VERSION, integrity, metadata, registry, wants_archive};

/// Requests a Node, expects an error, and checks that the cache holds nothing but locks.
fn refused(config: &ProvisionConfig) -> ProvisionError {
    let error = node(config).expect_err("this must be refused");
    let left: Vec<String> =
        files(&config.cache).into_iter().filter(|path| !path.starts_with("locks/")).collect();
    assert_eq!(left, [""; 0]);
    assert!(error.hint().is_some());
    error
}

fn refused_from(server: &Server) -> ProvisionError {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("cache");
    let error = refused(&server.config(&outside));
    assert!(!server.requests("").is_empty(), "the attack was never fetched");
    error
}

#[test]
fn a_corrupted_archive_is_refused_without_a_second_try() {
    let server = registry(Archive::package(VERSION).bytes(), |mut archive| {
        let middle = archive.len() / 2;
        archive[middle] ^= 1;
        Reply::Whole(archive)
    });
    assert!(matches!(refused_from(&server), ProvisionError::WrongHash { .. }));
    assert_eq!(server.requests(".tgz").len(), 1);
}

#[test]
fn a_registry_cannot_replace_a_pinned_version() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::package("24.21.0").bytes();
    let described = metadata("24.21.0", &integrity(&archive));
    let server = Server::start(move |request| {
        Reply::Whole(if wants_archive(request) { archive.clone() } else { described.clone() })
    });
    let provisioner = Provisioner::new(server.config(folder.path())).unwrap();
    assert!(matches!(
        provisioner.node(&"24".parse().unwrap(), &mut Silent),
        Err(ProvisionError::WrongHash { .. })
    ));
    assert_eq!(server.requests(".tgz").len(), 1);
}

#[test]
fn a_download_of_the_wrong_length_is_refused() {
    let longer = registry(Archive::package(VERSION).bytes(), |archive| {
        let length = archive.len() + 1;
        Reply::Claiming(archive, length)
    });
    assert!(matches!(refused_from(&longer), ProvisionError::Fetch { .. }));
    assert_eq!(longer.requests(".tgz").len(), 3, "a broken connection is worth another try");
    let shorter = registry(Archive::package(VERSION).bytes(), |archive| {
        let length = archive.len() - 1;
        Reply::Claiming(archive, length)
    });
    assert!(matches!(refused_from(&shorter), ProvisionError::WrongHash { .. }));
}

#[test]
fn a_truncated_archive_is_refused_even_with_its_own_hash() {
    let archive = Archive::package(VERSION).bytes();
    for length in [0, 5, archive.len() / 2, archive.len() - 4] {
        let server = registry(archive[..length].to_vec(), Reply::Chunked);
        let error = refused_from(&server);
        assert!(matches!(error, ProvisionError::Archive { .. }), "{length}: {error}");
    }
}

/// Returns the reason why unpacking refuses an archive. It has the hash that the registry lists, so
/// nothing else can refuse it.
fn why_unpacking_refuses(archive: Archive) -> String {
    match refused_from(&registry(archive.bytes(), Reply::Whole)) {
        ProvisionError::Archive { why, .. } => why,
        other => panic!("{other}"),
    }
}

#[test]
fn an_entry_that_leads_out_of_the_archive_is_refused() {
    let target = std::env::temp_dir().join(format!("belljar-escaped-{}", std::process::id()));
    let up = format!("package/{}{}", "../".repeat(12), target.display());
    for path in [
        "package/../../../escaped",
        up.as_str(),
        target.to_str().unwrap(),
        "../package/bin/node",
        "package/bin/../../../x",
    ] {
        for archive in [
            Archive::package(VERSION).file(path, b"x"),
            Archive::empty().file(path, b"x").file("package/bin/node", &program(VERSION)),
        ] {
            let why = why_unpacking_refuses(archive);
            assert!(why.contains("leads out of it"), "{path}: {why}");
        }
        assert!(!Path::new(&target).exists());
    }
}

#[test]
fn links_and_devices_are_refused() {
    for kind in
        [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Block, EntryType::Fifo]
    {
        let why = why_unpacking_refuses(Archive::package(VERSION).entry(
            "package/x",
            kind,
            "/etc/passwd",
            b"",
        ));
        assert!(why.contains("link or a device"), "{kind:?}: {why}");
        let why =
            why_unpacking_refuses(Archive::empty().entry("package/bin/node", kind, "/bin/sh", b""));
        assert!(why.contains("link or a device"), "{kind:?}: {why}");
        // A folder that is a link, and a file that is written through it.
        let through = Archive::empty()
            .entry("package/bin", kind, "/tmp", b"")
            .file("package/bin/node", &program(VERSION));
        assert!(why_unpacking_refuses(through).contains("link or a device"), "{kind:?}");
    }
}

#[test]
fn an_archive_without_the_program_as_a_file_is_refused() {
    assert!(
        why_unpacking_refuses(Archive::empty().entry(
            "package/bin/node",
            EntryType::Directory,
            "",
            b""
        ))
        .contains("not a regular file")
    );
    assert!(
        why_unpacking_refuses(Archive::empty().file("package/LICENSE", b"x"))
            .contains("no bin/node")
    );
    assert!(
        why_unpacking_refuses(Archive::package(VERSION).file("package/bin/node", b"again"))
            .contains("exists")
    );
}

#[test]
fn an_archive_that_unpacks_to_too_much_is_refused() {
    let kept = Archive::empty().file("package/bin/node", &vec![0; 4 << 20]).bytes();
    let not_kept = Archive::package(VERSION).file("package/big", &vec![0; 4 << 20]).bytes();
    let behind_the_end = Archive::package(VERSION).bytes_and_zeros(4 << 20);
    for archive in [kept, not_kept, behind_the_end] {
        assert!(archive.len() < 100_000, "a bomb is small");
        let folder = tempfile::tempdir().unwrap();
        let server = registry(archive, Reply::Whole);
        let mut config = server.config(folder.path());
        config.bounds.unpacked_bytes = 1 << 20;
        let error = refused(&config);
        assert!(matches!(error, ProvisionError::Archive { .. }), "{error}");
    }
}

#[test]
fn a_too_large_archive_is_refused_with_and_without_an_announced_length() {
    let replies: [fn(Vec<u8>) -> Reply; 2] = [Reply::Whole, Reply::Chunked];
    for reply in replies {
        let folder = tempfile::tempdir().unwrap();
        let server =
            registry(Archive::package(VERSION).file("package/x", &program(VERSION)).bytes(), reply);
        let mut config = server.config(folder.path());
        config.bounds.archive_bytes = 100;
        assert!(matches!(refused(&config), ProvisionError::TooLarge { cap: 100, .. }));
        config.bounds.metadata_bytes = 10;
        assert!(matches!(refused(&config), ProvisionError::TooLarge { cap: 10, .. }));
    }
}

#[test]
fn an_error_of_the_server_is_named_after_all_attempts() {
    let server = registry(Archive::package(VERSION).bytes(), |_| Reply::Status(500));
    assert!(matches!(refused_from(&server), ProvisionError::Status { status: 500, .. }));
    assert_eq!(server.requests(".tgz").len(), 3);
    let server = registry(Archive::package(VERSION).bytes(), |_| Reply::Status(404));
    assert!(matches!(refused_from(&server), ProvisionError::Status { status: 404, .. }));
    assert_eq!(server.requests(".tgz").len(), 1);
    let server = Server::start(|_| Reply::Status(401));
    let error = refused_from(&server);
    assert!(error.hint().unwrap().contains("token"), "{error:?}");
}

#[test]
fn a_server_that_falls_silent_times_out() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, half_sent) = std::sync::mpsc::channel();
    let server = registry(Archive::package(VERSION).bytes(), move |archive| {
        Reply::Half(archive, sender.clone())
    });
    let mut config = server.config(folder.path());
    config.bounds.silence = Duration::from_secs(2);
    config.bounds.attempts = 1;
    assert!(matches!(refused(&config), ProvisionError::Fetch { .. }));
    half_sent.try_recv().expect("the first half was sent");
}

#[test]
fn endless_redirects_are_an_error() {
    let server = Server::start(|_| Reply::Redirect("/again".to_owned()));
    assert!(matches!(refused_from(&server), ProvisionError::Fetch { .. }));
}

#[test]
fn an_unreachable_server_is_an_error_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    // The port was bound and released, so nothing listens on it now.
    let url = format!(
        "http://{}",
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    );
    let mut config = registry(Vec::new(), Reply::Whole).config(folder.path());
    config.registry = belljar_provision::Registry::at(&url);
    let error = refused(&config);
    assert!(
        matches!(&error, ProvisionError::Fetch { url: shown, .. } if shown.starts_with(&url)),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("HTTPS_PROXY"));
}

#[test]
fn invalid_metadata_is_refused() {
    let weak = "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=";
    for described in [
        b"<html>".to_vec(),
        b"{}".to_vec(),
        b"\xff\xfe".to_vec(),
        metadata(VERSION, weak),
        metadata(VERSION, "sha512-AAAA"),
        format!("{{\"versions\": {{\"{VERSION}\": {{\"dist\": {{\"tarball\": \"x\"}}}}}}}}")
            .into_bytes(),
        vec![b'['; 100_000],
    ] {
        let shown = String::from_utf8_lossy(&described).chars().take(60).collect::<String>();
        let server = Server::start(move |_| Reply::Whole(described.clone()));
        let error = refused_from(&server);
        assert!(matches!(error, ProvisionError::Metadata { .. }), "{shown}: {error}");
    }
}

#[test]
fn a_registry_without_the_version_is_named() {
    let archive = Archive::package(VERSION).bytes();
    for described in [b"{\"versions\": {}}".to_vec(), metadata("24.19.0", &integrity(&archive))] {
        let server = Server::start(move |_| Reply::Whole(described.clone()));
        let error = refused_from(&server);
        assert!(
            matches!(&error, ProvisionError::NotListed { url, .. } if url.starts_with(&server.url)),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("npm_config_registry"), "{error:?}");
    }
}

#[test]
fn a_node_that_does_not_run_here_is_refused() {
    for content in [
        b"#!/bin/sh\necho v1.2.3\n".to_vec(),
        b"#!/bin/sh\nexit 1\n".to_vec(),
        b"\x7fELF for another machine".to_vec(),
    ] {
        let server =
            registry(Archive::empty().file("package/bin/node", &content).bytes(), Reply::Whole);
        assert!(matches!(refused_from(&server), ProvisionError::DoesNotRun { .. }));
    }
}

//! Commands that serve or inspect say first if every run would be refused on this machine, with one
//! fix, and nothing is downloaded before.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use belljar_test_support::{belljar, is_root, said};
use tempfile::TempDir;

const UID: u32 = 31_337;

/// Returns a command of an ordinary user who may not change any control group, or `None` if this
/// machine cannot have one: the tests are run as root, or delegates control groups to everyone.
fn refused(arguments: &[&str], home: &TempDir) -> Option<Command> {
    if !is_root() {
        eprintln!("only root can start a command as another user");
        return None;
    }
    std::os::unix::fs::chown(home.path(), Some(UID), Some(UID)).unwrap();
    let mut command = belljar(arguments);
    command
        .uid(UID)
        .gid(UID)
        .current_dir("/")
        .env("HOME", home.path())
        .env("BELLJAR_HOME", home.path().join("home"))
        .env("BELLJAR_CACHE", home.path().join("cache"))
        .env("PATH", "/usr/bin:/bin")
        .env_remove("BELLJAR_NODE")
        .env_remove("XDG_RUNTIME_DIR");
    Some(command)
}

fn has_downloads(home: &TempDir) -> bool {
    home.path().join("cache/node").exists()
}

#[test]
fn nothing_is_downloaded_for_a_run_that_is_refused() {
    let home = TempDir::new().unwrap();
    let Some(mut run) = refused(&["run", "--language", "js", "--eval", "1"], &home) else { return };
    let refused = said(&mut run);
    refused.fails(125, &["error: cannot limit memory and processes", "--allow-degraded"]);
    assert_eq!(refused.stderr.matches("cannot limit memory").count(), 1, "{refused:?}");
    assert_eq!(refused.stderr.matches("hint:").count(), 1, "{refused:?}");
    assert!(!has_downloads(&home), "{refused:?}");
}

#[test]
fn doctor_begins_and_ends_with_the_verdict() {
    let home = TempDir::new().unwrap();
    let Some(mut doctor) = refused(&["doctor"], &home) else { return };
    let printed = said(&mut doctor);
    assert_eq!(printed.code, Some(2), "{printed:?}");
    let lines: Vec<&str> = printed.stdout.lines().collect();
    for verdict in [lines.first(), lines.last()] {
        assert!(
            verdict.is_some_and(|line| line.starts_with("RUNS ARE REFUSED HERE")),
            "{printed:?}"
        );
    }
    assert!(!has_downloads(&home), "{printed:?}");
    let here = said(&mut belljar(["doctor"]));
    assert!(here.stdout.starts_with("RUNS WORK HERE"), "{here:?}");
}

#[test]
fn a_server_that_would_refuse_every_run_does_not_start() {
    let home = TempDir::new().unwrap();
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["mcp"]] {
        let Some(mut command) = refused(arguments, &home) else { return };
        let printed = said(&mut command);
        printed
            .fails(2, &["error: every run would be refused on this machine", "--allow-degraded"]);
        assert_eq!(printed.stdout, "", "{printed:?}");
        assert!(!has_downloads(&home), "{printed:?}");
    }
    assert!(!fs::exists(home.path().join("home/belljar.db")).unwrap(), "the home is not touched");
}

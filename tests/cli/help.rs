//! Help, completions and the manual, which are generated from one definition.

use std::process::{Command, Stdio};

use belljar_test_support::{belljar, said, said_with_input};

#[test]
fn every_command_explains_itself() {
    let top = said(&mut belljar(["--help"]));
    for command in ["run", "doctor", "self-test", "bench", "completions"] {
        assert!(top.stdout.contains(command), "{top:?}");
        for flag in ["--help", "-h"] {
            let help = said(&mut belljar([command, flag]));
            assert_eq!(help.code, Some(0), "{help:?}");
            assert!(help.stdout.contains(&format!("Usage: belljar {command}")), "{help:?}");
        }
    }
    let run = said(&mut belljar(["run", "--help"])).stdout;
    for words in [
        "Results:",
        "Exit codes:",
        "Examples:",
        "124 timed out",
        "[default: 1G]",
        "Policy:",
        "Limits:",
    ] {
        assert!(run.contains(words), "no `{words}` in\n{run}");
    }
    assert_eq!(said(&mut belljar::<&str>([])).code, Some(2));
    said(&mut belljar(["fly"])).fails(2, &["unrecognized subcommand 'fly'"]);
    // Names are suggested, and no short forms of them.
    let typed = said(&mut belljar(["rum"]));
    typed.fails(2, &["'run'"]);
    assert!(!typed.stderr.contains("'r'"), "{typed:?}");
    assert!(said(&mut belljar(["--version"])).stdout.starts_with("belljar "));
}

#[test]
fn the_short_help_has_the_flags_that_matter_and_the_long_one_all() {
    let short = said(&mut belljar(["run", "-h"])).stdout;
    let flags = |help: &str| help.lines().filter(|line| line.trim_start().starts_with('-')).count();
    assert!((10..=15).contains(&flags(&short)), "{short}");
    for shown in ["--file", "--memory", "--artifacts", "Examples:", "run --help shows all"] {
        assert!(short.contains(shown), "no `{shown}` in {short}");
    }
    let long = said(&mut belljar(["run", "--help"])).stdout;
    assert!(flags(&long) > 40 && long.contains("--open-files") && !short.contains("--open-files"));
    let top = said(&mut belljar(["--help"])).stdout;
    assert!(top.contains("completions") && top.contains("\n  man "), "{top}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    for arguments in [&["completions", "bash"][..], &["man"], &["reference"], &["run", "--help"]] {
        let mut child = belljar(arguments).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{arguments:?}");
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn completions_are_scripts_that_their_shells_can_read() {
    for shell in ["bash", "zsh", "fish"] {
        let script = said(&mut belljar(["completions", shell]));
        assert!(script.code == Some(0) && script.stdout.contains("allow-degraded"), "{shell}");
        // If the shell is installed, it checks the syntax of the script.
        if Command::new(shell).arg("-c").arg("true").output().is_ok() {
            let mut check = Command::new(shell);
            check.arg("-n").stdout(Stdio::piped()).stderr(Stdio::piped());
            let checked = said_with_input(&mut check, script.stdout.as_bytes());
            assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{shell}");
        }
    }
    said(&mut belljar(["completions", "tcsh"])).fails(2, &["bash", "zsh", "fish"]);
}

#[test]
fn the_manual_is_roff_with_every_command_in_it() {
    let page = said(&mut belljar(["man"]));
    assert_eq!(page.code, Some(0));
    assert!(
        page.stdout.contains(".TH belljar") && page.stdout.contains("allow\\-degraded"),
        "{}",
        page.stdout
    );
    if Command::new("man").arg("--version").output().is_ok() {
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", "-"])
            .env("MANWIDTH", "100")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let rendered = said_with_input(&mut man, page.stdout.as_bytes());
        assert!(rendered.code == Some(0) && rendered.stdout.contains("SYNOPSIS"), "{rendered:?}");
    }
    let reference = said(&mut belljar(["reference"]));
    assert!(
        reference.stdout.contains("## belljar run")
            && reference.stdout.contains("--timeout <TIME>"),
        "{reference:?}"
    );
}

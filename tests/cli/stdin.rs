//! Standard input can be the content of one argument only. Every argument that takes `-` is tested
//! by itself and together with each other one.

use belljar_test_support::{belljar, run, said, said_with_input};

/// The arguments of `belljar run` that take `-`, each with the name that an error calls it by.
const USES: [(&[&str], &str); 7] = [
    (&["-"], "the program"),
    (&["--params", "-"], "--params"),
    (&["--stdin", "-"], "--stdin"),
    (&["--policy", "-"], "--policy"),
    (&["--lock", "-"], "--lock"),
    (&["--file", "one.txt=-"], "--file one.txt"),
    (&["--file", "two.txt=-"], "--file two.txt"),
];

#[test]
fn two_arguments_cannot_both_be_standard_input() {
    for (place, (first, first_name)) in USES.iter().enumerate() {
        for (second, second_name) in &USES[place + 1..] {
            let program: &[&str] = if first[0] == "-" { &[] } else { &["-e", "1"] };
            let flags = [program, first, second, &["-l", "js"]].concat();
            let refused = said_with_input(&mut run(&flags), b"{}");
            let words = "error: standard input is used more than once: for";
            refused.fails(2, &[words, first_name, second_name, "hint: use `-` for one argument"]);
            assert_eq!(refused.stdout, "", "{flags:?}: nothing runs");
            // The same arguments are read for a run on a server.
            let remote = ["--server", "http://127.0.0.1:1"];
            said(run(&flags).args(remote)).fails(2, &[words, first_name, second_name]);
        }
    }
}

#[test]
fn each_argument_reads_standard_input_whole() {
    for (flags, input, printed) in [
        (&["-"][..], "6 * 7", "42\n"),
        (&["-e", "belljar.parameters.a", "--params", "-"], r#"{"a": 1}"#, "1\n"),
        (&["-e", "require('fs').readFileSync(0, 'utf8')", "--stdin", "-"], "typed", "\"typed\"\n"),
        (
            &["-e", "require('fs').readFileSync('a.txt', 'utf8')", "--file", "a.txt=-"],
            "copied",
            "\"copied\"\n",
        ),
        (
            &["-e", "process.env.CITY", "--policy", "-"],
            r#"{"policy": {"env": {"CITY": "Oslo"}}, "packages": {"enabled": false}}"#,
            "\"Oslo\"\n",
        ),
    ] {
        said_with_input(run(flags).args(["-l", "js"]), input.as_bytes()).prints(printed);
    }
    // A lock file is parsed, and this text is none.
    let refused = said_with_input(&mut run(["-e", "1", "-l", "py", "--lock", "-"]), b"no lock");
    refused.fails(125, &["lock"]);
}

#[test]
fn package_rules_and_grants_come_from_one_reading_of_the_policy() {
    let policy = br#"{"policy": {"exec": true}, "packages": {"enabled": false}}"#;
    let flags = ["-e", "1", "-l", "py", "--package", "humanize", "--policy", "-"];
    said_with_input(&mut run(flags), policy).fails(125, &["packages"]);
}

#[test]
fn other_commands_read_standard_input_once_too() {
    for (arguments, names) in [
        (&["env", "lock", "-", "-l", "py", "--policy", "-"][..], ["the program", "--policy"]),
        (&["env", "lock", "-", "-l", "py", "--file", "a.py=-"], ["the program", "--file a.py"]),
        (&["env", "warm", "-", "-l", "py", "--lock", "-"], ["a program", "--lock"]),
        (&["env", "warm", "-l", "py", "--policy", "-", "--lock", "-"], ["--policy", "--lock"]),
        (&["mcp", "--policy", "-"], ["--policy", "the Model Context Protocol"]),
    ] {
        said_with_input(&mut belljar(arguments), b"{}")
            .fails(2, &["standard input is used more than once", names[0], names[1]]);
    }
}

//! Invalid input of every kind: the error names what is wrong and how to fix it, the exit code is a
//! documented one, and nothing is lost or left.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use belljar_test_support::{Said, binary, is_root, run, said, said_with_input};

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn programs_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    said(&mut run(["/no/such/program.js"]))
        .fails(2, &["/no/such/program.js", "No such file", "hint: check the path"]);
    said(run([folder.path()]).args(["-l", "js"])).fails(2, &["is a folder", "hint: name a file"]);
    said(&mut run([file("latin.js", b"'caf\xe9'")]))
        .fails(2, &["not UTF-8 (byte 4)", "hint: save it as UTF-8"]);
    said(&mut run([file("program.cob", b"1")])).fails(2, &["language is unknown", "--language"]);
    said(&mut run(["-e", "1"])).fails(2, &["language is unknown", "--language"]);
    said(&mut run(["-e", "1", "-l", "cobol"]))
        .fails(2, &["`cobol` is not a language", "javascript", "python"]);
    said(&mut run(["-e", "1", "-l", "js", "--runtime", "ruby@3"]))
        .fails(2, &["`ruby@3` is not a runtime", "node@24"]);
    said(&mut run(["-e", "1", "-l", "js", "--runtime", "python"]))
        .fails(125, &["python does not run javascript"]);
    said(&mut run(["-e", "1", "-l", "js", "--runtime", "node@12"]))
        .fails(125, &["node 12", "hint:"]);
    said(&mut run::<&str>([]))
        .fails(2, &["no program is given", "hint: name a FILE", "-e '1 + 1'"]);
    // Python itself reports a file that is not UTF-8.
    said(&mut run([file("latin.py", b"# -*- coding: latin-1 -*-\n'caf\xe9'")]))
        .prints("\"caf\u{e9}\"\n");
}

#[test]
fn variables_that_only_the_start_of_python_reads_are_refused_by_name() {
    for variable in
        ["PYTHONHASHSEED=0", "PYTHONOPTIMIZE=2", "PYTHONHOME=/opt/python", "PYTHONUTF8=0"]
    {
        let name = variable.split('=').next().unwrap();
        said(&mut run(["-e", "1", "-l", "python", "--env", variable]))
            .fails(125, &[name, "is read when Python starts"]);
        // They are nothing to Node.
        said(&mut run(["-e", "1", "-l", "js", "--env", variable])).prints("1\n");
    }
    said(&mut run(["-e", "1", "-l", "python", "--env", "PYTHONHASHSEED=random"])).prints("1\n");
}

#[test]
fn a_program_of_100_mb() {
    let folder = tempfile::tempdir().unwrap();
    let big = folder.path().join("big.js");
    fs::File::create(&big).unwrap().set_len(100 << 20).unwrap();
    said(&mut run([&big])).fails(2, &["big.js` is larger than 64 MB", "hint:", "--read"]);
    // Large, but not too large, for the limits that it has: refused or run, never hung or killed.
    let large = folder.path().join("large.js");
    fs::write(&large, format!("const x = '{}';\nx.length", "y".repeat(20 << 20))).unwrap();
    said(&mut run([path(&large), "--memory", "1G"])).prints(&format!("{}\n", 20 << 20));
}

#[test]
fn limits_that_cannot_be_meant() {
    for (flags, words) in [
        (["--timeout", "0"], "--timeout (limits.timeout_ms) cannot be 0 ms"),
        (["--timeout", "-1s"], "`-1s` is negative: expected a time such as"),
        (["--timeout", "5parsecs"], "`parsecs` in `5parsecs` is not a unit"),
        (["--timeout", "99999h"], "use a value between 1 ms and"),
        (["--timeout", "--json"], "is not a number with a unit"),
        (["--cpu", "soon"], "`soon` is not a number with a unit"),
        (["--cpu", "0"], "--cpu (limits.cpu_ms)"),
        (["--memory", "0"], "--memory (limits.memory_bytes) cannot be 0 B"),
        (["--memory", "1K"], "use a value between 8 MB and"),
        (["--memory", "-5M"], "`-5M` is negative"),
        (["--memory", "99999999G"], "use a value between"),
        (["--memory", "99999999999999999999G"], "is too large"),
        (["--processes", "0"], "--processes"),
        (["--processes", "-1"], "--processes"),
        (["--processes", "99999999999"], "--processes"),
        (["--disk", "1"], "--disk (limits.disk_bytes)"),
        (["--max-files", "0"], "--max-files"),
        (["--open-files", "1"], "--open-files"),
        (["--output-limit", "0"], "--output-limit"),
        (["--result-limit", "0"], "--result-limit"),
        (["--seed", "-1"], "--seed"),
    ] {
        said(run(["-l", "js", "-e", "1"]).args(flags)).fails(2, &["error:", words]);
    }
}

#[test]
fn parameters_files_and_names_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let broken = file("broken.json", "{bad");
    let list = file("list.json", "[1]");
    let missing = folder.path().join("missing").to_str().unwrap().to_owned();
    for (flags, words) in [
        (vec!["--param", "city"], "expected NAME=VALUE, received `city`"),
        (vec!["--params", &broken], "are not JSON"),
        (vec!["--params", &missing], "cannot open the parameters"),
        (vec!["--params", &list, "--param", "a=1"], "--param needs an object"),
        (vec!["--net", "api.example.com"], "gives programs no network"),
        (vec!["--env", "NO_SUCH_CITY"], "this shell has no variable `NO_SUCH_CITY`"),
        (vec!["--params", "{broken}"], "the parameters in --params are not JSON"),
        (vec!["--file", "/absolute"], "cannot open the file `/absolute`"),
        (vec!["--file", "/absolute=/etc/hostname"], "it is absolute"),
        (vec!["--file", ".."], "it is empty"),
        (vec!["--file", "../up=/etc/hostname"], "`..`"),
        (vec!["--file", &format!("a={missing}")], "cannot open the file"),
        (vec!["--output", "/etc/passwd"], "it is absolute"),
        (vec!["--entry", "../main.js"], "`..`"),
        (vec!["--policy", &broken], "is invalid"),
        (vec!["--stdin", "-", "--params", "-"], "standard input is used more than once"),
        (vec!["--artifacts", "/dev/null/x"], "cannot create the artifacts folder"),
        (vec!["--no-such-flag"], "--no-such-flag"),
    ] {
        said(run(["-l", "js", "-e", "1"]).args(&flags)).fails(2, &["error:", words]);
    }
    said_with_input(
        &mut run(["-l", "js", "-e", "belljar.parameters", "--params", "-"]),
        b"[1,{\"a\":2}]",
    )
    .prints("[1,{\"a\":2}]\n");
    for json in ["[1,{\"a\":2}]", " \n{\"b\": [3]}"] {
        let compact = json.replace([' ', '\n'], "");
        said(&mut run(["-l", "js", "-e", "belljar.parameters", "--params", json]))
            .prints(&format!("{compact}\n"));
    }
    said(run(["-l", "js", "-e", "process.env.CITY", "--env", "CITY"]).env("CITY", "Oslo = here"))
        .prints("\"Oslo = here\"\n");
    said_with_input(&mut run(["-", "-l", "py"]), b"6 * 7").prints("42\n");
}

#[test]
fn no_home_and_a_cache_that_cannot_be() {
    let program = ["-l", "py", "-e", "1"];
    let blocked = tempfile::NamedTempFile::new().unwrap();
    // Not even root can create a folder inside a file.
    said(run(program).env("BELLJAR_CACHE", blocked.path().join("cache")))
        .fails(2, &["error:", "hint:", "BELLJAR_CACHE"]);
    said(
        run(program)
            .env_remove("HOME")
            .env_remove("XDG_CACHE_HOME")
            .env("BELLJAR_CACHE", tempfile::tempdir().unwrap().path()),
    )
    .prints("1\n");
}

/// Runs `belljar run` with a file system of one megabyte at `folder`, in a private mount namespace.
fn with_a_small_disk(folder: &Path, arguments: &[&str]) -> Said {
    let script = r#"mount -t tmpfs -o size=1m small "$0" && shift 0 && "$@"; code=$?; ls -A "$0" >&2; exit $code"#;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script])
        .arg(folder)
        .arg(binary())
        .arg("run")
        .args(arguments)
        .stdin(Stdio::null());
    said(&mut command)
}

#[test]
fn a_full_disk_keeps_the_outcome_and_leaves_no_half_file() {
    if !is_root() {
        eprintln!("not root: no file system can be mounted");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let code = "require('fs').writeFileSync('outputs/big.bin', Buffer.alloc(3 << 20)); 'the value'";
    let said = with_a_small_disk(
        folder.path(),
        &["-l", "js", "-e", code, "--artifacts", path(folder.path())],
    );
    said.fails(70, &["cannot save the artifact", "No space left", "hint:", "--artifacts"]);
    assert_eq!(said.stdout, "\"the value\"\n");
    // The listing of the folder is printed last, and is empty.
    assert!(said.stderr.trim_end().ends_with("--artifacts"), "{said:?}");
}

//! Real Pythons: all of this machine, and the links, environments and shims that lead to them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use belljar_protocol::Explain as _;
use belljar_provision::{
    ProvisionConfig, ProvisionError, Provisioner, PythonRuntime, PythonVersions, Step,
};

/// Finds a Python, and counts how many interpreters were started for it.
fn find(config: &ProvisionConfig, request: &str) -> (Result<PythonRuntime, ProvisionError>, usize) {
    let mut asked = 0;
    let provisioner = Provisioner::new(config.clone()).unwrap();
    let found = provisioner.python(&request.parse().unwrap(), &mut |step: Step<'_>| {
        asked += usize::from(matches!(step, Step::Probing { .. }));
    });
    (found, asked)
}

/// Returns a configuration with this machine's Pythons and a cache in `folder`.
fn machine(folder: &Path) -> ProvisionConfig {
    ProvisionConfig {
        cache: folder.join("cache"),
        python: None,
        ..ProvisionConfig::from_env().unwrap()
    }
}

fn say(program: &Path, expression: &str) -> String {
    let code = format!("import os, sys; print({expression})");
    let output =
        Command::new(program).args(["-I", "-S", "-c", &code]).env_clear().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Checks the properties of a Python against its own output.
fn check(python: &PythonRuntime) {
    assert_eq!(
        say(&python.executable, "'%d.%d.%d' % sys.version_info[:3]"),
        python.version.to_string()
    );
    assert_eq!(
        Path::new(&say(&python.executable, "os.path.realpath(sys.base_prefix)")),
        python.prefix
    );
    assert_eq!(
        Path::new(&say(&python.executable, "os.path.realpath(sys.executable)")),
        python.executable
    );
    assert_eq!(say(&python.executable, "sys.prefix == sys.base_prefix"), "True");
    assert!(python.stdlib.join("os.py").is_file());
    let mounts = python.mounts();
    for needed in [&python.executable, &python.stdlib].into_iter().chain(&python.libpython) {
        assert!(
            mounts.iter().any(|mount| needed.starts_with(mount)),
            "{} is not in {mounts:?}",
            needed.display()
        );
    }
    // The prefix belongs to a user, with the packages and settings of that user.
    assert!(mounts.iter().all(|mount| !python.prefix.starts_with(mount)), "{mounts:?}");
    for own in ["prefix", "exec_prefix"] {
        let folder = say(
            &python.executable,
            &format!(
                "__import__('sysconfig').get_path('purelib', vars={{'base': sys.base_{own}}})"
            ),
        );
        let folder = fs::canonicalize(&folder).unwrap_or(folder.into());
        assert!(
            python.packages.contains(&folder),
            "{} is not in {:?}",
            folder.display(),
            python.packages
        );
    }
    assert!(
        python.headers.iter().any(|folder| folder.join("Python.h").is_file()),
        "{:?}",
        python.headers
    );
    // Every library that the interpreter maps is shown, or belongs to the system.
    let mapped = say(
        &python.executable,
        r"'\n'.join({l.split(None, 5)[5].strip() for l in open('/proc/self/maps') if '.so' in l})",
    );
    for library in mapped
        .lines()
        .filter(|library| !library.starts_with("/usr/") && !library.starts_with("/lib"))
    {
        assert!(
            mounts.iter().any(|mount| Path::new(library).starts_with(mount)),
            "{library} is not in {mounts:?}"
        );
    }
}

#[test]
fn every_python_of_this_machine_is_described_correctly_and_queried_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = machine(folder.path());
    let (any, asked) = find(&config, "3");
    let any = any.expect("the tests need a CPython");
    assert!(asked >= 1);
    check(&any);
    for minor in 10..20 {
        let request = format!("3.{minor}");
        match find(&config, &request).0 {
            Ok(python) => {
                assert_eq!(python.version.minor, minor);
                check(&python);
                assert_eq!(find(&config, &python.version.to_string()).0.unwrap(), python);
                let (again, asked) = find(&config, &request);
                assert_eq!((again.unwrap(), asked), (python, 0));
            }
            Err(error) => assert!(matches!(error, ProvisionError::NoPython { .. }), "{error}"),
        }
    }
    let (again, asked) = find(&config, "3");
    assert_eq!((again.unwrap(), asked), (any, 0));
}

#[test]
fn links_and_virtual_environments_lead_to_the_interpreter_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = machine(folder.path());
    let real = find(&config, "3").0.unwrap();
    let mut candidates = Vec::new();
    for (name, option) in [("linked", "--symlinks"), ("copied", "--copies")] {
        let environment = folder.path().join(name);
        let made = Command::new(&real.executable)
            .args(["-I", "-m", "venv", "--without-pip", option])
            .arg(&environment)
            .status()
            .unwrap();
        assert!(made.success());
        let inside = Command::new(environment.join("bin/python3"))
            .args(["-c", "import sys; print(sys.prefix != sys.base_prefix)"])
            .output()
            .unwrap();
        assert_eq!(inside.stdout, b"True\n");
        candidates.push(environment.join("bin"));
    }
    let links = folder.path().join("links");
    fs::create_dir(&links).unwrap();
    symlink(&real.executable, folder.path().join("hop")).unwrap();
    symlink("../hop", links.join("python3")).unwrap();
    candidates.push(links);
    // The last candidate is a shim that is a script.
    let scripts = folder.path().join("scripts");
    write_program(
        &scripts.join("python3"),
        &format!("#!/bin/sh\nexec {} \"$@\"\n", real.executable.display()),
    );
    candidates.push(scripts);
    for candidate in candidates {
        config.search_path = vec![candidate.clone()];
        assert_eq!(find(&config, "3").0.unwrap().executable, real.executable, "{candidate:?}");
        config.python = Some(candidate.join("python3"));
        assert_eq!(find(&config, "3").0.unwrap().executable, real.executable, "{candidate:?}");
        config.python = None;
    }
}

fn write_program(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_shim_of_pyenv_is_resolved_without_being_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = machine(folder.path());
    let real = find(&config, "3").0.unwrap();
    let pyenv = folder.path().join("pyenv");
    let ran = folder.path().join("ran");
    write_program(
        &pyenv.join("shims/python3"),
        &format!("#!/bin/sh\ntouch {}\nexit 1\n", ran.display()),
    );
    let installed = pyenv.join("versions/mine/bin");
    fs::create_dir_all(&installed).unwrap();
    symlink(&real.executable, installed.join("python3")).unwrap();
    fs::write(pyenv.join("version"), "mine\n").unwrap();
    config.search_path = vec![pyenv.join("shims")];
    config.python_versions = PythonVersions::default();
    let (found, asked) = find(&config, "3");
    assert_eq!((found.unwrap().executable, asked), (real.executable, 0));
    assert!(!ran.exists());
}

/// Creates a script that answers like an interpreter of this implementation and version.
fn pretender(folder: &Path, implementation: &str, version: &str) -> PathBuf {
    let program = folder.join(format!("{implementation}-{version}/python3"));
    let answer = serde_json::json!({
        "implementation": implementation, "version": version, "executable": program, "prefix": "/usr",
        "stdlib": "/usr", "extensions": [], "libraries": [],
    });
    write_program(&program, &format!("#!/bin/sh\ncat <<'END'\n{answer}\nEND\n"));
    program
}

#[test]
fn missing_too_old_and_other_pythons_are_refused_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = ProvisionConfig::new(folder.path().join("cache"));
    let error = find(&config, "3.11").0.unwrap_err();
    assert!(error.to_string().contains("python 3.11 not found"), "{error}");
    assert!(error.hint().unwrap().contains("install CPython 3.10"), "{error:?}");

    let old = pretender(folder.path(), "cpython", "3.9.18");
    let other = pretender(folder.path(), "pypy", "3.11.2");
    config.search_path =
        [&old, &other].map(|program| program.parent().unwrap().to_owned()).to_vec();
    let error = find(&config, "3").0.unwrap_err().to_string();
    assert!(error.contains("is 3.9.18") && error.contains("is pypy"), "{error}");

    config.python = Some(old.clone());
    assert!(matches!(find(&config, "3").0, Err(ProvisionError::UnsupportedPython { .. })));
    config.python = Some(pretender(folder.path(), "cpython", "3.12.1"));
    assert!(matches!(find(&config, "3.11").0, Err(ProvisionError::OtherVersion { .. })));
    config.python = Some(PathBuf::from("/bin/sh"));
    assert!(matches!(find(&config, "3").0, Err(ProvisionError::Unusable { .. })));
}

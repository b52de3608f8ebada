//! The security suite as a command for the guest: compiled on the host, run in the guest.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use belljar_provision::{NodeRequest, ProvisionConfig, Provisioner, PythonRequest, Silent};
use serde_json::Value;

use super::GuestCommand;
use crate::programs::command_output;

/// The package whose binary the tests run.
const PACKAGE: &str = "belljar";
/// The test targets that depend on the kernel and on control groups, each with its package.
const TESTS: [(&str, &str); 3] =
    [(PACKAGE, "security"), ("belljar-engine", "parked"), ("belljar-engine", "crash")];

/// Compiles the suite and returns the command that runs it in the guest, with the same paths as on
/// the host.
pub fn security_suite(repository: &Path) -> Result<GuestCommand> {
    let artifacts = compile(repository)?;
    let built = |(package, test): (&str, &str)| {
        let found = artifacts.iter().find(|artifact| artifact.is_test && artifact.target == test);
        found.with_context(|| {
            format!("cargo has built no test target {test} in the package {package}")
        })
    };
    let tests = TESTS.into_iter().map(built).collect::<Result<Vec<_>>>()?;
    let program =
        artifacts.iter().find(|artifact| artifact.is_binary && artifact.target == PACKAGE);
    let program = program.with_context(|| format!("cargo has built no binary {PACKAGE}"))?;

    let config = ProvisionConfig::from_env()?;
    let provisioner = Provisioner::new(config).context("cannot look for Node and Python")?;
    let node = provisioner
        .node(&NodeRequest::default(), &mut Silent)
        .context("cannot find a Node for the guest")?;
    let python = provisioner
        .python(&PythonRequest::default(), &mut Silent)
        .context("cannot find a Python for the guest")?;

    let mut includes = source_files(repository)?;
    includes.extend(tests.iter().map(|test| test.executable.clone()));
    includes.push(program.executable.clone());
    includes.extend(node.mounts());
    // The prefix of a system's Python is /usr, and the guest already has what it needs of that.
    let all_of_usr = Path::new("/usr");
    includes.extend(python.mounts().into_iter().filter(|path| path != all_of_usr));
    includes
        .extend([&python.executable, &python.stdlib].into_iter().chain(&python.libpython).cloned());
    let directory = tests[0].directory()?;
    let environment = [
        ("BELLJAR_NODE", node.executable.as_path()),
        ("BELLJAR_PYTHON", &python.executable),
        ("CARGO_BIN_EXE_belljar", &program.executable),
        ("CARGO_MANIFEST_DIR", directory),
        // The guest has no network.
        ("BELLJAR_OFFLINE", Path::new("1")),
        ("RUST_BACKTRACE", Path::new("1")),
    ];
    Ok(GuestCommand {
        arguments: ["/bin/sh", "-c", &one_after_the_other(&tests)?, "vm-test"]
            .map(str::to_owned)
            .to_vec(),
        directory: text(directory)?,
        environment: environment
            .into_iter()
            .map(|(name, value)| Ok((name.to_owned(), text(value)?)))
            .collect::<Result<_>>()?,
        includes,
    })
}

/// A shell script that runs every test target with the script's own arguments, and exits with the
/// status of the last one that failed.
fn one_after_the_other(tests: &[&Artifact]) -> Result<String> {
    let mut script = "status=0".to_owned();
    for test in tests {
        let (directory, executable) = (text(test.directory()?)?, text(&test.executable)?);
        script.push_str(&format!("\ncd '{directory}' && '{executable}' \"$@\" || status=$?"));
    }
    script.push_str("\nexit $status");
    Ok(script)
}

struct Artifact {
    target: String,
    is_test: bool,
    is_binary: bool,
    executable: PathBuf,
    manifest: PathBuf,
}

impl Artifact {
    /// The working folder in which cargo runs the tests of this package.
    fn directory(&self) -> Result<&Path> {
        self.manifest.parent().context("a manifest lies in a directory")
    }
}

fn compile(repository: &Path) -> Result<Vec<Artifact>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["test", "--no-run", "--message-format=json-render-diagnostics"])
        .args(TESTS.iter().flat_map(|(package, test)| ["--package", package, "--test", test]))
        .current_dir(repository)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo cannot build the test targets\n  hint: name another command after --");
    }
    let messages = String::from_utf8(output.stdout).context("cargo's messages are JSON")?;
    Ok(messages
        .lines()
        .filter_map(|line| parse_artifact(&serde_json::from_str(line).ok()?))
        .collect())
}

/// Parses a message of cargo. Returns `None` unless it announces an executable
/// (<https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>).
fn parse_artifact(message: &Value) -> Option<Artifact> {
    let kinds = message["target"]["kind"].as_array()?;
    Some(Artifact {
        target: message["target"]["name"].as_str()?.to_owned(),
        is_test: message["profile"]["test"].as_bool()?,
        is_binary: kinds.iter().any(|kind| kind == "bin")
            && !message["profile"]["test"].as_bool()?,
        executable: message["executable"].as_str()?.into(),
        manifest: message["manifest_path"].as_str()?.into(),
    })
}

/// The files of the repository that a test may read: those that git tracks, and new ones that it
/// does not ignore.
fn source_files(repository: &Path) -> Result<Vec<PathBuf>> {
    let list = command_output(Command::new("git").current_dir(repository).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    Ok(list
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(|name| repository.join(name))
        .filter(|path| path.symlink_metadata().is_ok())
        .collect())
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
}

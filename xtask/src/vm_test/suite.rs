//! The security suite as a command for the guest: compiled here, run there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use belljar_provision::{NodeRequest, ProvisionConfig, Provisioner, PythonRequest, Silent};
use serde_json::Value;

use super::GuestCommand;
use crate::programs::command_output;

/// The package and the test target that hold the suite.
const PACKAGE: &str = "belljar";
const TEST: &str = "security";

/// Compiles the suite and returns what runs it in the guest, at the paths that it has been compiled with.
pub fn security_suite(repository: &Path) -> Result<GuestCommand> {
    let artifacts = compile(repository)?;
    let test = artifacts.iter().find(|artifact| artifact.is_test && artifact.target == TEST);
    let test = test.with_context(|| format!("cargo has built no test target {TEST} in the package {PACKAGE}"))?;
    let program = artifacts.iter().find(|artifact| artifact.is_binary && artifact.target == PACKAGE);
    let program = program.with_context(|| format!("cargo has built no binary {PACKAGE} beside the test target {TEST}"))?;

    let config = ProvisionConfig::from_env()?;
    let provisioner = Provisioner::new(config).context("cannot look for Node and Python")?;
    let node = provisioner.node(&NodeRequest::default(), &mut Silent).context("cannot find a Node for the guest")?;
    let python = provisioner.python(&PythonRequest::default(), &mut Silent).context("cannot find a Python for the guest")?;

    let mut includes = source_files(repository)?;
    includes.extend([test.executable.clone(), program.executable.clone()]);
    includes.extend(node.mounts());
    // A system's Python has /usr as its prefix, of which the guest has what counts.
    let all_of_usr = Path::new("/usr");
    includes.extend(python.mounts().into_iter().filter(|path| path != all_of_usr));
    includes.extend([&python.executable, &python.stdlib].into_iter().chain(&python.libpython).cloned());
    // Where cargo runs the tests of a package.
    let directory = test.manifest.parent().context("a manifest lies in a directory")?;
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
        arguments: vec![text(&test.executable)?],
        directory: text(directory)?,
        environment: environment.into_iter().map(|(name, value)| Ok((name.to_owned(), text(value)?))).collect::<Result<_>>()?,
        includes,
    })
}

struct Artifact {
    target: String,
    is_test: bool,
    is_binary: bool,
    executable: PathBuf,
    manifest: PathBuf,
}

fn compile(repository: &Path) -> Result<Vec<Artifact>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["test", "--no-run", "--package", PACKAGE, "--test", TEST, "--message-format=json-render-diagnostics"])
        .current_dir(repository)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo cannot build the test target {TEST} of the package {PACKAGE}\n  hint: name another command after --");
    }
    let messages = String::from_utf8(output.stdout).context("cargo's messages are JSON")?;
    Ok(messages.lines().filter_map(|line| parse_artifact(&serde_json::from_str(line).ok()?)).collect())
}

/// An executable among cargo's messages (<https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>).
fn parse_artifact(message: &Value) -> Option<Artifact> {
    let kinds = message["target"]["kind"].as_array()?;
    Some(Artifact {
        target: message["target"]["name"].as_str()?.to_owned(),
        is_test: message["profile"]["test"].as_bool()?,
        is_binary: kinds.iter().any(|kind| kind == "bin") && !message["profile"]["test"].as_bool()?,
        executable: message["executable"].as_str()?.into(),
        manifest: message["manifest_path"].as_str()?.into(),
    })
}

/// The files of the repository that a test may read: what git knows, with what is new and not ignored.
fn source_files(repository: &Path) -> Result<Vec<PathBuf>> {
    let list =
        command_output(Command::new("git").current_dir(repository).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
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

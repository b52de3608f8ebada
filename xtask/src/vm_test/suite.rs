//! The security suite as a command for the guest: compiled here, run there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{GuestCommand, command_output};

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

    let mut includes = source_files(repository)?;
    includes.extend([test.executable.clone(), program.executable.clone()]);
    Ok(GuestCommand {
        arguments: vec![text(&test.executable)?],
        // Where cargo runs the tests of a package.
        directory: text(test.manifest.parent().context("a manifest lies in a directory")?)?,
        environment: vec![
            ("CARGO_BIN_EXE_belljar".to_owned(), text(&program.executable)?),
            ("CARGO_MANIFEST_DIR".to_owned(), text(test.manifest.parent().context("a manifest lies in a directory")?)?),
            ("RUST_BACKTRACE".to_owned(), "1".to_owned()),
        ],
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
    let list = command_output(Command::new("git").current_dir(repository).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    Ok(list.split('\0').filter(|name| !name.is_empty()).map(|name| repository.join(name)).filter(|path| path.symlink_metadata().is_ok()).collect())
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
}

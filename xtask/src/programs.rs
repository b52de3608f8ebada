//! System programs that tasks need: found on PATH, and installed with apt when running as root.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// Installs the programs that are not on PATH, or fails with a hint unless running as root. Each
/// program is paired with the Debian packages that provide it, separated by spaces.
pub fn install_missing(programs: &[(&str, &'static str)]) -> Result<()> {
    let missing = programs.iter().filter(|(program, _)| !is_on_path(program));
    let packages: Vec<&str> = missing.flat_map(|(_, packages)| packages.split(' ')).collect();
    if packages.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "not installed: {0}\n  hint: apt-get install --no-install-recommends {0}",
            packages.join(" ")
        );
    }
    eprintln!("xtask: installing {}", packages.join(" "));
    let mut install = apt(&["--no-install-recommends", "install"]);
    install.args(packages);
    if command_output(&mut install).is_err() {
        // A fresh machine has no package lists yet.
        command_output(&mut apt(&["update"]))?;
        command_output(&mut install)?;
    }
    Ok(())
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["--quiet=2", "--yes"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Whether a directory of PATH contains a program of this name.
pub fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    })
}

/// Runs `command` and returns its standard output. If it fails, the error contains its standard
/// error.
pub fn command_output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{program} printed something that is not UTF-8"))
}

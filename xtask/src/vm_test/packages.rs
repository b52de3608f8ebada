//! Debian packages for the guest, fetched through apt with a separate configuration: the system's
//! sources are unchanged, and nothing is installed. The default mirror is the system's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::programs::command_output;

/// Keyring that verifies the packages, from the package debian-archive-keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite of the archive, with its index downloaded.
pub struct Suite {
    apt: tempfile::TempDir,
}

impl Suite {
    /// Downloads the index of `name` from `mirror`.
    pub fn open(mirror: &str, name: &str) -> Result<Self> {
        if !Path::new(KEYRING).exists() {
            bail!(
                "cannot verify packages: {KEYRING} is missing\n  hint: install the package debian-archive-keyring"
            );
        }
        let suite = Self { apt: tempfile::tempdir().context("cannot make a directory for apt")? };
        fs::create_dir_all(suite.path("lists/partial"))?;
        fs::create_dir_all(suite.path("cache/archives/partial"))?;
        // No packages count as installed, so that versions and dependencies are only the suite's.
        fs::write(suite.path("status"), "")?;
        fs::write(
            suite.path("sources.list"),
            format!("deb [signed-by={KEYRING}] {mirror} {name} main\n"),
        )?;
        eprintln!("vm-test: reading the index of {name}");
        command_output(suite.command("apt-get").args([
            "--quiet=2",
            "-o",
            "APT::Update::Error-Mode=any",
            "update",
        ]))?;
        Ok(suite)
    }

    /// Downloads `package` and unpacks it into `directory`, without running its scripts.
    pub fn unpack(&self, package: &str, directory: &Path) -> Result<()> {
        eprintln!("vm-test: fetching {package}");
        let downloads = tempfile::tempdir_in(self.apt.path())?;
        command_output(
            self.command("apt-get")
                .args(["--quiet=2", "download", package])
                .current_dir(downloads.path()),
        )?;
        let archive = fs::read_dir(downloads.path())?
            .next()
            .with_context(|| format!("apt-get downloaded nothing for {package}"))??;
        command_output(
            Command::new("dpkg-deb").arg("--extract").arg(archive.path()).arg(directory),
        )?;
        Ok(())
    }

    /// The first package that `package` depends on, which for a metapackage is the actual package.
    pub fn first_dependency(&self, package: &str) -> Result<String> {
        let record = command_output(self.command("apt-cache").args(["show", package]))?;
        record
            .lines()
            .find_map(|line| line.strip_prefix("Depends: ")?.split([',', ' ']).next())
            .map(str::to_owned)
            .with_context(|| format!("{package} depends on nothing"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.apt.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (option, value) in [
            ("Dir::Etc::sourcelist", self.path("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::Etc::preferences", "/dev/null".into()),
            ("Dir::Etc::preferencesparts", "/dev/null".into()),
            ("Dir::State::lists", self.path("lists")),
            ("Dir::State::status", self.path("status")),
            ("Dir::Cache", self.path("cache")),
            ("Acquire::Languages", "none".into()),
            ("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false".into()),
            // apt's own user cannot write here. Every package is still verified by its signed
            // checksum.
            ("APT::Sandbox::User", "root".into()),
        ] {
            command.arg("-o").arg(format!("{option}={}", value.display()));
        }
        command
    }
}

/// The Debian mirror in the system's apt sources.
pub fn system_mirror() -> Result<String> {
    let targets = command_output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(LABEL) $(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    let mirror = targets.lines().find_map(|line| line.strip_prefix("Debian ")).map(str::to_owned);
    mirror.context(
        "apt's sources contain no Debian mirror\n  hint: pass --mirror URI, or run apt-get update",
    )
}

//! `cargo xtask dist`: builds the release tarball, its checksum and its bill of materials in
//! target/dist.
//!
//! The tarball is reproducible from the same sources and toolchain: names are sorted, owners and
//! times fixed.

mod sbom;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use flate2::{Compression, GzBuilder};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::programs::command_output;
use crate::repository;

/// Build the release tarball in target/dist
///
/// The tarball contains the binary, completions, manual page and bill of materials. Next to it are
/// its SHA-256 checksum, in the format of sha256sum, and another copy of the bill of materials.
#[derive(Args)]
pub struct Arguments {
    /// Target to build for [default: this machine's]
    ///
    /// Its standard library and linker must be installed.
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
}

/// A file in the tarball.
struct Entry {
    name: &'static str,
    mode: u32,
    content: Vec<u8>,
}

/// Builds the binary, packs the tarball, and tests the packed binary if it is for this machine.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let host = host()?;
    let target = arguments.target.as_deref().unwrap_or(&host);
    let metadata = metadata("Cargo.toml", target)?;
    let version = sbom::version_of(&metadata, "belljar")?;
    let built = Path::new(
        metadata["target_directory"].as_str().context("cargo metadata has no target folder")?,
    );
    let binary = build(arguments.target.as_deref().filter(|target| *target != host), built)?;
    let materials = sbom::sbom(&[
        (&metadata, &lock("Cargo.lock")?),
        (&self::metadata("crates/native/Cargo.toml", target)?, &lock("crates/native/Cargo.lock")?),
    ])?;
    // The binary prints its completions and manual page. One for another processor cannot run here,
    // but this machine's own build prints the same.
    let runnable = if target == host { binary.clone() } else { build(None, built)? };

    let name = format!("belljar-{version}-{target}");
    let folder = repository().join("target/dist");
    fs::create_dir_all(&folder)?;
    let tarball = folder.join(format!("{name}.tar.gz"));
    pack(&tarball, &name, &entries(&binary, &runnable, &materials)?)?;
    let sum = Sha256::digest(fs::read(&tarball)?);
    fs::write(folder.join(format!("{name}.tar.gz.sha256")), format!("{sum:x}  {name}.tar.gz\n"))?;
    fs::write(folder.join(format!("{name}.cdx.json")), &materials)?;
    if target == host {
        try_out(&tarball, &name, &version)?;
    }
    println!("{}", tarball.display());
    Ok(ExitCode::SUCCESS)
}

fn entries(binary: &Path, runnable: &Path, materials: &str) -> Result<Vec<Entry>> {
    let printed = |arguments: &[&str]| {
        command_output(Command::new(runnable).args(arguments)).map(String::into_bytes)
    };
    let source = |name: &str| {
        fs::read(repository().join(name)).with_context(|| format!("cannot read {name}"))
    };
    let text = |name, content| Entry { name, mode: 0o644, content };
    Ok(vec![
        text("CHANGELOG.md", source("CHANGELOG.md")?),
        text("LICENSE", source("LICENSE")?),
        text("README.md", source("README.md")?),
        Entry { name: "belljar", mode: 0o755, content: fs::read(binary)? },
        text("completions/_belljar", printed(&["completions", "zsh"])?),
        text("completions/belljar.bash", printed(&["completions", "bash"])?),
        text("completions/belljar.fish", printed(&["completions", "fish"])?),
        text("man/belljar.1", printed(&["man"])?),
        text("packaging/Containerfile", source("packaging/Containerfile")?),
        text("packaging/belljar.service", source("packaging/belljar.service")?),
        text("packaging/belljar.sysusers", source("packaging/belljar.sysusers")?),
        text("packaging/belljar.toml", source("packaging/belljar.toml")?),
        text("sbom.cdx.json", materials.as_bytes().to_vec()),
    ])
}

fn pack(tarball: &Path, folder: &str, entries: &[Entry]) -> Result<()> {
    let time = source_time()?;
    let file =
        File::create(tarball).with_context(|| format!("cannot write {}", tarball.display()))?;
    let mut builder = tar::Builder::new(GzBuilder::new().mtime(0).write(file, Compression::best()));
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(entry.content.len() as u64);
        header.set_mode(entry.mode);
        header.set_mtime(time);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_data(&mut header, format!("{folder}/{}", entry.name), &entry.content[..])?;
    }
    builder.into_inner()?.finish()?.flush()?;
    Ok(())
}

/// Modification time of all files, in seconds since the epoch: `SOURCE_DATE_EPOCH`, as
/// reproducible-builds.org defines it, or else the time of the last commit.
fn source_time() -> Result<u64> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => command_output(
            Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(repository()),
        )?,
    };
    text.trim().parse().with_context(|| format!("`{}` is not a time in seconds", text.trim()))
}

/// Unpacks the tarball and runs the binary in an empty environment.
fn try_out(tarball: &Path, name: &str, version: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    tar::Archive::new(flate2::read::GzDecoder::new(File::open(tarball)?)).unpack(folder.path())?;
    let binary = folder.path().join(name).join("belljar");
    let printed = command_output(
        Command::new(&binary)
            .arg("--version")
            .env_clear()
            .env("HOME", folder.path())
            .current_dir(folder.path()),
    )?;
    if printed.trim() != format!("belljar {version}") {
        bail!("expected version {version} of the packed binary, received {printed:?}");
    }
    Ok(())
}

/// Builds the binary with the release profile of packages, for another target or for this machine
/// (`None`), and returns its path.
fn build(target: Option<&str>, built: &Path) -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--profile", "packaged", "--locked", "--package", "belljar"])
        .current_dir(repository());
    cargo.args(target.iter().flat_map(|target| ["--target", target]));
    if !cargo.status().context("cannot run cargo")?.success() {
        bail!("the build failed");
    }
    Ok(target
        .map_or_else(|| built.to_owned(), |target| built.join(target))
        .join("packaged/belljar"))
}

fn metadata(manifest: &str, target: &str) -> Result<Value> {
    let mut cargo = Command::new("cargo");
    cargo.args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        target,
        "--manifest-path",
        manifest,
    ]);
    Ok(serde_json::from_str(&command_output(cargo.current_dir(repository()))?)?)
}

fn lock(name: &str) -> Result<String> {
    fs::read_to_string(repository().join(name)).with_context(|| format!("cannot read {name}"))
}

fn host() -> Result<String> {
    let version = command_output(Command::new("rustc").arg("-vV"))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc does not print its host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_make_the_same_tarball() {
        let folder = tempfile::tempdir().unwrap();
        let entries = [
            Entry { name: "belljar", mode: 0o755, content: vec![7; 100_000] },
            Entry { name: "man/belljar.1", mode: 0o644, content: b".TH".to_vec() },
        ];
        let [one, two] = ["1", "2"].map(|name| folder.path().join(name));
        pack(&one, "belljar-1.0.0", &entries).unwrap();
        pack(&two, "belljar-1.0.0", &entries).unwrap();
        assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
        let mut archive =
            tar::Archive::new(flate2::read::GzDecoder::new(File::open(&one).unwrap()));
        let found: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap())
            })
            .collect();
        assert_eq!(
            found,
            [
                ("belljar-1.0.0/belljar".to_owned(), 0o755),
                ("belljar-1.0.0/man/belljar.1".to_owned(), 0o644)
            ]
        );
    }
}

//! `cargo xtask test`: every check that a change must pass, which is also all that CI runs.
//!
//! Each step is one or a few commands. A step runs even if an earlier one has failed, so that one
//! invocation reports every failure.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use belljar_provision::{NodeRequest, ProvisionConfig, Provisioner, PythonRequest, Silent};
use clap::{Args, ValueEnum};

use crate::programs::{command_output, install_missing, is_on_path};
use crate::{check, repository};

/// Crates with a manifest of their own: `native` has its own profile, and `syntax` is linked into
/// it.
const OWN_MANIFESTS: [&str; 2] = ["crates/native/Cargo.toml", "crates/syntax/Cargo.toml"];

/// The processor architecture that this machine does not have: its Rust target, its C compiler, and
/// the Debian packages of the compiler and the headers.
const OTHER: (&str, &str, &str) = if cfg!(target_arch = "x86_64") {
    (
        "aarch64-unknown-linux-gnu",
        "aarch64-linux-gnu-gcc",
        "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    )
} else {
    (
        "x86_64-unknown-linux-gnu",
        "x86_64-linux-gnu-gcc",
        "gcc-x86-64-linux-gnu libc6-dev-amd64-cross",
    )
};

/// The crates of the workspace, besides `native`, with code that depends on the processor or libc.
const PROCESSOR_CRATES: [&str; 4] =
    ["belljar-channel", "belljar-engine", "belljar-jail", "belljar-provision"];

/// Run every check that a change must pass
///
/// These are formatting, lints, documentation, drivers, both processor architectures and all tests,
/// in the dev profile. Missing programs are installed with apt when running as root; otherwise, the
/// error names the packages to install.
#[derive(Args)]
pub struct Arguments {
    /// Run only this step (may be repeated)
    #[arg(long = "step", value_enum, value_name = "STEP")]
    steps: Vec<Step>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Check the formatting with rustfmt
    Format,
    /// Check the English, the width and the structure of the source files (`cargo xtask check`)
    Rules,
    /// Run clippy, with warnings as errors
    Lint,
    /// Run rustdoc, with warnings as errors
    Rustdoc,
    /// Compile the crates that depend on the processor for the other one: arm64 or x86-64
    OtherProcessor,
    /// Check licences, sources and bans of the dependencies (needs cargo-deny)
    Licences,
    /// Test the Node driver with a stand-in for the native library
    NodeDriver,
    /// Test the Python driver with a stand-in for the native library
    PythonDriver,
    /// Test the parser that prepares JavaScript and TypeScript
    Syntax,
    /// Test the native library
    Native,
    /// Run all tests of the workspace: unit, black-box, documentation, security
    Workspace,
}

/// Result of a step.
enum Verdict {
    Passed,
    Failed(anyhow::Error),
    LeftOut(&'static str),
}

/// Runs the steps and prints the result of each at the end.
pub fn run(arguments: &Arguments) -> ExitCode {
    let steps = if arguments.steps.is_empty() { Step::value_variants() } else { &arguments.steps };
    let mut verdicts = Vec::new();
    for &step in steps {
        println!("\n=== {}", step.name());
        let started = Instant::now();
        let verdict = match step.run() {
            Ok(None) => Verdict::Passed,
            Ok(Some(why)) => Verdict::LeftOut(why),
            Err(error) => {
                eprintln!("error: {error:#}");
                Verdict::Failed(error)
            }
        };
        verdicts.push((step, verdict, started.elapsed()));
    }
    println!();
    let mut failed = 0;
    for (step, verdict, time) in &verdicts {
        let (word, why) = match verdict {
            Verdict::Passed => ("passed", String::new()),
            Verdict::LeftOut(why) => ("left out", format!(": {why}")),
            Verdict::Failed(error) => {
                failed += 1;
                ("FAILED", format!(": {error}"))
            }
        };
        println!("{:<16} {word:<8} {:>4} s{why}", step.name(), time.as_secs());
    }
    println!(
        "xtask test: {}",
        if failed == 0 {
            "ok".to_owned()
        } else {
            format!("FAILED, {failed} of {} steps", verdicts.len())
        }
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Step {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Runs the step. `Some` is the reason why it was skipped.
    fn run(self) -> Result<Option<&'static str>> {
        match self {
            Self::Format => {
                cargo(&["fmt", "--all", "--check"])?;
                each_own_manifest(|manifest| {
                    cargo(&["fmt", "--check", "--manifest-path", manifest])
                })?;
            }
            Self::Rules => {
                if !check::holds(false)? {
                    bail!("the rules of `cargo xtask check` do not hold");
                }
            }
            Self::Lint => {
                cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
                each_own_manifest(|manifest| {
                    apart(
                        &["clippy", "--workspace", "--all-targets"],
                        manifest,
                        &["--", "--deny", "warnings"],
                    )
                })?;
            }
            Self::Rustdoc => {
                run_command(
                    command("cargo", &["doc", "--workspace", "--no-deps"])
                        .env("RUSTDOCFLAGS", "--deny warnings"),
                )?;
                each_own_manifest(|manifest| {
                    apart(&["doc", "--workspace", "--no-deps"], manifest, &[])
                })?;
            }
            Self::OtherProcessor => other_processor()?,
            Self::Licences => {
                if !is_on_path("cargo-deny") {
                    return Ok(Some(
                        "cargo-deny is not installed (cargo install --locked cargo-deny)",
                    ));
                }
                // Advisories need the network and change daily: `cargo deny check advisories`
                // belongs on a schedule of its own.
                for manifest in ["Cargo.toml", OWN_MANIFESTS[0]] {
                    cargo(&[
                        "deny",
                        "--manifest-path",
                        manifest,
                        "--config",
                        "deny.toml",
                        "check",
                        "bans",
                        "licenses",
                        "sources",
                    ])?;
                }
            }
            Self::NodeDriver => node_driver()?,
            Self::PythonDriver => python_driver()?,
            Self::Syntax => apart(&["test"], OWN_MANIFESTS[1], &[])?,
            Self::Native => apart(&["test", "--workspace"], OWN_MANIFESTS[0], &[])?,
            Self::Workspace => {
                // The clients and servers that tests use come from PyPI and npm.
                install_missing(&[("python3", "python3 python3-venv"), ("npm", "npm")])?;
                cargo(&["test", "--workspace", "--no-fail-fast"])?;
            }
        }
        Ok(None)
    }
}

fn other_processor() -> Result<()> {
    let (target, compiler, packages) = OTHER;
    install_missing(&[(compiler, packages)])?;
    let libraries = PathBuf::from(
        command_output(&mut command("rustc", &["--print", "target-libdir", "--target", target]))?
            .trim(),
    );
    if !libraries.exists() {
        if !is_on_path("rustup") {
            bail!(
                "this Rust has no standard library for {target}\n  hint: install it from the source of this Rust installation"
            );
        }
        run_command(&mut command("rustup", &["target", "add", target]))?;
    }
    // The engine embeds the native library, which would have to be built in full for the other
    // processor; the library is checked separately instead.
    let mut arguments = vec!["check", "--target", target, "--features", "belljar-engine/fuzzing"];
    arguments.extend(PROCESSOR_CRATES.iter().flat_map(|name| ["-p", name]));
    cargo(&arguments)?;
    apart(&["check", "--workspace", "--target", target], OWN_MANIFESTS[0], &[])
}

fn node_driver() -> Result<()> {
    let node =
        provisioner()?.node(&NodeRequest::default(), &mut Silent).context("cannot find a Node")?;
    println!("node {}", node.version);
    let tests = repository().join("runtimes/node/test");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&tests)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".test.js"));
    files.sort();
    run_command(Command::new(&node.executable).arg("--test").args(files).current_dir(repository()))
}

fn python_driver() -> Result<()> {
    let python = provisioner()?
        .python(&PythonRequest::default(), &mut Silent)
        .context("cannot find a Python")?;
    println!("python {}", python.version);
    let mut tests = Command::new(&python.executable);
    tests.args(["-m", "unittest", "discover", "runtimes/python/test"]).current_dir(repository());
    run_command(tests.env("BELLJAR_TEST_PYTHON", &python.executable))
}

fn provisioner() -> Result<Provisioner> {
    Provisioner::new(ProvisionConfig::from_env()?).context("cannot look for runtimes")
}

fn each_own_manifest(step: impl Fn(&str) -> Result<()>) -> Result<()> {
    OWN_MANIFESTS.iter().try_for_each(|manifest| step(manifest))
}

/// Runs cargo on a crate with a manifest of its own. These crates share a target folder and the
/// versions in native's lock file.
fn apart(first: &[&str], manifest: &str, last: &[&str]) -> Result<()> {
    let lock = repository().join(manifest).with_file_name("Cargo.lock");
    if !lock.exists() {
        std::fs::copy(repository().join(OWN_MANIFESTS[0]).with_file_name("Cargo.lock"), &lock)
            .context("cannot copy native's lock file")?;
    }
    let mut command = command("cargo", first);
    command
        .args(["--manifest-path", manifest, "--target-dir", "target/apart"])
        .args(last)
        .env("RUSTDOCFLAGS", "--deny warnings");
    run_command(&mut command)
}

fn cargo(arguments: &[&str]) -> Result<()> {
    run_command(&mut command("cargo", arguments))
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(repository());
    command
}

fn run_command(command: &mut Command) -> Result<()> {
    let words: Vec<_> =
        command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let status = command.status().with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("{program} {} ended with {status}", words.join(" "));
    }
    Ok(())
}

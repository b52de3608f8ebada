//! `cargo xtask vm-test`: runs a command under a Debian kernel with cgroup v2 only, in a virtual
//! machine, as root and as an ordinary user.
//!
//! This file has the steps of one invocation. The parts are in files of their own: the packages,
//! the kernel, the initramfs with its `init.sh`, the root file system, the machine, and the
//! security suite, which is the default command.

mod cache;
mod initramfs;
mod kernel;
mod machine;
mod packages;
mod root_image;
mod suite;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use belljar_provision::ProvisionConfig;
use clap::{Args, ValueEnum};

use cache::{Cache, Scratch};
use initramfs::Initramfs;
use kernel::{Kernel, Release};
use machine::{Acceleration, End, Machine};
use packages::Suite;

use crate::programs::install_missing;

/// Exit status of timeout(1) for a command that timed out.
const TIMED_OUT: u8 = 124;

/// Run a command in a virtual machine with a Debian kernel and cgroup v2 only
///
/// The guest's root file system consists of this machine's installed packages, read-only; whatever
/// the guest writes is discarded when it ends. Each combination of kernel and user is a separate
/// boot. The exit status is that of the first command that failed, 124 if it timed out, or 1 if the
/// machine failed.
#[derive(Args)]
pub struct Arguments {
    /// Kernel to boot
    #[arg(long, value_enum, default_value_t = Kernels::Bookworm)]
    kernel: Kernels,

    /// User to run the command as
    ///
    /// The ordinary user starts in a delegated cgroup, as with systemd's Delegate=yes.
    #[arg(long = "as", value_enum, default_value_t = Users::Both)]
    users: Users,

    /// Delegate no cgroup to the user
    #[arg(long)]
    no_delegation: bool,

    /// Copy a file or directory to the same path in the guest (repeatable)
    #[arg(long, value_name = "PATH")]
    include: Vec<PathBuf>,

    /// Time limit for each boot, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=24 * 60))]
    timeout: u64,

    /// Debian mirror to fetch the kernel from [default: apt's]
    #[arg(long, value_name = "URI")]
    mirror: Option<String>,

    /// Fetch the latest version of the kernel, even if one is cached
    #[arg(long)]
    refresh: bool,

    /// Run only security tests whose names contain NAME (repeatable)
    #[arg(long, value_name = "NAME", conflicts_with = "command")]
    only: Vec<String>,

    /// Command and arguments to run [default: the security suite]
    ///
    /// The default suite is compiled on this machine.
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kernels {
    /// Debian 12's own, 6.1
    Bookworm,
    /// Debian 12's backport, 6.12 or newer
    Backports,
    Both,
}

#[derive(Clone, Copy, ValueEnum)]
enum Users {
    Root,
    /// An ordinary user, `tester`
    User,
    Both,
}

/// User and cgroup that the command runs with.
#[derive(Clone, Copy)]
enum Caller {
    Root,
    DelegatedUser,
    UndelegatedUser,
}

/// A command to run in the guest.
pub struct GuestCommand {
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// The working folder. If empty, the home of the guest's user.
    pub directory: String,
    pub environment: Vec<(String, String)>,
    /// Files and directories of this machine that the guest needs besides its packages.
    pub includes: Vec<PathBuf>,
}

/// Boots a machine for each requested kernel and user, one after the other.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("vm-test runs on Linux on x86-64 only: the guest uses this machine's own programs");
    }
    let callers = callers(arguments.users, arguments.no_delegation)?;
    let mut command = if arguments.command.is_empty() {
        default_command(&arguments.only)?
    } else {
        named_command(&arguments.command)?
    };
    for path in &arguments.include {
        command.includes.push(
            std::path::absolute(path)
                .with_context(|| format!("cannot include {}", path.display()))?,
        );
    }
    let mut programs = machine::PROGRAMS.to_vec();
    programs.push(root_image::PROGRAM);
    install_missing(&programs)?;

    let cache = Cache::open(ProvisionConfig::from_env()?.cache.join("vm"))?;
    let scratch = cache.scratch()?;
    let root = scratch.path("root.squashfs");
    root_image::write(&root, &command.includes)?;

    let mut first_failure = 0;
    for release in releases(arguments.kernel) {
        let (kernel, busybox) = fetched(release, &cache, &scratch, arguments)?;
        let acceleration = Acceleration::probe(&kernel, &busybox, &cache, &scratch)?;
        for &caller in &callers {
            let initrd = scratch.path("initrd");
            fs::write(&initrd, initramfs(&kernel, &busybox, caller, &command)?)?;
            let console = scratch.path("console");
            let machine = Machine {
                kernel: &kernel,
                initrd: &initrd,
                root_image: Some(&root),
                console: &console,
                acceleration,
            };
            eprintln!(
                "vm-test: {} as {} ({})",
                kernel.release(),
                caller.name(),
                acceleration.name()
            );
            let (status, what) =
                outcome(&machine.run(Duration::from_secs(arguments.timeout * 60))?);
            if let Some(what) = what {
                let kept = cache.path(&format!("console-{}-{}.log", release.name(), caller.name()));
                fs::rename(&console, &kept)?;
                eprintln!("vm-test: {what}; the kernel's messages are in {}", kept.display());
            }
            if first_failure == 0 {
                first_failure = status;
            }
        }
    }
    Ok(ExitCode::from(first_failure))
}

/// The command that runs if none is given: the security suite.
fn default_command(only: &[String]) -> Result<GuestCommand> {
    let repository =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is not in the repository")?;
    let mut suite = suite::security_suite(repository)?;
    suite.arguments.extend(only.iter().cloned());
    Ok(suite)
}

fn named_command(command: &[String]) -> Result<GuestCommand> {
    let mut arguments = command.to_vec();
    let mut includes = Vec::new();
    // A program given by its path is one of this machine's, and is copied to the guest.
    if arguments[0].contains('/') {
        let program = std::path::absolute(&arguments[0])?;
        program.metadata().with_context(|| format!("cannot run {}", program.display()))?;
        program.to_str().context("the program's path is not UTF-8")?.clone_into(&mut arguments[0]);
        includes.push(program);
    }
    Ok(GuestCommand { arguments, directory: String::new(), environment: Vec::new(), includes })
}

fn callers(users: Users, no_delegation: bool) -> Result<Vec<Caller>> {
    let user = if no_delegation { Caller::UndelegatedUser } else { Caller::DelegatedUser };
    match users {
        Users::Root if no_delegation => {
            bail!(
                "--no-delegation has no effect on root, which owns every cgroup\n  hint: use --as user"
            )
        }
        Users::Root => Ok(vec![Caller::Root]),
        Users::User => Ok(vec![user]),
        Users::Both => Ok(vec![Caller::Root, user]),
    }
}

fn releases(kernels: Kernels) -> Vec<Release> {
    match kernels {
        Kernels::Bookworm => vec![Release::Bookworm],
        Kernels::Backports => vec![Release::Backports],
        Kernels::Both => vec![Release::Bookworm, Release::Backports],
    }
}

impl Caller {
    fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::DelegatedUser => "user",
            Self::UndelegatedUser => "user-without-delegation",
        }
    }

    /// The settings for `init.sh`, in shell syntax.
    fn settings(self) -> &'static str {
        match self {
            Self::Root => "AS=root DELEGATION=yes\n",
            Self::DelegatedUser => "AS=user DELEGATION=yes\n",
            Self::UndelegatedUser => "AS=user DELEGATION=no\n",
        }
    }

    fn environment(self) -> [(&'static str, &'static str); 6] {
        let (user, home, runtime) = match self {
            Self::Root => ("root", "/root", "/run"),
            Self::DelegatedUser | Self::UndelegatedUser => {
                ("tester", "/home/tester", "/run/user/1000")
            }
        };
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        [
            ("PATH", path),
            ("USER", user),
            ("LOGNAME", user),
            ("HOME", home),
            ("XDG_RUNTIME_DIR", runtime),
            ("LANG", "C.UTF-8"),
        ]
    }
}

/// Returns the kernel and the path of busybox, fetched from the mirror unless they are cached.
fn fetched(
    release: Release,
    cache: &Cache,
    scratch: &Scratch,
    arguments: &Arguments,
) -> Result<(Kernel, PathBuf)> {
    let _lock = cache.lock()?;
    let kernel = cache.path(release.name());
    let busybox = cache.path("busybox");
    let mirror = || arguments.mirror.clone().map_or_else(packages::system_mirror, Ok);
    if arguments.refresh || !kernel.exists() {
        let unpacked = scratch.path(release.name());
        let suite = Suite::open(&mirror()?, release.suite())?;
        suite.unpack(&suite.first_dependency("linux-image-cloud-amd64")?, &unpacked)?;
        if kernel.exists() {
            fs::rename(&kernel, scratch.path("replaced"))?;
        }
        fs::rename(&unpacked, &kernel)?;
    }
    if !busybox.exists() {
        let unpacked = scratch.path("busybox-static");
        Suite::open(&mirror()?, Release::Bookworm.suite())?.unpack("busybox-static", &unpacked)?;
        fs::rename(unpacked.join("bin/busybox"), &busybox)
            .context("busybox-static has no /bin/busybox")?;
    }
    Ok((Kernel::open(&kernel)?, busybox))
}

fn initramfs(
    kernel: &Kernel,
    busybox: &Path,
    caller: Caller,
    command: &GuestCommand,
) -> Result<Vec<u8>> {
    let mut initramfs = Initramfs::new();
    initramfs.executable("bin/busybox", &fs::read(busybox)?);
    initramfs.executable("init", include_bytes!("vm_test/init.sh"));
    initramfs.file("vm-test/init.sh", include_bytes!("vm_test/init.sh"));
    initramfs.file("vm-test/run.conf", caller.settings().as_bytes());
    initramfs.file("vm-test/command.sh", script(caller, command).as_bytes());
    for (index, module) in kernel.modules(busybox)?.iter().enumerate() {
        // Numbered, as the guest loads them in the order of their names.
        initramfs.file(&format!("vm-test/modules/{index:02}-{}", module.name), &module.content);
    }
    Ok(initramfs.finish())
}

/// The command as a shell script, which sets exactly the command's own environment.
fn script(caller: Caller, command: &GuestCommand) -> String {
    let environment = caller.environment();
    let given = command.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut words = vec!["exec env -i".to_owned()];
    words.extend(
        environment
            .into_iter()
            .chain(given)
            .map(|(name, value)| quoted(&format!("{name}={value}"))),
    );
    words.extend(command.arguments.iter().map(|argument| quoted(argument)));
    let home = environment.iter().find(|(name, _)| *name == "HOME").map_or("/", |(_, home)| home);
    let directory = if command.directory.is_empty() { home } else { &command.directory };
    format!("cd {} || exit 126\n{}\n", quoted(directory), words.join(" "))
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The exit status of a boot, and a message unless the boot succeeded.
fn outcome(end: &End) -> (u8, Option<String>) {
    match end {
        End::Command(0) => (0, None),
        End::Command(status) => (*status, Some(format!("the command ended with status {status}"))),
        End::Died => (1, Some("the guest stopped before the command had ended".to_owned())),
        End::TimedOut => (TIMED_OUT, Some("the guest timed out and was killed".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_quoted_word_is_one_word_to_a_shell() {
        let word = "it's $HOME `and` \"more\"\n";
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!("printf %s {}", quoted(word)))
            .output()
            .expect("sh runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), word);
    }
}

//! `cargo xtask vm-test`: runs a command under a Debian kernel with cgroup v2 only, in a virtual machine, as root and as an ordinary user.
//!
//! Here is the story of one invocation; what it is made of is in the files beside: where packages come from, the kernel, the initramfs
//! with its `init.sh`, the root file system, the machine, and the security suite that is the default command.

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

/// What a shell reports for a command that ran out of time (timeout(1)).
const TIMED_OUT: u8 = 124;

/// Run a command in a virtual machine with a Debian kernel and cgroup v2 only
///
/// The guest's root file system is made of this machine's own packages, read-only; what is written there ends with the guest. Each
/// combination of kernel and user is a boot of its own. The exit status is that of the first command that failed, 124 if one ran out of
/// time, 1 if the machine failed.
#[derive(Args)]
pub struct Arguments {
    /// The kernel to boot
    #[arg(long, value_enum, default_value_t = Kernels::Bookworm)]
    kernel: Kernels,

    /// Who runs the command; the user starts in a delegated cgroup, as systemd's Delegate=yes gives it
    #[arg(long = "as", value_enum, default_value_t = Users::Both)]
    users: Users,

    /// Delegate no cgroup to the user
    #[arg(long)]
    no_delegation: bool,

    /// A file or directory of this machine that the guest sees too, at the same path (may be repeated)
    #[arg(long, value_name = "PATH")]
    include: Vec<PathBuf>,

    /// How long each boot may take, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=24 * 60))]
    timeout: u64,

    /// The Debian mirror to fetch the kernel from [default: the one that apt uses]
    #[arg(long, value_name = "URI")]
    mirror: Option<String>,

    /// Fetch the kernel again, to get its latest version
    #[arg(long)]
    refresh: bool,

    /// Run only the tests of the security suite whose names contain this (may be repeated)
    #[arg(long, value_name = "NAME", conflicts_with = "command")]
    only: Vec<String>,

    /// The command, with its arguments [default: the security suite, compiled here]
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

/// Who runs the command, and in which cgroup.
#[derive(Clone, Copy)]
enum Caller {
    Root,
    DelegatedUser,
    UndelegatedUser,
}

/// What runs in the guest.
pub struct GuestCommand {
    /// The program and its arguments
    pub arguments: Vec<String>,
    /// The working folder; a home of the guest's if empty
    pub directory: String,
    pub environment: Vec<(String, String)>,
    /// What of this machine's files the guest needs besides its packages
    pub includes: Vec<PathBuf>,
}

/// Boots each machine that is asked for, one after the other.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("vm-test runs on Linux on x86-64 only: the guest uses this machine's own programs");
    }
    let callers = callers(arguments.users, arguments.no_delegation)?;
    let mut command = if arguments.command.is_empty() { default_command(&arguments.only)? } else { named_command(&arguments.command)? };
    for path in &arguments.include {
        command.includes.push(std::path::absolute(path).with_context(|| format!("cannot include {}", path.display()))?);
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
            let machine = Machine { kernel: &kernel, initrd: &initrd, root_image: Some(&root), console: &console, acceleration };
            eprintln!("vm-test: {} as {} ({})", kernel.release(), caller.name(), acceleration.name());
            let (status, what) = outcome(&machine.run(Duration::from_secs(arguments.timeout * 60))?);
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

/// What runs when no command is named.
fn default_command(only: &[String]) -> Result<GuestCommand> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
    let mut suite = suite::security_suite(repository)?;
    suite.arguments.extend(only.iter().cloned());
    Ok(suite)
}

fn named_command(command: &[String]) -> Result<GuestCommand> {
    let mut arguments = command.to_vec();
    let mut includes = Vec::new();
    // A program given by its path is one of this machine's, and comes along.
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
        Users::Root if no_delegation => bail!("--no-delegation means the user: root owns every cgroup\n  hint: use --as user"),
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

    /// The settings that `init.sh` reads.
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
            Self::DelegatedUser | Self::UndelegatedUser => ("tester", "/home/tester", "/run/user/1000"),
        };
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        [("PATH", path), ("USER", user), ("LOGNAME", user), ("HOME", home), ("XDG_RUNTIME_DIR", runtime), ("LANG", "C.UTF-8")]
    }
}

/// The kernel and busybox, from the cache or from the mirror.
fn fetched(release: Release, cache: &Cache, scratch: &Scratch, arguments: &Arguments) -> Result<(Kernel, PathBuf)> {
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
        fs::rename(unpacked.join("bin/busybox"), &busybox).context("busybox-static has no /bin/busybox")?;
    }
    Ok((Kernel::open(&kernel)?, busybox))
}

fn initramfs(kernel: &Kernel, busybox: &Path, caller: Caller, command: &GuestCommand) -> Result<Vec<u8>> {
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

/// The command as a shell script, with an environment of its own and nothing else.
fn script(caller: Caller, command: &GuestCommand) -> String {
    let environment = caller.environment();
    let given = command.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut words = vec!["exec env -i".to_owned()];
    words.extend(environment.into_iter().chain(given).map(|(name, value)| quoted(&format!("{name}={value}"))));
    words.extend(command.arguments.iter().map(|argument| quoted(argument)));
    let home = environment.iter().find(|(name, _)| *name == "HOME").map_or("/", |(_, home)| home);
    let directory = if command.directory.is_empty() { home } else { &command.directory };
    format!("cd {} || exit 126\n{}\n", quoted(directory), words.join(" "))
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The status that a boot counts as, and what to say about it unless it succeeded.
fn outcome(end: &End) -> (u8, Option<String>) {
    match end {
        End::Command(0) => (0, None),
        End::Command(status) => (*status, Some(format!("the command ended with status {status}"))),
        End::Died => (1, Some("the guest stopped before the command had ended".to_owned())),
        End::TimedOut => (TIMED_OUT, Some("the time is up, the guest was killed".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_quoted_word_is_one_word_to_a_shell() {
        let word = "it's $HOME `and` \"more\"\n";
        let output = std::process::Command::new("sh").arg("-c").arg(format!("printf %s {}", quoted(word))).output().expect("sh runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), word);
    }
}

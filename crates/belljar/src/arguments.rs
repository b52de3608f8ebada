//! The definitions of all commands and flags. Help, completions, the manual and the reference are
//! generated from them.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use belljar_protocol::{Language, Millis, RuntimeName};
use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::examples::with_examples;
use crate::help_texts::{
    COMPLETIONS_HELP, DOCTOR_HELP, LOGIN_HELP, MAN_HELP, MCP_HELP, RUN_HELP, SERVE_HELP,
    SHORT_MCP_HELP, SHORT_RUN_HELP, with_short_help,
};
use crate::limit_arguments::LimitArguments;
use crate::service_arguments::{
    AuditArguments, BackupArguments, LoginArguments, LogoutArguments, LogsArguments,
    ProjectsCommand, RemoteMcpArguments, RemoteRunArguments, RestoreArguments, RunIdsArguments,
    RunsArguments, ServeArguments, StorageCommand, TokensCommand, UsageArguments,
};

/// Run code written by AI agents in fresh, deny-by-default kernel sandboxes
#[derive(Debug, Parser)]
#[command(name = "belljar", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Belljar {
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands of `belljar`. [`GROUPS`] sorts them for the help.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a JavaScript, TypeScript or Python program
    #[command(after_help = SHORT_RUN_HELP, after_long_help = RUN_HELP, visible_alias = "r")]
    Run(Box<RunArguments>),
    /// Lock, prebuild, list and remove package environments
    #[command(subcommand)]
    Env(EnvCommand),
    /// Serve one AI client over stdio with the Model Context Protocol
    #[command(after_help = SHORT_MCP_HELP, after_long_help = MCP_HELP)]
    Mcp(Box<McpArguments>),
    /// Serve runs, storage and run history to a team over HTTP
    #[command(after_help = SERVE_HELP)]
    Serve(ServeArguments),
    /// Save the URL and token of a server for later commands
    #[command(after_help = LOGIN_HELP)]
    Login(LoginArguments),
    /// Remove the saved URL and token of a server
    Logout(LogoutArguments),
    /// List, show, repeat and delete runs on a server
    Runs(Box<RunsArguments>),
    /// Print the output of a run
    Logs(LogsArguments),
    /// Cancel runs on a server
    Cancel(RunIdsArguments),
    /// Copy, list, delete and sign objects in a server's storage
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Create, list and revoke the tokens of a project
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// Create, list, change and delete projects
    #[command(subcommand)]
    Projects(ProjectsCommand),
    /// List, export and verify the audit trail
    Audit(Box<AuditArguments>),
    /// Show resource usage by project and day
    Usage(UsageArguments),
    /// Back up this home (the server may keep running)
    Backup(BackupArguments),
    /// Restore a backup into an empty home
    Restore(RestoreArguments),
    /// Check isolation layers, runtimes and start modes, and suggest fixes
    #[command(after_help = DOCTOR_HELP)]
    Doctor(DoctorArguments),
    /// Prove that forked sandboxes share no randomness, descriptors or memory
    ///
    /// The sandboxes are forked exactly as they are for real runs.
    SelfTest(SelfTestArguments),
    /// Measure sandbox start time, throughput and memory on this machine
    Bench(BenchArguments),
    /// Print a shell completion script
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// Shell to complete for
        shell: Shell,
    },
    /// Print the manual page of all commands in roff
    #[command(after_help = MAN_HELP)]
    Man,
    /// Print the reference of all commands in Markdown
    #[command(hide = true)]
    Reference,
}

/// The headings of the help, each with its commands, in the order in which they are shown.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Run programs on this machine", &["run", "env", "mcp"]),
    ("Serve a team", &["serve", "projects", "tokens", "audit", "usage", "backup", "restore"]),
    ("Use a server", &["login", "logout", "runs", "logs", "cancel", "storage"]),
    ("Inspect this machine", &["doctor", "self-test", "bench"]),
    ("Other", &["completions", "man", "help"]),
];
/// The maximum width of help texts, in columns.
const MAX_COLUMNS: usize = 100;

/// Returns the definition of all commands and flags, with a help that lists commands by group.
pub fn belljar() -> clap::Command {
    let command = with_short_help(with_examples(Belljar::command()));
    let columns = terminal_size::terminal_size()
        .map_or(MAX_COLUMNS, |(width, _)| usize::from(width.0))
        .clamp(40, MAX_COLUMNS);
    let mut listed = String::new();
    for (title, names) in GROUPS {
        listed.push_str(&format!("\n{title}:\n"));
        for name in names {
            let about = command
                .find_subcommand(name)
                .and_then(clap::Command::get_about)
                .map(ToString::to_string);
            listed.push_str(&entry(
                name,
                about.as_deref().unwrap_or("Print the help of a command"),
                columns,
            ));
        }
    }
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{listed}\nOptions:\n{{options}}\
         {{after-help}}"
    ))
}

/// Returns an error that suggests only commands that the help shows, and no short forms of them.
pub fn without_aliases(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::Strings(suggested)) = error.get(ContextKind::SuggestedSubcommand) else {
        return error;
    };
    let command = Belljar::command();
    let is_alias = |name: &String| {
        command.get_subcommands().any(|known| known.get_all_aliases().any(|alias| alias == name))
    };
    let named: Vec<String> = suggested.iter().filter(|name| !is_alias(name)).cloned().collect();
    let named = if named.is_empty() { ContextValue::None } else { ContextValue::Strings(named) };
    error.insert(ContextKind::SuggestedSubcommand, named);
    error
}

/// Formats the help line of a command. The lines of a longer summary are aligned with its first.
fn entry(name: &str, about: &str, columns: usize) -> String {
    const INDENT: usize = 16;
    let (mut text, mut column) = (format!("  {name:<width$}", width = INDENT - 3), INDENT - 1);
    for word in about.split(' ') {
        if column + 1 + word.len() > columns {
            text.push_str(&format!("\n{:width$}", "", width = INDENT - 1));
            column = INDENT - 1;
        }
        text.push(' ');
        text.push_str(word);
        column += 1 + word.len();
    }
    text + "\n"
}

/// The values of `--start`.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum StartChoice {
    /// Use the fastest: `exec` on this machine, the server's choice with --remote
    #[default]
    Auto,
    /// Fork a booted runtime
    Fork,
    /// Start a new runtime process
    Exec,
}

/// The arguments of `belljar run`.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// Program file, or `-` for standard input
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Run this code instead of a file
    #[arg(short = 'e', long = "eval", value_name = "CODE", conflicts_with = "file")]
    pub code: Option<String>,
    /// Set the language [default: by file extension or `#!` line]
    #[arg(short, long, value_name = "LANGUAGE")]
    pub language: Option<Language>,
    /// Set the runtime: node, node@22, node@24.21.0, python@3.11
    #[arg(long, value_name = "NAME@VERSION")]
    pub runtime: Option<RuntimeName>,
    /// Arguments of the program, in process.argv or sys.argv
    #[arg(last = true, value_name = "ARGUMENT")]
    pub arguments: Vec<String>,

    /// Set a parameter; VALUE is JSON, or else text (repeatable)
    #[arg(short, long = "param", value_name = "NAME=VALUE", help_heading = "Input")]
    pub params: Vec<String>,
    /// Set all parameters: JSON, or a FILE with JSON (`-`: standard input)
    ///
    /// A value that begins with { or [ is JSON. Other users of this machine can see the arguments
    /// of a command, and one argument has at most 128 KiB: use FILE for secrets and for more.
    #[arg(long = "params", value_name = "JSON|FILE", help_heading = "Input")]
    pub whole_params: Option<String>,
    /// Copy a host file or folder into the working folder (repeatable)
    ///
    /// The copy is called NAME. Without NAME, a relative PATH keeps its path, and one that is
    /// absolute or contains `..` keeps its last part. A folder is copied with all regular files
    /// beneath it; links inside it are left out.
    #[arg(long = "file", value_name = "[NAME=]PATH", help_heading = "Input")]
    pub files: Vec<String>,
    /// Name the program in its working folder [default: its relative path]
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    pub entry: Option<String>,
    /// Read the program's standard input from FILE (`-`: belljar's own)
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub stdin: Option<PathBuf>,

    #[command(flatten)]
    pub policy: PolicyArguments,

    #[command(flatten)]
    pub limits: LimitArguments,

    #[command(flatten)]
    pub packages: PackageArguments,

    /// Return a file in addition to those in outputs/ (repeatable)
    #[arg(long = "output", value_name = "NAME", help_heading = "Output")]
    pub outputs: Vec<String>,
    /// Save the files of outputs/ and displayed images in FOLDER
    ///
    /// Images and other displayed results that are not text are called display-1.png and so on.
    /// Other files that the program leaves in its working folder are saved too, up to 50 files and
    /// 16 MB.
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    pub artifacts: Option<PathBuf>,
    /// Print the outcome as JSON and nothing else
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Print each event as a line of JSON and nothing else
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub events: bool,
    /// Print no notes and no progress, only the output, the value and errors
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Output")]
    pub quiet: bool,
    /// Print the id, the runtime and the resources of the run at its end
    #[arg(short, long, help_heading = "Output")]
    pub verbose: bool,

    /// Exit once the result is available, even if timers or I/O are pending
    #[arg(long, help_heading = "Behaviour")]
    pub settled: bool,
    /// Seed the program's randomness to make it repeatable
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, help_heading = "Behaviour")]
    pub seed: Option<u32>,
    /// Choose how the sandbox is started
    ///
    /// A new process has an address layout of its own. Forks of the same runtime share theirs.
    #[arg(long, value_enum, default_value_t, value_name = "MODE", help_heading = "Behaviour")]
    pub start: StartChoice,
    /// Run even if this machine lacks a layer of isolation
    ///
    /// The outcome lists the missing layers.
    #[arg(long, help_heading = "Behaviour")]
    pub allow_degraded: bool,

    #[command(flatten)]
    pub remote: RemoteRunArguments,
}

/// The flags that grant access, the same for `run` and `mcp`.
#[derive(Args, Debug)]
pub struct PolicyArguments {
    /// Allow reading a host file or folder, at the same path (repeatable)
    #[arg(long, value_name = "PATH", help_heading = "Policy")]
    pub read: Vec<PathBuf>,
    /// Allow reading and writing a host file or folder (repeatable)
    ///
    /// It has the same path in the sandbox.
    #[arg(long, value_name = "PATH", help_heading = "Policy")]
    pub write: Vec<PathBuf>,
    /// Set an environment variable of the program (repeatable)
    ///
    /// NAME alone passes the variable of this shell. Its value is then not visible to other users
    /// of this machine, as arguments are.
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = "Policy")]
    pub env: Vec<String>,
    /// Not available yet: programs have no network
    #[arg(long, value_name = "HOST", hide = true)]
    pub net: Vec<String>,
    /// Allow starting other programs and processes
    #[arg(long, help_heading = "Policy")]
    pub exec: bool,
    /// Provide a network that has only loopback and is not shared
    #[arg(long, help_heading = "Policy")]
    pub loopback: bool,
    /// Read policy, limits and package rules from a JSON file
    ///
    /// The format is {"policy": {...}, "limits": {...}, "packages": {...}}. Flags add to the grants
    /// of the file and replace its limits.
    #[arg(long, value_name = "FILE", help_heading = "Policy")]
    pub policy: Option<PathBuf>,
}

/// The flags that choose the packages of a run.
#[derive(Args, Debug, Default)]
pub struct PackageArguments {
    /// Add a package, such as pandas==2.2 or lodash@4 (repeatable)
    ///
    /// It is installed in addition to those that the program needs.
    #[arg(long = "package", value_name = "PACKAGE", help_heading = "Packages")]
    pub packages: Vec<String>,
    /// Install only the packages given with --package
    ///
    /// The imports and the manifest of the program are ignored.
    #[arg(
        long,
        requires = "packages",
        conflicts_with_all = ["lock", "no_packages"],
        help_heading = "Packages"
    )]
    pub only_packages: bool,
    /// Install exactly the packages of a uv.lock or pnpm-lock.yaml
    #[arg(long, value_name = "FILE", help_heading = "Packages")]
    pub lock: Option<PathBuf>,
    /// Fail if a required package is missing from the lock file
    #[arg(long, help_heading = "Packages")]
    pub frozen: bool,
    #[command(flatten)]
    pub install: InstallArguments,
    /// Install no packages, whatever the program imports
    #[arg(long, conflicts_with_all = ["packages", "lock", "frozen"], help_heading = "Packages")]
    pub no_packages: bool,
}

/// The package options that `run` and `env` share. They select the environment, so both must be
/// given the same ones.
#[derive(Args, Debug, Default)]
pub struct InstallArguments {
    /// Use cached packages only, and download nothing
    #[arg(long, help_heading = "Packages")]
    pub offline: bool,
    /// Allow building packages that have no wheel, and install scripts
    ///
    /// The code of these packages then runs in the installer's jail.
    #[arg(long, help_heading = "Packages")]
    pub allow_build: bool,
    /// Ignore package versions published in the last DAYS days [default: 3]
    #[arg(long, value_name = "DAYS", help_heading = "Packages")]
    pub minimum_release_age: Option<u32>,
}

/// The subcommands of `belljar env`.
#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// Resolve the packages of a program, and print or write their lock file
    Lock(EnvLockArguments),
    /// List the environments on this machine
    List(EnvListArguments),
    /// Show the packages of an environment
    Show(EnvShowArguments),
    /// Build the environment of programs or packages before the first run
    Warm(EnvWarmArguments),
    /// Remove environments that have not been used recently
    ///
    /// Files that no other environment uses are removed with them.
    Gc(EnvGcArguments),
}

/// The arguments of `belljar env lock`.
#[derive(Args, Debug)]
pub struct EnvLockArguments {
    /// Program to resolve packages for
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Write the lock file to FILE [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Set the language [default: by file extension]
    #[arg(short, long, value_name = "LANGUAGE")]
    pub language: Option<Language>,
    /// Set the runtime: node, node@22, python@3.11
    #[arg(long, value_name = "NAME@VERSION")]
    pub runtime: Option<RuntimeName>,
    /// Include another file of the program (repeatable)
    ///
    /// It can be a requirements.txt, a package.json or a module that the program imports.
    #[arg(long = "file", value_name = "[NAME=]PATH")]
    pub files: Vec<String>,
    /// Add a package to those that the program needs (repeatable)
    #[arg(long = "package", value_name = "PACKAGE")]
    pub packages: Vec<String>,
    /// Lock only the packages given with --package
    #[arg(long, requires = "packages")]
    pub only_packages: bool,
    /// Resolve again, even if a lock for the same request is cached
    #[arg(long)]
    pub upgrade: bool,
    #[command(flatten)]
    pub install: InstallArguments,
    /// Read package rules from a JSON file: {"packages": {...}}
    ///
    /// The --policy file of a run works here too.
    #[arg(long, value_name = "FILE", help_heading = "Packages")]
    pub policy: Option<PathBuf>,
}

/// The arguments of `belljar env list`.
#[derive(Args, Debug)]
pub struct EnvListArguments {
    /// Print the environments as JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `belljar env show`.
#[derive(Args, Debug)]
pub struct EnvShowArguments {
    /// Key of the environment, or the first characters of it
    #[arg(value_name = "KEY")]
    pub key: String,
    /// Print the lock file and nothing else
    #[arg(long)]
    pub lock: bool,
    /// Print the environment as JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `belljar env warm`.
#[derive(Args, Debug)]
pub struct EnvWarmArguments {
    /// Programs to build environments for
    #[arg(value_name = "FILE", required_unless_present_any = ["packages", "lock", "common"])]
    pub files: Vec<PathBuf>,
    /// Install a package (repeatable)
    #[arg(long = "package", value_name = "PACKAGE", requires = "language")]
    pub packages: Vec<String>,
    /// Install the packages most used for data work, files and the web
    #[arg(long, conflicts_with_all = ["packages", "lock", "files"])]
    pub common: bool,
    /// Install exactly the packages of a uv.lock or pnpm-lock.yaml
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,
    /// Set the language of the packages or of the lock file
    #[arg(short, long, value_name = "LANGUAGE")]
    pub language: Option<Language>,
    /// Set the runtime: node, node@22, python@3.11
    #[arg(long, value_name = "NAME@VERSION")]
    pub runtime: Option<RuntimeName>,
    #[command(flatten)]
    pub install: InstallArguments,
    /// Read package rules from a JSON file: {"packages": {...}}
    ///
    /// The --policy file of a run works here too.
    #[arg(long, value_name = "FILE", help_heading = "Packages")]
    pub policy: Option<PathBuf>,
    /// Print the environments as JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `belljar env gc`.
#[derive(Args, Debug)]
pub struct EnvGcArguments {
    /// Remove environments that were not used for TIME [default: 30d]
    #[arg(long, value_name = "TIME")]
    pub unused_for: Option<Millis>,
    /// Print what was removed as JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `belljar mcp`.
#[derive(Args, Debug)]
pub struct McpArguments {
    #[command(flatten)]
    pub policy: PolicyArguments,

    #[command(flatten)]
    pub limits: LimitArguments,

    /// Install no packages for any program
    #[arg(long, help_heading = "Packages")]
    pub no_packages: bool,
    /// Allow a package (repeatable) [default: every package]
    ///
    /// In NAME, `*` matches any text.
    #[arg(long = "allow-package", value_name = "NAME", help_heading = "Packages")]
    pub allow_packages: Vec<String>,
    /// Never install a package (repeatable)
    ///
    /// In NAME, `*` matches any text.
    #[arg(long = "block-package", value_name = "NAME", help_heading = "Packages")]
    pub block_packages: Vec<String>,

    /// Run at most NUMBER programs at once [default: twice the processors]
    ///
    /// Further calls wait for their turn. On a server, the default is 64, and the server has a
    /// maximum of its own.
    #[arg(long = "runs-at-a-time", value_name = "NUMBER", help_heading = "Behaviour")]
    pub runs_at_a_time: Option<NonZeroUsize>,
    /// Run even if this machine lacks a layer of isolation
    ///
    /// Each outcome lists the missing layers.
    #[arg(long, help_heading = "Behaviour")]
    pub allow_degraded: bool,

    #[command(flatten)]
    pub remote: RemoteMcpArguments,
}

/// The arguments of `belljar doctor`.
#[derive(Args, Debug)]
pub struct DoctorArguments {
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `belljar self-test`.
#[derive(Args, Debug)]
pub struct SelfTestArguments {
    /// Test this runtime (repeatable) [default: node and python]
    #[arg(
        long = "runtime",
        value_name = "NAME@VERSION",
        default_values = ["node", "python"],
        hide_default_value = true
    )]
    pub runtimes: Vec<RuntimeName>,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `belljar bench`.
#[derive(Args, Debug)]
pub struct BenchArguments {
    /// Measure this runtime (repeatable) [default: node and python]
    #[arg(
        long = "runtime",
        value_name = "NAME@VERSION",
        default_values = ["node", "python"],
        hide_default_value = true
    )]
    pub runtimes: Vec<RuntimeName>,
    /// Set the number of runs of each measurement
    #[arg(long, default_value_t = 500, value_name = "NUMBER")]
    pub runs: u32,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group_of_the_help() {
        let visible: Vec<String> = Belljar::command()
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
            .map(|command| command.get_name().to_owned())
            .collect();
        let grouped: Vec<&str> =
            GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        for name in &visible {
            assert_eq!(grouped.iter().filter(|grouped| **grouped == *name).count(), 1, "{name}");
        }
        assert_eq!(grouped.len(), visible.len() + 1, "`help` is clap's own");
        let help = belljar().render_help().to_string();
        assert!(visible.iter().all(|name| help.contains(&format!("  {name} "))), "{help}");
        Belljar::command().debug_assert();
    }
}

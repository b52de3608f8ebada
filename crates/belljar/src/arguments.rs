//! Every command and flag, defined once: help, completions, manual and reference come from here.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use belljar_protocol::{Bytes, Language, Millis, RuntimeName};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::service_arguments::{
    AuditArguments, BackupArguments, LoginArguments, LogoutArguments, LogsArguments, ProjectsCommand, RemoteRunArguments, RestoreArguments,
    RunIdsArguments, RunsArguments, ServeArguments, StorageCommand, TokensCommand, UsageArguments,
};

/// Run the code that AI agents write, each program in a fresh, deny-by-default kernel sandbox
#[derive(Debug, Parser)]
#[command(name = "belljar", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Belljar {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done. [`GROUPS`] says where each stands in the help.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one program: JavaScript, TypeScript or Python
    #[command(after_help = RUN_HELP, visible_alias = "r")]
    Run(Box<RunArguments>),
    /// Lock, list, warm and remove the environments that programs find their packages in
    #[command(subcommand)]
    Env(EnvCommand),
    /// Serve one AI client over standard input and output, by the Model Context Protocol: its model can run programs
    #[command(after_help = MCP_HELP)]
    Mcp(Box<McpArguments>),
    /// Serve runs, storage and their history to a team, over HTTP
    #[command(after_help = SERVE_HELP)]
    Serve(ServeArguments),
    /// Keep a server's address and a token, for the commands that speak to one
    #[command(after_help = LOGIN_HELP)]
    Login(LoginArguments),
    /// Forget a server's address and token
    Logout(LogoutArguments),
    /// List, show, repeat and delete the runs of a server
    Runs(Box<RunsArguments>),
    /// Print what a run wrote
    Logs(LogsArguments),
    /// Cancel runs
    Cancel(RunIdsArguments),
    /// Copy, list and delete the objects in a server's storage
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Make, list and revoke a project's tokens
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// Make, list, change and delete projects
    #[command(subcommand)]
    Projects(ProjectsCommand),
    /// Read, export and verify the trail of who did what
    Audit(Box<AuditArguments>),
    /// Show what projects used, by day
    Usage(UsageArguments),
    /// Copy this home, while its server goes on
    Backup(BackupArguments),
    /// Make this home, which must be empty, what it was when a backup was taken
    Restore(RestoreArguments),
    /// Look at every layer of isolation, every runtime and start mode, and say how to mend what is missing
    #[command(after_help = "Exit status: 0 when runs work with every layer, 1 when something is degraded, 2 when nothing can run.")]
    Doctor(DoctorArguments),
    /// Fork sandboxes as production does and prove that they share nothing: randomness, descriptors, memory
    SelfTest(SelfTestArguments),
    /// Measure this machine: time to a fresh sandbox, throughput, memory
    Bench(BenchArguments),
    /// Print a completion script for a shell
    #[command(after_help = "Example: belljar completions bash > /etc/bash_completion.d/belljar")]
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Print the manual page, in roff
    #[command(hide = true)]
    Man,
    /// Print the reference of all commands, in Markdown
    #[command(hide = true)]
    Reference,
}

/// The commands in the order of the help, by what they need.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Run programs here", &["run", "env", "mcp"]),
    ("Serve a team", &["serve", "projects", "tokens", "audit", "usage", "backup", "restore"]),
    ("Speak to a server", &["login", "logout", "runs", "logs", "cancel", "storage"]),
    ("Look at this machine", &["doctor", "self-test", "bench"]),
    ("The rest", &["completions", "help"]),
];
/// The widest that help gets.
const MOST_COLUMNS: usize = 100;

/// The commands and flags, with a help that shows the commands in their groups.
pub fn belljar() -> clap::Command {
    let command = Belljar::command();
    let columns = terminal_size::terminal_size().map_or(MOST_COLUMNS, |(width, _)| usize::from(width.0)).clamp(40, MOST_COLUMNS);
    let mut listed = String::new();
    for (title, names) in GROUPS {
        listed.push_str(&format!("\n{title}:\n"));
        for name in names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about).map(ToString::to_string);
            listed.push_str(&entry(name, about.as_deref().unwrap_or("Print the help of a command"), columns));
        }
    }
    command.help_template(format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{listed}\nOptions:\n{{options}}{{after-help}}"))
}

/// A command and what it does, with the lines after the first below the first.
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

const RUN_HELP: &str = "\
Results:
  The value of the run is the first of these that there is: what an exported or defined `main` returns \
  (it is called with the parameters), what `module.exports` was set to, the value of the last expression.
  Standard output and error pass through as they come; the value is printed at the end, as JSON.

Packages are found in what the program imports, locked, installed once and kept; `belljar env` looks \
after them. A manifest rules: PEP 723 in the program, or --file requirements.txt, --file package.json.

Everything is denied unless granted: host files (--read, --write), environment (--env), other programs \
(--exec), a loopback network (--loopback). What was refused is told, with the grant to ask for.

Exit codes:
  0 succeeded          124 timed out            137 out of memory
  1 failed, or what    125 refused: policy or   152 CPU time used up
    the program        limits cannot be had     153 too much output
    exited with        130 cancelled            128+N died of signal N
  2 wrong usage        141 nobody reads its output any more
 70 interrupted: belljar itself failed

Examples:
  belljar run -e '[1, 2, 3].map(n => n * n)' --language js
  belljar run summary.py --file data.csv=sales.csv --param city=Oslo --artifacts out
  cat program.ts | belljar run - --language typescript --memory 128M --timeout 5s --json
  belljar run report.js --remote --object data.csv=inputs/sales.csv --label team=sales";

const MCP_HELP: &str = "\
It needs no server and no configuration. The client starts it, and it ends with the client.

The flags are a ceiling. A call that asks for nothing gets what they grant, and the default limits \
where those are lower. The model can ask for less; more is refused.

Example, as most clients are configured:
  {\"mcpServers\": {\"belljar\": {\"command\": \"belljar\", \"args\": [\"mcp\", \"--read\", \"/data\"]}}}";

const SERVE_HELP: &str = "\
All that it keeps is in its home: $BELLJAR_HOME, by default /var/lib/belljar for root and \
~/.local/share/belljar for others. The first start makes a project and prints a token for it.

It answers on its address to whoever has a token, and on server.sock in its home to its own user, who \
needs none. SIGTERM and Ctrl-C let runs under way end, for at most ten seconds.

Example:
  belljar serve --listen 0.0.0.0:8411 --tls-certificates chain.pem --tls-key key.pem";

const LOGIN_HELP: &str = "\
The token is asked for, or read from standard input where that is no terminal. It is kept in \
~/.config/belljar/profiles.toml, which only this user may read.

Which server a command speaks to: the one of --server or --profile; else of $BELLJAR_URL; else of the \
profile `default`; else the one of this home, over its socket, as its operator. $BELLJAR_TOKEN goes \
before a kept token, but not before that of --profile.

Examples:
  belljar login https://belljar.example.com
  belljar login https://staging.example.com --profile staging < token.txt";

/// A choice of start.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum StartChoice {
    /// A process of its own: for a single run the quickest
    #[default]
    Auto,
    /// A fork of a zygote
    Fork,
    /// A runtime process of its own, with an address layout of its own
    Exec,
}

/// `belljar run`.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// The program: a file, or `-` for standard input
    #[arg(required_unless_present = "code", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The program itself
    #[arg(short = 'e', long = "eval", value_name = "CODE", conflicts_with = "file")]
    pub code: Option<String>,
    /// Its language; otherwise the file's extension or its first line (`#!`) tells it
    #[arg(short, long, value_name = "LANGUAGE")]
    pub language: Option<Language>,
    /// The runtime: node, node@22, node@24.21.0, python@3.11
    #[arg(long, value_name = "NAME@VERSION")]
    pub runtime: Option<RuntimeName>,
    /// What follows the program in process.argv or sys.argv
    #[arg(last = true, value_name = "ARGUMENT")]
    pub arguments: Vec<String>,

    /// A parameter: VALUE is JSON if it can be, else text. May be repeated
    #[arg(short, long = "param", value_name = "NAME=VALUE", help_heading = "Input")]
    pub params: Vec<String>,
    /// All parameters, JSON, from a file or `-`
    #[arg(long = "params", value_name = "FILE", help_heading = "Input")]
    pub params_file: Option<PathBuf>,
    /// A file that the run starts with: a copy of PATH as NAME in its working folder; a relative PATH alone is its own NAME. May be repeated
    #[arg(long = "file", value_name = "[NAME=]PATH", help_heading = "Input")]
    pub files: Vec<String>,
    /// Name the program this in its working folder [default: its relative path]
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    pub entry: Option<String>,
    /// What its standard input gives: a file, or `-` for belljar's own
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub stdin: Option<PathBuf>,

    /// What it may touch
    #[command(flatten)]
    pub policy: PolicyArguments,

    /// What it may use
    #[command(flatten)]
    pub limits: LimitArguments,

    /// What packages it has
    #[command(flatten)]
    pub packages: PackageArguments,

    /// A file to hand back besides those in outputs/. May be repeated
    #[arg(long = "output", value_name = "NAME", help_heading = "Output")]
    pub outputs: Vec<String>,
    /// Save the files of outputs/ in this folder, and others that it leaves, up to 50 and 16 MB
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    pub artifacts: Option<PathBuf>,
    /// Print the whole outcome as JSON, and nothing else
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Print each event as it comes, a JSON object a line, and nothing else
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub events: bool,

    /// Be done as soon as the result is settled, whatever is still pending
    #[arg(long, help_heading = "Behaviour")]
    pub settled: bool,
    /// Make its randomness repeatable
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, help_heading = "Behaviour")]
    pub seed: Option<u32>,
    /// How its sandbox comes to be
    #[arg(long, value_enum, default_value_t, value_name = "MODE", help_heading = "Behaviour")]
    pub start: StartChoice,
    /// Run even where this machine lacks a layer of isolation; the outcome says which
    #[arg(long, help_heading = "Behaviour")]
    pub allow_degraded: bool,

    /// Where it runs
    #[command(flatten)]
    pub remote: RemoteRunArguments,
}

/// What programs may touch: the same flags wherever that is said.
#[derive(Args, Debug)]
pub struct PolicyArguments {
    /// Let it read a host file or folder, at the same path. May be repeated
    #[arg(long, value_name = "PATH", help_heading = "Policy")]
    pub read: Vec<PathBuf>,
    /// Let it read and write a host file or folder, at the same path. May be repeated
    #[arg(long, value_name = "PATH", help_heading = "Policy")]
    pub write: Vec<PathBuf>,
    /// An environment variable of the program. May be repeated
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Policy")]
    pub env: Vec<String>,
    /// Let it start other programs and processes
    #[arg(long, help_heading = "Policy")]
    pub exec: bool,
    /// Give it a network of its own with nothing but loopback
    #[arg(long, help_heading = "Policy")]
    pub loopback: bool,
    /// Policy and limits from a JSON file: {"policy": {...}, "limits": {...}, "packages": {...}}. Flags add to the one and replace the other
    #[arg(long, value_name = "FILE", help_heading = "Policy")]
    pub policy: Option<PathBuf>,
}

/// The packages of a program: the same flags wherever that is said.
#[derive(Args, Debug, Default)]
pub struct PackageArguments {
    /// A package of the registry: pandas==2.2, lodash@4. Then what the program imports is not looked for. May be repeated
    #[arg(long = "package", value_name = "PACKAGE", help_heading = "Packages")]
    pub packages: Vec<String>,
    /// Install exactly what this lock says: a uv.lock or pnpm-lock.yaml
    #[arg(long, value_name = "FILE", help_heading = "Packages")]
    pub lock: Option<PathBuf>,
    /// Refuse what no lock names
    #[arg(long, help_heading = "Packages")]
    pub frozen: bool,
    /// How they are had
    #[command(flatten)]
    pub install: InstallArguments,
    /// Look for no packages, whatever the program imports
    #[arg(long, conflicts_with_all = ["packages", "lock", "frozen"], help_heading = "Packages")]
    pub no_packages: bool,
}

/// How packages are had: the same flags for a run and for what is made ahead of it, as another answer leads to another environment.
#[derive(Args, Debug, Default)]
pub struct InstallArguments {
    /// Fetch no packages: only what is in the cache
    #[arg(long, help_heading = "Packages")]
    pub offline: bool,
    /// Let packages that come without a wheel be built, and run install scripts: their own code then runs in the installer's jail
    #[arg(long, help_heading = "Packages")]
    pub allow_build: bool,
    /// Versions that are younger do not count [default: 3]
    #[arg(long, value_name = "DAYS", help_heading = "Packages")]
    pub minimum_release_age: Option<u32>,
}

/// `belljar env`.
#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// Find a program's packages and print, or write, their lock
    Lock(EnvLockArguments),
    /// List the environments of this machine
    List(EnvListArguments),
    /// Show what is in an environment
    Show(EnvShowArguments),
    /// Make the environment of a program, or of packages, ahead of its first run
    Warm(EnvWarmArguments),
    /// Remove environments that were not used for a while, and what only they held
    Gc(EnvGcArguments),
}

/// `belljar env lock`.
#[derive(Args, Debug)]
pub struct EnvLockArguments {
    /// The program
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where to write the lock [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Its language; otherwise the file's extension tells it
    #[arg(short, long, value_name = "LANGUAGE")]
    pub language: Option<Language>,
    /// The runtime: node, node@22, python@3.11
    #[arg(long, value_name = "NAME@VERSION")]
    pub runtime: Option<RuntimeName>,
    /// A file beside it: requirements.txt, package.json, a module of its own. May be repeated
    #[arg(long = "file", value_name = "[NAME=]PATH")]
    pub files: Vec<String>,
    /// A package. Then what the program imports is not looked for. May be repeated
    #[arg(long = "package", value_name = "PACKAGE")]
    pub packages: Vec<String>,
    /// Resolve anew, although the same request led to a lock before
    #[arg(long)]
    pub upgrade: bool,
    /// How they are had
    #[command(flatten)]
    pub install: InstallArguments,
    /// What of packages is allowed, from the file that a run has as its --policy: {"packages": {...}}
    #[arg(long, value_name = "FILE", help_heading = "Packages")]
    pub policy: Option<PathBuf>,
}

/// `belljar env list`.
#[derive(Args, Debug)]
pub struct EnvListArguments {
    /// Print them as JSON
    #[arg(long)]
    pub json: bool,
}

/// `belljar env show`.
#[derive(Args, Debug)]
pub struct EnvShowArguments {
    /// Its key, or the beginning of it
    #[arg(value_name = "KEY")]
    pub key: String,
    /// Print its lock, and nothing else
    #[arg(long)]
    pub lock: bool,
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

/// `belljar env warm`.
#[derive(Args, Debug)]
pub struct EnvWarmArguments {
    /// Programs whose packages are to be there
    #[arg(value_name = "FILE", required_unless_present_any = ["packages", "lock"])]
    pub files: Vec<PathBuf>,
    /// A package. May be repeated
    #[arg(long = "package", value_name = "PACKAGE", requires = "language")]
    pub packages: Vec<String>,
    /// Exactly what this lock says: a uv.lock or pnpm-lock.yaml
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,
    /// The language of the packages, or of the lock
    #[arg(short, long, value_name = "LANGUAGE")]
    pub language: Option<Language>,
    /// The runtime: node, node@22, python@3.11
    #[arg(long, value_name = "NAME@VERSION")]
    pub runtime: Option<RuntimeName>,
    /// How they are had
    #[command(flatten)]
    pub install: InstallArguments,
    /// What of packages is allowed, from the file that a run has as its --policy: {"packages": {...}}
    #[arg(long, value_name = "FILE", help_heading = "Packages")]
    pub policy: Option<PathBuf>,
    /// Print what was made as JSON
    #[arg(long)]
    pub json: bool,
}

/// `belljar env gc`.
#[derive(Args, Debug)]
pub struct EnvGcArguments {
    /// Remove what was not used for so long [default: 30d]
    #[arg(long, value_name = "TIME")]
    pub unused_for: Option<Millis>,
    /// Print what went as JSON
    #[arg(long)]
    pub json: bool,
}

/// What programs may use: the same flags wherever that is said.
#[derive(Args, Debug)]
pub struct LimitArguments {
    /// Memory of all its processes [default: 256M]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, help_heading = "Limits")]
    pub memory: Option<Bytes>,
    /// CPU time of all its processes [default: 10s]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = "Limits")]
    pub cpu: Option<Millis>,
    /// Wall-clock time [default: 30s]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = "Limits")]
    pub timeout: Option<Millis>,
    /// Processes and threads at one time [default: 64]
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, help_heading = "Limits")]
    pub processes: Option<u32>,
    /// What it can write to /tmp and its home, and as much again to granted folders [default: 64M]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, help_heading = "Limits")]
    pub disk: Option<Bytes>,
    /// Files that it can make there, and as many again in granted folders [default: 10000]
    #[arg(long = "max-files", value_name = "NUMBER", allow_hyphen_values = true, help_heading = "Limits")]
    pub max_files: Option<u32>,
    /// Standard output, standard error and displayed results together [default: 1M]
    #[arg(long = "output-limit", value_name = "SIZE", allow_hyphen_values = true, help_heading = "Limits")]
    pub output_limit: Option<Bytes>,
    /// Open files of each process [default: 256]
    #[arg(long = "open-files", value_name = "NUMBER", allow_hyphen_values = true, help_heading = "Limits")]
    pub open_files: Option<u32>,
    /// The result, as JSON [default: 10M]
    #[arg(long = "result-limit", value_name = "SIZE", allow_hyphen_values = true, help_heading = "Limits")]
    pub result_limit: Option<Bytes>,
}

/// `belljar mcp`.
#[derive(Args, Debug)]
pub struct McpArguments {
    /// The most that programs may touch
    #[command(flatten)]
    pub policy: PolicyArguments,

    /// The most that programs may use
    #[command(flatten)]
    pub limits: LimitArguments,

    /// Let no program have packages
    #[arg(long, help_heading = "Packages")]
    pub no_packages: bool,
    /// A package that programs may ask for; `*` stands for any text. May be repeated [default: every package]
    #[arg(long = "allow-package", value_name = "NAME", help_heading = "Packages")]
    pub allow_packages: Vec<String>,
    /// A package that is never installed; `*` stands for any text. May be repeated
    #[arg(long = "block-package", value_name = "NAME", help_heading = "Packages")]
    pub block_packages: Vec<String>,

    /// Programs that run at the same time; further calls wait [default: twice the processors]
    #[arg(long = "runs-at-a-time", value_name = "NUMBER", help_heading = "Behaviour")]
    pub runs_at_a_time: Option<NonZeroUsize>,
    /// Run even where this machine lacks a layer of isolation; the outcome says which
    #[arg(long, help_heading = "Behaviour")]
    pub allow_degraded: bool,
}

/// `belljar doctor`.
#[derive(Args, Debug)]
pub struct DoctorArguments {
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// `belljar self-test`.
#[derive(Args, Debug)]
pub struct SelfTestArguments {
    /// Test only this runtime. May be repeated [default: node and python]
    #[arg(long = "runtime", value_name = "NAME@VERSION")]
    pub runtimes: Vec<RuntimeName>,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// `belljar bench`.
#[derive(Args, Debug)]
pub struct BenchArguments {
    /// Measure only this runtime. May be repeated [default: node and python]
    #[arg(long = "runtime", value_name = "NAME@VERSION")]
    pub runtimes: Vec<RuntimeName>,
    /// Runs of each measurement
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
    fn every_command_stands_in_one_group_of_the_help() {
        let visible: Vec<String> = Belljar::command()
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
            .map(|command| command.get_name().to_owned())
            .collect();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        for name in &visible {
            assert_eq!(grouped.iter().filter(|grouped| **grouped == *name).count(), 1, "{name}");
        }
        assert_eq!(grouped.len(), visible.len() + 1, "`help` is clap's own");
        let help = belljar().render_help().to_string();
        assert!(visible.iter().all(|name| help.contains(&format!("  {name} "))), "{help}");
        Belljar::command().debug_assert();
    }
}

//! The definitions of `belljar serve` and of the commands and flags that use a server.

#![allow(clippy::doc_markdown, reason = "these comments are help texts")]

use std::path::PathBuf;
use std::str::FromStr;

use belljar_protocol::{
    AuditOrder, Bytes, Language, Millis, ProjectName, RunIdPrefix, RunState, Scope, Timestamp,
    UsageGroup,
};
use clap::{Args, Subcommand};

/// The arguments of `belljar serve`.
#[derive(Args, Debug, Default)]
pub struct ServeArguments {
    /// Listen on ADDRESS:PORT or localhost:PORT [default: 127.0.0.1:8411]
    ///
    /// `localhost:8411` listens on 127.0.0.1 and on ::1. Port 0 selects a free port. With "", the
    /// server listens on the socket in its home only.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Listen on this port of the configured address, or of 127.0.0.1
    #[arg(long, value_name = "NUMBER", conflicts_with = "listen")]
    pub port: Option<u16>,
    /// Read the configuration from FILE
    ///
    /// [default: belljar.toml in the home, or else /etc/belljar/belljar.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Serve HTTPS only, with this chain of certificates (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_certificates: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Run even if this machine lacks a layer of isolation
    ///
    /// Each outcome lists the missing layers.
    #[arg(long)]
    pub allow_degraded: bool,
}

/// The flags that choose a server and a project.
#[derive(Args, Clone, Debug, Default)]
pub struct ServerArguments {
    /// Use this server: a URL, or unix:PATH of its socket
    ///
    /// [default: $BELLJAR_URL, or else the profile `default`, or else the server of this home]
    #[arg(long, value_name = "URL", help_heading = "Server")]
    pub server: Option<String>,
    /// Use the server and token saved by `belljar login --profile NAME`
    #[arg(long, value_name = "NAME", conflicts_with = "server", help_heading = "Server")]
    pub profile: Option<ProfileName>,
    /// Use this project, as the operator over the socket [default: default]
    ///
    /// It cannot be set for a token, which belongs to one project.
    #[arg(long, value_name = "NAME", help_heading = "Server")]
    pub project: Option<ProjectName>,
}

impl ServerArguments {
    /// Returns whether a flag chooses a server or a project.
    pub fn is_given(&self) -> bool {
        self.server.is_some() || self.profile.is_some() || self.project.is_some()
    }
}

/// The flags that choose a server and the format of the answer.
#[derive(Args, Clone, Debug, Default)]
pub struct AskArguments {
    #[command(flatten)]
    pub server: ServerArguments,
    /// Print the answer as JSON and nothing else
    #[arg(long)]
    pub json: bool,
}

/// The flags of `belljar run` for a run on a server.
#[derive(Args, Debug)]
pub struct RemoteRunArguments {
    /// Run on a server; implied by --server, --profile and --project
    #[arg(long, help_heading = "Server")]
    pub remote: bool,
    #[command(flatten)]
    pub server: ServerArguments,
    /// Print the id of the run and do not wait for its end
    #[arg(long, help_heading = "Server", conflicts_with_all = ["artifacts", "events"])]
    pub detach: bool,
    /// Label the run, to find it by (repeatable)
    #[arg(long = "label", value_name = "NAME=VALUE", help_heading = "Server")]
    pub labels: Vec<String>,
    /// Add a comment that listings show
    #[arg(long, value_name = "TEXT", help_heading = "Server")]
    pub comment: Option<String>,
    /// Copy an object from storage into the working folder (repeatable)
    #[arg(long = "object", value_name = "[NAME=]OBJECT", help_heading = "Server")]
    pub objects: Vec<String>,
    /// Allow listing and downloading objects by name prefix (repeatable)
    ///
    /// If no access is granted at all, the run may use everything that its project allows.
    #[arg(long = "storage-read", value_name = "PREFIX", help_heading = "Server")]
    pub storage_read: Vec<String>,
    /// Allow uploading and deleting objects by name prefix (repeatable)
    #[arg(long = "storage-write", value_name = "PREFIX", help_heading = "Server")]
    pub storage_write: Vec<String>,
    /// Maximum attempts if the run is interrupted or crashes
    #[arg(long, value_name = "NUMBER", help_heading = "Server")]
    pub attempts: Option<u32>,
}

/// The flags of `belljar mcp` for runs on a server.
#[derive(Args, Debug)]
pub struct RemoteMcpArguments {
    /// Run programs on a server; implied by --server, --profile and --project
    ///
    /// The flags for policy and limits bound what calls can request of the server. Paths are those
    /// of the server's machine.
    #[arg(long, help_heading = "Server")]
    pub remote: bool,
    #[command(flatten)]
    pub server: ServerArguments,
    /// Label each run, in addition to client=mcp (repeatable)
    #[arg(long = "label", value_name = "NAME=VALUE", help_heading = "Server")]
    pub labels: Vec<String>,
    /// Allow listing and downloading objects by name prefix (repeatable)
    #[arg(long = "storage-read", value_name = "PREFIX", help_heading = "Server")]
    pub storage_read: Vec<String>,
    /// Allow uploading and deleting objects by name prefix (repeatable)
    #[arg(long = "storage-write", value_name = "PREFIX", help_heading = "Server")]
    pub storage_write: Vec<String>,
}

/// The arguments of `belljar login`.
#[derive(Args, Debug)]
pub struct LoginArguments {
    /// URL of the server [default: $BELLJAR_URL or http://127.0.0.1:8411]
    pub url: Option<String>,
    /// Save the server under this name
    ///
    /// Commands without --profile use the profile `default`.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: ProfileName,
    /// Print the saved profile, without its token, as JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `belljar logout`.
#[derive(Args, Debug)]
pub struct LogoutArguments {
    /// Profile to remove
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: ProfileName,
    /// Print the removed profile, without its token, as JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `belljar runs`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RunsArguments {
    #[command(subcommand)]
    pub command: Option<RunsCommand>,
    #[command(flatten)]
    pub list: ListRunsArguments,
}

/// The subcommands of `belljar runs`.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List runs, newest first
    #[command(visible_alias = "ls")]
    List(ListRunsArguments),
    /// Show the outcome, policy, limits and usage of a run
    Show(RunIdArguments),
    /// Print the program of a run as it was submitted
    ///
    /// On a terminal, control characters are escaped. In a file or a pipe, the program is the same
    /// byte for byte.
    #[command(after_help = CODE_HELP)]
    Code(CodeArguments),
    /// List or save the artifacts of a run
    Artifacts(ArtifactsArguments),
    /// Repeat a run as a new run
    Rerun(RerunArguments),
    /// Delete finished runs with their logs and artifacts
    Rm(RunIdsArguments),
}

/// The arguments of `belljar runs list`.
#[derive(Args, Debug)]
pub struct ListRunsArguments {
    /// List runs in this state: queued, running, failed, ... (repeatable)
    #[arg(long = "status", value_name = "STATE")]
    pub states: Vec<RunState>,
    /// List runs in this language: js, ts or py
    #[arg(long)]
    pub language: Option<Language>,
    /// List runs that have this label (repeatable)
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
    /// List runs of this token (name or id), or of `operator`
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// List runs accepted at or after WHEN
    ///
    /// WHEN is 2026-01-02, 2026-01-02T03:04:05Z, `today`, `yesterday`, or a time before now, such
    /// as 30m, 2h or 7d. Days begin at midnight UTC.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// List runs accepted before WHEN
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
    /// List runs with this text in their comment or program
    #[arg(long)]
    pub text: Option<String>,
    /// Maximum number of runs to list
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    pub limit: usize,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The arguments of a command for one run.
#[derive(Args, Debug)]
pub struct RunIdArguments {
    /// Id of the run, or its first characters: at least 6 after `run_`
    pub id: RunIdPrefix,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The arguments of `belljar runs rerun`.
#[derive(Args, Debug)]
pub struct RerunArguments {
    /// Id of the run, or its first characters: at least 6 after `run_`
    pub id: RunIdPrefix,
    /// Set an environment variable that the run had (repeatable)
    ///
    /// The server does not keep the values, so all of them must be given again. NAME alone passes
    /// the variable of this shell.
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The arguments of a command for several runs.
#[derive(Args, Debug)]
pub struct RunIdsArguments {
    /// Ids of the runs, or their first characters: at least 6 after `run_`
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<RunIdPrefix>,
    #[command(flatten)]
    pub ask: AskArguments,
}

const CODE_HELP: &str = "\
Examples:
  belljar runs code run_01a0b1c2d3e47f008a1b2c3d4e5f6071 > main.py
  belljar runs code run_01a0b1c2d3e47f008a1b2c3d4e5f6071 --file data.csv
  belljar runs code run_01a0b1c2d3e47f008a1b2c3d4e5f6071 --to code";

/// The arguments of `belljar runs code`.
#[derive(Args, Debug)]
pub struct CodeArguments {
    /// Id of the run, or its first characters: at least 6 after `run_`
    pub id: RunIdPrefix,
    /// Print this file, which was submitted with the program
    #[arg(long, value_name = "NAME", conflicts_with_all = ["to", "json"])]
    pub file: Option<String>,
    /// Save the program and the files submitted with it in FOLDER
    ///
    /// Files that the run copied from storage are not saved.
    #[arg(long, value_name = "FOLDER")]
    pub to: Option<PathBuf>,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The arguments of `belljar runs artifacts`.
#[derive(Args, Debug)]
pub struct ArtifactsArguments {
    /// Id of the run, or its first characters: at least 6 after `run_`
    pub id: RunIdPrefix,
    /// Save the files in FOLDER
    #[arg(long, value_name = "FOLDER")]
    pub to: Option<PathBuf>,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The arguments of `belljar logs`.
#[derive(Args, Debug)]
pub struct LogsArguments {
    /// Id of the run, or its first characters: at least 6 after `run_`
    pub id: RunIdPrefix,
    /// Follow the output until the run ends
    #[arg(short, long)]
    pub follow: bool,
    /// Print the time and level of each line
    #[arg(short, long)]
    pub timestamps: bool,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The subcommands of `belljar storage`.
#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Copy files to storage, from storage or within it
    #[command(
        after_help = CP_HELP,
        override_usage = "belljar storage cp [OPTIONS] <SOURCE>... <DESTINATION>"
    )]
    Cp(CpArguments),
    /// List objects in storage
    Ls(LsArguments),
    /// Delete objects from storage
    Rm(RmArguments),
    /// Write objects to standard output
    Cat(CatArguments),
    /// Create a URL that gives access to an object without a token
    Sign(SignArguments),
}

const CP_HELP: &str = "\
Names in storage are written obj:NAME. Every other path is a local file, and -
is standard input or output. A destination that ends in / (and obj: itself) is a
folder, in which the copy keeps the name of its source. An existing object or
file is replaced once the copy is complete and its SHA-256 matches the source.

With -r, the files of a folder or the objects under a prefix are copied under
the destination. Symbolic links are not followed, neither in the source folder
nor in the destination folder.

Examples:
  belljar storage cp sales.csv obj:inputs/
  belljar storage cp -r obj:outputs/ results
  pg_dump shop | belljar storage cp - obj:dumps/shop.sql
  belljar storage cp obj:inputs/sales.csv obj:archive/sales.csv";

/// The arguments of `belljar storage cp`.
#[derive(Args, Debug)]
pub struct CpArguments {
    /// Sources, then the destination: obj:NAME, a local file, or `-`
    #[arg(num_args = 2.., required = true, value_names = ["SOURCE", "DESTINATION"])]
    pub paths: Vec<String>,
    /// Copy everything under a folder or prefix
    #[arg(short, long)]
    pub recursive: bool,
    /// Fail instead of replacing an object
    #[arg(long)]
    pub only_new: bool,
    /// Set the media type of uploads [default: by file extension]
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The arguments of `belljar storage ls`.
#[derive(Args, Debug)]
pub struct LsArguments {
    /// List objects whose names begin with PREFIX
    #[arg(default_value = "")]
    pub prefix: String,
    /// Maximum number of objects to list [default: all]
    #[arg(long, value_name = "NUMBER")]
    pub limit: Option<usize>,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The arguments of `belljar storage rm`.
#[derive(Args, Debug)]
pub struct RmArguments {
    /// Names of the objects
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Delete all objects whose names begin with NAME
    #[arg(short, long)]
    pub recursive: bool,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The arguments of `belljar storage cat`.
#[derive(Args, Debug)]
pub struct CatArguments {
    /// Names of the objects
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    #[command(flatten)]
    pub server: ServerArguments,
}

/// The arguments of `belljar storage sign`.
#[derive(Args, Debug)]
pub struct SignArguments {
    /// Name of the object
    pub name: String,
    /// Create a URL for an upload instead of a download
    #[arg(long)]
    pub put: bool,
    /// Expire the URL after TIME, at most 7d
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub expires: Millis,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The subcommands of `belljar tokens`.
#[derive(Debug, Subcommand)]
pub enum TokensCommand {
    /// Create a token and print it, which is done only this once
    Create(CreateTokenArguments),
    /// List the tokens of the project, newest first
    #[command(visible_alias = "ls")]
    List(AskArguments),
    /// Revoke a token immediately
    Revoke(RevokeTokenArguments),
}

/// The arguments of `belljar tokens create`.
#[derive(Args, Debug)]
pub struct CreateTokenArguments {
    /// Name of the token, such as its purpose
    pub name: String,
    /// Allow run, read, storage, secrets or admin (repeatable)
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
    pub scopes: Vec<Scope>,
    /// Expire the token after TIME, such as 12h or 30d [default: never]
    #[arg(long, value_name = "TIME")]
    pub expires: Option<Millis>,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The arguments of `belljar tokens revoke`.
#[derive(Args, Debug)]
pub struct RevokeTokenArguments {
    /// Id of the token, as shown by `belljar tokens list`
    pub id: String,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The subcommands of `belljar projects`.
#[derive(Debug, Subcommand)]
pub enum ProjectsCommand {
    /// Create a project
    Create(SetProjectArguments),
    /// List all projects
    #[command(visible_alias = "ls")]
    List(AskArguments),
    /// Show the ceiling and quotas in force for a project
    ///
    /// They include the defaults and what the server itself allows. With --json, `settings` are
    /// those of the project alone, and `in_force` is what results from them.
    Show(ProjectArguments),
    /// Change the ceiling and quotas of a project
    ///
    /// Settings that are not given keep their values.
    Set(SetProjectArguments),
    /// Delete a project with its runs, objects and tokens
    Rm(RemoveProjectArguments),
}

/// The arguments of a command for one project.
#[derive(Args, Debug)]
pub struct ProjectArguments {
    /// Name of the project
    pub name: ProjectName,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The arguments of `belljar projects rm`.
#[derive(Args, Debug)]
pub struct RemoveProjectArguments {
    /// Name of the project
    pub name: ProjectName,
    /// Skip the confirmation prompt
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The arguments of `belljar projects create` and `set`.
#[derive(Args, Debug)]
pub struct SetProjectArguments {
    /// Name of the project
    pub name: ProjectName,
    /// Read the ceiling for the project's runs from a JSON file
    ///
    /// The format is {"policy": {...}, "limits": {...}, "packages": {...}}.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Maximum concurrent runs, or `none`
    #[arg(long, value_name = "NUMBER")]
    pub quota_concurrent_runs: Option<Quota<u32>>,
    /// Maximum CPU time per day, such as 90m or 4h, or `none`
    #[arg(long, value_name = "TIME")]
    pub quota_cpu_per_day: Option<Quota<Millis>>,
    /// Maximum bytes in storage, such as 10G, or `none`
    #[arg(long, value_name = "SIZE")]
    pub quota_storage: Option<Quota<Bytes>>,
    /// Maximum number of objects and artifacts in storage
    ///
    /// `none` restores the default: one for each 4 KB of the storage quota, but at least 1,000, or
    /// 100,000 if there is no storage quota.
    #[arg(long, value_name = "NUMBER")]
    pub quota_objects: Option<Quota<u64>>,
    /// Maximum bytes of run history, such as 10G
    ///
    /// `none` restores the default of 1 GB.
    #[arg(long, value_name = "SIZE")]
    pub quota_history: Option<Quota<Bytes>>,
    /// Maximum requests per second, or `none`
    #[arg(long, value_name = "NUMBER")]
    pub quota_requests_per_second: Option<Quota<u32>>,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The arguments of `belljar audit`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AuditArguments {
    #[command(subcommand)]
    pub command: Option<AuditCommand>,
    #[command(flatten)]
    pub list: ListAuditArguments,
}

/// The subcommands of `belljar audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Verify the hash of every entry of the trail
    #[command(after_help = "Exit status: 0 if the trail is intact, 1 if it is broken.")]
    Verify(AskArguments),
}

/// The arguments of `belljar audit`.
#[derive(Args, Debug)]
pub struct ListAuditArguments {
    /// List actions of this token (name or id), or of `operator`
    ///
    /// It can also be the id of a run whose program acted, `belljar` (the server itself),
    /// `anonymous` or `signed-url`.
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
    /// List this action, or all with this prefix, such as run.
    #[arg(long)]
    pub action: Option<String>,
    /// List actions on this id or name
    #[arg(long)]
    pub target: Option<String>,
    /// List actions at or after WHEN
    ///
    /// WHEN is 2026-01-02, 2026-01-02T03:04:05Z, `today`, `yesterday`, or a time before now, such
    /// as 30m, 2h or 7d. Days begin at midnight UTC.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// List actions before WHEN
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
    /// Include all projects and server events
    #[arg(long)]
    pub all: bool,
    /// List the `latest` or the `oldest` entries first
    #[arg(long, default_value = "latest", conflicts_with = "export")]
    pub order: AuditOrder,
    /// Maximum number of entries to list
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub limit: usize,
    /// Write all entries with their hashes to FILE (`-`: standard output)
    ///
    /// Each line is one JSON object, the oldest first. The other filters apply.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["limit", "json"])]
    pub export: Option<PathBuf>,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The arguments of `belljar usage`.
#[derive(Args, Debug)]
pub struct UsageArguments {
    /// Include all projects
    #[arg(long)]
    pub all: bool,
    /// First day to show, such as 2026-01-02
    #[arg(long, value_name = "DAY")]
    pub since: Option<String>,
    /// Last day to show
    #[arg(long, value_name = "DAY")]
    pub until: Option<String>,
    /// Show one row per day for each `project` or each `token`
    #[arg(long, value_name = "GROUP", default_value = "project")]
    pub by: UsageGroup,
    #[command(flatten)]
    pub ask: AskArguments,
}

/// The arguments of `belljar backup`.
#[derive(Args, Debug)]
pub struct BackupArguments {
    /// Write the backup to FOLDER, which must be empty or not exist
    #[arg(long, value_name = "FOLDER")]
    pub to: PathBuf,
    /// Write the key of the home to FILE
    ///
    /// Keep the key apart from the backup. With both, anyone can sign as the server.
    #[arg(long, value_name = "FILE")]
    pub key_to: PathBuf,
    /// Read the configuration from FILE [default: as for serve]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the counts of what was copied as JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `belljar restore`.
#[derive(Args, Debug)]
pub struct RestoreArguments {
    /// Folder of the backup
    #[arg(value_name = "FOLDER")]
    pub from: PathBuf,
    /// Key file that was written with the backup
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Read the configuration from FILE [default: as for serve]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the counts of what was copied as JSON
    #[arg(long)]
    pub json: bool,
}

/// A profile name: letters, digits, `-`, `_` and `.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileName(pub String);

impl FromStr for ProfileName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if is_plain {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected 1 to 64 letters, digits, `-`, `_` and `.`")
        }
    }
}

/// A point in time, given as a day, a timestamp, or a duration before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When(pub Timestamp);

impl FromStr for When {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let day = || format!("{text}T00:00:00Z").parse::<Timestamp>();
        if let Ok(moment) = text.parse::<Timestamp>().or_else(|_| day()) {
            return Ok(Self(moment));
        }
        let now = Timestamp::now();
        let midnight = now.unix_ms() - now.unix_ms().rem_euclid(DAY_MS);
        match text {
            "today" => return Ok(Self(Timestamp::from_unix_ms(midnight))),
            "yesterday" => return Ok(Self(Timestamp::from_unix_ms(midnight - DAY_MS))),
            _ => {}
        }
        // A plain number could be seconds or an incomplete date.
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(WHEN);
        }
        let Millis(ago) = text.parse().map_err(|_| WHEN)?;
        Ok(Self(Timestamp::from_unix_ms(now.unix_ms().saturating_sub_unsigned(ago))))
    }
}

const DAY_MS: i64 = 24 * 3600 * 1000;

const WHEN: &str = "expected a day such as 2026-01-02, a time such as 2026-01-02T03:04:05Z, \
                    `today`, `yesterday`, or a time before now such as 30m, 2h or 7d";

/// A quota, or `none` for no quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota<T>(pub Option<T>);

impl<T: FromStr> FromStr for Quota<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|bound| Self(Some(bound))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_given_in_one_of_three_ways() {
        let moment = |text: &str| text.parse::<When>().map(|When(moment)| moment);
        assert_eq!(moment("2026-01-02").unwrap().to_string(), "2026-01-02T00:00:00.000Z");
        assert_eq!(
            moment("2026-01-02T03:04:05+01:00").unwrap().to_string(),
            "2026-01-02T02:04:05.000Z"
        );
        let before = Timestamp::now().unix_ms();
        let two_days_ago = moment("2d").unwrap().unix_ms();
        let after = Timestamp::now().unix_ms();
        let expected = before - 172_800_000..=after - 172_800_000;
        assert!(expected.contains(&two_days_ago), "{two_days_ago} is not in {expected:?}");
        let midnight = moment("today").unwrap();
        assert!(midnight.to_string().ends_with("T00:00:00.000Z"), "{midnight}");
        assert_eq!(midnight.unix_ms() - moment("yesterday").unwrap().unix_ms(), DAY_MS);
        for bad in ["", "2026", "monday", "-2h"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}

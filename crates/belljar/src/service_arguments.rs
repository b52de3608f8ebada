//! The commands and flags of the server, and of those that speak to one.

#![allow(clippy::doc_markdown, reason = "these are the words of the help, not documentation")]

use std::path::PathBuf;
use std::str::FromStr;

use belljar_protocol::{Bytes, Millis, ProjectName, RunId, RunState, Scope, Timestamp};
use clap::{Args, Subcommand};

/// `belljar serve`.
#[derive(Args, Debug, Default)]
pub struct ServeArguments {
    /// Listen on this address and port, or on localhost and a port [default: 127.0.0.1:8411]
    ///
    /// `localhost:8411` listens on 127.0.0.1 and on ::1. Port 0 takes a free one; "" listens on the home's own socket alone.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// The configuration [default: belljar.toml in the home, else /etc/belljar/belljar.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The server's chain of certificates, PEM; with it, it speaks HTTPS only
    #[arg(long, value_name = "FILE")]
    pub tls_certificates: Option<PathBuf>,
    /// Their key, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Run even where this machine lacks a layer of isolation; each outcome says which
    #[arg(long)]
    pub allow_degraded: bool,
}

/// Which server a command speaks to, and in which project.
#[derive(Args, Clone, Debug, Default)]
pub struct ServerArguments {
    /// The server: its address, or unix:PATH of its socket [default: $BELLJAR_URL, else the profile `default`, else the server of this home]
    #[arg(long, value_name = "URL", help_heading = "Server")]
    pub server: Option<String>,
    /// The server and the token that `belljar login --profile NAME` has kept
    #[arg(long, value_name = "NAME", conflicts_with = "server", help_heading = "Server")]
    pub profile: Option<ProfileName>,
    /// The project, for the operator over the server's socket; a token is for one project [default: default]
    #[arg(long, value_name = "NAME", help_heading = "Server")]
    pub project: Option<ProjectName>,
}

/// The same, with how the answer is shown.
#[derive(Args, Clone, Debug, Default)]
pub struct AskArguments {
    /// Which server
    #[command(flatten)]
    pub server: ServerArguments,
    /// Print the answer as JSON, and nothing else
    #[arg(long)]
    pub json: bool,
}

/// What `belljar run` takes for a run on a server.
#[derive(Args, Debug)]
pub struct RemoteRunArguments {
    /// Run it on a server instead of here; --server, --profile and --project say the same
    #[arg(long, help_heading = "Server")]
    pub remote: bool,
    /// Which server
    #[command(flatten)]
    pub server: ServerArguments,
    /// Do not wait: print the run's id
    #[arg(long, help_heading = "Server", conflicts_with_all = ["artifacts", "events"])]
    pub detach: bool,
    /// A label to find it by. May be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", help_heading = "Server")]
    pub labels: Vec<String>,
    /// A word for people
    #[arg(long, value_name = "TEXT", help_heading = "Server")]
    pub comment: Option<String>,
    /// A file that the run starts with: a copy of the object OBJECT in storage. May be repeated
    #[arg(long = "object", value_name = "[NAME=]OBJECT", help_heading = "Server")]
    pub objects: Vec<String>,
    /// Let it list and download objects whose names begin so. May be repeated. Without any grant it has all that the project allows
    #[arg(long = "storage-read", value_name = "PREFIX", help_heading = "Server")]
    pub storage_read: Vec<String>,
    /// Let it upload and delete objects whose names begin so. May be repeated
    #[arg(long = "storage-write", value_name = "PREFIX", help_heading = "Server")]
    pub storage_write: Vec<String>,
    /// How often it is run at most, where it is interrupted or its process crashes
    #[arg(long, value_name = "NUMBER", help_heading = "Server")]
    pub attempts: Option<u32>,
}

/// `belljar login`.
#[derive(Args, Debug)]
pub struct LoginArguments {
    /// The server's address [default: $BELLJAR_URL, else http://127.0.0.1:8411]
    pub url: Option<String>,
    /// What to call it; the profile `default` is used when no other is named
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: ProfileName,
    /// Print what was kept as JSON
    #[arg(long)]
    pub json: bool,
}

/// `belljar logout`.
#[derive(Args, Debug)]
pub struct LogoutArguments {
    /// Which profile to forget
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: ProfileName,
    /// Print what was forgotten as JSON
    #[arg(long)]
    pub json: bool,
}

/// `belljar runs`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RunsArguments {
    /// What to do [default: list]
    #[command(subcommand)]
    pub command: Option<RunsCommand>,
    /// Of the list
    #[command(flatten)]
    pub list: ListRunsArguments,
}

/// What can be done with runs.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List runs, the latest first
    #[command(visible_alias = "ls")]
    List(ListRunsArguments),
    /// Show a run: how it ended, what it may touch, what it used
    Show(RunIdArguments),
    /// List the files that a run left, or save them
    Artifacts(ArtifactsArguments),
    /// Run the same again, as a new run
    Rerun(RunIdArguments),
    /// Delete runs that are over, with all that they have
    Rm(RunIdsArguments),
}

/// `belljar runs list`.
#[derive(Args, Debug)]
pub struct ListRunsArguments {
    /// Only those in this state: queued, running, succeeded, failed, ... May be repeated
    #[arg(long = "status", value_name = "STATE")]
    pub states: Vec<RunState>,
    /// Only those with this label. May be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
    /// Only those accepted since: 2026-01-02, 2026-01-02T03:04:05Z, or so long ago: 30m, 2h, 7d
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// Only those accepted before
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
    /// Only those with this text in their comment or program
    #[arg(long)]
    pub text: Option<String>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    pub limit: usize,
    /// How to ask
    #[command(flatten)]
    pub ask: AskArguments,
}

/// One run.
#[derive(Args, Debug)]
pub struct RunIdArguments {
    /// The run's id
    pub id: RunId,
    /// How to ask
    #[command(flatten)]
    pub ask: AskArguments,
}

/// Some runs.
#[derive(Args, Debug)]
pub struct RunIdsArguments {
    /// The runs' ids
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<RunId>,
    /// How to ask
    #[command(flatten)]
    pub ask: AskArguments,
}

/// `belljar runs artifacts`.
#[derive(Args, Debug)]
pub struct ArtifactsArguments {
    /// The run's id
    pub id: RunId,
    /// Save them in this folder
    #[arg(long, value_name = "FOLDER")]
    pub to: Option<PathBuf>,
    /// How to ask
    #[command(flatten)]
    pub ask: AskArguments,
}

/// `belljar logs`.
#[derive(Args, Debug)]
pub struct LogsArguments {
    /// The run's id
    pub id: RunId,
    /// Go on with what it writes, to its end
    #[arg(short, long)]
    pub follow: bool,
    /// Begin each line with when it was written, and its level
    #[arg(short, long)]
    pub timestamps: bool,
    /// How to ask
    #[command(flatten)]
    pub ask: AskArguments,
}

/// `belljar storage`.
#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Copy files into storage, out of it, or within it
    #[command(after_help = CP_HELP, override_usage = "belljar storage cp [OPTIONS] <SOURCE>... <DESTINATION>")]
    Cp(CpArguments),
    /// List objects
    Ls(LsArguments),
    /// Delete objects
    Rm(RmArguments),
    /// Write objects to standard output
    Cat(CatArguments),
    /// Make an address of an object that works without a token, for a while
    Sign(SignArguments),
}

const CP_HELP: &str = "\
A name in storage is written obj:NAME; everything else is a file here, and - is standard input or \
output. A destination that ends in / (and obj: itself) is a folder: the copy is called as its source. \
An object or file of that name is replaced once the copy is whole and has the source's SHA-256.

With -r the files of a folder go beneath the destination, and so do the objects beneath a prefix. \
Links are not followed: neither in a folder that is copied, nor in one that is copied to.

Examples:
  belljar storage cp sales.csv obj:inputs/
  belljar storage cp -r obj:outputs/ results
  pg_dump shop | belljar storage cp - obj:dumps/shop.sql
  belljar storage cp obj:inputs/sales.csv obj:archive/sales.csv";

/// `belljar storage cp`.
#[derive(Args, Debug)]
pub struct CpArguments {
    /// What is copied, and last where to: obj:NAME in storage, a file here, or `-`
    #[arg(num_args = 2.., required = true, value_names = ["SOURCE", "DESTINATION"])]
    pub paths: Vec<String>,
    /// Copy folders and prefixes with all that is beneath them
    #[arg(short, long)]
    pub recursive: bool,
    /// Replace no object: fail where there is one of that name
    #[arg(long)]
    pub only_new: bool,
    /// The media type of what is uploaded [default: by the file's extension]
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// How to ask
    #[command(flatten)]
    pub ask: AskArguments,
}

/// `belljar storage ls`.
#[derive(Args, Debug)]
pub struct LsArguments {
    /// Only those whose names begin with this
    #[arg(default_value = "")]
    pub prefix: String,
    /// At most so many [default: all]
    #[arg(long, value_name = "NUMBER")]
    pub limit: Option<usize>,
    /// How to ask
    #[command(flatten)]
    pub ask: AskArguments,
}

/// `belljar storage rm`.
#[derive(Args, Debug)]
pub struct RmArguments {
    /// The objects
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Delete all objects whose names begin so
    #[arg(short, long)]
    pub recursive: bool,
    /// How to ask
    #[command(flatten)]
    pub ask: AskArguments,
}

/// `belljar storage cat`.
#[derive(Args, Debug)]
pub struct CatArguments {
    /// The objects
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Which server
    #[command(flatten)]
    pub server: ServerArguments,
}

/// `belljar storage sign`.
#[derive(Args, Debug)]
pub struct SignArguments {
    /// The object
    pub name: String,
    /// For an upload; else it is for a download
    #[arg(long)]
    pub put: bool,
    /// For how long, at most 7d
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub expires: Millis,
    /// How to ask
    #[command(flatten)]
    pub ask: AskArguments,
}

/// `belljar tokens`.
#[derive(Debug, Subcommand)]
pub enum TokensCommand {
    /// Make a token, and print it: it is shown this once
    Create(CreateTokenArguments),
    /// List the project's tokens, the latest first
    #[command(visible_alias = "ls")]
    List(AskArguments),
    /// Make a token useless, at once
    Revoke(RevokeTokenArguments),
}

/// `belljar tokens create`.
#[derive(Args, Debug)]
pub struct CreateTokenArguments {
    /// What it is for
    pub name: String,
    /// What it allows: run, read, storage, secrets or admin. May be repeated
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
    pub scopes: Vec<Scope>,
    /// For how long it works, as in 12h or 30d [default: until it is revoked]
    #[arg(long, value_name = "TIME")]
    pub expires: Option<Millis>,
    /// How to ask
    #[command(flatten)]
    pub ask: AskArguments,
}

/// `belljar tokens revoke`.
#[derive(Args, Debug)]
pub struct RevokeTokenArguments {
    /// The token's id, as `belljar tokens list` shows it
    pub id: String,
    /// How to ask
    #[command(flatten)]
    pub ask: AskArguments,
}

/// `belljar projects`.
#[derive(Debug, Subcommand)]
pub enum ProjectsCommand {
    /// Make a project
    Create(SetProjectArguments),
    /// List projects
    #[command(visible_alias = "ls")]
    List(AskArguments),
    /// Show a project: its ceiling and quotas
    Show(ProjectArguments),
    /// Change a project's ceiling and quotas; what is not named stays
    Set(SetProjectArguments),
    /// Delete a project with all that it has: runs, objects, tokens
    Rm(RemoveProjectArguments),
}

/// One project.
#[derive(Args, Debug)]
pub struct ProjectArguments {
    /// The project
    pub name: ProjectName,
    /// How to ask
    #[command(flatten)]
    pub ask: AskArguments,
}

/// `belljar projects rm`.
#[derive(Args, Debug)]
pub struct RemoveProjectArguments {
    /// The project
    pub name: ProjectName,
    /// Do not ask whether this is meant
    #[arg(long)]
    pub yes: bool,
    /// How to ask
    #[command(flatten)]
    pub ask: AskArguments,
}

/// `belljar projects create` and `set`.
#[derive(Args, Debug)]
pub struct SetProjectArguments {
    /// The project
    pub name: ProjectName,
    /// The most that its runs may touch and use, a JSON file: {"policy": {...}, "limits": {...}, "packages": {...}}
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Runs at one time; `none` for no bound
    #[arg(long, value_name = "NUMBER")]
    pub quota_concurrent_runs: Option<Quota<u32>>,
    /// CPU time a day, as in 90m or 4h; `none` for no bound
    #[arg(long, value_name = "TIME")]
    pub quota_cpu_per_day: Option<Quota<Millis>>,
    /// Bytes in storage, as in 10G; `none` for no bound
    #[arg(long, value_name = "SIZE")]
    pub quota_storage: Option<Quota<Bytes>>,
    /// Objects and artifacts in storage; `none` for the default, one for each 4 KB of storage
    #[arg(long, value_name = "NUMBER")]
    pub quota_objects: Option<Quota<u64>>,
    /// Bytes of the history of runs, as in 10G; `none` for the default, 1 GB
    #[arg(long, value_name = "SIZE")]
    pub quota_history: Option<Quota<Bytes>>,
    /// Requests a second; `none` for no bound
    #[arg(long, value_name = "NUMBER")]
    pub quota_requests_per_second: Option<Quota<u32>>,
    /// How to ask
    #[command(flatten)]
    pub ask: AskArguments,
}

/// `belljar audit`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AuditArguments {
    /// What to do [default: list entries]
    #[command(subcommand)]
    pub command: Option<AuditCommand>,
    /// Of the list
    #[command(flatten)]
    pub list: ListAuditArguments,
}

/// What can be done with the trail.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Walk the whole trail and recompute every hash
    #[command(after_help = "Exit status: 0 when the trail is intact, 1 when it is broken.")]
    Verify(AskArguments),
}

/// `belljar audit`.
#[derive(Args, Debug)]
pub struct ListAuditArguments {
    /// Only what this token's id did, or `operator`
    #[arg(long, value_name = "WHO")]
    pub actor: Option<String>,
    /// Only this action, or all that begin with it: run.
    #[arg(long)]
    pub action: Option<String>,
    /// Only what was done to this id or name
    #[arg(long)]
    pub target: Option<String>,
    /// Only since: 2026-01-02, 2026-01-02T03:04:05Z, or so long ago: 30m, 2h, 7d
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// Only before
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
    /// Of all projects and the server itself
    #[arg(long)]
    pub all: bool,
    /// At most so many, from the first on
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub limit: usize,
    /// Write all of them to a file, or `-`, an object a line, with their hashes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["limit", "json"])]
    pub export: Option<PathBuf>,
    /// How to ask
    #[command(flatten)]
    pub ask: AskArguments,
}

/// `belljar usage`.
#[derive(Args, Debug)]
pub struct UsageArguments {
    /// Of all projects
    #[arg(long)]
    pub all: bool,
    /// From this day on, as in 2026-01-02
    #[arg(long, value_name = "DAY")]
    pub since: Option<String>,
    /// To this day
    #[arg(long, value_name = "DAY")]
    pub until: Option<String>,
    /// How to ask
    #[command(flatten)]
    pub ask: AskArguments,
}

/// `belljar backup`.
#[derive(Args, Debug)]
pub struct BackupArguments {
    /// Where to: a folder that is empty or not there
    #[arg(long, value_name = "FOLDER")]
    pub to: PathBuf,
    /// Where the home's key goes; keep it apart from the backup, for whoever has both can sign as the server
    #[arg(long, value_name = "FILE")]
    pub key_to: PathBuf,
    /// The configuration [default: as for serve]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print what was copied as JSON
    #[arg(long)]
    pub json: bool,
}

/// `belljar restore`.
#[derive(Args, Debug)]
pub struct RestoreArguments {
    /// The backup
    #[arg(value_name = "FOLDER")]
    pub from: PathBuf,
    /// The key that was put apart
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The configuration [default: as for serve]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print what was copied as JSON
    #[arg(long)]
    pub json: bool,
}

/// The name of a profile: letters, digits, `-`, `_` and `.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileName(pub String);

impl FromStr for ProfileName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain =
            !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if is_plain { Ok(Self(text.to_owned())) } else { Err("a profile is named with 1 to 64 letters, digits, `-`, `_` and `.`") }
    }
}

/// A moment, said as a day, a moment, or how long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When(pub Timestamp);

impl FromStr for When {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let day = || format!("{text}T00:00:00Z").parse::<Timestamp>();
        if let Ok(moment) = text.parse::<Timestamp>().or_else(|_| day()) {
            return Ok(Self(moment));
        }
        // A plain number could be seconds, or a year that somebody forgot the rest of.
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(WHEN);
        }
        let Millis(ago) = text.parse().map_err(|_| WHEN)?;
        Ok(Self(Timestamp::from_unix_ms(Timestamp::now().unix_ms().saturating_sub_unsigned(ago))))
    }
}

const WHEN: &str = "write a day such as 2026-01-02, a moment such as 2026-01-02T03:04:05Z, or how long ago: 30m, 2h, 7d";

/// A quota, or that there is none.
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
    fn a_moment_is_said_in_one_of_three_ways() {
        let moment = |text: &str| text.parse::<When>().map(|When(moment)| moment);
        assert_eq!(moment("2026-01-02").unwrap().to_string(), "2026-01-02T00:00:00.000Z");
        assert_eq!(moment("2026-01-02T03:04:05+01:00").unwrap().to_string(), "2026-01-02T02:04:05.000Z");
        let ago = Timestamp::now().unix_ms() - moment("2d").unwrap().unix_ms();
        assert!((172_800_000..172_860_000).contains(&ago), "{ago}");
        for bad in ["", "2026", "yesterday", "-2h"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}

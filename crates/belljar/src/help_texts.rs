//! The texts at the end of the help of commands, and the flags that `-h` shows of long commands.

use clap::Command;

/// The end of `belljar run --help`.
pub const RUN_HELP: &str = "\
Results:
  The value of a run is the first of these that exists: the return value of a
  defined or exported `main`, which is called with the parameters; the value of
  `module.exports`; the value of the last expression. Standard output and
  standard error are passed through as they arrive. The value is printed at the
  end, as JSON.

Packages:
  The packages that the program imports are detected, locked, installed once and
  cached; `belljar env` manages them. A manifest replaces the detection: PEP 723
  metadata in the program, --file requirements.txt or --file package.json.
  --package adds to either one. --only-packages installs nothing else.

Permissions:
  Everything is denied unless granted: host files (--read, --write), environment
  variables (--env), other programs (--exec), a loopback network (--loopback). A
  denied access is reported with the flag that allows it.

Exit codes:
  0 succeeded
  1 failed; a program can also set an exit code of its own
  2 wrong usage
  70 interrupted: belljar itself failed
  124 timed out
  125 refused: the policy or the limits cannot be enforced
  130 cancelled
  137 memory limit exceeded
  141 the reader of standard output is gone
  152 CPU time limit exceeded
  153 output limit exceeded
  128+N killed by signal N

Examples:
  belljar run -e '[1, 2, 3].map(n => n * n)' --language js
  belljar run summary.py --file data.csv=sales.csv --param city=Oslo --artifacts out
  cat program.ts | belljar run - --language typescript --memory 128M --timeout 5s --json
  belljar run report.js --remote --object data.csv=inputs/sales.csv --label team=sales";

/// The end of `belljar mcp --help`.
pub const MCP_HELP: &str = "\
No server and no configuration are needed: the client starts and ends this
process.

The flags set a ceiling. A call that asks for no policy gets all grants of the
flags. A call that asks for no limits gets the defaults, or the limits of the
flags where those are lower. The model can ask for less; a call that asks for
more is refused.

With --remote, --server or --profile, each call is a run on a Belljar server: in
its queue, history, audit trail and quotas. The flags then bound what calls can
request, within the ceiling of the project. Cancelling a call, and the end of
the client, cancel the run.

Examples:
  belljar mcp --read /data --memory 2G
  belljar mcp --server https://belljar.example.com --timeout 2m

The same in the configuration format of most clients:
  {\"mcpServers\": {\"belljar\": {
    \"command\": \"belljar\", \"args\": [\"mcp\", \"--read\", \"/data\"]}}}";

/// The end of the help of `belljar serve`.
pub const SERVE_HELP: &str = "\
All state is kept in the home: $BELLJAR_HOME, by default /var/lib/belljar for
root and ~/.local/share/belljar for other users. The first start creates a
project and prints a token for it.

Clients with a token connect to the address of --listen. The user that runs the
server connects to server.sock in its home, and needs no token. On SIGTERM and
Ctrl-C, the server waits up to ten seconds for running programs to end.

Examples:
  belljar serve
  belljar serve --listen 0.0.0.0:8411 --tls-certificates chain.pem --tls-key key.pem";

/// The end of the help of `belljar login`.
pub const LOGIN_HELP: &str = "\
The token is read from a prompt, or from standard input if that is not a
terminal. It is saved in ~/.config/belljar/profiles.toml, which only this user
can read.

A command uses the first server that is set: by --server or --profile, by
$BELLJAR_URL, by the profile `default`. If none is set, it uses the server of
this home, over its socket and as its operator. $BELLJAR_TOKEN takes precedence
over saved tokens, except over that of --profile.

Examples:
  belljar login https://belljar.example.com
  belljar login https://staging.example.com --profile staging < token.txt";

/// The end of the help of `belljar doctor`.
pub const DOCTOR_HELP: &str = "\
Exit status: 0 if runs work with every layer, 1 if something is degraded,
2 if no run can work.

Examples:
  belljar doctor
  belljar doctor --json";

/// The end of the help of `belljar completions`.
pub const COMPLETIONS_HELP: &str = "\
Examples:
  belljar completions bash > /etc/bash_completion.d/belljar
  belljar completions fish > ~/.config/fish/completions/belljar.fish";

/// The end of the help of `belljar man`.
pub const MAN_HELP: &str = "\
Examples:
  belljar man > /usr/local/share/man/man1/belljar.1
  belljar man | man -l -";

/// The flags that `-h` shows, by command. `--help` shows all of them.
const SHORT_HELP: [(&str, &[&str]); 2] = [
    (
        "run",
        &[
            "code",
            "language",
            "params",
            "files",
            "read",
            "write",
            "env",
            "timeout",
            "memory",
            "packages",
            "artifacts",
            "json",
            "remote",
        ],
    ),
    (
        "mcp",
        &[
            "read",
            "write",
            "env",
            "exec",
            "loopback",
            "policy",
            "timeout",
            "memory",
            "no_packages",
            "allow_packages",
            "runs_at_a_time",
            "remote",
        ],
    ),
];
/// The end of `belljar run -h`.
pub const SHORT_RUN_HELP: &str = "\
Examples:
  belljar run -e '[1, 2, 3].map(n => n * n)' --language js
  belljar run summary.py --file sales.csv --param city=Oslo --artifacts out

belljar run --help shows all options, how the value is found, and exit codes.";
/// The end of `belljar mcp -h`.
pub const SHORT_MCP_HELP: &str =
    "belljar mcp --help shows all options and the configuration of clients.";

/// Returns the command with the most used flags of long commands in the help of `-h`.
pub fn with_short_help(command: Command) -> Command {
    command.mut_subcommands(|command| {
        let Some((_, shown)) = SHORT_HELP.iter().find(|(name, _)| *name == command.get_name())
        else {
            return command;
        };
        command.mut_args(|argument| {
            let is_shown = argument.is_positional() || shown.contains(&argument.get_id().as_str());
            argument.hide_short_help(!is_shown)
        })
    })
}

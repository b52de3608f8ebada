//! The examples in the help of commands. A test parses each of them with the real binary.

use clap::Command;

/// The commands by their path below `belljar`, each with its examples. The examples of `run`,
/// `mcp`, `serve`, `login` and `storage cp` are in their longer help texts.
const EXAMPLES: [(&str, &[&str]); 37] = [
    ("env", &["belljar env list", "belljar env warm --common"]),
    ("env lock", &["belljar env lock report.py --output uv.lock"]),
    ("env list", &["belljar env list", "belljar env list --json"]),
    ("env show", &["belljar env show 3f9a", "belljar env show 3f9a --lock > uv.lock"]),
    (
        "env warm",
        &[
            "belljar env warm report.py",
            "belljar env warm --package pandas --package matplotlib --language python",
        ],
    ),
    ("env gc", &["belljar env gc --unused-for 7d"]),
    ("logout", &["belljar logout", "belljar logout --profile staging"]),
    (
        "runs",
        &[
            "belljar runs --since 2h --status failed",
            "belljar runs show run_019a2b3c4d5e7f8091a2b3c4d5e6f708",
        ],
    ),
    ("runs list", &["belljar runs list --label team=sales --limit 10"]),
    ("runs show", &["belljar runs show run_019a2b3c4d5e7f8091a2b3c4d5e6f708 --json"]),
    ("runs artifacts", &["belljar runs artifacts run_019a2b3c4d5e7f8091a2b3c4d5e6f708 --to out"]),
    (
        "runs rerun",
        &[
            "belljar runs rerun run_019a2b3c4d5e7f8091a2b3c4d5e6f708",
            "belljar runs rerun run_019a2b3c4d5e7f8091a2b3c4d5e6f708 --env API_KEY",
        ],
    ),
    ("runs rm", &["belljar runs rm run_019a2b3c4d5e7f8091a2b3c4d5e6f708"]),
    ("logs", &["belljar logs --follow run_019a2b3c4d5e7f8091a2b3c4d5e6f708"]),
    ("cancel", &["belljar cancel run_019a2b3c4d5e7f8091a2b3c4d5e6f708"]),
    ("storage", &["belljar storage cp sales.csv obj:inputs/", "belljar storage ls inputs/"]),
    ("storage ls", &["belljar storage ls", "belljar storage ls inputs/ --limit 10"]),
    ("storage rm", &["belljar storage rm inputs/sales.csv", "belljar storage rm -r outputs/"]),
    ("storage cat", &["belljar storage cat inputs/sales.csv | head"]),
    (
        "storage sign",
        &[
            "belljar storage sign outputs/report.pdf --expires 2h",
            "belljar storage sign inputs/sales.csv --put",
        ],
    ),
    ("tokens", &["belljar tokens create ci --scope run,read", "belljar tokens list"]),
    (
        "tokens create",
        &[
            "belljar tokens create ci --scope run --scope read",
            "belljar tokens create nightly --scope run,storage --expires 30d",
        ],
    ),
    ("tokens list", &["belljar tokens list"]),
    ("tokens revoke", &["belljar tokens revoke tok_01a227628d567442ba3355e4a45ee393"]),
    ("projects", &["belljar projects create sales --quota-concurrent-runs 4"]),
    (
        "projects create",
        &[
            "belljar projects create sales --policy ceiling.json",
            "belljar projects create trial --quota-cpu-per-day 1h --quota-storage 1G",
        ],
    ),
    ("projects list", &["belljar projects list"]),
    ("projects show", &["belljar projects show sales"]),
    ("projects set", &["belljar projects set sales --quota-storage none"]),
    ("projects rm", &["belljar projects rm trial --yes"]),
    (
        "audit",
        &[
            "belljar audit --since 1d --action run.",
            "belljar audit --all --export trail.ndjson",
            "belljar audit verify",
        ],
    ),
    ("audit verify", &["belljar audit verify"]),
    ("usage", &["belljar usage --since 2026-01-01", "belljar usage --all --json"]),
    ("backup", &["belljar backup --to /backup/belljar --key-to /safe/belljar.key"]),
    ("restore", &["belljar restore /backup/belljar --key /safe/belljar.key"]),
    ("self-test", &["belljar self-test", "belljar self-test --runtime node@22"]),
    ("bench", &["belljar bench --runtime python --runs 100"]),
];

/// Returns the command with the examples of all its subcommands at the end of their help.
pub fn with_examples(command: Command) -> Command {
    add(command, "")
}

/// Adds the examples of the subcommands of the command at this path.
fn add(command: Command, parent: &str) -> Command {
    command.mut_subcommands(|command| {
        let path = format!("{parent} {}", command.get_name()).trim_start().to_owned();
        let command = add(command, &path);
        let Some((_, examples)) = EXAMPLES.iter().find(|(known, _)| *known == path) else {
            return command;
        };
        let before = command.get_after_help().map(|text| format!("{text}\n\n"));
        let before = before.unwrap_or_default();
        command.after_help(format!("{before}Examples:\n  {}", examples.join("\n  ")))
    })
}

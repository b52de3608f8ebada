//! `belljar audit`: lists, exports and verifies the audit trail.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use belljar_client::Client;
use belljar_protocol::{AuditFilter, AuditOrder, AuditPage, AuditVerification};
use futures::{StreamExt, TryStreamExt};
use tokio::io::AsyncWriteExt;

use super::logs::is_read;
use crate::hint::{WithHint, hinted};
use crate::output_folder::OutputFolder;
use crate::service_arguments::{AskArguments, AuditArguments, AuditCommand, ListAuditArguments};
use crate::{exit, remote, show, table};

/// Runs `belljar audit` or its subcommand.
pub fn run(arguments: AuditArguments) -> anyhow::Result<ExitCode> {
    if let Some(AuditCommand::Verify(ask)) = &arguments.command {
        return verify(ask);
    }
    let list = &arguments.list;
    let filter = AuditFilter {
        actor: list.actor.clone(),
        action: list.action.clone(),
        target: list.target.clone(),
        since: list.since.map(|when| when.0),
        until: list.until.map(|when| when.0),
        all: list.all,
        // An export is verified from its first entry to its last.
        order: if list.export.is_some() { AuditOrder::Oldest } else { list.order },
    };
    remote::ask(&list.ask.server, async |client| match &list.export {
        Some(path) => export(&client, &filter, path).await,
        None => print(&client, filter, list).await,
    })
}

async fn print(
    client: &Client,
    filter: AuditFilter,
    arguments: &ListAuditArguments,
) -> anyhow::Result<ExitCode> {
    // One entry more than is shown reveals whether there are further ones.
    let mut entries: Vec<_> =
        client.audit(filter).take(arguments.limit.saturating_add(1)).try_collect().await?;
    let has_more = entries.len() > arguments.limit;
    entries.truncate(arguments.limit);
    if arguments.ask.json {
        let next_cursor = entries.last().filter(|_| has_more).map(|entry| entry.seq.to_string());
        table::print_json(&AuditPage { entries, next_cursor })?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = entries.iter().map(|entry| {
        let source = entry.source.clone().unwrap_or_else(|| "-".to_owned());
        [
            entry.seq.to_string(),
            table::moment(entry.timestamp),
            entry.actor_name.clone().unwrap_or_else(|| entry.actor.clone()),
            entry.action.clone(),
            entry.target.clone(),
            source,
        ]
    });
    table::print_narrow(
        ["SEQ", "TIME (UTC)", "ACTOR", "ACTION", "TARGET", "SOURCE"],
        &rows.collect::<Vec<_>>(),
        &["SOURCE", "SEQ"],
    )?;
    if has_more {
        show::note("there are more entries: raise --limit, or write all with --export FILE");
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes all entries to a file, which gets its name when it is complete, or to standard output.
async fn export(client: &Client, filter: &AuditFilter, path: &Path) -> anyhow::Result<ExitCode> {
    let mut lines = client.export_audit(filter).await?;
    if path == Path::new("-") {
        let mut stdout = tokio::io::stdout();
        while let Some(piece) = lines.try_next().await? {
            if !is_read(stdout.write_all(&piece).await)? {
                return Ok(ExitCode::from(exit::UNREAD));
            }
        }
        let is_read = is_read(stdout.flush().await)?;
        return Ok(if is_read { ExitCode::SUCCESS } else { ExitCode::from(exit::UNREAD) });
    }
    let cannot = || format!("cannot write `{}`", path.display());
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .with_context(|| format!("`{}` is not the path of a file", path.display()))
        .hint("name a file")?;
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (partial, file) =
        OutputFolder::open(folder).and_then(|folder| folder.create(name)).with_context(cannot)?;
    let mut file = tokio::fs::File::from_std(file);
    while let Some(piece) = lines.try_next().await? {
        file.write_all(&piece).await.with_context(cannot)?;
    }
    file.flush().await.with_context(cannot)?;
    partial.keep().with_context(cannot)?;
    Ok(ExitCode::SUCCESS)
}

fn verify(ask: &AskArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&ask.server, async |client| {
        let found = client.verify_audit().await?;
        if ask.json {
            table::print_json(&found)?;
        }
        Ok(match found {
            AuditVerification::Intact { entries, head } => {
                if !ask.json {
                    table::write(&format!(
                        "intact: {entries} entries; the hash of the last is {head}\n"
                    ))?;
                }
                ExitCode::SUCCESS
            }
            AuditVerification::Broken { seq, why } => {
                if !ask.json {
                    show::error(&hinted(
                        format!("the trail is broken at entry {seq}: {why}"),
                        "compare it with an export or a backup",
                    ));
                }
                ExitCode::FAILURE
            }
        })
    })
}

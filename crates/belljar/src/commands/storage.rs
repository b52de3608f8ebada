//! `belljar storage`: listing, deleting, reading and signing. Copying is in `storage_cp`.

use std::process::ExitCode;

use anyhow::{Context, bail};
use belljar_client::{Client, ClientError};
use belljar_protocol::{ObjectName, ObjectPage, SignedMethod};
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::storage_cp;
use crate::service_arguments::{CatArguments, LsArguments, RmArguments, SignArguments, StorageCommand};
use crate::{exit, remote, show, table};

/// What the name of an object begins with where a file could be meant too.
pub const SCHEME: &str = "obj:";

/// Does one thing with objects.
pub fn run(command: StorageCommand) -> anyhow::Result<ExitCode> {
    match command {
        StorageCommand::Cp(arguments) => storage_cp::run(&arguments),
        StorageCommand::Ls(arguments) => list(&arguments),
        StorageCommand::Rm(arguments) => remove(&arguments),
        StorageCommand::Cat(arguments) => cat(&arguments),
        StorageCommand::Sign(arguments) => sign(&arguments),
    }
}

/// A name as it is called in storage, with the scheme or without.
pub fn plain(name: &str) -> &str {
    name.strip_prefix(SCHEME).unwrap_or(name)
}

fn list(arguments: &LsArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        let limit = arguments.limit.unwrap_or(usize::MAX);
        let mut objects: Vec<_> = client.objects(plain(&arguments.prefix)).take(limit.saturating_add(1)).try_collect().await?;
        let has_more = objects.len() > limit;
        objects.truncate(limit);
        if arguments.ask.json {
            let next_cursor = objects.last().filter(|_| has_more).map(|object| object.name.to_string());
            table::print_json(&ObjectPage { objects, next_cursor })?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows = objects.iter().map(|object| [table::size(object.size_bytes), table::moment(object.updated_at), object.name.to_string()]);
        table::print(["SIZE", "UPLOADED", "NAME"], &rows.collect::<Vec<_>>())?;
        Ok(ExitCode::SUCCESS)
    })
}

fn remove(arguments: &RmArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        let mut names = Vec::new();
        for given in &arguments.names {
            names.extend(named(&client, plain(given), arguments).await?);
        }
        for name in &names {
            client.delete_object(name).await?;
        }
        if arguments.ask.json {
            table::print_json(&json!({"deleted": names}))?;
        } else {
            show::note(&match &names[..] {
                [one] => format!("deleted {one}"),
                names => format!("deleted {} objects", names.len()),
            });
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn named(client: &Client, name: &str, arguments: &RmArguments) -> anyhow::Result<Vec<ObjectName>> {
    if !arguments.recursive {
        return match ObjectName::try_from(name) {
            Ok(name) => Ok(vec![name]),
            Err(_) if name.is_empty() || name.ends_with('/') => {
                bail!("`{}` is no object; delete all whose names begin so with -r", table::printable(name))
            }
            Err(error) => Err(error.into()),
        };
    }
    let found: Vec<ObjectName> = client.objects(name).map_ok(|object| object.name).try_collect().await?;
    if found.is_empty() {
        bail!("there is no object whose name begins with `{}`; belljar storage ls shows what there is", table::printable(name));
    }
    Ok(found)
}

fn cat(arguments: &CatArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.server, async |client| {
        for name in &arguments.names {
            let name = ObjectName::try_from(plain(name))?;
            if !to_stdout(&client, &name).await? {
                return Ok(ExitCode::from(exit::UNREAD));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Writes an object to standard output. False where nobody reads it any more.
pub async fn to_stdout(client: &Client, name: &ObjectName) -> anyhow::Result<bool> {
    let mut content = client.get_object(name).await?;
    let mut stdout = tokio::io::stdout();
    let mut written = Ok(());
    while written.is_ok()
        && let Some(piece) = content.try_next().await?
    {
        written = stdout.write_all(&piece).await;
    }
    let written = match written {
        Ok(()) => stdout.flush().await,
        failed => failed,
    };
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("cannot write to standard output"),
    }
}

fn sign(arguments: &SignArguments) -> anyhow::Result<ExitCode> {
    let name = ObjectName::try_from(plain(&arguments.name))?;
    let method = if arguments.put { SignedMethod::Put } else { SignedMethod::Get };
    remote::ask(&arguments.ask.server, async |client| {
        let signed = client.sign_url(&name, method, arguments.expires.0).await?;
        if arguments.ask.json {
            table::print_json(&signed)?;
            return Ok(ExitCode::SUCCESS);
        }
        table::write(&format!("{}\n", signed.url))?;
        if client.url().is_none() {
            show::note("this is a path: put the server's address before it");
        }
        show::note(&format!("it works until {}, for whoever has it", signed.expires_at));
        Ok(ExitCode::SUCCESS)
    })
}

/// Whether an error is one of a single object, which others may still be copied after.
pub fn is_of_one(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused { problem, .. }) => matches!(problem.status, 404 | 409 | 412 | 413 | 422),
        Some(ClientError::Checksum { .. } | ClientError::Changed(_) | ClientError::Content(_)) | None => true,
        Some(_) => false,
    }
}

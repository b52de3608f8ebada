//! `belljar storage`: lists, deletes, prints and signs objects. `storage_cp` copies them.

use std::process::ExitCode;

use belljar_client::Client;
use belljar_protocol::{ObjectName, ObjectPage, SignedMethod, plain};
use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use super::storage_cp;
use crate::hint::hinted;
use crate::object_scheme::strip;
use crate::service_arguments::{
    CatArguments, LsArguments, RmArguments, SignArguments, StorageCommand,
};
use crate::{exit, remote, show, table};

/// Runs a subcommand of `belljar storage`.
pub fn run(command: StorageCommand) -> anyhow::Result<ExitCode> {
    match command {
        StorageCommand::Cp(arguments) => storage_cp::run(&arguments),
        StorageCommand::Ls(arguments) => list(&arguments),
        StorageCommand::Rm(arguments) => remove(&arguments),
        StorageCommand::Cat(arguments) => cat(&arguments),
        StorageCommand::Sign(arguments) => sign(&arguments),
    }
}

fn list(arguments: &LsArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        let limit = arguments.limit.unwrap_or(usize::MAX);
        let mut objects: Vec<_> = client
            .objects(strip(&arguments.prefix))
            .take(limit.saturating_add(1))
            .try_collect()
            .await?;
        let has_more = objects.len() > limit;
        objects.truncate(limit);
        if arguments.ask.json {
            let next_cursor =
                objects.last().filter(|_| has_more).map(|object| object.name.to_string());
            table::print_json(&ObjectPage { objects, next_cursor })?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows = objects.iter().map(|object| {
            [
                table::size(object.size_bytes),
                table::moment(object.updated_at),
                object.name.to_string(),
            ]
        });
        table::print(["SIZE", "UPLOADED", "NAME"], &rows.collect::<Vec<_>>())?;
        Ok(ExitCode::SUCCESS)
    })
}

fn remove(arguments: &RmArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        let mut names = Vec::new();
        for given in &arguments.names {
            names.extend(named(&client, strip(given), arguments).await?);
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

async fn named(
    client: &Client,
    name: &str,
    arguments: &RmArguments,
) -> anyhow::Result<Vec<ObjectName>> {
    if !arguments.recursive {
        return match ObjectName::try_from(name) {
            Ok(name) => Ok(vec![name]),
            Err(_) if name.is_empty() || name.ends_with('/') => Err(hinted(
                format!("`{}` is a prefix, not an object", plain::line(name)),
                "delete all objects under it with -r",
            )),
            Err(error) => Err(error.into()),
        };
    }
    let found: Vec<ObjectName> =
        client.objects(name).map_ok(|object| object.name).try_collect().await?;
    if found.is_empty() {
        return Err(hinted(
            format!("no object name begins with `{}`", plain::line(name)),
            "list the objects with `belljar storage ls`",
        ));
    }
    Ok(found)
}

fn cat(arguments: &CatArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.server, async |client| {
        for name in &arguments.names {
            let name = ObjectName::try_from(strip(name))?;
            if !storage_cp::to_stdout(&client, &name).await? {
                return Ok(ExitCode::from(exit::UNREAD));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn sign(arguments: &SignArguments) -> anyhow::Result<ExitCode> {
    let name = ObjectName::try_from(strip(&arguments.name))?;
    let method = if arguments.put { SignedMethod::Put } else { SignedMethod::Get };
    remote::ask(&arguments.ask.server, async |client| {
        let signed = client.sign_url(&name, method, arguments.expires.0).await?;
        if arguments.ask.json {
            table::print_json(&signed)?;
            return Ok(ExitCode::SUCCESS);
        }
        table::write(&format!("{}\n", signed.url))?;
        if client.url().is_none() {
            show::note("this is a path, to be appended to the URL of the server");
        }
        show::note(&format!("anyone who has the URL can use it until {}", signed.expires_at));
        Ok(ExitCode::SUCCESS)
    })
}

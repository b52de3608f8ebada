//! `belljar runs`: manages the runs of a server.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use belljar_client::Client;
use belljar_protocol::{Artifact, Rerun, RunFilter, RunId, RunPage, RunRecord, Usage, plain};
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::code;
use crate::inputs::label;
use crate::output_folder::OutputFolder;
use crate::policy::variables;
use crate::service_arguments::{
    ArtifactsArguments, ListRunsArguments, RerunArguments, RunIdArguments, RunIdsArguments,
    RunsArguments, RunsCommand,
};
use crate::{remote, show, table};

/// Runs `belljar runs` or its subcommand.
pub fn run(arguments: RunsArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        None => list(&arguments.list),
        Some(RunsCommand::List(arguments)) => list(&arguments),
        Some(RunsCommand::Show(arguments)) => show_run(&arguments),
        Some(RunsCommand::Code(arguments)) => code::run(&arguments),
        Some(RunsCommand::Artifacts(arguments)) => artifacts(&arguments),
        Some(RunsCommand::Rerun(arguments)) => rerun(&arguments),
        Some(RunsCommand::Rm(arguments)) => remove(&arguments),
    }
}

fn list(arguments: &ListRunsArguments) -> anyhow::Result<ExitCode> {
    let filter = RunFilter {
        states: arguments.states.clone(),
        language: arguments.language,
        labels: arguments.labels.iter().map(|text| label(text)).collect::<Result<_, _>>()?,
        by: arguments.by.clone(),
        since: arguments.since.map(|when| when.0),
        until: arguments.until.map(|when| when.0),
        text: arguments.text.clone(),
    };
    remote::ask(&arguments.ask.server, async |client| {
        // One run more than is shown reveals whether there are further ones.
        let mut runs: Vec<_> =
            client.runs(filter).take(arguments.limit.saturating_add(1)).try_collect().await?;
        let has_more = runs.len() > arguments.limit;
        runs.truncate(arguments.limit);
        if arguments.ask.json {
            let next_cursor = runs.last().filter(|_| has_more).map(|run| run.id.to_string());
            table::print_json(&RunPage { runs, next_cursor })?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows = runs.iter().map(|run| {
            let took = run.usage.as_ref().map_or_else(|| "-".to_owned(), took);
            [
                run.id.to_string(),
                run.status.to_string(),
                table::age(run.created_at),
                took,
                run.language.to_string(),
                run.submitter().to_owned(),
                about(run),
            ]
        });
        table::print_narrow(
            ["ID", "STATUS", "AGE", "TOOK", "LANGUAGE", "BY", "ABOUT"],
            &rows.collect::<Vec<_>>(),
            &["LANGUAGE", "TOOK", "AGE"],
        )?;
        if has_more {
            show::note("there are more runs: raise --limit, or filter the list");
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The preparation of a run is shown in lists if it takes longer than this.
const LONG_PREPARATION_MS: f64 = 1000.0;

/// Returns the time that a run took, and that of its preparation if it was long.
fn took(usage: &Usage) -> String {
    let wall = table::duration(usage.wall_ms);
    if usage.prepare_ms < LONG_PREPARATION_MS {
        return wall;
    }
    format!("{wall} (+{})", table::duration(usage.prepare_ms))
}

/// Returns the comment of a run, or else the first line of its program, and its labels. They tell
/// it from others.
fn about(run: &RunRecord) -> String {
    let labels = run.labels.iter().map(|(name, value)| format!("{name}={value}"));
    let what = run.comment.clone().or_else(|| run.first_line.clone());
    what.into_iter().chain(labels).collect::<Vec<_>>().join("  ")
}

fn show_run(arguments: &RunIdArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        let record = client.run(&client.find_run(&arguments.id).await?).await?;
        if arguments.ask.json {
            table::print_json(&record)?;
        } else {
            print(&record)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn print(run: &RunRecord) -> anyhow::Result<()> {
    let moment = |moment: Option<_>| moment.map_or_else(|| "-".to_owned(), table::utc);
    let mut fields = vec![
        ("id", run.id.to_string()),
        ("status", run.status.to_string()),
        ("project", run.project.clone()),
        ("language", run.language.to_string()),
        ("runtime", run.runtime.clone().unwrap_or_else(|| "-".to_owned())),
        ("entry", run.entry.clone()),
        ("accepted", table::utc(run.created_at)),
        ("started", moment(run.started_at)),
        ("finished", moment(run.finished_at)),
        ("attempt", format!("{} of {}", run.attempt, run.attempts)),
        (
            "by",
            match &run.token_name {
                Some(name) => format!("{name} ({})", run.token),
                None => run.token.clone(),
            },
        ),
    ];
    let labels: Vec<String> =
        run.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    fields.extend((!labels.is_empty()).then(|| ("labels", labels.join("  "))));
    fields.extend(run.comment.clone().map(|comment| ("comment", comment)));
    fields.extend(run.rerun_of.as_ref().map(|id| ("rerun of", id.to_string())));
    if let Some(usage) = &run.usage {
        fields.push(("prepared", table::duration(usage.prepare_ms)));
        fields.push(("took", table::duration(usage.wall_ms)));
        fields.push(("cpu", table::duration(usage.cpu_user_ms + usage.cpu_system_ms)));
        fields.push(("memory", table::size(usage.peak_memory_bytes)));
    }
    fields.extend((!run.env.is_empty()).then(|| ("env", run.env.join("  "))));
    fields.push(("policy", serde_json::to_string(&run.policy)?));
    fields.push(("limits", serde_json::to_string(&run.limits)?));
    let Some(outcome) = &run.outcome else { return table::print_fields(&fields) };
    fields.extend(outcome.value.as_ref().map(|value| ("value", value.get().to_owned())));
    if let Some(error) = &outcome.error {
        fields.push(("error", format!("{}: {}", error.name, error.message)));
        fields.extend(error.hint.clone().map(|hint| ("hint", hint)));
    }
    fields.extend(outcome.denied.iter().map(|denial| {
        ("denied", format!("{} {} (grant: {})", denial.action, denial.target, denial.grant))
    }));
    fields.extend(outcome.artifacts.iter().map(|artifact| {
        ("artifact", format!("{} ({})", artifact.name, table::size(artifact.size_bytes)))
    }));
    table::print_fields(&fields)
}

fn artifacts(arguments: &ArtifactsArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        let id = client.find_run(&arguments.id).await?;
        let artifacts = client.run_artifacts(&id).await?;
        if let Some(folder) = &arguments.to {
            let into = OutputFolder::open(folder)
                .with_context(|| format!("cannot open the folder `{}`", folder.display()))?;
            save(&client, &id, &artifacts, folder, &into).await?;
        }
        if arguments.ask.json {
            table::print_json(&json!({"artifacts": artifacts}))?;
        } else if arguments.to.is_none() {
            let rows = artifacts.iter().map(|artifact| {
                [table::size(artifact.size_bytes), artifact.sha256.clone(), artifact.name.clone()]
            });
            table::print(["SIZE", "SHA-256", "NAME"], &rows.collect::<Vec<_>>())?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Saves artifacts of a run in a folder, which is open as `into`.
pub async fn save(
    client: &Client,
    id: &RunId,
    artifacts: &[Artifact],
    folder: &Path,
    into: &OutputFolder,
) -> anyhow::Result<()> {
    for artifact in artifacts {
        let path = folder.join(&artifact.name).display().to_string();
        let shown = plain::line(&path);
        let cannot = || format!("cannot save the artifact `{shown}`");
        let mut content = client.get_artifact(id, &artifact.name).await?;
        let (partial, file) = into.create(&artifact.name).with_context(cannot)?;
        let mut file = tokio::fs::File::from_std(file);
        while let Some(piece) = content.try_next().await? {
            file.write_all(&piece).await.with_context(cannot)?;
        }
        file.flush().await.with_context(cannot)?;
        partial.keep().with_context(cannot)?;
        show::note(&format!("saved {shown}"));
    }
    Ok(())
}

fn rerun(arguments: &RerunArguments) -> anyhow::Result<ExitCode> {
    let rerun = Rerun { env: variables(&arguments.env)?.into() };
    remote::ask(&arguments.ask.server, async |client| {
        let record = client.rerun(&client.find_run(&arguments.id).await?, &rerun).await?;
        if arguments.ask.json {
            table::print_json(&record)?;
        } else {
            table::write(&format!("{}\n", record.id))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn remove(arguments: &RunIdsArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        for id in &arguments.ids {
            let id = client.find_run(id).await?;
            client.delete_run(&id).await?;
            if arguments.ask.json {
                table::print_json(&json!({"deleted": id}))?;
            } else {
                show::note(&format!("deleted {id}"));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

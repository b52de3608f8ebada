//! `belljar projects`: manages the projects of a server.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::bail;
use belljar_protocol::{NewProject, ProjectList, ProjectRecord, ProjectSettings};
use serde_json::json;

use crate::hint::hinted;
use crate::policy::PolicyFile;
use crate::service_arguments::{
    AskArguments, ProjectArguments, ProjectsCommand, RemoveProjectArguments, SetProjectArguments,
};
use crate::{remote, show, table};

/// Runs a subcommand of `belljar projects`.
pub fn run(command: ProjectsCommand) -> anyhow::Result<ExitCode> {
    match command {
        ProjectsCommand::Create(arguments) => create(&arguments),
        ProjectsCommand::List(ask) => list(&ask),
        ProjectsCommand::Show(arguments) => show_project(&arguments),
        ProjectsCommand::Set(arguments) => set(&arguments),
        ProjectsCommand::Rm(arguments) => remove(&arguments),
    }
}

fn create(arguments: &SetProjectArguments) -> anyhow::Result<ExitCode> {
    let mut settings = ProjectSettings::default();
    change(&mut settings, arguments, policy_file(arguments)?);
    remote::ask(&arguments.ask.server, async |client| {
        let record =
            client.create_project(&NewProject { name: arguments.name.clone(), settings }).await?;
        print(&record, &arguments.ask)?;
        if !arguments.ask.json {
            let name = &record.name;
            show::note(&format!(
                "created {name} (create a token for it with `belljar tokens create NAME --scope \
                 run --project {name}`)"
            ));
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn set(arguments: &SetProjectArguments) -> anyhow::Result<ExitCode> {
    let file = policy_file(arguments)?;
    if file.is_none() && !has_quota(arguments) {
        return Err(hinted(
            "there is nothing to change",
            "add --policy FILE or a --quota-... flag",
        ));
    }
    remote::ask(&arguments.ask.server, async |client| {
        let mut settings = client.project(&arguments.name).await?.settings;
        change(&mut settings, arguments, file);
        print(&client.set_project(&arguments.name, &settings).await?, &arguments.ask)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn has_quota(arguments: &SetProjectArguments) -> bool {
    arguments.quota_concurrent_runs.is_some()
        || arguments.quota_cpu_per_day.is_some()
        || arguments.quota_storage.is_some()
        || arguments.quota_objects.is_some()
        || arguments.quota_history.is_some()
        || arguments.quota_requests_per_second.is_some()
}

fn policy_file(arguments: &SetProjectArguments) -> anyhow::Result<Option<PolicyFile>> {
    arguments.policy.as_deref().map(PolicyFile::read).transpose()
}

/// Applies the policy file and the flags to the settings of a project.
fn change(
    settings: &mut ProjectSettings,
    arguments: &SetProjectArguments,
    file: Option<PolicyFile>,
) {
    if let Some(file) = file {
        settings.policy = file.policy.unwrap_or_else(|| settings.policy.clone());
        settings.limits = file.limits;
        settings.env_names = file.env_names.or(settings.env_names.take());
        settings.packages =
            file.packages.unwrap_or_default().over(std::mem::take(&mut settings.packages));
    }
    let quotas = &mut settings.quotas;
    if let Some(bound) = arguments.quota_concurrent_runs {
        quotas.concurrent_runs = bound.0;
    }
    if let Some(bound) = arguments.quota_cpu_per_day {
        quotas.cpu_ms_per_day = bound.0.map(|time| time.0);
    }
    if let Some(bound) = arguments.quota_storage {
        quotas.storage_bytes = bound.0.map(|size| size.0);
    }
    if let Some(bound) = arguments.quota_objects {
        quotas.objects = bound.0;
    }
    if let Some(bound) = arguments.quota_history {
        quotas.history_bytes = bound.0.map(|size| size.0);
    }
    if let Some(bound) = arguments.quota_requests_per_second {
        quotas.requests_per_second = bound.0;
    }
}

fn list(ask: &AskArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&ask.server, async |client| {
        let projects = client.projects().await?;
        if ask.json {
            table::print_json(&ProjectList { projects })?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows = projects.iter().map(|project| {
            let quotas = &project.settings.quotas;
            let bound = |bound: Option<String>| bound.unwrap_or_else(|| "-".to_owned());
            [
                project.name.to_string(),
                bound(quotas.concurrent_runs.map(|runs| runs.to_string())),
                bound(quotas.cpu_ms_per_day.map(|ms| table::duration(ms as f64))),
                bound(quotas.storage_bytes.map(table::size)),
                bound(quotas.requests_per_second.map(|rate| rate.to_string())),
                format!("{} ago", table::age(project.created_at)),
            ]
        });
        table::print(
            ["NAME", "RUNS", "CPU/DAY", "STORAGE", "REQUESTS/S", "CREATED"],
            &rows.collect::<Vec<_>>(),
        )?;
        Ok(ExitCode::SUCCESS)
    })
}

fn show_project(arguments: &ProjectArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        print(&client.project(&arguments.name).await?, &arguments.ask)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn print(project: &ProjectRecord, ask: &AskArguments) -> anyhow::Result<()> {
    if ask.json {
        return table::print_json(project);
    }
    // A server of an earlier version shows only what the project itself sets.
    let settings = project.in_force.as_deref().unwrap_or(&project.settings);
    let quotas = &settings.quotas;
    let bound = |bound: Option<String>| bound.unwrap_or_else(|| "unlimited".to_owned());
    table::print_fields(&[
        ("name", project.name.to_string()),
        ("id", project.id.clone()),
        ("created", table::utc(project.created_at)),
        ("policy", serde_json::to_string(&settings.policy)?),
        ("limits", serde_json::to_string(&settings.limits)?),
        (
            "env names",
            settings.env_names.as_ref().map_or_else(|| "any".to_owned(), |names| names.join("  ")),
        ),
        ("packages", serde_json::to_string(&settings.packages)?),
        ("concurrent runs", bound(quotas.concurrent_runs.map(|runs| runs.to_string()))),
        ("cpu per day", bound(quotas.cpu_ms_per_day.map(|ms| table::duration(ms as f64)))),
        ("storage", bound(quotas.storage_bytes.map(table::size))),
        ("objects", quotas.storage().objects.to_string()),
        ("history", table::size(quotas.history())),
        ("requests per second", bound(quotas.requests_per_second.map(|rate| rate.to_string()))),
    ])
}

fn remove(arguments: &RemoveProjectArguments) -> anyhow::Result<ExitCode> {
    let name = &arguments.name;
    if !arguments.yes {
        if !io::stdin().is_terminal() {
            return Err(hinted(
                format!("deleting `{name}` needs a confirmation"),
                "confirm with --yes that all its runs, objects and tokens are to be deleted",
            ));
        }
        write!(
            io::stderr(),
            "Delete {name} with all its runs, objects and tokens? Type its name: "
        )?;
        let mut typed = String::new();
        io::stdin().lock().read_line(&mut typed)?;
        if typed.trim() != name.as_str() {
            bail!("`{name}` was not deleted: the typed name differs");
        }
    }
    remote::ask(&arguments.ask.server, async |client| {
        client.delete_project(name).await?;
        if arguments.ask.json {
            table::print_json(&json!({"deleted": name}))?;
        } else {
            show::note(&format!("deleted {name}"));
        }
        Ok(ExitCode::SUCCESS)
    })
}

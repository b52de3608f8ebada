//! `belljar usage`: shows the resource usage of projects.

use std::process::ExitCode;

use belljar_protocol::{UsageDay, UsageFilter, UsageGroup};

use crate::service_arguments::UsageArguments;
use crate::{remote, table};

/// Prints the usage by day and project or token, and the bytes in storage.
pub fn run(arguments: UsageArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        let filter = UsageFilter {
            all: arguments.all,
            since: arguments.since.clone(),
            until: arguments.until.clone(),
            group: arguments.by,
        };
        let report = client.usage(&filter).await?;
        if arguments.ask.json {
            table::print_json(&report)?;
            return Ok(ExitCode::SUCCESS);
        }
        print_days(&report.days, arguments.by)?;
        let storage = report.storage.iter().map(|usage| {
            let (objects, artifacts) = (usage.objects.to_string(), usage.artifacts.to_string());
            [
                usage.project.to_string(),
                objects,
                artifacts,
                table::size(usage.storage_bytes),
                table::size(usage.history_bytes),
            ]
        });
        table::write("\n")?;
        table::print(
            ["PROJECT", "OBJECTS", "ARTIFACTS", "STORAGE", "HISTORY"],
            &storage.collect::<Vec<_>>(),
        )?;
        Ok(ExitCode::SUCCESS)
    })
}

fn print_days(days: &[UsageDay], group: UsageGroup) -> anyhow::Result<()> {
    let used = |day: &UsageDay| {
        let (cpu, wall) = (table::duration(day.cpu_ms as f64), table::duration(day.wall_ms as f64));
        (day.runs.to_string(), cpu, wall)
    };
    match group {
        UsageGroup::Project => {
            let rows = days.iter().map(|day| {
                let (runs, cpu, wall) = used(day);
                [day.day.clone(), day.project.to_string(), runs, cpu, wall]
            });
            table::print(["DAY (UTC)", "PROJECT", "RUNS", "CPU", "WALL"], &rows.collect::<Vec<_>>())
        }
        UsageGroup::Token => {
            let rows = days.iter().map(|day| {
                let (runs, cpu, wall) = used(day);
                let token = day.token_name.as_ref().or(day.token.as_ref());
                let token = token.map_or_else(|| "-".to_owned(), Clone::clone);
                [day.day.clone(), day.project.to_string(), token, runs, cpu, wall]
            });
            table::print(
                ["DAY (UTC)", "PROJECT", "TOKEN", "RUNS", "CPU", "WALL"],
                &rows.collect::<Vec<_>>(),
            )
        }
    }
}

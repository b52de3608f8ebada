//! `belljar usage`.

use std::process::ExitCode;

use belljar_client::UsageFilter;

use crate::service_arguments::UsageArguments;
use crate::{remote, table};

/// Prints what was used, by project and day, and what is in storage.
pub fn run(arguments: UsageArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        let filter = UsageFilter { all: arguments.all, since: arguments.since.clone(), until: arguments.until.clone() };
        let report = client.usage(&filter).await?;
        if arguments.ask.json {
            table::print_json(&report)?;
            return Ok(ExitCode::SUCCESS);
        }
        let days = report.days.iter().map(|day| {
            let (cpu, wall) = (table::duration(day.cpu_ms as f64), table::duration(day.wall_ms as f64));
            [day.day.clone(), day.project.to_string(), day.runs.to_string(), cpu, wall]
        });
        table::print(["DAY", "PROJECT", "RUNS", "CPU", "WALL"], &days.collect::<Vec<_>>())?;
        let storage = report.storage.iter().map(|of| {
            let (objects, artifacts) = (of.objects.to_string(), of.artifacts.to_string());
            [of.project.to_string(), objects, artifacts, table::size(of.storage_bytes), table::size(of.history_bytes)]
        });
        table::write("\n")?;
        table::print(["PROJECT", "OBJECTS", "ARTIFACTS", "STORAGE", "HISTORY"], &storage.collect::<Vec<_>>())?;
        Ok(ExitCode::SUCCESS)
    })
}

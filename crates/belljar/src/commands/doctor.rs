//! `belljar doctor`: what works here, what does not, and the mend.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use belljar_engine::{EngineConfig, Finding, Health, diagnose};
use belljar_protocol::plain;

use crate::arguments::DoctorArguments;
use crate::show;

/// Looks and prints.
pub fn run(arguments: DoctorArguments) -> anyhow::Result<ExitCode> {
    let config = EngineConfig::from_env().map_err(|error| anyhow::anyhow!("{error}; {}", error.hint()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the async runtime")?;
    let findings = runtime.block_on(diagnose(config));
    let worst = findings.iter().map(|finding| finding.health).max().unwrap_or(Health::Good);
    if arguments.json {
        show::say(&serde_json::to_string_pretty(&serde_json::json!({"health": worst, "findings": findings}))?);
    } else {
        findings.iter().for_each(print);
        show::say("");
        show::say(match worst {
            Health::Good => "everything is as it should be",
            Health::Degraded => "runs work here, with what is said above",
            Health::Missing => "no run can work here until what is missing is mended",
        });
    }
    Ok(match worst {
        Health::Good => ExitCode::SUCCESS,
        Health::Degraded => ExitCode::from(1),
        Health::Missing => ExitCode::from(2),
    })
}

fn print(finding: &Finding) {
    let (colour, mark) = match finding.health {
        Health::Good => ("32", "ok      "),
        Health::Degraded => ("33", "degraded"),
        Health::Missing => ("31", "missing "),
    };
    let is_coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mark = if is_coloured { format!("\x1b[{colour}m{mark}\x1b[0m") } else { mark.to_owned() };
    show::say(&format!("{mark}  {}: {}", finding.layer, plain::line(&finding.found)));
    for (index, line) in finding.mend.iter().flat_map(|mend| mend.lines()).enumerate() {
        show::say(&format!("          {} {line}", if index == 0 { "hint:" } else { "     " }));
    }
}

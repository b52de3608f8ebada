//! `belljar doctor`: checks this machine and prints what to fix.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use belljar_engine::{EngineConfig, Finding, Health, diagnose};
use belljar_protocol::plain;

use crate::arguments::DoctorArguments;
use crate::show;

/// Runs `belljar doctor`.
pub fn run(arguments: DoctorArguments) -> anyhow::Result<ExitCode> {
    let config = EngineConfig::from_env()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let findings = runtime.block_on(diagnose(config));
    let worst = findings.iter().map(|finding| finding.health).max().unwrap_or(Health::Good);
    if arguments.json {
        show::say(&serde_json::to_string_pretty(
            &serde_json::json!({"health": worst, "findings": findings}),
        )?);
    } else {
        // First and last, because the findings in between can fill a screen.
        show::say(&format!("{}\n", verdict(worst, "below")));
        findings.iter().for_each(print);
        show::say(&format!("\n{}", verdict(worst, "above")));
    }
    Ok(match worst {
        Health::Good => ExitCode::SUCCESS,
        Health::Degraded => ExitCode::from(1),
        Health::Missing => ExitCode::from(2),
    })
}

fn verdict(worst: Health, place: &str) -> String {
    match worst {
        Health::Good => "RUNS WORK HERE".to_owned(),
        Health::Degraded => format!("RUNS WORK HERE, with the restrictions {place}"),
        Health::Missing => format!("RUNS ARE REFUSED HERE until what is missing {place} is fixed"),
    }
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
    for (index, line) in finding.fix.iter().flat_map(|fix| fix.lines()).enumerate() {
        show::say(&format!("          {} {line}", if index == 0 { "hint:" } else { "     " }));
    }
}

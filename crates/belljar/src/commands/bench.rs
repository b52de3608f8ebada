//! `belljar bench`: measures sandboxes on this machine.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use belljar_engine::{Engine, EngineConfig, Measurement, Times, measure};

use crate::arguments::BenchArguments;
use crate::show;

/// Runs `belljar bench`.
pub fn run(arguments: BenchArguments) -> anyhow::Result<ExitCode> {
    let config = EngineConfig::from_env()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(async {
        let engine = Engine::new(config)?;
        let mut measurements = Vec::new();
        for name in &arguments.runtimes {
            let progress = Arc::new(Mutex::new(show::ProgressDisplay::new()));
            let show = {
                let (progress, name) = (Arc::clone(&progress), name.clone());
                move |what: &str| {
                    progress
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .show(&format!("{name}: {what}"));
                }
            };
            measurements.push(measure(&engine, name, arguments.runs.max(10) as usize, show).await?);
            progress.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        engine.shutdown().await;
        if arguments.json {
            let rows: Vec<serde_json::Value> = measurements.iter().flat_map(rows).collect();
            show::say(&serde_json::to_string_pretty(&serde_json::json!({"rows": rows}))?);
        } else {
            measurements.iter().for_each(print);
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Returns one JSON object for each figure, in the format that `bench/` reads.
fn rows(measurement: &Measurement) -> Vec<serde_json::Value> {
    let language = if measurement.runtime.starts_with("node") { "JavaScript" } else { "Python" };
    let times = [
        ("parked", &measurement.parked),
        ("forked", &measurement.forked),
        ("exec", &measurement.exec),
        ("half_load", &measurement.half_load),
        ("cold_tenant", &measurement.cold),
    ];
    let mut rows: Vec<serde_json::Value> = times
        .iter()
        .map(|(name, times)| {
            serde_json::json!({
                "name": name, "language": language, "runtime": measurement.runtime, "unit": "ms",
                "runs": times.count, "p50": times.p50_ms, "p95": times.p95_ms, "p99": times.p99_ms,
            })
        })
        .collect();
    let values = [
        ("throughput", "runs/s", measurement.runs_per_second),
        ("parked_memory", "MB", measurement.parked_bytes as f64 / f64::from(1 << 20)),
        ("exec_memory", "MB", measurement.exec_bytes as f64 / f64::from(1 << 20)),
    ];
    rows.extend(values.iter().map(|(name, unit, value)| {
        serde_json::json!({"name": name, "language": language, "runtime": measurement.runtime, "unit": unit, "value": value})
    }));
    rows
}

fn print(measurement: &Measurement) {
    show::say(&format!(
        "{}: `1 + 1` in a fresh sandbox, from request to outcome, with all limits",
        measurement.runtime
    ));
    show::say(&format!("  {:<34} {:>9} {:>9} {:>9}", "milliseconds", "p50", "p95", "p99"));
    let rows: [(&str, &Times); 5] = [
        ("parked", &measurement.parked),
        ("forked", &measurement.forked),
        ("forked, at half the throughput", &measurement.half_load),
        ("new runtime process", &measurement.exec),
        ("cold: with the boot of the zygote", &measurement.cold),
    ];
    for (name, times) in rows {
        show::say(&format!(
            "  {name:<34} {:>9.3} {:>9.3} {:>9.3}",
            times.p50_ms, times.p95_ms, times.p99_ms
        ));
    }
    show::say(&format!("  {:<34} {:>9}", "runs per second", measurement.runs_per_second));
    show::say(&format!(
        "  {:<34} {:>9}",
        "each further parked sandbox, PSS",
        belljar_protocol::Bytes(measurement.parked_bytes).to_string()
    ));
    show::say(&format!(
        "  {:<34} {:>9}",
        "each further runtime process, PSS",
        belljar_protocol::Bytes(measurement.exec_bytes).to_string()
    ));
    show::say(&format!(
        "  {:<34} {:>9}",
        "zygote, PSS",
        belljar_protocol::Bytes(measurement.zygote_bytes).to_string()
    ));
    show::say("");
}

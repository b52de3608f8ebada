//! Measurement of the time and memory of a warmed environment, for `bench/packages`. Each figure is
//! printed as one JSON object.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use belljar_engine::{Engine, Sandbox, SandboxSpec};
use belljar_environments::{Environments, Tell};
use belljar_protocol::{Language, PackagePolicy, RunRequest, StartMode, Status};
use serde_json::json;

use crate::AnyError;
use crate::table::Row;
use crate::trial::{request, wanted};

/// The number of sandboxes that are parked at once to measure the memory of one more.
const PARKED: usize = 6;

/// Measures three programs: the one of a row, one with only its imports, and an empty one.
pub async fn measure(
    row: &Row,
    folder: &std::path::Path,
    runs: usize,
    environments: &Environments,
    tell: &Tell,
) -> Result<(), AnyError> {
    let engine = environments.engine();
    let program = request(row, folder)?;
    let wanted = wanted(row, &program, environments).await?;
    let runtime = engine.runtime(&row.language().default_runtime()).await?;
    let bare = SandboxSpec::new(runtime, &program.policy, &program.limits)?;
    let (empty, import) = match row.language() {
        Language::Python => ("1 + 1", format!("import {}\n1 + 1", row.name)),
        _ => ("1 + 1", format!("require('{}'); 1 + 1", row.name)),
    };
    let of = |code: &str| {
        let mut request = RunRequest::new(row.language(), code);
        (request.limits, request.policy) = (program.limits, program.policy.clone());
        request
    };
    time(engine, row, "no packages", "empty", &bare, &of(empty), runs).await?;
    memory(engine, row, "no packages", &bare).await?;
    for (way, trusted) in
        [("imported in the sandbox", Vec::new()), ("imported in the zygote", vec!["*".to_owned()])]
    {
        let policy = PackagePolicy { trusted, ..PackagePolicy::default() };
        let prepared = environments.prepare(&wanted, &policy, tell).await?;
        let spec = bare.clone().with_environment(Some(Arc::clone(&prepared.environment)));
        time(engine, row, way, "empty", &spec, &of(empty), runs).await?;
        time(engine, row, way, "import", &spec, &of(&import), runs).await?;
        time(engine, row, way, "program", &spec, &program, runs).await?;
        memory(engine, row, way, &spec).await?;
        engine.forget_zygotes();
    }
    Ok(())
}

async fn time(
    engine: &Engine,
    row: &Row,
    way: &str,
    what: &str,
    spec: &SandboxSpec,
    request: &RunRequest,
    runs: usize,
) -> Result<(), AnyError> {
    let (mut parked, mut made) = (Vec::new(), Vec::new());
    for run in 0..=runs {
        let began = Instant::now();
        let sandbox = engine.sandbox(spec.clone(), StartMode::Fork).await?;
        let ready = began.elapsed();
        // The remains of the previous one have to be removed first.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let began = Instant::now();
        let outcome = engine.execute(sandbox, request).await.outcome;
        let time = began.elapsed();
        if outcome.status != Status::Succeeded {
            return Err(format!(
                "{}: {way}: {what}: {:?} {:?}",
                row.name, outcome.status, outcome.error
            )
            .into());
        }
        if run > 0 {
            parked.push(time);
            made.push(ready);
        }
    }
    for (figure, times) in [("parked", parked), ("made", made)] {
        let mut times: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)];
        let [p50, p95, p99] = [0.50, 0.95, 0.99].map(at);
        println!(
            "{}",
            json!({"package": row.name, "way": way, "what": what, "figure": figure, "runs": times.len(), "p50": p50, "p95": p95, "p99": p99})
        );
    }
    Ok(())
}

/// Measures the memory of the zygote with one parked sandbox, and of each further sandbox. Shared
/// pages count by their share.
async fn memory(engine: &Engine, row: &Row, way: &str, spec: &SandboxSpec) -> Result<(), AnyError> {
    engine.forget_zygotes();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut parked: Vec<Sandbox> = vec![engine.sandbox(spec.clone(), StartMode::Fork).await?];
    let first = descendants_bytes();
    for _ in 1..PARKED {
        parked.push(engine.sandbox(spec.clone(), StartMode::Fork).await?);
    }
    let all = descendants_bytes();
    let more = all.saturating_sub(first) / (PARKED as u64 - 1);
    let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{}",
        json!({"package": row.name, "way": way, "figure": "memory", "first_mb": megabytes(first), "one_more_mb": megabytes(more)})
    );
    for sandbox in parked {
        engine.discard(sandbox);
    }
    Ok(())
}

fn descendants_bytes() -> u64 {
    fn children(pid: &str) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let lists =
            tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
        lists
            .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }
    fn held(pid: &str) -> u64 {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
            << 10
    }
    fn of(pid: &str) -> u64 {
        children(pid).iter().map(|child| held(child) + of(child)).sum()
    }
    of("self")
}

//! Benchmarks of this machine: time to a fresh sandbox, throughput, memory. `belljar bench` prints
//! them.

use std::time::{Duration, Instant};

use belljar_protocol::{Language, Limits, Policy, RunRequest, RuntimeName, StartMode, Status};
use serde::Serialize;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::process::proportional_bytes;
use crate::runtime::RuntimeKind;
use crate::sandbox::Sandbox;
use crate::spec::SandboxSpec;

/// The distribution of a time over many measurements.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Times {
    /// Number of measurements.
    pub count: usize,
    /// Median of the times, milliseconds.
    pub p50_ms: f64,
    /// 95th percentile, milliseconds.
    pub p95_ms: f64,
    /// 99th percentile, milliseconds.
    pub p99_ms: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            times
                .get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1)))
                .map_or(0.0, Duration::as_secs_f64)
        };
        let ms = |share| (at(share) * 1e6).round() / 1000.0;
        Self { count: times.len(), p50_ms: ms(0.50), p95_ms: ms(0.95), p99_ms: ms(0.99) }
    }
}

/// The benchmark of one runtime. Every run is of `1 + 1`, is measured from request to outcome, and
/// has all limits in place.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// Runtime with its exact version.
    pub runtime: String,
    /// Time of a run in a parked sandbox.
    pub parked: Times,
    /// Time of a run for which a sandbox was forked.
    pub forked: Times,
    /// Time of a run for which a runtime process was started.
    pub exec: Times,
    /// Time of a run for which a zygote was booted.
    pub cold: Times,
    /// Time of a run at half of the throughput, with parked sandboxes.
    pub half_load: Times,
    /// Throughput in runs per second, with twice as many concurrent runs as processors.
    pub runs_per_second: f64,
    /// Memory of a further parked sandbox (proportional set size), bytes.
    pub parked_bytes: u64,
    /// Memory of the zygote (proportional set size), bytes.
    pub zygote_bytes: u64,
    /// Memory of a further sandbox with a runtime process of its own (proportional set size),
    /// bytes.
    pub exec_bytes: u64,
}

/// Measures a runtime. Calls `progress` with the name of each phase as it begins.
pub async fn measure(
    engine: &Engine,
    name: &RuntimeName,
    runs: usize,
    progress: impl Fn(&str) + Send + 'static,
) -> Result<Measurement, EngineError> {
    let (engine, name) = (engine.clone(), name.clone());
    // In a task, as in a server: the thread of the program's `main` would have to be woken for each
    // outcome, which can take longer than everything else. Dropping the future ends the task.
    let mut measuring = tokio::task::JoinSet::new();
    measuring.spawn(async move { measure_all(&engine, &name, runs, progress).await });
    measuring.join_all().await.pop().unwrap_or(Err(EngineError::Internal("the benchmark panicked")))
}

async fn measure_all(
    engine: &Engine,
    name: &RuntimeName,
    runs: usize,
    progress: impl Fn(&str),
) -> Result<Measurement, EngineError> {
    let runtime = engine.runtime(name).await?;
    let language =
        if runtime.kind == RuntimeKind::Node { Language::JavaScript } else { Language::Python };
    let mut request = RunRequest::new(language, "1 + 1");
    request.runtime = Some(name.clone());
    let spec = SandboxSpec::new(runtime.clone(), &Policy::default(), &Limits::default())?;

    progress("parked sandboxes");
    let mut parked = Vec::new();
    for index in 0..runs + runs / 10 {
        let sandbox = engine.sandbox(spec.clone(), StartMode::Fork).await?;
        settle().await;
        let began = Instant::now();
        let finished = engine.execute(sandbox, &request).await;
        keep(&mut parked, index, runs / 10, began);
        expect(finished.outcome.status)?;
    }

    progress("forked sandboxes");
    let forked = time_runs(engine, &request, StartMode::Fork, runs).await?;
    progress("sandboxes with a runtime process of their own");
    let exec = time_runs(engine, &request, StartMode::Exec, (runs / 10).max(10)).await?;

    progress("cold zygotes");
    let mut cold = Vec::new();
    for _ in 0..(runs / 25).max(5) {
        engine.forget_zygotes();
        let began = Instant::now();
        expect(run_once(engine, &request, StartMode::Fork).await)?;
        cold.push(began.elapsed());
    }

    progress("throughput");
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get) * 2;
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let (engine, request) = (engine.clone(), request.clone());
        let share = runs * 4 / workers;
        tasks.spawn(async move {
            for _ in 0..share {
                if run_once(&engine, &request, StartMode::Fork).await != Status::Succeeded {
                    return 0;
                }
            }
            share
        });
    }
    let done: usize = tasks.join_all().await.into_iter().sum();
    let runs_per_second = done as f64 / began.elapsed().as_secs_f64();

    progress("half load");
    let half_load = half_load(engine, &request, runs, runs_per_second / 2.0).await?;

    progress("memory");
    let (parked_bytes, zygote_bytes) = memory(engine, &spec).await?;
    let exec_bytes = exec_memory(engine, &spec).await?;
    Ok(Measurement {
        runtime: runtime.name.clone(),
        parked: Times::of(parked),
        forked,
        exec,
        cold: Times::of(cold),
        half_load,
        runs_per_second: runs_per_second.round(),
        parked_bytes,
        zygote_bytes,
        exec_bytes,
    })
}

fn keep(times: &mut Vec<Duration>, index: usize, warm_up: usize, began: Instant) {
    if index >= warm_up {
        times.push(began.elapsed());
    }
}

fn expect(status: Status) -> Result<(), EngineError> {
    if status == Status::Succeeded { Ok(()) } else { Err(EngineError::Benchmark(status)) }
}

/// Waits until the last run is cleaned up, so that this is not measured as part of the next run.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

async fn run_once(engine: &Engine, request: &RunRequest, start: StartMode) -> Status {
    let mut request = request.clone();
    request.start = start;
    engine.run(request).finished().await.outcome.status
}

async fn time_runs(
    engine: &Engine,
    request: &RunRequest,
    start: StartMode,
    runs: usize,
) -> Result<Times, EngineError> {
    let mut times = Vec::new();
    let warm_up = runs / 10;
    for index in 0..runs + warm_up {
        settle().await;
        let began = Instant::now();
        expect(run_once(engine, request, start).await)?;
        keep(&mut times, index, warm_up, began);
    }
    Ok(Times::of(times))
}

/// Measures runs that start at fixed intervals, whether or not the previous one has ended. The time
/// of a run is counted from its scheduled start.
async fn half_load(
    engine: &Engine,
    request: &RunRequest,
    runs: usize,
    per_second: f64,
) -> Result<Times, EngineError> {
    let beat = Duration::from_secs_f64(1.0 / per_second.max(1.0));
    let mut tasks = tokio::task::JoinSet::new();
    let began = Instant::now();
    for index in 0..runs as u32 {
        let due = began + beat * index;
        tokio::time::sleep_until(due.into()).await;
        let (engine, request) = (engine.clone(), request.clone());
        tasks.spawn(
            async move { (run_once(&engine, &request, StartMode::Fork).await, due.elapsed()) },
        );
    }
    let mut times = Vec::new();
    for (status, time) in tasks.join_all().await {
        expect(status)?;
        times.push(time);
    }
    Ok(Times::of(times))
}

async fn memory(engine: &Engine, spec: &SandboxSpec) -> Result<(u64, u64), EngineError> {
    const SANDBOXES: usize = 20;
    let mut parked: Vec<Sandbox> = Vec::new();
    parked.push(engine.sandbox(spec.clone(), StartMode::Fork).await?);
    let held = |parked: &[Sandbox]| -> u64 {
        let zygote = parked[0]
            .zygote
            .as_ref()
            .and_then(|zygote| proportional_bytes(zygote.pid()))
            .unwrap_or(0);
        zygote
            + parked
                .iter()
                .filter_map(|sandbox| proportional_bytes(sandbox.process.pid()))
                .sum::<u64>()
    };
    let one = held(&parked);
    for _ in 0..SANDBOXES {
        parked.push(engine.sandbox(spec.clone(), StartMode::Fork).await?);
    }
    let many = held(&parked);
    discard(engine, parked);
    Ok((many.saturating_sub(one) / SANDBOXES as u64, one))
}

async fn exec_memory(engine: &Engine, spec: &SandboxSpec) -> Result<u64, EngineError> {
    const SANDBOXES: usize = 4;
    let mut parked = Vec::new();
    let held = |parked: &[Sandbox]| -> u64 {
        parked.iter().filter_map(|sandbox| proportional_bytes(sandbox.process.pid())).sum()
    };
    // The first sandbox alone accounts for the shared pages.
    parked.push(engine.sandbox(spec.clone(), StartMode::Exec).await?);
    let one = held(&parked);
    for _ in 0..SANDBOXES {
        parked.push(engine.sandbox(spec.clone(), StartMode::Exec).await?);
    }
    let many = held(&parked);
    discard(engine, parked);
    Ok(many.saturating_sub(one) / SANDBOXES as u64)
}

fn discard(engine: &Engine, sandboxes: Vec<Sandbox>) {
    for sandbox in &sandboxes {
        sandbox.process.kill();
    }
    for sandbox in sandboxes {
        engine.discard(sandbox);
    }
}

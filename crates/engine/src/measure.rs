//! Measures this machine: time to a fresh sandbox, throughput, memory. What `belljar bench` prints.

use std::time::{Duration, Instant};

use belljar_protocol::{Language, Limits, Policy, RunRequest, RuntimeName, StartMode, Status};
use serde::Serialize;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::pool::proportional_bytes;
use crate::runtime::RuntimeKind;
use crate::sandbox::{Sandbox, SandboxSpec};

/// How long something took, over many times, milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Times {
    /// How many times.
    pub count: usize,
    /// Half took no longer.
    pub p50_ms: f64,
    /// 95 of 100.
    pub p95_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1))).map_or(0.0, Duration::as_secs_f64)
        };
        let ms = |share| (at(share) * 1e6).round() / 1000.0;
        Self { count: times.len(), p50_ms: ms(0.50), p95_ms: ms(0.95), p99_ms: ms(0.99) }
    }
}

/// What was measured of one runtime. All runs are of `1 + 1`, from request to outcome, with every limit in place.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// Which, at its exact version.
    pub runtime: String,
    /// A sandbox was parked.
    pub parked: Times,
    /// A sandbox was forked for the run.
    pub forked: Times,
    /// A runtime process was started for the run.
    pub exec: Times,
    /// The zygote was booted for the run.
    pub cold: Times,
    /// One run after another at half of the throughput, parked.
    pub half_load: Times,
    /// Runs a second, as many at a time as the machine has processors.
    pub runs_per_second: f64,
    /// What one more parked sandbox holds, shared pages by their share, bytes.
    pub parked_bytes: u64,
    /// What the zygote holds, likewise.
    pub zygote_bytes: u64,
    /// What one more sandbox with a runtime process of its own holds, likewise.
    pub exec_bytes: u64,
}

/// Measures a runtime. `progress` is told what comes next.
pub async fn measure(
    engine: &Engine,
    name: &RuntimeName,
    runs: usize,
    progress: impl Fn(&str) + Send + 'static,
) -> Result<Measurement, EngineError> {
    let (engine, name) = (engine.clone(), name.clone());
    // In a task, as a server does it: the thread of a program's `main` would have to be woken for each outcome, which can take longer than the rest.
    // It ends with the future that waits for it.
    let mut measuring = tokio::task::JoinSet::new();
    measuring.spawn(async move { measure_all(&engine, &name, runs, progress).await });
    measuring.join_all().await.pop().unwrap_or_else(|| Err(EngineError::NotReady("nothing was measured".into())))
}

async fn measure_all(engine: &Engine, name: &RuntimeName, runs: usize, progress: impl Fn(&str)) -> Result<Measurement, EngineError> {
    let runtime = engine.runtime(name).await?;
    let language = if runtime.kind == RuntimeKind::Node { Language::JavaScript } else { Language::Python };
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
    if status == Status::Succeeded { Ok(()) } else { Err(EngineError::NotReady(format!("a measured run ended {}", status.name()))) }
}

/// Lets what the last run has left behind be cleared away, so that it is not measured as the next one's.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

async fn run_once(engine: &Engine, request: &RunRequest, start: StartMode) -> Status {
    let mut request = request.clone();
    request.start = start;
    engine.run(request).finished().await.outcome.status
}

async fn time_runs(engine: &Engine, request: &RunRequest, start: StartMode, runs: usize) -> Result<Times, EngineError> {
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

/// Runs arrive on a fixed beat, whether or not the last one is done: a late answer is counted from when it was due.
async fn half_load(engine: &Engine, request: &RunRequest, runs: usize, per_second: f64) -> Result<Times, EngineError> {
    let beat = Duration::from_secs_f64(1.0 / per_second.max(1.0));
    let mut tasks = tokio::task::JoinSet::new();
    let began = Instant::now();
    for index in 0..runs as u32 {
        let due = began + beat * index;
        tokio::time::sleep_until(due.into()).await;
        let (engine, request) = (engine.clone(), request.clone());
        tasks.spawn(async move { (run_once(&engine, &request, StartMode::Fork).await, due.elapsed()) });
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
        let zygote = parked[0].body.zygote.as_ref().and_then(|zygote| proportional_bytes(zygote.pid())).unwrap_or(0);
        zygote + parked.iter().filter_map(|sandbox| proportional_bytes(sandbox.body.pid)).sum::<u64>()
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
    let held = |parked: &[Sandbox]| -> u64 { parked.iter().filter_map(|sandbox| proportional_bytes(sandbox.body.pid)).sum() };
    // The first alone pays for what all share.
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
        sandbox.body.kill();
    }
    for sandbox in sandboxes {
        engine.discard(sandbox);
    }
}

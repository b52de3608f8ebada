//! Runs very many programs of all kinds through one engine, and looks whether anything stays
//! behind. `cargo xtask soak` builds and starts it.
//!
//! Arguments: how many runs, how many between two samples, the seed. The table goes to standard
//! error as it grows, the report as JSON to standard output. The exit status is 0 if every run
//! ended as it had to, nothing was left over, and memory stayed flat.

mod programs;
mod samples;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use belljar_engine::{Engine, EngineConfig};
use programs::{Program, Random};
use samples::{Sample, bytes_per_run};

/// Parked sandboxes of each kind of run.
const PARKED: usize = 2;
/// So that zygotes are renewed often enough to see what a renewal leaves behind.
const ZYGOTE_FORKS: u64 = 700;
/// Memory is flat if the least-squares line through the samples of the second half grows by no more
/// than this over that half. For 100,000 runs that is 42 bytes a run: less than the smallest thing
/// that could be forgotten with each.
const MAX_GROWTH_BYTES: f64 = 2.0 * 1024.0 * 1024.0;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut number =
        |default: u64| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (runs, every, seed) = (number(100_000), number(1000).max(1), number(1));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("tokio starts");
    match runtime.block_on(soak(runs, every, seed)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn soak(runs: u64, every: u64, seed: u64) -> Result<bool, Box<dyn std::error::Error>> {
    let before = Sample::take(0);
    let mounts_before = samples::mounts();
    let mut config = EngineConfig::from_env()?;
    config.parked = PARKED;
    config.zygote_forks = ZYGOTE_FORKS;
    let engine = Engine::new(config)?;

    let began = Instant::now();
    let mut tally = Tally::default();
    let mut taken = Vec::new();
    eprintln!("{}", Sample::HEADER);
    eprintln!("{before}");
    let mut done = 0;
    while done < runs {
        let batch = every.min(runs - done);
        tally.add(run_batch(&engine, batch, seed.wrapping_add(done)).await);
        done += batch;
        // What the last runs left behind is still being cleared away.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let sample = Sample::take(done);
        eprintln!("{sample}");
        taken.push(sample);
    }
    let seconds = began.elapsed().as_secs_f64();
    engine.shutdown().await;
    let after = Sample::take(done);
    eprintln!("{after}   after shutdown");

    let left = after.left_over(&before, &mounts_before);
    let half = &taken[taken.len() / 2..];
    let slope = bytes_per_run(half);
    let span = half.last().map_or(0, |last| last.runs) - half.first().map_or(0, |first| first.runs);
    let is_flat = slope * span as f64 <= MAX_GROWTH_BYTES;
    let passed = left.is_empty() && is_flat && tally.unexpected.is_empty();
    for line in left.iter().chain(&tally.unexpected) {
        eprintln!("FAILED: {line}");
    }
    for (kind, (count, longest)) in &tally.kinds {
        eprintln!("{kind:>24} {count:>7} times, at the most {longest} ms");
    }
    eprintln!("{done} runs in {seconds:.0} s, seed {seed}: {:?}", tally.statuses);
    eprintln!(
        "memory over the second half: {slope:+.1} bytes a run over {span} runs, {}; soak {}",
        if is_flat { "flat" } else { "NOT FLAT" },
        if passed { "passed" } else { "FAILED" }
    );
    let report = serde_json::json!({
        "runs": done, "seed": seed, "seconds": seconds, "statuses": tally.statuses, "kinds": tally.kinds, "unexpected": tally.unexpected,
        "before": before, "samples": taken, "after_shutdown": after, "left_over": left,
        "memory": {"bytes_per_run": slope, "runs": span, "flat": is_flat}, "passed": passed,
    });
    println!("{report:#}");
    Ok(passed)
}

/// Counts of how runs ended.
#[derive(Default)]
struct Tally {
    statuses: BTreeMap<&'static str, u64>,
    /// For each kind of program, the number of runs and the longest time in milliseconds.
    kinds: BTreeMap<&'static str, (u64, u64)>,
    /// The first few runs with an unexpected end.
    unexpected: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (kind, (count, longest)) in other.kinds {
            let kind = self.kinds.entry(kind).or_default();
            *kind = (kind.0 + count, kind.1.max(longest));
        }
        self.unexpected.extend(other.unexpected);
        self.unexpected.truncate(20);
    }
}

/// Runs a batch, some at a time, and waits for all of it.
async fn run_batch(engine: &Engine, count: u64, seed: u64) -> Tally {
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get) * 2;
    let left = Arc::new(AtomicU64::new(count));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let (engine, left) = (engine.clone(), Arc::clone(&left));
        tasks.spawn(async move {
            let mut tally = Tally::default();
            while let Ok(number) =
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            {
                run_one(
                    &engine,
                    Program::pick(&mut Random::new(seed.wrapping_add(number))),
                    &mut tally,
                )
                .await;
            }
            tally
        });
    }
    let mut tally = Tally::default();
    for part in tasks.join_all().await {
        tally.add(part);
    }
    tally
}

async fn run_one(engine: &Engine, program: Program, tally: &mut Tally) {
    let began = Instant::now();
    let mut run = engine.run(program.request);
    let finished = match program.cancel_after {
        Some(time) => {
            let canceller = run.canceller();
            let finished = run.finished();
            let mut finished = std::pin::pin!(finished);
            tokio::select! {
                finished = &mut finished => finished,
                () = tokio::time::sleep(time) => {
                    canceller.cancel();
                    finished.await
                }
            }
        }
        None => {
            while run.next_event().await.is_some() {}
            run.finished().await
        }
    };
    let outcome = finished.outcome;
    let kind = tally.kinds.entry(program.name).or_default();
    *kind = (kind.0 + 1, kind.1.max(began.elapsed().as_millis() as u64));
    *tally.statuses.entry(outcome.status.name()).or_default() += 1;
    let is_expected =
        program.expected.contains(&outcome.status) && finished.artifacts.len() == program.artifacts;
    if !is_expected && tally.unexpected.len() < 20 {
        let error = outcome
            .error
            .map_or(String::new(), |error| format!("{}: {}", error.name, error.message));
        tally.unexpected.push(format!(
            "{}: ended {} with {} artifacts, expected {:?} with {}. {error}",
            program.name,
            outcome.status.name(),
            finished.artifacts.len(),
            program.expected,
            program.artifacts
        ));
    }
}

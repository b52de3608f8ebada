//! `cargo xtask service-soak`: clients of all kinds use a server that is killed again and again, and nothing that it promised may be broken.

mod clients;
mod http;
mod random;
mod server;
mod verdict;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::repository;
use clients::World;
use random::Random;
use server::Server;

/// Contents without a name are let go when they are a day old.
const ORPHAN_AGE: Duration = Duration::from_hours(25);
/// How long the sweep of a server that has just started may take.
const SWEEP_TIME: Duration = Duration::from_mins(1);
/// Clients that submit, that watch, that upload and that download.
const SUBMIT: u64 = 6;
const WATCH: u64 = 3;
const UPLOAD: u64 = 2;
const DOWNLOAD: u64 = 2;
/// How much more of its memory a server may use at the end than at the beginning.
const MOST_GROWTH_BYTES: u64 = 32 << 20;

/// Kill a server at work at random moments, again and again, and prove that nothing is lost, doubled, torn or left over
///
/// Clients submit runs (waited for, at once, streamed, with and without idempotency keys and retries), watch them, and upload, download and
/// replace objects, all the while. A line for every ten kills goes to standard error, the result to standard output. Fails if an accepted run is
/// lost or was run twice unasked, an object is torn, older than one that was acknowledged, or gone, the audit trail is broken, or a process,
/// control group, mount or file is left over.
#[derive(Args)]
pub struct Arguments {
    /// How many times it is killed
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,

    /// The longest time between a start and the next kill, milliseconds; each is drawn at random
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    every_ms: u64,

    /// What decides what clients do and when it is killed
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// The program to kill [default: it is built]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Starts, kills, verifies, reports.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let binary = match &arguments.binary {
        Some(binary) => fs::canonicalize(binary)?,
        None => build()?,
    };
    let mounts_before = server::mounts();
    let folder = tempfile::tempdir().context("cannot make a folder for the home")?;
    let mut server = Server::first(binary, folder.path())?;
    let world = World::new(server.address.clone(), server.token.clone());
    let began = Instant::now();

    let killing = std::thread::scope(|scope| {
        for number in 0..SUBMIT {
            scope.spawn({
                let (world, random) = (&world, Random::new(arguments.seed ^ (1 << 32 | number)));
                move || clients::submit_runs(world, random)
            });
        }
        for number in 0..WATCH {
            scope.spawn({
                let (world, random) = (&world, Random::new(arguments.seed ^ (2 << 32 | number)));
                move || clients::watch_runs(world, random)
            });
        }
        for number in 0..UPLOAD {
            let share = clients::names() / UPLOAD;
            let names = number * share..(number + 1) * share;
            scope.spawn({
                let (world, random) = (&world, Random::new(arguments.seed ^ (3 << 32 | number)));
                move || clients::upload_objects(world, random, names)
            });
        }
        for number in 0..DOWNLOAD {
            scope.spawn({
                let (world, random) = (&world, Random::new(arguments.seed ^ (4 << 32 | number)));
                move || clients::download_objects(world, random)
            });
        }
        let killing = kill_again_and_again(arguments, &mut server);
        // The last ones are answered by a server that lives.
        std::thread::sleep(Duration::from_secs(2));
        world.stop.store(true, Ordering::Release);
        killing
    });
    let killing = killing?;
    let took = began.elapsed();

    verdict::settle(&world)?;
    let resident_at_end = server.resident_bytes();
    let found = verdict::verify(&world, &server)?;
    server.stop()?;
    orphans_are_swept(&world, &mut server)?;
    server.stop()?;
    for left in server.left_over(mounts_before) {
        world.wrong(format!("left over: {left}"));
    }
    if resident_at_end > killing.resident_at_first + MOST_GROWTH_BYTES {
        world.wrong(format!("resident memory grew from {} to {resident_at_end} bytes", killing.resident_at_first));
    }
    let database_bytes = fs::metadata(server.home.join("belljar.db"))?.len();

    let wrong = world.wrong.lock().map_err(|_| anyhow::anyhow!("a client panicked"))?.len();
    println!("{} kills in {:.0} s, {} wrong", arguments.kills, took.as_secs_f64(), wrong);
    println!("start to ready: {}; all that a killed server had was gone after: {}", spread(killing.starts), spread(killing.ends));
    println!("{found:?}");
    println!("{:?}", world.counts);
    println!(
        "resident memory of the server: {} MB after its first {} ms, {} MB at the end; database {} MB, {} bytes a run",
        killing.resident_at_first >> 20,
        FIRST_LOOK.as_millis(),
        resident_at_end >> 20,
        database_bytes >> 20,
        database_bytes / found.runs.max(1) as u64
    );
    let log = fs::read_to_string(server.home.with_file_name("server.log")).unwrap_or_default();
    let complaints: Vec<&str> = log.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).collect();
    println!("{} errors in the servers' logs", complaints.len());
    for line in complaints.iter().take(20) {
        println!("  {line}");
    }
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build() -> Result<PathBuf> {
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--release", "--package", "belljar"])
        .current_dir(repository())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the server cannot be built");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    Ok(target.join("release/belljar"))
}

/// When the memory of the first server is looked at.
const FIRST_LOOK: Duration = Duration::from_secs(5);

struct Killing {
    starts: Vec<Duration>,
    ends: Vec<Duration>,
    resident_at_first: u64,
}

fn kill_again_and_again(arguments: &Arguments, server: &mut Server) -> Result<Killing> {
    let mut random = Random::new(arguments.seed);
    let mut killing = Killing { starts: Vec::new(), ends: Vec::new(), resident_at_first: 0 };
    std::thread::sleep(FIRST_LOOK);
    killing.resident_at_first = server.resident_bytes();
    for number in 1..=arguments.kills {
        std::thread::sleep(Duration::from_millis(random.below(arguments.every_ms)));
        killing.ends.push(server.kill()?);
        killing.starts.push(server.start()?);
        if number % 10 == 0 {
            eprintln!("{number} kills; resident memory {} MB", server.resident_bytes() >> 20);
        }
    }
    Ok(killing)
}

/// Contents whose upload was killed before they had a name are let go by the next sweep, once they are old enough.
fn orphans_are_swept(world: &World, server: &mut Server) -> Result<()> {
    for path in server::files(&server.home.join("objects")) {
        fs::File::options().write(true).open(path)?.set_modified(SystemTime::now() - ORPHAN_AGE)?;
    }
    server.start()?;
    let end = Instant::now() + SWEEP_TIME;
    loop {
        let (files, named) = verdict::contents(world, server)?;
        if files == named {
            return Ok(());
        }
        if files < named || Instant::now() > end {
            world.wrong(format!("{files} contents are there for {named} names"));
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times.get(((times.len().saturating_sub(1)) as f64 * share) as usize).copied().unwrap_or_default().as_millis();
    format!("median {} ms, 95 in 100 within {} ms, longest {} ms", at(0.5), at(0.95), at(1.0))
}

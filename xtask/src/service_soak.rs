//! `cargo xtask service-soak`: clients of all kinds use a server that is killed repeatedly, and
//! everything that it acknowledged must still hold.

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

/// Age given to stored contents that no name refers to: the server deletes them once they are a
/// day old.
const ORPHAN_AGE: Duration = Duration::from_hours(25);
/// Time limit for the first sweep after a server starts.
const SWEEP_TIME: Duration = Duration::from_mins(1);
/// Number of clients that submit runs.
const SUBMIT: u64 = 6;
/// Number of clients that watch runs.
const WATCH: u64 = 3;
/// Number of clients that upload objects.
const UPLOAD: u64 = 2;
/// Number of clients that download objects.
const DOWNLOAD: u64 = 2;
/// Maximum growth of a server's resident memory between the start and the end of the soak.
const MAX_GROWTH_BYTES: u64 = 32 << 20;

/// Kill a busy server repeatedly, and prove that nothing is lost or left over
///
/// Meanwhile, clients submit runs (waiting, not waiting and streaming, with and without idempotency
/// keys and retries), watch them, and upload, download and replace objects. Prints a line to
/// standard error after every ten kills, and the result to standard output. Fails if an accepted
/// run is lost or repeated without a retry, if an object is torn, missing or older than an
/// acknowledged version, if the audit trail is broken, or if a process, control group, mount or
/// file is left over.
#[derive(Args)]
pub struct Arguments {
    /// Number of times to kill the server
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,

    /// Maximum milliseconds from a start to the next kill, drawn at random
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    every_ms: u64,

    /// Seed for the actions of the clients and the times of the kills
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Path of the `belljar` program to kill [default: a fresh release build]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Runs the soak and prints the result. Exits with a failure if a promise was broken.
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
        // Let the last server answer the requests that are still running.
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
    if resident_at_end > killing.resident_at_first + MAX_GROWTH_BYTES {
        world.wrong(format!(
            "resident memory grew from {} to {resident_at_end} bytes",
            killing.resident_at_first
        ));
    }
    let database_bytes = fs::metadata(server.home.join("belljar.db"))?.len();

    let wrong = world.wrong.lock().map_err(|_| anyhow::anyhow!("a client panicked"))?.len();
    println!("{} kills in {:.0} s, {} wrong", arguments.kills, took.as_secs_f64(), wrong);
    println!(
        "start to ready: {}; kill to the end of all the server's processes: {}",
        spread(killing.starts),
        spread(killing.ends)
    );
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
    let complaints: Vec<&str> =
        log.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).collect();
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
        bail!("cannot build the server");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| repository().join("target"), PathBuf::from);
    Ok(target.join("release/belljar"))
}

/// Age at which the memory of the first server is measured.
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

/// Checks that the sweep deletes contents whose upload was killed before they had a name, once
/// they are old enough.
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
            world.wrong(format!("the home contains {files} contents for {named} names"));
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| {
        times
            .get(((times.len().saturating_sub(1)) as f64 * share) as usize)
            .copied()
            .unwrap_or_default()
            .as_millis()
    };
    format!("median {} ms, 95 in 100 within {} ms, longest {} ms", at(0.5), at(0.95), at(1.0))
}

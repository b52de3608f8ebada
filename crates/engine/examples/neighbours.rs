//! Measures the effect of hostile runs on a neighbour: the time of a trivial run next to them,
//! compared with its time next to the same number of plain busy loops under the same limits.
//! `cargo xtask neighbours` builds and starts it.
//!
//! Arguments: seconds in all, hostile runs at once, and optionally the names of the only kinds of
//! attack to measure. The table goes to standard output. The exit
//! status is 0 if no kind of attack makes the neighbour's 99th percentile longer than the bar
//! allows.

use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use belljar_engine::{Call, CallError, CallErrorName, CallHandler, Engine, EngineConfig, RunHost};
use belljar_protocol::{
    Bytes, Denial, Exec, Language, Millis, Network, RunId, RunRequest, StartMode, Status,
};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// The maximum ratio of the neighbour's 99th percentile next to hostile runs and next to busy
/// loops.
const BAR: f64 = 1.5;
/// Each kind of attack and the busy loops take turns this often, so that a machine that changes its
/// pace does so for both.
const ROUNDS: u32 = 4;
/// Each attacker starts again this often, whether its last run ended by itself or had to be
/// stopped.
const ATTACK_TIME: Duration = Duration::from_millis(500);
/// Time between two runs of the neighbour.
const PAUSE: Duration = Duration::from_millis(5);

const BUSY: Attack = Attack { name: "busy loops", grant: Grant::Nothing, code: "while True: pass" };

const ATTACKS: [Attack; 8] = [
    Attack {
        name: "frames",
        grant: Grant::Nothing,
        code: r#"
import os, struct
flood = (struct.pack("<IB", 0, 1) + struct.pack("<IBI", 6, 4, 1) + b"{}") * 4000
while True: os.write(3, flood)
"#,
    },
    Attack {
        name: "storage calls",
        grant: Grant::Storage,
        code: r#"
import belljar
while True:
    try: belljar.storage.delete("x")
    except Exception: pass
"#,
    },
    Attack {
        name: "sparse artifacts",
        grant: Grant::Nothing,
        code: r#"
for n in range(8): open(f"outputs/{n}", "wb").truncate(120 << 20)
"#,
    },
    Attack { name: "logs", grant: Grant::Nothing, code: "while True: print('x\\n' * 500)" },
    Attack {
        name: "forks and threads",
        grant: Grant::Exec,
        code: r"
import os, threading
while True:
    try:
        if os.fork() == 0:
            threading.Thread(target=lambda: None).start()
            os._exit(0)
        os.waitpid(-1, os.WNOHANG)
    except (OSError, RuntimeError): pass
",
    },
    Attack {
        name: "local sockets",
        grant: Grant::Nothing,
        code: r#"
import socket
while True:
    for family in (socket.AF_NETLINK, socket.AF_UNIX):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as s:
                s.bind((0, 0) if family == socket.AF_NETLINK else "\0x")
                s.send(b"\x14\0\0\0\x12\0\x01\x03\0\0\0\0\0\0\0\0\0\0\0\0")
        except OSError: pass
"#,
    },
    Attack {
        name: "loopback",
        grant: Grant::Loopback,
        code: r#"
import socket
server = socket.create_server(("127.0.0.1", 0))
while True:
    with socket.create_connection(server.getsockname()) as client:
        client.sendall(b"x" * 10000)
        server.accept()[0].close()
"#,
    },
    Attack {
        name: "page cache",
        grant: Grant::Read,
        code: r#"
import os
fd = os.open(os.environ["FILE"], os.O_RDONLY)
while True:
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    for at in range(0, 128 << 20, 1 << 20): os.pread(fd, 4096, at)
"#,
    },
];

/// A program that a neighbour suffers from.
#[derive(Clone, Copy)]
struct Attack {
    name: &'static str,
    grant: Grant,
    code: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Grant {
    Nothing,
    Exec,
    Loopback,
    Read,
    Storage,
}

impl Attack {
    fn request(&self, file: &Path) -> RunRequest {
        let mut request = RunRequest::new(Language::Python, self.code);
        request.start = StartMode::Fork;
        request.limits.timeout_ms = Millis(ATTACK_TIME.as_millis() as u64);
        request.limits.memory_bytes = Bytes(64 << 20);
        request.limits.disk_bytes = Bytes(1 << 30);
        request.limits.processes = 32;
        request.limits.output_bytes = Bytes(64 << 20);
        match self.grant {
            Grant::Nothing => {}
            Grant::Exec => request.policy.exec = Exec::Granted,
            Grant::Loopback => request.policy.network = Network::Loopback,
            Grant::Read => {
                let file = file.display().to_string();
                request.policy.env.insert("FILE".into(), file.clone());
                request.policy.fs.read.push(file);
            }
            Grant::Storage => request.policy.storage.write.push(String::new()),
        }
        request
    }
}

/// A call handler that refuses everything: what is measured is the way to it.
#[derive(Debug)]
struct Shut;

impl CallHandler for Shut {
    fn serve(
        &self,
        _run: RunId,
        socket: UnixStream,
    ) -> Pin<Box<dyn Future<Output = Vec<Denial>> + Send>> {
        Box::pin(async move {
            let mut call = Call::new(socket);
            if call.request().await.is_ok() {
                let _ = call.fail(CallError::new(CallErrorName::NotGranted, "no")).await;
            }
            Vec::new()
        })
    }
}

fn main() -> ExitCode {
    let (mut numbers, mut names) = (Vec::new(), Vec::new());
    for argument in std::env::args().skip(1) {
        match argument.parse::<u32>() {
            Ok(number) => numbers.push(number),
            Err(_) => names.push(argument),
        }
    }
    let seconds = Duration::from_secs(numbers.first().copied().unwrap_or(64).into());
    let attackers = numbers.get(1).copied().unwrap_or(6) as usize;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("tokio starts");
    match runtime.block_on(measure(seconds, attackers, &names)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(
    time: Duration,
    attackers: usize,
    names: &[String],
) -> Result<bool, Box<dyn std::error::Error>> {
    let attacks: Vec<&Attack> = ATTACKS
        .iter()
        .filter(|attack| names.is_empty() || names.iter().any(|name| name == attack.name))
        .collect();
    if attacks.is_empty() {
        return Err(format!("no kind of attack is called {}", names.join(" or ")).into());
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("large");
    std::fs::write(&file, vec![1; 128 << 20])?;
    let mut config = EngineConfig::from_env()?;
    config.parked = 2;
    let engine = Engine::new(config)?;
    let window = time / (attacks.len() as u32 * 2 * ROUNDS);
    // The first runs of each kind boot a zygote.
    for &attack in attacks.iter().chain([&&BUSY]) {
        run_next_to(&engine, attack, 1, &file, Duration::ZERO).await?;
    }

    println!(
        "{:20}{:>8}{:>10}{:>10}{:>10}{:>10}{:>8}",
        "next to", "runs", "p50 ms", "p99 ms", "busy p50", "busy p99", "ratio"
    );
    let mut holds = true;
    for attack in attacks {
        let (mut hostile, mut busy) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            busy.extend(run_next_to(&engine, &BUSY, attackers, &file, window).await?);
            hostile.extend(run_next_to(&engine, attack, attackers, &file, window).await?);
        }
        let (runs, hostile, busy) = (hostile.len(), Times::of(hostile), Times::of(busy));
        let ratio = hostile.p99 / busy.p99;
        println!(
            "{:20}{runs:8}{:10.2}{:10.2}{:10.2}{:10.2}{ratio:8.2}",
            attack.name, hostile.p50, hostile.p99, busy.p50, busy.p99
        );
        holds &= ratio <= BAR;
    }
    engine.shutdown().await;
    println!("{}", if holds { "within the bar" } else { "past the bar" });
    Ok(holds)
}

/// Returns the times of the neighbour's runs, at least one, while `attackers` are running.
async fn run_next_to(
    engine: &Engine,
    attack: &Attack,
    attackers: usize,
    file: &Path,
    window: Duration,
) -> Result<Vec<Duration>, String> {
    let mut attacks = JoinSet::new();
    for _ in 0..attackers {
        let (engine, request) = (engine.clone(), attack.request(file));
        attacks.spawn(async move {
            loop {
                let began = tokio::time::Instant::now();
                let host = RunHost {
                    calls: Some(Arc::new(Shut)),
                    tenant: Some("attacker".into()),
                    ..RunHost::default()
                };
                let end = engine.run_with(request.clone(), host).finished().await.outcome;
                assert_ne!(end.status, Status::Refused, "{:?}", end.error);
                tokio::time::sleep_until(began + ATTACK_TIME).await;
            }
        });
    }
    // Until they are at it.
    tokio::time::sleep(ATTACK_TIME / 4).await;
    let (began, mut times) = (Instant::now(), Vec::new());
    while times.is_empty() || began.elapsed() < window {
        let mut request = RunRequest::new(Language::Python, "6 * 7");
        request.start = StartMode::Fork;
        let host = RunHost { tenant: Some("neighbour".into()), ..RunHost::default() };
        let started = Instant::now();
        let end = engine.run_with(request, host).finished().await.outcome;
        if end.status != Status::Succeeded {
            return Err(format!(
                "the neighbour's run next to {} ended {}: {:?}",
                attack.name,
                end.status.name(),
                end.error
            ));
        }
        times.push(started.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    // A dropped run is cancelled; the next window must not have it.
    attacks.shutdown().await;
    tokio::time::sleep(ATTACK_TIME / 4).await;
    Ok(times)
}

/// Times of runs, in milliseconds.
struct Times {
    p50: f64,
    p99: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at =
            |hundredths: usize| times[(times.len() - 1) * hundredths / 100].as_secs_f64() * 1000.0;
        Self { p50: at(50), p99: at(99) }
    }
}

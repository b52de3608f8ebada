//! Sandboxes in which code of packages has run before there is a program: what that code says is
//! not believed, it does not run while the sandbox is parked, and what it holds is counted.

mod module;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use belljar_engine::{Engine, EngineConfig, Finished, Preload, SandboxSpec};
use belljar_protocol::{
    Exec, Language, Limits, Policy, ProgramName, RunRequest, RuntimeName, StartMode, Status,
};
use belljar_test_support::processes::{self, Process, descendants};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

/// The tests look at all processes of this one: one after another.
static ALONE: Mutex<()> = Mutex::const_new(());

struct Place {
    _alone: MutexGuard<'static, ()>,
    engine: Engine,
    folders: Vec<TempDir>,
}

impl Place {
    async fn new(change: impl FnOnce(&mut EngineConfig)) -> Self {
        let alone = ALONE.lock().await;
        let mut config = EngineConfig::from_env().unwrap();
        config.allow_degraded = true;
        change(&mut config);
        Self { _alone: alone, engine: Engine::new(config).unwrap(), folders: Vec::new() }
    }

    async fn spec(
        &mut self,
        module: &str,
        source: &str,
        tenant: Option<&str>,
        policy: &Policy,
    ) -> SandboxSpec {
        let runtime = self.engine.runtime(&RuntimeName::Python(None)).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let environment = module::environment(
            folder.path(),
            Language::Python,
            &runtime,
            module,
            source,
            Preload::InSandbox,
        );
        self.folders.push(folder);
        let spec = SandboxSpec::new(runtime, policy, &Limits::default()).unwrap();
        spec.of_tenant(tenant.map(str::to_owned)).with_environment(Some(Arc::new(environment)))
    }

    /// Runs a program in a sandbox of the pool, or in a fresh one.
    async fn run(
        &self,
        spec: &SandboxSpec,
        start: StartMode,
        code: &str,
        outputs: &[&str],
        policy: &Policy,
    ) -> Finished {
        let sandbox = self.engine.sandbox(spec.clone(), start).await.unwrap();
        let outputs = outputs.iter().map(|&name| ProgramName::try_from(name).unwrap()).collect();
        let request = RunRequest {
            outputs,
            policy: policy.clone(),
            ..RunRequest::new(Language::Python, code)
        };
        self.engine.execute(sandbox, &request).await
    }
}

/// Returns the CPU time of each process that descends from this test.
fn cpu_times() -> HashMap<Process, Duration> {
    descendants(std::process::id())
        .into_iter()
        .filter_map(|process| Some((process, processes::stat(process.pid)?.cpu_time)))
        .collect()
}

/// Sends frames as soon as it is imported, while there is no program.
fn hostile(frames: &str) -> String {
    format!(
        r#"
import array, os, socket, struct, time
def frame(kind, payload=b""):
    if kind in (2, 3, 4, 5, 7, 9, 10):
        payload = struct.pack("<I", 1) + payload
    return struct.pack("<IB", len(payload), kind) + payload
def say(data, *folders):
    channel = socket.socket(fileno=os.dup(3))
    opened = array.array("i", [os.open(folder, os.O_RDONLY) for folder in folders])
    channel.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, opened)] if folders else [])
said = False
if not os.path.exists("/home/user/main.py"):
    {frames}
    said = True
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_cannot_choose_the_folder_that_files_are_collected_from() {
    let mut place = Place::new(|_| ()).await;
    // In each a file is named that is there, and that no program has put into its own folder.
    let code = "import hostile\nhostile.said";
    let policy = Policy::default();
    let cases = [
        // Noticed while the sandbox is made: the program has one in which nothing was imported.
        ("say(frame(1), '/usr/lib')", Some("false")),
        ("say(frame(1), '/usr/lib', '/usr/lib')", Some("false")),
        ("say(frame(8), '/usr/lib')", Some("false")),
        ("say(frame(8)[:3], '/usr/lib')", Some("false")),
        ("say(frame(8)); say(frame(1))", Some("false")),
        ("say(frame(1) * 2)", Some("false")),
        ("say(frame(2, bytes(14)))", Some("false")),
        ("say(frame(5, b'{}'))", Some("false")),
        ("say(frame(7))", Some("false")),
        ("say(frame(6, b'a fault'))", Some("false")),
        ("say(frame(6, b'x' * 70000))", Some("false")),
        // And these once the program has begun, or before: they fail its run.
        ("say(frame(1)); time.sleep(0.2)", None),
        (
            "say(frame(1)); say(frame(5, b'{\"value\": 1, \"error\": null, \"exit_code\": null}') + frame(11)); time.sleep(0.5)",
            None,
        ),
        // Nothing is said: it is imported in advance.
        ("pass", Some("true")),
    ];
    for (number, (frames, value)) in cases.into_iter().enumerate() {
        // Both ways to start, in turn, of which the last three see both.
        let starts = if number < 11 {
            vec![[StartMode::Fork, StartMode::Exec][number % 2]]
        } else {
            vec![StartMode::Fork, StartMode::Exec]
        };
        for start in starts {
            // An environment of its own each time: one that misbehaves is not imported in advance
            // for long.
            let spec = place
                .spec("hostile", &hostile(frames), Some(&format!("{number}{start:?}")), &policy)
                .await;
            let finished =
                place.run(&spec, start, code, &["os-release", "outputs/x"], &policy).await;
            let outcome = finished.outcome;
            assert!(
                outcome.artifacts.is_empty() && finished.artifacts.is_empty(),
                "{frames}: {:?}",
                outcome.artifacts
            );
            if let Some(value) = value {
                assert_eq!(
                    outcome.value.map(|value| value.get().to_owned()).as_deref(),
                    Some(value),
                    "{frames}, {start:?}: {:?}",
                    outcome.error
                );
            } else if outcome.status == Status::Succeeded {
                // Noticed before its program began.
                assert_eq!(outcome.value.unwrap().get(), "false", "{frames}, {start:?}");
            } else {
                assert_eq!(outcome.error.unwrap().name, "ProtocolError", "{frames}, {start:?}");
            }
        }
    }
    place.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_breaks_the_protocol_each_time_is_not_imported_in_advance_any_more() {
    let mut place = Place::new(|_| ()).await;
    let policy = Policy::default();
    // Each import in advance takes longer than a run on a busy machine, so that it is seen when
    // there is none.
    let spec = place.spec("hostile", &hostile("time.sleep(3); say(frame(7))"), None, &policy).await;
    let mut times = Vec::new();
    for _ in 0..4 {
        let began = Instant::now();
        let finished = place.run(&spec, StartMode::Fork, "1", &[], &policy).await;
        assert_eq!(finished.outcome.status, Status::Succeeded);
        times.push(began.elapsed());
    }
    assert!(
        times[..3].iter().all(|time| *time > Duration::from_secs(3)),
        "the attack ran: {times:?}"
    );
    assert!(times[3] < Duration::from_secs(3), "{times:?}");
    place.engine.shutdown().await;
}

/// A zygote's scout goes the way of a sandbox and is not jailed: what has capabilities as it is
/// imported is in it, or in a zygote.
#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_imported_in_sandboxes_and_never_where_there_are_capabilities() {
    let mut place = Place::new(|_| ()).await;
    let policy = Policy::default();
    // It holds up whatever waits for it: the zygote gives its scout 20 s.
    let source = "import os\nin_advance = not os.path.exists('/home/user/main.py')\nstatus = open('/proc/self/status').read()\nwhile 'CapEff:\\t0000000000000000' not in status:\n    pass\n";
    let spec = place.spec("capable", source, None, &policy).await;
    let began = Instant::now();
    let outcome = place
        .run(&spec, StartMode::Fork, "import capable\ncapable.in_advance", &[], &policy)
        .await
        .outcome;
    assert_eq!(outcome.value.expect("it succeeds").get(), "true", "it is imported in advance");
    assert!(began.elapsed() < Duration::from_secs(18), "{:?}", began.elapsed());
    place.engine.shutdown().await;
}

/// Burns CPU time from its import on, and says how far it has come.
const SPINS: &str = r"
import threading
count = 0
def spin():
    global count
    while True:
        count += 1
threading.Thread(target=spin, daemon=True).start()
";

#[tokio::test(flavor = "multi_thread")]
async fn a_package_uses_no_cpu_time_while_its_sandbox_is_parked() {
    for exec in Exec::ALL {
        let mut place = Place::new(|config| config.parked = 1).await;
        let policy = Policy { exec, ..Policy::default() };
        let source = if exec == Exec::Granted {
            format!("{SPINS}import os\nif os.fork() == 0:\n    while True: pass\n")
        } else {
            SPINS.to_owned()
        };
        let spec = place.spec("spins", &source, None, &policy).await;
        place.engine.park(&spec, 1).await.unwrap();
        let before = cpu_times();
        // What is measured is how much time is used while time passes.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(700) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let after = cpu_times();
        let used: Duration = after
            .iter()
            .map(|(process, time)| {
                time.saturating_sub(before.get(process).copied().unwrap_or_default())
            })
            .sum();
        assert!(
            used <= Duration::from_millis(50),
            "{used:?} in 700 ms, exec {exec:?}: {before:?} {after:?}"
        );
        // It runs on once there is a program, which is charged for that and not for what was
        // before.
        let code = "import spins, time\nbefore = spins.count\ntime.sleep(0.3)\n[before > 0, spins.count > before]";
        let outcome = place.run(&spec, StartMode::Fork, code, &[], &policy).await.outcome;
        assert_eq!(
            outcome.value.expect("it succeeds").get(),
            "[true,true]",
            "the attack ran, exec {exec:?}"
        );
        let used = outcome.usage.cpu_user_ms + outcome.usage.cpu_system_ms;
        assert!((10.0..3000.0).contains(&used), "{used} ms");
        place.engine.shutdown().await;
    }
}

/// A timer whose signal continues a process that was stopped.
const WAKES: &str = r"
import ctypes, struct
libc = ctypes.CDLL(None)
# sigevent: a value, SIGCONT, SIGEV_SIGNAL.
event = ctypes.create_string_buffer(struct.pack('<QII', 0, 18, 0) + bytes(64))
timer = ctypes.c_void_p()
made = libc.timer_create(1, event, ctypes.byref(timer))
# Each 50 ms.
armed = libc.timer_settime(timer, 0, ctypes.create_string_buffer(struct.pack('<qqqq', 0, 50_000_000, 0, 50_000_000)), None)
";

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_continues_itself_while_its_sandbox_is_parked_is_ended() {
    let mut place = Place::new(|config| config.parked = 1).await;
    let policy = Policy::default();
    let spec = place.spec("wakes", &format!("{SPINS}{WAKES}"), None, &policy).await;
    let code = "import wakes\n[wakes.made, wakes.armed]";
    let outcome = place.run(&spec, StartMode::Fork, code, &[], &policy).await.outcome;
    assert_eq!(outcome.value.expect("it succeeds").get(), "[0,0]", "the attack ran");
    let began = Instant::now();
    // Parked again in the place of the one that was taken, where it is not seen at once; and ended,
    // where it is not frozen.
    let cpu_time = || cpu_times().values().sum::<Duration>();
    let (mut last, mut still_since) = (cpu_time(), Instant::now());
    while still_since.elapsed() < Duration::from_millis(1500) {
        assert!(began.elapsed() < Duration::from_mins(1), "something runs on: {:?}", cpu_times());
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = cpu_time();
        if now > last + Duration::from_millis(10) {
            still_since = Instant::now();
        }
        last = now;
    }
    place.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_has_spoken_while_it_was_parked_is_thrown_away() {
    let mut place = Place::new(|config| config.parked = 1).await;
    let policy = Policy::default();
    // Parked by a word of the package's own, which then speaks on before the sandbox is stopped, or
    // is stopped before.
    let frames = r#"say(frame(1)); [say(frame(5, b'{"value": "forged", "error": null, "exit_code": null}') + frame(11)) for _ in range(50)]; time.sleep(0.5)"#;
    let spec = place.spec("hostile", &hostile(frames), None, &policy).await;
    for _ in 0..4 {
        let _ = place.engine.park(&spec, 1).await;
        let outcome = place.run(&spec, StartMode::Fork, "'real'", &[], &policy).await.outcome;
        assert_ne!(
            outcome.value.as_ref().map(|value| value.get()),
            Some("\"forged\""),
            "{:?}",
            outcome.error
        );
    }
    place.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_pushes_out_its_own_parked_sandboxes_and_not_those_of_another() {
    let mut place = Place::new(|config| {
        config.parked = 1;
        config.parked_memory_bytes = 110 << 20;
    })
    .await;
    let policy = Policy::default();
    let holds = |megabytes: usize| format!("held = bytearray(b'x' * ({megabytes} << 20))\n");
    let modest = place.spec("modest", &holds(30), Some("modest"), &policy).await;
    place.engine.park(&modest, 1).await.unwrap();
    let mut greedy = Vec::new();
    for (module, megabytes) in [("one", 50), ("two", 60), ("three", 55)] {
        let spec = place.spec(module, &holds(megabytes), Some("greedy"), &policy).await;
        // Where the newest has to go at once, it is not waited for.
        let _ = tokio::time::timeout(Duration::from_mins(1), place.engine.park(&spec, 1)).await;
        greedy.push(spec);
    }
    assert_eq!(place.engine.parked(&modest), 1, "it holds less than its share");
    let kept: Vec<usize> = greedy.iter().map(|spec| place.engine.parked(spec)).collect();
    assert_eq!(kept, [0, 0, 1], "of the other, those that were not asked for the longest are gone");
    place.engine.shutdown().await;
}

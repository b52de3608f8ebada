//! An environment is in use as long as sandboxes or zygotes with it are alive, and no longer. A
//! program of its own, because all its zygotes are killed.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use belljar_engine::{Engine, EngineConfig, Environment, Preload, Runtime, SandboxSpec};
use belljar_protocol::{Limits, Policy, RuntimeName, StartMode};
use belljar_test_support::processes;

fn spec(runtime: &Arc<Runtime>, environment: Option<Environment>) -> SandboxSpec {
    let spec =
        SandboxSpec::new(Arc::clone(runtime), &Policy::default(), &Limits::default()).unwrap();
    spec.with_environment(environment.map(Arc::new))
}

/// An environment in a folder, and what tells whether anything holds it.
fn environment(runtime: &Runtime, folder: &Path) -> (Environment, Weak<File>) {
    let lease = Arc::new(File::open("/dev/null").unwrap());
    let held = Arc::downgrade(&lease);
    let environment = Environment {
        key: folder.display().to_string(),
        folder: folder.to_owned(),
        place: Environment::place(runtime.kind).to_owned(),
        modules: Vec::new(),
        preload: Preload::InSandbox,
        lease: Some(lease),
    };
    (environment, held)
}

/// Returns the ids of the processes that this one has started.
fn children() -> Vec<String> {
    let own = std::process::id();
    processes::all()
        .filter(|(_, stat)| stat.parent == own)
        .map(|(pid, _)| pid.to_string())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_is_held_by_no_zygote_that_is_dead_or_never_was() {
    let mut config = EngineConfig::from_env().unwrap();
    config.allow_degraded = true;
    config.parked = 1;
    let engine = Engine::new(config).unwrap();
    let runtime = engine.runtime(&RuntimeName::Node(None)).await.unwrap();

    let (missing, held) = environment(&runtime, Path::new("/nonexistent/environment"));
    engine.sandbox(spec(&runtime, Some(missing)), StartMode::Fork).await.unwrap_err();
    await_release(&engine, &held, None).await;

    let folder = tempfile::tempdir().unwrap();
    let (there, held) = environment(&runtime, &folder.path().canonicalize().unwrap());
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let there = spec(&runtime, Some(there));
    engine.park(&there, 1).await.unwrap();
    drop(there);
    assert!(held.upgrade().is_some(), "what is parked holds it");
    let killed = children();
    assert!(!killed.is_empty(), "there was nothing to kill");
    assert!(Command::new("kill").arg("-9").args(&killed).status().unwrap().success());
    await_release(&engine, &held, Some(&spec(&runtime, None))).await;
    engine.shutdown().await;
}

/// Waits until nothing holds an environment, which is seen to whenever a sandbox is asked for.
async fn await_release(engine: &Engine, held: &Weak<File>, asked: Option<&SandboxSpec>) {
    let began = Instant::now();
    while held.upgrade().is_some() {
        assert!(began.elapsed() < Duration::from_mins(1), "it is still held");
        match asked {
            Some(spec) => {
                engine.discard(engine.sandbox(spec.clone(), StartMode::Fork).await.unwrap());
            }
            None => tokio::task::yield_now().await,
        }
    }
}

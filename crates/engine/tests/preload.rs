//! Preloaded modules. In a zygote, no sandbox continues with state that the others share, and a
//! zygote that cannot be forked is not forked. In a sandbox, the cost is not charged to the
//! program.

use std::collections::HashSet;
mod module;

use std::sync::Arc;

use belljar_engine::{Engine, EngineConfig, Preload, SandboxSpec};
use belljar_protocol::{
    Language, Limits, Millis, Policy, RunRequest, RuntimeName, StartMode, Status,
};

/// Returns the values of two runs of a program, both forked from one zygote that has imported
/// `module`, and the reason if it has not imported it.
async fn twice(
    language: Language,
    module: &str,
    source: &str,
    code: &str,
) -> ([String; 2], Option<String>) {
    let mut config = EngineConfig::from_env().unwrap();
    config.allow_degraded = true;
    let engine = Engine::new(config).unwrap();
    let name = if language == Language::Python {
        RuntimeName::Python(None)
    } else {
        RuntimeName::Node(None)
    };
    let runtime = engine.runtime(&name).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let environment =
        module::environment(folder.path(), language, &runtime, module, source, Preload::InZygote);
    let spec = SandboxSpec::new(runtime, &Policy::default(), &Limits::default())
        .unwrap()
        .with_environment(Some(Arc::new(environment)));
    let mut values = Vec::new();
    let mut why = None;
    for _ in 0..2 {
        let sandbox = engine.sandbox(spec.clone(), StartMode::Fork).await.unwrap();
        why = sandbox.why_not_preloaded().map(str::to_owned);
        let outcome = engine.execute(sandbox, &RunRequest::new(language, code)).await.outcome;
        assert_eq!(outcome.status, Status::Succeeded, "{:?}", outcome.error);
        values.push(outcome.value.unwrap().get().to_owned());
    }
    engine.shutdown().await;
    (values.try_into().unwrap(), why)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_modules_own_generators_differ_between_forks_and_those_it_gave_a_seed_do_not() {
    let source = "from random import Random\nown, fixed = Random(), Random(7)\nwith open('/tmp/cache', 'w') as file:\n    file.write('x')\n";
    let code = "import generators, os, random, sys\n[generators.own.random(), generators.fixed.random(), random.random(), os.path.exists('/tmp/cache')]";
    let (values, why) = twice(Language::Python, "generators", source, code).await;
    assert_eq!(why, None);
    let [first, second] =
        values.map(|value| serde_json::from_str::<(f64, f64, f64, bool)>(&value).unwrap());
    assert_ne!(first.0.to_bits(), second.0.to_bits(), "its own");
    assert_eq!(first.1.to_bits(), second.1.to_bits(), "the one with a seed");
    assert_ne!(first.2.to_bits(), second.2.to_bits(), "the language's");
    assert!(!first.3, "what is written in the zygote is not in the sandbox");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_module_with_a_thread_is_imported_in_the_sandbox() {
    let source = "import threading\nthread = threading.Thread(target=threading.Event().wait, daemon=True)\nthread.start()\n";
    let (values, why) =
        twice(Language::Python, "threads", source, "import threads\nthreads.thread.is_alive()")
            .await;
    assert_eq!(values, ["true", "true"]);
    assert!(why.as_ref().is_some_and(|why| why.starts_with("runs a thread ")), "{why:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_module_that_fails_leaves_no_half_of_itself() {
    let source = "import sys\nsys.modules['fails.inner'] = sys\nif 'ready' not in sys.argv:\n    sys.argv.append('ready')\n    raise OSError('the first time')\n";
    let (values, _) =
        twice(Language::Python, "fails", source, "import sys\n'fails.inner' in sys.modules").await;
    assert_eq!(values, ["false", "false"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_module_that_has_drawn_random_numbers_is_imported_in_the_sandbox() {
    let source = "let state = Math.random(); exports.next = () => (state = (state * 16807) % 1);";
    let (values, why) =
        twice(Language::JavaScript, "draws", source, "[require('draws').next(), Math.random()]")
            .await;
    assert!(why.as_ref().is_some_and(|why| why.contains("Math.random")), "{why:?}");
    let numbers: Vec<[f64; 2]> =
        values.iter().map(|value| serde_json::from_str(value).unwrap()).collect();
    let different: HashSet<u64> = numbers.iter().flatten().map(|number| number.to_bits()).collect();
    assert_eq!(different.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_node_drew_while_preloading_in_the_zygote_is_thrown_away() {
    let source = "const crypto = require('node:crypto'); exports.id = crypto.randomUUID(); exports.number = crypto.randomInt(2 ** 40);";
    let code = "const crypto = require('node:crypto'); require('drawn'); [crypto.randomUUID(), `${crypto.randomInt(2 ** 47)}`]";
    let (values, why) = twice(Language::JavaScript, "drawn", source, code).await;
    assert_eq!(why, None);
    let drawn: Vec<[String; 2]> =
        values.iter().map(|value| serde_json::from_str(value).unwrap()).collect();
    assert_eq!(drawn.iter().flatten().collect::<HashSet<_>>().len(), 4, "{drawn:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_module_with_a_thread_is_imported_in_the_sandbox() {
    let source = "require('node:fs').readFile(__filename, () => {}); exports.one = 1;";
    let (values, why) = twice(Language::JavaScript, "reads", source, "require('reads').one").await;
    assert_eq!(values, ["1", "1"]);
    assert!(why.as_ref().is_some_and(|why| why.starts_with("runs a thread ")), "{why:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn preloading_is_not_counted_as_the_programs_cpu_time() {
    let mut config = EngineConfig::from_env().unwrap();
    config.allow_degraded = true;
    let engine = Engine::new(config).unwrap();
    let runtime = engine.runtime(&RuntimeName::Python(None)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Longer than the kernel's own limit for a program that may use a second.
    let source = "import os, time\nin_advance = not os.path.exists('/home/user/main.py')\ndef work(seconds):\n    end = time.process_time() + seconds\n    while time.process_time() < end:\n        pass\nwork(2.3)\n";
    let environment = module::environment(
        folder.path(),
        Language::Python,
        &runtime,
        "works",
        source,
        Preload::InSandbox,
    );
    let limits = Limits { cpu_ms: Millis(1000), ..Limits::default() };
    let spec = SandboxSpec::new(runtime, &Policy::default(), &limits)
        .unwrap()
        .with_environment(Some(Arc::new(environment)));
    for (start, seconds, expected) in [
        (StartMode::Fork, 0.5, Status::Succeeded),
        (StartMode::Exec, 0.5, Status::Succeeded),
        (StartMode::Fork, 1.5, Status::CpuExceeded),
    ] {
        let sandbox = engine.sandbox(spec.clone(), start).await.unwrap();
        let code = format!("import works\nworks.work({seconds})\nworks.in_advance");
        let request = RunRequest { limits, ..RunRequest::new(Language::Python, code) };
        let outcome = engine.execute(sandbox, &request).await.outcome;
        assert_eq!(outcome.status, expected, "{start:?}: {:?}", outcome.error);
        if expected == Status::Succeeded {
            assert_eq!(outcome.value.unwrap().get(), "true", "it was preloaded");
            let used = outcome.usage.cpu_user_ms + outcome.usage.cpu_system_ms;
            assert!((400.0..1000.0).contains(&used), "{used} ms");
        }
    }
    engine.shutdown().await;
}

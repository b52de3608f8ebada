//! Forks sandboxes one after another and runs `1 + 1` in each: for a profiler. `cargo run --release
//! --example forks -- python 2000`
use belljar_engine::{Engine, EngineConfig};
use belljar_protocol::{Language, RunRequest, StartMode, Status};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let language: Language = arguments.get(1).map_or("python", String::as_str).parse()?;
    let runs: usize = arguments.get(2).map_or("1000", String::as_str).parse()?;
    let workers: usize = arguments.get(3).map_or("1", String::as_str).parse()?;
    let engine = Engine::new(EngineConfig::from_env()?)?;
    let mut request = RunRequest::new(language, "1 + 1");
    request.start = StartMode::Fork;
    assert_eq!(engine.run(request.clone()).finished().await.outcome.status, Status::Succeeded);
    let began = std::time::Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let (engine, request) = (engine.clone(), request.clone());
        tasks.spawn(async move {
            for _ in 0..runs / workers {
                assert_eq!(
                    engine.run(request.clone()).finished().await.outcome.status,
                    Status::Succeeded
                );
            }
        });
    }
    tasks.join_all().await;
    let took = began.elapsed().as_secs_f64();
    println!(
        "{} runs, {:.3} ms each, {:.0}/s",
        runs,
        took * 1000.0 / runs as f64,
        runs as f64 / took
    );
    engine.shutdown().await;
    Ok(())
}

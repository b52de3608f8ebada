//! A tool's end is told as soon as it has ended.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use belljar_engine::{Engine, EngineConfig, Tool, ToolEnd, ToolLimits, ToolNetwork};

/// A check is asked every half second: whoever waits for the next one takes longer.
const SOON: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_tool_waits_for_no_further_check() {
    let mut config = EngineConfig::from_env().unwrap();
    config.allow_degraded = true;
    let engine = Engine::new(config).unwrap();
    let shows = ["/usr", "/lib", "/lib64"].map(PathBuf::from).into_iter().filter(|path| path.exists());
    let tool = Tool {
        // Past the first check, and long before the second.
        program: "/usr/bin/sleep".into(),
        arguments: vec!["0.1".to_owned()],
        variables: [].into(),
        shows: shows.collect(),
        folders: Vec::new(),
        files: Vec::new(),
        network: ToolNetwork::None,
        limits: ToolLimits {
            time: Duration::from_mins(1),
            memory_bytes: 256 << 20,
            processes: 16,
            scratch_bytes: 1 << 20,
            file_bytes: 1 << 20,
        },
    };
    let mut quickest = Duration::MAX;
    // The quickest of a few, for machines that are busy with other things.
    for _ in 0..5 {
        let (sender, _lines) = tokio::sync::mpsc::channel(8);
        let began = Instant::now();
        let end = engine.run_tool(tool.clone(), sender, Box::new(|| None)).await.unwrap();
        quickest = quickest.min(began.elapsed());
        assert_eq!(end, ToolEnd::Exited(0));
    }
    assert!(quickest < SOON, "it took {quickest:?}");
    engine.shutdown().await;
}

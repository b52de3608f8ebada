//! The end of a tool is reported immediately.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use belljar_engine::{Engine, EngineConfig, Tool, ToolEnd, ToolLimits, ToolNetwork};

/// The last line that the tool prints before it ends.
const LAST_LINE: &str = "last";

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_tool_waits_for_no_further_check() {
    let mut config = EngineConfig::from_env().unwrap();
    config.allow_degraded = true;
    let engine = Engine::new(config).unwrap();
    let shows =
        ["/usr", "/lib", "/lib64"].map(PathBuf::from).into_iter().filter(|path| path.exists());
    let tool = Tool {
        program: "/usr/bin/sh".into(),
        // Past the first check, and long before the second: checks run every 500 ms.
        arguments: vec!["-c".to_owned(), format!("/usr/bin/sleep 0.1; echo {LAST_LINE}")],
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
    let mut later_checks = Vec::new();
    // A check can fall between the last line and the end by chance, so one of a few must be
    // without.
    for _ in 0..5 {
        let (sender, mut lines) = tokio::sync::mpsc::channel(8);
        let checks = Arc::new(AtomicUsize::new(0));
        let checked = Arc::clone(&checks);
        let checks_at_last_line = tokio::spawn({
            let checks = Arc::clone(&checks);
            async move {
                while let Some(line) = lines.recv().await {
                    if line == LAST_LINE {
                        return checks.load(Ordering::SeqCst);
                    }
                }
                panic!("the tool did not print its last line");
            }
        });
        let check = Box::new(move || {
            checked.fetch_add(1, Ordering::SeqCst);
            None
        });
        let end = engine.run_tool(tool.clone(), sender, check).await.unwrap();
        let all_checks = checks.load(Ordering::SeqCst);
        assert_eq!(end, ToolEnd::Exited(0));
        later_checks.push(all_checks - checks_at_last_line.await.unwrap());
    }
    assert!(later_checks.contains(&0), "checks after the last line: {later_checks:?}");
    engine.shutdown().await;
}

//! Memory stays flat, however large the content. Alone in its process: what is measured is the process.

use std::convert::Infallible;

use belljar_objects::{Durability, Key, Objects, ObjectsConfig};
use bytes::Bytes;
use futures::{StreamExt, stream};

const CONTENT_BYTES: u64 = 300 << 20;
const CHUNK: usize = 64 << 10;
/// Two batches, two chunks on the way out, the test's own chunks; ten times of that.
const MOST_GROWTH_BYTES: u64 = 32 << 20;

fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_megabytes_go_in_and_out_in_flat_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("objects");
    let objects = Objects::open(&ObjectsConfig::Directory { path, durability: Durability::Process }).unwrap();
    let key = Key::new("prj_large").unwrap();
    let before = peak_memory_bytes();
    let chunks = stream::iter((0..CONTENT_BYTES / CHUNK as u64).map(|n| Ok::<_, Infallible>(Bytes::from(vec![n as u8; CHUNK]))));
    let stored = objects.put(&key, chunks, u64::MAX).await.unwrap();
    assert_eq!(stored.size_bytes, CONTENT_BYTES);
    let mut content = objects.get(&key, None).await.unwrap();
    let mut read = 0;
    while let Some(chunk) = content.next().await {
        read += chunk.unwrap().len() as u64;
    }
    assert_eq!(read, CONTENT_BYTES);
    let growth = peak_memory_bytes() - before;
    assert!(growth < MOST_GROWTH_BYTES, "{growth} bytes more");
}

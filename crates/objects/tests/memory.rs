//! Memory use does not depend on the size of the content. This test has a process of its own,
//! because it measures the whole process.

use std::convert::Infallible;

use belljar_objects::{Key, Objects, ObjectsConfig};
use belljar_protocol::Durability;
use belljar_test_support::processes::peak_resident_bytes;
use bytes::Bytes;
use futures::{StreamExt, stream};

const CONTENT_BYTES: u64 = 300 << 20;
const CHUNK: usize = 64 << 10;
/// Two batches, two chunks in transfer, and the test's own chunks, times ten.
const MAX_GROWTH_BYTES: u64 = 32 << 20;

fn peak_memory_bytes() -> u64 {
    peak_resident_bytes(std::process::id())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_megabytes_go_in_and_out_in_flat_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("objects");
    let objects =
        Objects::open(&ObjectsConfig::Directory { path, durability: Durability::Process }).unwrap();
    let key = Key::new("prj_large").unwrap();
    let before = peak_memory_bytes();
    let chunks = stream::iter(
        (0..CONTENT_BYTES / CHUNK as u64)
            .map(|n| Ok::<_, Infallible>(Bytes::from(vec![n as u8; CHUNK]))),
    );
    let stored = objects.put(&key, chunks, u64::MAX).await.unwrap();
    assert_eq!(stored.size_bytes, CONTENT_BYTES);
    let mut content = objects.get(&key, None).await.unwrap();
    let mut read = 0;
    while let Some(chunk) = content.next().await {
        read += chunk.unwrap().len() as u64;
    }
    assert_eq!(read, CONTENT_BYTES);
    let growth = peak_memory_bytes() - before;
    assert!(growth < MAX_GROWTH_BYTES, "{growth} bytes more");
}

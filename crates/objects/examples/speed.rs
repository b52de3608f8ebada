//! Measures the speed of uploads into and downloads from a directory, compared to `cp`: `cargo run
//! --release -p belljar-objects --example speed -- [FOLDER] [MEGABYTES]`.
//!
//! Every figure is the best of five. `cp` and the upload both write to the page cache of the same
//! file system.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Instant;

use belljar_objects::{Key, Objects, ObjectsConfig};
use belljar_protocol::Durability;
use bytes::Bytes;
use futures::{StreamExt, stream};

/// The approximate size of the pieces that a connection receives.
const CHUNK: usize = 256 << 10;
const TIMES: usize = 5;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join(format!("belljar-speed-{}", std::process::id()));
    let megabytes: usize = arguments.next().map_or(Ok(1024), |text| text.parse())?;
    std::fs::create_dir_all(&folder)?;
    let measured = measure(&folder, megabytes).await;
    std::fs::remove_dir_all(&folder)?;
    measured
}

async fn measure(folder: &Path, megabytes: usize) -> Result<(), Box<dyn std::error::Error>> {
    let objects = Objects::open(&ObjectsConfig::Directory {
        path: folder.join("objects"),
        durability: Durability::Process,
    })?;
    let chunk: Vec<u8> =
        (0..CHUNK as u32 / 4).flat_map(|n| n.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect();
    let chunk = Bytes::from(chunk);
    let file = folder.join("file");
    std::fs::write(&file, chunk.repeat((megabytes << 20) / CHUNK))?;
    let (mut copy, mut up, mut down) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..TIMES {
        let started = Instant::now();
        let status =
            std::process::Command::new("cp").arg(&file).arg(folder.join("copy")).status()?;
        assert!(status.success(), "cp failed");
        copy = copy.min(started.elapsed().as_secs_f64());
        std::fs::remove_file(folder.join("copy"))?;

        let key = Key::new("prj_speed")?;
        let chunks = stream::iter(
            (0..(megabytes << 20) / CHUNK).map(|_| Ok::<_, Infallible>(chunk.clone())),
        );
        let started = Instant::now();
        objects.put(&key, chunks, u64::MAX).await?;
        up = up.min(started.elapsed().as_secs_f64());

        let started = Instant::now();
        let mut content = objects.get(&key, None).await?;
        let mut read = 0;
        while let Some(chunk) = content.next().await {
            read += chunk?.len();
        }
        assert_eq!(read, megabytes << 20);
        down = down.min(started.elapsed().as_secs_f64());
        objects.delete(&key).await?;
    }
    let speed = |seconds: f64| megabytes as f64 / seconds;
    println!(
        "{megabytes} MB    cp {:.0} MB/s    up {:.0} MB/s    down {:.0} MB/s",
        speed(copy),
        speed(up),
        speed(down)
    );
    Ok(())
}

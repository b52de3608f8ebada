//! Guarantees of all kinds of storage. Each is a function of [`Objects`], which `directory.rs` and
//! `s3.rs` call.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::time::{Duration, SystemTime};

use belljar_objects::{Key, Objects, ObjectsError, PutError, StoredContent};
use belljar_test_support::eventually_async;
use bytes::Bytes;
use futures::stream::{self, Stream};
use futures::{FutureExt, StreamExt, TryStreamExt};

/// A size of more than one part of a multipart upload and more than one batch, and a multiple of
/// neither.
const LARGE: usize = (20 << 20) + 12_345;

/// Returns content in which no two chunks are the same.
pub fn content(length: usize) -> Vec<u8> {
    (0..length.div_ceil(8) as u64)
        .flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes())
        .take(length)
        .collect()
}

pub fn body(content: &[u8]) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
    let content = Bytes::copy_from_slice(content);
    stream::iter(
        (0..content.len())
            .step_by(50_000)
            .map(move |at| Ok(content.slice(at..content.len().min(at + 50_000)))),
    )
}

pub async fn put(objects: &Objects, project: &str, content: &[u8]) -> StoredContent {
    objects.put(&Key::new(project).unwrap(), body(content), u64::MAX).await.unwrap()
}

pub async fn read(objects: &Objects, key: &Key) -> Vec<u8> {
    let chunks: Vec<Bytes> = objects.get(key, None).await.unwrap().try_collect().await.unwrap();
    assert!(
        chunks.iter().all(|chunk| (1..=1 << 20).contains(&chunk.len())),
        "no chunk is empty, none larger than 1 MiB"
    );
    chunks.concat()
}

async fn keys(objects: &Objects, project: Option<&str>) -> Vec<Key> {
    let mut keys: Vec<Key> =
        objects.list(project).map_ok(|listed| listed.key).try_collect().await.unwrap();
    keys.sort();
    keys
}

pub async fn the_storage_is_ready(objects: &Objects) {
    objects.check().await.unwrap();
    assert_eq!(keys(objects, Some("probe")).await, [], "the probe is gone");
}

pub async fn written_content_is_read_back(objects: &Objects) {
    for length in [0, 1, 49_999, 1 << 20, 8 << 20, LARGE] {
        let content = content(length);
        let stored = put(objects, "prj_a", &content).await;
        assert_eq!(stored.size_bytes, length as u64);
        assert!(read(objects, &stored.key).await == content, "{length} bytes");
        objects.delete(&stored.key).await.unwrap();
    }
    let stored = put(objects, "prj_a", b"hello").await;
    // The output of md5sum(1) and sha256sum(1), because RFC 1321 and FIPS 180 have no example with
    // this text.
    assert_eq!(stored.md5, "5d41402abc4b2a76b9719d911017c592");
    assert_eq!(stored.sha256, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    objects.delete(&stored.key).await.unwrap();
}

pub async fn ranges_are_exact(objects: &Objects) {
    let content = content(3 << 20);
    let stored = put(objects, "prj_a", &content).await;
    let all = content.len() as u64;
    for range in [0..1, 5..5, 0..all, 1_048_575..1_048_577, all - 1..all, 7..2_500_001] {
        let read = objects.get(&stored.key, Some(range.clone())).await.unwrap();
        assert_eq!((read.size_bytes(), read.range()), (all, range.clone()));
        let read: Vec<Bytes> = read.try_collect().await.unwrap();
        assert!(read.concat() == content[range.start as usize..range.end as usize], "{range:?}");
    }
    let open_ended = objects.get(&stored.key, Some(all - 2..u64::MAX)).await.unwrap();
    assert_eq!(open_ended.range(), all - 2..all);
    #[allow(clippy::reversed_empty_ranges)]
    for range in [all..all + 1, 2..1] {
        let refused = objects.get(&stored.key, Some(range)).await.unwrap_err();
        assert!(
            matches!(refused, ObjectsError::Range { size_bytes, .. } if size_bytes == all),
            "{refused}"
        );
    }
    objects.delete(&stored.key).await.unwrap();
}

pub async fn missing_content_is_not_found_and_can_be_deleted(objects: &Objects) {
    let key = Key::new("prj_none").unwrap();
    let missing = objects.get(&key, None).await.unwrap_err();
    assert!(matches!(&missing, ObjectsError::NotFound(missing) if *missing == key), "{missing}");
    assert!(matches!(objects.get(&key, Some(0..1)).await, Err(ObjectsError::NotFound(_))));
    objects.delete(&key).await.unwrap();
    objects.delete(&key).await.unwrap();
}

pub async fn a_listing_has_each_key_of_a_project_once(objects: &Objects) {
    let mut a = vec![
        put(objects, "prj_list", b"one").await.key,
        put(objects, "prj_list", b"two!").await.key,
    ];
    // A project whose id begins with the id of another project is a different one.
    let b = put(objects, "prj_list2", b"three").await.key;
    a.sort();
    assert_eq!(keys(objects, Some("prj_list")).await, a);
    assert_eq!(keys(objects, Some("prj_none")).await, []);
    let all = keys(objects, None).await;
    assert!(
        a.iter().chain([&b]).all(|key| all.iter().filter(|listed| *listed == key).count() == 1)
    );
    let listed: Vec<_> = objects.list(Some("prj_list2")).try_collect().await.unwrap();
    assert_eq!(listed[0].size_bytes, 5);
    let age = SystemTime::now().duration_since(listed[0].last_modified).unwrap_or_default();
    assert!(age < Duration::from_mins(1), "{age:?}");
    for key in a.iter().chain([&b]) {
        objects.delete(key).await.unwrap();
    }
    assert_eq!(keys(objects, Some("prj_list")).await, []);
}

/// `residue` returns the number of unfinished uploads that the storage holds.
pub async fn a_failed_upload_leaves_nothing<F: Future<Output = usize>>(
    objects: &Objects,
    residue: impl Fn() -> F,
) {
    for length in [1000, LARGE] {
        let key = Key::new("prj_fails").unwrap();
        let too_large =
            objects.put(&key, body(&content(length)), length as u64 - 1).await.unwrap_err();
        assert!(
            matches!(too_large, PutError::TooLarge { max_bytes } if max_bytes == length as u64 - 1)
        );
        assert_eq!(
            (residue().await, keys(objects, Some("prj_fails")).await.len()),
            (0, 0),
            "{length} bytes"
        );

        let broken = body(&content(length))
            .map(|chunk| chunk.map_err(|never| match never {}))
            .chain(stream::iter([Err(io::Error::other("gone"))]));
        let broken = objects.put(&key, broken, u64::MAX).await.unwrap_err();
        assert_eq!(broken.to_string(), "the content ended early: gone");
        assert_eq!(
            (residue().await, keys(objects, Some("prj_fails")).await.len()),
            (0, 0),
            "{length} bytes"
        );
    }
}

pub async fn a_dropped_upload_leaves_nothing<F: Future<Output = usize>>(
    objects: &Objects,
    residue: impl Fn() -> F,
) {
    let key = Key::new("prj_dropped").unwrap();
    let (all_sent, sent) = tokio::sync::oneshot::channel();
    let never_ends = body(&content(LARGE)).chain(
        async move {
            all_sent.send(()).unwrap();
            std::future::pending().await
        }
        .into_stream(),
    );
    let upload = {
        let (objects, key) = (objects.clone(), key.clone());
        tokio::spawn(async move { objects.put(&key, never_ends, u64::MAX).await })
    };
    sent.await.unwrap();
    eventually_async("an upload is in progress", async || residue().await > 0).await;
    upload.abort();
    assert!(upload.await.unwrap_err().is_cancelled());
    eventually_async("nothing is left", async || residue().await == 0).await;
    assert_eq!(keys(objects, Some("prj_dropped")).await, []);
    assert!(matches!(objects.get(&key, None).await, Err(ObjectsError::NotFound(_))));
}

pub async fn nothing_can_be_read_before_it_is_complete(objects: &Objects) {
    let key = Key::new("prj_atomic").unwrap();
    let (all_sent, sent) = tokio::sync::oneshot::channel();
    let (finish, may_end) = tokio::sync::oneshot::channel::<()>();
    let waits = body(&content(LARGE)).chain(
        async move {
            all_sent.send(()).unwrap();
            may_end.await.unwrap();
            Ok(Bytes::from_static(b"end"))
        }
        .into_stream(),
    );
    let upload = {
        let (objects, key) = (objects.clone(), key.clone());
        tokio::spawn(async move { objects.put(&key, waits, u64::MAX).await })
    };
    sent.await.unwrap();
    assert!(matches!(objects.get(&key, None).await, Err(ObjectsError::NotFound(_))));
    assert_eq!(keys(objects, Some("prj_atomic")).await, []);
    finish.send(()).unwrap();
    assert_eq!(upload.await.unwrap().unwrap().size_bytes, LARGE as u64 + 3);
    assert_eq!(read(objects, &key).await.len(), LARGE + 3);
    objects.delete(&key).await.unwrap();
}

pub async fn a_reader_that_has_started_can_finish_after_a_deletion(objects: &Objects) {
    let content = content(LARGE);
    let stored = put(objects, "prj_deleted", &content).await;
    let mut reading = objects.get(&stored.key, None).await.unwrap();
    let mut read = reading.next().await.unwrap().unwrap().to_vec();
    objects.delete(&stored.key).await.unwrap();
    assert!(matches!(objects.get(&stored.key, None).await, Err(ObjectsError::NotFound(_))));
    while let Some(chunk) = reading.next().await {
        read.extend_from_slice(&chunk.unwrap());
    }
    assert!(read == content);
}

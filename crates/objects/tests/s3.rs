//! Objects in an S3-compatible service: the same guarantees, checked against a real server, moto
//! from `PyPI`.

mod promises;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use belljar_objects::{Objects, ObjectsConfig, SecretAccessKey};
use belljar_protocol::Explain as _;
use belljar_test_support::registries::python_with;

/// The server program. It exits at the end of its standard input, and so together with this
/// process, however that ends.
const SERVER: &str = r"
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(['-H', '127.0.0.1', '-p', '0'])
";

struct Server {
    address: String,
    _child: Child,
}

/// Returns the server, which all tests of this file share.
fn server() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| {
        let python = python_with(env!("CARGO_TARGET_TMPDIR"), "moto", &["moto[server]==5.2.5"]);
        let mut command = Command::new(python);
        command
            .args(["-c", SERVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("moto starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its standard error")).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("Running on ")?;
            Some(rest.trim().trim_end_matches('/').to_owned())
        });
        // The server logs each request, and must not block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Server { address: address.expect("moto logs its address"), _child: child }
    })
}

/// A bucket of its own for each test.
struct Place {
    bucket: &'static str,
    objects: Objects,
}

async fn place(bucket: &'static str) -> Place {
    let place = Place { bucket, objects: Objects::open(&config(bucket)).unwrap() };
    let created =
        reqwest::Client::new().put(format!("{}/{bucket}", server().address)).send().await.unwrap();
    assert!(created.status().is_success(), "{created:?}");
    place
}

fn config(bucket: &str) -> ObjectsConfig {
    ObjectsConfig::S3 {
        bucket: bucket.into(),
        endpoint: Some(server().address.clone()),
        region: "us-east-1".into(),
        access_key_id: "belljar".into(),
        secret_access_key: SecretAccessKey::new("s3cret"),
        prefix: "shared/with/others".into(),
        allow_http: true,
    }
}

impl Place {
    /// Returns the number of multipart uploads that the server knows.
    async fn unfinished(&self) -> usize {
        let listed =
            reqwest::get(format!("{}/{}?uploads", server().address, self.bucket)).await.unwrap();
        assert!(listed.status().is_success(), "{listed:?}");
        listed.text().await.unwrap().matches("<UploadId>").count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_is_ready() {
    promises::the_storage_is_ready(&place("ready").await.objects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn written_content_is_read_back() {
    promises::written_content_is_read_back(&place("read-back").await.objects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_exact() {
    promises::ranges_are_exact(&place("ranges").await.objects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_content_is_not_found_and_can_be_deleted() {
    promises::missing_content_is_not_found_and_can_be_deleted(&place("missing").await.objects)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_has_each_key_of_a_project_once() {
    promises::a_listing_has_each_key_of_a_project_once(&place("listing").await.objects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_upload_leaves_nothing() {
    let place = place("fails").await;
    promises::a_failed_upload_leaves_nothing(&place.objects, || place.unfinished()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_upload_leaves_nothing() {
    let place = place("dropped").await;
    promises::a_dropped_upload_leaves_nothing(&place.objects, || place.unfinished()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_be_read_before_it_is_complete() {
    promises::nothing_can_be_read_before_it_is_complete(&place("atomic").await.objects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_started_can_finish_after_a_deletion() {
    promises::a_reader_that_has_started_can_finish_after_a_deletion(
        &place("deleted").await.objects,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_is_named_with_a_hint() {
    let error = Objects::open(&config("nowhere")).unwrap().check().await.unwrap_err();
    assert!(error.to_string().contains("the bucket `nowhere`"), "{error}");
    assert!(error.hint().unwrap().contains("check that the bucket exists"), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
}

//! Objects in an S3: the same promises, kept over a real server program, moto from `PyPI`.

mod promises;
#[path = "../../../tests/registries/mod.rs"]
mod registries;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use belljar_objects::{Objects, ObjectsConfig, SecretAccessKey};

/// Ends with its standard input, so with this process, however that ends.
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

/// One for all tests of this file.
fn server() -> &'static Server {
    static SERVER_OF_ALL: OnceLock<Server> = OnceLock::new();
    SERVER_OF_ALL.get_or_init(|| {
        let python = registries::python_with("moto", &["moto[server]==5.2.5"]);
        let mut command = Command::new(python);
        command.args(["-c", SERVER]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("moto starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its standard error")).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("Running on ")?;
            Some(rest.trim().trim_end_matches('/').to_owned())
        });
        // It logs each request.
        std::thread::spawn(move || lines.for_each(drop));
        Server { address: address.expect("moto tells its address"), _child: child }
    })
}

/// A bucket of its own for each test.
struct Place {
    bucket: &'static str,
    objects: Objects,
}

async fn place(bucket: &'static str) -> Place {
    let place = Place { bucket, objects: Objects::open(&config(bucket)).unwrap() };
    let created = reqwest::Client::new().put(format!("{}/{bucket}", server().address)).send().await.unwrap();
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
    /// How many multipart uploads the server knows.
    async fn unfinished(&self) -> usize {
        let listed = reqwest::get(format!("{}/{}?uploads", server().address, self.bucket)).await.unwrap();
        assert!(listed.status().is_success(), "{listed:?}");
        listed.text().await.unwrap().matches("<UploadId>").count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready() {
    promises::it_is_ready(&place("ready").await.objects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_is_read_back() {
    promises::what_was_put_is_read_back(&place("read-back").await.objects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_exact() {
    promises::ranges_are_exact(&place("ranges").await.objects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_so_and_deleted_already() {
    promises::what_is_not_there_is_said_so_and_deleted_already(&place("missing").await.objects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_has_each_key_once_and_by_project() {
    promises::a_listing_has_each_key_once_and_by_project(&place("listing").await.objects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_leaves_nothing() {
    let place = place("fails").await;
    promises::what_fails_leaves_nothing(&place.objects, || place.unfinished()).await;
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
async fn who_has_begun_to_read_reads_on_when_it_is_deleted() {
    promises::who_has_begun_to_read_reads_on_when_it_is_deleted(&place("deleted").await.objects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_named_with_the_mend() {
    let error = Objects::open(&config("nowhere")).unwrap().check().await.unwrap_err().to_string();
    assert!(error.contains("the bucket nowhere") && error.contains("; check that it is there"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
}
